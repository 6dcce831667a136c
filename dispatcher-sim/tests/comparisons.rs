//! The comparisons that are published: their files are whole and the same every time, and overload does what it should.
//! What they show of the paper is in `paper.rs`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{collections::BTreeMap, fs, path::Path};

use dispatcher_sim::{
    figure::{self, Figure},
    matrix::{self, Cell},
    overload,
    settings::Settings,
};

fn short(warm_up: u64, requests: u64) -> Settings {
    let mut settings = Settings::default();
    (settings.run.warm_up, settings.run.requests) = (warm_up, requests);
    settings
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let file =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(directory).unwrap().map(|entry| file(entry.unwrap())).collect()
}

#[test]
fn a_figure_is_the_same_every_time() {
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        figure::make(&[Figure::Eleven], &short(50, 100), directory.path(), &|| ()).unwrap();
        files(directory.path())
    };
    let once = make();
    assert_eq!(once, make());
    let csv = String::from_utf8(once["figure-11.csv"].clone()).unwrap();
    assert_eq!(csv.lines().count(), 1 + figure::run_count(&[Figure::Eleven]));
    assert_eq!(once.len(), 1 + 2 * 3 + 2, "{:?}", once.keys());
}

#[test]
fn the_matrix_has_48_cells_and_every_contender_in_each() {
    let (cells, mut contenders) = (Cell::all(), matrix::rivals());
    contenders.push(matrix::ours());
    let outcomes = matrix::run(&short(50, 100), &cells, &contenders, &|| ()).unwrap();
    assert_eq!((cells.len(), outcomes.len()), (48, 48));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("matrix.csv");
    matrix::write(&cells, &contenders, &outcomes, &path).unwrap();
    assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 1 + 48 * 3);
}

#[test]
fn under_overload_the_high_level_holds_and_the_low_level_gives_way() {
    let results = overload::run(&short(15_000, 15_000), &|| ()).unwrap();
    let levels = |way: &str, load: f64| {
        let (_, outcomes) = results.iter().find(|(known, _)| known.name == way).unwrap();
        let place = overload::LOADS.iter().position(|&known| (known - load).abs() < 1e-9).unwrap();
        outcomes[place].levels
    };
    let [calm, busy, three] = [0.75, 1.25, 3.0].map(|load| levels("context, evicting", load));
    assert!(calm.low.drop_rate < 0.01 && busy.low.drop_rate > 0.5, "{calm:?} {busy:?}");
    assert!(busy.high.drop_rate < 0.1 && three.high.goodput > busy.high.goodput, "{busy:?} {three:?}");
    assert!(three.high.p99_ms < 1100.0, "a full queue is not longer: {three:?}");
    let refusing = levels("context, refusing", 3.0);
    assert!(three.high.goodput > 1.25 * refusing.high.goodput, "{three:?} {refusing:?}");
    overload::write(&results, tempfile::tempdir().unwrap().path()).unwrap();
}
