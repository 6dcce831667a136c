//! A program before `front` that moves the frame to the very start of its buffer, so that nothing fits before it. Written by
//! hand and loaded by plain system calls: no driver does this, so no object of the project has such a program.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;

const PROG_ARRAY: u32 = 3;
const XDP: u32 = 6;
/// As aya says it of `front`: a program may call only one of its own attach type (Linux 6.18).
const ATTACH_XDP: u32 = 37;

/// `XDP_PACKET_HEADROOM` less the `struct xdp_frame` that the kernel keeps for itself.
const HEADROOM: i32 = 256 - 40;

/// Largest frame that the program moves, by way of its stack.
const STACK: i32 = 512;

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log: [u64; 2],
    version_flags_name_and_interface: [u32; 7],
    attach_type: u32,
}

#[repr(C)]
struct TestRun {
    program: RawFd,
    result: u32,
    data_in_len: u32,
    data_out_len: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
}

/// Runs a program on a frame without any room before it; gives the verdict and the frame that is left.
pub(crate) fn run(program: RawFd, frame: &[u8]) -> (u32, Vec<u8>) {
    let next = program_array(program);
    let mover = load(&instructions(next.as_raw_fd(), frame.len() as i32));
    let mut output = vec![0; frame.len() + STACK as usize];
    let mut attributes = TestRun {
        program: mover.as_raw_fd(),
        result: 0,
        data_in_len: frame.len() as u32,
        data_out_len: output.len() as u32,
        data_in: frame.as_ptr() as u64,
        data_out: output.as_mut_ptr() as u64,
        repeat: 1,
        duration_ns: 0,
    };
    bpf(PROG_TEST_RUN, &mut attributes);
    output.truncate(attributes.data_out_len as usize);
    (attributes.result, output)
}

/// Mean time in nanoseconds of a run of a program before another.
pub(crate) fn time(program: RawFd, before: &dyn Fn(RawFd) -> Vec<u64>, frame: &[u8], repeat: u32) -> u32 {
    let next = program_array(program);
    mean_ns(load(&before(next.as_raw_fd())).as_raw_fd(), frame, repeat)
}

/// Mean time in nanoseconds of a run of a program, by one system call on the CPU that makes it.
pub(crate) fn mean_ns(program: RawFd, frame: &[u8], repeat: u32) -> u32 {
    let mut attributes = TestRun {
        program,
        result: 0,
        data_in_len: frame.len() as u32,
        data_out_len: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat,
        duration_ns: 0,
    };
    bpf(PROG_TEST_RUN, &mut attributes);
    attributes.duration_ns
}

/// Grows the head, copies the frame there, cuts off the old one and calls the next program.
fn instructions(next: RawFd, len: i32) -> Vec<u64> {
    const ADJUST_HEAD: i32 = 44;
    const ADJUST_TAIL: i32 = 65;
    const LOAD_BYTES: i32 = 189;
    const STORE_BYTES: i32 = 190;
    const TAIL_CALL: i32 = 12;
    const EXIT: u64 = 0x95;
    assert!(len <= STACK);
    let mut code = vec![copy(6, 1)];
    code.extend([set(2, -HEADROOM), call(ADJUST_HEAD)]);
    for (offset, helper) in [(HEADROOM, LOAD_BYTES), (0, STORE_BYTES)] {
        code.extend([copy(1, 6), set(2, offset), copy(3, 10), add(3, -STACK), set(4, len), call(helper)]);
    }
    code.extend([copy(1, 6), set(2, -HEADROOM), call(ADJUST_TAIL)]);
    let load_map = [instruction(0x18, 2, 1, next), 0];
    code.extend([copy(1, 6)]);
    code.extend(load_map);
    code.extend([set(3, 0), call(TAIL_CALL), set(0, 0), EXIT]);
    code
}

pub(crate) fn instruction(operation: u8, to: u8, from: u8, immediate: i32) -> u64 {
    u64::from(operation) | u64::from(from << 4 | to) << 8 | u64::from(immediate as u32) << 32
}

pub(crate) fn set(register: u8, value: i32) -> u64 {
    instruction(0xb7, register, 0, value)
}

pub(crate) fn add(register: u8, value: i32) -> u64 {
    instruction(0x07, register, 0, value)
}

pub(crate) fn copy(to: u8, from: u8) -> u64 {
    instruction(0xbf, to, from, 0)
}

pub(crate) fn call(helper: i32) -> u64 {
    instruction(0x85, 0, 0, helper)
}

fn program_array(program: RawFd) -> OwnedFd {
    let map = own(bpf(
        MAP_CREATE,
        &mut MapCreate { map_type: PROG_ARRAY, key_size: 4, value_size: 4, max_entries: 1 },
    ));
    let (key, value) = (0_u32, program);
    let mut update = MapUpdate {
        map: map.as_raw_fd() as u64,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    bpf(MAP_UPDATE, &mut update);
    map
}

fn load(instructions: &[u64]) -> OwnedFd {
    let mut attributes = ProgLoad {
        program_type: XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        licence: c"GPL".as_ptr() as u64,
        log: [0; 2],
        version_flags_name_and_interface: [0; 7],
        attach_type: ATTACH_XDP,
    };
    own(bpf(PROG_LOAD, &mut attributes))
}

fn own(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> libc::c_long {
    // SAFETY: the attributes are a `repr(C)` prefix of `union bpf_attr`, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    assert!(result >= 0, "bpf command {command}: {}", io::Error::last_os_error());
    result
}
