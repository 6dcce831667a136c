//! A request on its way through the simulated cluster, with everything that was known when it was issued.
//! What became of it is counted by `metrics`.

use dispatcher_core::ids::ClassId;

use crate::level::Level;

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// What it is for: the same number for the same content.
    pub context: u64,
    /// Its hash, by which policies know it.
    pub target: u64,
    /// Context class.
    pub class: ClassId,
    /// Level of service.
    pub level: Level,
    /// The connection that it came on.
    pub connection: u32,
    /// When the client asked, in µs.
    pub issued_us: u64,
    /// When the front-end let it in, in µs.
    pub dispatched_us: u64,
    /// Service on a hit, in µs.
    pub service_us: u32,
    /// What a miss costs besides, in µs.
    pub miss_us: u32,
    /// Room that its content takes in a memory.
    pub size: u64,
}

/// Where a request's content was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// In the server's own memory.
    Here,
    /// In another server's memory.
    Elsewhere,
    /// On disk.
    Nowhere,
}
