//! The head of a request, as a server reads it that trusts its clients.

use std::io::{self, BufRead};

/// Method, target, version and fields.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) is_http_10: bool,
    fields: Vec<(String, String)>,
}

impl Request {
    /// The next request; `None` if the client has closed instead.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let first = line(reader)?;
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return if first.is_empty() { Ok(None) } else { Err(odd(&first)) };
        };
        let mut fields = Vec::new();
        loop {
            let line = line(reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| odd(&line))?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(Some(Self { method, target, is_http_10: version == "HTTP/1.0", fields }))
    }

    /// Value of a field; the name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the connection stays open after the answer.
    pub(super) fn is_kept(&self) -> bool {
        match self.header("connection") {
            Some(value) if self.is_http_10 => value.eq_ignore_ascii_case("keep-alive"),
            Some(value) => !value.eq_ignore_ascii_case("close"),
            None => !self.is_http_10,
        }
    }
}

/// A line without its end; empty at the end of the stream, too.
pub(super) fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

pub(super) fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {what:?}"))
}
