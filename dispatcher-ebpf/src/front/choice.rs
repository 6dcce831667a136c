//! Choosing a server for a request whose class and target are known, as the policy of its service would. The decisions are
//! `dispatcher_common::choice`'s, by what the control plane publishes; here they are fed. What was dispatched since the control
//! plane last looked is in the servers' accounts, and each dispatch is told in a record.
//!
//! `None` leaves the request to the slow path: the policy is not one of those, the control plane is not heard of any more, the
//! class has no server that may be chosen, or the servers are so loaded that admission is to be asked first.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_loop};
use dispatcher_common::{
    choice::{
        Added, Bound, Candidates, Decision, DispatchRecord, Highest, NO_SERVER, Nearest, NextTurn,
        ServerLoad, ServerLoads, ServiceChoice, State, better, further, kind, level, other_than, outcome,
        part, spread,
    },
    class_cache::CachedClass,
    limits::MAX_SERVERS,
};

use super::{clock, maps, segment::Segment};

/// Keeps a place in bounds, under the verifier's eyes.
const MASK: u32 = MAX_SERVERS as u32 - 1;

/// A server that was chosen.
#[repr(C)]
pub(super) struct Chosen {
    pub(super) server: u16,
    /// One of [`outcome`].
    pub(super) outcome: u8,
    /// Expected service time in µs.
    pub(super) work: u64,
}

/// What a CPU finds out while it chooses: too much for the program's stack.
#[repr(C)]
pub(super) struct Scratch {
    now_us: u64,
    target: u64,
    bound: Bound,
    nearest: Nearest,
    highest: Highest,
    turn: NextTurn,
    class: u16,
    kind: u16,
    reserved: u32,
    /// By place: below 2^32 each, so that the second walk over the candidates need not reckon them again.
    loads_us: [u32; MAX_SERVERS],
}

/// Chooses a server, or leaves that to the slow path.
#[inline(always)]
pub(super) fn choose(segment: &Segment<'_>, cached: &CachedClass) -> Option<Chosen> {
    let owner = segment.service.owner as u64;
    let word = choose_server(owner, cached.class as u64, cached.target, clock::now_us());
    if word & IS_CHOSEN == 0 {
        return None;
    }
    Some(Chosen { server: word as u16, outcome: (word >> 16) as u8, work: word >> 32 })
}

/// Marks a word of [`choose_server`] that is a choice: server (16 bits), outcome (8), this, and work in µs (upper half).
const IS_CHOSEN: u64 = 1 << 24;

/// Takes and gives plain numbers and is not inlined, so that the verifier walks it once and not once for every way to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choose_server(owner: u64, class: u64, target: u64, now_us: u64) -> u64 {
    let (owner, class) = (owner as u8, class as u16);
    let Some(service) = maps::service_choice(owner) else { return 0 };
    let state = State::from_word(service.state);
    if state.kind == kind::NONE || now_us >= service.valid_until_us {
        return 0;
    }
    let (Some(scratch), Some(candidates)) = (maps::scratch(), maps::candidates(state.index(owner))) else {
        return 0;
    };
    let Some(loads) = maps::server_loads() else { return 0 };
    (scratch.now_us, scratch.target) = (now_us, target);
    (scratch.class, scratch.kind) = (class, state.kind as u16);
    let mut scene = Scene { scratch, candidates, service, loads, count: state.count as u32, owner };
    match scene.decide() {
        Some(Decision { server, outcome }) => {
            let work_us = expected_work(service, server, class);
            IS_CHOSEN | work_us << 32 | (outcome as u64) << 16 | server as u64
        }
        None => 0,
    }
}

/// What a decision goes by.
#[repr(C)]
struct Scene {
    scratch: &'static mut Scratch,
    candidates: &'static Candidates,
    service: &'static ServiceChoice,
    loads: &'static ServerLoads,
    count: u32,
    owner: u8,
}

/// What looks at a candidate, by its place. The pointer is valid and nobody else's.
type Step = unsafe extern "C" fn(u64, *mut Scene) -> i64;

impl Scene {
    #[inline(always)]
    fn decide(&mut self) -> Option<Decision> {
        let kind = self.scratch.kind as u8;
        if matches!(kind, kind::BOUND | kind::WEIGHTED) || self.service.load_limit_us != u64::MAX {
            self.scratch.bound = Bound::default();
            self.walk(look_at_load);
            if self.scratch.bound.least.load_us > self.service.load_limit_us {
                return None;
            }
        }
        let server = match kind {
            kind::BOUND => return self.scratch.bound.decide(self.service.t_load_us),
            kind::WEIGHTED => return self.weighted(),
            kind::HASH => return self.highest(),
            kind::ROUND_ROBIN => self.next_turn()?,
            kind::RANDOM => self.any()?,
            kind::TWO_CHOICES => self.better_of_two()?,
            _ => return None,
        };
        Some(Decision { server, outcome: outcome::UNBOUND })
    }

    /// Looks at each candidate.
    #[inline(always)]
    fn walk(&mut self, step: Step) {
        let scene: *mut Self = self;
        // SAFETY: `step` takes a place and what is given here, which outlives the call (Linux 5.17). A loop of our own the
        // verifier would walk once for every candidate and way.
        unsafe { bpf_loop(self.count, step as *mut c_void, scene.cast(), 0) };
    }

    /// The candidate at a place, and its number.
    #[inline(always)]
    fn candidate(&self, place: u32) -> (u16, u32) {
        let candidate = &self.candidates.0[(place & MASK) as usize];
        (candidate.server, candidate.number)
    }

    #[inline(always)]
    fn load(&self, server: u16) -> &ServerLoad {
        &self.loads.0[server as usize % MAX_SERVERS]
    }

    #[inline(always)]
    fn queue(&self, server: u16) -> u32 {
        self.load(server).queue(maps::added(server))
    }

    #[inline(always)]
    fn weighted(&mut self) -> Option<Decision> {
        let target = self.scratch.target;
        let hot = maps::hot_home(self.owner, target);
        let (given, level) = hot.map_or((NO_SERVER, level::COLD), |hot| (hot.server, hot.level));
        self.scratch.nearest = Nearest::new(target, given, self.service.t_load_us);
        self.walk(look_at_distance);
        let Scratch { nearest, bound, .. } = &mut *self.scratch;
        nearest.settle();
        nearest.decide(level, bound.least.server()?)
    }

    #[inline(always)]
    fn highest(&mut self) -> Option<Decision> {
        self.scratch.highest = Highest::default();
        self.walk(look_at_hash);
        Some(Decision { server: self.scratch.highest.server()?, outcome: outcome::HIT })
    }

    #[inline(always)]
    fn next_turn(&mut self) -> Option<u16> {
        let turn = maps::turn(self.owner)?;
        self.scratch.turn = NextTurn::after(turn.last as u16);
        self.walk(look_at_turn);
        let server = self.scratch.turn.server()?;
        turn.last = server as u64;
        Some(server)
    }

    #[inline(always)]
    fn any(&self) -> Option<u16> {
        match self.count {
            0 => None,
            count => Some(self.candidate(part(random() as u16, count)).0),
        }
    }

    #[inline(always)]
    fn better_of_two(&self) -> Option<u16> {
        if self.count < 2 {
            return self.any();
        }
        let random = random();
        let first = part(random as u16, self.count);
        let second = other_than(first, part((random >> 16) as u16, self.count - 1));
        let [first, second] = [self.candidate(first).0, self.candidate(second).0];
        Some(if better(self.queue(first), self.queue(second)) { second } else { first })
    }
}

unsafe extern "C" fn look_at_load(place: u64, scene: *mut Scene) -> i64 {
    // SAFETY: by contract.
    let scene = unsafe { &mut *scene };
    let (server, number) = scene.candidate(place as u32);
    let load_us = scene.load(server).load_us(maps::added(server), scene.scratch.now_us);
    let Scratch { bound, class, kind, loads_us, .. } = &mut *scene.scratch;
    loads_us[(place as u32 & MASK) as usize] = load_us as u32;
    if *kind == kind::BOUND as u16 {
        bound.offer(server, load_us, number, maps::is_of_class(*class, server));
    } else {
        bound.least.offer(server, load_us, 0);
    }
    0
}

unsafe extern "C" fn look_at_distance(place: u64, scene: *mut Scene) -> i64 {
    // SAFETY: by contract.
    let scene = unsafe { &mut *scene };
    let (server, weight) = scene.candidate(place as u32);
    let Scratch { nearest, bound, loads_us, .. } = &mut *scene.scratch;
    let excess_us = loads_us[(place as u32 & MASK) as usize] as u64 - bound.least.load_us;
    nearest.offer(server, weight as u64, excess_us);
    0
}

unsafe extern "C" fn look_at_hash(place: u64, scene: *mut Scene) -> i64 {
    // SAFETY: by contract.
    let scene = unsafe { &mut *scene };
    let (server, _) = scene.candidate(place as u32);
    let hash = spread(scene.scratch.target, server as u64);
    scene.scratch.highest.offer(server, hash);
    0
}

unsafe extern "C" fn look_at_turn(place: u64, scene: *mut Scene) -> i64 {
    // SAFETY: by contract.
    let scene = unsafe { &mut *scene };
    let (server, _) = scene.candidate(place as u32);
    scene.scratch.turn.offer(server);
    0
}

#[inline(always)]
fn random() -> u32 {
    // SAFETY: no argument, no requirement.
    unsafe { bpf_get_prandom_u32() }
}

/// Measured by the server, else the class's mean over the servers, else the mean of all.
#[inline(always)]
fn expected_work(service: &ServiceChoice, server: u16, class: u16) -> u64 {
    let by = |entry| maps::service_time(entry, class).filter(|us| *us != 0);
    by(server as u32).or_else(|| by(MAX_SERVERS as u32)).map_or(service.mean_us, |us| us as u64)
}

/// Counts a request that is on its way to the server which was chosen: first in that one's account, so that no decision is made
/// without it, then for the control plane to learn from. `further` is one of `dispatcher_common::choice::further`.
#[inline(always)]
pub(super) fn note(segment: &Segment<'_>, cached: &CachedClass, chosen: &Chosen, priority: u8, further: u8) {
    let work_us = chosen.work as u32;
    if further != further::IN_PLACE {
        maps::add_to_account(chosen.server, Added::request(work_us));
    }
    maps::write_record(&DispatchRecord {
        target: cached.target,
        work_us,
        class: cached.class,
        server: chosen.server,
        owner: segment.service.owner,
        priority,
        outcome: chosen.outcome,
        further,
        reserved2: 0,
    });
}
