//! Linker flags of the eBPF objects.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("bpf") {
        // Headers lie at odd multiples of two. Without this LLVM reads each 32-bit field byte by byte; the kernels that we
        // support (x86-64, arm64) take unaligned packet accesses as they are.
        println!("cargo::rustc-link-arg-bins=--cpu-features=+allows-misaligned-mem-access");
    }
}
