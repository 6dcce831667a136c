//! A set of servers in one bit each, for what a policy remembers of several servers at once. An id of `MAX_SERVERS`
//! or above, which no configuration gives, never enters.

use dispatcher_common::{choice::ClassServers, limits::MAX_SERVERS};

use crate::ids::ServerId;

const WORDS: usize = MAX_SERVERS.div_ceil(64);

/// Some of the servers of a front-end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ServerSet([u64; WORDS]);

impl ServerSet {
    /// Whether it was not in the set and now is.
    pub(super) fn insert(&mut self, server: ServerId) -> bool {
        let Some(word) = self.0.get_mut(server.index() / 64) else { return false };
        let new = *word | bit(server);
        std::mem::replace(word, new) != new
    }

    /// Whether it was in the set and now is not.
    pub(super) fn remove(&mut self, server: ServerId) -> bool {
        let Some(word) = self.0.get_mut(server.index() / 64) else { return false };
        let new = *word & !bit(server);
        std::mem::replace(word, new) != new
    }

    pub(super) fn contains(&self, server: ServerId) -> bool {
        self.0.get(server.index() / 64).is_some_and(|word| word & bit(server) != 0)
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As the front-end's program has it.
    pub(super) fn bits(self) -> ClassServers {
        ClassServers(self.0)
    }

    /// The servers in ascending order.
    pub(super) fn iter(self) -> impl Iterator<Item = ServerId> {
        self.0.into_iter().enumerate().flat_map(|(at, word)| {
            let rest = std::iter::successors(Some(word), |&word| Some(word & word.checked_sub(1)?));
            rest.take_while(|&word| word != 0)
                .map(move |word| ServerId((at * 64) as u16 + word.trailing_zeros() as u16))
        })
    }
}

fn bit(server: ServerId) -> u64 {
    1 << (server.index() % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_enter_once_leave_once_and_come_in_order() {
        let mut set = ServerSet::default();
        assert!(set.is_empty());
        let ids = [255, 0, 64, 63, 7].map(ServerId);
        assert!(ids.iter().all(|&id| set.insert(id) && !set.insert(id)));
        assert_eq!(set.iter().map(|id| id.0).collect::<Vec<_>>(), [0, 7, 63, 64, 255]);
        assert!(set.remove(ServerId(64)) && !set.remove(ServerId(64)) && !set.contains(ServerId(64)));
        assert!(set.contains(ServerId(255)) && set.len() == 4);
    }

    #[test]
    fn an_id_beyond_the_limit_never_enters() {
        let mut set = ServerSet::default();
        let beyond = ServerId(MAX_SERVERS as u16);
        assert!(!set.insert(beyond) && !set.contains(beyond) && !set.remove(beyond) && set.is_empty());
    }
}
