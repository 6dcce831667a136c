//! Connections that clients of a load keep between their requests, one each.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;

/// The connections, by client.
pub(super) struct Kept(Mutex<Vec<Option<TcpStream>>>);

impl Kept {
    pub(super) fn new(clients: usize) -> Self {
        Self(Mutex::new(std::iter::repeat_with(|| None).take(clients).collect()))
    }

    /// A client's connection, unless it has none or it is in use.
    pub(super) fn take(&self, client: usize) -> Option<TcpStream> {
        self.all().get_mut(client)?.take()
    }

    /// Keeps a connection in place of the one that a client has meanwhile, if there is one to keep.
    pub(super) fn keep(&self, client: usize, stream: Option<TcpStream>) {
        if let (Some(slot), Some(stream)) = (self.all().get_mut(client), stream) {
            *slot = Some(stream);
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Option<TcpStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
