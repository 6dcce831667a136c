//! `dispatcher why`: what would become of a request.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::Args;

use super::output;
use crate::control_socket::{self, Request, WhyRequest};

/// A request.
#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The client's address and port
    #[arg(long, value_name = "IP:PORT")]
    source: SocketAddr,
    /// A cookie that it sends; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    cookie: Vec<String>,
    /// What it asks for, absolute or a path
    #[arg(long, value_name = "URL", default_value = "/")]
    url: String,
    /// Name of the service; needed where there are several
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Print a JSON array of objects instead of a table
    #[arg(long)]
    json: bool,
    /// Control socket of the front-end
    #[arg(long, value_name = "PATH", default_value = "/run/dispatcher/front.sock")]
    socket: PathBuf,
}

pub(super) fn run(arguments: &WhyArgs) -> Result<()> {
    let request = Request::Why(WhyRequest {
        service: arguments.service.clone(),
        source: arguments.source,
        cookies: arguments.cookie.clone(),
        url: arguments.url.clone(),
    });
    let reply = control_socket::ask(&arguments.socket, &request)?;
    Ok(output::rows(&reply.rows, arguments.json)?)
}
