//! `dispatcher members`: the rules that give clients their priority, in a running front-end; and signed cookies.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use dispatcher_core::{
    ids::Priority,
    member::{MemberRule, SignedCookies, parse_rules},
};

use super::{config_file, output, table};
use crate::{
    control_socket::{self, MembersAction, MembersRequest, Request},
    kernel::clock,
    text_file,
};

/// What to do with the rules.
#[derive(Debug, Args)]
pub(super) struct MembersArgs {
    #[command(subcommand)]
    command: Command,
    /// Control socket of the front-end
    #[arg(long, value_name = "PATH", default_value = "/run/dispatcher/front.sock", global = true)]
    socket: PathBuf,
    /// Name of the service; needed where there are several
    #[arg(long, value_name = "NAME", global = true)]
    service: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the rules that hold, as a file of rules
    List {
        /// Print a JSON array of objects instead
        #[arg(long)]
        json: bool,
    },
    /// Add a rule
    #[command(after_help = RULES)]
    Add(RuleArgs),
    /// Remove the rule with this source, port and cookie, whatever its priority
    #[command(after_help = RULES)]
    Remove(RuleArgs),
    /// Replace all rules by those of a file, at once; `-` reads standard input
    #[command(after_help = RULES)]
    Load {
        /// File of rules, one a line
        file: PathBuf,
    },
    /// Print a signed cookie that gives its bearer a priority until it expires
    SignCookie {
        /// Configuration file of the front-end: its secret signs
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// 0 (lowest) to 7 (highest)
        #[arg(long)]
        priority: u8,
        /// For how long the cookie is good, as in 12h
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
        expires: Duration,
    },
}

const RULES: &str = "A rule is SOURCE PORT COOKIE PRIORITY: a prefix, a source port or *, a cookie as NAME or NAME=VALUE or -, and 0 \
                     (lowest) to 7 (highest), for example: 198.18.0.0/16 '*' plan=gold 7. Changes hold at once, and until the \
                     front-end starts anew: to keep them, put the output of `members list` into the service's members file.";

#[derive(Debug, Args)]
struct RuleArgs {
    /// Source prefix, as in 198.18.0.0/16
    source: String,
    /// Source port, or * for any
    port: String,
    /// NAME or NAME=VALUE, or - for none
    cookie: String,
    /// 0 to 7
    #[arg(default_value = "0")]
    priority: String,
}

impl RuleArgs {
    fn rule(&self) -> Result<MemberRule> {
        let text = [&*self.source, &self.port, &self.cookie, &self.priority].join(" ");
        Ok(text.parse()?)
    }
}

pub(super) fn run(arguments: &MembersArgs) -> Result<()> {
    match &arguments.command {
        Command::List { json } => list(arguments, *json),
        Command::Add(rule) => change(arguments, MembersAction::Add { rule: rule.rule()?.to_string() }),
        Command::Remove(rule) => change(arguments, MembersAction::Remove { rule: rule.rule()?.to_string() }),
        Command::Load { file } => {
            let (name, text) = read(file)?;
            // Here first, so that a mistake is found where the file is.
            parse_rules(&text, &name)?;
            change(arguments, MembersAction::Load { file: name, text })
        }
        Command::SignCookie { config, priority, expires } => sign(arguments, config, *priority, *expires),
    }
}

fn read(file: &Path) -> Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    Ok((file.display().to_string(), text_file::read(file)?))
}

fn ask(arguments: &MembersArgs, action: MembersAction) -> Result<control_socket::Reply> {
    let request = Request::Members(MembersRequest { service: arguments.service.clone(), action });
    Ok(control_socket::ask(&arguments.socket, &request)?)
}

fn list(arguments: &MembersArgs, json: bool) -> Result<()> {
    let reply = ask(arguments, MembersAction::List)?;
    if json {
        return Ok(output::rows(&reply.rows, json)?);
    }
    let rules = reply.rows.iter().map(|row| row["rule"].as_str().unwrap_or_default());
    Ok(output::line(table::lines("# source port cookie priority", rules))?)
}

fn change(arguments: &MembersArgs, action: MembersAction) -> Result<()> {
    let reply = ask(arguments, action)?;
    let rules = reply.rows.first().map_or(0, |row| row["rules"].as_u64().unwrap_or(0));
    eprintln!("{rules} rules hold now");
    Ok(())
}

fn sign(arguments: &MembersArgs, file: &Path, priority: u8, expires: Duration) -> Result<()> {
    let Some(priority) = Priority::new(priority) else {
        bail!("priority {priority} is above the highest; use 0 to 7");
    };
    let (config, secret) = config_file::front(file)?;
    let service = match &arguments.service {
        Some(name) => config.services.iter().find(|service| service.name == *name),
        None if config.services.len() == 1 => config.services.first(),
        None => bail!("{} has several services; say which by --service", file.display()),
    };
    let Some(service) = service else {
        bail!("{} has no service of that name; see its [[service]] tables", file.display());
    };
    let Some(name) = &service.signed_cookie else {
        bail!("service {:?} takes no signed cookie; set its signed_cookie to a name", service.name);
    };
    let until_s = clock::wall_ns() / 1_000_000_000 + expires.as_secs();
    let cookies = SignedCookies::new(name, &secret, &service.name);
    Ok(output::line(format_args!("{name}={}", cookies.sign(priority, until_s)))?)
}
