//! Time stamps: from text to seconds. Owns the formats that are tried, and remembers the last stamp, because many lines in a
//! row have the same.

use jiff::{civil::DateTime, fmt::strtime::BrokenDownTime};

use super::{field::Stamp, line::BadLine};

/// Common logs have the first, nginx's ISO times the second.
const FORMATS: [&str; 2] = ["%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%:z"];

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Reads time stamps.
#[derive(Debug, Clone)]
pub(super) struct StampReader {
    formats: Vec<String>,
    last: (String, i64),
}

impl StampReader {
    /// Of stamps in the given format, else in those of the log formats.
    pub(super) fn new(format: Option<&str>) -> Self {
        let formats = match format {
            Some(format) => vec![format.to_owned()],
            None => FORMATS.map(str::to_owned).to_vec(),
        };
        Self { formats, last: (String::new(), 0) }
    }

    /// Seconds since a beginning that is the same for all stamps of a format.
    pub(super) fn seconds(&mut self, stamp: &Stamp<'_>) -> Result<i64, BadLine> {
        let text = match stamp {
            Stamp::Seconds(seconds) => return Ok(*seconds),
            Stamp::Text(text) => text.as_ref(),
        };
        if self.last.0 != text {
            let read = self.formats.iter().find_map(|format| seconds(format, text));
            let error = || BadLine::Stamp { stamp: text.to_owned(), format: self.formats.join(" or ") };
            self.last = (text.to_owned(), read.ok_or_else(error)?);
        }
        Ok(self.last.1)
    }
}

fn seconds(format: &str, text: &str) -> Option<i64> {
    let time = BrokenDownTime::parse(format, text).ok()?;
    if let Ok(moment) = time.to_timestamp() {
        return Some(moment.as_second());
    }
    if let Ok(local) = time.to_datetime() {
        return Some(local.duration_since(EPOCH).as_secs());
    }
    // Without year and month: the day counts, if there is one.
    let part = |part: Option<i8>| i64::from(part.unwrap_or(0));
    let hours = part(time.day()) * 24 + i64::from(time.hour()?);
    Some((hours * 60 + part(time.minute())) * 60 + part(time.second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Option<&str>, text: &str) -> Option<i64> {
        StampReader::new(format).seconds(&Stamp::Text(text.into())).ok()
    }

    #[test]
    fn stamps_of_the_log_formats_are_read() {
        assert_eq!(read(None, "10/Oct/2000:13:55:36 -0700"), Some(971_211_336));
        assert_eq!(read(None, "2000-10-10T13:55:36-07:00"), Some(971_211_336));
        assert_eq!(read(None, "yesterday"), None);
    }

    #[test]
    fn odd_stamps_are_read_by_their_format() {
        assert_eq!(read(None, "30:01:02:03"), None);
        assert_eq!(read(Some("%d:%H:%M:%S"), "30:01:02:03"), Some(30 * 86_400 + 3723));
        assert_eq!(read(Some("%Y-%m-%d %H:%M:%S"), "1970-01-02 00:00:01"), Some(86_401));
        assert_eq!(read(Some("%s"), "86401"), Some(86_401));
    }
}
