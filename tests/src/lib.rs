//! The rig: hosts as network namespaces around a bridge, with real nginx, curl, wrk and HAProxy, and the
//! dispatcher's two roles started and killed as a test wants. One `Rig` is one such network; the lab of
//! `cargo xtask rig up` is the same with the instance name `lab`.
//!
//! This library loads no eBPF object of the project: it runs the `dispatcher` binary like an operator would.

mod chosen;
pub mod clang;
pub mod content;
mod cpu_time;
mod delay;
mod growth;
mod haproxy;
pub mod heads;
mod host;
mod impair;
mod leftovers;
mod live;
pub mod load;
mod lock;
mod nginx;
mod nginx_proxy;
mod noise;
mod one_cpu;
mod pass;
mod plan;
mod process;
pub mod report;
mod rig;
mod roles;
#[cfg(test)]
mod selftest;
mod show;
mod site;
mod skip;
mod sources;
pub mod wire;
mod wiring;
mod wrk;

pub use chosen::chosen;
pub use cpu_time::CpuTime;
pub use growth::Growth;
pub use haproxy::HaproxyOptions;
pub use host::Host;
pub use impair::{Impaired, Impairment};
pub use leftovers::remove as remove_leftovers;
pub use live::Spoofed;
pub use nginx::{Impatient, MORE_PORTS};
pub use noise::Noise;
pub use one_cpu::OneCpu;
pub use plan::{Family, LAB, Plan};
pub use process::Tracked;
pub use rig::{Rig, RigBuilder};
pub use roles::{Alter, BackOptions, FrontOptions};
pub use site::CachedSite;
pub use skip::skipped;
pub use sources::{Sources, source_ipv4, source_ipv6};
pub use wrk::{Wrk, WrkReport};
