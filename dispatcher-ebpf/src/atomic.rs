//! Atomic steps on map values. The eBPF target of rustc has no read-modify-write atomics (`atomic-cas` is off), the machine has
//! (Linux 5.12): hence the assembly. On the host the same steps are the standard library's.

/// Adds to a shared number, wrapping: one less is `1_u64.wrapping_neg()` more.
///
/// # Safety
/// `cell` is an aligned value of a map.
#[inline(always)]
pub unsafe fn add(cell: *mut u64, addend: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's pointer; the instruction writes nothing else.
    unsafe {
        core::arch::asm!("lock *(u64 *)({cell} + 0) += {addend}", cell = in(reg) cell, addend = in(reg) addend);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's pointer.
    unsafe {
        core::sync::atomic::AtomicU64::from_ptr(cell).fetch_add(addend, core::sync::atomic::Ordering::SeqCst);
    }
}

/// Replaces `old` by `new`; tells whether `old` was there.
///
/// # Safety
/// `cell` is an aligned value of a map.
#[inline(always)]
pub unsafe fn replace(cell: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        let mut found = old;
        // SAFETY: the caller's pointer; the instruction writes it and r0.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({cell} + 0, r0, {new})",
                cell = in(reg) cell, new = in(reg) new, inout("r0") found,
            );
        }
        found == old
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: the caller's pointer.
        let cell = unsafe { AtomicU64::from_ptr(cell) };
        cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}
