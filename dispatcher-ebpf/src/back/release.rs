//! The request for which a connection was released, on its way back to the front-end: the same segment, the ticket of which says
//! so, under a seal of this server's.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_csum_diff, bpf_l4_csum_replace, bpf_skb_store_bytes},
};
use dispatcher_common::{
    counter::BackCounter,
    limits::TICKET_LEN,
    path_state::PathState,
    ticket::{self, KIND_RELEASED, Ticket, TicketWords},
};

use super::{
    further::Further,
    give_back::to_sender,
    ingress::{FIXED_HEADER_LEN, now},
    retire::CHECKSUM_OFFSET,
    verdict::Verdict,
};

/// Sends the request back, released, with what is known of the path to the client.
#[inline(always)]
pub(super) fn release(skb: *mut __sk_buff, further: &Further<'_>, path: PathState) -> Verdict {
    let Further { segment, ticket, words, settings, .. } = further;
    let place = ticket::Segment { tuple: &segment.tuple, seq: segment.seq, ack: segment.ack };
    let released = Ticket { kind: KIND_RELEASED, path, ..**ticket };
    let sealed = released.seal(&settings.ticket_key, &place, now(settings));
    replace(skb, segment.tcp_offset, words, &sealed);
    to_sender(skb, BackCounter::MoveReleased)
}

/// Another ticket in place of the one that is there. Checksum and words change together: see `retire`.
#[inline(always)]
fn replace(skb: *mut __sk_buff, tcp_offset: u32, from: &TicketWords, to: &TicketWords) {
    const LEN: u32 = TICKET_LEN as u32;
    let (from, to) = (from.as_ptr().cast_mut(), to.as_ptr().cast_mut());
    // SAFETY: both are as long as said; helper calls on the program's own context, which check the offsets.
    unsafe {
        let difference = bpf_csum_diff(from, LEN, to, LEN, 0);
        bpf_l4_csum_replace(skb, tcp_offset + CHECKSUM_OFFSET, 0, difference as u64, 0);
        bpf_skb_store_bytes(skb, tcp_offset + FIXED_HEADER_LEN, to.cast(), LEN, 0);
    }
}
