//! wrk on the rig's client.

use std::process::Stdio;

use tests::Rig;

/// A run of wrk.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// The lines about errors, empty if there was none.
    pub(crate) errors: String,
}

/// Runs wrk with 64 connections; `close` asks for a connection a request.
pub(crate) fn run(rig: &Rig, url: &str, seconds: u32, close: bool) -> Run {
    let mut command = rig.host("client").unwrap().command("wrk");
    command.args(["-t2", "-c64", &format!("-d{seconds}"), "--timeout", "5"]);
    if close {
        command.args(["-H", "Connection: close"]);
    }
    let output = command.arg(url).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "wrk {url}: {}", String::from_utf8_lossy(&output.stderr));
    parse(&text).unwrap_or_else(|| panic!("wrk {url} printed: {text}"))
}

/// As `run`, and nothing may have failed.
pub(crate) fn run_clean(rig: &Rig, url: &str, seconds: u32, close: bool) -> Run {
    let run = run(rig, url, seconds, close);
    eprintln!(
        "wrk {url} {seconds} s, {}: {:.0} requests/s",
        if close { "close" } else { "keep-alive" },
        run.rate
    );
    assert!(run.errors.is_empty(), "{url}: {run:?}");
    assert!(run.requests > 0, "{url}: {run:?}");
    run
}

fn parse(text: &str) -> Option<Run> {
    let errors = text.lines().filter(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
    let requests = text.lines().find(|line| line.contains(" requests in "))?.split_whitespace().next()?;
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"))?;
    Some(Run {
        requests: requests.parse().ok()?,
        rate: rate.trim().parse().ok()?,
        errors: errors.map(str::trim).collect::<Vec<_>>().join("; "),
    })
}
