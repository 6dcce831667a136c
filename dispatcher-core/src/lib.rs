//! Decisions of the dispatcher as pure functions of what they are given: no I/O, no clock, no global randomness.
//! Daemon, simulator and tests drive the same code; `now` (a `Duration` since any fixed start) and the random
//! number generator are arguments.

#![forbid(unsafe_code)]

mod address;
pub mod admission;
pub mod class;
pub mod cluster;
pub mod config;
pub mod http;
pub mod ids;
pub mod member;
pub mod policy;
pub mod report;
pub mod secret;
