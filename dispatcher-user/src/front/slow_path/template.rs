//! Frames that the slow path builds itself: segments of a collected head to a server, and acknowledgements, answers and resets
//! to a client. A client's own frame is the template, so families, addresses and ports are right by construction.

use dispatcher_common::{
    address::Address,
    checksum::{Sum, sum_bytes},
    limits::HOP_LIMIT,
    path_state::PathState,
    server::ServerEntry,
    ticket::TicketWords,
    tuple::Tuple,
};

use super::frame::{
    ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Frame, IPV4_LEN, IPV6_LEN, TCP_LEN, Timestamps, flags,
    load16, path, set_macs, source_mac, store16,
};

/// Longest headers below TCP.
const BELOW_TCP: usize = ETHERNET_LEN + IPV6_LEN;

const PROTOCOL_TCP: u16 = 6;

/// A flow's headers as its client sends them.
#[derive(Clone, Debug)]
pub(super) struct Template {
    below_tcp: [u8; BELOW_TCP],
    pub(super) tuple: Tuple,
    ipv4: bool,
    /// The client's latest window field.
    window: u16,
    /// The client's latest timestamps, if the flow uses them.
    timestamps: Option<Timestamps>,
}

/// What changes from segment to segment; numbers in host byte order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) payload: &'a [u8],
}

impl Template {
    /// Takes the headers of a client's frame.
    pub(super) fn new(bytes: &[u8], frame: &Frame) -> Self {
        let mut below_tcp = [0; BELOW_TCP];
        below_tcp[..frame.tcp].copy_from_slice(&bytes[..frame.tcp]);
        Self {
            below_tcp,
            tuple: frame.tuple,
            ipv4: frame.ipv4,
            window: frame.window,
            timestamps: frame.timestamps,
        }
    }

    /// The headers of a flow none of whose frames is at hand.
    pub(super) fn of_flow(tuple: &Tuple, client_mac: [u8; 6], our_mac: [u8; 6]) -> Self {
        let mut below_tcp = [0; BELOW_TCP];
        below_tcp[..6].copy_from_slice(&our_mac);
        below_tcp[6..12].copy_from_slice(&client_mac);
        let addresses = [tuple.client, tuple.vip].map(|address: Address| address.halves());
        let ipv4 = tuple.client.is_ipv4();
        let network = &mut below_tcp[ETHERNET_LEN..];
        if ipv4 {
            network[..10].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_TCP as u8]);
            for (at, [_, low]) in addresses.into_iter().enumerate() {
                network[12 + 4 * at..][..4].copy_from_slice(&low.to_ne_bytes()[4..]);
            }
        } else {
            network[0] = 0x60;
            network[6..8].copy_from_slice(&[PROTOCOL_TCP as u8, HOP_LIMIT]);
            for (at, half) in addresses.into_iter().flatten().enumerate() {
                network[8 + 8 * at..][..8].copy_from_slice(&half.to_ne_bytes());
            }
        }
        below_tcp[12..14].copy_from_slice(if ipv4 { &ETHERTYPE_IPV4 } else { &ETHERTYPE_IPV6 });
        Self { below_tcp, tuple: *tuple, ipv4, window: 0, timestamps: None }
    }

    /// Where frames to the client go.
    pub(super) fn client_mac(&self) -> [u8; 6] {
        source_mac(&self.below_tcp)
    }

    /// Notes what is latest of another frame of the flow. A repeated frame may be older than one before it, so the greater
    /// timestamp wins (RFC 7323 section 5.2 compares modulo 2^32).
    pub(super) fn refresh(&mut self, frame: &Frame) {
        let newer = match (self.timestamps, frame.timestamps) {
            (Some(old), Some(new)) => new.value.wrapping_sub(old.value) < 1 << 31,
            _ => true,
        };
        if newer {
            self.window = frame.window;
            self.timestamps = frame.timestamps.or(self.timestamps);
        }
    }

    pub(super) fn uses_timestamps(&self) -> bool {
        self.timestamps.is_some()
    }

    /// What the client's latest echo tells of the path to it, before any server has sent something.
    pub(super) fn path(&self, now_ns: u64) -> PathState {
        path(self.timestamps, now_ns)
    }

    fn tcp(&self) -> usize {
        if self.ipv4 { ETHERNET_LEN + IPV4_LEN } else { BELOW_TCP }
    }

    /// Bytes of headers above Ethernet, without TCP options.
    pub(super) fn headers_len(&self) -> usize {
        self.tcp() - ETHERNET_LEN + TCP_LEN
    }

    /// Bytes of the options that each segment carries beside a ticket.
    pub(super) fn options_len(&self) -> usize {
        if self.uses_timestamps() { 12 } else { 0 }
    }

    /// Appends a segment from the client to a server.
    pub(super) fn to_server(
        &self,
        out: &mut Vec<u8>,
        entry: &ServerEntry,
        segment: &Segment<'_>,
        ticket: Option<&TicketWords>,
    ) {
        let start = out.len();
        out.extend_from_slice(&self.below_tcp[..self.tcp()]);
        set_macs(&mut out[start..], entry);
        if self.ipv4 {
            // Several segments grow from one header: with DF set the identification has no meaning (RFC 6864).
            out[start + ETHERNET_LEN + 4..start + ETHERNET_LEN + 8].copy_from_slice(&[0, 0, 0x40, 0]);
        }
        out.extend_from_slice(&self.tuple.client_port_be.to_ne_bytes());
        out.extend_from_slice(&self.tuple.port_be.to_ne_bytes());
        self.numbers(out, segment, self.window);
        for word in ticket.into_iter().flatten() {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        if let Some(timestamps) = self.timestamps {
            out.extend_from_slice(&timestamps.option());
        }
        self.finish(&mut out[start..], segment.payload);
        out.extend_from_slice(segment.payload);
    }

    /// Appends a segment from the VIP to the client. `window` is the field, scaled already. A RST carries no options.
    pub(super) fn to_client(&self, out: &mut Vec<u8>, segment: &Segment<'_>, window: u16) {
        let start = out.len();
        out.extend_from_slice(&self.below_tcp[6..12]);
        out.extend_from_slice(&self.below_tcp[..6]);
        out.extend_from_slice(&self.below_tcp[12..14]);
        self.network_to_client(out);
        out.extend_from_slice(&self.tuple.port_be.to_ne_bytes());
        out.extend_from_slice(&self.tuple.client_port_be.to_ne_bytes());
        self.numbers(out, segment, window);
        if segment.flags & flags::RST == 0
            && let Some(theirs) = self.timestamps
        {
            // What the client echoes is what we sent last: repeating it keeps our side's clock from going back.
            let ours = Timestamps { value: theirs.echo, echo: theirs.value };
            out.extend_from_slice(&ours.option());
        }
        self.finish(&mut out[start..], segment.payload);
        out.extend_from_slice(segment.payload);
    }

    fn network_to_client(&self, out: &mut Vec<u8>) {
        let network = &self.below_tcp[ETHERNET_LEN..self.tcp()];
        let fixed: &[u8] = if self.ipv4 {
            &[0x45, 0, 0, 0, 0, 0, 0x40, 0, HOP_LIMIT, PROTOCOL_TCP as u8, 0, 0]
        } else {
            &[0x60, 0, 0, 0, 0, 0, PROTOCOL_TCP as u8, HOP_LIMIT]
        };
        out.extend_from_slice(fixed);
        let (source, destination) = network[fixed.len()..].split_at((network.len() - fixed.len()) / 2);
        out.extend_from_slice(destination);
        out.extend_from_slice(source);
    }

    /// Sequence numbers, flags and window; header length and checksum are filled in by `finish`.
    fn numbers(&self, out: &mut Vec<u8>, segment: &Segment<'_>, window: u16) {
        out.extend_from_slice(&segment.seq.to_be_bytes());
        out.extend_from_slice(&segment.ack.to_be_bytes());
        out.extend_from_slice(&[0, segment.flags]);
        out.extend_from_slice(&window.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
    }

    /// Lengths and checksums of a frame that is whole but for its payload.
    fn finish(&self, headers: &mut [u8], payload: &[u8]) {
        let tcp = self.tcp();
        let tcp_len = (headers.len() - tcp + payload.len()) as u16;
        headers[tcp + 12] = ((headers.len() - tcp) as u8 / 4) << 4;
        if self.ipv4 {
            store16(headers, ETHERNET_LEN + 2, (IPV4_LEN as u16 + tcp_len).to_be());
            store16(headers, ETHERNET_LEN + 10, 0);
            let sum = sum_bytes(&headers[ETHERNET_LEN..tcp]).finish();
            store16(headers, ETHERNET_LEN + 10, sum);
        } else {
            store16(headers, ETHERNET_LEN + 4, tcp_len.to_be());
        }
        let addresses = if self.ipv4 { tcp - 8 } else { tcp - 32 };
        let pseudo = u32::from(tcp_len.to_be()) + u32::from(PROTOCOL_TCP.to_be());
        let Sum(payload_sum) = sum_bytes(payload);
        let Sum(sum) = sum_bytes(&headers[addresses..]).add(pseudo);
        store16(headers, tcp + 16, Sum(sum + payload_sum).finish());
        debug_assert_eq!(load16(headers, tcp + 18), 0, "no urgent pointer");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::slow_path::fixture::{CLIENT_MAC, ENTRY, FRONT_MAC, Shape, shape};

    proptest! {
        #[test]
        fn a_segment_to_a_server_is_the_clients_with_another_payload(
            shape in shape(), seq: u32, ack: u32, ticket: Option<[u32; 4]>, payload in proptest::collection::vec(any::<u8>(), 0..1300)
        ) {
            let bytes = shape.build();
            let template = Template::new(&bytes, &Frame::parse(&bytes).unwrap());
            let mut out = vec![1, 2, 3];
            let segment = Segment { seq, ack, flags: flags::ACK, payload: &payload };
            template.to_server(&mut out, &ENTRY, &segment, ticket.as_ref());
            let out = &out[3..];
            let built = Frame::parse(out).unwrap();
            prop_assert!(built.checksum_holds(out) && shape.network_checksum_holds(out));
            prop_assert_eq!(built.tuple, shape.tuple());
            prop_assert_eq!((built.seq, built.ack, built.window), (seq, ack, shape.window));
            prop_assert_eq!(&out[built.payload..], &payload[..]);
            prop_assert_eq!(&out[..6], &ENTRY.mac);
            prop_assert_eq!(&out[6..12], &ENTRY.source_mac);
            prop_assert_eq!(template.headers_len() + template.options_len() + if ticket.is_some() { 16 } else { 0 }, built.payload - ETHERNET_LEN);
        }

        #[test]
        fn a_segment_to_the_client_goes_the_other_way(shape in shape(), seq: u32, ack: u32, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = shape.build();
            let template = Template::new(&bytes, &Frame::parse(&bytes).unwrap());
            let mut out = Vec::new();
            template.to_client(&mut out, &Segment { seq, ack, flags: flags::ACK, payload: &payload }, 501);
            let built = Frame::parse(&out).unwrap();
            prop_assert!(built.checksum_holds(&out) && shape.network_checksum_holds(&out));
            let there = shape.tuple();
            prop_assert_eq!(built.tuple, Tuple { client: there.vip, vip: there.client, client_port_be: there.port_be, port_be: there.client_port_be });
            prop_assert_eq!((built.seq, built.ack, built.window), (seq, ack, 501));
            prop_assert_eq!(&out[built.payload..], &payload[..]);
            prop_assert_eq!(&out[..6], &CLIENT_MAC);
            prop_assert_eq!(&out[6..12], &FRONT_MAC);
            prop_assert_eq!(built.timestamps, shape.timestamps.map(|theirs| Timestamps { value: theirs.echo, echo: theirs.value }));
        }
    }

    #[test]
    fn a_flow_without_a_frame_is_told_as_with_one() {
        for ipv4 in [true, false] {
            let shape = Shape { ipv4, timestamps: None, window: 0, ..Shape::request(b"x") };
            let bytes = shape.build();
            let with = Template::new(&bytes, &Frame::parse(&bytes).unwrap());
            let without = Template::of_flow(&shape.tuple(), CLIENT_MAC, FRONT_MAC);
            let segment = Segment { seq: 7, ack: 0, flags: flags::RST, payload: &[] };
            let build = |template: &Template| {
                let (mut client, mut server) = (Vec::new(), Vec::new());
                template.to_client(&mut client, &segment, 0);
                template.to_server(&mut server, &ENTRY, &segment, None);
                (client, server)
            };
            let ((client, _), (other, server)) = (build(&with), build(&without));
            assert_eq!(client, other);
            let built = Frame::parse(&server).unwrap();
            assert!(built.checksum_holds(&server) && shape.network_checksum_holds(&server));
            assert_eq!((built.tuple, built.seq, built.flags), (shape.tuple(), 7, flags::RST));
            assert_eq!(without.client_mac(), CLIENT_MAC);
        }
    }

    #[test]
    fn a_reset_has_no_options() {
        let bytes = Shape::request(b"x").build();
        let template = Template::new(&bytes, &Frame::parse(&bytes).unwrap());
        let mut out = Vec::new();
        template.to_client(&mut out, &Segment { seq: 1, ack: 0, flags: flags::RST, payload: &[] }, 0);
        assert_eq!(out.len(), 54);
    }

    #[test]
    fn the_latest_timestamps_win_even_across_the_wrap() {
        let at = |value| Shape {
            timestamps: Some(Timestamps { value, echo: 9 }),
            window: value as u16,
            ..Shape::request(b"x")
        };
        let parse = |shape: &Shape| Frame::parse(&shape.build()).unwrap();
        let first = at(u32::MAX - 5);
        let mut template = Template::new(&first.build(), &parse(&first));
        template.refresh(&parse(&at(3)));
        assert_eq!((template.timestamps.unwrap().value, template.window), (3, 3));
        template.refresh(&parse(&at(u32::MAX - 1)));
        assert_eq!((template.timestamps.unwrap().value, template.window), (3, 3));
    }
}
