//! A server whose answer's body is the request itself, byte for byte: it shows what reached the server.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tests::Host;

pub(crate) const ECHO_PORT: u16 = 81;

/// The server; dropping it ends it.
pub(crate) struct Echo {
    host: Host,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(host: &Host) -> Self {
        let listener = host.enter(|| TcpListener::bind(("::", ECHO_PORT))).unwrap().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let accept = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // A client that breaks off is a test's business.
                thread::spawn(move || drop(serve(stream)));
            }
        };
        Self { host: host.clone(), stop, thread: Some(thread::spawn(accept)) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let woken = self.host.enter(|| TcpStream::connect(("127.0.0.1", ECHO_PORT)).is_ok());
        if let (Ok(true), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 65_536];
    loop {
        while let Some(length) = request_length(&bytes) {
            let request: Vec<u8> = bytes.drain(..length).collect();
            write!(stream, "HTTP/1.1 200 OK\r\nX-Server: server1\r\nContent-Length: {length}\r\n\r\n")?;
            stream.write_all(&request)?;
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Length of the first request in `bytes`, if it is complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = head + body.map_or(0, |length| length.trim().parse::<usize>().unwrap_or(0));
    (bytes.len() >= length).then_some(length)
}
