//! Ring d: the dispatcher's binary in the rig, with real servers and clients and with the scripted one. One file a theme.
//!
//! All tests are in one program, because they share one rig as long as it is whole: see `stage`.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod counters;
mod crowd;
mod curl;
mod echo;
mod insider;
mod stage;
mod watch;
mod wrk;

mod accounts;
mod admission;
mod class_cache;
mod classes;
mod clients;
mod direct_return;
mod eviction;
mod floods;
mod forgery;
mod handoffs;
mod heads;
mod limits;
mod members;
mod overload;
mod packets;
mod path_mtu;
mod policies;
mod preflight;
mod refusals;
mod reports;
mod restarts;
mod skb_mode;
mod sources;
mod traffic;
mod two_arm;
