//! What the eBPF programs `front` and `back` share: frames under the verifier's eyes, header layouts, the
//! description of a packet, text copied from it, and atomic steps.
//!
//! Maps and programs are not here. Both programs have maps of the same names and other types, so each is a crate of its own:
//! `bin/front.rs` with the modules in `front/`, `bin/back.rs` with those in `back/` (each bin says
//! `#[path = "../front/mod.rs"] mod front;` or the like). Panic handler and licence belong to the bins, by [`program_object!`].
//! On the host the bodies compile too, with an empty `main`, so that clippy and rustfmt reach them.
#![cfg_attr(target_arch = "bpf", no_std, feature(asm_experimental_arch))]

pub mod atomic;
pub mod frame;
pub mod header;
pub mod packet;
pub mod tcp_options;
pub mod text;

/// What every eBPF object needs once: the licence section, and a panic handler that no verified program reaches.
#[macro_export]
macro_rules! program_object {
    () => {
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

        #[cfg(target_arch = "bpf")]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }

        #[cfg(not(target_arch = "bpf"))]
        fn main() {}
    };
}
