//! Back to the front-end: a segment of a connection that was released goes out by the interface that it came from, to the MAC
//! address that sent it. It has the hop limit that says how often: the front-end and a server that both believe the other one to
//! be right would else send it to and fro for ever.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_l3_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes},
};
use dispatcher_common::counter::BackCounter;

use super::{
    segment::{ETHERNET_LEN, Segment},
    verdict::Verdict,
};

/// Words of both MAC addresses.
type MacWords = [u16; 6];

const MACS_LEN: u32 = size_of::<MacWords>() as u32;

const IPV4_TTL: u32 = ETHERNET_LEN as u32 + 8;
const IPV4_CHECKSUM: u32 = ETHERNET_LEN as u32 + 10;
const IPV6_HOP_LIMIT: u32 = ETHERNET_LEN as u32 + 7;

/// Sends back a segment that has no place here.
#[inline(always)]
pub(super) fn give_back(skb: *mut __sk_buff, segment: &Segment) -> Verdict {
    if segment.hop_limit <= 1 {
        return Verdict::Drop(BackCounter::ReturnedTooOften);
    }
    let hop_limit = segment.hop_limit - 1;
    // SAFETY: helper calls on the program's own context, which check the offsets. The sum is over words of which the TTL is the
    // first byte; whatever the second is, it stays.
    unsafe {
        if segment.ipv6 {
            bpf_skb_store_bytes(skb, IPV6_HOP_LIMIT, (&raw const hop_limit).cast(), 1, 0);
        } else {
            let words = (first_byte(segment.hop_limit), first_byte(hop_limit));
            bpf_l3_csum_replace(skb, IPV4_CHECKSUM, words.0, words.1, 2);
            bpf_skb_store_bytes(skb, IPV4_TTL, (&raw const hop_limit).cast(), 1, 0);
        }
    }
    to_sender(skb, BackCounter::Returned)
}

/// Sends the frame to whoever sent it, as it is.
#[inline(always)]
pub(super) fn to_sender(skb: *mut __sk_buff, counter: BackCounter) -> Verdict {
    let mut macs = MaybeUninit::<MacWords>::uninit();
    // SAFETY: the helper fills the words, or fails.
    if unsafe { bpf_skb_load_bytes(skb.cast(), 0, macs.as_mut_ptr().cast(), MACS_LEN) } != 0 {
        return Verdict::Drop(BackCounter::MalformedDropped);
    }
    // SAFETY: filled by now.
    let [a, b, c, d, e, f] = unsafe { macs.assume_init() };
    let swapped = [d, e, f, a, b, c];
    // SAFETY: a helper call on the program's own context; the words are as long as said.
    unsafe { bpf_skb_store_bytes(skb, 0, (&raw const swapped).cast(), MACS_LEN, 0) };
    Verdict::SendBack(counter)
}

#[inline(always)]
const fn first_byte(byte: u8) -> u64 {
    u16::from_ne_bytes([byte, 0]) as u64
}
