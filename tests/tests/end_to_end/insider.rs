//! Somebody who knows the cluster's secret: its connections need no answer to be good, so it can open any number of them from any
//! addresses, as quickly as frames can be sent. What servers answer is sent to the scripted client's link and nobody takes it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dispatcher_common::{
    address::Address, cookie, epoch::Epoch, siphash::SipKey, syn_options::SynOptions, tuple::Tuple,
};
use dispatcher_core::secret::Secret;
use tests::{
    Family, Rig,
    wire::{Flags, PacketSocket, Peer, Segment},
};

/// Frames sent in one go. The link's queue holds 1000 or so.
const BURST: usize = 250;

const ISN: u32 = 0x0102_0304;

/// Its addresses: 198.18.128 and above, by number.
pub(crate) fn insider_address(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18, 0x80 | high, low)
}

pub(crate) struct Insider {
    socket: PacketSocket,
    key: SipKey,
    macs: ([u8; 6], [u8; 6]),
    vip: IpAddr,
}

impl Insider {
    pub(crate) fn new(rig: &Rig, peer: &Peer) -> Self {
        for server in rig.plan().server_names() {
            let via = peer.address(Family::V4);
            rig.host(&server).unwrap().run(&format!("ip route replace 198.18.128.0/17 via {via}")).unwrap();
        }
        let secret = Secret::new(&format!("secret of the rig {}", rig.plan().instance())).unwrap();
        Self {
            socket: peer.sender().unwrap(),
            key: SipKey::from_bytes(secret.cookie_key()),
            macs: peer.macs(),
            vip: peer.vip(Family::V4),
        }
    }

    /// A segment `offset` bytes into a connection whose handshake was good.
    pub(crate) fn segment(&self, source: SocketAddr, offset: u32, flags: Flags, payload: &[u8]) -> Segment {
        let tuple = Tuple {
            client: Address::from(source.ip()),
            vip: self.vip.into(),
            client_port_be: source.port().to_be(),
            port_be: 80_u16.to_be(),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let options = SynOptions::new(1460, None, false);
        let cookie = cookie::make(&self.key, &tuple, options, ISN, Epoch::at(now));
        Segment {
            source,
            destination: SocketAddr::new(self.vip, 80),
            seq: ISN.wrapping_add(1).wrapping_add(offset),
            ack: cookie.wrapping_add(1),
            flags,
            window: 65_535,
            options: Vec::new(),
            payload: payload.to_vec(),
            hop_limit: 60,
        }
    }

    /// The frame of a segment.
    pub(crate) fn frame(&self, segment: &Segment) -> Vec<u8> {
        segment.frame(self.macs.0, self.macs.1).unwrap()
    }

    /// Sends frames, not all at once.
    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        for burst in frames.chunks(BURST) {
            self.socket.send_all(burst.iter().map(Vec::as_slice)).unwrap();
            thread::sleep(Duration::from_micros(500));
        }
    }
}
