//! The simulated front-end's decisions: the cluster model and a policy, driven as the daemon's model drives them.
//! Owns what it does about full queues; S is `admission`'s.

use std::{mem, time::Duration};

use dispatcher_core::{
    cluster::Cluster,
    ids::{ClassId, ServerId},
    policy::{Classified, Policy, UnknownPolicy},
    report::Report,
};
use rand_pcg::Pcg64;

use crate::{
    contender::Contender,
    random::{self, Stream},
    request::Request,
    server::Server,
    settings::{Settings, WhenFull},
};

/// Model and policy.
#[derive(Debug)]
pub struct FrontEnd {
    cluster: Cluster,
    policy: Box<dyn Policy>,
    members: Vec<ServerId>,
    /// Those whose queues have room, where the policy chooses among them.
    with_room: Vec<ServerId>,
    queue_limit: Option<u32>,
    when_full: WhenFull,
    rng: Pcg64,
}

impl FrontEnd {
    /// A front-end that knows no server yet.
    ///
    /// # Errors
    /// When the policy does not exist.
    pub fn new(settings: &Settings, contender: &Contender) -> Result<Self, UnknownPolicy> {
        let members: Vec<_> = (0..settings.cluster.servers).map(ServerId).collect();
        let names = members.iter().map(|&id| Server::name_of(id));
        let classes = usize::from(contender.classes);
        let mut cluster = Cluster::new(names, classes, settings.front.period.duration());
        members.iter().for_each(|&id| cluster.set_mac_known(id, true));
        let limit = settings.cluster.queue_limit;
        Ok(Self {
            cluster,
            policy: contender.policy.build(ClassId(0), classes)?,
            with_room: Vec::with_capacity(members.len()),
            members,
            queue_limit: (limit > 0).then_some(limit),
            when_full: settings.front.when_full,
            rng: random::stream(settings.run.seed, Stream::Policy),
        })
    }

    /// Chooses a server for the first request of a connection.
    pub fn choose(&mut self, request: &Request, now_us: u64) -> Option<ServerId> {
        let classified = Classified {
            class: request.class,
            priority: request.level.priority(),
            target: Some(request.target),
        };
        let now = Duration::from_micros(now_us);
        self.cluster.advance(now);
        self.note_room();
        let members = if self.when_full == WhenFull::Other { &self.with_room } else { &self.members };
        let view = self.cluster.view(members);
        let choice = self.policy.choose(classified, &view, now, &mut self.rng)?;
        Some(choice.server)
    }

    /// Whether a request must not be sent to the server that was chosen, because it would be dropped there.
    #[must_use]
    pub fn holds_back(&self, server: ServerId) -> bool {
        self.when_full == WhenFull::Refuse && !self.has_room(server)
    }

    /// Counts a request that goes to `server`.
    pub fn dispatched(&mut self, server: ServerId, request: &Request, now_us: u64) {
        self.cluster.dispatched(server, request.class, Duration::from_micros(now_us));
    }

    /// A report arrives. One that is overtaken is ignored, as the daemon does.
    pub fn accept(&mut self, report: &Report, now_us: u64) {
        if let Ok(accepted) = self.cluster.accept(report, Duration::from_micros(now_us), report.sent_at_ms) {
            let view = self.cluster.view(&self.members);
            self.policy.reported(accepted.server, &accepted.classes, &view);
        }
    }

    /// Takes out silent servers.
    pub fn tick(&mut self, now_us: u64) {
        self.cluster.tick(Duration::from_micros(now_us));
    }

    /// Entries that the policy keeps.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.policy.entries()
    }

    fn note_room(&mut self) {
        if self.when_full == WhenFull::Other {
            let mut with_room = mem::take(&mut self.with_room);
            with_room.clear();
            with_room.extend(self.members.iter().copied().filter(|&server| self.has_room(server)));
            self.with_room = with_room;
        }
    }

    fn has_room(&self, server: ServerId) -> bool {
        let Some(limit) = self.queue_limit else { return true };
        self.cluster.server(server).is_some_and(|server| server.queue() < limit)
    }
}
