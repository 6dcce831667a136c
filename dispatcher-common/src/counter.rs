//! Counters, their names and what they count. Every way a packet can leave a program increments exactly one of the program's
//! counters; events beside that have counters of their own, marked "also".

/// Declares a set of counters with stable names.
macro_rules! counters {
    ($(#[$meta:meta])* $set:ident { $($variant:ident $name:literal $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $set { $(#[doc = $help] $variant,)+ }

        impl $set {
            /// All counters, in map order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Name in listings and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What it counts.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// Index in the counter map.
            #[inline(always)]
            #[must_use]
            pub const fn index(self) -> u32 {
                self as u32
            }
        }
    };
}

counters! {
    /// Counters of the front-end's XDP program.
    FrontCounter {
        OtherPassed "other_passed" "packets that are not for a service, passed to the kernel",
        MalformedDropped "malformed_dropped" "packets to a service with impossible lengths or flags",
        FragmentDropped "fragment_dropped" "IP fragments to a VIP",
        IpOptionsDropped "ip_options_dropped" "IPv4 packets with IP options to a VIP",
        ExtensionDropped "ipv6_extension_dropped" "IPv6 packets with extension headers to a VIP",
        IcmpForwarded "icmp_forwarded" "ICMP path-MTU messages sent on to the server of their flow",
        IcmpUnknownDropped "icmp_unknown_dropped" "ICMP path-MTU messages for a flow that is not known",
        SynAnswered "syn_answered" "SYNs answered with a cookie",
        SynNoted "syn_noted" "SYNs of a flow that has a filter: noted there and answered with a cookie",
        Forwarded "forwarded" "segments of known flows sent to their server",
        HandoffRepeated "handoff_repeated" "retransmitted first segments, sent with a new ticket",
        HandoffRepeatedSlow "handoff_repeated_slow" "retransmitted first segments without room for a ticket, given to the slow path",
        HandshakeCompleted "handshake_completed" "ACKs that completed a handshake",
        ProbeAnswered "probe_answered" "keep-alive probes on connections without a request yet",
        FreshFinReset "fresh_fin_reset" "FINs on connections without a request, answered with a RST",
        EarlySegmentDropped "early_segment_dropped" "later segments that came before a flow's first; the client repeats them",
        CookieRefused "cookie_refused" "data segments of unknown flows without a good cookie, answered with a RST",
        UnknownReset "unknown_reset" "other segments of unknown flows, answered with a RST",
        UnknownRstDropped "unknown_rst_dropped" "RSTs of unknown flows",
        RequestFirst "request_first" "first segments of a request, given to the slow path",
        RequestQuick "request_quick" "first requests sent to a server by the class cache",
        RequestAgain "request_again" "first segments repeated while the request is with the slow path",
        RequestLater "request_later" "further segments of pending flows, given to the slow path",
        PendingAckDropped "pending_ack_dropped" "ACKs without data of pending flows",
        AnsweredDropped "answered_dropped" "segments after an answer of our own",
        AnsweredReset "answered_reset" "FINs after an answer of our own, answered with a RST",
        FilterReplaced "filter_replaced" "also: filters replaced by a new connection on the same port",
        ClassCacheMiss "class_cache_miss" "also: requests whose class the class cache does not know",
        ClassCacheUnusual "class_cache_unusual" "also: requests that the class cache is not asked about: their head is not whole, or unusual, or not all of the segment",
        ClassCacheUndecided "class_cache_undecided" "also: requests of a known class for which the slow path has to choose",
        SynRefusedReset "syn_refused_reset" "SYNs refused while their service is overloaded, answered with a RST",
        SynRefusedDropped "syn_refused_dropped" "SYNs refused while their service is overloaded, dropped",
        RequestRefusedReset "request_refused_reset" "first requests refused while their service is overloaded, answered with a RST",
        RequestRefusedDropped "request_refused_dropped" "first requests refused while their service is overloaded, dropped",
        FurtherStayed "further_stayed" "requests on kept connections that stay at their server, sent there with a books ticket",
        FurtherMoving "further_moving" "requests on kept connections for another server, sent with a move ticket to the one that has the connection",
        FurtherAsked "further_asked" "requests on kept connections given to the slow path",
        FurtherBehind "further_behind" "segments behind a request that is with the slow path, given to the slow path",
        FurtherUnheard "further_unheard" "requests on kept connections that stay at their server because no control plane listens",
        FurtherRepeated "further_repeated" "retransmitted requests on kept connections, sent with their ticket again",
        FurtherPipelined "further_pipelined" "requests on kept connections sent to their server without a ticket, because the one before has no response yet",
        MoveReleased "move_released" "requests whose connection its server has released, handed to another server",
        MoveStaleDropped "move_stale_dropped" "released requests that are not the latest of their flow",
        ReturnedForwarded "returned_forwarded" "segments that came back from a server which has released their flow, sent to the one that has it",
        ReturnedUnknownDropped "returned_unknown_dropped" "segments that came back from a server, of flows that are not known",
        MoveKeptBusy "move_kept_busy" "also: requests for another server that stayed because their server was not free",
        OpaqueStraddled "opaque_straddled" "also: flows that stay from now on: a request begins in the middle of a segment",
        OpaqueUnheard "opaque_unheard" "also: flows that stay from now on: no control plane listened",
        KeptRefused "kept_refused" "requests on kept connections refused while their service is overloaded, given to the slow path",
        KeptRefusedDropped "kept_refused_dropped" "requests on kept connections refused while their service is overloaded, dropped",
        SourceLimitedReset "source_limited_reset" "SYNs and first requests of sources above their limits, answered with a RST",
        SourceLimitedDropped "source_limited_dropped" "SYNs and first requests of sources above their limits, dropped",
        FilterTableFull "filter_table_full" "requests dropped because the filter-table is full",
        ForeignTicketDropped "foreign_ticket_dropped" "packets that carry our ticket option and are not from a server",
        ServerUnusableDropped "server_unusable_dropped" "segments for a server whose MAC address is not known",
        SlowPathAbsentDropped "slow_path_absent_dropped" "segments for the slow path while no control plane listens on the queue",
        NoHeadroomDropped "no_headroom_dropped" "packets that could not be grown, shrunk or given metadata",
    }
}

counters! {
    /// Counters of a server's TC programs.
    BackCounter {
        OtherPassed "other_passed" "packets that are not for a service",
        MalformedDropped "malformed_dropped" "packets to a service with impossible lengths",
        RstPassed "rst_passed" "RSTs passed to the kernel",
        SynDropped "syn_dropped" "SYNs to a service: handshakes happen at the front-end",
        SegmentPassed "segment_passed" "segments of existing connections",
        NoTicketDropped "no_ticket_dropped" "segments without a ticket and without a connection",
        HandoffAccepted "handoff_accepted" "tickets turned into connections",
        HandoffRefused "handoff_refused" "tickets that the kernel refused to turn into a connection",
        HandoffMptcpRefused "handoff_mptcp_refused" "tickets for a listener that speaks MPTCP, passed to the kernel",
        HandoffRepeated "handoff_repeated" "tickets of connections that were handed off before (retransmissions)",
        HandoffNoListener "handoff_no_listener" "tickets for a service that nothing listens on, passed so that the kernel resets",
        TicketBad "ticket_bad" "tickets that are forged, damaged or made with another secret",
        TicketExpired "ticket_expired" "tickets of another time: old, or the clocks differ by over a minute",
        TicketReplayed "ticket_replayed" "tickets of connections that have ended",
        TimeWaitRetired "time_wait_retired" "connections in TIME_WAIT ended early for a new one on the same port",
        StaleRetired "stale_retired" "live sockets of an older connection ended for a new one on the same port",
        RequestBooked "request_booked" "further requests of a connection that is here",
        MoveBegun "move_begun" "requests for another server whose connection here was free: its socket is being retired",
        MoveKept "move_kept_busy" "requests for another server that are answered here, because the connection is not free",
        MoveReleased "move_released" "requests sent back to the front-end with their connection",
        MoveHeldDropped "move_held_dropped" "segments of a connection whose socket is being retired, dropped at last; the client repeats them",
        MoveHeld "move_held" "segments of a connection whose socket is being retired, queued again",
        MoveSpoilt "move_spoilt" "requests whose connection ended here while it was to be released, passed so that the kernel resets",
        ResetWithheld "reset_withheld_dropped" "resets of the server's kernel for a connection that was, or is to be, released",
        Returned "returned" "segments of a released connection sent back to the front-end",
        ReturnedTooOften "returned_too_often_dropped" "segments of a released connection that came here again and again",
        RetireStuck "retire_stuck_dropped" "tickets whose old connection did not go away (is tcp_rfc1337 set?)",
        RequestRepeated "later_request" "also: further requests on a kept connection",
        ResponseStarted "response_started" "also: responses that began",
        ResponseLost "response_lost" "also: connections that stay for good, because the end of a response cannot be told",
    }
}

counters! {
    /// Counters of the front-end's control plane: slow path and feedback.
    ControlCounter {
        Dispatched "request_dispatched" "requests sent to a server",
        FurtherStayed "further_stayed_slow" "requests on kept connections that stay at their server, dispatched by the slow path",
        FurtherMoving "further_moving_slow" "requests on kept connections for another server, dispatched by the slow path",
        FurtherForwarded "further_forwarded" "requests on kept connections sent to their server as they are",
        OpaqueStraddled "opaque_straddled_slow" "also: flows that stay from now on, as the slow path found: a request begins in the middle of a segment",
        MoveKeptBusy "move_kept_busy_slow" "also: requests for another server that stayed because their server was not free, as the slow path found",
        BehindForwarded "behind_forwarded" "segments behind a request on a kept connection, sent to their server",
        OpaqueChunked "opaque_chunked" "also: flows that stay from now on: a body in chunks",
        OpaqueUpgrade "opaque_upgrade" "also: flows that stay from now on: Upgrade or CONNECT",
        OpaqueExpect "opaque_expect" "also: flows that stay from now on: Expect",
        OpaqueSplit "opaque_split_head" "also: flows that stay from now on: a request behind another is not whole in its segment",
        OpaqueMalformed "opaque_malformed" "also: flows that stay from now on: something that is no request",
        OpaqueLongBody "opaque_long_body" "also: flows that stay from now on: a body of 2 GiB or more",
        BadRequest "request_bad" "requests answered with 400: not a strict HTTP/1.1 request head",
        HeadTooLarge "head_too_large" "requests answered with 431: the head is over the limit",
        VersionRefused "version_refused" "requests answered with 505: not HTTP/1.0 or HTTP/1.1",
        NoServer "no_server" "requests answered with 503: no server can take them",
        RequestRefused "request_refused_503" "requests refused while their service is overloaded, answered with 503",
        RequestRefusedReset "request_refused_late_reset" "requests refused by their final priority while their service is overloaded, answered with a RST",
        RequestRefusedDropped "request_refused_late_dropped" "requests refused by their final priority while their service is overloaded, dropped",
        FlowEvicted "flow_evicted" "also: flows that gave way to one of higher priority; both ends were reset",
        VictimChanged "victim_changed" "also: flows that were to give way but had changed meanwhile, and stayed",
        VictimAbsent "victim_absent" "also: requests admitted above the limit because no flow of lower priority may be evicted now",
        SignedCookieBad "signed_cookie_bad" "also: signed priority cookies that are forged, expired or another service's",
        CollectingStarted "collecting_started" "also: request heads that span segments",
        CollectingAcked "collecting_acked" "ACKs sent for parts of a head",
        CollectFlowsFull "collect_flows_full" "heads dropped because too many are being collected",
        CollectMemoryFull "collect_memory_full" "segments dropped because collected heads fill their memory",
        HeadTimeout "head_timeout" "heads that were not complete in time; their flow was reset",
        CollectedResent "collected_resent" "collected heads sent to the server again, for want of a response",
        ClientGone "client_gone" "clients that closed or reset before their head was complete",
        LaterForwarded "later_forwarded" "segments that met the slow path after their flow was dispatched",
        PendingLost "pending_lost" "segments of pending flows whose beginning is not known (a restart)",
        Reticketed "reticketed" "retransmitted segments given the latest ticket of their flow again, in place of their SACK blocks if need be",
        TransmitFailed "transmit_failed" "frames that could not be sent",
        FilterUpdateFailed "filter_update_failed" "filters that could not be written",
        ClassCached "class_cached" "also: requests whose class was put into the class cache",
        ClassCacheFailed "class_cache_failed" "also: requests whose class could not be put into the class cache",
        FilterExpired "filter_expired" "filters removed after their time-out",
        FilterOrphaned "filter_orphaned" "filters removed because their server rebooted",
        ReportAccepted "report_accepted" "reports of servers",
        ReportBadTag "report_bad_tag" "reports that are forged, damaged or made with another secret",
        ReportStale "report_stale" "reports out of sequence or of another time",
        ReportUnknown "report_unknown" "reports of servers that the configuration does not name",
        DispatchUnlearnt "dispatch_unlearnt" "also: dispatches of the kernel's program that were written over before the control plane learnt of them",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn check(names: Vec<(&str, &str, u32)>) {
        assert_eq!(names.iter().map(|(name, ..)| name).collect::<HashSet<_>>().len(), names.len());
        for (position, (name, help, index)) in names.into_iter().enumerate() {
            assert_eq!(index as usize, position);
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
                "{name}"
            );
            assert!(!help.is_empty());
        }
    }

    #[test]
    fn names_are_unique_and_in_map_order() {
        check(
            FrontCounter::ALL
                .iter()
                .map(|counter| (counter.name(), counter.help(), counter.index()))
                .collect(),
        );
        check(
            BackCounter::ALL
                .iter()
                .map(|counter| (counter.name(), counter.help(), counter.index()))
                .collect(),
        );
        check(
            ControlCounter::ALL
                .iter()
                .map(|counter| (counter.name(), counter.help(), counter.index()))
                .collect(),
        );
    }
}
