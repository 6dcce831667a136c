//! What the slow path asks the control plane: which server takes this request.

use dispatcher_common::server::ServerEntry;
use dispatcher_core::http::RequestHead;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Index of the server.
    pub server: u16,
    pub class: u16,
    pub priority: u8,
    /// The server's link-layer addresses, as in the SERVERS map.
    pub entry: ServerEntry,
}

/// Chooses a server for a request head; called from every slow-path thread.
pub trait Dispatch: Send + Sync {
    /// `None` when no server can take the request. A decision counts as a dispatch at once.
    fn dispatch(&self, service: u16, head: &RequestHead<'_>) -> Option<Decision>;

    /// The link-layer addresses of a server that was chosen before.
    fn server(&self, server: u16) -> Option<ServerEntry>;
}
