//! A server's TC programs: `back` (ingress) turns tickets into accepted connections, `back_out` (egress) sees responses begin.
//!
//! `segment` parses once, `ingress` and `egress` are the tables of what happens to a segment, `socket`, `hand_off` and `retire`
//! are what the ingress table does with the kernel's sockets, `flow` measures. Everything here is compiled into the `back`
//! object only: the `front` object has maps of the same names.

pub(crate) mod egress;
mod flow;
mod hand_off;
pub(crate) mod ingress;
mod maps;
mod retire;
mod segment;
mod socket;
mod verdict;
