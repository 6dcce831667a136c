//! Tests of `[admission]`, of what overrides it, and of the keys about members.

use super::{Mistake, check, example, front, *};
use crate::{
    admission::{AdjustSettings, AdmissionSettings, ConnectionLimit, EvictionSettings, SourceLimits, Way},
    policy::LoadThreshold,
};

/// Settings of the only service of a file with this before its tables or behind.
fn settings(place: &str, more: &str) -> AdmissionSettings {
    front(place, more).unwrap().services.remove(0).admission.unwrap()
}

#[test]
fn an_empty_table_anywhere_gives_the_defaults() {
    assert_eq!(settings("#TOP", "[admission]"), AdmissionSettings::default());
    assert_eq!(settings("#SERVICE", "[service.admission]"), AdmissionSettings::default());
}

#[test]
fn a_service_overrides_the_front_end_key_by_key() {
    let more = r#"[service.admission]
t_low = 60
refusal = "drop"
load_bound = "none"
[[service]]
name = "api"
vip = ["198.18.0.101"]
port = 80"#;
    let both = super::FRONT.replace("#SERVICE", more).replace(
        "#TOP",
        "[admission]\nconnection_limit = \"paper\"\nt_low = 50\nload_bound = \"10x\"\nrefusals = { 7 = \"503\" }",
    );
    let config = FrontConfig::parse(&both, "front.toml").unwrap();
    let [web, api] = [0, 1].map(|i| config.services[i].admission.clone().unwrap());
    assert_eq!((web.limit, web.t_low, web.load_bound), (ConnectionLimit::Paper, 60, None));
    assert_eq!((web.ways[0], web.ways[7]), (Way::Drop, Way::Respond));
    assert_eq!((api.limit, api.t_low), (ConnectionLimit::Paper, 50));
    assert_eq!((api.load_bound, api.ways[0]), (Some(LoadThreshold::Requests(10)), Way::Respond));
}

#[test]
fn every_key_sets_its_setting() {
    let more = r#"[admission]
connection_limit = 1000
t_high = 70
t_low = 70
load_bound = "600ms"
load_reserve = 30
cpu_bound = 95
listen_overflows = false
hysteresis = 10
hold = "2s"
refusal = "reset"
refusals = { 0 = "drop", 3 = "503" }
retry_after = "7s"
idle_after = "3s"
min_age = "0s"
evict_mid_response = true
evictions_per_second = 20000
evictions_per_source = 0
eviction_prefix_ipv4 = 16
eviction_prefix_ipv6 = 32
idle_levels = 1
idle_step = "4s"
delay_levels = 2
delay_step = "5s"
connections_per_second = 50
open_connections = 100
source_prefix_ipv4 = 28
source_prefix_ipv6 = 56
source_refusal = "reset""#;
    let mut ways = [Way::Reset; 8];
    (ways[0], ways[3]) = (Way::Drop, Way::Respond);
    let expected = AdmissionSettings {
        limit: ConnectionLimit::Fixed(1000),
        t_high: 70,
        t_low: 70,
        load_bound: Some(LoadThreshold::Work(Duration::from_millis(600))),
        load_reserve_percent: 30,
        cpu_percent: Some(95),
        listen_overflows: false,
        hysteresis_percent: 10,
        hold: Duration::from_secs(2),
        ways,
        retry_after: Duration::from_secs(7),
        eviction: EvictionSettings {
            idle_after: Duration::from_secs(3),
            min_age: Duration::ZERO,
            mid_response: true,
            per_second: 20_000,
            per_source: 0,
            prefix_ipv4: 16,
            prefix_ipv6: 32,
        },
        adjusting: AdjustSettings {
            idle_levels: 1,
            idle_step: Duration::from_secs(4),
            delay_levels: 2,
            delay_step: Duration::from_secs(5),
        },
        sources: SourceLimits {
            connections_per_second: 50,
            open_connections: 100,
            prefix_ipv4: 28,
            prefix_ipv6: 56,
            way: Way::Reset,
        },
    };
    assert_eq!(settings("#TOP", more), expected);
    assert_eq!(settings("#SERVICE", &more.replace("[admission]", "[service.admission]")), expected);
}

#[test]
fn none_is_a_word_for_every_bound() {
    let none = settings(
        "#TOP",
        "[admission]\nconnection_limit = \"none\"\nload_bound = \"none\"\ncpu_bound = \"none\"",
    );
    assert_eq!((none.limit, none.load_bound, none.cpu_percent), (ConnectionLimit::None, None, None));
}

#[test]
fn members_and_their_cookie_are_named_by_the_service() {
    let config = front("#SERVICE", "members = \"/etc/web.members\"\nsigned_cookie = \"pass\"").unwrap();
    let service = &config.services[0];
    assert_eq!(service.members.as_deref().and_then(|path| path.to_str()), Some("/etc/web.members"));
    assert_eq!(service.signed_cookie.as_deref(), Some("pass"));
    assert_eq!(service.admission, None);
}

#[test]
fn the_documents_example_is_valid() {
    let text = super::FRONT.split("[[service]]").next().unwrap().to_owned();
    let text = text.replace("#TOP", "") + &example("admission.toml");
    let config = FrontConfig::parse(&text, "front.toml").unwrap();
    let settings = config.services[0].admission.clone().unwrap();
    assert_eq!((settings.limit, settings.sources.open_connections), (ConnectionLimit::Fixed(20_000), 200));
    assert_eq!((settings.ways[0], settings.ways[1]), (Way::Drop, Way::Respond));
    assert_eq!(config.services[0].members.as_deref(), Some("/etc/dispatcher/web.members".as_ref()));
}

#[test]
fn the_document_gives_the_defaults() {
    let AdmissionSettings {
        t_high,
        t_low,
        load_reserve_percent,
        hysteresis_percent,
        hold,
        retry_after,
        eviction,
        ..
    } = AdmissionSettings::default();
    let (adjusting, sources) = (AdjustSettings::default(), SourceLimits::default());
    for (key, default) in [
        ("connection_limit", "\"none\"".to_owned()),
        ("t_high", t_high.to_string()),
        ("t_low", t_low.to_string()),
        ("load_bound", "96x".to_owned()),
        ("load_reserve", load_reserve_percent.to_string()),
        ("cpu_bound", "\"none\"".to_owned()),
        ("listen_overflows", "true".to_owned()),
        ("hysteresis", hysteresis_percent.to_string()),
        ("hold", format!("{hold:?}")),
        ("refusal", "503".to_owned()),
        ("retry_after", format!("{retry_after:?}")),
        ("idle_after", format!("{:?}", eviction.idle_after)),
        ("min_age", format!("{:?}", eviction.min_age)),
        ("evict_mid_response", eviction.mid_response.to_string()),
        ("evictions_per_second", eviction.per_second.to_string()),
        ("evictions_per_source", eviction.per_source.to_string()),
        ("eviction_prefix_ipv4", eviction.prefix_ipv4.to_string()),
        ("eviction_prefix_ipv6", eviction.prefix_ipv6.to_string()),
        ("idle_levels", adjusting.idle_levels.to_string()),
        ("idle_step", format!("{:?}", adjusting.idle_step)),
        ("delay_levels", adjusting.delay_levels.to_string()),
        ("delay_step", format!("{:?}", adjusting.delay_step)),
        ("connections_per_second", sources.connections_per_second.to_string()),
        ("open_connections", sources.open_connections.to_string()),
        ("source_prefix_ipv4", sources.prefix_ipv4.to_string()),
        ("source_prefix_ipv6", sources.prefix_ipv6.to_string()),
        ("source_refusal", "drop".to_owned()),
    ] {
        let row = DOCUMENT.lines().find(|line| {
            line.starts_with(&format!("| `{key}` |")) && line.contains(&format!("| `{default}` |"))
        });
        assert!(row.is_some(), "{key} without {default}");
    }
}

#[test]
fn every_mistake_of_admission_is_named_with_its_line() {
    let top = |line: &str| format!("[admission]\n{line}");
    let own = |line: &str| format!("[service.admission]\n{line}");
    let cases = [
        ("limit = 1", "unknown field `limit`"),
        ("connection_limit = 0", "connection_limit is 0; use 1 to 67108864"),
        (
            "connection_limit = \"some\"",
            "connection_limit: invalid value: string \"some\", expected a number of",
        ),
        ("t_low = 66", "t_low is 66, above t_high, 65; lower it or raise that"),
        ("t_high = 0", "t_high is 0; use 1 to"),
        ("load_bound = \"0x\"", "load_bound is 0; use 1x or more, or \"none\""),
        ("load_bound = \"many\"", "a multiple of the mean service time, a duration or \"none\""),
        ("cpu_bound = 101", "cpu_bound is 101; use 1 to 100"),
        ("cpu_bound = \"all\"", "a percentage or \"none\""),
        ("load_reserve = 91", "load_reserve is 91; use 0 to 90"),
        ("hysteresis = 91", "hysteresis is 91; use 0 to 90"),
        ("hold = \"1ms\"", "hold is 1ms; use 10ms to 24h"),
        ("refusal = \"404\"", "unknown variant `404`, expected one of `503`, `reset`, `drop`"),
        ("refusal = 503", "put the value in quotes"),
        ("refusals = { 8 = \"drop\" }", "refusals has a priority \"8\"; use 0 to 7"),
        ("refusals = { 07 = \"drop\" }", "refusals has a priority \"07\"; use 0 to 7"),
        ("retry_after = \"1500ms\"", "retry_after is 1500ms; HTTP has whole seconds only"),
        ("retry_after = \"0s\"", "retry_after is 0ns; use 1s to 24h"),
        ("idle_after = \"0s\"", "idle_after is 0ns; use 10ms to 24h"),
        ("min_age = \"25h\"", "min_age is 25h; use 0ns to 24h"),
        ("evictions_per_second = -1", "evictions_per_second is -1; use 0 to 1000000"),
        ("eviction_prefix_ipv4 = 33", "eviction_prefix_ipv4 is 33; use 0 to 32"),
        ("source_prefix_ipv6 = 129", "source_prefix_ipv6 is 129; use 0 to 128"),
        ("idle_levels = 8", "idle_levels is 8; use 0 to 7"),
        ("source_refusal = \"none\"", "unknown variant `none`"),
        ("source_refusal = \"503\"", "expected `reset` or `drop`"),
    ];
    let texts: Vec<_> = cases.iter().flat_map(|(line, _)| [top(line), own(line)]).collect();
    let mut mistakes: Vec<Mistake<'_>> = Vec::new();
    for ((_, message), texts) in cases.iter().zip(texts.chunks(2)) {
        mistakes.push(("#TOP", &texts[0], 4, message));
        mistakes.push(("#SERVICE", &texts[1], 13, message));
    }
    mistakes.push(("#TOP", "max_sources = 0", 3, "max_sources is 0; use 1 to 4194304"));
    mistakes.push(("#TOP", "class_cache = -1", 3, "class_cache is -1; use 0 to 4194304"));
    mistakes.push(("#TOP", "[timeouts]\nanswered = \"1ms\"", 4, "answered is 1ms; use 100ms to 24h"));
    mistakes.push(("#SERVICE", "members = \"\"", 12, "members is empty; name a file"));
    mistakes.push(("#SERVICE", "signed_cookie = \"a b\"", 12, "signed_cookie \"a b\" is no cookie name"));
    check(|place, more| front(place, more).err(), "front.toml", &mistakes);
}
