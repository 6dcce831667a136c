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
pub(crate) mod response;
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

pub(crate) use peer::parse as mac;

#[cfg(test)]
mod selftest {
    use std::time::Duration;

    use super::{Offer, Peer};
    use crate::{Family, Rig, content, skipped};

    #[test]
    fn the_scripted_client_fetches_from_a_real_server() {
        if skipped("the_scripted_client_fetches_from_a_real_server") {
            return;
        }
        let rig = Rig::builder("rig-wire").servers(1).start().unwrap();
        let peer = Peer::new(&rig).unwrap();
        for family in [Family::V4, Family::V6] {
            for offer in [Offer::LINUX, Offer::NONE] {
                let mut connection = peer.connection(family, 80, offer).unwrap();
                connection.aim(&rig.plan().mac("server1")).unwrap();
                connection.handshake().unwrap();
                for path in ["/bytes/64k", "/bytes/1m"] {
                    let response = connection.get(path).unwrap();
                    assert_eq!((response.status, response.server.as_deref()), (200, Some("server1")));
                    assert_eq!(content::first_difference(0, &response.body), None);
                    assert!(response.largest_packet <= usize::from(offer.mss.unwrap_or(1220)));
                }
                connection.close(Duration::from_secs(3)).unwrap();
            }
        }
    }
}
