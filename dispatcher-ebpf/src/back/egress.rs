//! To the clients: nothing is ever changed or dropped here, responses are only seen to begin and connections to end.

use aya_ebpf::programs::TcContext;
use dispatcher_common::counter::BackCounter;

use super::{
    flow::Flow,
    segment::{FIN, Parsed, RST, Segment, Sender},
    verdict::Verdict,
};

/// One packet to the network.
#[inline(always)]
pub(crate) fn run(ctx: &TcContext) -> i32 {
    let counter = match Segment::parse(ctx, Sender::Server) {
        Parsed::Segment(segment) => {
            measure(&segment);
            BackCounter::SegmentPassed
        }
        _ => BackCounter::OtherPassed,
    };
    Verdict::Pass(counter).leave()
}

#[inline(always)]
fn measure(segment: &Segment) {
    let Some(flow) = Flow::find(segment) else { return };
    flow.note_sent();
    if segment.payload_len != 0 {
        flow.take_response();
    }
    if segment.flags & (FIN | RST) != 0 {
        flow.close();
    }
}
