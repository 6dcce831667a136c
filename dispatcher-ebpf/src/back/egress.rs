//! To the clients: nothing is ever changed here, responses are only seen to begin and connections to end. Nothing is dropped but
//! resets for connections that another server has.

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
    let verdict = match Segment::parse(ctx, Sender::Server) {
        Parsed::Segment(segment) => judge(ctx, &segment),
        _ => Verdict::Pass(BackCounter::OtherPassed),
    };
    verdict.leave(ctx.skb.skb)
}

#[inline(always)]
fn judge(ctx: &TcContext, segment: &Segment) -> Verdict {
    let Some(flow) = Flow::find(segment) else { return Verdict::Pass(BackCounter::SegmentPassed) };
    // An ACK that ingress let pass while the socket lived may be looked up by TCP when it is gone; the kernel's answer would end
    // the connection at its client, whose server is another one now.
    if segment.flags & RST != 0 && matches!(flow.phase(), phase::RETIRING | phase::RELEASED) {
        return Verdict::Drop(BackCounter::ResetWithheld);
    }
    measure(ctx, segment, flow);
    Verdict::Pass(BackCounter::SegmentPassed)
}

#[inline(always)]
fn measure(ctx: &TcContext, segment: &Segment, flow: Flow) {
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
