//! A TCP segment for a service: the frame, its description and what holds for the service.

use aya_ebpf::programs::XdpContext;
use dispatcher_common::{
    epoch::Epoch,
    filter::FlowKey,
    service::{ServiceEntry, ServiceKey},
    settings::FrontSettings,
};
use dispatcher_ebpf::{frame::Frame, packet::Packet};

use super::{clock, frame, maps};

pub(super) struct Segment<'a> {
    pub(super) ctx: &'a XdpContext,
    pub(super) frame: Frame,
    pub(super) packet: Packet,
    pub(super) service: ServiceEntry,
    pub(super) settings: &'static FrontSettings,
}

impl<'a> Segment<'a> {
    /// The segment, if it is for a service.
    #[inline(always)]
    pub(super) fn of_service(ctx: &'a XdpContext, packet: Packet) -> Option<Self> {
        let key = ServiceKey::new(packet.tuple.vip, packet.tuple.port_be);
        if key.port_be == maps::ANY_PORT {
            return None;
        }
        let service = maps::service(&key)?;
        Some(Self { ctx, frame: frame::of(ctx), packet, service, settings: maps::settings()? })
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
