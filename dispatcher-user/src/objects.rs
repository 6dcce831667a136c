//! The eBPF objects, built by `build.rs` and carried inside the binary.

/// Programs `front` and `inner`, for the front-end; `pass`, for benchmarks.
pub static FRONT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/front.o"));

/// Programs `back` and `back_out`, for a server.
pub static BACK: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/back.o"));
