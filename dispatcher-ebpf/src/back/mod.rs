//! A server's programs: `back` (TC, ingress) turns tickets into accepted connections, `back_out` (TC, egress) sees responses begin,
//! `back_socket` (socket operations) sees the connections' sockets come to be.
//!
//! `segment` parses once, `ingress` and `egress` are the tables of what happens to a segment, `further` that of tickets of further
//! requests. `socket`, `hand_off` and `retire` are what the ingress table does with the kernel's sockets, `give_back` and `release`
//! send to the front-end what belongs to another server. `flow` remembers, `requests` and `responses` follow a connection, `stats`
//! counts; `established` is all of `back_socket`. Everything here is compiled into the `back` object only: the `front` object has maps of the same names.

pub(crate) mod egress;
pub(crate) mod established;
mod flow;
mod further;
mod give_back;
mod hand_off;
pub(crate) mod ingress;
mod maps;
mod mark;
mod release;
mod requests;
mod responses;
mod retire;
mod segment;
mod socket;
mod stats;
mod verdict;
