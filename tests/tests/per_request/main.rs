//! Ring d: every request of a kept connection to a server of its own. Real clients and real servers, a random server for each
//! request, and what clients receive compared byte by byte with what a server sends that they ask directly.
//!
//! All tests are in one program, because they share one rig as long as it is whole: see `stage`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod client;
mod compare;
mod digest;
mod dynamic;
mod moves;
mod stage;

mod bodies;
mod browser;
mod endings;
mod impaired;
mod many;
mod odd;
mod path;
mod pipelining;
mod readers;
mod restarts;
mod tools;
mod two_arm;
mod upgrade;
