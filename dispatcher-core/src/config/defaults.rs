//! Every default of both configuration files. `docs/configuration.md` repeats them; a test compares.

use std::{net::SocketAddr, time::Duration};

pub(super) const FRONT_PIN_PATH: &str = "/sys/fs/bpf/dispatcher-front";
pub(super) const FRONT_CONTROL_SOCKET: &str = "/run/dispatcher/front.sock";
pub(super) const BACK_PIN_PATH: &str = "/sys/fs/bpf/dispatcher-back";
pub(super) const BACK_CONTROL_SOCKET: &str = "/run/dispatcher/back.sock";

pub(super) const REPORT_PORT: u16 = 7180;
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(100);

pub(super) const MAX_FILTERS: i64 = 262_144;
pub(super) const HEAD_LIMIT_BYTES: u64 = 16 * 1024;
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
pub(super) const MAX_COLLECTING: i64 = 4096;
pub(super) const COLLECT_MEMORY_BYTES: u64 = 64 * 1024 * 1024;

pub(super) const PENDING: Duration = Duration::from_secs(5);
pub(super) const ESTABLISHED: Duration = Duration::from_secs(15 * 60);
pub(super) const CLOSING: Duration = Duration::from_secs(10);
pub(super) const ANSWERED: Duration = Duration::from_secs(3);

pub(super) const MAX_SOURCES: i64 = 65_536;
pub(super) const CLASS_CACHE: i64 = 65_536;

pub(super) const PROTOCOL: &str = "http";
pub(super) const PER_REQUEST: bool = true;
pub(super) const HASH_CLASSES: i64 = 20;
pub(super) const PRIORITY: i64 = 3;

/// All addresses of the host, both families.
pub(super) fn report_listen() -> SocketAddr {
    SocketAddr::from(([0_u16; 8], REPORT_PORT))
}
