//! The feedback message of a server: its content, and its form in one UDP datagram. Owns the wire format and the
//! tag; whether a report is fresh, and what it means, is the cluster model's business.
//!
//! Form: one version byte, the content in postcard (fields in the order of [`Report`], integers as varints), and
//! the first 16 bytes of HMAC-SHA256 over all that under the cluster's report key.

mod selection;
#[cfg(test)]
mod tests;

use hmac::Mac;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::secret::keyed;

/// First byte of every report. It changes whenever the form or the meaning of a field does.
pub const REPORT_VERSION: u8 = 1;

/// Longest report in bytes: one datagram that fits the smallest common MTU with IPv6 and tunnels.
pub const MAX_REPORT_BYTES: usize = 1400;

/// Longest server name in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Bytes of the tag.
const TAG_BYTES: usize = 16;

/// What a server says of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The global class number.
    pub class: u16,
    /// R: requests of the class that the server holds.
    pub held: u32,
    /// Moving average of the class's service time in µs; 0 when not known yet.
    pub service_us: u32,
}

/// One feedback message of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The server's name, as the front-end's configuration has it; at most [`MAX_NAME_BYTES`].
    pub server: String,
    /// Random number that changes when the host boots (its sockets are lost), but not when the agent restarts.
    pub boot_id: u64,
    /// Increases with every report of one boot, also over restarts of the agent: begin at the wall clock in µs.
    pub sequence: u64,
    /// The server's wall clock when it sent this, in ms since 1970.
    pub sent_at_ms: u64,
    /// q: requests held, all classes.
    pub queue: u32,
    /// T by the server's own reckoning: expected service time of the requests held, in µs.
    pub load_us: u64,
    /// Tickets accepted since the server's program was loaded. It tells how many dispatches the report includes.
    pub accepted: u64,
    /// Open connections.
    pub connections: u32,
    /// CPU use of the whole host, 0..=1000.
    pub cpu_permille: u16,
    /// The kernel's `ListenOverflows`, cumulative.
    pub listen_overflows: u64,
    /// Classes, each at most once. Those that are not listed hold nothing, or did not fit.
    pub classes: Vec<ClassReport>,
}

/// A datagram is no valid report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReportError {
    /// Shorter than the shortest report.
    #[error("report is truncated at {0} bytes; check the path MTU to the server")]
    Truncated(usize),
    /// Longer than [`MAX_REPORT_BYTES`].
    #[error("report has {0} bytes; only a dispatcher's agent should send to this port")]
    TooLong(usize),
    /// Another version of the form.
    #[error("report has version {0}, not {REPORT_VERSION}; run the same release on servers and front-end")]
    Version(u8),
    /// The tag does not fit: forged, damaged, or another secret.
    #[error("report has a bad tag; check that server and front-end share one secret")]
    BadTag,
    /// The tag is right but the content is not.
    #[error("report is malformed; run the same release on servers and front-end")]
    Malformed,
}

impl Report {
    /// The datagram for this report, at most [`MAX_REPORT_BYTES`] long. When not all classes fit, those that hold
    /// requests go first, largest first, and the others take turns from one sequence number to the next. A name
    /// longer than [`MAX_NAME_BYTES`] makes a datagram that [`decode`](Self::decode) refuses.
    #[must_use]
    pub fn encode(&self, key: &[u8; 32]) -> Vec<u8> {
        let empty = Self { classes: Vec::new(), ..self.clone() };
        let fixed = 1 + serialize(&empty).len() + 1 + TAG_BYTES;
        let classes = selection::select(&self.classes, self.sequence, MAX_REPORT_BYTES.saturating_sub(fixed));
        let mut bytes = vec![REPORT_VERSION];
        bytes.extend(serialize(&Self { classes, ..empty }));
        let tag = keyed(key).chain_update(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        bytes
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// When it is no report, of another version, or not made with `key`.
    pub fn decode(key: &[u8; 32], bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLong(bytes.len()));
        }
        let (signed, tag) =
            bytes.split_last_chunk::<TAG_BYTES>().ok_or(ReportError::Truncated(bytes.len()))?;
        let (&version, content) = signed.split_first().ok_or(ReportError::Truncated(bytes.len()))?;
        if version != REPORT_VERSION {
            return Err(ReportError::Version(version));
        }
        keyed(key).chain_update(signed).verify_truncated_left(tag).map_err(|_| ReportError::BadTag)?;
        let (report, rest): (Self, _) =
            postcard::take_from_bytes(content).map_err(|_| ReportError::Malformed)?;
        if !rest.is_empty() || report.server.len() > MAX_NAME_BYTES {
            return Err(ReportError::Malformed);
        }
        Ok(report)
    }
}

fn serialize(report: &Report) -> Vec<u8> {
    postcard::to_stdvec(report).expect("a report holds only sized types")
}
