//! Ends a socket: an old one that stands in the way of a hand-off, because the client has re-used its port and the SYN that
//! would have told this kernel went to the front-end, or one whose connection is to be released.
//!
//! A clone of the segment is queued to ingress, where it comes after whatever is on its way by now. The segment itself is turned into
//! a RST with exactly the sequence number that the old socket expects (RFC 5961 section 3.2), and goes on to TCP. It has no options,
//! or the old connection's PAWS check could refuse it (RFC 7323 section 5.5): ticket and options become its payload.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_l4_csum_replace, bpf_skb_store_bytes},
};

use super::{
    mark::Mark,
    segment::{RST, Segment},
};

const SEQ_OFFSET: u32 = 4;
const LEN_AND_FLAGS_OFFSET: u32 = 12;
pub(super) const CHECKSUM_OFFSET: u32 = 16;
const LEAST_HEADER_WORDS: u8 = 5;

/// Queues the segment again and turns it into the RST, which the caller passes on.
#[inline(always)]
pub(super) fn retire(skb: *mut __sk_buff, segment: &Segment, rcv_nxt: u32, mark: Mark) {
    mark.queue_again(skb);
    let (from, to) = (word(segment.header_words, segment.flags), word(LEAST_HEADER_WORDS, RST));
    replace_seq(skb, segment, segment.seq, rcv_nxt);
    replace_len_and_flags(skb, segment, from, to);
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
