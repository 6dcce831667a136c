//! A table's row and how it is checked.

use std::array;

use dispatcher_common::{
    admission::{PriorityStats, SourceRate},
    class_cache::CachedClass,
    counter::FrontCounter,
    filter::{Filter, FlowKey, state},
    limits::PRIORITIES,
    server::Traffic,
    slow_path::{META_LEN, SlowPathMeta},
    syn_options::SynOptions,
};

use crate::{
    program::{EPOCH, MAX_FILTERS, PRIORITY, Program, SERVER, cookie_of, flow_key},
    scene::{self, Scene},
    segment::{Family, Segment},
};

pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;
pub(crate) const REDIRECT: u32 = 4;

/// ISN of the client in all cases, and what its SYN negotiated.
pub(crate) const ISN: u32 = 0xffff_fff0;
pub(crate) const CLASS: u16 = 19;
/// Bytes of the first request of a flow that has a filter.
pub(crate) const REQUEST_LEN: u32 = 400;

pub(crate) fn options() -> SynOptions {
    SynOptions::new(1460, Some(9), true)
}

/// The acknowledgement number that ends a good handshake.
pub(crate) fn good_ack(family: Family) -> u32 {
    cookie_of(family, options(), ISN, EPOCH).wrapping_add(1)
}

/// The filter of an admitted flow in some state.
pub(crate) fn filter(family: Family, state: u8) -> Filter {
    Filter {
        created_ns: 1,
        last_seen_ns: 1,
        packets: 10,
        bytes: 1_000,
        handoff_seq: ISN.wrapping_add(1),
        handoff_ack: good_ack(family),
        request_ns: 1,
        request_ack: good_ack(family),
        last_ack: good_ack(family),
        next_seq: ISN.wrapping_add(1 + REQUEST_LEN),
        first_seq: ISN.wrapping_add(1),
        requests: 1,
        class: CLASS,
        server: SERVER,
        state,
        options: options().0,
        priority: PRIORITY,
        ..Filter::default()
    }
}

pub(crate) fn established(family: Family) -> Filter {
    filter(family, state::ESTABLISHED)
}

/// What is not as usual around the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    Usual,
    TwoArm,
    TwoArmWithoutOut,
    ServerWithoutMac,
    NoSlowPath,
    FullTable,
    /// The frame at the start of its buffer.
    NoHeadroom,
}

/// A row: name, frame in, verdict, frame out, counters.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Of the object.
    pub(crate) program: &'static str,
    pub(crate) world: World,
    pub(crate) scene: Scene,
    pub(crate) filter: Option<Filter>,
    /// The only entry of the class cache.
    pub(crate) cached: Option<(u64, CachedClass)>,
    /// The only server that may be chosen.
    pub(crate) candidate: u16,
    pub(crate) frame: Vec<u8>,
    pub(crate) action: u32,
    pub(crate) counters: Vec<FrontCounter>,
    pub(crate) check: Box<dyn Fn(&Outcome)>,
}

/// What a case left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) before: Vec<u8>,
    pub(crate) after: Vec<u8>,
    pub(crate) meta: Option<SlowPathMeta>,
    pub(crate) filter: Option<Filter>,
    pub(crate) traffic: Traffic,
    /// Requests of no account.
    pub(crate) kept_requests: u64,
    /// What became of the counts of open flows: `after - before`, by priority.
    pub(crate) opened: [i64; PRIORITIES],
    /// What was added, by priority.
    pub(crate) stats: [PriorityStats; PRIORITIES],
    /// Rate and open flows of the client's source.
    pub(crate) source: (Option<SourceRate>, Option<u64>),
}

impl Outcome {
    /// No count of open flows moved, and no number by priority.
    pub(crate) fn assert_uncounted(&self) {
        assert_eq!(self.opened, [0; PRIORITIES]);
        assert_eq!(self.stats, [PriorityStats::default(); PRIORITIES]);
    }

    /// The frame that went out.
    pub(crate) fn segment(&self) -> Segment {
        Segment::read(&self.after)
    }

    pub(crate) fn assert_untouched(&self) {
        assert_eq!(self.before, self.after);
    }
}

impl Case {
    /// A case without filter that leaves the frame as it is.
    pub(crate) fn new(
        name: &'static str,
        frame: Vec<u8>,
        action: u32,
        counters: impl Into<Vec<FrontCounter>>,
    ) -> Self {
        Self {
            name,
            program: "front",
            world: World::Usual,
            scene: Scene::default(),
            filter: None,
            cached: None,
            candidate: SERVER,
            frame,
            action,
            counters: counters.into(),
            check: Box::new(|_| ()),
        }
    }

    pub(crate) fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    pub(crate) fn with_cached(mut self, key: u64, cached: CachedClass) -> Self {
        self.cached = Some((key, cached));
        self
    }

    pub(crate) fn with_candidate(mut self, server: u16) -> Self {
        self.candidate = server;
        self
    }

    pub(crate) fn by_program(mut self, name: &'static str) -> Self {
        self.program = name;
        self
    }

    pub(crate) fn in_world(mut self, world: World) -> Self {
        self.world = world;
        self
    }

    pub(crate) fn in_scene(mut self, scene: Scene) -> Self {
        self.scene = scene;
        self
    }

    pub(crate) fn check(mut self, check: impl Fn(&Outcome) + 'static) -> Self {
        self.check = Box::new(check);
        self
    }
}

/// Runs the tables of both families.
pub(crate) fn run(cases: fn(Family) -> Vec<Case>) {
    let Some(mut program) = Program::load() else { return };
    for family in Family::BOTH {
        for case in cases(family) {
            eprintln!("{family:?}: {}", case.name);
            run_case(&mut program, family, case);
        }
    }
}

fn run_case(program: &mut Program, family: Family, case: Case) {
    prepare(program, family, &case);
    let (counters, traffic, stats) = (program.counters(), program.traffic(), program.priority_stats());
    let kept_requests = program.kept_requests();
    let run = match case.world {
        World::NoHeadroom => program.run_crowded(&case.frame),
        _ => program.run(case.program, &case.frame),
    };
    assert_eq!(run.action, case.action, "action");
    assert_eq!(reached(&counters, &program.counters()), sorted(case.counters), "counters");
    let longer = run.bytes.len().saturating_sub(case.frame.len());
    let meta_len = match case.action {
        DROP | PASS => longer,
        REDIRECT if longer == META_LEN => META_LEN,
        _ => 0,
    };
    let (meta, after) = run.bytes.split_at(meta_len);
    let now = program.traffic();
    let (open, stats_now) = (program.admission().open, program.priority_stats());
    let outcome = Outcome {
        before: case.frame,
        after: after.to_vec(),
        meta: (meta.len() == META_LEN).then(|| read_meta(meta)),
        filter: program.filters().get(&flow_key(family), 0).ok(),
        traffic: Traffic { packets: now.packets - traffic.packets, bytes: now.bytes - traffic.bytes },
        kept_requests: program.kept_requests() - kept_requests,
        opened: array::from_fn(|priority| {
            open[priority].wrapping_sub(case.scene.entry.open[priority]) as i64
        }),
        stats: array::from_fn(|priority| scene::difference(&stats_now[priority], &stats[priority])),
        source: program.source(&case.scene.source(family)),
    };
    if case.action == PASS {
        outcome.assert_untouched();
    }
    (case.check)(&outcome);
}

fn prepare(program: &mut Program, family: Family, case: &Case) {
    let world = case.world;
    program.set_two_arm(matches!(world, World::TwoArm | World::TwoArmWithoutOut));
    program.set_out(world != World::TwoArmWithoutOut);
    program.set_server(world != World::ServerWithoutMac);
    program.set_slow_path(world != World::NoSlowPath);
    program.set_scene(family, &case.scene);
    program.set_class_cache(case.cached);
    program.set_choice(&[case.candidate]);
    program.clear_filters();
    let mut filters = program.filters();
    if let Some(filter) = case.filter {
        filters.insert(flow_key(family), filter, 0).unwrap();
    }
    if world == World::FullTable {
        for port_be in 0..MAX_FILTERS as u16 {
            let other = FlowKey::new(family.client().into(), port_be, 0);
            filters.insert(other, Filter::default(), 0).unwrap();
        }
    }
}

/// Counters that moved, once for each step.
fn reached(before: &[u64], after: &[u64]) -> Vec<&'static str> {
    let moved = before.iter().zip(after).zip(FrontCounter::ALL);
    let names = moved.flat_map(|((before, after), counter)| vec![counter.name(); (after - before) as usize]);
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

fn sorted(counters: Vec<FrontCounter>) -> Vec<&'static str> {
    let mut names: Vec<&str> = counters.into_iter().map(FrontCounter::name).collect();
    names.sort_unstable();
    names
}

fn read_meta(bytes: &[u8]) -> SlowPathMeta {
    let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    SlowPathMeta { kind: bytes[0], options: bytes[1], service: word(2), server: word(4), class: word(6) }
}
