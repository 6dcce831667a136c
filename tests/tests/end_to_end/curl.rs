//! curl on the rig's client.

use std::process::Stdio;

use tests::{Family, Rig};

/// An answer as curl saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The `X-Server` header; empty if there is none.
    pub(crate) server: String,
    pub(crate) body: Vec<u8>,
}

/// URL of a path of the web service.
pub(crate) fn url(rig: &Rig, family: Family, path: &str) -> String {
    rig.plan().url("vip", family, 80) + path
}

/// One GET; the error is curl's own message.
pub(crate) fn try_get(rig: &Rig, url: &str, limit_s: u32) -> Result<Reply, String> {
    let mut command = rig.host("client").unwrap().command("curl");
    command.args(["-sS", "-g", "-m", &limit_s.to_string(), "-w", "\n%{http_code} %header{x-server}", url]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let end = output.stdout.iter().rposition(|byte| *byte == b'\n').unwrap();
    let status = String::from_utf8_lossy(&output.stdout[end + 1..]).into_owned();
    let (code, server) = status.split_once(' ').unwrap();
    let body = output.stdout[..end].to_vec();
    Ok(Reply { status: code.parse().unwrap(), server: server.to_owned(), body })
}

/// One GET that must be answered.
pub(crate) fn get(rig: &Rig, url: &str) -> Reply {
    try_get(rig, url, 10).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Text bodies of URLs requested in turn, each on a connection of its own; all must succeed.
pub(crate) fn in_turn(rig: &Rig, urls: &[String]) -> Vec<Reply> {
    let config: String = urls.iter().map(|url| format!("url = \"{url}\"\n")).collect();
    let file = rig.plan().run_dir().join("curl.config");
    std::fs::write(&file, config).unwrap();
    let mut command = rig.host("client").unwrap().command("curl");
    command.args(["-sS", "-g", "--fail-early", "--connect-timeout", "5", "-H", "Connection: close"]);
    command.args(["-m", "30", "-w", "%{http_code} %header{x-server}\n", "--config"]).arg(&file);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl after {} bytes: {errors}", output.stdout.len());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let replies: Vec<Reply> = lines
        .chunks(2)
        .map(|pair| {
            let (code, server) = pair[1].split_once(' ').unwrap();
            let body = pair[0].as_bytes().to_vec();
            Reply { status: code.parse().unwrap(), server: server.to_owned(), body }
        })
        .collect();
    assert_eq!(replies.len(), urls.len());
    replies
}

/// Checks status, server and body of an answer to a path without a file behind it.
pub(crate) fn check_text(reply: &Reply, path: &str) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let body = String::from_utf8_lossy(&reply.body);
    assert_eq!(body.trim_end(), format!("{} {path}", reply.server));
    assert!(reply.server.starts_with("server"));
}
