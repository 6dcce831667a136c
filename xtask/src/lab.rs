//! `cargo xtask rig`: the lab, a rig that outlives its maker.

use std::{ffi::OsString, os::unix::process::CommandExt, process::ExitCode};

use ::tests::{Family, FrontOptions, Host, LAB, Rig};
use anyhow::{Context, Result, bail};

use crate::{interrupt, setup, workspace};

pub(crate) fn up(servers: usize, two_arm: bool, ipv6: bool) -> Result<()> {
    workspace::need_root("the lab")?;
    setup::ensure()?;
    let dispatcher = workspace::build_dispatcher()?;
    interrupt::catch()?;
    let mut rig = Rig::builder(LAB).servers(servers).two_arm(two_arm).dispatcher(dispatcher).start()?;
    rig.start_dispatcher(&FrontOptions::default())?;
    if interrupt::came() {
        bail!("interrupted; the lab is removed");
    }
    print!("{}", guide(&rig, if ipv6 { Family::V6 } else { Family::V4 }));
    rig.leave();
    Ok(())
}

pub(crate) fn exec(host: &str, command: &[OsString]) -> Result<ExitCode> {
    workspace::need_root("the lab")?;
    let [program, arguments @ ..] = command else { bail!("there is no command after `--`") };
    // The command takes this process over: standard streams, signals and exit status are its own.
    let error = Host::existing(LAB, host)?.command(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {} on {host}", program.display()))
}

pub(crate) fn down() -> Result<()> {
    workspace::need_root("the lab")?;
    match ::tests::remove_leftovers(LAB)? {
        0 => println!("there was no lab"),
        hosts => println!("the lab of {hosts} hosts is removed"),
    }
    Ok(())
}

fn guide(rig: &Rig, family: Family) -> String {
    let plan = rig.plan();
    let here = std::env::current_dir().unwrap_or_default();
    let dispatcher = rig.dispatcher().strip_prefix(here).unwrap_or(rig.dispatcher()).display();
    let servers = plan.server_names();
    let names = if servers.len() > 4 {
        format!("{} … {}", servers[0], servers[servers.len() - 1])
    } else {
        servers.join("  ")
    };
    let picture = if plan.two_arm() {
        format!(
            "  client ── switch ── front ── switch2 ── {names}\n               └───────────────┘ the servers' way back to the client"
        )
    } else {
        format!("  client ── switch ── front\n               └───── {names}")
    };
    let socket = |role: &str| plan.control_socket(role).display().to_string();
    let (vip, direct) = (plan.url("vip", family, 80), plan.url("server1", family, 80));
    format!(
        "The lab is up:\n{picture}\n\n\
         A request to the service, and one past the dispatcher:\n  \
           cargo xtask rig exec client -- curl -i -g '{vip}/images/logo.png'\n  \
           cargo xtask rig exec client -- curl -i -g '{direct}/'\n  \
           cargo xtask rig exec client -- wrk -t1 -c16 -d5 '{vip}/bytes/64k'\n\
         What the roles see (servers, bind-table, filters, counters):\n  \
           cargo xtask rig exec front -- {dispatcher} show servers --socket {front}\n  \
           cargo xtask rig exec server1 -- {dispatcher} show counters --socket {server}\n\
         Configurations and logs:  {run}\n\
         Remove it:  cargo xtask rig down\n",
        front = socket("front"),
        server = socket("server1"),
        run = plan.run_dir().display(),
    )
}
