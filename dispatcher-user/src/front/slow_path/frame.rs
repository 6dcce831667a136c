//! Reading and editing one client frame in user space, for both families: the description of its headers, and the edits that
//! never touch a payload byte (ticket in, SACK blocks out, link-layer addresses). Building new frames is `template.rs`.

use dispatcher_common::{
    address::Address,
    checksum::{Sum, sum_bytes},
    limits::{MAX_OPTIONS_BESIDE_TICKET, TICKET_LEN},
    path_state::{PathState, TICK_SHIFT},
    server::ServerEntry,
    ticket::TicketWords,
    tuple::Tuple,
};

pub(super) const ETHERNET_LEN: usize = 14;
pub(super) const IPV4_LEN: usize = 20;
pub(super) const IPV6_LEN: usize = 40;
pub(super) const TCP_LEN: usize = 20;

/// Bytes before a frame that an inserted ticket grows into; the metadata of the frame lies in the last of them.
pub(super) const ROOM: usize = TICKET_LEN;

pub(super) const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const PROTOCOL_TCP: u8 = 6;

/// TCP flags (RFC 9293 section 3.1).
pub(super) mod flags {
    pub(in super::super) const FIN: u8 = 1;
    pub(in super::super) const RST: u8 = 4;
    pub(in super::super) const PSH: u8 = 8;
    pub(in super::super) const ACK: u8 = 16;
}

/// TCP option kinds (RFC 9293 section 3.1, RFC 7323 section 3.2).
pub(super) mod option {
    pub(in super::super) const END: u8 = 0;
    pub(in super::super) const NOP: u8 = 1;
    pub(in super::super) const TIMESTAMPS: u8 = 8;
    pub(in super::super) const TIMESTAMPS_LEN: u8 = 10;
}

/// A timestamps option, host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamps {
    pub(super) value: u32,
    pub(super) echo: u32,
}

impl Timestamps {
    /// The option with two NOPs before it, the order that every stack sends and hardware expects (RFC 7323 appendix A).
    pub(super) fn option(self) -> [u8; 12] {
        let mut bytes = [option::NOP; 12];
        bytes[2] = option::TIMESTAMPS;
        bytes[3] = option::TIMESTAMPS_LEN;
        bytes[4..8].copy_from_slice(&self.value.to_be_bytes());
        bytes[8..].copy_from_slice(&self.echo.to_be_bytes());
        bytes
    }
}

/// What a client's echo tells of the path to it, before any server has sent something.
pub(super) fn path(timestamps: Option<Timestamps>, now_ns: u64) -> PathState {
    let now = (now_ns >> TICK_SHIFT) as u32;
    timestamps.map_or(PathState::UNKNOWN, |timestamps| PathState::of_handshake(now, timestamps.echo))
}

/// Description of a client's TCP segment; offsets count from the first byte of the frame, numbers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tuple: Tuple,
    pub(super) ipv4: bool,
    /// Offset of the TCP header.
    pub(super) tcp: usize,
    /// Offset of the payload.
    pub(super) payload: usize,
    /// End of the payload by the IP header: Ethernet padding may follow.
    pub(super) end: usize,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) timestamps: Option<Timestamps>,
}

impl Frame {
    /// Describes a frame; `None` if its lengths cannot be or it is not TCP straight behind the IP header, which the kernel's
    /// program rules out before.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (ipv4, tcp, end) = network(bytes)?;
        let header = bytes.get(tcp..tcp + TCP_LEN)?;
        let payload = tcp + usize::from(header[12] >> 4) * 4;
        if payload < tcp + TCP_LEN || payload > end || end > bytes.len() {
            return None;
        }
        Some(Self {
            tuple: Tuple {
                client: address(bytes, ipv4, tcp, 0),
                vip: address(bytes, ipv4, tcp, 1),
                client_port_be: u16::from_ne_bytes([header[0], header[1]]),
                port_be: u16::from_ne_bytes([header[2], header[3]]),
            },
            ipv4,
            tcp,
            payload,
            end,
            seq: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            ack: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            window: u16::from_be_bytes([header[14], header[15]]),
            timestamps: timestamps(&bytes[tcp + TCP_LEN..payload]),
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn payload_len(&self) -> usize {
        self.end - self.payload
    }

    fn options_len(&self) -> usize {
        self.payload - self.tcp - TCP_LEN
    }

    /// Whether a ticket fits beside the options, or must take the place of some.
    pub(super) fn has_room(&self) -> bool {
        self.options_len() <= MAX_OPTIONS_BESIDE_TICKET
    }

    fn tcp_len(&self) -> u16 {
        (self.end - self.tcp) as u16
    }

    /// Whether the TCP checksum is right. Bytes that we acknowledge or judge must be what the client sent; on the quick way
    /// the receiver checks, since edits keep the checksum end to end.
    pub(super) fn checksum_holds(&self, bytes: &[u8]) -> bool {
        let addresses = if self.ipv4 { self.tcp - 8 } else { self.tcp - 32 };
        let pseudo = u32::from(self.tcp_len().to_be()) + u32::from(u16::from(PROTOCOL_TCP).to_be());
        sum_bytes(&bytes[addresses..self.end]).add(pseudo).finish() == 0
    }

    /// Inserts a ticket straight after the fixed TCP header. `buffer` is [`ROOM`] bytes and the frame; afterwards the frame
    /// begins at the first byte of `buffer` and is [`ROOM`] bytes longer.
    pub(super) fn insert_ticket(&self, buffer: &mut [u8], ticket: &TicketWords) {
        let fixed_end = self.tcp + TCP_LEN;
        buffer.copy_within(ROOM..ROOM + fixed_end, 0);
        let mut sum = Sum::resume(load16(buffer, self.tcp + 16));
        for (word, at) in ticket.iter().zip((fixed_end..).step_by(4)) {
            buffer[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            sum = sum.add(*word);
        }
        let offset = load16(buffer, self.tcp + 12);
        buffer[self.tcp + 12] += (TICKET_LEN as u8 / 4) << 4;
        let grown = self.tcp_len() + TICKET_LEN as u16;
        let sum = sum
            .replace16(offset, load16(buffer, self.tcp + 12))
            .replace16(self.tcp_len().to_be(), grown.to_be());
        store16(buffer, self.tcp + 16, sum.finish());
        self.grow_network(buffer);
    }

    fn grow_network(&self, buffer: &mut [u8]) {
        let length_at = if self.ipv4 { ETHERNET_LEN + 2 } else { ETHERNET_LEN + 4 };
        let old = load16(buffer, length_at);
        let new = (u16::from_be(old) + TICKET_LEN as u16).to_be();
        store16(buffer, length_at, new);
        if self.ipv4 {
            let sum = Sum::resume(load16(buffer, ETHERNET_LEN + 10)).replace16(old, new);
            store16(buffer, ETHERNET_LEN + 10, sum.finish());
        }
    }

    /// Puts a ticket in the place of options that leave no room beside it: what remains is the ticket, the timestamps if any,
    /// and NOPs. SACK blocks are advisory (RFC 2018 section 8), so they may go. The length stays; `bytes` is the frame.
    pub(super) fn overwrite_options(&self, bytes: &mut [u8], ticket: &TicketWords) {
        debug_assert!(!self.has_room(), "options of {} bytes leave room", self.options_len());
        let mut options = [option::NOP; 40];
        for (word, at) in ticket.iter().zip((0..).step_by(4)) {
            options[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        if let Some(timestamps) = self.timestamps {
            options[TICKET_LEN..TICKET_LEN + 12].copy_from_slice(&timestamps.option());
        }
        let mut sum = Sum::resume(load16(bytes, self.tcp + 16));
        for at in (0..self.options_len()).step_by(2) {
            let place = self.tcp + TCP_LEN + at;
            let new = load16(&options, at);
            sum = sum.replace16(load16(bytes, place), new);
            store16(bytes, place, new);
        }
        store16(bytes, self.tcp + 16, sum.finish());
    }
}

/// The link-layer address that a frame came from.
pub(super) fn source_mac(bytes: &[u8]) -> [u8; 6] {
    std::array::from_fn(|at| bytes[6 + at])
}

/// Sends a frame to a server: the twelve bytes that the data plane changes, too.
pub(super) fn set_macs(bytes: &mut [u8], entry: &ServerEntry) {
    bytes[..6].copy_from_slice(&entry.mac);
    bytes[6..12].copy_from_slice(&entry.source_mac);
}

/// Family, offset of the TCP header and end of the packet.
fn network(bytes: &[u8]) -> Option<(bool, usize, usize)> {
    let ip = bytes.get(ETHERNET_LEN..)?;
    match [bytes[12], bytes[13]] {
        ETHERTYPE_IPV4 if ip.len() >= IPV4_LEN && ip[0] == 0x45 && ip[9] == PROTOCOL_TCP => {
            let end = ETHERNET_LEN + usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            Some((true, ETHERNET_LEN + IPV4_LEN, end))
        }
        ETHERTYPE_IPV6 if ip.len() >= IPV6_LEN && ip[0] >> 4 == 6 && ip[6] == PROTOCOL_TCP => {
            let tcp = ETHERNET_LEN + IPV6_LEN;
            Some((false, tcp, tcp + usize::from(u16::from_be_bytes([ip[4], ip[5]]))))
        }
        _ => None,
    }
}

/// Source (0) or destination (1) address; both families end their IP header with them.
fn address(bytes: &[u8], ipv4: bool, tcp: usize, which: usize) -> Address {
    let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if ipv4 {
        return Address::from_ipv4_be(word(tcp - 8 + 4 * which));
    }
    let at = tcp - 32 + 16 * which;
    Address::from_words([word(at), word(at + 4), word(at + 8), word(at + 12)])
}

fn timestamps(mut options: &[u8]) -> Option<Timestamps> {
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (option::END, _) => return None,
            (option::NOP, rest) => rest,
            (option::TIMESTAMPS, [option::TIMESTAMPS_LEN, a, b, c, d, e, f, g, h, ..]) => {
                return Some(Timestamps {
                    value: u32::from_be_bytes([*a, *b, *c, *d]),
                    echo: u32::from_be_bytes([*e, *f, *g, *h]),
                });
            }
            (_, [length, ..]) if *length >= 2 => options.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
    None
}

pub(super) fn load16(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn store16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::slow_path::fixture::{Shape, shape};

    fn with_room(frame: &[u8]) -> Vec<u8> {
        [&[0xee; ROOM], frame].concat()
    }

    proptest! {
        #[test]
        fn a_built_segment_is_described(shape in shape()) {
            let bytes = shape.build();
            let frame = Frame::parse(&bytes).unwrap();
            prop_assert_eq!(frame.tuple, shape.tuple());
            prop_assert_eq!((frame.seq, frame.ack, frame.flags, frame.window), (shape.seq, shape.ack, shape.flags, shape.window));
            prop_assert_eq!(frame.timestamps, shape.timestamps);
            prop_assert_eq!(&bytes[frame.payload..frame.end], &shape.payload[..]);
            prop_assert!(frame.checksum_holds(&bytes));
        }

        #[test]
        fn a_ticket_changes_nothing_but_the_header(shape in shape(), ticket: [u32; 4]) {
            let shape = Shape { sack_blocks: 0, ..shape };
            let frame = Frame::parse(&shape.build()).unwrap();
            prop_assert!(frame.has_room());
            let mut buffer = with_room(&shape.build());
            frame.insert_ticket(&mut buffer, &ticket);
            buffer.truncate(frame.end + ROOM);
            let after = Frame::parse(&buffer).unwrap();
            prop_assert!(after.checksum_holds(&buffer));
            prop_assert!(shape.network_checksum_holds(&buffer));
            prop_assert_eq!(&buffer[after.payload..after.end], &shape.payload[..]);
            let words: Vec<u8> = ticket.iter().flat_map(|word| word.to_ne_bytes()).collect();
            prop_assert_eq!(&buffer[after.tcp + TCP_LEN..after.tcp + TCP_LEN + TICKET_LEN], &words[..]);
            // Behind the ticket the options are as they were.
            let options = |bytes: &[u8], frame: &Frame, skip: usize| bytes[frame.tcp + TCP_LEN + skip..frame.payload].to_vec();
            prop_assert_eq!(options(&buffer, &after, TICKET_LEN), options(&shape.build(), &frame, 0));
            prop_assert_eq!((after.seq, after.ack, after.flags, after.tuple), (frame.seq, frame.ack, frame.flags, frame.tuple));
        }

        #[test]
        fn overwritten_options_keep_length_payload_and_timestamps(shape in shape(), ticket: [u32; 4]) {
            let shape = Shape { sack_blocks: 3, ..shape };
            let mut bytes = shape.build();
            let frame = Frame::parse(&bytes).unwrap();
            prop_assert!(!frame.has_room());
            frame.overwrite_options(&mut bytes, &ticket);
            // A word that happens to read as another option must not hide the timestamps from this test.
            let after = Frame::parse(&bytes).unwrap();
            prop_assert!(after.checksum_holds(&bytes));
            prop_assert_eq!((after.payload, after.end), (frame.payload, frame.end));
            prop_assert_eq!(&bytes[after.payload..after.end], &shape.payload[..]);
            let behind = &bytes[after.tcp + TCP_LEN + TICKET_LEN..after.payload];
            prop_assert_eq!(timestamps(behind), shape.timestamps);
            let rest = if shape.timestamps.is_some() { &behind[12..] } else { behind };
            prop_assert!(rest.iter().all(|byte| *byte == option::NOP));
        }

        #[test]
        fn no_bytes_make_the_description_panic(bytes: Vec<u8>, ipv4: bool) {
            let mut bytes = bytes;
            if bytes.len() > ETHERNET_LEN {
                bytes[12..14].copy_from_slice(if ipv4 { &ETHERTYPE_IPV4 } else { &ETHERTYPE_IPV6 });
                bytes[14] = if ipv4 { 0x45 } else { 0x60 };
            }
            let _ = Frame::parse(&bytes);
        }

        #[test]
        fn any_flipped_bit_of_the_segment_breaks_the_checksum(shape in shape(), at: prop::sample::Index, bit in 0_u8..8) {
            let mut bytes = shape.build();
            let frame = Frame::parse(&bytes).unwrap();
            let at = frame.tcp + at.index(frame.end - frame.tcp);
            bytes[at] ^= 1 << bit;
            prop_assert!(!frame.checksum_holds(&bytes));
        }
    }

    #[test]
    fn a_frame_cut_short_is_refused() {
        let bytes = Shape::request(b"GET / HTTP/1.1\r\n").build();
        for length in 0..bytes.len() {
            assert_eq!(Frame::parse(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn ethernet_padding_is_no_payload() {
        let shape = Shape::request(b"G");
        let mut bytes = shape.build();
        bytes.resize(80, 0xaa);
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.payload_len(), 1);
        assert!(frame.checksum_holds(&bytes));
    }
}
