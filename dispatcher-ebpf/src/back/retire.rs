//! Ends a socket: an old one that stands in the way of a hand-off, because the client has re-used its port and the SYN that
//! would have told this kernel went to the front-end, or one whose connection is to be released.
//!
//! The segment is turned into a RST with exactly the sequence number that the old socket expects (RFC 5961 section 3.2) and a
//! clone of it sent through ingress; then the segment is restored and a clone of it sent after. Clones are processed in order.
//! The RST has no options, or the old connection's PAWS check could refuse it (RFC 7323 section 5.5): ticket and options become
//! its payload.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_l4_csum_replace, bpf_skb_store_bytes},
};

use super::{
    mark::{self, Mark},
    segment::{RST, Segment},
};

const SEQ_OFFSET: u32 = 4;
const LEN_AND_FLAGS_OFFSET: u32 = 12;
pub(super) const CHECKSUM_OFFSET: u32 = 16;
const LEAST_HEADER_WORDS: u8 = 5;

/// Whose RST it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reset {
    /// As if the client had ended its connection.
    Client,
    /// Only this server's end of the connection is over: what is remembered of the flow stays.
    Release,
}

/// Queues the RST and then the segment; the caller drops the original.
#[inline(always)]
pub(super) fn retire(skb: *mut __sk_buff, segment: &Segment, rcv_nxt: u32, reset: Reset, mark: Mark) {
    let seq = (segment.seq, rcv_nxt);
    let len_and_flags = (word(segment.header_words, segment.flags), word(LEAST_HEADER_WORDS, RST));
    replace_seq(skb, segment, seq.0, seq.1);
    replace_len_and_flags(skb, segment, len_and_flags.0, len_and_flags.1);
    match reset {
        Reset::Client => mark::queue_unmarked(skb),
        Reset::Release => mark::queue_reset(skb),
    }
    replace_seq(skb, segment, seq.1, seq.0);
    replace_len_and_flags(skb, segment, len_and_flags.1, len_and_flags.0);
    mark.queue_again(skb);
}

// The reserved bits between length and flags are zero in the RST and in every segment that a front-end made a ticket for.
#[inline(always)]
fn word(header_words: u8, flags: u8) -> u16 {
    u16::from_ne_bytes([header_words << 4, flags])
}

// Fields and checksum change together, so the sum over the whole packet (CHECKSUM_COMPLETE) stays as it is, and a partial
// checksum, which covers neither, is left alone by the helper.
#[inline(always)]
fn replace_seq(skb: *mut __sk_buff, segment: &Segment, from: u32, to: u32) {
    let (from, to) = (from.to_be(), to.to_be());
    // SAFETY: helper calls on the program's own context, which check the offsets.
    unsafe {
        bpf_l4_csum_replace(skb, segment.tcp_offset + CHECKSUM_OFFSET, from as u64, to as u64, 4);
        bpf_skb_store_bytes(skb, segment.tcp_offset + SEQ_OFFSET, (&raw const to).cast(), 4, 0);
    }
}

#[inline(always)]
fn replace_len_and_flags(skb: *mut __sk_buff, segment: &Segment, from: u16, to: u16) {
    // SAFETY: as above.
    unsafe {
        bpf_l4_csum_replace(skb, segment.tcp_offset + CHECKSUM_OFFSET, from as u64, to as u64, 2);
        bpf_skb_store_bytes(skb, segment.tcp_offset + LEN_AND_FLAGS_OFFSET, (&raw const to).cast(), 2, 0);
    }
}
