//! What the slow path asks the control plane: which server takes this request, who is refused and who gives way.

use std::{net::SocketAddr, time::Duration};

use dispatcher_common::{filter::FlowKey, server::ServerEntry, tuple::Tuple};
use dispatcher_core::{
    admission::{Victim, Way},
    http::RequestHead,
};

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Index of the server.
    pub server: u16,
    pub class: u16,
    pub priority: u8,
    /// The server's link-layer addresses, as in the SERVERS map.
    pub entry: ServerEntry,
    /// A flow of lower priority than this is to give way.
    pub evict_below: Option<u8>,
    /// What the class cache may be told.
    pub known: Option<Known>,
    /// Further requests of the connection are dispatched, too.
    pub per_request: bool,
}

/// What is known of a flow that sends a further request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Index of the server that has the connection.
    pub server: u16,
    /// Class of the request before.
    pub class: u16,
    pub priority: u8,
    /// Whether the request before still counts in the server's load: see `dispatcher_common::per_request::is_counted`.
    pub is_counted: bool,
}

/// Where a further request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onward {
    /// Index of the server that is to answer; that of the flow if it is to stay.
    pub server: u16,
    pub class: u16,
    /// The flow's from now on.
    pub priority: u8,
    /// What the class cache may be told.
    pub known: Option<Known>,
}

/// What becomes of a further request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// It counts as a dispatch at once. No flow is opened, and priorities' counts of flows stay.
    Dispatched(Onward),
    /// Its priority is below the gate.
    Refused(Refusal),
}

/// What holds for all requests with this line and host, whoever sends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Number of the configured service.
    pub owner: u8,
    /// As [`dispatcher_core::class::ClassMap::target`] gives it.
    pub target: u64,
    pub class: u16,
}

/// How a request is refused while its service is overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub way: Way,
    /// When the client may try again.
    pub retry_after: Duration,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Judgement {
    /// It counts as a dispatch, and as an open flow, at once.
    Dispatched(Decision),
    Refused(Refusal),
    /// No server can take it.
    NoServer,
}

/// Chooses a server for a request head; called from every slow-path thread. `service` is the number of a data-plane service.
pub trait Dispatch: Send + Sync {
    /// Judges the first request of a connection.
    fn dispatch(&self, service: u16, client: SocketAddr, head: &RequestHead<'_>) -> Judgement;

    /// Judges a further request of a connection. Where nobody else can take it, it stays.
    fn further(&self, service: u16, client: SocketAddr, head: &RequestHead<'_>, flow: &Flow) -> Further;

    /// Counts requests that go to a server without a decision.
    fn continued(&self, server: u16, requests: u32);

    /// Counts an open flow by another priority.
    fn reprioritised(&self, service: u16, before: u8, after: u8);

    /// How to tell a client of this priority that it is refused.
    fn refusal(&self, service: u16, priority: u8) -> Refusal;

    /// The link-layer addresses of a server that was chosen before.
    fn server(&self, server: u16) -> Option<ServerEntry>;

    /// Both ends of a flow, as its packets name them.
    fn tuple(&self, key: &FlowKey) -> Option<Tuple>;

    /// Counts a request of a flow of this priority as answered, after a wait.
    fn answered(&self, service: u16, priority: u8, wait: Duration);

    /// Counts a flow of this priority as closed.
    fn closed(&self, service: u16, priority: u8);

    /// A flow below this priority that may give way to a newcomer, if there is one and the budget allows it.
    fn victim(&self, newcomer: &FlowKey, below: u8) -> Option<Victim>;

    /// Counts a flow as evicted, which closes it.
    fn evicted(&self, service: u16, priority: u8);
}
