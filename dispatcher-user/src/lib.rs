//! The dispatcher's user space: the front-end's control plane and slow path, the agent beside a server, and the command line.
//!
//! Decisions live in `dispatcher-core`; what runs in the kernel lives in `dispatcher-ebpf`. This crate connects them to maps,
//! sockets and people.

pub mod back;
pub mod cli;
pub mod control_socket;
pub mod front;
pub mod kernel;
pub mod listing;
pub mod objects;
pub mod stop;
pub mod text_file;
