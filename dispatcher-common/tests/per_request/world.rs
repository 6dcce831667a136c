//! One world: a client address and port with its connections one after the other, a front-end, servers, and what lies between.
//! Owns time and the order of events; what happens at an event is the participants' business.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    client::Client,
    front_end::FrontEnd,
    ledger::Ledger,
    mutation::Mutation,
    network::{Link, Network},
    random::Random,
    segment::Segment,
    server::{Mark, Server},
    trace::Trace,
};

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A segment comes out of a link.
    Arrive(Link, Segment),
    /// A server's kernel takes a clone from its queue.
    Queued(usize, Segment, Mark),
    /// A segment that has passed a server's program meets the socket.
    Passed(usize, Segment),
    /// The slow path takes a frame.
    SlowPath,
    /// The slow path writes the filter of a new connection.
    Flush,
    /// The slow path takes the next step in writing another filter.
    Write,
    /// The slow path sends its next frame.
    Transmit,
    /// The control plane dies or comes back.
    ControlPlane,
    /// A server's software runs; the number is its socket's.
    Software(usize, u32),
    /// A server's software leaves a system call.
    Unlock(usize, u32),
    /// A server's retransmission timer.
    ServerTimer(usize, u32),
    /// The client's software runs; the number is its connection's.
    ClientSoftware(u32),
    /// The client acknowledges what it has.
    ClientAck(u32),
    /// The client's retransmission timer; with its generation.
    ClientTimer(u32, u32),
    /// The client connects anew.
    Connect,
}

/// What kind of worlds there are. Wrong rules show sooner where copies are late, some where connections often come back, or where
/// much is pipelined and asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    most_servers: u64,
    /// Worlds of a thousand in which nearly everything comes twice and late.
    wild_per_mille: u64,
    /// Clients of a thousand that pipeline.
    pub(crate) pipelining_per_mille: u64,
    /// Slow paths of a thousand that send further requests before they write their filters.
    pub(crate) sends_first_per_mille: u64,
    /// Ticks that a step of the slow path takes, at most.
    pub(crate) most_slow_ticks: u64,
    /// The class cache knows so many halves of what comes, at most.
    pub(crate) most_halves_known: u64,
    /// Bodies of a thousand that come in chunks, at most.
    pub(crate) most_chunked_per_mille: u64,
}

impl Profile {
    fn for_rules(mutation: Mutation) -> Self {
        let usual = Self {
            most_servers: 4,
            wild_per_mille: 500,
            pipelining_per_mille: 400,
            sends_first_per_mille: 250,
            most_slow_ticks: 25,
            most_halves_known: 2,
            most_chunked_per_mille: 50,
        };
        match mutation {
            Mutation::None => Self { wild_per_mille: 150, ..usual },
            Mutation::ForgetEarlier => Self { most_servers: 2, pipelining_per_mille: 0, ..usual },
            Mutation::TakeWhileAsked => Self { pipelining_per_mille: 1000, most_halves_known: 1, ..usual },
            Mutation::RepeatWhateverAck | Mutation::TicketUntold => {
                Self { pipelining_per_mille: 1000, most_halves_known: 0, most_slow_ticks: 80, ..usual }
            }
            Mutation::HandOverWhileAsked => {
                Self { pipelining_per_mille: 1000, most_halves_known: 1, most_slow_ticks: 200, ..usual }
            }
            Mutation::WriteWhileLeaving => {
                Self { most_chunked_per_mille: 500, most_halves_known: 0, ..usual }
            }
            Mutation::BooksNotReleased => Self { sends_first_per_mille: 1000, most_halves_known: 0, ..usual },
            _ => usual,
        }
    }
}

/// What all participants have in hand.
pub(crate) struct Context {
    pub(crate) now: u64,
    pub(crate) random: Random,
    pub(crate) mutation: Mutation,
    pub(crate) profile: Profile,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    /// Whether things still go wrong; a world ends in calm, to show that nothing stays stuck.
    pub(crate) is_rough: bool,
    pub(crate) network: Network,
    scheduled: u64,
    events: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Events by the number in the heap; those that happened are empty.
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
}

impl Context {
    /// Lets something happen in so many ticks.
    pub(crate) fn after(&mut self, ticks: u64, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(event);
        self.scheduled += 1;
        self.events.push(Reverse((self.now + ticks, self.scheduled, slot)));
    }

    /// Gives a segment to a link, which may lose it, copy it or let others overtake it.
    pub(crate) fn send(&mut self, link: Link, segment: Segment) {
        self.trace.sent(self.now, link, &segment);
        let arrivals = self.network.carry(self.now, link, self.is_rough, &mut self.random);
        for arrival in arrivals.into_iter().flatten() {
            self.after(arrival - self.now, Event::Arrive(link, segment.clone()));
        }
    }

    fn next(&mut self) -> Option<Event> {
        let Reverse((time, _, slot)) = self.events.pop()?;
        self.now = time;
        self.free.push(slot);
        self.slots[slot].take()
    }
}

/// How long things go wrong in a world, in ticks.
const ROUGH_TICKS: u64 = 6000;

/// How long a connection may make no progress once nothing goes wrong any more, in ticks: longer than the laziest software rests.
const PATIENCE_TICKS: u64 = 12_000;

/// A seeded world.
pub(crate) struct World {
    ctx: Context,
    client: Client,
    front_end: FrontEnd,
    servers: Vec<Server>,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Mutation) -> Self {
        let mut random = Random::new(seed);
        let profile = Profile::for_rules(mutation);
        let servers = random.between(2, profile.most_servers) as usize;
        let network = Network::new(servers, profile.wild_per_mille, &mut random);
        let mut ctx = Context {
            now: 0,
            random,
            mutation,
            profile,
            ledger: Ledger::default(),
            trace: Trace::new(),
            is_rough: true,
            network,
            scheduled: 0,
            events: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
        };
        let front_end = FrontEnd::new(servers, &mut ctx);
        let client = Client::new(&mut ctx);
        ctx.after(0, Event::Connect);
        let servers = (0..servers).map(|index| Server::new(index, &mut ctx.random)).collect();
        Self { ctx, client, front_end, servers }
    }

    /// Lets the world run to its end. Gives the number of events, or the first rule that was broken.
    pub(crate) fn run(mut self) -> Result<(u64, Ledger), String> {
        let mut steps = 0;
        while let Some(event) = self.ctx.next() {
            steps += 1;
            self.happen(event);
            self.judge();
            if let Some(violation) = self.ctx.ledger.violation.take() {
                return Err(format!("{violation}\n{}\n{:#?}", self.ctx.trace, self.front_end.filter()));
            }
            if !self.ctx.is_rough && self.client.is_done() {
                break;
            }
        }
        Ok((steps, self.ctx.ledger))
    }

    fn happen(&mut self, event: Event) {
        let Self { ctx, client, front_end, servers } = self;
        match event {
            Event::Arrive(Link::ClientToFrontEnd, segment) => front_end.receive(segment, ctx),
            Event::Arrive(Link::ToServer(server), segment) => servers[server].ingress(segment, None, ctx),
            Event::Arrive(Link::FromServer(_), segment) => front_end.take_back(segment, ctx),
            Event::Arrive(Link::ServerToClient(_) | Link::FrontEndToClient, segment) => {
                client.receive(&segment, ctx);
            }
            Event::Queued(server, segment, mark) => servers[server].ingress(segment, Some(mark), ctx),
            Event::Passed(server, segment) => servers[server].kernel(segment, ctx),
            Event::SlowPath => front_end.slow_path(ctx),
            Event::Flush => front_end.flush(),
            Event::Write => front_end.go_on_writing(ctx),
            Event::Transmit => front_end.transmit(ctx),
            Event::ControlPlane => front_end.restart(ctx),
            Event::Software(server, socket) => servers[server].software(socket, ctx),
            Event::Unlock(server, socket) => servers[server].unlock(socket, ctx),
            Event::ServerTimer(server, socket) => servers[server].timer(socket, ctx),
            Event::ClientSoftware(connection) => client.software(connection, ctx),
            Event::ClientAck(connection) => client.acknowledge(connection, ctx),
            Event::ClientTimer(connection, generation) => client.timer(connection, generation, ctx),
            Event::Connect => client.connect(ctx),
        }
    }

    /// The rules that can be seen from above, at every step.
    fn judge(&mut self) {
        let Self { ctx, client, servers, .. } = self;
        if ctx.now > ROUGH_TICKS && ctx.is_rough {
            ctx.is_rough = false;
            ctx.ledger.progressed(ctx.now);
        }
        let connection = client.connection();
        let senders = servers.iter().filter(|server| server.has_sender(connection)).count();
        if senders > 1 {
            ctx.ledger.break_rule(format!("{senders} servers can send on connection {connection}"));
        }
        if ctx.is_rough || client.is_done() || ctx.now - ctx.ledger.progress_at() <= PATIENCE_TICKS {
            return;
        }
        // The client's own time-out ends what a server has closed while its FIN or RST was lost.
        if ctx.ledger.was_closed(connection) && senders == 0 {
            client.give_up(ctx);
        } else {
            ctx.ledger.break_rule(format!("connection {connection} is stuck"));
        }
    }
}
