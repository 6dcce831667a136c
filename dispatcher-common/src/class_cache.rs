//! The class cache: what the control plane has found out of requests that the front-end's program will see again. The key is a
//! keyed hash of a request's line, its `Host` and its configured service, see [`crate::head_scan`].

/// What is known of requests with one key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CachedClass {
    /// Hash of the very object that is asked for.
    pub target: u64,
    /// [`crate::settings::FrontSettings::class_cache_generation`] when this was found out; of another generation it says nothing.
    pub generation: u32,
    /// The context class, of all services' together.
    pub class: u16,
    /// Kept zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<CachedClass>() == 16);
