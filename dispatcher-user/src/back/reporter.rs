//! Measures and reports: every interval one datagram to each front-end. Owns the sockets and the order in which the maps are
//! read; the numbers come from `meter`, `host` and `flows`, the form from the decision core.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aya::maps::{MapData, PerCpuArray};
use dispatcher_common::{counter::BackCounter, limits::MAX_CLASSES};
use dispatcher_core::{config::BackConfig, report::Report};
use tokio::{
    net::UdpSocket,
    time::{MissedTickBehavior, interval},
};

use super::{
    BackError, Shared,
    classes::{self, ClassTable},
    flows::Census,
    host::{self, Host},
    meter::Meter,
};
use crate::kernel::clock;

/// The COUNTERS map.
pub(super) type Counters = PerCpuArray<MapData, u64>;

/// A counter over all CPUs.
pub(super) fn count(counters: &Counters, counter: BackCounter) -> io::Result<u64> {
    let values = counters.get(&counter.index(), 0).map_err(io::Error::other)?;
    Ok(values.iter().sum())
}

/// The measuring half and the sending half.
pub(super) struct Reporter {
    name: String,
    boot_id: u64,
    key: [u8; 32],
    sequence: u64,
    interval: Duration,
    front_ends: FrontEnds,
    counters: Arc<Counters>,
    classes: ClassTable,
    host: Host,
    meter: Meter,
    census: Shared<Census>,
    latest: Shared<Option<Report>>,
}

impl Reporter {
    /// `census` is what the look at all flows finds, `latest` gets every report.
    pub(super) fn new(
        config: &BackConfig,
        key: [u8; 32],
        boot_id: u64,
        (counters, classes): (Arc<Counters>, ClassTable),
        (census, latest): (Shared<Census>, Shared<Option<Report>>),
    ) -> Result<Self, BackError> {
        Ok(Self {
            name: config.name.clone(),
            boot_id,
            key,
            // Above that of every agent before this one.
            sequence: clock::wall_ns() / 1000,
            interval: config.report_interval,
            front_ends: FrontEnds::open(&config.report_to)?,
            counters,
            classes,
            host: Host::new()?,
            meter: Meter::new(MAX_CLASSES),
            census,
            latest,
        })
    }

    /// Reports for ever.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self.measure() {
                Ok(report) => {
                    self.front_ends.send(&report.encode(&self.key)).await;
                    self.latest.set(Some(report));
                }
                Err(error) => tracing::warn!("cannot measure: {error}"),
            }
        }
    }

    fn measure(&mut self) -> Result<Report, BackError> {
        // Tickets before statistics: a request between the two counts twice until the next report rather than not at all.
        let accepted = count(&self.counters, BackCounter::HandoffAccepted)?;
        self.meter.take(&classes::totals(&self.classes)?);
        let census = self.census.get();
        self.meter.set_drift(&census.drift);
        self.sequence += 1;
        Ok(Report {
            server: self.name.clone(),
            boot_id: self.boot_id,
            sequence: self.sequence,
            sent_at_ms: clock::wall_ns() / 1_000_000,
            queue: self.meter.queue(),
            load_us: self.meter.load_us(),
            accepted,
            connections: census.connections,
            cpu_permille: self.host.cpu_permille()?,
            listen_overflows: host::listen_overflows()?,
            classes: self.meter.reports(),
        })
    }
}

/// Where reports go: one socket for each address family.
struct FrontEnds {
    sockets: HashMap<bool, UdpSocket>,
    addresses: Vec<SocketAddr>,
    /// Addresses that could not be reached last time, so that each outage is mentioned once.
    unreachable: Vec<SocketAddr>,
}

impl FrontEnds {
    fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut sockets = HashMap::new();
        for address in addresses {
            let own: SocketAddr = if address.is_ipv6() {
                (Ipv6Addr::UNSPECIFIED, 0).into()
            } else {
                (Ipv4Addr::UNSPECIFIED, 0).into()
            };
            if let Entry::Vacant(place) = sockets.entry(address.is_ipv6()) {
                let socket = std::net::UdpSocket::bind(own)?;
                socket.set_nonblocking(true)?;
                place.insert(UdpSocket::from_std(socket)?);
            }
        }
        Ok(Self { sockets, addresses: addresses.to_vec(), unreachable: Vec::new() })
    }

    async fn send(&mut self, datagram: &[u8]) {
        for address in self.addresses.clone() {
            let Some(socket) = self.sockets.get(&address.is_ipv6()) else { continue };
            match socket.send_to(datagram, address).await {
                Ok(_) => self.reached(address),
                Err(error) => self.failed(address, &error),
            }
        }
    }

    fn reached(&mut self, address: SocketAddr) {
        if let Some(at) = self.unreachable.iter().position(|other| *other == address) {
            self.unreachable.swap_remove(at);
            tracing::info!("reports go to {address} again");
        }
    }

    fn failed(&mut self, address: SocketAddr, error: &io::Error) {
        if !self.unreachable.contains(&address) {
            tracing::warn!("cannot send reports to {address}: {error}; check report_to and the route there");
            self.unreachable.push(address);
        }
    }
}
