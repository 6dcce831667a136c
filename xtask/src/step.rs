//! Long steps made visible: a spinner with the latest line of output on a terminal, plain lines elsewhere. The
//! whole output goes to a log, whose end is shown when a step fails.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read, Write, stderr},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

const LINES_SHOWN_ON_FAILURE: usize = 25;

/// Runs a command as a step called `what`.
pub(crate) fn run(what: &str, command: &mut Command, log: &Path) -> Result<()> {
    let start = Instant::now();
    let bar = spinner(what);
    let lines = stream(command, log, |line| bar.set_message(format!("{what}: {}", line.trim())));
    bar.finish_and_clear();
    let (success, lines) = lines.with_context(|| format!("cannot {what}"))?;
    if !success {
        let end = lines[lines.len().saturating_sub(LINES_SHOWN_ON_FAILURE)..].join("\n");
        bail!("cannot {what}; the log {} ends with:\n{end}", log.display());
    }
    eprintln!("setup: {what}: done in {:.0?}", start.elapsed());
    Ok(())
}

fn spinner(what: &str) -> ProgressBar {
    if !stderr().is_terminal() {
        eprintln!("setup: {what} …");
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed}] {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Gives whether the command succeeded, and all it printed.
fn stream(command: &mut Command, log: &Path, mut show: impl FnMut(&str)) -> Result<(bool, Vec<String>)> {
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let (sender, receiver) = mpsc::channel();
    let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let err = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    for pipe in [out, err].into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    drop(sender);
    let mut lines = Vec::new();
    for line in receiver {
        writeln!(log, "{line}")?;
        show(&line);
        lines.push(line);
    }
    Ok((child.wait()?.success(), lines))
}
