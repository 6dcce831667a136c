//! From lines to requests: everything that is the same for all clusters is done once, here. Classes and targets come from the
//! request head through the code of the daemon.

use dispatcher_core::{
    class::{ClassKey, ClassMap},
    http::{Head, parse_head},
    ids::ClassId,
};

use super::{
    BadLine, ReplaySettings,
    field::Fields,
    line::{self, Format},
    stamp::StampReader,
};
use crate::{contender::Contender, level::Level, request::Request};

/// Longest request head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Content takes whole pages of a server's memory.
const PAGE_BYTES: u64 = 4096;

/// Suffixes of multimedia, the high level.
const MULTIMEDIA: [&str; 10] =
    [".mp4", ".mp3", ".mpg", ".mpeg", ".avi", ".mov", ".wav", ".au", ".webm", ".m3u8"];

/// Suffixes of scripts, the medium level.
const SCRIPTS: [&str; 6] = [".cgi", ".asp", ".aspx", ".php", ".jsp", ".pl"];

/// Requests that are to be issued, by place.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    /// When, in the log's time.
    seconds: Vec<i64>,
    /// When, in simulated time.
    at_us: Vec<u64>,
    requests: Vec<Request>,
    /// Classes by place and number of classes.
    classes: Vec<ClassId>,
    /// Which of these a contender has.
    numbers: Vec<usize>,
    /// How many there are.
    width: usize,
}

impl Chunk {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn seconds(&self) -> &[i64] {
        &self.seconds
    }

    pub(super) fn at_us(&self, place: usize) -> u64 {
        self.at_us[place]
    }

    pub(super) fn set_at_us(&mut self, place: usize, at_us: u64) {
        self.at_us[place] = at_us;
    }

    /// The request at a place as a contender sees it.
    pub(super) fn request(&self, place: usize, contender: usize) -> Request {
        let class = self.classes[place * self.width + self.numbers[contender]];
        Request { class, ..self.requests[place] }
    }

    pub(super) fn drop_first(&mut self, count: usize) {
        self.seconds.drain(..count);
        self.at_us.drain(..count);
        self.requests.drain(..count);
        self.classes.drain(..count * self.width);
    }
}

/// Reads lines.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    format: Format,
    stamps: StampReader,
    /// By different numbers of classes.
    maps: Vec<ClassMap>,
    numbers: Vec<usize>,
    service_us: u64,
    miss_us: u64,
    bandwidth: u64,
    disk_bandwidth: u64,
}

impl Reader {
    pub(super) fn new(settings: &ReplaySettings, contenders: &[Contender]) -> Self {
        let mut sizes: Vec<_> = contenders.iter().map(|contender| contender.classes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let number = |contender: &Contender| sizes.binary_search(&contender.classes).unwrap_or(0);
        Self {
            format: settings.format,
            stamps: StampReader::new(settings.time_format.as_deref()),
            numbers: contenders.iter().map(number).collect(),
            maps: sizes.iter().map(|&k| ClassMap::new(ClassId(0), Vec::new(), k, ClassKey::Path)).collect(),
            service_us: settings.service_time.0,
            miss_us: settings.cluster.miss.0,
            bandwidth: settings.bandwidth.as_u64().max(1),
            disk_bandwidth: settings.disk_bandwidth.as_u64().max(1),
        }
    }

    /// Adds the request of a line to a chunk.
    pub(super) fn read(&mut self, line: &[u8], chunk: &mut Chunk) -> Result<(), BadLine> {
        let line = String::from_utf8_lossy(line);
        let fields = line::fields(self.format, &line)?;
        let seconds = self.stamps.seconds(&fields.stamp)?;
        let request = self.request(&fields, chunk)?;
        if chunk.numbers.is_empty() {
            (chunk.numbers, chunk.width) = (self.numbers.clone(), self.maps.len());
        }
        chunk.seconds.push(seconds);
        chunk.at_us.push(0);
        chunk.requests.push(request);
        Ok(())
    }

    /// The request, whose classes go to the chunk.
    fn request(&self, fields: &Fields<'_>, chunk: &mut Chunk) -> Result<Request, BadLine> {
        let bad = || BadLine::request(&fields.request);
        let mut words = fields.request.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(bad()) };
        let host = fields.host.as_deref().unwrap_or("log");
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let Head::Complete(head) = parse_head(text.as_bytes(), MAX_HEAD_BYTES) else { return Err(bad()) };
        let Some(map) = self.maps.first() else { return Err(bad()) };
        let target = map.target(&head);
        chunk.classes.extend(self.maps.iter().map(|map| map.classify(&head)));
        let transfer_us = fields.bytes.saturating_mul(1_000_000) / self.bandwidth;
        let disk_us = fields.bytes.saturating_mul(1_000_000) / self.disk_bandwidth;
        Ok(Request {
            context: target,
            target,
            class: ClassId(0),
            level: level(head.path, head.query.is_some()),
            connection: 0,
            issued_us: 0,
            dispatched_us: 0,
            service_us: u32::try_from(self.service_us + transfer_us).unwrap_or(u32::MAX),
            miss_us: u32::try_from(self.miss_us + disk_us).unwrap_or(u32::MAX),
            size: fields.bytes.div_ceil(PAGE_BYTES).max(1) * PAGE_BYTES,
        })
    }
}

/// The paper's levels, by what a path looks like.
fn level(path: &str, has_query: bool) -> Level {
    let ends_with = |suffixes: &[&str]| suffixes.iter().any(|suffix| path.ends_with(suffix));
    if ends_with(&MULTIMEDIA) {
        Level::High
    } else if has_query || path.contains("/cgi-bin/") || ends_with(&SCRIPTS) {
        Level::Medium
    } else {
        Level::Low
    }
}
