//! A scripted TCP client that is not the kernel's: it sends any segment that a test can think of and shows what comes back.
//!
//! Its frames leave by a packet socket on the client's interface, with a MAC address and IP addresses that the client's kernel
//! does not own, so that kernel neither takes nor resets the connections. It knows enough of TCP to receive a whole response.

mod connection;
mod frame;
mod odd;
mod offer;
mod options;
mod peer;
mod response;
mod segment;
mod socket;

pub use connection::Connection;
pub use frame::{Received, break_checksum};
pub use odd::{fragment, too_big, with_extension, with_ip_options};
pub use offer::Offer;
pub use options::{TcpOption, encode_options};
pub use peer::Peer;
pub use response::Response;
pub use segment::{Flags, Segment};
pub use socket::PacketSocket;
