//! What both roles need of the running kernel: BTF offsets, the hand-off kfunc, clocks, bpffs, pinned maps and links.

pub mod attach;
pub mod bpffs;
pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod kfunc;
mod link;
pub mod mapped;
pub mod object;
pub mod pin;
pub mod table;
