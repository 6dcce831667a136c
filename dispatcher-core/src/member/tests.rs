//! Tests of the member-table: Table 1 of the paper, the order of rules, their text, signed cookies, and that the kernel's table
//! says what the rules say.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use dispatcher_common::member::{ANY_PORT, MemberKey, Scope};
use ipnet::IpNet;
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{prefix::Prefix, *};
use crate::{
    address,
    http::{Head, RequestHead, parse_head},
    ids::Priority,
    secret::Secret,
};

const DEFAULT: Priority = Priority::new(1).unwrap();
const SCOPE: Scope = Scope { owner: 3, generation: 7 };

/// Table 1. The star in the paper's addresses stands for whole octets.
const TABLE_1: &str = "\
# source          port  cookie  priority
140.117.0.0/16    4147  A       2
140.122.65.0/24   *     B       7
163.124.10.103    *     C       3   # a host
210.0.0.0/8       6521  C       0
";

fn priority(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

fn table(text: &str) -> MemberTable {
    MemberTable::new(parse_rules(text, "members").unwrap(), DEFAULT, None).unwrap()
}

fn client(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What `check` makes of a request with these lines of fields.
fn with_head<T>(fields: &str, check: impl FnOnce(&RequestHead<'_>) -> T) -> T {
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    match parse_head(text.as_bytes(), 65_536) {
        Head::Complete(head) => check(&head),
        other => panic!("{other:?}: {text}"),
    }
}

fn classify(table: &MemberTable, from: &str, cookies: &str) -> u8 {
    let fields = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
    with_head(&fields, |head| table.classify(client(from), head, 0).priority.get())
}

#[test]
fn table_1_gives_the_priorities_of_the_paper() {
    let table = table(TABLE_1);
    for (from, cookies, expected) in [
        ("140.117.164.90:4147", "A=1", 2),
        ("140.117.164.90:4148", "A=1", 1),
        ("140.117.164.90:4147", "B=1", 1),
        ("140.118.164.90:4147", "A=1", 1),
        ("140.122.65.25:3987", "B=1", 7),
        ("140.122.66.25:3987", "B=1", 1),
        ("163.124.10.103:1", "C=1", 3),
        ("163.124.10.104:1", "C=1", 1),
        ("210.135.11.1:6521", "C=1", 0),
        ("210.135.11.1:6522", "C=1", 1),
    ] {
        assert_eq!(classify(&table, from, cookies), expected, "{from} {cookies}");
    }
    assert_eq!(table.ceiling(client("140.117.164.90:4147")), priority(2));
    assert_eq!(table.ceiling(client("140.122.65.25:9")), priority(7));
    assert_eq!(table.ceiling(client("210.135.11.1:6521")), DEFAULT, "without the cookie it gets more");
}

#[test]
fn longer_prefixes_then_ports_then_better_cookies_go_first() {
    let table = table(
        "10.0.0.0/8 * - 2\n10.1.0.0/16 * A 3\n10.1.0.0/16 * A=x 4\n10.1.0.0/16 80 A 5\n10.1.0.0/16 80 B 6\n10.1.2.3 * Z 0\n",
    );
    for (from, cookies, expected) in [
        ("10.9.0.1:80", "", 2),
        ("10.1.0.1:81", "", 2),
        ("10.1.0.1:81", "A=y", 3),
        ("10.1.0.1:81", "A=x", 4),
        ("10.1.0.1:80", "A=x", 5),
        ("10.1.0.1:80", "A=x; B=", 6),
        ("10.1.2.3:80", "A=x; B=", 6),
        ("10.1.2.3:80", "Z=1; A=x; B=", 0),
        ("11.1.2.3:80", "Z=1; A=x; B=", 1),
    ] {
        assert_eq!(classify(&table, from, cookies), expected, "{from} {cookies}");
    }
    assert_eq!(table.ceiling(client("10.1.2.3:80")), priority(6));
    assert_eq!(table.ceiling(client("10.1.2.3:81")), priority(4));
}

#[test]
fn the_rule_that_counted_is_named() {
    let table = table(TABLE_1);
    with_head("Cookie: A\r\nCookie: x=1; A=\"\"\r\n", |head| {
        let member = table.classify(client("140.117.1.1:4147"), head, 0);
        assert_eq!(member.basis, Basis::Rule(&table.rules()[0]), "a pair without = is no cookie");
        let other = table.classify(client("1.1.1.1:4147"), head, 0);
        assert_eq!((other.priority, other.basis), (DEFAULT, Basis::Default));
    });
}

#[test]
fn cookies_come_from_every_field_with_or_without_quotes_in_their_own_case() {
    let table = table("0.0.0.0/0 * plan=\"gold card\" 7\n0.0.0.0/0 * tier=a=b 6\n");
    for (fields, expected) in [
        ("Cookie: plan=gold card\r\n", 7),
        ("Cookie: a=1\r\ncookie: b=2; plan=\"gold card\"\r\n", 7),
        ("Cookie: plan=silver; plan=\"gold card\"\r\n", 7),
        ("Cookie: Plan=gold card\r\n", 1),
        ("Cookie: plan=Gold card\r\n", 1),
        ("Cookie: plan=\"gold card\r\n", 1),
        ("Cookie: plan=\r\n", 1),
        ("Cookie: tier=a=b\r\n", 6),
        ("X-Cookie: tier=a=b\r\n", 1),
    ] {
        let got = with_head(fields, |head| table.classify(client("1.2.3.4:5"), head, 0).priority.get());
        assert_eq!(got, expected, "{fields}");
    }
}

#[test]
fn everything_of_one_family_is_nothing_of_the_other() {
    for (text, ipv4, ipv6) in
        [("0.0.0.0/0 * - 5", 5, 1), ("::/0 * - 5", 1, 5), ("::/0 80 - 5", 1, 5), ("::/80 80 - 5", 1, 1)]
    {
        let table = table(text);
        for (from, expected) in
            [("1.2.3.4:80", ipv4), ("[::ffff:1.2.3.4]:80", ipv4), ("[2001:db8::1]:80", ipv6)]
        {
            assert_eq!(classify(&table, from, ""), expected, "{text}: {from}");
            assert_eq!(table.ceiling(client(from)), priority(expected), "{text}: {from}");
            assert_eq!(Kernel::of(&table).ceiling(client(from)), priority(expected), "{text}: {from}");
        }
    }
}

#[test]
fn rules_are_written_as_they_are_read() {
    for (text, written) in [
        ("140.117.0.0/16\t4147  A 2 # note", "140.117.0.0/16 4147 A 2"),
        ("2001:db8::/32 * plan=\"gold\" 7", "2001:db8::/32 * plan=gold 7"),
        ("198.18.0.7 1 - 0", "198.18.0.7/32 1 - 0"),
        ("::/0 65535 a#b=\"c # d\" 3", "::/0 65535 a#b=\"c # d\" 3"),
        ("0.0.0.0/0 * A= 3", "0.0.0.0/0 * A= 3"),
        ("0.0.0.0/0 * -=- 3", "0.0.0.0/0 * -=- 3"),
    ] {
        let rule: MemberRule = text.parse().unwrap();
        assert_eq!(rule.to_string(), written);
        assert_eq!(written.parse(), Ok(rule));
    }
}

#[test]
fn every_mistake_of_a_rule_is_named_with_its_line_and_what_to_write() {
    for (line, message) in [
        ("140.117.0.0/16 A 2", "3 columns are not a rule; write SOURCE PORT COOKIE PRIORITY"),
        ("1.2.3.4 * - 5 6", "5 columns are not a rule"),
        ("140.117.*.* * A 2", "source \"140.117.*.*\" is no prefix; write 140.117.0.0/16"),
        ("*.*.*.* * A 2", "write 0.0.0.0/0"),
        ("140.*.3.* * A 2", "write one like 140.117.0.0/16"),
        ("host * A 2", "source \"host\" is no prefix; write one like"),
        ("10.1.2.3/8 * A 2", "source \"10.1.2.3/8\" is no prefix; write 10.0.0.0/8"),
        ("::ffff:10.0.0.0/104 * A 2", "write 10.0.0.0/8"),
        ("::ffff:10.0.0.1 * A 2", "write 10.0.0.1/32"),
        ("1.2.3.4 0 A 2", "port \"0\" is no port; write 1 to 65535, or * for any"),
        ("1.2.3.4 +1 A 2", "port \"+1\" is no port"),
        ("1.2.3.4 65536 A 2", "port \"65536\" is no port"),
        ("1.2.3.4 * a:b 2", "cookie name \"a:b\" is not valid"),
        ("1.2.3.4 * =x 2", "cookie name \"\" is not valid"),
        ("1.2.3.4 * a=x;y 2", "cookie value \"x;y\" is not valid"),
        ("1.2.3.4 * a=\"x\"y\" 2", "a quote is not closed"),
        ("1.2.3.4 * a=\"x 2", "a quote is not closed"),
        ("1.2.3.4 * a 8", "priority \"8\" is no priority; write 0 (lowest) to 7 (highest)"),
        ("1.2.3.4 * a 07", "priority \"07\" is no priority"),
        ("5.0.0.0/8  *  -  3", "source, port and cookie are those of line 2; remove one"),
    ] {
        let error =
            parse_rules(&format!("# rules\n5.0.0.0/8 * - 2\n\n{line}\n"), "web").unwrap_err().to_string();
        assert!(error.starts_with("web:4: ") && error.contains(message), "{line}: {error}");
    }
}

#[test]
fn a_table_refuses_rules_for_the_same_clients_and_rules_that_cannot_be_written() {
    let rule = |text: &str| text.parse::<MemberRule>().unwrap();
    let new = |rules| MemberTable::new(rules, DEFAULT, None).unwrap_err().to_string();
    assert_eq!(
        new(vec![rule("1.2.3.4 * a=x 2"), rule("1.2.3.4/32 * a=\"x\" 3")]),
        "rules `1.2.3.4/32 * a=x 2` and `1.2.3.4/32 * a=x 3` have the same source, port and cookie; remove one"
    );
    let bad = MemberRule { port: Some(0), ..rule("1.2.3.4 * - 2") };
    assert!(new(vec![bad]).contains("port \"0\" is no port"));
    let dash = CookieRule { name: "-".into(), value: None };
    assert!(
        new(vec![MemberRule { cookie: Some(dash), ..rule("1.2.3.4 * - 2") }]).contains("cookie name \"-\"")
    );
}

#[test]
fn a_table_without_rules_needs_no_look_up() {
    let empty = table("");
    assert!(empty.is_empty() && !empty.has_ports() && empty.entries(SCOPE).is_empty());
    assert_eq!(empty.ceiling(client("1.2.3.4:5")), DEFAULT);
    assert!(!table("1.2.3.4 * - 1").has_ports());
    assert!(table("1.2.3.4 5 - 1").has_ports());
}

fn signed(service: &str) -> SignedCookies {
    SignedCookies::new("pass", &Secret::new("0123456789abcdef").unwrap(), service)
}

#[test]
fn a_signed_cookie_is_good_for_one_service_priority_and_time() {
    let web = signed("web");
    let value = web.sign(priority(6), 1000);
    assert_eq!(web.verify(value.as_bytes(), 999), Ok(priority(6)));
    assert_eq!(web.verify(format!("\"{value}\"").as_bytes(), 999), Ok(priority(6)));
    assert_eq!(web.verify(value.as_bytes(), 1000), Err(SignedCookieError::Expired));
    assert_eq!(signed("api").verify(value.as_bytes(), 999), Err(SignedCookieError::Forged));
    let other = SignedCookies::new("pass", &Secret::new("0123456789abcdeg").unwrap(), "web");
    assert_eq!(other.verify(value.as_bytes(), 999), Err(SignedCookieError::Forged));
    assert!(!format!("{web:?}").contains("key"));
}

#[test]
fn a_signed_cookie_is_the_hmac_that_other_tools_compute() {
    // key=$(printf 'dispatcher member v1' | openssl dgst -sha256 -hmac 0123456789abcdef -r | cut -c -64)
    // printf 'web\n6\n1000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:$key
    assert_eq!(signed("web").sign(priority(6), 1000), "v1.6.1000.c35a6b8f37f079fe0702e190ec03a2ad");
}

#[test]
fn any_changed_byte_spoils_a_signed_cookie() {
    let web = signed("web");
    let value = web.sign(priority(6), 1000).into_bytes();
    for i in 0..value.len() {
        for byte in (0..=255_u8).filter(|byte| *byte != value[i]) {
            let mut changed = value.clone();
            changed[i] = byte;
            assert!(web.verify(&changed, 0).is_err(), "{}", String::from_utf8_lossy(&changed));
        }
        assert!(web.verify(&value[..i], 0).is_err());
    }
    for bad in ["", "v1", "v1.6.1000", "v1.06.1000.00", "v1.+6.1000.0", "v2.6.1.00"] {
        assert_eq!(web.verify(bad.as_bytes(), 0), Err(SignedCookieError::Malformed), "{bad}");
    }
}

#[test]
fn a_good_signature_goes_before_all_rules_and_a_bad_one_is_told() {
    let rules = parse_rules("1.2.3.4 * - 5", "members").unwrap();
    let table = MemberTable::new(rules, DEFAULT, Some(signed("web"))).unwrap();
    let (low, high, old) = (
        signed("web").sign(priority(0), 100),
        signed("web").sign(priority(2), 100),
        signed("web").sign(priority(7), 10),
    );
    let from = client("1.2.3.4:5");
    let ask = |cookies: &str| {
        with_head(&format!("Cookie: {cookies}\r\n"), |head| {
            let member = table.classify(from, head, 50);
            (member.priority.get(), member.basis == Basis::Signed, member.bad_signature)
        })
    };
    assert_eq!(ask(&format!("pass={low}")), (0, true, None));
    assert_eq!(ask(&format!("pass={low}; pass={high}; pass={old}")), (2, true, None));
    assert_eq!(ask(&format!("pass={old}")), (5, false, Some(SignedCookieError::Expired)));
    assert_eq!(ask("pass=7"), (5, false, Some(SignedCookieError::Malformed)));
    assert_eq!(ask(&format!("Pass={high}")), (5, false, None));
    assert_eq!(table.ceiling(from), Priority::HIGHEST);
    assert!(!table.is_empty() && !table.has_ports());
    for from in ["1.2.3.4:5", "[2001:db8::1]:5"] {
        assert_eq!(Kernel::of(&table).ceiling(client(from)), Priority::HIGHEST);
    }
}

#[test]
fn keys_are_what_the_kernel_builds_from_a_packet() {
    let rules = "10.1.0.0/16 80 - 5\n2001:db8::/32 * - 4";
    let entries: HashMap<_, _> = table(rules).entries(SCOPE).into_iter().collect();
    let ipv4 = address::in_packet(address::bits("10.1.0.0".parse().unwrap()));
    let ipv6 = address::in_packet(0x2001_0db8 << 96);
    let key = |port_be, address, prefix_bits| MemberKey { scope: SCOPE, port_be, address, prefix_bits };
    assert_eq!(entries.get(&key(80_u16.to_be(), ipv4, 112)), Some(&priority(5)));
    assert_eq!(entries.get(&key(ANY_PORT, ipv6, 32)), Some(&priority(4)));
    assert_eq!(entries.len(), 2);
}

#[test]
fn a_hundred_thousand_rules_are_taken_and_one_more_is_refused() {
    let rule = |i: u32| MemberRule {
        source: IpNet::new(Ipv4Addr::from(i << 12).into(), 20 + (i % 13) as u8).unwrap(),
        port: i.is_multiple_of(5).then_some(80),
        cookie: None,
        priority: priority((i % 8) as u8),
    };
    let mut rules: Vec<_> = (1 << 16..(1 << 16) + MAX_RULES as u32).map(rule).collect();
    let start = Instant::now();
    let table = MemberTable::new(rules.clone(), DEFAULT, None).unwrap();
    println!("{MAX_RULES} rules in {:?}", start.elapsed());
    assert_eq!(table.entries(SCOPE).len(), MAX_RULES);
    rules.push(rule(1));
    assert_eq!(MemberTable::new(rules, DEFAULT, None).unwrap_err(), MemberError::TooManyRules(MAX_RULES + 1));
}

#[test]
fn a_wide_prefix_with_many_ports_is_refused_before_it_fills_memory() {
    let mut rules: Vec<MemberRule> =
        (1..1000).map(|port| format!("0.0.0.0/0 {port} - 5").parse().unwrap()).collect();
    let host =
        |i: u32| MemberRule { source: IpNet::from(IpAddr::from(Ipv4Addr::from(i))), ..rules[0].clone() };
    let hosts: Vec<_> = (1..50_000).map(|i| MemberRule { port: None, ..host(i) }).collect();
    rules.extend(hosts);
    assert_eq!(MemberTable::new(rules, DEFAULT, None).unwrap_err(), MemberError::TooManyEntries);
}

/// A longest-prefix look-up as the kernel's program does it.
struct Kernel {
    entries: HashMap<MemberKey, Priority>,
}

impl Kernel {
    fn of(table: &MemberTable) -> Self {
        let entries = table.entries(SCOPE);
        let kernel = Self { entries: entries.iter().copied().collect() };
        assert_eq!(kernel.entries.len(), entries.len(), "keys are different");
        kernel
    }

    fn look_up(&self, client: SocketAddr, port: u16) -> Option<Priority> {
        let host = Prefix::host(client.ip());
        (0..=128).rev().find_map(|len| self.entries.get(&host.cut(len).key(SCOPE, port))).copied()
    }

    fn ceiling(&self, client: SocketAddr) -> Priority {
        let own = self.look_up(client, client.port());
        own.or_else(|| self.look_up(client, ANY_PORT)).unwrap_or(DEFAULT)
    }
}

/// Addresses with few different bits, so that prefixes nest.
fn addresses() -> impl Strategy<Value = IpAddr> {
    let ipv4 = vec(select(vec![0_u8, 1, 128, 255]), 4);
    let ipv4 = ipv4.prop_map(|o| Ipv4Addr::new(o[0], o[1], o[2], o[3]).into());
    let ipv6 = vec(select(vec![0_u16, 1, 0x8000, 0xffff]), 8).prop_map(|words| {
        let words: [u16; 8] = words.try_into().unwrap();
        Ipv6Addr::from(words).into()
    });
    // Next to the mapped addresses.
    let low = (0_u16..2, any::<bool>()).prop_map(|(word, is_near)| {
        Ipv6Addr::new(0, 0, 0, 0, 0, if is_near { 0xfffe } else { 0 }, word, 0).into()
    });
    prop_oneof![4 => ipv4, 2 => ipv6, 1 => low]
}

fn cookies() -> impl Strategy<Value = CookieRule> {
    let value = option::of(select(vec!["", "x", "y z"]).prop_map(str::to_owned));
    (select(vec!["A", "B", "a"]), value).prop_map(|(name, value)| CookieRule { name: name.into(), value })
}

fn rules() -> impl Strategy<Value = MemberRule> {
    let lens = prop_oneof![Just(0_u8), Just(1), Just(32), Just(64), Just(80), Just(96), 0_u8..=128];
    (addresses(), lens, option::of(select(vec![80_u16, 4147])), option::of(cookies()), 0_u8..8).prop_map(
        |(address, len, port, cookie, level)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let source = IpNet::new(address, len.min(most)).unwrap().trunc();
            MemberRule { source, port, cookie, priority: priority(level) }
        },
    )
}

/// Rules that a table takes.
fn rule_sets() -> impl Strategy<Value = Vec<MemberRule>> {
    vec(rules(), 0..30).prop_map(|mut rules| {
        rules.retain(|rule| rule.check().is_ok());
        let mut seen = std::collections::HashSet::new();
        rules.retain(|rule| seen.insert((rule.source, rule.port, rule.cookie.clone())));
        rules
    })
}

/// The rule that counts, straight from the words of the documentation.
fn model(rules: &[MemberRule], client: SocketAddr, cookies: &[CookieRule]) -> Priority {
    let has = |wanted: &CookieRule| {
        cookies.iter().any(|cookie| {
            cookie.name == wanted.name
                && wanted.value.as_ref().is_none_or(|value| cookie.value.as_deref() == Some(value))
        })
    };
    let specific =
        |rule: &MemberRule| rule.cookie.as_ref().map_or(0, |cookie| 1 + u8::from(cookie.value.is_some()));
    rules
        .iter()
        .filter(|rule| rule.source.contains(&client.ip().to_canonical()))
        .filter(|rule| rule.port.is_none_or(|port| port == client.port()))
        .filter(|rule| rule.cookie.as_ref().is_none_or(has))
        .max_by_key(|rule| (rule.source.prefix_len(), rule.port.is_some(), specific(rule), rule.priority))
        .map_or(DEFAULT, |rule| rule.priority)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn without_rules_about_cookies_a_request_gets_the_ceiling(
        rules in rule_sets(),
        clients in vec((addresses(), select(vec![80_u16, 4147, 5])), 1..20),
        shown in vec(cookies(), 0..3),
    ) {
        let asks = rules.iter().any(|rule| rule.cookie.is_some());
        prop_assert_eq!(MemberTable::new(rules.clone(), DEFAULT, None).unwrap().asks_for_cookies(), asks);
        let plain = rules.into_iter().filter(|rule| rule.cookie.is_none()).collect();
        let table = MemberTable::new(plain, DEFAULT, None).unwrap();
        prop_assert!(!table.asks_for_cookies());
        let fields: String = shown.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect();
        for client in clients.into_iter().map(SocketAddr::from) {
            let got = with_head(&fields, |head| table.classify(client, head, 0).priority);
            prop_assert_eq!(got, table.ceiling(client), "{}", client);
        }
    }

    #[test]
    fn the_kernel_says_the_ceiling_and_no_request_gets_more(
        rules in rule_sets(),
        clients in vec((addresses(), select(vec![80_u16, 4147, 5])), 1..20),
        shown in vec(vec(cookies(), 0..3), 1..6),
    ) {
        let table = MemberTable::new(rules.clone(), DEFAULT, None).unwrap();
        let trie = Kernel::of(&table);
        let inside = rules.iter().map(|rule| (rule.source.addr(), rule.port.unwrap_or(80)));
        for client in clients.into_iter().chain(inside).map(SocketAddr::from) {
            let ceiling = table.ceiling(client);
            prop_assert_eq!(trie.ceiling(client), ceiling, "{}", client);
            let mut highest = model(&rules, client, &[]);
            for cookies in &shown {
                let cookies: Vec<_> = cookies
                    .iter()
                    .map(|cookie| CookieRule { value: Some(cookie.value.clone().unwrap_or_default()), ..cookie.clone() })
                    .collect();
                let fields: String =
                    cookies.iter().map(|cookie| format!("Cookie: q=1; {cookie}\r\n")).collect();
                let got = with_head(&fields, |head| table.classify(client, head, 0).priority);
                prop_assert_eq!(got, model(&rules, client, &cookies), "{} {}", client, fields);
                highest = highest.max(got);
            }
            prop_assert!(highest <= ceiling, "{} gets {} above {}", client, highest, ceiling);
        }
    }

    #[test]
    fn any_rule_survives_its_text(rule in rules()) {
        prop_assume!(rule.check().is_ok());
        prop_assert_eq!(rule.to_string().parse::<MemberRule>(), Ok(rule));
    }
}
