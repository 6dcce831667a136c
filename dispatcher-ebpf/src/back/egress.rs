//! To the clients: nothing is ever changed or dropped here, responses are only seen to begin and connections to end.

use aya_ebpf::programs::TcContext;
use dispatcher_common::{counter::BackCounter, per_request::is_after, server::phase};

use super::{
    flow::Flow,
    responses,
    segment::{FIN, Parsed, RST, Segment, Sender},
    verdict::Verdict,
};

/// One packet to the network.
#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let counter = match Segment::parse(ctx, Sender::Server) {
        Parsed::Segment(segment) => {
            measure(ctx, &segment);
            BackCounter::SegmentPassed
        }
        _ => BackCounter::OtherPassed,
    };
    Verdict::Pass(counter).leave(ctx.skb.skb)
}

#[inline(always)]
fn measure(ctx: &TcContext, segment: &Segment) {
    let Some(flow) = Flow::find(segment) else { return };
    flow.note_sent();
    if segment.payload_len != 0 {
        data(ctx, segment, flow);
    }
    if segment.flags & (FIN | RST) != 0 {
        flow.close();
    }
}

#[inline(always)]
fn data(ctx: &TcContext, segment: &Segment, flow: Flow) {
    if !flow.is_followed() {
        flow.take_response();
        return;
    }
    // A server that goes on must not be followed by another. What is only sent again takes nothing back.
    if flow.phase() == phase::RETIRING && is_after(segment.end(), flow.next_at()) {
        flow.advance(phase::RETIRING, phase::CLOSED);
    }
    responses::follow(ctx.skb.skb, segment, flow);
}
