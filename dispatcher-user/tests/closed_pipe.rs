//! What the `dispatcher` binary does when its stdout cannot be written: behind `head`, which closes the pipe, and on a full disk.
//! A thread plays the role that is asked.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::{net::UnixListener, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

/// More than a pipe holds.
const ROWS: usize = 10_000;

/// A role that answers each request by the same rows; its socket's file goes with it.
struct Role(PathBuf);

impl Role {
    fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dispatcher-{}-{name}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                BufReader::new(&stream).read_line(&mut String::new()).unwrap();
                let rows = vec![r#"{"rule":"198.18.0.0/16 * - 5"}"#; ROWS].join(",");
                writeln!(stream, r#"{{"rows":[{rows}]}}"#).unwrap();
            }
        });
        Self(path)
    }

    fn socket(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn dispatcher(arguments: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

fn assert_ends_by_sigpipe(arguments: &[&str], output: &Output) {
    assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{arguments:?}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
}

#[test]
fn a_closed_pipe_ends_each_command_that_prints_as_it_ends_unix_tools() {
    let role = Role::start("closed");
    let asking: [&[&str]; 5] = [
        &["show", "filters"],
        &["show", "counters", "--json"],
        &["members", "list"],
        &["members", "list", "--json"],
        &["why", "--source", "198.18.0.1:4147"],
    ];
    let asking = asking.map(|arguments| [arguments, &["--socket", role.socket()]].concat());
    let simulated = "simulate run --policy random --servers 2 --requests 10";
    let simulated = simulated.split(' ').collect();
    for arguments in asking.into_iter().chain([simulated]) {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_ends_by_sigpipe(&arguments, &dispatcher(&arguments, writer));
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_in_the_middle() {
    let role = Role::start("enough");
    let arguments = ["show", "filters", "--socket", role.socket()];
    let (reader, writer) = io::pipe().unwrap();
    let head = thread::spawn(move || BufReader::new(reader).lines().next().unwrap().unwrap());
    let output = dispatcher(&arguments, writer);
    assert_eq!(head.join().unwrap().trim(), "rule");
    assert_ends_by_sigpipe(&arguments, &output);
}

#[test]
fn a_full_disk_is_told() {
    if !Path::new("/dev/full").exists() {
        return println!("skipped: no /dev/full here");
    }
    let role = Role::start("full");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = dispatcher(&["members", "list", "--socket", role.socket()], full);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.starts_with("dispatcher: cannot write to stdout: No space left"), "{text}");
}
