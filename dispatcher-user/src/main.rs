//! The `dispatcher` command.

use std::process::ExitCode;

use clap::Parser;
use dispatcher_user::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Messages hold what they know of their causes.
            eprintln!("dispatcher: {error}");
            ExitCode::FAILURE
        }
    }
}
