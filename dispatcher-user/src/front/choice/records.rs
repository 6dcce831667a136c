//! The rings in which the program tells of its dispatches, one for each CPU.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{Ordering, fence},
};

use aya::util::nr_cpus;
use dispatcher_common::choice::{DispatchRecord, RECORDS_PER_CPU, RecordHead};

use crate::kernel::mapped::MappedWords;

const HEAD_WORDS: usize = size_of::<RecordHead>() / size_of::<u64>();
const ROOM: u64 = RECORDS_PER_CPU as u64;

/// CPUs that the kernel may ever have, each with a ring.
///
/// # Errors
/// When the kernel does not say.
pub fn cpus() -> io::Result<usize> {
    nr_cpus().map_err(|(_, error)| error)
}

#[derive(Debug)]
pub(super) struct Records {
    records: MappedWords,
    heads: MappedWords,
    /// How far each ring was read.
    read: Vec<u64>,
}

impl Records {
    pub(super) fn map(records: BorrowedFd<'_>, heads: BorrowedFd<'_>) -> io::Result<Self> {
        let cpus = cpus()?;
        let records = MappedWords::map(records, cpus * RECORDS_PER_CPU * DispatchRecord::WORDS)?;
        Ok(Self::of(records, MappedWords::map(heads, cpus * HEAD_WORDS)?, cpus))
    }

    /// Of two CPUs.
    pub(super) fn in_memory() -> Self {
        let records = MappedWords::in_memory(2 * RECORDS_PER_CPU * DispatchRecord::WORDS);
        Self::of(records, MappedWords::in_memory(2 * HEAD_WORDS), 2)
    }

    fn of(records: MappedWords, heads: MappedWords, cpus: usize) -> Self {
        let read = (0..cpus).map(|cpu| written(&heads, cpu)).collect();
        Self { records, heads, read }
    }

    /// Appends what was written since the last call; gives how many records were written over before they were read.
    pub(super) fn drain(&mut self, drained: &mut Vec<DispatchRecord>) -> u64 {
        (0..self.read.len()).map(|cpu| self.drain_cpu(cpu, drained)).sum()
    }

    fn drain_cpu(&mut self, cpu: usize, drained: &mut Vec<DispatchRecord>) -> u64 {
        let end = written(&self.heads, cpu);
        let unread = end.wrapping_sub(self.read[cpu]);
        if unread == 0 {
            return 0;
        }
        fence(Ordering::Acquire);
        let start = end.wrapping_sub(unread.min(ROOM));
        let first = drained.len();
        for number in 0..unread.min(ROOM) {
            let place = cpu as u64 * ROOM + start.wrapping_add(number) % ROOM;
            drained.push(DispatchRecord::from_words(self.records.read(place as usize)));
        }
        self.read[cpu] = end;
        fence(Ordering::Acquire);
        // One more may be in the making.
        let behind = written(&self.heads, cpu).wrapping_sub(start).saturating_add(1);
        let torn = behind.saturating_sub(ROOM).min(unread.min(ROOM));
        drained.drain(first..first + torn as usize);
        unread.saturating_sub(ROOM) + torn
    }
}

fn written(heads: &MappedWords, cpu: usize) -> u64 {
    let [written, ..] = heads.read::<HEAD_WORDS>(cpu);
    written
}

#[cfg(test)]
impl Records {
    /// As the program does, on a CPU.
    pub(super) fn write(&self, cpu: usize, record: &DispatchRecord) {
        let place = cpu as u64 * ROOM + written(&self.heads, cpu) % ROOM;
        for (at, word) in record.words().into_iter().enumerate() {
            self.records.write(place as usize * DispatchRecord::WORDS + at, word);
        }
        self.heads.add(cpu * HEAD_WORDS, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(target: u64) -> DispatchRecord {
        DispatchRecord { target, ..DispatchRecord::default() }
    }

    fn drain(records: &mut Records) -> (Vec<u64>, u64) {
        let mut drained = Vec::new();
        let lost = records.drain(&mut drained);
        (drained.into_iter().map(|record| record.target).collect(), lost)
    }

    #[test]
    fn each_record_comes_once_and_in_order() {
        let mut records = Records::in_memory();
        (0..5).for_each(|target| records.write(1, &record(target)));
        records.write(0, &record(9));
        assert_eq!(drain(&mut records), (vec![9, 0, 1, 2, 3, 4], 0));
        assert_eq!(drain(&mut records), (vec![], 0));
        records.write(1, &record(5));
        assert_eq!(drain(&mut records), (vec![5], 0));
    }

    #[test]
    fn records_that_are_written_over_are_lost_and_counted() {
        let mut records = Records::in_memory();
        (0..ROOM + 100).for_each(|target| records.write(0, &record(target)));
        let (drained, lost) = drain(&mut records);
        assert_eq!((drained.len() as u64, lost), (ROOM - 1, 101), "the oldest may be being written over");
        assert_eq!((drained[0], drained[drained.len() - 1]), (101, ROOM + 99));
        (0..ROOM - 1).for_each(|target| records.write(0, &record(target)));
        assert_eq!(drain(&mut records), ((0..ROOM - 1).collect(), 0));
    }
}
