//! Receives the servers' reports and gives them to the model; takes silent servers out; has the filters of a rebooted server
//! removed. What a report means is the decision core's business.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use dispatcher_common::counter::ControlCounter;
use dispatcher_core::{
    cluster::ReportRefused,
    config::FrontConfig,
    report::{MAX_REPORT_BYTES, Report, ReportError},
};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::{
    net::UdpSocket,
    sync::mpsc::UnboundedSender,
    time::{MissedTickBehavior, interval},
};

use super::{
    counters::ControlCounters,
    model::Model,
    roster::Roster,
    sweep::{Loss, Lost},
};
use crate::kernel::clock;

/// Shortest time between two messages about bad reports from one address.
const QUIET: Duration = Duration::from_secs(10);

/// Addresses whose messages are held back; beyond, nothing is said until some are old.
const MAX_QUIET: usize = 256;

/// Reports cannot be received.
#[derive(Debug, Error)]
#[error(
    "cannot receive reports on {address}: {source}; set report_listen to an address of this host and a free port"
)]
pub struct FeedbackError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// The receiver of reports.
#[derive(Debug)]
pub struct Feedback {
    socket: UdpSocket,
    key: [u8; 32],
    model: Arc<Model>,
    counters: Arc<ControlCounters>,
    losses: UnboundedSender<Loss>,
    roster: Roster,
    period: Duration,
    names: HashMap<IpAddr, String>,
    said: HashMap<IpAddr, Instant>,
}

impl Feedback {
    /// Opens the socket. `key` is the secret's report key, `losses` gets the servers that have booted.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn open(
        config: &FrontConfig,
        key: [u8; 32],
        model: Arc<Model>,
        counters: Arc<ControlCounters>,
        roster: Roster,
        losses: UnboundedSender<Loss>,
    ) -> Result<Self, FeedbackError> {
        let address = config.report_listen;
        let socket = listen(address).map_err(|source| FeedbackError { address, source })?;
        let names = config.servers.iter().map(|server| (server.address, server.name.clone())).collect();
        let period = config.report_interval;
        Ok(Self { socket, key, model, counters, losses, roster, period, names, said: HashMap::new() })
    }

    /// Receives for ever.
    pub async fn receive(mut self) {
        let mut buffer = vec![0; MAX_REPORT_BYTES + 1];
        let mut ticks = interval((self.period / 2).max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.take(&buffer[..length], from.ip().to_canonical()),
                    Err(error) => tracing::debug!("report socket: {error}"),
                },
                _ = ticks.tick() => self.take_out_silent(),
            }
        }
    }

    fn take(&mut self, datagram: &[u8], from: IpAddr) {
        let report = match Report::decode(&self.key, datagram) {
            Ok(report) => report,
            Err(error) => return self.refuse_datagram(error, from),
        };
        match self.model.accept(&report, clock::wall_ns() / 1_000_000) {
            Ok(accepted) => {
                self.counters.increment(ControlCounter::ReportAccepted);
                self.roster.note_boot(accepted.server, report.boot_id);
                if accepted.rebooted {
                    tracing::warn!("{} has booted; its flows from before are dropped", report.server);
                    // Fails only while the daemon stops.
                    let _ = self.losses.send(Loss::now(Lost::Server(accepted.server.0)));
                }
                if accepted.returned {
                    tracing::info!("{} reports; new flows may go there", report.server);
                }
            }
            Err(refused) => self.refuse_report(&refused, from),
        }
    }

    fn refuse_datagram(&mut self, error: ReportError, from: IpAddr) {
        self.counters.increment(ControlCounter::ReportBadTag);
        let who = self.who(from);
        if error == ReportError::BadTag {
            self.say(from, || format!("report from {who} has a wrong tag; is its secret the same?"));
        } else {
            self.say(from, || format!("datagram from {who} is refused: {error}"));
        }
    }

    fn refuse_report(&mut self, refused: &ReportRefused, from: IpAddr) {
        let stale = refused.is_stale();
        self.counters.increment(if stale {
            ControlCounter::ReportStale
        } else {
            ControlCounter::ReportUnknown
        });
        let who = self.who(from);
        self.say(from, || format!("report from {who} is refused: {refused}"));
    }

    fn who(&self, from: IpAddr) -> String {
        match self.names.get(&from) {
            Some(name) => format!("{from} ({name})"),
            None => from.to_string(),
        }
    }

    fn say(&mut self, from: IpAddr, message: impl FnOnce() -> String) {
        if self.may_speak_of(from) {
            tracing::warn!("{}", message());
        }
    }

    /// Whether there was no message about this address lately; from now on there was.
    fn may_speak_of(&mut self, from: IpAddr) -> bool {
        let now = Instant::now();
        if self.said.len() >= MAX_QUIET {
            self.said.retain(|_, said| now.duration_since(*said) < QUIET);
        }
        let lately = self.said.get(&from).is_some_and(|said| now.duration_since(*said) < QUIET);
        let may = !lately && self.said.len() < MAX_QUIET;
        if may {
            self.said.insert(from, now);
        }
        may
    }

    fn take_out_silent(&self) {
        for server in self.model.tick() {
            let state = self.model.lock();
            let name = state.cluster.servers()[server.index()].name();
            tracing::warn!("{name} is silent; no new flows go there until it reports");
        }
    }
}

/// A dual-stack socket where the address allows it; on a kernel without IPv6 the wildcard means all of IPv4.
fn listen(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)) {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.ip().is_unspecified() => {
            return listen((Ipv4Addr::UNSPECIFIED, address.port()).into());
        }
        other => other?,
    };
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as BlockingSocket;

    use dispatcher_core::{cluster::Health, secret::Secret};
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;
    use crate::front::model::tests::{config, model, report};

    fn feedback() -> (Feedback, UnboundedReceiver<Loss>) {
        let (reboots, receiver) = unbounded_channel();
        let key = Secret::new("0123456789abcdef").unwrap().report_key();
        let config = FrontConfig { report_listen: "[::]:0".parse().unwrap(), ..config() };
        let model = Arc::new(model());
        let feedback = Feedback::open(&config, key, model, Arc::default(), Roster::default(), reboots);
        (feedback.unwrap(), receiver)
    }

    fn with_runtime<T>(body: impl FnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        body()
    }

    fn now_report(server: &str, sequence: u64) -> Report {
        Report { sent_at_ms: clock::wall_ns() / 1_000_000, ..report(server, sequence) }
    }

    #[test]
    fn every_kind_of_report_has_its_counter() {
        with_runtime(|| {
            let (mut feedback, mut reboots) = feedback();
            let key = feedback.key;
            let from = "198.18.0.11".parse().unwrap();
            let first = now_report("server1", 5).encode(&key);
            let stranger = now_report("server9", 5).encode(&key);
            let other_secret = now_report("server1", 6).encode(&[0; 32]);
            let rebooted = Report { boot_id: 8, ..now_report("server1", 1) }.encode(&key);
            for datagram in [&first[..], &first, &stranger, &other_secret, b"garbage", &rebooted] {
                feedback.take(datagram, from);
            }
            for (counter, count) in [
                (ControlCounter::ReportAccepted, 2),
                (ControlCounter::ReportStale, 1),
                (ControlCounter::ReportUnknown, 1),
                (ControlCounter::ReportBadTag, 2),
            ] {
                assert_eq!(feedback.counters.get(counter), count, "{}", counter.name());
            }
            assert_eq!(reboots.try_recv().unwrap().what, Lost::Server(0));
            assert!(reboots.try_recv().is_err());
            assert_eq!(feedback.model.lock().cluster.servers()[0].health(), Health::NoMac);
        });
    }

    #[test]
    fn one_address_gets_one_message_in_a_while() {
        with_runtime(|| {
            let (mut feedback, _reboots) = feedback();
            let speaks: Vec<_> =
                [1, 1, 2, 1].map(|last| feedback.may_speak_of([198, 18, 0, last].into())).into();
            assert_eq!(speaks, [true, false, true, false]);
            for i in 0..1000_u32 {
                feedback.may_speak_of(i.to_be_bytes().into());
            }
            assert!(feedback.said.len() <= MAX_QUIET);
        });
    }

    #[test]
    fn reports_of_both_families_arrive() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (feedback, _reboots) = feedback();
            let port = feedback.socket.local_addr().unwrap().port();
            let (key, counters) = (feedback.key, Arc::clone(&feedback.counters));
            for (i, (own, to)) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")].into_iter().enumerate() {
                let Ok(socket) = BlockingSocket::bind(own) else {
                    println!("skipped: no loopback address {to} here");
                    counters.increment(ControlCounter::ReportAccepted);
                    continue;
                };
                let datagram = now_report("server1", i as u64 + 1).encode(&key);
                socket.send_to(&datagram, (to.parse::<IpAddr>().unwrap(), port)).unwrap();
            }
            let arrived = async {
                while counters.get(ControlCounter::ReportAccepted) < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                () = feedback.receive() => unreachable!(),
                () = arrived => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => panic!("no report in 5 s"),
            }
        });
    }
}
