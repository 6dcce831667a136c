//! Asking a running role what it sees: `dispatcher show … --json` over its control socket.

use std::{
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::rig::Rig;

const POLL: Duration = Duration::from_millis(25);

impl Rig {
    /// The rows of `dispatcher show <what> --json` of a role (`front`, `server1`…).
    ///
    /// # Errors
    /// If the role does not answer or its answer is not a JSON array.
    pub fn show(&self, role: &str, what: &str) -> Result<Vec<Value>> {
        self.rows(role, &["show", what])
    }

    /// The rows of any command with `--json` that asks a role.
    ///
    /// # Errors
    /// As `show`.
    pub fn rows(&self, role: &str, arguments: &[&str]) -> Result<Vec<Value>> {
        let output = self.ask(role, &[arguments, &["--json"]].concat())?;
        let what = arguments.join(" ");
        if !output.status.success() {
            bail!("{role} does not answer {what}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        match serde_json::from_slice(&output.stdout)? {
            Value::Array(rows) => Ok(rows),
            other => bail!("{role} answers {what} by {other}, not by an array"),
        }
    }

    /// Runs `dispatcher` with these arguments and the control socket of a role, as an operator on that host would.
    ///
    /// # Errors
    /// If it cannot be run; what it says to that is in the output.
    pub fn ask(&self, role: &str, arguments: &[&str]) -> Result<Output> {
        self.host(role)?
            .command(self.dispatcher())
            .args(arguments)
            .arg("--socket")
            .arg(self.plan().control_socket(role))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", self.dispatcher().display()))
    }

    /// Value of one counter of a role.
    ///
    /// # Errors
    /// If the role does not answer or has no such counter.
    pub fn counter(&self, role: &str, name: &str) -> Result<u64> {
        let rows = self.show(role, "counters")?;
        let row = rows.iter().find(|row| row["name"] == name);
        row.and_then(|row| row["value"].as_u64()).ok_or_else(|| anyhow!("{role} has no counter {name}"))
    }

    /// Waits until the front-end sees all servers `up`.
    ///
    /// # Errors
    /// If it does not within `limit`; the message holds what it saw last.
    pub fn wait_until_servers_up(&self, limit: Duration) -> Result<()> {
        let up = |rows: &Vec<Value>| {
            rows.len() == self.plan().server_names().len() && rows.iter().all(|row| row["state"] == "up")
        };
        self.wait_for("front", "servers", limit, up).map(drop)
    }

    /// Polls `show <what>` of a role until `done` accepts its rows, and gives those.
    ///
    /// # Errors
    /// If that takes longer than `limit`; the message holds the last rows or the last error.
    pub fn wait_for(
        &self,
        role: &str,
        what: &str,
        limit: Duration,
        done: impl Fn(&Vec<Value>) -> bool,
    ) -> Result<Vec<Value>> {
        let start = Instant::now();
        loop {
            let shown = self.show(role, what);
            match shown {
                Ok(rows) if done(&rows) => return Ok(rows),
                _ if start.elapsed() < limit => thread::sleep(POLL),
                Ok(rows) => {
                    bail!("{role}'s {what} are not as expected after {limit:?}: {}", Value::Array(rows))
                }
                Err(error) => return Err(error.context(format!("waited {limit:?} for {what} of {role}"))),
            }
        }
    }
}
