//! A TCP segment for a service: the frame, its description and what holds for the service.

use aya_ebpf::programs::XdpContext;
use dispatcher_common::{
    epoch::Epoch,
    filter::FlowKey,
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};
use dispatcher_ebpf::{frame::Frame, packet::Packet};

use super::{clock, frame, maps, service};

#[repr(C)]
pub(super) struct Segment<'a> {
    pub(super) ctx: &'a XdpContext,
    pub(super) frame: Frame,
    pub(super) settings: &'static FrontSettings,
    pub(super) packet: &'a Packet,
    pub(super) service: ServiceEntry,
}

impl<'a> Segment<'a> {
    /// The segment, if it is for a service.
    #[inline(always)]
    pub(super) fn of_service(ctx: &'a XdpContext, packet: &'a Packet) -> Option<Self> {
        let key = ServiceKey::new(packet.tuple.vip, packet.tuple.port_be);
        if key.port_be() == maps::ANY_PORT {
            return None;
        }
        let service = service::find(&key)?;
        Some(Self { ctx, frame: frame::of(ctx), settings: maps::settings()?, packet, service })
    }

    #[inline(always)]
    pub(super) fn flow_key(&self) -> FlowKey {
        let tuple = &self.packet.tuple;
        FlowKey::new(tuple.client, tuple.client_port_be, self.service.id)
    }

    /// Key epoch of this moment.
    #[inline(always)]
    pub(super) fn epoch(&self) -> Epoch {
        Epoch::at(clock::now_ns().wrapping_add(self.settings.clock_offset_ns))
    }
}
