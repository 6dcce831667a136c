//! The front-end's door: how many connections it lets in at once (S), and who waits outside. Owns S and the waiting room;
//! who is put out for somebody else is the engine's business.

use std::collections::VecDeque;

use crate::{request::Request, settings::FrontSettings};

/// Most requests that wait outside; a listen queue is not endless either.
const MAX_OUTSIDE: usize = 65_536;

/// The door.
#[derive(Debug, Clone)]
pub struct Admission {
    limit: u64,
    /// Connections inside.
    inside: u64,
    outside: VecDeque<Request>,
}

impl Admission {
    /// Nobody inside and nobody outside.
    #[must_use]
    pub fn new(settings: &FrontSettings, servers: u16) -> Self {
        Self { limit: settings.limit.connections(servers).max(1), inside: 0, outside: VecDeque::new() }
    }

    /// Whether one more may come in, before anybody outside.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.inside < self.limit
    }

    /// A connection comes in.
    pub fn enter(&mut self) {
        self.inside += 1;
    }

    /// A connection goes.
    pub fn leave(&mut self) {
        self.inside -= 1;
    }

    /// A request stays outside until there is room inside; false when there is no room outside either.
    pub fn wait(&mut self, request: Request) -> bool {
        let waits = self.outside.len() < MAX_OUTSIDE;
        if waits {
            self.outside.push_back(request);
        }
        waits
    }

    /// Who comes in now.
    pub fn let_in(&mut self) -> Option<Request> {
        if self.has_room() { self.outside.pop_front() } else { None }
    }

    /// How many are outside.
    #[must_use]
    pub fn outside(&self) -> usize {
        self.outside.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Limit, Settings};

    #[test]
    fn the_papers_limit_grows_with_servers() {
        assert_eq!([1, 2, 16].map(|servers| Limit::Paper.connections(servers)), [54, 119, 1029]);
    }

    #[test]
    fn there_is_room_until_the_limit_and_again_when_somebody_leaves() {
        let settings = FrontSettings { limit: Limit::Connections(2), ..Settings::default().front };
        let mut door = Admission::new(&settings, 1);
        door.enter();
        assert!(door.has_room());
        door.enter();
        assert!(!door.has_room() && door.let_in().is_none());
        door.leave();
        assert!(door.has_room() && door.let_in().is_none(), "nobody waits");
    }
}
