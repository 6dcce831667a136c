//! Real clients from many addresses, each with one kept connection, and what the front-end and the servers know of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use tests::{Rig, Sources};

/// A refusal is quick; whoever is silent for so long has said nothing.
pub(crate) const SILENCE: Duration = Duration::from_millis(600);

/// Whoever is served is served within this time, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A pass over the filter-table comes every second; after two every idle flow is known as one that may give way.
pub(crate) const TWO_PASSES: Duration = Duration::from_millis(2300);

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) source: SocketAddr,
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Visitor {
    /// Connects; the error is the kernel's.
    pub(crate) fn try_new(sources: &Sources, source: SocketAddr, limit: Duration) -> io::Result<Self> {
        Self::of(sources.connect(source, limit).unwrap()?)
    }

    /// Connects, which must succeed.
    pub(crate) fn new(sources: &Sources, source: SocketAddr) -> Self {
        Self::try_new(sources, source, PATIENCE).unwrap_or_else(|error| panic!("{source}: {error}"))
    }

    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { source: stream.local_addr()?, stream, received: Vec::new() })
    }

    /// Sends a GET with these fields (`Name: value\r\n` each).
    pub(crate) fn ask(&mut self, path: &str, fields: &str) -> io::Result<()> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: rig\r\n{fields}\r\n").as_bytes())
    }

    /// Receives one answer with its body.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.received) {
                self.received.drain(..length);
                return Ok(answer);
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// A request and its answer.
    pub(crate) fn try_get(&mut self, path: &str, fields: &str) -> io::Result<Answer> {
        self.ask(path, fields)?;
        self.answer()
    }

    /// As `try_get`, and it must be answered; gives the status.
    pub(crate) fn get(&mut self, path: &str, fields: &str) -> u16 {
        self.try_get(path, fields).unwrap_or_else(|error| panic!("{} {path}: {error}", self.source)).status
    }

    /// Whether the connection is reset within the time.
    pub(crate) fn is_reset(&mut self, within: Duration) -> bool {
        self.stream.set_read_timeout(Some(within)).unwrap();
        let result = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(result, Err(error) if error.kind() == ErrorKind::ConnectionReset)
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent(&mut self, during: Duration) -> bool {
        self.stream.set_read_timeout(Some(during)).unwrap();
        let result = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        matches!(result, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }
}

fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let length = length.unwrap_or(0);
    let body = bytes[end + 4..].get(..length)?.to_vec();
    Some((Answer { status, head, body }, end + 4 + length))
}

/// A text's address, with any port if it names none.
pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 0))
}

/// Kept connections from all these addresses, each with one answered request.
pub(crate) fn arrive(sources: &Sources, from: impl IntoIterator<Item = SocketAddr>) -> Vec<Visitor> {
    let from: Vec<SocketAddr> = from.into_iter().collect();
    let connect = |source: &SocketAddr| -> Visitor {
        let visitor = sources.connect_inside(*source, PATIENCE).and_then(Visitor::of);
        visitor.unwrap_or_else(|error| panic!("{source}: {error}"))
    };
    let mut visitors: Vec<Visitor> = sources.host().enter(|| from.iter().map(connect).collect()).unwrap();
    // In portions, so that the slow path's queue holds them all.
    for portion in visitors.chunks_mut(200) {
        portion.iter_mut().for_each(|visitor| visitor.ask("/pages/1", "").unwrap());
        for visitor in portion {
            let answer = visitor.answer().unwrap_or_else(|error| panic!("{}: {error}", visitor.source));
            assert_eq!(answer.status, 200, "{}: {}", visitor.source, answer.head);
        }
    }
    visitors
}

/// Priorities of the established filters whose client's address begins so.
pub(crate) fn filters(rig: &Rig, prefix: &str) -> BTreeMap<SocketAddr, u64> {
    let rows = rig.rows("front", &["show", "filters", "--limit", "50000"]).unwrap();
    let mine = rows.iter().filter(|row| {
        row["state"] == "established"
            && row["client"].as_str().is_some_and(|client| client.starts_with(prefix))
    });
    let pair = |row: &serde_json::Value| {
        let port = u16::try_from(row["port"].as_u64().unwrap()).unwrap();
        let client: IpAddr = row["client"].as_str().unwrap().parse().unwrap();
        (SocketAddr::new(client, port), row["priority"].as_u64().unwrap())
    };
    mine.map(pair).collect()
}

/// One number of a priority of the web service.
pub(crate) fn tally(rig: &Rig, priority: u8, key: &str) -> u64 {
    let rows = rig.show("front", "priorities").unwrap();
    let row = rows.iter().find(|row| row["service"] == "web" && row["priority"] == u64::from(priority));
    row.unwrap()[key].as_i64().unwrap_or_else(|| panic!("no {key} in {row:?}")).try_into().unwrap()
}

/// One number of all priorities.
pub(crate) fn tallies(rig: &Rig, key: &str) -> [u64; 8] {
    let rows = rig.show("front", "priorities").unwrap();
    let web: Vec<u64> =
        rows.iter().filter(|row| row["service"] == "web").map(|row| row[key].as_u64().unwrap()).collect();
    web.try_into().unwrap()
}

/// How many of these clients a server has a socket with.
pub(crate) fn server_sockets(rig: &Rig, clients: &[SocketAddr]) -> usize {
    let clients: BTreeSet<&SocketAddr> = clients.iter().collect();
    let count = |server: &String| {
        let text = rig.host(server).unwrap().run("ss -Htn state established").unwrap();
        let peers = text.lines().filter_map(|line| line.split_whitespace().nth(3)?.parse().ok());
        peers.filter(|peer: &SocketAddr| clients.contains(peer)).count()
    };
    rig.plan().server_names().iter().map(count).sum()
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
