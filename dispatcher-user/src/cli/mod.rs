//! The command line: what can be asked for, and how it is carried out. Data goes to stdout, messages to stderr. Exit status: 0
//! done, 1 failed, 2 wrong usage; ended by SIGPIPE where nobody reads the data any more.

mod config_file;
mod members;
mod outcome;
mod output;
mod replay;
mod simulate;
mod table;
mod why;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dispatcher_core::config::Mode;
use tracing_subscriber::{EnvFilter, fmt::time::uptime};

use crate::{
    back,
    control_socket::{self, DEFAULT_LIMIT, Request, Show, SortKey, Subject},
    front,
};

/// A layer-7 dispatcher that hands each HTTP connection to the server whose cache knows its request, without proxying it
#[derive(Debug, Parser)]
#[command(name = "dispatcher", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more on stderr; -vv says everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the front-end on this host: answer clients, choose a server for each, forward its packets
    #[command(
        after_help = "Stops at SIGTERM or SIGINT and then detaches. When it is killed instead, packets of known flows are \
                            still forwarded, and the next start takes over."
    )]
    Front(FrontArgs),
    /// Run the agent beside a server's software: accept the flows that front-ends hand off, report the load
    #[command(after_help = "Needs Linux 6.9 or newer, the VIPs on `lo`, and net.ipv4.tcp_syncookies not 0.")]
    Back(RoleArgs),
    /// Read a configuration file and say what is wrong with it; starts nothing
    Check {
        /// Configuration file of a front-end or of an agent
        file: PathBuf,
    },
    /// Show what a running dispatcher sees
    Show(ShowArgs),
    /// List and change the rules that give clients their priority, live
    Members(members::MembersArgs),
    /// Say what would become of a request at a running front-end, by which rule, and where the client's connection is
    Why(why::WhyArgs),
    /// Compare policies in a simulated cluster; needs no network and no rights
    Simulate(simulate::SimulateArgs),
    /// Replay access logs under all policies: which one, which table, K and T_load suit a site
    Replay(replay::ReplayArgs),
}

#[derive(Debug, Args)]
struct RoleArgs {
    /// Configuration file, see docs/configuration.md
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct FrontArgs {
    #[command(flatten)]
    role: RoleArgs,
    /// How to attach to the interface; overrides the configuration
    #[arg(long)]
    mode: Option<ModeArg>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// In the driver: fast
    Native,
    /// Behind the driver: for drivers without XDP
    Skb,
}

#[derive(Debug, Args)]
struct ShowArgs {
    what: Subject,
    /// Print a JSON array of objects instead of a table
    #[arg(long)]
    json: bool,
    /// Control socket of the role to ask
    #[arg(long, value_name = "PATH", default_value = "/run/dispatcher/front.sock")]
    socket: PathBuf,
    /// At most this many filters
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT)]
    limit: usize,
    /// The filters that are greatest in this come first
    #[arg(long, value_name = "KEY")]
    sort: Option<SortKey>,
}

impl Cli {
    /// Carries out what was asked for.
    ///
    /// # Errors
    /// With the message for the person who asked.
    pub fn run(self) -> Result<()> {
        start_logging(self.verbose);
        match self.command {
            Command::Front(arguments) => run_front(&arguments),
            Command::Back(arguments) => run_back(&arguments),
            Command::Check { file } => Ok(output::line(config_file::check(&file)?)?),
            Command::Show(arguments) => show(&arguments),
            Command::Members(arguments) => members::run(&arguments),
            Command::Why(arguments) => why::run(&arguments),
            Command::Simulate(arguments) => simulate::run(&arguments),
            Command::Replay(arguments) => replay::run(&arguments),
        }
    }
}

fn run_front(arguments: &FrontArgs) -> Result<()> {
    let (mut config, secret) = config_file::front(&arguments.role.config)?;
    let tables = config_file::members(&arguments.role.config, &config, &secret)?;
    match arguments.mode {
        Some(ModeArg::Native) => config.mode = Mode::Native,
        Some(ModeArg::Skb) => config.mode = Mode::Skb,
        None => {}
    }
    Ok(front::run(&config, &secret, tables)?)
}

fn run_back(arguments: &RoleArgs) -> Result<()> {
    let (config, secret) = config_file::back(&arguments.config)?;
    Ok(back::run(&config, &secret)?)
}

fn show(arguments: &ShowArgs) -> Result<()> {
    let show = Show { what: arguments.what, limit: Some(arguments.limit), sort: arguments.sort };
    let reply = control_socket::ask(&arguments.socket, &Request::Show(show))?;
    output::rows(&reply.rows, arguments.json)?;
    if reply.cut {
        eprintln!("there are more than {} {}; --limit shows more", reply.rows.len(), arguments.what);
    }
    Ok(())
}

/// Messages to stderr: warnings and what a role does; more with `-v`. `RUST_LOG` overrides both.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "info,dispatcher_user=debug,dispatcher=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(uptime())
        .with_target(verbose > 0)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_are_understood() {
        for line in [
            "dispatcher front --config f.toml --mode skb",
            "dispatcher back --config b.toml -v",
            "dispatcher check f.toml",
            "dispatcher show servers --json",
            "dispatcher show bind-table",
            "dispatcher show filters --limit 5 --socket /run/x.sock",
            "dispatcher -vv show counters",
            "dispatcher show filters --sort idle --limit 20",
            "dispatcher show admission",
            "dispatcher show priorities --json",
            "dispatcher members list",
            "dispatcher members add 198.18.0.0/16 * plan=gold 7",
            "dispatcher members remove 198.18.0.0/16 * plan=gold --service web",
            "dispatcher members load - --socket /run/x.sock",
            "dispatcher members sign-cookie --config f.toml --priority 7 --expires 12h",
            "dispatcher why --source 198.18.0.1:4147 --cookie A=1 --cookie B=2 --url /images/a.png",
            "dispatcher simulate run --policy context:sticky:50 --policy lard:55/65 --servers 4 --slow 1:3",
            "dispatcher simulate figure all --out docs/figures",
            "dispatcher simulate sweep classes=10,20,50 --popularity zipf --json",
            "dispatcher simulate matrix --policy context:weighted:128 --out matrix.csv",
            "dispatcher simulate overload --out docs/figures",
            "dispatcher replay a.log b.log.gz --servers 4 --cache 256MB --service-time 2ms --out plots",
            "dispatcher replay - --format common --time-format %d:%H:%M:%S --pace saturate",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "dispatcher",
            "dispatcher front",
            "dispatcher show money",
            "dispatcher front --config f --mode x",
            "dispatcher show filters --sort luck",
            "dispatcher members add 198.18.0.0/16",
            "dispatcher why --source 198.18.0.1",
            "dispatcher simulate run --policy lucky",
            "dispatcher simulate run --levels 1,2",
            "dispatcher simulate figure 7",
            "dispatcher replay",
            "dispatcher replay a.log --format morse",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
