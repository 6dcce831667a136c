//! The front-end's control plane.

pub mod counters;
pub mod dispatch;
pub mod filters;
pub mod slow_path;
