//! What the program and its maps take: instructions that the verifier walked, and memory by map.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use aya::maps::{Map, MapData};
use tests::report::{Cell, Column, Section, Table};

use super::Effort;
use crate::program::Program;

/// Room for filters as the configuration has it by default.
const FILTERS: u32 = 262_144;

/// Adds two tables. False if the program cannot be loaded.
pub(crate) fn report(section: &mut Section, _: Effort) -> bool {
    let Some(mut program) = Program::with_room(FILTERS) else { return false };
    let info = program.info();
    section.text(format!(
        "**Size**: the verifier walked {} instructions of `front`, which has {} bytes of them.",
        info.verified_instruction_count().unwrap(),
        info.size_translated().unwrap(),
    ));
    let mut table = Table::new(
        "maps",
        [Column::text("map"), Column::number("entries", "", 0), Column::number("memory", "KiB", 0)],
    );
    for (name, map) in program.maps() {
        let data = data(map);
        let [entries, bytes] =
            ["max_entries", "memlock"].map(|field| of_descriptor(data.fd().as_fd(), field));
        table.row([Cell::from(name), entries.into(), (bytes / 1024).into()]);
    }
    section.table(table);
    true
}

fn data(map: &Map) -> &MapData {
    match map {
        Map::Array(data)
        | Map::DevMap(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::XskMap(data) => data,
        other => panic!("a map of another type: {other:?}"),
    }
}

/// A number that the kernel tells of an open map.
fn of_descriptor(fd: BorrowedFd<'_>, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().trim().parse().unwrap()
}
