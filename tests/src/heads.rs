//! Heads of requests, usual and broken ones, the same for a seed: few targets and hosts, so that many heads ask for the same, and
//! whatever clients and their proxies may do to the rest.

use rand::{
    RngExt, SeedableRng,
    seq::{IndexedRandom, SliceRandom},
};
use rand_pcg::Pcg64Mcg;

const METHODS: [&str; 6] = ["GET", "GET", "GET", "HEAD", "POST", "get"];
const HOSTS: [&str; 8] =
    ["a", "a", "example.org", "example.org", "EXAMPLE.org:8080", "[2001:db8::1]:80", "x y", ""];
const NAMES: [&str; 18] = [
    "Accept",
    "User-Agent",
    "Cookie",
    "Connection",
    "X-1",
    "a",
    "hosts",
    "Content-Lengt",
    "Content-Length-",
    "Transfer-Encodin",
    "X-Forwarded-For-1",
    "Sec-Fetch-Mode",
    "x.y",
    "x_y",
    "Upgrade-Insecure-Requests",
    "Upgrad",
    "Expected",
    "Expec",
];
/// Whole field lines that are not for every head.
const ODD_LINES: [&str; 15] = [
    "Host: b",
    "Content-Length: 3",
    "content-length:0",
    "Transfer-Encoding: chunked",
    " folded",
    "A : b",
    ": b",
    "A",
    "A: b\rC",
    "A: b\nC: d",
    "hOST: a",
    "A: b\0",
    "Upgrade: websocket",
    "EXPECT: 100-continue",
    "upgrade:h2c",
];
/// Bytes that mean something to some parser.
const ODD_BYTES: &[u8] = b"\r\n\t\0\x7f\x80\xff :/?#%\x1f\x20@[`{_-.";

/// Makes heads.
#[derive(Debug)]
pub struct Heads(Pcg64Mcg);

impl Heads {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.0).expect("nothing to choose from")
    }

    fn happens(&mut self, one_in: u32) -> bool {
        self.0.random_range(0..one_in) == 0
    }

    /// The next head and what may come with it, of 1460 bytes at most.
    pub fn next_head(&mut self) -> Vec<u8> {
        let mut head = self.usual();
        if self.happens(3) {
            for _ in 0..self.0.random_range(1..3) {
                self.harm(&mut head);
            }
        }
        if self.happens(8) {
            head.extend(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        head.truncate(1460);
        head
    }

    /// A head as clients send it.
    fn usual(&mut self) -> Vec<u8> {
        let version = if self.happens(20) { "1.0" } else { "1.1" };
        let line = format!("{} {} HTTP/{version}\r\n", self.pick(&METHODS), self.target());
        let mut fields: Vec<String> = (0..self.0.random_range(0..9)).map(|_| self.field()).collect();
        fields.push(self.host());
        if self.happens(30) {
            fields.resize(self.0.random_range(90..110), "a:".to_owned());
        }
        fields.shuffle(&mut self.0);
        format!("{line}{}\r\n\r\n", fields.join("\r\n")).into_bytes()
    }

    fn target(&mut self) -> String {
        let len = self.pick(&[0, 1, 5, 6, 7, 8, 9, 60, 200, 900]);
        let last = self.pick(&["", "", "?q", "?q=1", "x", "x", "#"]);
        match self.0.random_range(0..12) {
            0 => "http://example.org/absolute".to_owned(),
            1 => "*".to_owned(),
            _ => format!("/{}{last}", "a".repeat(len)),
        }
    }

    fn host(&mut self) -> String {
        let name = self.pick(&["Host", "Host", "host", "HOST"]);
        let space = self.pick(&[" ", "", "  ", "\t"]);
        let end = self.pick(&["", "", " "]);
        format!("{name}:{space}{}{end}", self.pick(&HOSTS))
    }

    fn field(&mut self) -> String {
        let value = "v".repeat(self.0.random_range(0..30));
        format!("{}:{}{value}", self.pick(&NAMES), self.pick(&[" ", "", "\t", " \u{e4}\t"]))
    }

    /// Breaks something, mostly.
    fn harm(&mut self, head: &mut Vec<u8>) {
        let at = self.0.random_range(0..=head.len());
        match self.0.random_range(0..6) {
            0 => head.truncate(at),
            1 => head.insert(at, self.pick(ODD_BYTES)),
            2 if at < head.len() => head[at] = self.pick(ODD_BYTES),
            3 if at < head.len() => drop(head.remove(at)),
            4 => drop(head.splice(0..0, *b"\r\n")),
            _ => self.add_line(head),
        }
    }

    /// Adds a field line after one of the lines.
    fn add_line(&mut self, head: &mut Vec<u8>) {
        let ends: Vec<usize> =
            head.windows(2).enumerate().filter(|(_, two)| two == b"\r\n").map(|(at, _)| at + 2).collect();
        if let Some(&at) = ends.choose(&mut self.0) {
            let line = format!("{}\r\n", self.pick(&ODD_LINES));
            head.splice(at..at, line.into_bytes());
        }
    }
}
