//! The simulated front-end's decisions: the cluster model and a policy, driven as the daemon's model drives them.

use std::time::Duration;

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
    settings::Settings,
};

/// Model and policy.
#[derive(Debug)]
pub struct FrontEnd {
    cluster: Cluster,
    policy: Box<dyn Policy>,
    members: Vec<ServerId>,
    /// Those whose queues have room, when queues are finite.
    with_room: Vec<ServerId>,
    queue_limit: Option<u32>,
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
            queue_limit: (limit > 0 && !settings.front.blind).then_some(limit),
            rng: random::stream(settings.run.seed, Stream::Policy),
        })
    }

    /// Chooses a server for the first request of a connection, and counts it there.
    pub fn dispatch(&mut self, request: &Request, now_us: u64) -> Option<ServerId> {
        let now = Duration::from_micros(now_us);
        let classified = Classified {
            class: request.class,
            priority: request.level.priority(),
            target: Some(request.target),
        };
        self.note_room();
        let members = if self.queue_limit.is_some() { &self.with_room } else { &self.members };
        let view = self.cluster.view(members);
        let choice = self.policy.choose(classified, &view, now, &mut self.rng)?;
        self.cluster.dispatched(choice.server, request.class, now);
        Some(choice.server)
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
        let Some(limit) = self.queue_limit else { return };
        self.with_room.clear();
        let has_room = |id: &ServerId| self.cluster.server(*id).is_some_and(|server| server.queue() < limit);
        self.with_room.extend(self.members.iter().copied().filter(has_room));
    }
}
