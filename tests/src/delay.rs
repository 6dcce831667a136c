//! A slow origin behind a server's nginx: threads that each take one request at a time, wait, and answer. When all are busy,
//! requests queue up, so both the time to the first byte and the server's load grow.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::host::Host;

/// Where nginx finds it, on the server's loopback.
pub(crate) const PORT: u16 = 8090;

/// Headers and lines beyond this are not ours to read: nginx sends less.
const LONGEST_HEAD: u64 = 64 << 10;

#[derive(Debug)]
pub(crate) struct DelayServer {
    shared: Arc<Shared>,
    host: Host,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    filling: String,
    delay_us: AtomicU64,
    stop: AtomicBool,
}

impl DelayServer {
    /// Answers `threads` requests at a time, each by a line with its path and `filling` dots.
    pub(crate) fn start(host: &Host, threads: usize, filling: usize) -> Result<Self> {
        let listener = host
            .enter(|| TcpListener::bind(("127.0.0.1", PORT)))?
            .with_context(|| format!("cannot start the delay server of {}", host.name()))?;
        let shared = Arc::new(Shared {
            name: host.name().to_owned(),
            filling: ".".repeat(filling),
            delay_us: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let (listener, serving) = (Arc::new(listener), Arc::clone(&shared));
        let start = || {
            let (listener, serving) = (Arc::clone(&listener), Arc::clone(&serving));
            thread::spawn(move || serve(&listener, &serving))
        };
        let threads = std::iter::repeat_with(start).take(threads).collect();
        Ok(Self { shared, host: host.clone(), threads })
    }

    pub(crate) fn set(&self, delay: Duration) {
        let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.shared.delay_us.store(delay_us, Ordering::Relaxed);
    }
}

impl Drop for DelayServer {
    fn drop(&mut self) {
        self.set(Duration::ZERO);
        self.shared.stop.store(true, Ordering::Relaxed);
        // One more connection for each thread wakes it up from its accept; without that it must not be waited for.
        let wake = || self.threads.iter().all(|_| TcpStream::connect(("127.0.0.1", PORT)).is_ok());
        if let Ok(true) = self.host.enter(wake) {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

fn serve(listener: &TcpListener, shared: &Shared) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        // A client that went away is nginx's business.
        let _ = stream.and_then(|stream| answer(stream, shared));
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if (&mut reader).take(LONGEST_HEAD).read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    std::io::copy(&mut (&mut reader).take(body_length(&head)), &mut std::io::sink())?;
    thread::sleep(Duration::from_micros(shared.delay_us.load(Ordering::Relaxed)));
    let body = format!("{} {}\n{}", shared.name, path(&head), shared.filling);
    let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length:";
    stream.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes())
}

fn path(head: &str) -> &str {
    let target = head.split(' ').nth(1).unwrap_or_default();
    target.split('?').next().unwrap_or_default()
}

fn body_length(head: &str) -> u64 {
    let named = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    head.lines().find_map(named).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_its_path_and_body_length() {
        let head = "POST /cgi/x?y=1 HTTP/1.0\r\nHost: a\r\ncontent-length: 12\r\n\r\n";
        assert_eq!(path(head), "/cgi/x");
        assert_eq!(body_length(head), 12);
        assert_eq!(body_length("GET / HTTP/1.0\r\n\r\n"), 0);
    }
}
