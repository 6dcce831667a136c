//! The member-table of one service: its rules, ready to be asked. Owns which rule counts, the highest that a client can get
//! (what the kernel says at a SYN), and the entries of the kernel's table; writing these into maps is elsewhere.
//!
//! Order: a signed cookie before every rule; then the longest source prefix first; at equal prefixes a rule for the client's
//! port before one for any; then a cookie's name and value before its name before no cookie. A rule whose cookie the request
//! lacks is passed over. Of two rules of one rank (the request has both their cookies) the higher priority counts.

use std::{cmp::Reverse, collections::BTreeSet, net::SocketAddr};

use dispatcher_common::{
    limits::MAX_MEMBER_LINES,
    member::{ANY_PORT, MemberKey, Scope},
};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use super::{MemberError, MemberRule, SignedCookieError, SignedCookies, prefix::Prefix};
use crate::{http::RequestHead, ids::Priority};

/// Most rules of one service.
pub const MAX_RULES: usize = 100_000;

/// Most entries that rules may compile to: one for each line of the kernel's table, which fills it by half. Services share it, so
/// together they must fit too.
pub const MAX_ENTRIES: usize = MAX_MEMBER_LINES;

/// Rules of one service. Immutable: a change makes a new one.
#[derive(Debug, Clone)]
pub struct MemberTable {
    rules: Vec<MemberRule>,
    default: Priority,
    signed: Option<SignedCookies>,
    order: Order,
    entries: Vec<Entry>,
    asks_for_cookies: bool,
}

/// What a request's client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership<'a> {
    /// Its priority.
    pub priority: Priority,
    /// Why.
    pub basis: Basis<'a>,
    /// What was wrong with a signed cookie, if there was one and none was good.
    pub bad_signature: Option<SignedCookieError>,
}

/// What a priority comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis<'a> {
    /// A signed cookie.
    Signed,
    /// A rule.
    Rule(&'a MemberRule),
    /// No rule: the service's own priority.
    Default,
}

/// A compiled entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    prefix: Prefix,
    port: u16,
    ceiling: Priority,
}

/// Numbers of rules by place, and the lengths of prefixes that occur.
#[derive(Debug, Clone, Default)]
struct Order {
    /// Rules of one place in their order. [`ANY_PORT`] is no client's port.
    places: FxHashMap<(Prefix, u16), Vec<u32>>,
    /// Longest first, IPv4 and IPv6.
    lengths: [Vec<u8>; 2],
    has_ports: bool,
}

impl MemberTable {
    /// Takes rules in any order; `default` is for clients that none of them names.
    ///
    /// # Errors
    /// When two rules are for the same clients, or they are too many.
    pub fn new(
        rules: Vec<MemberRule>,
        default: Priority,
        signed: Option<SignedCookies>,
    ) -> Result<Self, MemberError> {
        check(&rules)?;
        let order = Order::new(&rules);
        let asks_for_cookies = signed.is_some() || rules.iter().any(|rule| rule.cookie.is_some());
        let mut table = Self { rules, default, signed, order, entries: Vec::new(), asks_for_cookies };
        table.entries = table.compile()?;
        Ok(table)
    }

    /// The rules as given.
    #[must_use]
    pub fn rules(&self) -> &[MemberRule] {
        &self.rules
    }

    /// Whether the kernel needs no entries: there are neither rules nor signed cookies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether ports have entries of their own.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        self.entries.iter().any(|entry| entry.port != ANY_PORT)
    }

    /// Whether cookies make a difference: without, a request's priority is [`ceiling`](Self::ceiling).
    #[must_use]
    pub fn asks_for_cookies(&self) -> bool {
        self.asks_for_cookies
    }

    /// What the kernel's trie says of this client: no request of it gets more, whatever its cookies.
    #[must_use]
    pub fn ceiling(&self, client: SocketAddr) -> Priority {
        if self.signed.is_some() {
            return Priority::HIGHEST;
        }
        self.highest(Prefix::host(client.ip()), client.port())
    }

    /// The priority of a request. `now_wall_s` is in seconds since 1970.
    #[must_use]
    pub fn classify(&self, client: SocketAddr, head: &RequestHead<'_>, now_wall_s: u64) -> Membership<'_> {
        let bad_signature = match self.signature(head, now_wall_s) {
            Some(Ok(priority)) => return Membership { priority, basis: Basis::Signed, bad_signature: None },
            Some(Err(error)) => Some(error),
            None => None,
        };
        let mut rules = self.walk(Prefix::host(client.ip()), client.port());
        let rule = rules.find(|rule| {
            rule.cookie.as_ref().is_none_or(|wanted| head.cookies().any(|cookie| wanted.matches(cookie)))
        });
        match rule {
            Some(rule) => Membership { priority: rule.priority, basis: Basis::Rule(rule), bad_signature },
            None => Membership { priority: self.default, basis: Basis::Default, bad_signature },
        }
    }

    /// What the kernel's program looks up: the ceiling of each prefix, by port.
    #[must_use]
    pub fn entries(&self, scope: Scope) -> Vec<(MemberKey, Priority)> {
        let entry = |entry: &Entry| (entry.prefix.key(scope, entry.port), entry.ceiling);
        self.entries.iter().map(entry).collect()
    }

    /// The best of the signed cookies, if the request has any.
    fn signature(
        &self,
        head: &RequestHead<'_>,
        now_wall_s: u64,
    ) -> Option<Result<Priority, SignedCookieError>> {
        let signed = self.signed.as_ref()?;
        let named = head.cookies().filter(|(name, _)| *name == signed.name().as_bytes());
        named
            .map(|(_, value)| signed.verify(value, now_wall_s))
            .reduce(|best, other| if other.ok() > best.ok() { other } else { best })
    }

    /// The rules for a place, in their order.
    fn walk(&self, place: Prefix, port: u16) -> impl Iterator<Item = &MemberRule> {
        self.order.walk(place, port).map(|number| &self.rules[number as usize])
    }

    /// The highest priority that rules can give, up to the first that asks for nothing.
    fn highest(&self, place: Prefix, port: u16) -> Priority {
        let mut highest = None;
        for rule in self.walk(place, port) {
            highest = highest.max(Some(rule.priority));
            if rule.cookie.is_none() {
                return highest.unwrap_or(self.default);
            }
        }
        highest.map_or(self.default, |highest| highest.max(self.default))
    }

    /// With signed cookies everybody may be of the highest priority, and one entry says so.
    fn compile(&self) -> Result<Vec<Entry>, MemberError> {
        if self.signed.is_some() {
            let entry = Entry { prefix: Prefix::EVERYTHING, port: ANY_PORT, ceiling: Priority::HIGHEST };
            return Ok(vec![entry]);
        }
        let places = self.order.closure()?;
        let entry = |(prefix, port)| Entry { prefix, port, ceiling: self.highest(prefix, port) };
        Ok(places.into_iter().map(entry).collect())
    }
}

/// Number, validity and uniqueness of the rules.
fn check(rules: &[MemberRule]) -> Result<(), MemberError> {
    if rules.len() > MAX_RULES {
        return Err(MemberError::TooManyRules(rules.len()));
    }
    let mut seen = FxHashMap::with_capacity_and_hasher(rules.len(), FxBuildHasher);
    for rule in rules {
        rule.check().map_err(|error| MemberError::Rule { rule: rule.to_string(), error })?;
        if let Some(first) = seen.insert((rule.source, rule.port, &rule.cookie), rule) {
            return Err(MemberError::Twice { first: first.to_string(), second: rule.to_string() });
        }
    }
    Ok(())
}

impl Order {
    fn new(rules: &[MemberRule]) -> Self {
        let mut order = Self::default();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (number, rule) in (0..).zip(rules) {
            let (prefix, port) = (Prefix::from(rule.source), rule.port.unwrap_or(ANY_PORT));
            order.places.entry((prefix, port)).or_default().push(number);
            lengths[family(prefix)].insert(prefix.len);
            order.has_ports |= port != ANY_PORT;
        }
        for numbers in order.places.values_mut().filter(|numbers| numbers.len() > 1) {
            numbers.sort_by_key(|&number| rank(&rules[number as usize]));
        }
        order.lengths = lengths.map(|lengths| lengths.into_iter().rev().collect());
        order
    }

    /// Numbers of the rules for `place`, by order.
    fn walk(&self, place: Prefix, port: u16) -> impl Iterator<Item = u32> {
        let lengths = self.lengths[family(place)].iter().copied().skip_while(move |&len| len > place.len);
        let own = (self.has_ports && port != ANY_PORT).then_some(port);
        lengths
            .flat_map(move |len| own.into_iter().chain([ANY_PORT]).map(move |port| (place.cut(len), port)))
            .filter_map(move |place| self.places.get(&place))
            .flatten()
            .copied()
    }

    /// The places that need an entry, so that one look-up in a port's own trie, or else one in that for any port, suffices:
    /// where a port has an entry, all places for any port below it get one too.
    fn closure(&self) -> Result<FxHashSet<(Prefix, u16)>, MemberError> {
        let mut entries: FxHashSet<_> = self.places.keys().copied().collect();
        // Bits of a wide IPv6 prefix take in all mapped addresses, which this entry keeps for IPv4's own rules.
        if entries.iter().any(|(prefix, _)| !prefix.is_ipv4() && prefix.covers(Prefix::IPV4)) {
            entries.insert((Prefix::IPV4, ANY_PORT));
        }
        let ports = self.ports();
        let any: Vec<_> = entries.iter().filter(|(_, port)| *port == ANY_PORT).map(|place| place.0).collect();
        for prefix in any {
            for above in self.above(prefix).filter_map(|above| ports.get(&above)).flatten() {
                entries.insert((prefix, *above));
            }
            if entries.len() > MAX_ENTRIES {
                return Err(MemberError::TooManyEntries);
            }
        }
        if entries.len() > MAX_ENTRIES { Err(MemberError::TooManyEntries) } else { Ok(entries) }
    }

    /// Ports by the prefixes that have rules for them.
    fn ports(&self) -> FxHashMap<Prefix, Vec<u16>> {
        let mut ports: FxHashMap<_, Vec<_>> = FxHashMap::default();
        for &(prefix, port) in self.places.keys().filter(|(_, port)| *port != ANY_PORT) {
            ports.entry(prefix).or_default().push(port);
        }
        ports
    }

    /// The prefixes of any family whose bits cover `prefix`.
    fn above(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        let [ipv4, ipv6] = &self.lengths;
        let own = if prefix.is_ipv4() { ipv4.as_slice() } else { &[] };
        let lengths = own.iter().chain(ipv6).copied();
        lengths.filter(move |&len| len < prefix.len).map(move |len| prefix.cut(len))
    }
}

fn family(prefix: Prefix) -> usize {
    usize::from(!prefix.is_ipv4())
}

/// Order of rules of one place; smaller goes first.
fn rank(rule: &MemberRule) -> (u8, Reverse<Priority>) {
    let cookie = match &rule.cookie {
        Some(cookie) if cookie.value.is_some() => 0,
        Some(_) => 1,
        None => 2,
    };
    (cookie, Reverse(rule.priority))
}
