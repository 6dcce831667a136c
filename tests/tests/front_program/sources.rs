//! A program before `front` that gives each run another IPv4 source, so that many runs of one system call are of many clients.

use std::os::fd::RawFd;

use crate::crowd;

/// Mean time of a run in nanoseconds.
pub(crate) fn time_ns(program: RawFd, frame: &[u8], repeat: u32) -> u32 {
    crowd::time(program, &instructions, frame, repeat)
}

fn instructions(next: RawFd) -> Vec<u64> {
    use crowd::{add, call, copy, instruction, set};
    const RANDOM: i32 = 7;
    const TAIL_CALL: i32 = 12;
    let mut code = vec![copy(6, 1), call(RANDOM), copy(7, 0)];
    // r2 = data, r3 = data_end; not beyond it.
    code.extend([instruction(0x61, 2, 6, 0), instruction(0x61, 3, 6, 0) | 4 << 16]);
    code.extend([copy(4, 2), add(4, 34), instruction(0x2d, 4, 3, 0) | 1 << 16]);
    // The source of an IPv4 header.
    code.push(instruction(0x63, 2, 7, 0) | 26 << 16);
    code.push(copy(1, 6));
    code.extend([instruction(0x18, 2, 1, next), 0]);
    code.extend([set(3, 0), call(TAIL_CALL), set(0, 0), 0x95]);
    code
}
