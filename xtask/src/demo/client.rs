//! A small HTTP/1.1 client on one connection, and what a right answer of a server of the rig is.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use ::tests::content;
use anyhow::{Context, Result, bail, ensure};

const PATIENCE: Duration = Duration::from_secs(10);

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub path: String,
    /// Sent by POST if there is one.
    pub body: Option<String>,
    /// The head goes out in two segments.
    pub split: bool,
    pub close: bool,
}

/// A connection to the service; each of its answers may come from another server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).context("cannot connect")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_string() })
    }

    /// Sends a request, reads the answer and checks it; gives the name of the server.
    pub(super) fn exchange(&mut self, request: &Request, servers: &[String]) -> Result<String> {
        self.send(request).context("cannot send")?;
        let (head, body) = self.receive().context("no whole answer")?;
        ensure!(head.status == 200, "status {}", head.status);
        let Some(server) = head.server.filter(|name| servers.contains(name)) else {
            bail!("X-Server does not name a server");
        };
        check_body(request, &server, &body)?;
        Ok(server)
    }

    fn send(&mut self, request: &Request) -> Result<()> {
        let method = if request.body.is_some() { "POST" } else { "GET" };
        let connection = if request.close { "Connection: close\r\n" } else { "" };
        let body = request.body.as_deref().unwrap_or_default();
        let length = if request.body.is_some() {
            format!("Content-Length: {}\r\n", body.len())
        } else {
            String::new()
        };
        let message = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: dispatcher-demo\r\n{connection}{length}\r\n{body}",
            request.path, self.host
        );
        let (first, second) =
            message.as_bytes().split_at(if request.split { message.len() / 2 } else { message.len() });
        let stream = self.stream.get_mut();
        stream.write_all(first)?;
        if !second.is_empty() {
            // Without a pause both would leave in one segment when the system is busy.
            std::thread::sleep(Duration::from_millis(2));
            stream.write_all(second)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(Head, Vec<u8>)> {
        let mut head = Head::default();
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
            if line.trim_end().is_empty() {
                break;
            }
            head.take_line(line.trim_end())?;
        }
        let mut body = vec![0; head.length.context("the answer has no Content-Length")?];
        self.stream.read_exact(&mut body)?;
        Ok((head, body))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Option<usize>,
    server: Option<String>,
}

impl Head {
    fn take_line(&mut self, line: &str) -> Result<()> {
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            self.status = rest.split(' ').next().unwrap_or_default().parse().context("bad status line")?;
            return Ok(());
        }
        let (name, value) = line.split_once(':').with_context(|| format!("bad header line {line:?}"))?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => self.length = Some(value.trim().parse().context("bad Content-Length")?),
            "x-server" => self.server = Some(value.trim().to_owned()),
            _ => {}
        }
        Ok(())
    }
}

fn check_body(request: &Request, server: &str, body: &[u8]) -> Result<()> {
    let path = request.path.split('?').next().unwrap_or_default();
    let file = path.strip_prefix("/bytes/").and_then(content::size_of_file);
    if let (Some(size), None) = (file, &request.body) {
        ensure!(body.len() as u64 == size, "{} bytes instead of {size}", body.len());
        if let Some(at) = content::first_difference(0, body) {
            bail!("the body differs from byte {at} on");
        }
        return Ok(());
    }
    ensure!(
        body == format!("{server} {path}\n").as_bytes(),
        "the body is {:?}",
        String::from_utf8_lossy(body)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Request {
        Request { path: path.to_owned(), body: None, split: false, close: false }
    }

    #[test]
    fn a_head_is_read_line_by_line() {
        let mut head = Head::default();
        for line in ["HTTP/1.1 200 OK", "Content-Length: 12", "X-Server: server2", "Date: a: b"] {
            head.take_line(line).unwrap();
        }
        assert_eq!(head, Head { status: 200, length: Some(12), server: Some("server2".to_owned()) });
        assert!(head.take_line("nonsense").is_err());
    }

    #[test]
    fn a_wrong_body_is_noticed() {
        assert!(check_body(&get("/cgi/a?x=1"), "server1", b"server1 /cgi/a\n").is_ok());
        assert!(check_body(&get("/cgi/a"), "server1", b"server2 /cgi/a\n").is_err());
        let mut file = vec![0; 1024];
        content::fill(0, &mut file);
        assert!(check_body(&get("/bytes/1k"), "server1", &file).is_ok());
        file[77] ^= 1;
        assert!(check_body(&get("/bytes/1k"), "server1", &file).is_err());
        assert!(check_body(&get("/bytes/64k"), "server1", &file).is_err());
    }
}
