//! Lets a Rust eBPF program call the kernel function `bpf_sk_assign_tcp_reqsk` (Linux 6.9).
//!
//! rustc emits no BTF for extern functions, so there is nothing a loader could resolve. The program calls a made-up helper
//! number instead; here, before loading, that instruction becomes a call of the function by its BTF id.

use thiserror::Error;

/// The kernel function that turns a segment into an accepted connection.
pub const FUNCTION: &str = "bpf_sk_assign_tcp_reqsk";

/// The made-up helper number, as in the program (`dispatcher-ebpf/src/back/hand_off.rs`).
const STAND_IN: u32 = 0x5EED0;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;

/// `src_reg` of a call of a kernel function, `BPF_PSEUDO_KFUNC_CALL`.
const KERNEL_FUNCTION: u8 = 2;

const INSTRUCTION_LEN: usize = 8;

/// The program cannot call the function.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KfuncError {
    /// For the operator: the kernel is too old.
    #[error("the running kernel lacks {FUNCTION}; a server needs Linux 6.9 or newer with CONFIG_SYN_COOKIES")]
    Missing,
    /// Of this binary: the object is not what this module was written for.
    #[error("eBPF object has no call of {FUNCTION}; build the dispatcher again")]
    NoCall,
}

/// The object with all its calls of the stand-in made calls of the function that has this BTF id in the running kernel.
///
/// # Errors
/// When the kernel has no such function, or the object no call of it.
pub fn link(object: &[u8], function_id: Option<u32>) -> Result<Vec<u8>, KfuncError> {
    let id = function_id.ok_or(KfuncError::Missing)?;
    let mut linked = object.to_vec();
    let mut calls = 0;
    // Code sections are aligned to instructions.
    for instruction in linked.as_chunks_mut::<INSTRUCTION_LEN>().0 {
        if *instruction == call(0, STAND_IN) {
            *instruction = call(KERNEL_FUNCTION, id);
            calls += 1;
        }
    }
    if calls == 0 { Err(KfuncError::NoCall) } else { Ok(linked) }
}

fn call(source: u8, immediate: u32) -> [u8; INSTRUCTION_LEN] {
    let [a, b, c, d] = immediate.to_le_bytes();
    [CALL, source << 4, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects;

    const OTHER: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn only_the_stand_in_becomes_a_call_of_the_function() {
        let object = [OTHER, [0x85, 0, 0, 0, 0xd0, 0xee, 5, 0], [0x85, 0, 0, 0, 99, 0, 0, 0]].concat();
        let linked = link(&object, Some(65_608)).unwrap();
        assert_eq!(linked[..8], OTHER);
        assert_eq!(linked[8..16], [0x85, 0x20, 0, 0, 0x48, 0x00, 0x01, 0x00]);
        assert_eq!(linked[16..], object[16..]);
    }

    #[test]
    fn an_older_kernel_is_named_as_the_reason() {
        let message = link(objects::BACK, None).unwrap_err().to_string();
        assert!(message.contains("needs Linux 6.9 or newer"), "{message}");
    }

    #[test]
    fn an_object_without_the_call_is_refused() {
        assert_eq!(link(&OTHER, Some(1)), Err(KfuncError::NoCall));
    }

    #[test]
    fn the_real_object_has_exactly_one_call() {
        let linked = link(objects::BACK, Some(7)).unwrap();
        assert_eq!(linked.iter().zip(objects::BACK).filter(|(a, b)| a != b).count(), 4);
    }
}
