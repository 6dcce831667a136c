//! A client of one connection, from the kernel of the rig's client: it sends bytes as a test says and reads response by response.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tests::Host;

/// Nothing in the rig takes so long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The connection.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

/// A response, with its body as it was before any chunking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// Whether a body may follow the head (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Head,
    Other,
}

impl Client {
    pub(crate) fn connect(host: &Host, to: SocketAddr) -> Self {
        Self::with_buffer(host, to, None)
    }

    /// As `connect`, with a receive buffer of so many bytes.
    pub(crate) fn with_buffer(host: &Host, to: SocketAddr, bytes: Option<usize>) -> Self {
        host.enter(|| Self::connect_inside(to, bytes)).unwrap().unwrap()
    }

    /// For a thread that is inside the client's host already.
    pub(crate) fn connect_inside(to: SocketAddr, buffer_bytes: Option<usize>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.connect_timeout(&to.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::with_capacity(16 << 10, stream) })
    }

    /// The client's own address and port.
    pub(crate) fn source(&self) -> SocketAddr {
        self.reader.get_ref().local_addr().unwrap()
    }

    /// Waits longer for what is to come.
    pub(crate) fn be_patient(&self, patience: Duration) {
        self.reader.get_ref().set_read_timeout(Some(patience)).unwrap();
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// The next response to anything but HEAD, or the next 1xx.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to(Asked::Other)
    }

    pub(crate) fn response_to(&mut self, asked: Asked) -> Response {
        match self.try_response(asked) {
            Ok(Some(response)) => response,
            Ok(None) => panic!("the connection was closed instead of a response"),
            Err(error) => panic!("no response: {error}"),
        }
    }

    /// The next response; `None` if the connection was closed before its first byte. Whatever happens behind the first byte is
    /// [`io::ErrorKind::InvalidData`].
    pub(crate) fn try_response(&mut self, asked: Asked) -> io::Result<Option<Response>> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.reader.read_line(&mut head) {
                Ok(0) if head.is_empty() => return Ok(None),
                Ok(0) => return Err(odd("an end within a head", &head)),
                Ok(_) => {}
                Err(error) if head.is_empty() => return Err(error),
                Err(error) => return Err(odd(&format!("{error} within a head"), &head)),
            }
        }
        let mut response = Response { head, body: Vec::new() };
        let status = response.status();
        if asked == Asked::Other && !(100..200).contains(&status) && status != 204 && status != 304 {
            self.read_body(&mut response)
                .map_err(|error| odd(&format!("{error} in a body"), &response.head))?;
        }
        Ok(Some(response))
    }

    /// A GET and its response.
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(get(target).as_bytes());
        self.response()
    }

    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) {
        self.reader.read_exact(bytes).unwrap_or_else(|error| panic!("{} bytes: {error}", bytes.len()));
    }

    /// What came and was not read, after an end that the other side makes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).unwrap();
        rest
    }

    fn read_body(&mut self, response: &mut Response) -> io::Result<()> {
        if response.header("transfer-encoding").is_some() {
            return self.read_chunks(&mut response.body);
        }
        match response.header("content-length").map(str::parse) {
            Some(Ok(length)) => {
                response.body.resize(length, 0);
                self.reader.read_exact(&mut response.body)
            }
            Some(Err(_)) => Err(odd("a length that is none", &response.head)),
            None => self.reader.read_to_end(&mut response.body).map(drop),
        }
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let length =
                usize::from_str_radix(line.trim_end(), 16).map_err(|_| odd("no chunk's size", &line))?;
            let start = body.len();
            // With the line's end behind it.
            body.resize(start + length + 2, 0);
            self.reader.read_exact(&mut body[start..])?;
            if !body.ends_with(b"\r\n") {
                return Err(odd("no end of a chunk", &line));
            }
            body.truncate(start + length);
            if length == 0 {
                return Ok(());
            }
        }
    }
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("not a response: {:?}", self.head))
    }

    /// Value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named =
            |line: &'_ str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        let line = self.head.lines().skip(1).find(|line| named(line))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    /// Which server says that it has answered.
    pub(crate) fn server(&self) -> &str {
        self.header("x-server").unwrap_or_else(|| panic!("no server in {:?}", self.head))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The usual request.
pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: rig\r\n\r\n")
}

fn odd(what: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {text:?}"))
}
