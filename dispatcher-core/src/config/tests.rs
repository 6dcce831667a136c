//! Tests of the configuration: the files of the documentation, every semantic error with its line, and that the
//! documentation names every key. Admission's have a file of their own.

mod admission;

use std::{net::Ipv6Addr, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    admission::AdmissionFile,
    back::{BackFile, BackServiceFile},
    front::{FrontFile, SlowPathFile, TimeoutsFile},
    server::ServerFile,
    service::{ClassFile, ServiceFile},
    *,
};
use crate::{
    class::ClassKey,
    ids::{ClassId, ServerId},
    policy::{self, LardSettings, LoadThreshold, PolicySettings, PrequalSettings, TableKind},
};

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");

/// A file with every key that is required and nothing else; what a test adds goes before the tables or behind.
const FRONT: &str = r#"secret = "0123456789abcdef"
interface = "eth0"
#TOP
[[server]]
name = "server1"
address = "198.18.0.11"
#SERVER
[[service]]
name = "web"
vip = ["198.18.0.100"]
port = 80
#SERVICE
"#;

const BACK: &str = r#"secret_file = "/etc/dispatcher/secret"
interface = "eth0"
name = "server1"
report_to = ["198.18.0.2:7180"]
#TOP
[[service]]
vip = ["198.18.0.100", "2001:db8::100"]
port = 80
#SERVICE
"#;

fn front(place: &str, more: &str) -> Result<FrontConfig, ConfigError> {
    FrontConfig::parse(&FRONT.replace(place, more), "front.toml")
}

fn back(place: &str, more: &str) -> Result<BackConfig, ConfigError> {
    BackConfig::parse(&BACK.replace(place, more), "back.toml")
}

/// The code block of the document that begins with `# name`.
fn example(name: &str) -> String {
    let marker = format!("```toml\n# {name}\n");
    let text = DOCUMENT.split_once(&marker).expect("the document has the example").1;
    text.split_once("```").expect("the example ends").0.to_owned()
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = front("", "").unwrap();
    let paths = (config.pin_path.to_str(), config.control_socket.to_str());
    assert_eq!(paths, (Some("/sys/fs/bpf/dispatcher-front"), Some("/run/dispatcher/front.sock")));
    assert_eq!((config.mode, config.server_interface, config.max_filters), (Mode::Native, None, 262_144));
    assert_eq!((config.max_sources, config.class_cache), (65_536, 65_536));
    assert_eq!(config.report_listen.to_string(), "[::]:7180");
    assert_eq!(config.report_interval, Duration::from_millis(100));
    let slow_path = config.slow_path;
    assert_eq!(
        (slow_path.head_limit, slow_path.max_collecting, slow_path.collect_memory),
        (16_384, 4096, 64 << 20)
    );
    assert_eq!(slow_path.head_timeout, Duration::from_secs(5));
    let timeouts = config.timeouts;
    assert_eq!(
        [timeouts.pending, timeouts.established, timeouts.closing, timeouts.answered]
            .map(|timeout| timeout.as_secs()),
        [5, 900, 10, 3]
    );
    let service = &config.services[0];
    assert_eq!((&service.members, &service.signed_cookie, &service.admission), (&None, &None, &None));
    assert_eq!((service.servers.as_slice(), service.priority.get()), (&[ServerId(0)][..], 3));
    assert_eq!((service.hash_classes, service.class_key), (20, ClassKey::Path));
    assert!(service.per_request);
    assert_eq!((service.policy.name.as_str(), service.policy.table), ("context", TableKind::Weighted));
    assert_eq!(service.policy.load_threshold(), LoadThreshold::Requests(72));
}

#[test]
fn the_examples_of_the_document_are_valid() {
    let config = FrontConfig::parse(&example("front.toml"), "front.toml").unwrap();
    assert_eq!(config.servers[0].mac, Some(MacAddress([2, 0, 0, 0, 0, 0x0b])));
    let service = &config.services[0];
    assert!(service.vips.contains(&Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100).into()));
    assert_eq!(service.rules[0].name, "images");
    let config = BackConfig::parse(&example("back.toml"), "back.toml").unwrap();
    assert_eq!(config.pin_path.to_str(), Some("/sys/fs/bpf/dispatcher-back"));
    assert_eq!(Role::detect(&example("front.toml")), Role::Front);
    assert_eq!(Role::detect(&example("back.toml")), Role::Back);
    assert_eq!((Role::detect(""), Role::detect("x =")), (Role::Front, Role::Front));
}

#[test]
fn class_numbers_of_services_follow_one_another() {
    let more = r#"classes = 5
[[service.class]]
name = "images"
path_prefix = "/images/"
[[service]]
name = "api"
vip = ["198.18.0.101"]
port = 80"#;
    let config = front("#SERVICE", more).unwrap();
    assert_eq!(config.services.iter().map(|s| s.class_base).collect::<Vec<_>>(), [ClassId(0), ClassId(6)]);
    assert_eq!((config.class_count(), config.services[1].class_map().base()), (26, ClassId(6)));
}

#[test]
fn only_the_first_request_of_a_connection_is_dispatched_if_that_is_wanted() {
    for (keys, per_request) in
        [("protocol = \"http\"", true), ("per_request = false", false), ("per_request = true", true)]
    {
        assert_eq!(front("#SERVICE", keys).unwrap().services[0].per_request, per_request, "{keys}");
    }
    let mistakes: &[Mistake<'_>] = &[
        (
            "#SERVICE",
            "protocol = \"h2\"",
            12,
            "protocol \"h2\" is not supported; write \"http\" or remove the key",
        ),
        (
            "#SERVICE",
            "per_request = \"yes\"",
            12,
            "per_request: invalid type: string \"yes\", expected a boolean",
        ),
    ];
    check(|place, more| front(place, more).err(), "front.toml", mistakes);
}

#[test]
fn every_way_to_keep_the_table_has_a_word() {
    for (word, kind) in [
        ("faithful", TableKind::Faithful),
        ("sticky", TableKind::Sticky),
        ("replicated", TableKind::Replicated),
        ("weighted", TableKind::Weighted),
    ] {
        let config = front("#SERVICE", &format!("table = \"{word}\"")).unwrap();
        let policy = &config.services[0].policy;
        let requests = if word == "weighted" { 72 } else { 48 };
        assert_eq!((policy.table, policy.load_threshold()), (kind, LoadThreshold::Requests(requests)));
    }
}

#[test]
fn every_policy_is_accepted_with_its_own_parameters() {
    for (name, more) in policy::NAMES.iter().map(|name| (*name, "")).chain([
        ("context", "table = \"replicated\"\nload_threshold = \"600ms\""),
        ("lard", "t_low = 55\nt_high = 66\nmax_targets = 1000"),
        ("lard-r", "t_low = 55\nt_high = 66\nmax_targets = 1000\nset_timeout = \"5s\""),
        ("bounded-hash", "balance_factor = 150"),
        ("prequal", "rif_quantile = 90\nprobe_pool = 8"),
    ]) {
        let config = front("#SERVICE", &format!("policy = \"{name}\"\n{more}")).unwrap();
        let settings = &config.services[0].policy;
        let mut expected = PolicySettings { name: name.into(), ..PolicySettings::default() };
        match (name, more.is_empty()) {
            ("context", false) => {
                expected.table = TableKind::Replicated;
                expected.load_threshold = Some(LoadThreshold::Work(Duration::from_millis(600)));
            }
            ("lard" | "lard-r", false) => {
                expected.lard = LardSettings { t_low: 55, t_high: 66, max_targets: 1000, ..expected.lard };
            }
            ("bounded-hash", false) => expected.balance_factor_percent = 150,
            ("prequal", false) => expected.prequal = PrequalSettings { rif_quantile_percent: 90, pool: 8 },
            _ => {}
        }
        if more.contains("set_timeout") {
            expected.lard.set_timeout = Duration::from_secs(5);
        }
        assert_eq!(settings, &expected);
        assert_eq!(settings.build(ClassId(0), 1).unwrap().name(), name);
    }
}

#[test]
fn the_document_gives_every_policy_and_its_defaults() {
    let default = PolicySettings::default();
    let names: Vec<_> = policy::NAMES.iter().map(|name| format!("`{name}`")).collect();
    for row in [
        format!("| `policy` | {} | `context` |", names.join(", ")),
        format!("| `t_low` | requests, 1 to 1000000 | `{}` |", default.lard.t_low),
        format!("| `t_high` | requests, 1 to 1000000 | `{}` |", default.lard.t_high),
        format!("| `max_targets` | targets, 1 to 16777216 | `{}` |", default.lard.max_targets),
        format!("| `set_timeout` | duration, `100ms` to `24h` | `{}s` |", default.lard.set_timeout.as_secs()),
        format!("| `balance_factor` | percent, 100 to 1000 | `{}` |", default.balance_factor_percent),
        format!("| `rif_quantile` | percent, 1 to 100 | `{}` |", default.prequal.rif_quantile_percent),
        format!("| `probe_pool` | servers, 2 to 256 | `{}` |", default.prequal.pool),
    ] {
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

#[test]
fn one_arm_may_be_written_with_both_interfaces_the_same() {
    assert_eq!(front("#TOP", r#"server_interface = "eth0""#).unwrap().server_interface, None);
    assert_eq!(
        front("#TOP", r#"server_interface = "eth1""#).unwrap().server_interface.as_deref(),
        Some("eth1")
    );
}

/// Place, text put there, line and a part of the message.
type Mistake<'a> = (&'a str, &'a str, usize, &'a str);

fn check(parse: impl Fn(&str, &str) -> Option<ConfigError>, file: &str, mistakes: &[Mistake<'_>]) {
    for (place, more, line, message) in mistakes {
        let error = parse(place, more).unwrap_or_else(|| panic!("{more} is accepted"));
        assert!(error.to_string().starts_with(&format!("{file}:{line}: ")), "{more}: {error}");
        assert!(error.message.contains(message), "{more}: {error}");
        assert!(!error.message.contains('\n'), "{error}");
    }
}

#[test]
fn every_mistake_at_the_top_of_a_front_file_is_named_with_its_line() {
    let mistakes: &[Mistake<'_>] = &[
        ("#TOP", "mod = \"skb\"", 3, "unknown field `mod`, expected one of"),
        ("#TOP", "mode = \"fast\"", 3, "unknown variant `fast`, expected `native` or `skb`"),
        ("#TOP", "secret_file = \"x\"", 3, "both given; remove one"),
        ("secret = \"0123456789abcdef\"", "", 1, "secret_file is missing; add it"),
        ("0123456789abcdef", "0123456789abcde", 1, "secret has 15 bytes; use at least 16"),
        ("interface = \"eth0\"", "", 1, "missing field `interface`; add it"),
        ("interface = \"eth0\"", "interface = \"a-name-too-long-for-it\"", 2, "no interface name"),
        ("#TOP", "server_interface = \"a b\"", 3, "no interface name"),
        ("#TOP", "report_interval = \"100\"", 3, "a duration in quotes"),
        ("#TOP", "report_interval = 100", 3, "a duration in quotes"),
        ("#TOP", "report_interval = \"1ms\"", 3, "report_interval is 1ms; use 10ms to 10s"),
        ("#TOP", "report_listen = \"7180\"", 3, "an address and port, like"),
        ("#TOP", "max_filters = 0", 3, "max_filters is 0; use 1 to"),
        ("#TOP", "[slow_path]\nhead_limit = \"1MiB\"", 4, "head_limit is 1MiB; use 512B to 64KiB"),
        ("#TOP", "[slow_path]\nhead_limit = \"16kb\"", 4, "a number of bytes or a size"),
        ("#TOP", "[slow_path]\nhead_timeout = \"0s\"", 4, "head_timeout is 0ns; use 100ms to 24h"),
        ("#TOP", "[slow_path]\nmax_collecting = -1", 4, "max_collecting is -1; use"),
        ("#TOP", "[slow_path]\ncollect_memory = 1", 4, "collect_memory is 1B; use 16KiB to"),
        ("#TOP", "[timeouts]\npending = \"1s\"", 4, "shorter than slow_path.head_timeout, 5s"),
        ("#TOP", "[timeouts]\nestablished = \"25h\"", 4, "established is 25h; use 100ms to 24h"),
        ("#TOP", "a = ", 3, ""),
        ("#TOP", "mode = 1", 3, "put the value in quotes"),
        ("#TOP", "max_filters = \"1\"", 3, "expected a whole number"),
        ("[[server]]", "[server]", 4, "write [[…]] for a table that may be repeated"),
        ("address = \"198.18.0.11\"", "", 4, "missing field `address`; add it"),
        ("eth0\"\n", "eth0\"\ninterface = \"eth1\"\n", 3, "duplicate key"),
    ];
    check(|place, more| front(place, more).err(), "front.toml", mistakes);
}

#[test]
fn every_mistake_of_a_server_is_named_with_its_line() {
    let second = |name: &str, rest: &str| format!("[[server]]\nname = \"{name}\"\n{rest}");
    let (twice, same, no_ip, mac) = (
        second("server1", "address = \"198.18.0.12\""),
        second("server2", "address = \"198.18.0.11\""),
        second("server2", "address = \"server2\""),
        format!(
            "mac = \"02:00:00:00:00:01\"\n{}\nmac = \"02:00:00:00:00:01\"",
            second("s", "address = \"198.18.0.12\"")
        ),
    );
    let many: String =
        (0..256).map(|i| second(&format!("s{i}"), &format!("address = \"10.0.0.{i}\"\n"))).collect();
    let mistakes: &[Mistake<'_>] = &[
        ("#SERVER", &twice, 8, "server \"server1\" is defined twice; rename one"),
        ("#SERVER", &same, 9, "address 198.18.0.11 belongs to server \"server1\" already"),
        ("#SERVER", &no_ip, 9, "address \"server2\" is no IP address; write one like"),
        ("#SERVER", &mac, 11, "mac 02:00:00:00:00:01 belongs to server \"server1\" already"),
        ("#SERVER", "mac = \"02:00:00\"", 7, "the MAC address of one host"),
        ("#SERVER", "mac = \"ff:ff:ff:ff:ff:ff\"", 7, "the MAC address of one host"),
        ("#SERVER", "weight = 1", 7, "unknown field `weight`"),
        ("#SERVER", &many, 773, "more than 256 servers; split the cluster"),
        ("server1", "server 1", 5, "server name \"server 1\" is not valid; use"),
        ("198.18.0.11", "0.0.0.0", 6, "unspecified, multicast or loopback"),
        ("198.18.0.11", "::ffff:198.18.0.11", 6, "IPv4-mapped"),
    ];
    check(|place, more| front(place, more).err(), "front.toml", mistakes);
    let none = FRONT.split("[[server]]").next().unwrap();
    let error = FrontConfig::parse(none, "f").unwrap_err();
    assert_eq!(error.to_string(), "f:1: no server is defined; add a [[server]]");
}

#[test]
fn every_mistake_of_a_service_is_named_with_its_line() {
    let second = |name: &str, vip: &str, rest: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nport = 80\nvip = [\n  \"198.18.0.101\",\n  \"{vip}\",\n]\n{rest}"
        )
    };
    let class = |rest: &str| format!("[[service.class]]\nname = \"a\"\n{rest}");
    let (twice, pair, classes) = (
        second("web", "198.18.0.102", ""),
        second("api", "198.18.0.100", ""),
        second("api", "198.18.0.102", "classes = 1005"),
    );
    let (empty, double) = (class(""), class(&format!("host = \"h\"\n{}", class("host = \"h\""))));
    let vips: Vec<_> = (0..65).map(|i| format!("\"10.0.0.{}\"", i + 1)).collect();
    let mistakes: &[Mistake<'_>] = &[
        ("#SERVICE", "servers = [\"server2\"]", 12, "server \"server2\" is not defined; add a [[server]]"),
        ("#SERVICE", "servers = [\"server1\",\n\"server1\"]", 13, "listed twice; remove one"),
        ("#SERVICE", "servers = []", 12, "servers is empty"),
        ("#SERVICE", "policy = \"wrr\"", 12, "unknown policy \"wrr\"; use one of: context, lard, lard-r, "),
        ("#SERVICE", "policy = \"round-robin\"\ntable = \"sticky\"", 13, "table means nothing to policy"),
        ("#SERVICE", "load_threshold = \"1s\"\npolicy = \"round-robin\"", 12, "load_threshold means nothing"),
        (
            "#SERVICE",
            "load_threshold = \"48\"",
            12,
            "load_threshold: invalid value: string \"48\", expected a multiple of the mean service time or a duration",
        ),
        ("#SERVICE", "table = \"lru\"", 12, "unknown variant `lru`"),
        ("#SERVICE", "t_low = 5", 12, "t_low means nothing to policy \"context\"; remove it"),
        ("#SERVICE", "policy = \"lard\"\nset_timeout = \"20s\"", 13, "set_timeout means nothing to policy"),
        ("#SERVICE", "policy = \"lard\"\nt_low = 65", 13, "t_low is 65, not below t_high, 65; lower it"),
        ("#SERVICE", "policy = \"lard\"\nt_high = 25", 13, "t_low is 25, not below t_high, 25; lower it"),
        ("#SERVICE", "policy = \"lard\"\nmax_targets = 0", 13, "max_targets is 0; use 1 to 16777216"),
        (
            "#SERVICE",
            "policy = \"lard-r\"\nset_timeout = \"1ms\"",
            13,
            "set_timeout is 1ms; use 100ms to 24h",
        ),
        (
            "#SERVICE",
            "policy = \"bounded-hash\"\nbalance_factor = 99",
            13,
            "balance_factor is 99; use 100 to",
        ),
        ("#SERVICE", "policy = \"hash\"\nbalance_factor = 125", 13, "balance_factor means nothing"),
        ("#SERVICE", "policy = \"prequal\"\nrif_quantile = 101", 13, "rif_quantile is 101; use 1 to 100"),
        ("#SERVICE", "policy = \"prequal\"\nprobe_pool = 1", 13, "probe_pool is 1; use 2 to 256"),
        ("#SERVICE", "class_key = \"query\"", 12, "unknown variant `query`"),
        ("#SERVICE", "priority = 8", 12, "priority is 8; use 0 to 7"),
        ("#SERVICE", "classes = 0", 12, "classes is 0; use 1 to 1024"),
        ("#SERVICE", &twice, 13, "service \"web\" is defined twice; rename one"),
        ("#SERVICE", &pair, 17, "vip 198.18.0.100 with port 80 belongs to service \"web\" already"),
        ("#SERVICE", &classes, 13, "services have 1025 classes up to here, above 1024"),
        ("#SERVICE", &empty, 13, "class \"a\" has no condition; give path_prefix"),
        ("#SERVICE", &double, 16, "class \"a\" is defined twice"),
        ("#SERVICE", "[[service.class]]\nname = \"hash-1\"\nhost = \"h\"", 13, "looks like a hash class"),
        ("#SERVICE", "[[service.class]]\nname = \"a\"\nhosts = \"h\"", 14, "unknown field `hosts`"),
        ("port = 80", "port = 0", 11, "port is 0; use 1 to 65535"),
        ("port = 80", "port = 70000", 11, "port is 70000; use 1 to 65535"),
        ("[\"198.18.0.100\"]", "[]", 10, "vip is empty"),
        ("[\"198.18.0.100\"]", "\"198.18.0.100\"", 10, "invalid type: string"),
        ("[\"198.18.0.100\"]", "[\"198.18.0.11\"]", 10, "own address of server \"server1\""),
        ("[\"198.18.0.100\"]", &format!("[{}]", vips.join(", ")), 10, "more than 64 pairs of VIP and port"),
    ];
    check(|place, more| front(place, more).err(), "front.toml", mistakes);
    let none = FRONT.split("[[service]]").next().unwrap();
    assert!(FrontConfig::parse(none, "f").unwrap_err().message.contains("no service is defined"));
}

#[test]
fn every_mistake_of_a_back_file_is_named_with_its_line() {
    let config = back("", "").unwrap();
    assert_eq!((config.services[0].vips.len(), config.name.as_str()), (2, "server1"));
    let mistakes: &[Mistake<'_>] = &[
        ("#TOP", "mode = \"native\"", 5, "unknown field `mode`"),
        ("#TOP", "secret = \"0123456789abcdef\"", 1, "both given; remove one"),
        ("[\"198.18.0.2:7180\"]", "[]", 4, "report_to is empty; name a front-end"),
        ("[\"198.18.0.2:7180\"]", "[\"front\"]", 4, "an address and port, like"),
        ("server1", "", 3, "name \"\" is not valid"),
        ("#SERVICE", "name = \"web\"", 9, "unknown field `name`, expected `vip` or `port`"),
        ("2001:db8::100", "198.18.0.100", 7, "belongs to service \"number 1\" already"),
    ];
    check(|place, more| back(place, more).err(), "back.toml", mistakes);
}

/// The keys that `T` accepts, as serde lists them when it meets one that it does not know.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let error = match toml::from_str::<T>("no_such_key = 1") {
        Ok(_) => panic!("unknown keys must be errors"),
        Err(error) => error.message().to_owned(),
    };
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_document_names_every_key_of_every_table() {
    for (heading, keys) in [
        ("## Front-end", keys::<FrontFile>()),
        ("### `[slow_path]`", keys::<SlowPathFile>()),
        ("### `[timeouts]`", keys::<TimeoutsFile>()),
        ("### `[[server]]`", keys::<ServerFile>()),
        ("### `[[service]]`", keys::<ServiceFile>()),
        ("### `[[service.class]]`", keys::<ClassFile>()),
        ("### `[admission]`", keys::<AdmissionFile>()),
        ("## Server (agent)", keys::<BackFile>()),
        ("### `[[service]]` of a server", keys::<BackServiceFile>()),
    ] {
        assert!(keys.len() > 1, "{heading}: {keys:?}");
        let section = DOCUMENT.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading}")).1;
        let section = section.split("\n##").next().unwrap_or(section);
        for key in keys.iter().filter(|key| {
            !["server", "service", "slow_path", "timeouts", "class", "admission"].contains(&key.as_str())
        }) {
            assert!(section.contains(&format!("| `{key}` |")), "{heading} lacks {key}");
        }
    }
}
