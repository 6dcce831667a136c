//! Which classes go into a report when not all of them fit. Owns the order and the reckoning of bytes; the form
//! itself is the parent's.

use std::cmp::Reverse;

use super::ClassReport;

/// The classes for the report with number `sequence`, in at most `room` bytes.
pub(super) fn select(classes: &[ClassReport], sequence: u64, room: usize) -> Vec<ClassReport> {
    let (mut busy, mut idle): (Vec<_>, Vec<_>) = classes.iter().copied().partition(|class| class.held > 0);
    let mut left = room;
    busy.sort_by_key(|class| (Reverse(class.held), class.class));
    take(&mut busy, &mut left);
    if !idle.is_empty() {
        let places = left / bytes_of(&ClassReport { class: u16::MAX, held: 0, service_us: u32::MAX });
        let turn = sequence % idle.len() as u64 * places.max(1) as u64 % idle.len() as u64;
        idle.rotate_left(turn as usize);
        take(&mut idle, &mut left);
    }
    busy.extend(idle);
    busy
}

/// Cuts `classes` to what fits and takes its bytes from `left`.
fn take(classes: &mut Vec<ClassReport>, left: &mut usize) {
    let fits = classes.iter().position(|class| {
        let bytes = bytes_of(class);
        let full = bytes > *left;
        if !full {
            *left -= bytes;
        }
        full
    });
    classes.truncate(fits.unwrap_or(classes.len()));
}

fn bytes_of(class: &ClassReport) -> usize {
    varint(u32::from(class.class)) + varint(class.held) + varint(class.service_us)
}

/// Bytes of a postcard varint: seven bits each.
fn varint(value: u32) -> usize {
    let bits = u32::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
