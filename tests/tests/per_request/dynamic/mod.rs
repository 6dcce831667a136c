//! A small dynamic server, the same on every host: it reads bodies and says what they were, answers in parts with pauses, and
//! upgrades to WebSocket. Its answers depend on the request alone, but for the server's name.

mod answer;
mod body;
mod request;
mod sha1;
mod websocket;

use std::{
    io::{self, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tests::Host;

use self::request::Request;

pub(crate) const PORT: u16 = 82;

/// The server; dropping it ends it.
pub(crate) struct Dynamic {
    host: Host,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dynamic {
    pub(crate) fn start(host: &Host) -> Self {
        let listener = host.enter(|| TcpListener::bind(("::", PORT))).unwrap().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), host.name().to_owned());
        let accept = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let name = name.clone();
                // A connection that breaks off is its client's business.
                thread::spawn(move || drop(serve(stream, &name)));
            }
        };
        Self { host: host.clone(), stop, thread: Some(thread::spawn(accept)) }
    }
}

impl Drop for Dynamic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let woken = self.host.enter(|| TcpStream::connect(("127.0.0.1", PORT)).is_ok());
        if let (Ok(true), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        if let Some(key) = request.header("sec-websocket-key") {
            return websocket::serve(&mut reader, &mut stream, name, key);
        }
        match request.header("expect") {
            Some(_) if request.target.starts_with("/refuse") => return answer::refuse(&mut stream, name),
            Some(_) => stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?,
            None => {}
        }
        let (length, digest) = body::read(&request, &mut reader)?;
        let text = format!("{name} {} {} {length} {digest:08x}\n", request.method, request.target);
        if !answer::send(&mut stream, name, &request, &text)? {
            return Ok(());
        }
    }
    Ok(())
}
