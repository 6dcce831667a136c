//! `dispatcher members`: listing and changing the rules of a running front-end.

use dispatcher_core::member::{MemberRule, parse_rules};
use serde::Serialize;

use crate::{
    control_socket::{MembersAction, MembersRequest, Reply},
    front::members::{Members, MembersError},
};

#[derive(Debug, Serialize)]
struct RuleRow {
    /// As in a file of rules.
    rule: String,
    source: String,
    port: Option<u16>,
    cookie: Option<String>,
    priority: u8,
}

/// What a change led to.
#[derive(Debug, Serialize)]
struct ChangeRow {
    rules: usize,
}

/// Carries out a request.
pub(super) fn answer(members: &Members, request: &MembersRequest) -> Reply {
    match carry_out(members, request) {
        Ok(reply) => reply,
        Err(error) => Reply::refuse(error),
    }
}

fn carry_out(members: &Members, request: &MembersRequest) -> Result<Reply, MembersError> {
    let owner = members.owner(request.service.as_deref())?;
    let rules = match &request.action {
        MembersAction::List => return Ok(Reply::of(members.current(owner).rules().iter().map(row))),
        MembersAction::Add { rule } => members.add(owner, parse(rule)?)?,
        MembersAction::Remove { rule } => members.remove(owner, &parse(rule)?)?,
        MembersAction::Load { file, text } => members.replace(owner, parse_rules(text, file)?)?,
    };
    tracing::info!("the member-table has {rules} rules now");
    Ok(Reply::of([ChangeRow { rules }]))
}

fn parse(rule: &str) -> Result<MemberRule, MembersError> {
    Ok(rule.parse()?)
}

fn row(rule: &MemberRule) -> RuleRow {
    RuleRow {
        rule: rule.to_string(),
        source: rule.source.to_string(),
        port: rule.port,
        cookie: rule.cookie.as_ref().map(ToString::to_string),
        priority: rule.priority.get(),
    }
}
