//! Request heads that span segments: what is there of each, within bounds per flow and for all together, and when something is
//! due. Pure: the time is an argument. Parsing, dispatching and sending are the engine's.
//!
//! Bytes collected here were acknowledged to the client, who will not send them again. So a head is kept after it was sent to
//! its server, and sent again until there is a response.

use std::collections::HashMap;

use dispatcher_common::{
    filter::FlowKey,
    limits::{SYN_ACK_WINDOW, TICKET_LEN, WINDOW_SCALE},
    server::ServerEntry,
    slow_path::SlowPathMeta,
    syn_options::SynOptions,
    ticket::TicketWords,
};
use dispatcher_core::http::Course;

use super::{
    frame::{Frame, TCP_LEN, flags},
    outbox::{Outbox, Side},
    reassembly::Reassembly,
    template::{Segment, Template},
};

/// First wait before a sent head is sent again; doubles each time. The least retransmission time-out of Linux.
const FIRST_RESEND_NS: u64 = 200_000_000;

/// For how long a sent head is sent again, at most.
const RESEND_FOR_NS: u64 = 5_000_000_000;

/// A client cannot have more than our SYN-ACK's window in flight.
const WINDOW_BYTES: u32 = SYN_ACK_WINDOW as u32;

/// Bounds of what is collected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longest head, in bytes; no flow holds more.
    pub(super) head_limit: usize,
    /// From a head's first segment to its last.
    pub(super) head_timeout_ns: u64,
    pub(super) max_flows: usize,
    /// All flows together.
    pub(super) max_memory_bytes: usize,
}

/// A bound of all flows together is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Flows,
    Memory,
}

/// Where a request goes or went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Destination {
    pub(super) server: u16,
    pub(super) class: u16,
    pub(super) priority: u8,
    /// Where the frame goes: to this server, or while the connection is to move, to the one that has it.
    pub(super) entry: ServerEntry,
}

/// A head that was sent to a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) to: Destination,
    /// How the connection goes on, where it is followed.
    pub(super) course: Option<Course>,
    /// Bytes of it that were sent; more may have come since, which the client sends to the server itself.
    len: usize,
    /// Whether the client's FIN was sent with it.
    pub(super) fin: bool,
    at_ns: u64,
    next_ns: u64,
    wait_ns: u64,
}

/// One flow's head.
#[derive(Debug)]
pub(super) struct Head {
    reassembly: Reassembly,
    pub(super) template: Template,
    pub(super) options: SynOptions,
    pub(super) handoff_seq: u32,
    pub(super) handoff_ack: u32,
    started_ns: u64,
    pub(super) sent: Option<Sent>,
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The head may be complete, or beyond saving: parse it.
    Parse,
    /// It cannot be complete yet.
    Wait,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The head was not complete in time.
    TimedOut,
    /// The head was sent, and there may be no response yet.
    Resend,
}

/// All heads.
#[derive(Debug)]
pub(super) struct Collection {
    limits: Limits,
    heads: HashMap<FlowKey, Head>,
    memory_bytes: usize,
}

impl Collection {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, heads: HashMap::new(), memory_bytes: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Starts a head with its first segment; an older connection's on the same flow goes.
    pub(super) fn begin(
        &mut self,
        key: FlowKey,
        meta: SlowPathMeta,
        bytes: &[u8],
        frame: &Frame,
        now_ns: u64,
    ) -> Result<(), Full> {
        self.remove(&key);
        if self.heads.len() >= self.limits.max_flows {
            return Err(Full::Flows);
        }
        let mut head = Head {
            reassembly: Reassembly::default(),
            template: Template::new(bytes, frame),
            options: SynOptions(meta.options),
            handoff_seq: frame.seq,
            handoff_ack: frame.ack,
            started_ns: now_ns,
            sent: None,
        };
        self.memory_bytes = head.take(bytes, frame, &self.limits, self.memory_bytes)?;
        self.heads.insert(key, head);
        Ok(())
    }

    /// The head that a segment belongs to: one of the same connection, not only of the same flow.
    pub(super) fn find(&mut self, key: &FlowKey, frame: &Frame) -> Option<&mut Head> {
        self.heads.get_mut(key).filter(|head| {
            frame.ack == head.handoff_ack && frame.seq.wrapping_sub(head.handoff_seq) < WINDOW_BYTES
        })
    }

    pub(super) fn get_mut(&mut self, key: &FlowKey) -> Option<&mut Head> {
        self.heads.get_mut(key)
    }

    /// Adds a segment to a head that [`Self::find`] found.
    pub(super) fn add(&mut self, key: &FlowKey, bytes: &[u8], frame: &Frame) -> Result<Step, Full> {
        let Some(head) = self.heads.get_mut(key) else { return Ok(Step::Wait) };
        let before = head.received().len();
        self.memory_bytes = head.take(bytes, frame, &self.limits, self.memory_bytes)?;
        let grown = &head.received()[before..];
        // Every way for a head to end ends a line, so a head that comes byte by byte is not parsed at each.
        let ripe = grown.contains(&b'\n')
            || !grown.is_empty() && before + grown.len() >= self.limits.head_limit
            || head.fin_reached();
        Ok(if ripe { Step::Parse } else { Step::Wait })
    }

    pub(super) fn remove(&mut self, key: &FlowKey) -> Option<Head> {
        let head = self.heads.remove(key)?;
        self.memory_bytes -= head.reassembly.memory();
        Some(head)
    }

    /// Everything that is due by now.
    pub(super) fn due(&self, now_ns: u64) -> Vec<(FlowKey, Due)> {
        let due = |head: &Head| match head.sent {
            Some(sent) => (now_ns >= sent.next_ns).then_some(Due::Resend),
            None => (now_ns.saturating_sub(head.started_ns) >= self.limits.head_timeout_ns)
                .then_some(Due::TimedOut),
        };
        self.heads.iter().filter_map(|(key, head)| Some((*key, due(head)?))).collect()
    }
}

impl Head {
    /// Takes a segment's bytes, if they fit beside what all flows use. Returns what they use then.
    fn take(
        &mut self,
        bytes: &[u8],
        frame: &Frame,
        limits: &Limits,
        used_bytes: usize,
    ) -> Result<usize, Full> {
        let offset = frame.seq.wrapping_sub(self.handoff_seq) as usize;
        let before = self.reassembly.memory();
        let after = self.reassembly.memory_with(offset + frame.payload_len(), limits.head_limit);
        if used_bytes - before + after > limits.max_memory_bytes {
            return Err(Full::Memory);
        }
        let payload = &bytes[frame.payload..frame.end];
        let fin = frame.has(flags::FIN);
        self.reassembly.insert(offset, payload, fin, limits.head_limit).map_err(|_| Full::Memory)?;
        self.template.refresh(frame);
        Ok(used_bytes - before + self.reassembly.memory())
    }

    /// The contiguous bytes from the first on.
    pub(super) fn received(&self) -> &[u8] {
        self.reassembly.contiguous()
    }

    /// Whether the client has closed its side behind them.
    pub(super) fn fin_reached(&self) -> bool {
        self.reassembly.fin_reached()
    }

    /// The acknowledgement number for what was received.
    pub(super) fn received_ack(&self) -> u32 {
        let fin = u32::from(self.fin_reached());
        self.handoff_seq.wrapping_add(self.received().len() as u32).wrapping_add(fin)
    }

    /// Notes that the head goes to a server now.
    pub(super) fn mark_sent(&mut self, to: Destination, course: Option<Course>, now_ns: u64) {
        self.sent = Some(Sent {
            to,
            course,
            len: self.received().len(),
            fin: self.fin_reached(),
            at_ns: now_ns,
            next_ns: now_ns + FIRST_RESEND_NS,
            wait_ns: FIRST_RESEND_NS,
        });
    }

    /// Notes that the head is sent again; false if it was tried for long enough.
    pub(super) fn mark_resent(&mut self, entry: ServerEntry, now_ns: u64) -> bool {
        let Some(sent) = &mut self.sent else { return false };
        sent.wait_ns *= 2;
        sent.next_ns = now_ns + sent.wait_ns;
        sent.to.entry = entry;
        now_ns < sent.at_ns + RESEND_FOR_NS
    }

    /// Builds the segments of a sent head, none longer than `mtu` bytes above Ethernet nor than the client's own may be.
    /// Returns their number and their bytes.
    pub(super) fn emit(&self, ticket: &TicketWords, mtu: usize, outbox: &mut Outbox) -> (u64, u64) {
        let Some(sent) = &self.sent else { return (0, 0) };
        let bytes = &self.received()[..sent.len];
        let room = mtu.min(self.template.headers_len() + usize::from(self.options.mss()));
        let spare = self.template.headers_len() + self.template.options_len() + TICKET_LEN;
        let size = room.saturating_sub(spare).max(1);
        let mut total = (0, 0);
        for (i, payload) in bytes.chunks(size).enumerate() {
            let offset = i * size;
            let last = offset + payload.len() == bytes.len();
            let segment = Segment {
                seq: self.handoff_seq.wrapping_add(offset as u32),
                ack: self.handoff_ack,
                flags: segment_flags(last, sent.fin),
                payload,
            };
            let ticket = (i == 0).then_some(ticket);
            let length = outbox.build(Side::Server, |out| {
                self.template.to_server(out, &sent.to.entry, &segment, ticket);
            });
            total = (total.0 + 1, total.1 + length as u64);
        }
        total
    }

    /// Tells the client what was received, or answers it.
    pub(super) fn tell_client(&self, flags: u8, payload: &[u8], outbox: &mut Outbox) {
        let segment = Segment { seq: self.handoff_ack, ack: self.received_ack(), flags, payload };
        outbox.build(Side::Client, |out| self.template.to_client(out, &segment, window(self.options)));
    }

    /// Resets the client: exact for any client, as it acknowledged this sequence number.
    pub(super) fn reset_client(&self, outbox: &mut Outbox) {
        let segment = Segment { seq: self.handoff_ack, ack: 0, flags: flags::RST, payload: &[] };
        outbox.build(Side::Client, |out| self.template.to_client(out, &segment, 0));
    }
}

fn segment_flags(last: bool, fin: bool) -> u8 {
    match (last, fin) {
        (false, _) => flags::ACK,
        (true, false) => flags::ACK | flags::PSH,
        (true, true) => flags::ACK | flags::PSH | flags::FIN,
    }
}

/// The window field of what we send to a client: the window of the SYN-ACK, scaled if both sides scale.
pub(super) fn window(options: SynOptions) -> u16 {
    if options.window_scale().is_some() { SYN_ACK_WINDOW >> WINDOW_SCALE } else { SYN_ACK_WINDOW }
}

/// Least MTU that leaves every segment some payload: both headers at their longest.
pub(super) const MIN_MTU: usize = super::frame::IPV6_LEN + TCP_LEN + 40 + 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::slow_path::fixture::{ENTRY, Shape};

    const LIMITS: Limits =
        Limits { head_limit: 16_384, head_timeout_ns: 5_000, max_flows: 2, max_memory_bytes: 1 << 20 };
    const TO: Destination = Destination { server: 1, class: 2, priority: 3, entry: ENTRY };
    const TICKET: TicketWords = [0x1111_1111, 0x2222_2222, 0x3333_3333, 0x4444_4444];

    fn key(client_port: u16) -> FlowKey {
        let tuple = Shape { client_port, ..Shape::request(b"") }.tuple();
        FlowKey::new(tuple.client, tuple.client_port_be, 1)
    }

    fn meta(mss: u16) -> SlowPathMeta {
        SlowPathMeta { options: SynOptions::new(mss, Some(7), true).0, ..SlowPathMeta::default() }
    }

    fn begin(collection: &mut Collection, shape: &Shape) -> Result<(), Full> {
        let bytes = shape.build();
        let frame = Frame::parse(&bytes).unwrap();
        collection.begin(key(shape.client_port), meta(1460), &bytes, &frame, 0)
    }

    fn add(collection: &mut Collection, shape: &Shape) -> Option<Result<Step, Full>> {
        let bytes = shape.build();
        let frame = Frame::parse(&bytes).unwrap();
        let key = key(shape.client_port);
        collection.find(&key, &frame)?;
        Some(collection.add(&key, &bytes, &frame))
    }

    fn at(offset: u32, payload: &[u8]) -> Shape {
        Shape { seq: 1001_u32.wrapping_add(offset), ..Shape::request(payload) }
    }

    #[test]
    fn only_a_line_end_makes_a_head_ripe() {
        let mut collection = Collection::new(LIMITS);
        begin(&mut collection, &at(0, b"GET /")).unwrap();
        assert_eq!(add(&mut collection, &at(5, b" HTTP")), Some(Ok(Step::Wait)));
        assert_eq!(add(&mut collection, &at(12, b"\r\n")), Some(Ok(Step::Wait)));
        assert_eq!(add(&mut collection, &at(10, b"/1")), Some(Ok(Step::Parse)));
    }

    #[test]
    fn a_segment_of_another_connection_finds_nothing() {
        let mut collection = Collection::new(LIMITS);
        begin(&mut collection, &at(0, b"GET /")).unwrap();
        assert_eq!(add(&mut collection, &Shape { ack: 1, ..at(5, b"x") }), None);
        assert_eq!(add(&mut collection, &at(u32::MAX, b"x")), None);
        assert_eq!(add(&mut collection, &at(WINDOW_BYTES, b"x")), None);
    }

    #[test]
    fn flows_and_memory_are_bounded_and_freed() {
        let mut collection = Collection::new(Limits { max_memory_bytes: 3 * 2048, ..LIMITS });
        for client_port in [1, 2] {
            begin(&mut collection, &Shape { client_port, ..at(0, b"GET /") }).unwrap();
        }
        assert_eq!(begin(&mut collection, &Shape { client_port: 3, ..at(0, b"G") }), Err(Full::Flows));
        assert_eq!(
            add(&mut collection, &Shape { client_port: 1, ..at(2040, b"123456789") }),
            Some(Ok(Step::Wait))
        );
        assert_eq!(
            add(&mut collection, &Shape { client_port: 2, ..at(2040, b"123456789") }),
            Some(Err(Full::Memory))
        );
        for client_port in [1, 2] {
            collection.remove(&key(client_port)).unwrap();
        }
        assert_eq!((collection.memory_bytes, collection.len()), (0, 0));
    }

    #[test]
    fn a_new_connection_on_the_same_flow_replaces_the_old_head() {
        let mut collection = Collection::new(LIMITS);
        begin(&mut collection, &at(0, b"old")).unwrap();
        begin(&mut collection, &Shape { seq: 77, ack: 88, ..Shape::request(b"new") }).unwrap();
        assert_eq!(collection.get_mut(&key(40_000)).unwrap().received(), b"new");
        assert_eq!((collection.len(), collection.memory_bytes), (1, 2048));
    }

    #[test]
    fn heads_time_out_and_sent_ones_are_sent_again_with_growing_waits() {
        let mut collection = Collection::new(LIMITS);
        begin(&mut collection, &at(0, b"GET")).unwrap();
        assert_eq!(collection.due(4_999), []);
        assert_eq!(collection.due(5_000), [(key(40_000), Due::TimedOut)]);
        collection.get_mut(&key(40_000)).unwrap().mark_sent(TO, None, 0);
        let mut times = Vec::new();
        for now_ms in 0..10_000_u64 {
            let now_ns = now_ms * 1_000_000;
            if collection.due(now_ns).is_empty() {
                continue;
            }
            if !collection.get_mut(&key(40_000)).unwrap().mark_resent(ENTRY, now_ns) {
                break;
            }
            times.push(now_ms);
        }
        assert_eq!(times, [200, 600, 1400, 3000]);
    }

    #[test]
    fn an_acknowledgement_says_what_is_contiguous() {
        let mut collection = Collection::new(LIMITS);
        begin(&mut collection, &at(0, b"GET /")).unwrap();
        add(&mut collection, &at(9, b"later")).unwrap().unwrap();
        let mut outbox = Outbox::default();
        collection.get_mut(&key(40_000)).unwrap().tell_client(flags::ACK, &[], &mut outbox);
        let (side, bytes) = outbox.frames().next().unwrap();
        let frame = Frame::parse(bytes).unwrap();
        assert_eq!((side, frame.seq, frame.ack, frame.flags), (Side::Client, 5001, 1006, flags::ACK));
        assert_eq!(frame.window, 501);
        let echoed = frame.timestamps.unwrap();
        assert_eq!((echoed.value, echoed.echo), (300, 700));
    }

    proptest! {
        #[test]
        fn emitted_segments_carry_the_bytes_within_both_limits(
            text in proptest::collection::vec(any::<u8>(), 1..16_384), ipv4: bool, timestamps: bool,
            mss in prop::sample::select(dispatcher_common::syn_options::MSS_TABLE.to_vec()), mtu in 576_usize..3000, fin: bool,
        ) {
            let mut first = Shape { ipv4, ..Shape::request(&text) };
            first.timestamps = first.timestamps.filter(|_| timestamps);
            if fin { first.flags |= flags::FIN; }
            let bytes = first.build();
            let frame = Frame::parse(&bytes).unwrap();
            let mut collection = Collection::new(LIMITS);
            collection.begin(key(1), meta(mss), &bytes, &frame, 0).unwrap();
            let head = collection.get_mut(&key(1)).unwrap();
            head.mark_sent(TO, None, 0);
            let mut outbox = Outbox::default();
            let (count, length) = head.emit(&TICKET, mtu, &mut outbox);
            prop_assert_eq!(outbox.frames().count() as u64, count);
            prop_assert_eq!(outbox.frames().map(|(_, bytes)| bytes.len() as u64).sum::<u64>(), length);
            let mut received = Vec::new();
            for (i, (side, bytes)) in outbox.frames().enumerate() {
                let frame = Frame::parse(bytes).unwrap();
                let last = i as u64 + 1 == count;
                prop_assert_eq!(side, Side::Server);
                prop_assert!(frame.checksum_holds(bytes));
                prop_assert!(bytes.len() - 14 <= mtu);
                prop_assert!(frame.end - frame.tcp - 20 <= usize::from(mss));
                prop_assert_eq!(frame.seq, 1001 + received.len() as u32);
                prop_assert_eq!(frame.flags, segment_flags(last, fin));
                let has_ticket = bytes[frame.tcp + 20..frame.payload].starts_with(&[0x11; 4]);
                prop_assert_eq!(has_ticket, i == 0);
                received.extend_from_slice(&bytes[frame.payload..frame.end]);
            }
            prop_assert_eq!(received, text);
        }
    }
}
