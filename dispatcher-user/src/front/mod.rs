//! The front-end's control plane.

pub mod counters;
pub mod dispatch;
pub mod feedback;
pub mod filters;
pub mod interface;
pub mod model;
pub mod neighbour;
pub mod program;
pub mod roster;
pub mod server_table;
pub mod slow_path;
pub mod status;
pub mod sweep;
