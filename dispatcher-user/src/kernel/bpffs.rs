//! bpffs
