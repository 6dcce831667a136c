//! One process at a time owns a rig of a given instance name. The lock is an abstract Unix socket: the kernel
//! frees it with its process, however that ends, and no file stays behind.

use std::{
    io::ErrorKind,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Tests of one instance queue up; the longest takes a few minutes.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Lock {
    _socket: UnixListener,
}

impl Lock {
    pub(crate) fn take(instance: &str) -> Result<Self> {
        let address = SocketAddr::from_abstract_name(format!("dispatcher-rig-{instance}"))?;
        let start = Instant::now();
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(socket) => return Ok(Self { _socket: socket }),
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).context("cannot lock the rig"),
            }
            if start.elapsed() > PATIENCE {
                bail!("rig {instance} is in use by another process: end that one first");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}
