//! Sizes that both sides of the kernel boundary agree on, each with its unit and its reason.

/// Version of every type in this crate that lives in a pinned map or on the wire between hosts of a cluster. A loader refuses
/// to re-use pinned maps of another version.
pub const ABI_VERSION: u32 = 5;

/// Servers of one front-end. An array map is indexed by it, 16 bytes each.
pub const MAX_SERVERS: usize = 256;

/// Data-plane services, one for each pair of VIP and port.
pub const MAX_SERVICES: usize = 64;

/// Context classes of all services together: the paper's K is 20 to 1000.
pub const MAX_CLASSES: usize = 1024;

/// RX queues with an AF_XDP socket.
pub const MAX_QUEUES: usize = 64;

/// Highest priority; 0 is the lowest.
pub const MAX_PRIORITY: u8 = 7;

/// Number of priorities.
pub const PRIORITIES: usize = MAX_PRIORITY as usize + 1;

/// Lines of one half of the member-table, two blocks each: 100 000 rules fill them to four tenths, and 64 bytes each make 8 MiB.
pub const MAX_MEMBER_LINES: usize = 1 << 17;

/// Words of marks in one half of the member-table: 256 KiB, which a core's cache keeps; 100 000 rules set a tenth of the bits.
pub const MAX_MEMBER_MARKS: usize = 1 << 15;

/// Bytes of one ticket in the TCP header. The MSS that the front-end advertises is smaller by this much, so that a full-sized
/// first segment still fits the MTU with its ticket.
pub const TICKET_LEN: usize = 16;

/// Bytes of TCP options that leave room for a ticket: 60 bytes of header at most, 20 of them fixed.
pub const MAX_OPTIONS_BESIDE_TICKET: usize = 40 - TICKET_LEN;

/// Window scale of our SYN-ACK, and so of every server's end of a connection.
pub const WINDOW_SCALE: u8 = 7;

/// Receive window of our SYN-ACK in bytes: not above what a Linux server offers at once, or it would shrink at the hand-off.
pub const SYN_ACK_WINDOW: u16 = 64_240;

/// Hop limit of the packets that the front-end makes itself.
pub const HOP_LIMIT: u8 = 64;
