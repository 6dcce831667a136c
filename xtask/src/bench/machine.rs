//! On what was measured, and with what: for the head of the document.

use std::{fs, path::Path, process::Command};

use crate::workspace;

/// Programs whose versions matter, and where in the first line that they print the version begins.
const PROGRAMS: [(&str, &str, &str); 5] = [
    ("rustc", "rustc", "--version"),
    ("nginx", "/usr/sbin/nginx", "-v"),
    ("HAProxy", "/usr/sbin/haproxy", "-v"),
    ("wrk", "wrk", "-v"),
    ("clang", "clang", "--version"),
];

/// As a table.
pub(super) fn table(dispatcher: &Path) -> String {
    let mut rows = vec![
        ("CPU".to_owned(), cpu()),
        ("memory".to_owned(), memory()),
        ("kernel".to_owned(), read("/proc/sys/kernel/osrelease")),
        ("dispatcher".to_owned(), first_line(dispatcher, "--version")),
    ];
    for (name, program, argument) in PROGRAMS {
        rows.push((name.to_owned(), first_line(Path::new(program), argument)));
    }
    let rows = rows.iter().map(|(what, value)| format!("| {what} | {value} |\n"));
    format!("| | |\n| --- | --- |\n{}", rows.collect::<String>())
}

/// The day in UTC, and the commit.
pub(super) fn moment() -> String {
    let now = jiff::Timestamp::now().to_string();
    let day = now.split('T').next().unwrap_or_default();
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .current_dir(workspace::root())
        .output();
    let commit = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match commit {
        Ok(commit) if !commit.is_empty() => format!("{day}, commit {commit}"),
        _ => day.to_owned(),
    }
}

fn cpu() -> String {
    let text = read("/proc/cpuinfo");
    let values = |key: &str| {
        let lines =
            text.lines().filter(move |line| line.split(':').next().is_some_and(|name| name.trim() == key));
        lines.filter_map(|line| Some(line.split_once(':')?.1.trim().to_owned())).collect::<Vec<_>>()
    };
    let model = values("model name").into_iter().next().unwrap_or_else(|| "unknown".to_owned());
    let virtual_machine =
        values("flags").first().is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let kind = if virtual_machine { ", virtual machine" } else { "" };
    format!("{} CPUs, {model}{kind}", values("processor").len())
}

fn memory() -> String {
    let text = read("/proc/meminfo");
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<f64> = total.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.1} GiB", kib / f64::from(1 << 20)))
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// What a program says of itself, on whichever stream.
fn first_line(program: &Path, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else { return "not installed".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    line.replace("nginx version: ", "")
        .replace(" - https://haproxy.org/", "")
        .replace(" Copyright (C) 2012 Will Glozer", "")
}
