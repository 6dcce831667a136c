//! Lets user space copy the map types as plain bytes.

use crate::{
    address::Address,
    admission::{AdmissionEntry, PriorityStats, SourceKey, SourceRate},
    block::{MemberLevels, MemberLine},
    filter::{Filter, FlowKey},
    server::{ClassStats, ServerEntry, ServerFlow, Traffic},
    service::{ServiceEntry, ServiceKey},
    settings::{BackSettings, FrontSettings},
};

macro_rules! pods {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: `repr(C)` of integers and byte arrays without padding (each size is asserted beside the type), and any
            // bit pattern is a value.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

pods!(
    Address,
    FlowKey,
    Filter,
    ServerEntry,
    Traffic,
    ServerFlow,
    ClassStats,
    ServiceKey,
    ServiceEntry,
    FrontSettings,
    BackSettings,
    AdmissionEntry,
    PriorityStats,
    SourceKey,
    SourceRate,
    MemberLine,
    MemberLevels,
);
