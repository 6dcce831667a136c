//! wrk, a client of many connections that each wait for the answer before they ask again.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::Host;

/// Of requests, that may fail before a run counts as broken.
const TOLERATED: f64 = 0.001;

/// A load. One thread makes it.
#[derive(Clone, Copy, Debug)]
pub struct Wrk {
    pub connections: u32,
    pub time: Duration,
    /// A connection for each request.
    pub close: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct WrkReport {
    pub requests: u64,
    /// Requests a second.
    pub rate: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Wrk {
    /// Asks for a URL again and again.
    ///
    /// # Errors
    /// If wrk does not run, sees another status than 2xx or 3xx, or loses connections.
    pub fn run(&self, client: &Host, url: &str) -> Result<WrkReport> {
        let mut wrk = client.command("wrk");
        wrk.args(["-t1", "--latency", &format!("-c{}", self.connections)]).stdin(Stdio::null());
        wrk.arg(format!("-d{}", self.time.as_secs().max(1)));
        if self.close {
            wrk.args(["-H", "Connection: close"]);
        }
        let output = wrk.arg(url).output().context("cannot run wrk: is it installed?")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        parse(&text).with_context(|| format!("wrk printed:\n{text}"))
    }
}

fn parse(text: &str) -> Result<WrkReport> {
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        Ok::<_, anyhow::Error>(line.with_context(|| format!("there is no {label}"))?.trim())
    };
    if let Some(line) = text.lines().find(|line| line.contains("Non-2xx")) {
        bail!("the servers refused: {}", line.trim());
    }
    let total = text.lines().find(|line| line.contains(" requests in ")).context("there is no total")?;
    let requests: u64 = total.split_whitespace().next().unwrap_or_default().parse()?;
    let errors = after("Socket errors:").map(sum_of_numbers).unwrap_or_default();
    ensure!(errors as f64 <= requests as f64 * TOLERATED, "{errors} of {requests} requests failed");
    Ok(WrkReport {
        requests,
        rate: after("Requests/sec:")?.parse()?,
        p50: duration(after("50%")?)?,
        p99: duration(after("99%")?)?,
    })
}

fn sum_of_numbers(text: &str) -> u64 {
    text.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum()
}

/// As `630.00us`, `1.20ms`, `2.00s`, `1.50m`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        unit => bail!("{unit:?} in {text:?} is no unit of wrk"),
    };
    Ok(Duration::from_secs_f64(digits.parse::<f64>()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Running 2s test @ http://198.18.0.100/tiny
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   365.88us  125.40us   2.31ms   81.21%
    Req/Sec    43.32k     2.14k   46.22k    71.43%
  Latency Distribution
     50%  340.00us
     75%  412.00us
     90%  512.00us
     99%    1.20ms
  90511 requests in 2.10s, 17.61MB read
Requests/sec:  43102.28
Transfer/sec:      8.39MB
";

    #[test]
    fn what_wrk_prints_is_read() {
        let report = parse(TEXT).unwrap();
        assert_eq!((report.requests, report.rate), (90_511, 43_102.28));
        assert_eq!((report.p50, report.p99), (Duration::from_micros(340), Duration::from_micros(1200)));
    }

    #[test]
    fn a_run_that_lost_connections_is_no_measurement() {
        let broken = TEXT
            .replace("Requests/sec", "  Socket errors: connect 0, read 91, write 0, timeout 0\nRequests/sec");
        assert!(parse(&broken).is_err());
        assert!(parse(&broken.replace("91,", "90,")).is_ok());
    }
}
