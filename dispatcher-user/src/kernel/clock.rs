//! The clock that eBPF programs have, and how far the wall clock is from it: cookies and tickets are bound to wall-clock epochs.

/// Wall clock minus the kernel's coarse monotonic clock (`bpf_ktime_get_coarse_ns`), in nanoseconds, modulo 2^64. It changes
/// when the wall clock is set and when the machine was suspended: write it again from time to time.
#[must_use]
pub fn offset_ns() -> u64 {
    now_ns(libc::CLOCK_REALTIME).wrapping_sub(now_ns(libc::CLOCK_MONOTONIC_COARSE))
}

/// The kernel's coarse monotonic clock in µs, as programs reckon loads by it.
#[must_use]
pub fn coarse_us() -> u64 {
    now_ns(libc::CLOCK_MONOTONIC_COARSE) / 1000
}

/// The monotonic clock in nanoseconds, as `bpf_ktime_get_ns` gives it.
#[must_use]
pub fn monotonic_ns() -> u64 {
    now_ns(libc::CLOCK_MONOTONIC)
}

/// The wall clock in nanoseconds since 1970.
#[must_use]
pub fn wall_ns() -> u64 {
    now_ns(libc::CLOCK_REALTIME)
}

fn now_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the structure; the clocks above exist on every Linux, so it cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_leads_from_the_coarse_clock_to_the_wall_clock() {
        let wall_ns = now_ns(libc::CLOCK_MONOTONIC_COARSE).wrapping_add(offset_ns());
        assert!(wall_ns.abs_diff(wall_ns_now()) < 100_000_000);
    }

    fn wall_ns_now() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_nanos() as u64
    }
}
