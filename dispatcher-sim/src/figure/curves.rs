//! Whose curves the figures have, and how these look: three groups, because no plot of all of them could be read.
//! Colours themselves are `plot`'s.

use dispatcher_core::policy::{
    BoundedHash, Hash, JoinIdleQueue, Lard, LardR, Prequal, Random, RoundRobin, TableKind, TwoChoices,
    WeightedRoundRobin,
};

use crate::{contender::Contender, plot::Look, settings::CacheKind};

/// K of the paper's curves.
pub(super) const CLASSES: [u16; 7] = [10, 20, 50, 100, 200, 500, 1000];

/// K at which our policy is compared with others than the paper's: within 128 entries.
const COMPARED_CLASSES: u16 = 100;

/// A curve: a policy, and the memory of the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) contender: Contender,
    pub(super) cache: CacheKind,
}

impl Member {
    pub(super) fn label(&self) -> String {
        match self.cache {
            CacheKind::Gms => format!("{} with GMS", self.contender),
            _ => self.contender.to_string(),
        }
    }
}

/// The curves of one plot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    /// Last part of the file's name.
    pub(super) name: &'static str,
    curves: fn() -> Vec<(Member, Look)>,
}

impl Group {
    pub(super) fn curves(&self) -> Vec<(Member, Look)> {
        (self.curves)()
    }
}

/// The paper's curves with its own table and with ours, and all policies.
pub(super) const GROUPS: [Group; 3] = [
    Group { name: "faithful", curves: || by_classes(TableKind::Faithful) },
    Group { name: "sticky", curves: || by_classes(TableKind::Sticky) },
    Group { name: "policies", curves: policies },
];

/// Everybody, once.
pub(super) fn members() -> Vec<Member> {
    let mut members = Vec::new();
    for (member, _) in GROUPS.iter().flat_map(Group::curves) {
        if !members.contains(&member) {
            members.push(member);
        }
    }
    members
}

pub(super) fn lru(contender: Contender) -> Member {
    Member { contender, cache: CacheKind::Lru }
}

/// What the paper compares with.
pub(super) fn rivals() -> [(Member, Look); 3] {
    [
        (lru(Contender::named(RoundRobin::NAME)), Look::Rival(0)),
        (lru(Contender::lard(Lard::NAME, 55, 65)), Look::Rival(1)),
        (lru(Contender::lard(Lard::NAME, 25, 65)), Look::Rival(4)),
    ]
}

fn by_classes(table: TableKind) -> Vec<(Member, Look)> {
    let step = 999 / (CLASSES.len() as u32 - 1);
    let ours = CLASSES.into_iter().zip(0..).map(|(classes, index)| {
        let contender = Contender::context(table, classes);
        (lru(contender), Look::Scale(index * step))
    });
    rivals().into_iter().chain(ours).collect()
}

fn policies() -> Vec<(Member, Look)> {
    let contenders = [
        Contender::context(TableKind::Sticky, COMPARED_CLASSES),
        Contender::context(TableKind::Replicated, COMPARED_CLASSES),
        Contender::lard(Lard::NAME, 25, 65),
        Contender::lard(Lard::NAME, 55, 65),
        Contender::lard(LardR::NAME, 25, 65),
        Contender::named(Hash::NAME),
        Contender::named(BoundedHash::NAME),
        Contender::named(RoundRobin::NAME),
        Contender::named(WeightedRoundRobin::NAME),
        Contender::named(Random::NAME),
        Contender::named(TwoChoices::NAME),
        Contender::named(JoinIdleQueue::NAME),
        Contender::named(Prequal::NAME),
    ];
    let global = Member { contender: Contender::named(RoundRobin::NAME), cache: CacheKind::Gms };
    let members = contenders.map(lru).into_iter().chain([global]);
    members.zip(0..).map(|(member, index)| (member, Look::Distinct(index))).collect()
}
