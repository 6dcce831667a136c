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

/// Adds a part to the report. False, with a word on standard error, if this machine cannot measure it.
type Report = fn(&mut Section, Effort) -> bool;

/// In the report's order.
const PARTS: [Report; 4] = [packets::report, many::report, cores::report, footprint::report];

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    /// Bits by which numbers of packets and flows are less.
    shift: u32,
}

impl Effort {
    /// For figures that somebody reads.
    const FULL: Self = Self { rounds: 15, shift: 0 };
    /// To see that it works.
    const BRIEF: Self = Self { rounds: 1, shift: 7 };

    fn part(self, number: u32) -> u32 {
        number >> self.shift
    }
}

/// Leaves its section only with DISPATCHER_BENCH set, as `cargo xtask bench` does.
#[test]
fn cost_of_a_packet() {
    let is_bench = std::env::var_os("DISPATCHER_BENCH").is_some();
    let effort = if is_bench { Effort::FULL } else { Effort::BRIEF };
    let mut section = Section::new(BENCH, "Nanoseconds per packet");
    section.text(
        "The front-end's XDP program by `BPF_PROG_TEST_RUN`: medians, in brackets the quartiles. No network card takes part.",
    );
    if PARTS.into_iter().all(|report| report(&mut section, effort)) && is_bench {
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
        counted <= packets && counted + packets / 100 + 1 >= packets,
        "{}: {counted} of {packets}",
        counter.name()
    );
}
