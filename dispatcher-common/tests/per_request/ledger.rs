//! What a judge above the world writes down: who executed what, who ended a connection, when something last went on, and the
//! first rule that was broken.

use std::collections::HashMap;

/// The judge's book.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) violation: Option<String>,
    executed: HashMap<(u32, u16), usize>,
    /// Connections that a server's software, or the client's, has ended of its own will.
    closed: Vec<u32>,
    progress_at: u64,
    /// Connections that ended, which have the numbers from 1 to this.
    pub(crate) connections: u64,
    /// Of them, those that a server ended.
    pub(crate) cut: u64,
    /// Complete responses that clients had.
    pub(crate) responses: u64,
    /// Requests handed to another server.
    pub(crate) moves: u64,
    /// Move tickets whose request stayed.
    pub(crate) kept: u64,
    /// Releases that were spoilt.
    pub(crate) spoilt: u64,
    /// Releases that were called off because the socket went on receiving.
    pub(crate) called_off: u64,
    /// Segments that came back.
    pub(crate) returned: u64,
    /// Flows that could not be followed any more.
    pub(crate) opaque: u64,
}

impl Ledger {
    /// Notes that a rule does not hold; the first one counts.
    pub(crate) fn break_rule(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// A server's software has read a whole request and acts on it.
    pub(crate) fn execute(&mut self, connection: u32, request: u16, server: usize) {
        if let Some(other) = self.executed.insert((connection, request), server) {
            self.break_rule(format!(
                "request {request} of connection {connection} was executed by {other} and by {server}"
            ));
        }
    }

    pub(crate) fn was_executed(&self, connection: u32, request: u16) -> bool {
        self.executed.contains_key(&(connection, request))
    }

    /// A host ends a connection of its own will.
    pub(crate) fn close(&mut self, connection: u32) {
        if !self.was_closed(connection) {
            self.closed.push(connection);
        }
    }

    pub(crate) fn was_closed(&self, connection: u32) -> bool {
        self.closed.contains(&connection)
    }

    /// Whether the client knows nothing of a connection any more.
    pub(crate) fn has_ended(&self, connection: u32) -> bool {
        u64::from(connection) <= self.connections
    }

    pub(crate) fn progressed(&mut self, now: u64) {
        self.progress_at = now;
    }

    pub(crate) fn progress_at(&self) -> u64 {
        self.progress_at
    }
}
