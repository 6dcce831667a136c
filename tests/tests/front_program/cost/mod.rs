//! What packets cost the front-end's program: a section of the report. Nothing of it is asserted but that the packets were what
//! they were meant to be: `cargo xtask bench` shows it on a machine that does nothing else.

mod bare;
mod cores;
mod flows;
mod footprint;
mod many;
mod packets;

use std::os::fd::{AsFd, AsRawFd};

use aya::programs::ProgramFd;
use dispatcher_common::counter::FrontCounter;
use tests::report::Section;

use crate::{crowd, program::Program};

/// Name of the benchmark.
const BENCH: &str = "cost_of_a_packet";

/// The parts of the report, in order.
const PARTS: [fn(&mut Section) -> bool; 4] =
    [packets::report, many::report, cores::report, footprint::report];

#[test]
fn cost_of_a_packet() {
    let mut section = Section::new(BENCH, "Nanoseconds per packet");
    section.text(
        "The front-end's XDP program by `BPF_PROG_TEST_RUN`: medians, in brackets the quartiles. No network card takes part.",
    );
    if PARTS.into_iter().all(|report| report(&mut section)) {
        section.publish().unwrap();
    }
}

/// Time of one run in nanoseconds.
fn once_ns(program: &ProgramFd, frame: &[u8]) -> f64 {
    f64::from(crowd::mean_ns(program.as_fd().as_raw_fd(), frame, 1))
}

/// The packets were what they were meant to be, but for a few: one cookie in some thousand passes that should not.
fn assert_counted(program: &Program, before: &[u64], counter: FrontCounter, packets: u64) {
    let index = counter.index() as usize;
    let counted = program.counters()[index] - before[index];
    assert!(
        counted <= packets && counted >= packets - packets / 100,
        "{}: {counted} of {packets}",
        counter.name()
    );
}
