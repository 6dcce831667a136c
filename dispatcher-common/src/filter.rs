//! The filter-table: what the front-end knows of each admitted flow.

use core::mem::offset_of;

use crate::address::Address;

/// A flow: one client connection to one data-plane service (a VIP and a port).
///
/// Three words and nothing smaller, as in [`crate::service::ServiceKey`]: programs build keys on their stack, where the verifier
/// wants every store aligned to its size, and the kernel hashes words that must not lie across two stores.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    pub client: Address,
    /// The client's port as it lies in a packet (16 bits), the service (16), zeroes.
    port_and_service: u64,
}

const _: () = assert!(size_of::<FlowKey>() == 24);

impl FlowKey {
    /// The flow of a client with a service.
    #[inline(always)]
    #[must_use]
    pub const fn new(client: Address, client_port_be: u16, service: u16) -> Self {
        Self { client, port_and_service: client_port_be as u64 | (service as u64) << 16 }
    }

    #[inline(always)]
    #[must_use]
    pub const fn client_port_be(&self) -> u16 {
        self.port_and_service as u16
    }

    /// Id of the data-plane service, see [`crate::service::ServiceEntry`].
    #[inline(always)]
    #[must_use]
    pub const fn service(&self) -> u16 {
        (self.port_and_service >> 16) as u16
    }
}

/// States of a filter.
pub mod state {
    /// The first request is on its way through the control plane; its segments go there.
    pub const PENDING: u8 = 1;
    /// Segments go to the server.
    pub const ESTABLISHED: u8 = 2;
    /// The client sent FIN or RST; segments still go to the server.
    pub const CLOSING: u8 = 3;
    /// The control plane answered the request itself and no server knows the flow.
    pub const ANSWERED: u8 = 4;

    /// Name of a state for people.
    #[must_use]
    pub const fn name(state: u8) -> &'static str {
        match state {
            PENDING => "pending",
            ESTABLISHED => "established",
            CLOSING => "closing",
            ANSWERED => "answered",
            _ => "unknown",
        }
    }
}

/// Bits of [`Filter::flags`].
pub mod flag {
    /// `noted_isn` holds the sequence number of a SYN that came while the filter stood.
    pub const SYN_NOTED: u8 = 1;
    /// The client has had response bytes: a copy of the hand-off's segment needs no ticket any more.
    pub const RESPONDED: u8 = 1 << 1;
    /// Where the next request may start is known: [`Filter::boundary`](super::Filter::boundary).
    pub const FOLLOWED: u8 = 1 << 2;
    /// The request that starts at `boundary` is with the slow path; not together with [`FOLLOWED`].
    pub const ASKED: u8 = 1 << 3;
    /// `handoff_seq` is not of a hand-off but of a further request, sent with a books or move ticket.
    pub const FURTHER: u8 = 1 << 4;
    /// That ticket was a move ticket to [`Filter::move_to`](super::Filter::move_to), and nobody has said yet that the connection
    /// was released. Only together with [`FURTHER`].
    pub const MOVING: u8 = 1 << 5;
}

/// Why it is not known where the next request of a flow may start: the flow stays where it is.
pub mod opaque {
    /// It is known, or nobody wants to know.
    pub const NOT: u8 = 0;
    /// A body in chunks.
    pub const CHUNKED: u8 = 1;
    /// `Upgrade` or `CONNECT`: what follows may not be HTTP.
    pub const UPGRADE: u8 = 2;
    /// `Expect`: whether the body comes depends on the response.
    pub const EXPECT: u8 = 3;
    /// A further request's head that is not whole in its first segment.
    pub const SPLIT: u8 = 4;
    /// A request that begins in the middle of a segment, after the end of another one's body.
    pub const STRADDLED: u8 = 5;
    /// Not a request head that we understand.
    pub const MALFORMED: u8 = 6;
    /// A body of 2 GiB or more.
    pub const LONG_BODY: u8 = 7;
    /// The class was not known and no control plane listened.
    pub const UNHEARD: u8 = 8;

    /// All reasons, with their names in listings and metrics.
    pub const NAMES: [(u8, &str); 8] = [
        (CHUNKED, "chunked"),
        (UPGRADE, "upgrade"),
        (EXPECT, "expect"),
        (SPLIT, "split_head"),
        (STRADDLED, "straddled"),
        (MALFORMED, "malformed"),
        (LONG_BODY, "long_body"),
        (UNHEARD, "unheard"),
    ];

    /// Name of a reason for people, if there is one.
    #[must_use]
    pub fn name(reason: u8) -> Option<&'static str> {
        NAMES.iter().find(|(code, _)| *code == reason).map(|(_, name)| *name)
    }
}

/// The entry of an admitted flow. Times are nanoseconds of the kernel's coarse monotonic clock, numbers of TCP are in host byte
/// order.
///
/// In the kernel's hash map an entry is 48 bytes of its own, the key and this, one entry after the other: 192 bytes with the
/// size chosen here, three cache lines. So no line is of two flows, which two CPUs would take from each other, and all that a
/// segment of an established flow touches is in the second line, with the end of the key.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub last_seen_ns: u64,
    /// Segments from the client since the hand-off.
    pub packets: u64,
    /// Their bytes, link layer included.
    pub bytes: u64,
    /// When the client's acknowledgement first moved after the latest request, that is when it had the first response bytes; 0
    /// until then.
    pub response_ns: u64,
    /// One of [`state`].
    pub state: u8,
    /// [`crate::syn_options::SynOptions`] of the handshake.
    pub options: u8,
    /// Its final priority, once a server is chosen.
    pub priority: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    pub class: u16,
    /// Index of the server.
    pub server: u16,
    /// Latest acknowledgement number: where a RST to the client belongs.
    pub last_ack: u32,
    /// Acknowledgement number when the latest request began.
    pub request_ack: u32,
    /// Sequence number after the latest data: where a RST to the server belongs.
    pub next_seq: u32,
    /// Sequence number of the latest segment that was sent with a ticket, the hand-off or a further request: one that starts
    /// there needs a ticket again.
    pub handoff_seq: u32,
    /// Its acknowledgement number; of a new connection's that of the handshake (cookie + 1).
    pub handoff_ack: u32,
    /// Sequence number of the latest SYN of this flow, if [`flag::SYN_NOTED`].
    pub noted_isn: u32,
    /// Recent issue time: when the latest request began.
    pub request_ns: u64,
    pub created_ns: u64,
    /// Requests seen on this connection.
    pub requests: u32,
    /// Where frames to the client go, as its own came from.
    pub client_mac: [u8; 6],
    /// Server that the latest move ticket names, if [`flag::MOVING`].
    pub move_to: u16,
    /// Sequence number at which the next request may start, if [`flag::FOLLOWED`] or [`flag::ASKED`].
    pub boundary: u32,
    /// How often the connection went to another server.
    pub moves: u32,
    /// Requests for another server that stayed, because their server was not free.
    pub kept_busy: u32,
    /// One of [`opaque`].
    pub opaque: u8,
    /// Number of the latest request with a ticket, as in [`crate::ticket::Ticket::number`].
    pub number: u8,
    /// Kept zero.
    pub reserved: [u8; 6],
    /// Sequence number of the connection's first request byte: its ISN + 1.
    pub first_seq: u32,
    /// Kept zero.
    pub padding: u32,
}

/// Bytes that the kernel's hash map has before the key of an entry (`struct htab_elem`, Linux 6.9 to 6.18).
const ENTRY_HEAD: usize = 48;

/// Bytes of a cache line.
const LINE: usize = 64;

const _: () = assert!((ENTRY_HEAD + size_of::<FlowKey>() + size_of::<Filter>()).is_multiple_of(LINE));
// What every segment touches ends with the second line.
const _: () = assert!(ENTRY_HEAD + size_of::<FlowKey>() + offset_of!(Filter, handoff_ack) == 2 * LINE);
