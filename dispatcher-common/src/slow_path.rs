//! What the front-end's program says about a frame that it gives to the control plane: eight bytes of XDP metadata, right
//! before the frame.

/// Kinds of frames.
pub mod kind {
    /// First request segment of a flow; this very packet installed the pending filter.
    pub const FIRST: u8 = 1;
    /// The same segment again while the filter is pending.
    pub const AGAIN: u8 = 2;
    /// Another segment of a pending flow.
    pub const LATER: u8 = 3;
    /// The segment of the hand-off again, with options that leave no room for a ticket beside them.
    pub const RETICKET: u8 = 4;
    /// A request on a kept connection that is refused while its service is overloaded.
    pub const KEPT: u8 = 5;
    /// A further request of a connection: it starts at the filter's boundary, and this packet has set `filter::flag::ASKED`, or
    /// found it set.
    pub const FURTHER: u8 = 6;
    /// Data behind such a request, which must not overtake it.
    pub const BEHIND: u8 = 7;
    /// A further request again, with options that leave no room for its ticket beside them.
    pub const FURTHER_AGAIN: u8 = 8;
}

/// The metadata.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowPathMeta {
    /// One of [`kind`].
    pub kind: u8,
    /// [`crate::syn_options::SynOptions`] of the flow's handshake.
    pub options: u8,
    /// Id of the data-plane service.
    pub service: u16,
    /// For `RETICKET`, `KEPT` and all kinds after it the server that has the connection, else 0.
    pub server: u16,
    /// For the same kinds the class of the latest request, else 0.
    pub class: u16,
}

/// Bytes of [`SlowPathMeta`] before the frame.
pub const META_LEN: usize = size_of::<SlowPathMeta>();

const _: () = assert!(META_LEN == 8);
