//! From a request to its context class: named rules first, then a hash over the class key. Owns the numbering of
//! a service's classes; which server a class goes to is the policies' business.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::{http::RequestHead, ids::ClassId};

/// Key of the SipHash-2-4 that spreads class keys over the hash classes: the bytes of `dispatcher class`, read as
/// SipHash reads a key. It is fixed, and no secret: all front-ends, the simulator and log replay must agree.
const HASH_KEY: &[u8; 16] = b"dispatcher class";

/// What of a request is hashed into a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassKey {
    /// The path as sent, without the query.
    #[default]
    Path,
    /// Path, `?` and query as sent.
    PathAndQuery,
    /// Host without its port in lower case, then the path.
    HostAndPath,
}

/// A named class: a request belongs to it if every condition that is present holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassRule {
    /// Name in listings.
    pub name: String,
    /// The path begins with this.
    pub path_prefix: Option<String>,
    /// The path ends with this.
    pub path_suffix: Option<String>,
    /// The host, without port, equals this in any case.
    pub host: Option<String>,
}

impl ClassRule {
    fn matches(&self, head: &RequestHead<'_>) -> bool {
        self.path_prefix.as_deref().is_none_or(|prefix| head.path.starts_with(prefix))
            && self.path_suffix.as_deref().is_none_or(|suffix| head.path.ends_with(suffix))
            && self.host.as_deref().is_none_or(|host| head.hostname().eq_ignore_ascii_case(host))
    }
}

/// The classes of one service: its rules in order, then its hash classes.
#[derive(Debug, Clone)]
pub struct ClassMap {
    base: ClassId,
    rules: Vec<ClassRule>,
    hash_classes: u16,
    key: ClassKey,
}

impl ClassMap {
    /// Numbers the classes from `base` on. `hash_classes` is the paper's K for what no rule names; 0 counts as 1.
    #[must_use]
    pub fn new(base: ClassId, rules: Vec<ClassRule>, hash_classes: u16, key: ClassKey) -> Self {
        Self { base, rules, hash_classes: hash_classes.max(1), key }
    }

    /// The first class.
    #[must_use]
    pub fn base(&self) -> ClassId {
        self.base
    }

    /// How many classes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len() + usize::from(self.hash_classes)
    }

    /// Never true: there is at least one hash class.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All classes, in order.
    pub fn classes(&self) -> impl Iterator<Item = ClassId> + use<> {
        let (first, count) = (self.base.0, self.len() as u16);
        (first..first + count).map(ClassId)
    }

    /// The class of a request: the first rule that matches, else by hash.
    #[must_use]
    pub fn classify(&self, head: &RequestHead<'_>) -> ClassId {
        let local = match self.rules.iter().position(|rule| rule.matches(head)) {
            Some(rule) => rule as u16,
            None => self.rules.len() as u16 + (self.hash(head) % u64::from(self.hash_classes)) as u16,
        };
        ClassId(self.base.0 + local)
    }

    /// The rule's name, or `hash-0`, `hash-1`, …; `None` for a class of another service.
    #[must_use]
    pub fn name(&self, class: ClassId) -> Option<String> {
        let local = class.index().checked_sub(self.base.index()).filter(|&local| local < self.len())?;
        Some(match self.rules.get(local) {
            Some(rule) => rule.name.clone(),
            None => format!("hash-{}", local - self.rules.len()),
        })
    }

    /// The very object that a request asks for: a hash of host and path, and of the query if the class key has it.
    /// All front-ends, the simulator and log replay compute the same.
    #[must_use]
    pub fn target(&self, head: &RequestHead<'_>) -> u64 {
        self.digest(head, true)
    }

    fn hash(&self, head: &RequestHead<'_>) -> u64 {
        self.digest(head, self.key == ClassKey::HostAndPath)
    }

    fn digest(&self, head: &RequestHead<'_>, with_host: bool) -> u64 {
        let mut hasher = SipHasher24::new_with_key(HASH_KEY);
        if with_host {
            head.hostname().bytes().for_each(|b| hasher.write_u8(b.to_ascii_lowercase()));
        }
        hasher.write(head.path.as_bytes());
        if let (ClassKey::PathAndQuery, Some(query)) = (self.key, head.query) {
            hasher.write(b"?");
            hasher.write(query.as_bytes());
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Head, parse_head};

    fn read<T>(host: &str, target: &str, look: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        match parse_head(text.as_bytes(), 1000) {
            Head::Complete(head) => look(&head),
            other => panic!("{other:?}"),
        }
    }

    fn class(map: &ClassMap, host: &str, target: &str) -> ClassId {
        read(host, target, |head| map.classify(head))
    }

    fn target(map: &ClassMap, host: &str, target: &str) -> u64 {
        read(host, target, |head| map.target(head))
    }

    fn rule(name: &str, prefix: Option<&str>, suffix: Option<&str>, host: Option<&str>) -> ClassRule {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ClassRule { name: name.into(), path_prefix: own(prefix), path_suffix: own(suffix), host: own(host) }
    }

    #[test]
    fn the_first_matching_rule_wins_and_the_rest_is_hashed() {
        let rules = vec![
            rule("thumbs", Some("/images/"), Some(".jpg"), None),
            rule("images", Some("/images/"), None, None),
            rule("api", None, None, Some("API.example")),
        ];
        let map = ClassMap::new(ClassId(7), rules, 4, ClassKey::Path);
        assert_eq!(class(&map, "a", "/images/x.jpg?v=1"), ClassId(7));
        assert_eq!(class(&map, "a", "/images/x.png"), ClassId(8));
        assert_eq!(class(&map, "api.EXAMPLE:8080", "/"), ClassId(9));
        for i in 0..100 {
            assert!((10..14).contains(&class(&map, "a", &format!("/{i}")).0));
        }
        assert_eq!(map.name(ClassId(8)).as_deref(), Some("images"));
        assert_eq!(map.name(ClassId(13)).as_deref(), Some("hash-3"));
        assert_eq!((map.name(ClassId(14)), map.name(ClassId(6))), (None, None));
        assert_eq!(map.classes().count(), map.len());
    }

    #[test]
    fn the_key_decides_what_tells_requests_apart() {
        let map = |key| ClassMap::new(ClassId(0), vec![], 1000, key);
        let (path, query, host) =
            (map(ClassKey::Path), map(ClassKey::PathAndQuery), map(ClassKey::HostAndPath));
        assert_eq!(class(&path, "a", "/x?1"), class(&path, "b", "/x?2"));
        assert_ne!(class(&query, "a", "/x?1"), class(&query, "a", "/x?2"));
        assert_eq!(class(&query, "a", "/x?1"), class(&query, "b", "/x?1"));
        assert_ne!(class(&host, "a", "/x"), class(&host, "b", "/x"));
        assert_eq!(class(&host, "a", "/x"), class(&host, "A:80", "/x"));
    }

    #[test]
    fn the_hash_never_changes() {
        let map = ClassMap::new(ClassId(0), vec![], 1000, ClassKey::Path);
        assert_eq!((class(&map, "a", "/"), class(&map, "a", "/index.html")), (ClassId(385), ClassId(859)));
    }

    #[test]
    fn a_target_is_an_object_of_a_host_whatever_its_class() {
        let map = ClassMap::new(ClassId(0), vec![rule("all", Some("/"), None, None)], 1, ClassKey::Path);
        assert_eq!(target(&map, "a", "/x?1"), target(&map, "A:80", "/x?2"));
        assert_ne!(target(&map, "a", "/x"), target(&map, "a", "/y"));
        assert_ne!(target(&map, "a", "/x"), target(&map, "b", "/x"));
        let map = ClassMap::new(ClassId(0), vec![], 1, ClassKey::PathAndQuery);
        assert_ne!(target(&map, "a", "/x?1"), target(&map, "a", "/x?2"));
    }
}
