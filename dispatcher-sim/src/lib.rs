//! A discrete-event simulator of a web cluster, and the replay of access logs, both on the decisions of `dispatcher-core`: the
//! cluster model and the policies are those that the daemon runs.
//!
//! Pure but for reading logs and writing files: no clock, no global randomness, and no arithmetic that differs between
//! machines, so the same seed gives the same output anywhere.
//!
//! A simulation is an [`engine::Engine`]: [`clients`] issue requests, the [`front_end`] lets them in ([`admission`]) and
//! chooses, a [`server`] serves them from its [`cache`] and reports, and [`metrics`] count.

#![forbid(unsafe_code)]

pub mod admission;
pub mod agenda;
pub mod batch;
pub mod cache;
pub mod catalogue;
pub mod clients;
pub mod contender;
pub mod csv_file;
pub mod engine;
pub mod figure;
pub mod front_end;
pub mod level;
pub mod matrix;
pub mod metrics;
pub mod overload;
pub mod plot;
pub mod popularity;
pub mod random;
pub mod replay;
pub mod request;
pub mod run;
pub mod server;
pub mod settings;
pub mod span;
pub mod sweep;
