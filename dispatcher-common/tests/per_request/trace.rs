//! The latest events of a world, kept cheaply and made text only when a rule was broken.

use std::{collections::VecDeque, env, fmt};

use crate::{network::Link, segment::Segment};

/// Events that are remembered, unless `PER_REQUEST_TRACE` says otherwise.
const REMEMBERED: usize = 160;

/// One line: when, what, and a few numbers.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Sent {
        link: Link,
        connection: u32,
        seq: u32,
        ack: Option<u32>,
        len: usize,
        /// Syn, fin, rst.
        flags: [bool; 3],
        /// Kind, number and server.
        ticket: Option<(u8, u8, u16)>,
        /// Number of the request and offset in its message of the first byte.
        first: Option<(u16, u16)>,
        hops: u8,
    },
    Note(&'static str, usize, u32),
}

/// The latest events.
#[derive(Debug)]
pub(crate) struct Trace {
    lines: VecDeque<Line>,
    remembered: usize,
}

impl Trace {
    pub(crate) fn new() -> Self {
        let remembered = env::var("PER_REQUEST_TRACE").ok().and_then(|text| text.parse().ok());
        Self { lines: VecDeque::new(), remembered: remembered.unwrap_or(REMEMBERED) }
    }

    pub(crate) fn sent(&mut self, at: u64, link: Link, segment: &Segment) {
        let ticket = segment.ticket.map(|ticket| (ticket.kind, ticket.number, ticket.server));
        self.push(Line {
            at,
            what: What::Sent {
                link,
                connection: segment.connection,
                seq: segment.seq,
                ack: segment.ack,
                len: segment.data.len(),
                flags: [segment.syn, segment.fin, segment.rst],
                ticket,
                first: segment.data.first().map(|byte| (byte.request, byte.at)),
                hops: segment.hops,
            },
        });
    }

    /// A note about a server, or about another participant, with a number.
    pub(crate) fn note(&mut self, at: u64, what: &'static str, who: usize, number: u32) {
        self.push(Line { at, what: What::Note(what, who, number) });
    }

    fn push(&mut self, line: Line) {
        if self.lines.len() >= self.remembered {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { at, what } in &self.lines {
            match what {
                What::Note(what, who, number) => writeln!(out, "{at:>6} {what} {who} {number:#x}")?,
                What::Sent {
                    link,
                    connection,
                    seq,
                    ack,
                    len,
                    flags: [syn, fin, rst],
                    ticket,
                    first,
                    hops,
                } => {
                    write!(
                        out,
                        "{at:>6} {link:?} #{connection} seq {seq:#x}+{len} ack {ack:x?} hops {hops}"
                    )?;
                    for (is_set, name) in [(syn, " SYN"), (fin, " FIN"), (rst, " RST")] {
                        write!(out, "{}", if *is_set { name } else { "" })?;
                    }
                    if let Some((request, offset)) = first {
                        write!(out, " message {request}+{offset}")?;
                    }
                    if let Some((kind, number, server)) = ticket {
                        let kinds = ["", "hand-off", "books", "move", "released"];
                        write!(out, " {} {number} for {server}", kinds[usize::from(*kind)])?;
                    }
                    writeln!(out)?;
                }
            }
        }
        Ok(())
    }
}
