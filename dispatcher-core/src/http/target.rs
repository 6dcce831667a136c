//! The request target: its four forms (RFC 9112 3.2), and path and query within it. Characters were checked by
//! `scan`; nothing is decoded or normalised, since the server gets the bytes as they are.

use super::{Refusal, host};

/// A request target taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Present in absolute-form and authority-form.
    pub(super) authority: Option<&'a str>,
    /// Begins with `/`; `*` for the asterisk-form, empty for the authority-form.
    pub(super) path: &'a str,
    /// What follows the first `?`, without it.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes `target` apart as `method` asks for.
    pub(super) fn parse(method: &str, target: &'a str) -> Result<Self, Refusal> {
        if method == "CONNECT" {
            return Self::authority_form(target);
        }
        match target.as_bytes() {
            [b'/', ..] => Ok(Self::origin_form(None, target)),
            b"*" if method == "OPTIONS" => Ok(Self { authority: None, path: "*", query: None }),
            _ => Self::absolute_form(target),
        }
    }

    fn origin_form(authority: Option<&'a str>, target: &'a str) -> Self {
        match target.split_once('?') {
            Some((path, query)) => Self { authority, path, query: Some(query) },
            None => Self { authority, path: target, query: None },
        }
    }

    fn authority_form(target: &'a str) -> Result<Self, Refusal> {
        host::check(target)?;
        let has_port =
            target.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']'));
        if !has_port {
            return Err(Refusal::TargetForm);
        }
        Ok(Self { authority: Some(target), path: "", query: None })
    }

    fn absolute_form(target: &'a str) -> Result<Self, Refusal> {
        let (scheme, rest) = target.split_once("://").ok_or(Refusal::TargetForm)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(Refusal::TargetForm);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        host::check(authority)?;
        let target = Self::origin_form(Some(authority), rest);
        Ok(if target.path.is_empty() { Self { path: "/", ..target } } else { target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(
        method: &str,
        target: &'a str,
    ) -> Result<(Option<&'a str>, &'a str, Option<&'a str>), Refusal> {
        Target::parse(method, target).map(|t| (t.authority, t.path, t.query))
    }

    #[test]
    fn each_form_gives_its_parts() {
        assert_eq!(parts("GET", "/a/b?c=/d?e"), Ok((None, "/a/b", Some("c=/d?e"))));
        assert_eq!(parts("GET", "http://h:8080/a?"), Ok((Some("h:8080"), "/a", Some(""))));
        assert_eq!(parts("GET", "HTTPS://h"), Ok((Some("h"), "/", None)));
        assert_eq!(parts("GET", "http://h?q"), Ok((Some("h"), "/", Some("q"))));
        assert_eq!(parts("OPTIONS", "*"), Ok((None, "*", None)));
        assert_eq!(parts("CONNECT", "h:443"), Ok((Some("h:443"), "", None)));
        assert_eq!(parts("CONNECT", "[::1]:443"), Ok((Some("[::1]:443"), "", None)));
    }

    #[test]
    fn a_form_that_the_method_does_not_allow_is_refused() {
        for (method, target) in
            [("GET", "*"), ("GET", "a"), ("GET", "h:80"), ("CONNECT", "h"), ("GET", "ftp://h/")]
        {
            assert_eq!(parts(method, target), Err(Refusal::TargetForm), "{method} {target}");
        }
        for (method, target) in
            [("CONNECT", "/"), ("CONNECT", "http://h/"), ("GET", "http://u@h/"), ("GET", "http:///")]
        {
            assert_eq!(parts(method, target), Err(Refusal::HostInvalid), "{method} {target}");
        }
        assert_eq!(parts("CONNECT", "[::1]"), Err(Refusal::TargetForm));
    }
}
