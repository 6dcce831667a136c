//! The CLASS_STATS map: statistics of every class, added up over the CPUs.

use std::io;

use dispatcher_common::{limits::MAX_CLASSES, server::ClassStats};

use crate::kernel::table::Table;

/// The map.
pub(super) type ClassTable = Table<u32, ClassStats>;

/// Totals by class.
pub(super) fn totals(table: &ClassTable) -> io::Result<Vec<ClassStats>> {
    let mut totals = vec![ClassStats::default(); MAX_CLASSES];
    for (class, of_cpu) in table.some(usize::MAX)? {
        if let Some(total) = totals.get_mut(class as usize) {
            add(total, &of_cpu);
        }
    }
    Ok(totals)
}

fn add(total: &mut ClassStats, part: &ClassStats) {
    total.arrived = total.arrived.wrapping_add(part.arrived);
    total.answered = total.answered.wrapping_add(part.answered);
    total.abandoned = total.abandoned.wrapping_add(part.abandoned);
    total.service_ns = total.service_ns.wrapping_add(part.service_ns);
}

/// Requests that a class holds by its statistics alone.
pub(super) fn held(stats: &ClassStats) -> i64 {
    stats.arrived.wrapping_sub(stats.answered).wrapping_sub(stats.abandoned).cast_signed()
}
