//! What the dispatcher's eBPF programs and its user space share: map keys and values, the handshake cookie, the hand-off
//! ticket, checksum arithmetic, the choice of a server, limits and counter names.
//!
//! Everything here is `no_std`, free of allocation and of reachable panics, because the verifier reads it too. What policies learn,
//! parsing of HTTP and configuration are not here: they never run in the kernel.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod address;
pub mod admission;
pub mod block;
pub mod checksum;
pub mod choice;
pub mod class_cache;
pub mod cookie;
pub mod counter;
pub mod epoch;
pub mod filter;
pub mod head_scan;
pub mod limits;
pub mod member;
pub mod merge;
pub mod path_state;
pub mod per_request;
#[cfg(feature = "user")]
mod pod;
pub mod response_scan;
pub mod response_walk;
pub mod server;
pub mod service;
pub mod settings;
pub mod siphash;
pub mod slow_path;
pub mod syn_options;
pub mod ticket;
pub mod tuple;
pub mod under_way;
pub mod words;
