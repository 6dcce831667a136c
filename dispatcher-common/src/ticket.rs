//! The ticket: our TCP option on the first segment of a request, from the front-end to a server (RFC 6994 experimental option).
//!
//! Layout, 16 bytes: kind 253, length 16, experiment id (2); version and kind of ticket (4+4 bits), SYN options (8), priority,
//! timestamps, epoch (3+1+4), tag bits 39..32; followed (1), class (15), number (8), server (8); tag bits 31..0. A hand-off has
//! the state of the path in the server's place, a released request in the number's. The tag is a truncated SipHash over all
//! other fields, the tuple, and the segment's sequence and acknowledgement numbers.
//!
//! Three kinds go from a front-end to a server, one comes back: see [`crate::per_request`].

use crate::{
    epoch::Epoch,
    limits::{MAX_CLASSES, MAX_SERVERS, TICKET_LEN},
    path_state::PathState,
    siphash::{SipKey, hash},
    syn_options::SynOptions,
    tuple::Tuple,
};

/// Option kind for experiments (RFC 4727).
pub const OPTION_KIND: u8 = 253;

/// Our experiment id (RFC 6994), in the first two bytes after kind and length.
pub const EXPERIMENT_ID: u16 = 0xd15b;

/// Format of this file; another version is refused.
pub const VERSION: u8 = 3;

/// First four bytes of every ticket as one word, as it lies in a packet.
pub const PREFIX: u32 = u32::from_be_bytes([OPTION_KIND, TICKET_LEN as u8, 0xd1, 0x5b]).to_be();

/// Hands a connection to a server that does not have it: a new one, or one that another server has released.
pub const KIND_HAND_OFF: u8 = 1;

/// A further request of a connection for the server that has it; for its books.
pub const KIND_BOOKS: u8 = 2;

/// A further request of a connection, which [`Ticket::server`] is to answer: the server that has the connection releases it if
/// it can, and else answers itself.
pub const KIND_MOVE: u8 = 3;

/// From a server back to the front-end: the connection was released for this request.
pub const KIND_RELEASED: u8 = 4;

const _: () = assert!(EXPERIMENT_ID == 0xd15b && TICKET_LEN == 16);
const _: () = assert!(MAX_CLASSES <= CLASS_MASK as usize + 1 && MAX_SERVERS <= u8::MAX as usize + 1);

/// A ticket as four words that lie in a packet just so, whatever the byte order of the machine.
pub type TicketWords = [u32; 4];

/// What a ticket tells a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// One of the `KIND_…` constants.
    pub kind: u8,
    /// What the client's SYN negotiated.
    pub options: SynOptions,
    /// 0..=7, higher is better.
    pub priority: u8,
    /// Whether the connection uses timestamps.
    pub timestamps: bool,
    /// Whether the front-end follows the connection from request to request, so that the server has to follow its responses.
    pub followed: bool,
    /// Number of the request in its connection from 0 on, modulo 256. A front-end knows it of what comes back: 0 in
    /// [`KIND_RELEASED`].
    pub number: u8,
    /// Below [`MAX_CLASSES`].
    pub class: u16,
    /// Index of the server that is to answer. Whoever gets a connection knows: 0 in [`KIND_HAND_OFF`].
    pub server: u16,
    /// Of the path to the client, in [`KIND_HAND_OFF`] and [`KIND_RELEASED`].
    pub path: PathState,
}

/// Where a ticket is good: it is bound to one segment of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub tuple: &'a Tuple,
    /// Sequence number, host byte order.
    pub seq: u32,
    /// Acknowledgement number, host byte order.
    pub ack: u32,
}

/// Why a ticket is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a ticket of this version, or its tag is wrong: forged, damaged, for another segment, or under another secret.
    Bad,
    /// More than one epoch away from now.
    Expired,
}

const TIMESTAMPS_BIT: u8 = 1 << 4;
const FOLLOWED_BIT: u32 = 1 << 31;
const CLASS_MASK: u16 = 0x7fff;
/// What is not the tag's in the second word.
const HEAD_MASK: u32 = 0x00ff_ffff;

impl Ticket {
    /// The option for one segment.
    #[inline(always)]
    pub fn seal(&self, key: &SipKey, segment: &Segment<'_>, now: Epoch) -> TicketWords {
        let head = self.head(now);
        let body = self.body();
        let tag = tag(key, segment, head, body, now);
        [PREFIX, (head | ((tag >> 32) as u32) << 24).to_le(), body, (tag as u32).to_be()]
    }

    /// Reads and proves an option.
    #[inline(always)]
    pub fn open(
        words: &TicketWords,
        key: &SipKey,
        segment: &Segment<'_>,
        now: Epoch,
    ) -> Result<Self, Refusal> {
        Self::check(words, key, segment, now).map(|()| Self::read(words))
    }

    /// Proves an option. eBPF calls this and then [`read`](Self::read): the verifier finds the copies of a
    /// `Result<Ticket, _>` misaligned.
    #[inline(always)]
    pub fn check(
        words: &TicketWords,
        key: &SipKey,
        segment: &Segment<'_>,
        now: Epoch,
    ) -> Result<(), Refusal> {
        let second = u32::from_le(words[1]);
        let head = second & HEAD_MASK;
        if words[0] != PREFIX || head as u8 >> 4 != VERSION {
            return Err(Refusal::Bad);
        }
        let Some(epoch) = now.near((head >> 16) as u8 & 0xf) else { return Err(Refusal::Expired) };
        let sealed = (second as u64 >> 24) << 32 | u32::from_be(words[3]) as u64;
        if tag(key, segment, head, words[2], epoch) != sealed {
            return Err(Refusal::Bad);
        }
        Ok(())
    }

    /// The fields of an option that was proved.
    #[inline(always)]
    #[must_use]
    pub fn read(words: &TicketWords) -> Self {
        let [first, second, third, _] = u32::from_be(words[1]).to_be_bytes();
        let body = u32::from_be(words[2]);
        let kind = first & 0xf;
        let (third_byte, fourth_byte) = ((body >> 8) as u8, body as u8);
        let (number, server, path) = match kind {
            KIND_HAND_OFF => (third_byte, 0, fourth_byte),
            KIND_RELEASED => (0, fourth_byte, third_byte),
            _ => (third_byte, fourth_byte, 0),
        };
        Self {
            kind,
            options: SynOptions(second),
            priority: third >> 5,
            timestamps: third & TIMESTAMPS_BIT != 0,
            followed: body & FOLLOWED_BIT != 0,
            number,
            class: (body >> 16) as u16 & CLASS_MASK,
            server: server as u16,
            path: PathState(path),
        }
    }

    /// The bytes after the prefix and before the tag's, the first one lowest.
    #[inline(always)]
    fn head(&self, now: Epoch) -> u32 {
        let timestamps = if self.timestamps { TIMESTAMPS_BIT } else { 0 };
        let first = VERSION << 4 | self.kind & 0xf;
        let third = self.priority << 5 | timestamps | now.0 as u8 & 0xf;
        first as u32 | (self.options.0 as u32) << 8 | (third as u32) << 16
    }

    #[inline(always)]
    fn body(&self) -> u32 {
        let followed = if self.followed { FOLLOWED_BIT } else { 0 };
        let class = (self.class & CLASS_MASK) as u32;
        let (third, fourth) = match self.kind {
            KIND_HAND_OFF => (self.number, self.path.0),
            KIND_RELEASED => (self.path.0, self.server as u8),
            _ => (self.number, self.server as u8),
        };
        (followed | class << 16 | (third as u32) << 8 | fourth as u32).to_be()
    }
}

#[inline(always)]
fn tag(key: &SipKey, segment: &Segment<'_>, head: u32, body: u32, epoch: Epoch) -> u64 {
    let [client_high, client_low] = segment.tuple.client.halves();
    let [vip_high, vip_low] = segment.tuple.vip.halves();
    let ports = segment.tuple.ports() as u64 | (head as u64) << 32;
    let body_and_epoch = body as u64 | (epoch.0 as u64) << 32;
    let numbers = segment.seq as u64 | (segment.ack as u64) << 32;
    hash(key, [client_high, client_low, vip_high, vip_low, ports, body_and_epoch, numbers]) >> 24
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;

    const KEY: SipKey = SipKey { k0: 1, k1: 2 };
    const TUPLE: Tuple = Tuple {
        client: Address::from_halves([1, 2]),
        vip: Address::from_halves([3, 4]),
        client_port_be: 9,
        port_be: 10,
    };

    fn ticket() -> impl Strategy<Value = Ticket> {
        let flags = (any::<bool>(), any::<bool>());
        let numbers = (any::<u8>(), 0..MAX_CLASSES as u16, 0..MAX_SERVERS as u16, any::<u8>());
        (KIND_HAND_OFF..=KIND_RELEASED, any::<u8>(), 0_u8..=7, flags, numbers).prop_map(
            |(kind, options, priority, (timestamps, followed), (number, class, server, path))| {
                let tells_path = matches!(kind, KIND_HAND_OFF | KIND_RELEASED);
                Ticket {
                    kind,
                    options: SynOptions(options),
                    priority,
                    timestamps,
                    followed,
                    number: if kind == KIND_RELEASED { 0 } else { number },
                    class,
                    server: if kind == KIND_HAND_OFF { 0 } else { server },
                    path: if tells_path { PathState(path) } else { PathState::UNKNOWN },
                }
            },
        )
    }

    proptest! {
        #[test]
        fn a_ticket_survives_a_round_trip_within_one_epoch(ticket in ticket(), seq: u32, ack: u32, epoch: u32) {
            let segment = Segment { tuple: &TUPLE, seq, ack };
            let words = ticket.seal(&KEY, &segment, Epoch(epoch));
            for now in [epoch, epoch.wrapping_add(1), epoch.wrapping_sub(1)] {
                prop_assert_eq!(Ticket::open(&words, &KEY, &segment, Epoch(now)), Ok(ticket));
            }
        }

        #[test]
        fn any_flipped_bit_is_refused(ticket in ticket(), seq: u32, ack: u32, epoch: u32, bit in 0_usize..128) {
            let segment = Segment { tuple: &TUPLE, seq, ack };
            let mut words = ticket.seal(&KEY, &segment, Epoch(epoch));
            words[bit / 32] ^= 1 << (bit % 32);
            prop_assert!(Ticket::open(&words, &KEY, &segment, Epoch(epoch)).is_err());
        }

        #[test]
        fn another_segment_or_key_is_refused(ticket in ticket(), seq: u32, ack: u32, epoch: u32, change in 1_u32..) {
            let words = ticket.seal(&KEY, &Segment { tuple: &TUPLE, seq, ack }, Epoch(epoch));
            let mut elsewhere = TUPLE;
            elsewhere.client = Address::from_halves([1, 2 ^ change as u64]);
            let open = |key: &SipKey, tuple: &Tuple, seq, ack| {
                Ticket::open(&words, key, &Segment { tuple, seq, ack }, Epoch(epoch))
            };
            prop_assert_eq!(open(&KEY, &elsewhere, seq, ack), Err(Refusal::Bad));
            prop_assert_eq!(open(&KEY, &TUPLE, seq ^ change, ack), Err(Refusal::Bad));
            prop_assert_eq!(open(&KEY, &TUPLE, seq, ack ^ change), Err(Refusal::Bad));
            prop_assert_eq!(open(&SipKey { k0: 1, k1: 3 }, &TUPLE, seq, ack), Err(Refusal::Bad));
        }

        #[test]
        fn an_expired_ticket_is_refused_as_such(ticket in ticket(), seq: u32, ack: u32, epoch: u32, age in 2_u32..15) {
            let segment = Segment { tuple: &TUPLE, seq, ack };
            let words = ticket.seal(&KEY, &segment, Epoch(epoch));
            prop_assert_eq!(Ticket::open(&words, &KEY, &segment, Epoch(epoch.wrapping_add(age))), Err(Refusal::Expired));
        }

        #[test]
        fn a_much_older_ticket_is_bad(ticket in ticket(), seq: u32, ack: u32, epoch: u32, turns in 1_u32..1000) {
            let segment = Segment { tuple: &TUPLE, seq, ack };
            let words = ticket.seal(&KEY, &segment, Epoch(epoch));
            let now = Epoch(epoch.wrapping_add(turns * 16));
            prop_assert_eq!(Ticket::open(&words, &KEY, &segment, now), Err(Refusal::Bad));
        }
    }

    #[test]
    fn the_option_starts_with_kind_length_and_experiment_id() {
        let ticket = Ticket {
            kind: KIND_MOVE,
            options: SynOptions(0xab),
            priority: 5,
            timestamps: true,
            followed: true,
            number: 3,
            class: 0x0102,
            server: 4,
            path: PathState(0x25),
        };
        let bytes = |kind| {
            let words =
                Ticket { kind, ..ticket }.seal(&KEY, &Segment { tuple: &TUPLE, seq: 1, ack: 2 }, Epoch(0x17));
            words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>()
        };
        assert_eq!(bytes(KIND_MOVE)[..7], [253, 16, 0xd1, 0x5b, 0x33, 0xab, 0b1011_0111]);
        assert_eq!(bytes(KIND_MOVE)[8..12], [0x81, 2, 3, 4]);
        assert_eq!(bytes(KIND_HAND_OFF)[8..12], [0x81, 2, 3, 0x25]);
        assert_eq!(bytes(KIND_RELEASED)[8..12], [0x81, 2, 0x25, 4]);
    }
}
