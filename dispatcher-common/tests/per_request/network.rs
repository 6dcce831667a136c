//! The links: each loses, copies and delays segments, and lets some overtake others.

use crate::random::Random;

/// A way from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    ClientToFrontEnd,
    FrontEndToClient,
    ToServer(usize),
    FromServer(usize),
    ServerToClient(usize),
}

/// All links of a world.
pub(crate) struct Network {
    servers: usize,
    /// When what does not overtake comes out at the earliest, by link.
    latest: Vec<u64>,
    lost_per_mille: u64,
    copied_per_mille: u64,
    late_per_mille: u64,
    delay_ticks: u64,
    late_ticks: u64,
}

impl Network {
    pub(crate) fn new(servers: usize, wild_per_mille: u64, random: &mut Random) -> Self {
        // In some worlds nearly everything comes twice and late, which shows what a late copy can do.
        let is_wild = random.hits(wild_per_mille);
        let (copied_per_mille, late_per_mille) = if is_wild {
            (500, 500)
        } else {
            (random.between(0, 1) * random.between(0, 300), random.between(0, 1) * random.between(0, 300))
        };
        Self {
            servers,
            latest: vec![0; 2 + 3 * servers],
            lost_per_mille: random.between(0, 1) * random.between(0, 150),
            copied_per_mille,
            late_per_mille,
            delay_ticks: random.between(1, 6),
            late_ticks: random.between(5, 120),
        }
    }

    /// How long a segment may be under way in all, over three links and with a stay in a queue at each end, in ticks: the model's
    /// maximum segment lifetime (RFC 9293 section 3.4.1), within which no client uses a port again.
    pub(crate) fn lifetime_ticks(&self) -> u64 {
        4 * (self.late_ticks + self.delay_ticks)
    }

    /// When the copies of what is sent now come out, if any do.
    pub(crate) fn carry(
        &mut self,
        now: u64,
        link: Link,
        is_rough: bool,
        random: &mut Random,
    ) -> [Option<u64>; 2] {
        if !is_rough {
            return [Some(self.in_order(now, link, random)), None];
        }
        let first = (!random.hits(self.lost_per_mille)).then(|| self.one(now, link, random));
        let second = random.hits(self.copied_per_mille).then(|| self.one(now, link, random));
        [first, second]
    }

    fn one(&mut self, now: u64, link: Link, random: &mut Random) -> u64 {
        if random.hits(self.late_per_mille) {
            return now + random.between(1, self.late_ticks);
        }
        self.in_order(now, link, random)
    }

    fn in_order(&mut self, now: u64, link: Link, random: &mut Random) -> u64 {
        let arrival = now + random.between(1, self.delay_ticks);
        let index = self.index(link);
        self.latest[index] = self.latest[index].max(arrival);
        self.latest[index]
    }

    fn index(&self, link: Link) -> usize {
        match link {
            Link::ClientToFrontEnd => 0,
            Link::FrontEndToClient => 1,
            Link::ToServer(server) => 2 + server,
            Link::FromServer(server) => 2 + self.servers + server,
            Link::ServerToClient(server) => 2 + 2 * self.servers + server,
        }
    }
}
