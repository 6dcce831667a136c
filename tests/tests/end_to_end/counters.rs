//! Which test reaches which counter. A test that calls `Watch::finish` has to move all that the table promises for it; the test
//! here checks that the tests exist, and that no counter is forgotten.

use std::{collections::BTreeSet, process::Command};

use dispatcher_common::counter::{BackCounter, ControlCounter, FrontCounter};

/// A counter of any of the three sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Counter {
    Front(FrontCounter),
    Back(BackCounter),
    Control(ControlCounter),
}

impl From<FrontCounter> for Counter {
    fn from(counter: FrontCounter) -> Self {
        Self::Front(counter)
    }
}

impl From<BackCounter> for Counter {
    fn from(counter: BackCounter) -> Self {
        Self::Back(counter)
    }
}

impl From<ControlCounter> for Counter {
    fn from(counter: ControlCounter) -> Self {
        Self::Control(counter)
    }
}

use BackCounter as B;
use ControlCounter as C;
use Counter::{Back, Control, Front};
use FrontCounter as F;

/// Tests and the counters that each moves.
const REACHED: &[(&str, &[Counter])] = &[
    (
        "traffic::a_thousand_requests_in_turn_are_all_answered_right",
        &[
            Front(F::OtherPassed),
            Front(F::SynAnswered),
            Front(F::HandshakeCompleted),
            Front(F::RequestFirst),
            Front(F::Forwarded),
            Control(C::Dispatched),
            Control(C::ReportAccepted),
            Back(B::OtherPassed),
            Back(B::HandoffAccepted),
            Back(B::SegmentPassed),
            Back(B::ResponseStarted),
        ],
    ),
    (
        "class_cache::a_url_that_is_asked_for_again_goes_to_its_server_at_once",
        &[
            Front(F::RequestFirst),
            Front(F::RequestQuick),
            Front(F::ClassCacheMiss),
            Front(F::ClassCacheUnusual),
            Control(C::ClassCached),
        ],
    ),
    ("traffic::kept_connections_carry_wrk_without_an_error", &[Front(F::Forwarded), Back(B::RequestBooked)]),
    (
        "traffic::connections_that_close_keep_their_rate_when_ports_come_round",
        &[Front(F::SynNoted), Front(F::FilterReplaced), Control(C::FilterExpired), Back(B::TimeWaitRetired)],
    ),
    ("direct_return::a_hundred_megabytes_arrive_intact_and_pass_the_front_end_by", &[Front(F::Forwarded)]),
    ("classes::requests_of_one_class_stay_on_one_server", &[Control(C::Dispatched)]),
    (
        "heads::a_head_in_many_segments_reaches_the_server_unchanged",
        &[
            Front(F::EarlySegmentDropped),
            Front(F::RequestFirst),
            Front(F::RequestLater),
            Control(C::CollectingStarted),
            Control(C::CollectingAcked),
            Control(C::Dispatched),
        ],
    ),
    (
        "heads::a_real_client_that_writes_in_small_pieces_is_served",
        &[Control(C::CollectingStarted), Control(C::CollectingAcked)],
    ),
    ("heads::a_body_of_a_hundred_kilobytes_reaches_the_server_unchanged", &[Control(C::Dispatched)]),
    ("heads::segments_right_behind_a_first_request_follow_it", &[Control(C::LaterForwarded)]),
    (
        "heads::a_collected_head_is_sent_again_while_there_is_no_response",
        &[Control(C::CollectedResent), Back(B::HandoffRepeated)],
    ),
    (
        "heads::a_head_that_stays_incomplete_is_reset_after_its_time_limit",
        &[Control(C::HeadTimeout), Front(F::RequestAgain), Front(F::PendingAckDropped)],
    ),
    ("heads::a_client_that_goes_before_its_head_is_complete_leaves_nothing", &[Control(C::ClientGone)]),
    ("refusals::every_ambiguous_request_gets_400_and_no_server_sees_it", &[Control(C::BadRequest)]),
    ("refusals::an_ambiguous_request_in_two_segments_gets_400_too", &[Control(C::BadRequest)]),
    ("refusals::a_head_over_the_limit_gets_431", &[Control(C::HeadTooLarge)]),
    ("refusals::another_version_of_http_gets_505", &[Control(C::VersionRefused)]),
    (
        "refusals::what_follows_an_answer_of_our_own_is_dropped_and_a_fin_reset",
        &[Front(F::AnsweredDropped), Front(F::AnsweredReset)],
    ),
    ("refusals::a_request_that_no_server_can_take_gets_503", &[Control(C::NoServer)]),
    (
        "clients::a_client_is_served_whatever_options_it_lacks",
        &[Front(F::SynAnswered), Back(B::HandoffAccepted), Back(B::RequestBooked)],
    ),
    ("clients::data_on_the_syn_is_left_for_the_client_to_repeat", &[Back(B::HandoffAccepted)]),
    (
        "clients::a_first_segment_as_large_as_the_mss_allows_has_room_for_its_ticket",
        &[Back(B::HandoffAccepted)],
    ),
    (
        "clients::a_connection_idle_before_its_first_request_is_kept_alive_and_served",
        &[Front(F::ProbeAnswered)],
    ),
    (
        "clients::a_client_that_closes_without_a_request_is_reset",
        &[Front(F::FreshFinReset), Front(F::UnknownRstDropped)],
    ),
    (
        "clients::a_repeated_first_segment_carries_its_ticket_again",
        &[
            Front(F::HandoffRepeated),
            Front(F::HandoffRepeatedSlow),
            Control(C::Reticketed),
            Back(B::HandoffRepeated),
        ],
    ),
    (
        "packets::segments_of_unknown_flows_are_reset_and_their_resets_dropped",
        &[Front(F::UnknownReset), Front(F::UnknownRstDropped)],
    ),
    (
        "packets::a_second_segment_that_comes_first_is_dropped_without_a_reset",
        &[Front(F::EarlySegmentDropped)],
    ),
    ("packets::malformed_segments_are_dropped_and_counted", &[Front(F::MalformedDropped)]),
    (
        "packets::fragments_ip_options_and_extension_headers_are_dropped_and_counted",
        &[Front(F::FragmentDropped), Front(F::IpOptionsDropped), Front(F::ExtensionDropped)],
    ),
    ("packets::a_path_mtu_message_about_no_flow_is_dropped_and_counted", &[Front(F::IcmpUnknownDropped)]),
    ("path_mtu::a_large_response_arrives_over_a_path_with_a_smaller_mtu", &[Front(F::IcmpForwarded)]),
    (
        "floods::a_hundred_thousand_spoofed_syns_leave_no_trace_and_a_real_client_is_served",
        &[Front(F::SynAnswered), Front(F::CookieRefused)],
    ),
    (
        "floods::five_million_spoofed_syns_meet_admission_and_a_real_client_is_served",
        &[Front(F::SynRefusedDropped), Front(F::SynRefusedReset), Front(F::SynAnswered)],
    ),
    (
        "floods::floods_of_acks_and_of_handshakes_without_a_request_leave_nothing",
        &[Front(F::HandshakeCompleted), Front(F::UnknownReset), Front(F::CookieRefused)],
    ),
    (
        "floods::heads_that_dribble_in_byte_by_byte_fill_their_bounds_and_nothing_else",
        &[Control(C::CollectFlowsFull), Control(C::HeadTimeout), Front(F::RequestLater)],
    ),
    ("forgery::forged_and_expired_cookies_are_refused_with_an_exact_reset", &[Front(F::CookieRefused)]),
    ("forgery::a_replayed_request_reaches_no_server_twice", &[Back(B::TicketReplayed)]),
    (
        "forgery::forged_and_expired_tickets_are_refused_at_the_server",
        &[Back(B::TicketBad), Back(B::TicketExpired), Back(B::HandoffAccepted), Back(B::RstPassed)],
    ),
    (
        "forgery::a_server_takes_no_handshake_and_no_segment_without_a_ticket",
        &[Back(B::SynDropped), Back(B::NoTicketDropped), Back(B::MalformedDropped)],
    ),
    ("forgery::a_client_that_sends_our_option_is_refused", &[Front(F::ForeignTicketDropped)]),
    (
        "handoffs::a_new_connection_on_the_same_port_replaces_one_that_was_forgotten",
        &[Front(F::SynNoted), Front(F::FilterReplaced), Back(B::StaleRetired)],
    ),
    ("handoffs::a_time_wait_of_the_server_yields_to_a_new_connection", &[Back(B::TimeWaitRetired)]),
    ("handoffs::a_time_wait_that_cannot_be_retired_is_counted_and_does_not_loop", &[Back(B::RetireStuck)]),
    ("handoffs::a_ticket_for_a_service_that_nobody_listens_on_is_reset", &[Back(B::HandoffNoListener)]),
    (
        "handoffs::options_that_a_server_forbids_make_its_kernel_refuse_the_hand_off",
        &[Back(B::HandoffRefused)],
    ),
    (
        "limits::a_full_filter_table_turns_new_requests_away_and_keeps_the_old_flows",
        &[Front(F::FilterTableFull)],
    ),
    (
        "limits::collected_heads_are_bounded_in_number_and_memory",
        &[Control(C::CollectFlowsFull), Control(C::CollectMemoryFull)],
    ),
    (
        "reports::forged_stale_and_unknown_reports_are_counted_and_change_nothing",
        &[Control(C::ReportBadTag), Control(C::ReportStale), Control(C::ReportUnknown)],
    ),
    ("preflight::a_server_with_another_secret_is_named_and_gets_no_request", &[Control(C::ReportBadTag)]),
    (
        "restarts::a_killed_control_plane_breaks_no_transfer_and_serves_again_within_two_seconds",
        &[Front(F::Forwarded), Control(C::Dispatched)],
    ),
    (
        "restarts::requests_while_the_control_plane_is_away_are_served_when_it_is_back",
        &[Front(F::SlowPathAbsentDropped), Control(C::PendingLost)],
    ),
    (
        "restarts::a_killed_agent_breaks_no_transfer_and_serves_again_within_two_seconds",
        &[Back(B::HandoffAccepted)],
    ),
    (
        "restarts::the_filters_of_a_rebooted_server_are_dropped_and_its_clients_reset",
        &[Control(C::FilterOrphaned)],
    ),
    (
        "members::a_signed_cookie_gives_its_priority_and_a_forged_or_expired_one_none",
        &[Control(C::SignedCookieBad)],
    ),
    (
        "admission::a_newcomer_is_reset_or_ignored_at_its_syn_and_gets_in_when_there_is_room",
        &[Front(F::SynRefusedReset), Front(F::SynRefusedDropped)],
    ),
    (
        "admission::a_client_that_came_in_time_is_judged_again_at_its_first_request",
        &[Front(F::RequestRefusedReset), Front(F::RequestRefusedDropped), Control(C::RequestRefused)],
    ),
    (
        "admission::a_client_is_refused_by_the_priority_that_its_cookie_shows",
        &[
            Control(C::RequestRefused),
            Control(C::RequestRefusedReset),
            Control(C::RequestRefusedDropped),
            Control(C::VictimAbsent),
        ],
    ),
    (
        "admission::a_refusal_is_a_clean_503_with_retry_after_for_every_method",
        &[Control(C::RequestRefused), Front(F::AnsweredDropped)],
    ),
    (
        "admission::a_request_on_a_kept_connection_is_refused_while_all_servers_have_too_much_work",
        &[
            Front(F::KeptRefused),
            Front(F::KeptRefusedDropped),
            Control(C::RequestRefused),
            Control(C::RequestRefusedReset),
            Back(B::RstPassed),
        ],
    ),
    (
        "eviction::each_newcomer_of_higher_priority_takes_the_place_of_one_idle_flow",
        &[Control(C::FlowEvicted), Control(C::RequestRefused), Back(B::RstPassed)],
    ),
    ("eviction::a_flow_that_takes_in_a_response_is_not_evicted", &[Control(C::VictimAbsent)]),
    (
        "eviction::nobody_younger_than_the_minimum_age_is_evicted_and_the_limit_is_exceeded_by_a_quarter_at_most",
        &[Control(C::VictimAbsent), Control(C::RequestRefused)],
    ),
    ("eviction::a_flow_that_has_become_active_is_spared", &[Control(C::VictimChanged)]),
    (
        "eviction::ten_thousand_flows_are_evicted_in_a_second_and_everyone_hears_of_it",
        &[Control(C::FlowEvicted), Back(B::RstPassed)],
    ),
    (
        "sources::a_source_that_connects_too_often_is_ignored_and_others_are_served",
        &[Front(F::SourceLimitedDropped)],
    ),
    (
        "sources::a_source_with_too_many_open_connections_is_reset_until_one_is_closed",
        &[Front(F::SourceLimitedReset)],
    ),
    (
        "two_arm::a_front_end_with_two_arms_serves_like_one_with_one",
        &[Front(F::Forwarded), Control(C::CollectingStarted), Back(B::HandoffAccepted)],
    ),
    (
        "skb_mode::the_generic_mode_serves_like_the_native_one",
        &[Front(F::Forwarded), Control(C::CollectingStarted), Back(B::HandoffAccepted)],
    ),
];

/// Requests that move from server to server have a program of tests of their own.
const PER_REQUEST: &str = "the tests of per_request";
const RARELY: &str = "ring c: segments that overtake each other, or come back from a server";

/// Counters that no packet of the rig can move, and where they are reached instead.
const ELSEWHERE: &[(Counter, &str)] = &[
    (Front(F::NoHeadroomDropped), "ring c: a link of the rig always has headroom"),
    (Front(F::ServerUnusableDropped), "ring c: the control plane keeps a server's last known address"),
    (Back(B::HandoffMptcpRefused), "ring c: nginx of Debian 12 does not speak MPTCP"),
    (Control(C::TransmitFailed), "unit tests of the slow path: a full or vanished interface"),
    (Control(C::FilterUpdateFailed), "unit tests of the slow path: a map that refuses"),
    (Control(C::ClassCacheFailed), "unit tests of the slow path: a map that refuses"),
    (Control(C::MoveKeptBusy), "unit tests of the slow path: a move that stayed, before an unknown class"),
    (Control(C::OpaqueStraddled), "unit tests of the slow path: data behind a request that is asked about"),
    (Front(F::ClassCacheUndecided), "ring c: a class whose servers may not be chosen"),
    (Control(C::DispatchUnlearnt), "unit tests of the records: more than a ring holds"),
    (Front(F::FurtherStayed), PER_REQUEST),
    (Front(F::FurtherMoving), PER_REQUEST),
    (Front(F::FurtherAsked), PER_REQUEST),
    (Front(F::MoveReleased), PER_REQUEST),
    (Front(F::MoveKeptBusy), PER_REQUEST),
    (Front(F::FurtherPipelined), PER_REQUEST),
    (Front(F::FurtherRepeated), "per_request: links that lose packets"),
    (Control(C::OpaqueChunked), PER_REQUEST),
    (Control(C::OpaqueUpgrade), PER_REQUEST),
    (Control(C::OpaqueExpect), PER_REQUEST),
    (Front(F::OpaqueStraddled), PER_REQUEST),
    (Front(F::FurtherBehind), PER_REQUEST),
    (Front(F::FurtherUnheard), RARELY),
    (Front(F::MoveStaleDropped), RARELY),
    (Front(F::ReturnedForwarded), RARELY),
    (Front(F::ReturnedUnknownDropped), RARELY),
    (Control(C::OpaqueSplit), PER_REQUEST),
    (Control(C::OpaqueMalformed), PER_REQUEST),
    (Control(C::OpaqueLongBody), PER_REQUEST),
    (Front(F::OpaqueUnheard), PER_REQUEST),
    (Back(B::RequestRepeated), "per_request: flows that are not followed"),
    (Back(B::MoveBegun), PER_REQUEST),
    (Back(B::MoveKept), PER_REQUEST),
    (Back(B::MoveReleased), PER_REQUEST),
    (Back(B::ResponseLost), PER_REQUEST),
    (Back(B::MoveHeld), RARELY),
    (Back(B::MoveHeldDropped), RARELY),
    (Back(B::MoveSpoilt), RARELY),
    (Back(B::ResetWithheld), RARELY),
    (Back(B::Returned), RARELY),
    (Back(B::ReturnedTooOften), RARELY),
    (Control(C::FurtherStayed), PER_REQUEST),
    (Control(C::FurtherMoving), PER_REQUEST),
    (Control(C::FurtherForwarded), PER_REQUEST),
    (Control(C::BehindForwarded), PER_REQUEST),
];

/// What the table promises of a test.
pub(crate) fn reached_by(test: &str) -> Vec<Counter> {
    REACHED
        .iter()
        .filter(|(name, _)| *name == test)
        .flat_map(|(_, counters)| counters.iter().copied())
        .collect()
}

#[test]
fn every_counter_is_reached_by_a_test_that_exists() {
    let listed = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse"])
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let tests: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for (test, _) in REACHED {
        assert!(tests.contains(test), "there is no test {test}");
    }
    let all = FrontCounter::ALL.iter().map(|counter| Front(*counter));
    let all = all.chain(BackCounter::ALL.iter().map(|counter| Back(*counter)));
    let all = all.chain(ControlCounter::ALL.iter().map(|counter| Control(*counter)));
    for counter in all {
        let here = REACHED.iter().any(|(_, counters)| counters.contains(&counter));
        let there = ELSEWHERE.iter().any(|(other, _)| *other == counter);
        assert!(here || there, "{counter:?} is reached by no test");
        assert!(!(here && there), "{counter:?} is reached here after all");
    }
}
