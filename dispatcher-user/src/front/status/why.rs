//! `dispatcher why`: what would become of a request, step by step and by which rule, with the code that decides of real ones.
//! Nothing is counted and nothing changes. What is said of the class cache and of the client's
//! connection is in modules of their own.

mod class_cache;
mod connection;

use std::fmt::Write as _;

use dispatcher_common::{
    admission::{NONE_READY, Ruling, way},
    filter::FlowKey,
};
use dispatcher_core::{
    http::{Head, RequestHead, parse_head},
    ids::Priority,
    member::{Basis, Membership},
};
use serde::Serialize;

use super::Status;
use crate::{
    control_socket::{Reply, WhyRequest},
    front::{admission::causes, slow_path::ClassCache},
    kernel::clock,
};
use connection::Terms;

/// Longest head that is made of a question.
const HEAD_LIMIT: usize = 64 << 10;

/// One step.
#[derive(Debug, Serialize)]
struct Step {
    step: &'static str,
    result: String,
    by: String,
}

impl Step {
    fn new(step: &'static str, result: impl ToString, by: impl ToString) -> Self {
        Self { step, result: result.to_string(), by: by.to_string() }
    }
}

impl Status {
    pub(super) fn why(&self, request: &WhyRequest) -> Reply {
        let owner = match self.model.members().owner(request.service.as_deref()) {
            Ok(owner) => owner,
            Err(error) => return Reply::refuse(error),
        };
        let text = match head_text(request) {
            Ok(text) => text,
            Err(reason) => return Reply::refuse(reason),
        };
        match parse_head(text.as_bytes(), HEAD_LIMIT) {
            Head::Complete(head) => Reply::of(self.steps(owner, request, &head, text.as_bytes())),
            other => {
                Reply::refuse(format_args!("no client could send this: {other:?}; check --url and --cookie"))
            }
        }
    }

    fn steps(&self, owner: usize, request: &WhyRequest, head: &RequestHead<'_>, bytes: &[u8]) -> Vec<Step> {
        let service = &self.model.services()[owner];
        let table = self.model.members().current(owner);
        let ceiling = table.ceiling(request.source);
        let member = table.classify(request.source, head, clock::wall_ns() / 1_000_000_000);
        let mut steps = vec![
            Step::new("service", &service.config.name, format_args!("port {}", service.config.port)),
            Step::new("priority at the SYN", ceiling, "the highest that rules for this source give"),
        ];
        steps.extend(self.source_step(owner, request));
        steps.push(self.ruling_step("at the SYN", owner, ceiling, request));
        steps.push(Step::new("priority", member.priority, basis(&member)));
        steps.push(self.ruling_step("at the request", owner, member.priority, request));
        let class = service.classes.classify(head);
        let name = service
            .classes
            .name(class)
            .map_or_else(|| class.0.to_string(), |name| format!("{} {name}", class.0));
        steps.push(Step::new("class", name, format_args!("target {}", head.target)));
        steps.push(self.server_step(owner, class));
        let unasked = class_cache::unasked(self.model.lock().policies[owner].as_ref(), &table);
        let look_up = |cache: &ClassCache| cache.look_up(owner as u8, bytes, self.head_limit);
        steps.push(class_cache::step(self.class_cache.as_ref().map(look_up), unasked));
        steps.push(further_step(service.config.per_request));
        steps.extend(self.connection_steps(owner, request, member.priority));
        steps
    }

    /// A client's port may be in use with each of the service's addresses.
    fn connection_steps(&self, owner: usize, request: &WhyRequest, priority: Priority) -> Vec<Step> {
        let client = (request.source.ip().into(), request.source.port().to_be());
        let keys = self.model.data_plane_ids(owner).map(|id| FlowKey::new(client.0, client.1, id));
        let admission = self.model.admission();
        let terms = Terms {
            per_request: self.model.services()[owner].config.per_request,
            gate: admission.gate(owner),
            way: &|priority| {
                let priority = Priority::new(priority).unwrap_or(Priority::HIGHEST);
                way::name(admission.refusal(owner, priority).way.code())
            },
            priority,
        };
        let name = |id| self.server_name(id).unwrap_or("?");
        let mut steps = Vec::new();
        for key in keys {
            match self.filters.lookup(&key) {
                Ok(None) => {}
                Ok(Some(filter)) => steps.extend(connection::steps(&filter, &terms, name)),
                Err(error) => steps.push(Step::new("connection", "not told", error)),
            }
        }
        if steps.is_empty() {
            steps.push(Step::new("connection", "none", "no filter of this address and port"));
        }
        steps
    }

    fn source_step(&self, owner: usize, request: &WhyRequest) -> Option<Step> {
        let settings = self.model.admission().settings(owner)?;
        let limits = settings.sources;
        if !limits.is_limited() {
            return None;
        }
        let source = self.model.admission().entry(owner).source(&request.source.ip().into(), owner as u8);
        let open = self.source_open.lookup(&source).ok().flatten().unwrap_or(0);
        let prefix: std::net::IpAddr = source.prefix.into();
        let number = |limit: u32| if limit == 0 { "any number of".to_owned() } else { limit.to_string() };
        let (rate, most) = (number(limits.connections_per_second), number(limits.open_connections));
        let is_full = limits.open_connections > 0 && open.cast_signed() >= limits.open_connections.into();
        let result = if is_full {
            format!("refused ({})", way::name(limits.way.code()))
        } else {
            "admitted, unless it comes too often".to_owned()
        };
        let by = format!("{prefix} has {open} open flows; it may have {most}, and {rate} new ones a second");
        Some(Step::new("source", result, by))
    }

    fn ruling_step(
        &self,
        step: &'static str,
        owner: usize,
        priority: Priority,
        request: &WhyRequest,
    ) -> Step {
        let Some(settings) = self.model.admission().settings(owner) else {
            return Step::new(step, "admitted", "no admission is configured");
        };
        let observed = self.model.observe(owner);
        let entry = self.model.admission().entry(owner);
        let pressure = observed.with_connections(&entry);
        let mut by = format!("{} open", entry.total());
        if entry.limit != u64::MAX {
            let _ = write!(by, " of {}", entry.limit);
        }
        if entry.lowest() != NONE_READY {
            let _ = write!(by, ", lowest priority {}", entry.lowest());
        }
        if pressure.overloaded {
            let _ = write!(by, ", overloaded: {}", causes(pressure));
        }
        match self.model.admission().judge(owner, priority, request.source.ip(), self.model.now()) {
            Ruling::Admit => Step::new(step, "admitted", by),
            Ruling::Evict(lowest) => {
                Step::new(step, format_args!("admitted in the place of a flow of priority {lowest}"), by)
            }
            Ruling::Refuse => {
                let way = way::name(settings.way(priority).code());
                Step::new(step, format_args!("refused ({way})"), by)
            }
        }
    }

    fn server_step(&self, owner: usize, class: dispatcher_core::ids::ClassId) -> Step {
        let state = self.model.lock();
        let policy = &state.policies[owner];
        match policy.bound_server(class) {
            Some(server) => {
                let name = self.server_name(server.0).unwrap_or("?");
                Step::new("server", name, "the class is bound to it, unless it is too busy")
            }
            None => Step::new("server", "any", format_args!("policy {} binds no class", policy.name())),
        }
    }
}

fn further_step(per_request: bool) -> Step {
    let result = if per_request { "dispatched one by one" } else { "stay with their connection" };
    Step::new("further requests", result, format_args!("per_request = {per_request}"))
}

fn basis(member: &Membership<'_>) -> String {
    let mut text = match member.basis {
        Basis::Signed => "a signed cookie".to_owned(),
        Basis::Rule(rule) => format!("rule {rule}"),
        Basis::Default => "no rule: the service's own".to_owned(),
    };
    if let Some(error) = &member.bad_signature {
        let _ = write!(text, "; a signed cookie does not count: {error}");
    }
    text
}

/// The request that is asked about, as a client would send it.
fn head_text(request: &WhyRequest) -> Result<String, String> {
    let (host, target) = match request.url.split_once("://") {
        Some(("http", rest)) => match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, "/"),
        },
        Some((scheme, _)) => return Err(format!("scheme {scheme:?} is not served; use http:// or a path")),
        None => ("localhost", request.url.as_str()),
    };
    let mut text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
    for cookie in &request.cookies {
        if cookie.contains(['\r', '\n']) {
            return Err(format!("cookie {cookie:?} has a line break; give name=value"));
        }
        let _ = write!(text, "Cookie: {cookie}\r\n");
    }
    text.push_str("\r\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(url: &str, cookies: &[&str]) -> Result<String, String> {
        head_text(&WhyRequest {
            service: None,
            source: "198.18.0.1:4147".parse().unwrap(),
            cookies: cookies.iter().map(ToString::to_string).collect(),
            url: url.to_owned(),
        })
    }

    #[test]
    fn a_question_becomes_a_request() {
        for (url, host, target) in [
            ("/a?b", "localhost", "/a?b"),
            ("http://example.org", "example.org", "/"),
            ("http://example.org:8080/x/y", "example.org:8080", "/x/y"),
        ] {
            let text = text(url, &["a=1; b=2", "c=3"]).unwrap();
            let Head::Complete(head) = parse_head(text.as_bytes(), HEAD_LIMIT) else { panic!("{text}") };
            assert_eq!((head.host, head.target, head.cookies().count()), (Some(host), target, 3));
        }
    }

    #[test]
    fn what_no_client_could_send_is_refused() {
        assert!(text("https://example.org/", &[]).unwrap_err().contains("https"));
        assert!(text("/", &["a=1\r\nX: y"]).unwrap_err().contains("line break"));
    }
}
