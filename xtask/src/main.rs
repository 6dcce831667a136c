//! `cargo xtask`: everything around the dispatcher that is not the dispatcher. One file a command.

mod bench;
mod demo;
mod interrupt;
mod lab;
mod rings;
mod setup;
mod step;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set-up, demo, tests, benchmarks and the lab of the dispatcher"
)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make this machine ready to build and test: packages, compiler and linker for eBPF
    Setup,
    /// Show the dispatcher at work: real requests to three servers for about 20 seconds
    Demo {
        /// Send all requests over IPv6 instead of half of them
        #[arg(long)]
        ipv6: bool,
    },
    /// Run all tests, those in the rig included (needs root)
    Test,
    /// Measure what packets, requests and responses cost, beside the rivals, and write docs/benchmarks.md (needs root, 20 minutes)
    Bench {
        /// Run this benchmark only and leave the other sections as they are; may be given several times
        #[arg(long, value_name = "NAME", value_parser = bench::names())]
        only: Vec<String>,
        /// Measure overload instead: three levels of clients at up to three times the capacity, with and without admission, and
        /// HAProxy (8 minutes)
        #[arg(long, conflicts_with = "only")]
        overload: bool,
    },
    /// A lab of client, switch, front-end and servers to play with (needs root)
    #[command(subcommand)]
    Rig(Lab),
}

#[derive(Debug, Subcommand)]
enum Lab {
    /// Start the lab; it runs on until `rig down`
    Up {
        /// Number of servers, 1 to 89
        #[arg(long, default_value_t = 3)]
        servers: usize,
        /// Give the front-end a second interface towards the servers
        #[arg(long)]
        two_arm: bool,
        /// Show hints for IPv6 instead of IPv4 (both are always configured)
        #[arg(long)]
        ipv6: bool,
    },
    /// Run a command on a host of the lab
    Exec {
        /// client, front, server1…, switch
        host: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true, num_args = 1..)]
        command: Vec<OsString>,
    },
    /// Remove the lab, however it was left
    Down,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Task::Demo { ipv6 } => demo::run(ipv6),
        Task::Test => rings::run(),
        Task::Bench { overload: true, .. } => bench::run_overload(),
        Task::Bench { only, .. } => bench::run(&only),
        Task::Rig(Lab::Up { servers, two_arm, ipv6 }) => {
            lab::up(servers, two_arm, ipv6).map(|()| ExitCode::SUCCESS)
        }
        Task::Rig(Lab::Exec { host, command }) => lab::exec(&host, &command),
        Task::Rig(Lab::Down) => lab::down().map(|()| ExitCode::SUCCESS),
    }
}
