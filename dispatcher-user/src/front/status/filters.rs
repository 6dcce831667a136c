//! `dispatcher show filters`: flows as they are in the filter-table, sorted if that is wanted.

use std::{io, net::IpAddr};

use dispatcher_common::filter::{Filter, FlowKey, flag, opaque, state};
use dispatcher_core::admission::{FlowView, Pressure, adjusted};
use serde::Serialize;

use super::Status;
use crate::{
    control_socket::{DEFAULT_LIMIT, Reply, Show, SortKey},
    kernel::{clock, table::Cursor},
};

/// Filters kept beyond the limit before the least are let go.
const SLACK: usize = 4096;

#[derive(Debug, Serialize)]
struct FilterRow<'a> {
    client: IpAddr,
    port: u16,
    service: Option<&'a str>,
    /// `None` while no server is chosen, or when we answered ourselves.
    server: Option<&'a str>,
    class: Option<u16>,
    priority: u8,
    /// After idle time, delay and the service's load.
    adjusted_priority: u8,
    state: &'static str,
    age_ms: u64,
    idle_ms: u64,
    /// Since the latest request began.
    request_age_ms: u64,
    /// From the latest request to the first ACK of response bytes.
    response_ms: Option<f64>,
    /// What the client has acknowledged since the latest request.
    response_bytes: u32,
    requests: u32,
    /// How often the connection went to another server.
    moves: u32,
    /// Requests for another server that stayed, because their server was not free.
    kept_busy: u32,
    /// Whether the next request will be dispatched: `yes`, `no`, or why not.
    followed: &'static str,
    packets: u64,
    bytes: u64,
}

impl Status {
    pub(super) fn filter_rows(&self, show: &Show) -> Reply {
        let limit = show.limit.unwrap_or(DEFAULT_LIMIT);
        let now_ns = clock::monotonic_ns();
        let found = match show.sort {
            None => self.filters.some(limit.saturating_add(1)),
            Some(key) => self.greatest(key, limit.saturating_add(1), now_ns),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => return Reply::refuse(format_args!("the filter-table cannot be read: {error}")),
        };
        let rows = found.iter().take(limit).map(|(key, filter)| self.filter_row(key, filter, now_ns));
        Reply { cut: found.len() > limit, ..Reply::of(rows) }
    }

    /// The filters that come first in an order. Holds not many more of them at a time.
    fn greatest(&self, key: SortKey, count: usize, now_ns: u64) -> io::Result<Vec<(FlowKey, Filter)>> {
        let order = |(_, filter): &(FlowKey, Filter)| std::cmp::Reverse(measure(filter, key, now_ns));
        let (mut cursor, mut found) = (Cursor::default(), Vec::new());
        while !cursor.is_done() {
            self.filters.scan(&mut cursor, &mut found)?;
            if found.len() > count.saturating_add(SLACK) {
                found.select_nth_unstable_by_key(count, order);
                found.truncate(count);
            }
        }
        found.sort_by_key(order);
        found.truncate(count);
        Ok(found)
    }

    fn filter_row(&self, key: &FlowKey, filter: &Filter, now_ns: u64) -> FilterRow<'_> {
        let has_server = matches!(filter.state, state::ESTABLISHED | state::CLOSING);
        let since_ms = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000;
        let response_ns = filter.response_ns.saturating_sub(filter.request_ns);
        FilterRow {
            client: key.client.into(),
            port: u16::from_be(key.client_port_be()),
            service: self.model.service(key.service()).map(|service| service.config.name.as_str()),
            server: self.server_name(filter.server).filter(|_| has_server),
            class: has_server.then_some(filter.class),
            priority: filter.priority,
            adjusted_priority: self.adjusted_priority(key, filter, now_ns),
            state: state::name(filter.state),
            age_ms: since_ms(filter.created_ns),
            idle_ms: since_ms(filter.last_seen_ns),
            request_age_ms: since_ms(filter.request_ns),
            response_ms: (filter.response_ns != 0).then_some(response_ns as f64 / 1e6),
            response_bytes: filter.last_ack.wrapping_sub(filter.request_ack),
            requests: filter.requests,
            moves: filter.moves,
            kept_busy: filter.kept_busy,
            followed: followed(filter),
            packets: filter.packets,
            bytes: filter.bytes,
        }
    }

    fn adjusted_priority(&self, key: &FlowKey, filter: &Filter, now_ns: u64) -> u8 {
        let adjusted = self.model.owner(key.service()).and_then(|owner| {
            let settings = self.model.admission().settings(owner)?;
            let overloaded = self.model.admission().entry(owner).is_overloaded();
            let pressure = Pressure { overloaded, ..Pressure::default() };
            let flow = FlowView::of(filter, now_ns)?;
            Some(adjusted(&flow, &settings.adjusting, pressure).get())
        });
        adjusted.unwrap_or(filter.priority)
    }
}

fn followed(filter: &Filter) -> &'static str {
    if filter.flags & (flag::FOLLOWED | flag::ASKED) != 0 {
        return "yes";
    }
    opaque::name(filter.opaque).unwrap_or("no")
}

fn measure(filter: &Filter, key: SortKey, now_ns: u64) -> u64 {
    match key {
        SortKey::Age => now_ns.saturating_sub(filter.created_ns),
        SortKey::Idle => now_ns.saturating_sub(filter.last_seen_ns),
        SortKey::Delay => {
            let end_ns = if filter.response_ns == 0 { now_ns } else { filter.response_ns };
            end_ns.saturating_sub(filter.request_ns)
        }
        SortKey::Priority => filter.priority.into(),
        SortKey::Packets => filter.packets,
        SortKey::Bytes => filter.bytes,
        SortKey::Requests => filter.requests.into(),
        SortKey::Moves => filter.moves.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_whether_and_why_not_the_next_request_is_dispatched() {
        let told = |flags, opaque| followed(&Filter { flags, opaque, ..Filter::default() });
        assert_eq!(told(flag::FOLLOWED | flag::RESPONDED, opaque::NOT), "yes");
        assert_eq!(told(flag::ASKED, opaque::NOT), "yes");
        assert_eq!(told(flag::RESPONDED | flag::FURTHER, opaque::NOT), "no");
        assert_eq!(told(flag::RESPONDED, opaque::SPLIT), "split_head");
    }

    #[test]
    fn filters_are_measured_by_their_moves() {
        let filter = Filter { moves: 7, requests: 9, ..Filter::default() };
        assert_eq!(measure(&filter, SortKey::Moves, 0), 7);
        assert_eq!(measure(&filter, SortKey::Requests, 0), 9);
    }
}
