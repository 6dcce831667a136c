//! The member-tables of the configured services: read from their files at start, changed live, and put in force at once in the
//! kernel and in the slow path. What the rules mean is the decision core's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::Duration,
};

use aya::maps::MapError;
use dispatcher_common::{
    block::{self, MemberLevels, MemberLine},
    limits::{MAX_MEMBER_LINES, MAX_MEMBER_MARKS, MAX_SERVICES},
    member::Scope,
};
use dispatcher_core::{
    config::{FrontConfig, ServiceConfig},
    member::{MemberError, MemberRule, MemberTable, RuleError, SignedCookies, parse_rules},
    secret::Secret,
};
use thiserror::Error;

use super::service_table::{MemberState, ServiceTable};
use crate::{
    kernel::mapped::MappedWords,
    text_file::{self, Unreadable},
};

/// How long a half of the kernel's table is left alone once no service refers to it: each CPU looks services up anew within a
/// tick, of 10 ms at most.
const GRACE: Duration = Duration::from_millis(50);

/// The maps of the kernel's table: MEMBERS, MEMBER_MARKS and MEMBER_LEVELS.
#[derive(Debug)]
pub struct MemberMaps {
    pub lines: OwnedFd,
    pub marks: OwnedFd,
    pub levels: OwnedFd,
}

/// Rules cannot be put in force. Those before stay.
#[derive(Debug, Error)]
pub enum MembersError {
    /// For the operator.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// For the operator.
    #[error(transparent)]
    Rules(#[from] MemberError),
    /// For the person who asks.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// For the person who asks.
    #[error("no service is called {name:?}; there are: {known}")]
    UnknownService { name: String, known: String },
    /// For the person who asks.
    #[error("there are several services; say which by --service: {0}")]
    ServiceMissing(String),
    /// For the person who asks.
    #[error("no such rule: {0}; `dispatcher members list` shows what there is")]
    NoSuchRule(String),
    /// For the operator: each service's rules fit, all together do not.
    #[error(
        "the rules of all services together do not fit into the kernel's table; lower their number, or join prefixes"
    )]
    Full,
    /// From the kernel, unexpected.
    #[error("cannot map the member-table: {0}; remove the pin path and start again")]
    Kernel(#[from] io::Error),
    /// From the kernel, unexpected.
    #[error("cannot put the rules in force: {0}; remove the pin path and start again")]
    Service(#[from] MapError),
}

/// Reads the rules of a service from its file, as its configuration says. Paths are relative to `directory`.
///
/// # Errors
/// When the file cannot be read or has a mistake.
pub fn read(service: &ServiceConfig, secret: &Secret, directory: &Path) -> Result<MemberTable, MembersError> {
    let rules = match &service.members {
        Some(path) => {
            let path = directory.join(path);
            parse_rules(&text_file::read(&path)?, &path.display().to_string())?
        }
        None => Vec::new(),
    };
    Ok(table(service, rules, signed(service, secret))?)
}

fn signed(service: &ServiceConfig, secret: &Secret) -> Option<SignedCookies> {
    let name = service.signed_cookie.as_deref()?;
    Some(SignedCookies::new(name, secret, &service.name))
}

fn table(
    service: &ServiceConfig,
    rules: Vec<MemberRule>,
    signed: Option<SignedCookies>,
) -> Result<MemberTable, MemberError> {
    MemberTable::new(rules, service.priority, signed)
}

/// The member-tables in force.
#[derive(Debug)]
pub struct Members {
    services: Vec<Service>,
    kernel: Option<Kernel>,
    /// Of the rules in force; held by whoever changes them.
    generation: Mutex<u16>,
}

#[derive(Debug)]
struct Service {
    config: ServiceConfig,
    signed: Option<SignedCookies>,
    table: RwLock<Arc<MemberTable>>,
}

/// The kernel's side.
#[derive(Debug)]
struct Kernel {
    lines: MappedWords,
    marks: MappedWords,
    levels: MappedWords,
    services: Arc<ServiceTable>,
}

impl Members {
    /// Tables that no program sees, one for each service.
    #[must_use]
    pub fn new(config: &FrontConfig, secret: &Secret, tables: Vec<MemberTable>) -> Self {
        let services = config.services.iter().zip(tables).map(|(config, table)| Service {
            config: config.clone(),
            signed: signed(config, secret),
            table: RwLock::new(Arc::new(table)),
        });
        Self { services: services.collect(), kernel: None, generation: Mutex::new(0) }
    }

    /// Writes the tables to the half of the kernel's table that is not in force. They are once [`ServiceTable::set`] is called with
    /// the states that this gives.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(
        &mut self,
        maps: &MemberMaps,
        services: Arc<ServiceTable>,
    ) -> Result<Vec<MemberState>, MembersError> {
        let words = |size: usize, count: usize| 2 * count * size / size_of::<u64>();
        let kernel = Kernel {
            lines: MappedWords::map(maps.lines.as_fd(), words(size_of::<MemberLine>(), MAX_MEMBER_LINES))?,
            marks: MappedWords::map(maps.marks.as_fd(), words(size_of::<u64>(), MAX_MEMBER_MARKS))?,
            levels: MappedWords::map(maps.levels.as_fd(), words(size_of::<MemberLevels>(), MAX_SERVICES))?,
            services,
        };
        let generation = kernel.services.next_generation()?;
        let tables = self.tables();
        kernel.write(&tables, generation)?;
        self.kernel = Some(kernel);
        self.generation = Mutex::new(generation);
        Ok(tables.iter().map(|table| state(table, generation)).collect())
    }

    fn tables(&self) -> Vec<Arc<MemberTable>> {
        self.services.iter().map(Service::current).collect()
    }

    /// The table of a configured service.
    #[must_use]
    pub fn current(&self, owner: usize) -> Arc<MemberTable> {
        self.services[owner].current()
    }

    /// The number of a configured service by its name; without a name the only one.
    ///
    /// # Errors
    /// When there is no such service, or more than one.
    pub fn owner(&self, name: Option<&str>) -> Result<usize, MembersError> {
        let known =
            || self.services.iter().map(|service| service.config.name.clone()).collect::<Vec<_>>().join(", ");
        match name {
            None if self.services.len() == 1 => Ok(0),
            None => Err(MembersError::ServiceMissing(known())),
            Some(name) => self
                .services
                .iter()
                .position(|service| service.config.name == name)
                .ok_or_else(|| MembersError::UnknownService { name: name.to_owned(), known: known() }),
        }
    }

    /// Puts other rules in force. Until it returns the old ones hold, then the new ones, and nothing between.
    ///
    /// # Errors
    /// When the rules contradict each other or the kernel refuses; the old ones hold then.
    pub fn replace(&self, owner: usize, rules: Vec<MemberRule>) -> Result<usize, MembersError> {
        let guard = self.lock();
        self.replace_locked(owner, rules, guard)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn add(&self, owner: usize, rule: MemberRule) -> Result<usize, MembersError> {
        let guard = self.lock();
        let mut rules = self.current(owner).rules().to_vec();
        rules.push(rule);
        self.replace_locked(owner, rules, guard)
    }

    /// Removes the rule with these conditions, whatever its priority.
    ///
    /// # Errors
    /// When there is none, or as [`replace`](Self::replace).
    pub fn remove(&self, owner: usize, rule: &MemberRule) -> Result<usize, MembersError> {
        let guard = self.lock();
        let mut rules = self.current(owner).rules().to_vec();
        let before = rules.len();
        rules.retain(|other| {
            (other.source, other.port, &other.cookie) != (rule.source, rule.port, &rule.cookie)
        });
        if rules.len() == before {
            return Err(MembersError::NoSuchRule(rule.to_string()));
        }
        self.replace_locked(owner, rules, guard)
    }

    fn lock(&self) -> MutexGuard<'_, u16> {
        // A panic elsewhere leaves the generation that was in force.
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole other half is written, with the rules of all services, and then each service refers to it.
    fn replace_locked(
        &self,
        owner: usize,
        rules: Vec<MemberRule>,
        mut generation: MutexGuard<'_, u16>,
    ) -> Result<usize, MembersError> {
        let service = &self.services[owner];
        let table = Arc::new(table(&service.config, rules, service.signed.clone())?);
        if let Some(kernel) = &self.kernel {
            let mut tables = self.tables();
            tables[owner] = Arc::clone(&table);
            let next = generation.wrapping_add(1);
            kernel.write(&tables, next)?;
            if let Err(error) = kernel.refer(&tables, next) {
                // Those before are where they were.
                let _ = kernel.refer(&self.tables(), *generation);
                return Err(error);
            }
            *generation = next;
        }
        service.put(&table);
        if self.kernel.is_some() {
            thread::sleep(GRACE);
        }
        Ok(table.rules().len())
    }
}

impl Service {
    fn current(&self) -> Arc<MemberTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, table: &Arc<MemberTable>) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(table);
    }
}

impl Kernel {
    /// Writes the half of a generation.
    fn write(&self, tables: &[Arc<MemberTable>], generation: u16) -> Result<(), MembersError> {
        let mut members = block::Members::default();
        for (owner, table) in tables.iter().enumerate() {
            let mut entries = table.entries(Scope { owner: owner as u16, generation });
            entries.sort_by_key(|(key, _)| key.prefix_bits);
            for (key, ceiling) in entries {
                members.insert(&key, ceiling.get()).map_err(|block::Full| MembersError::Full)?;
            }
        }
        let half = block::half(Scope { owner: 0, generation }) as usize;
        copy(&self.lines, half, members.lines());
        copy(&self.marks, half, members.marks());
        copy(&self.levels, half, members.levels());
        Ok(())
    }

    /// Has every service refer to a generation.
    fn refer(&self, tables: &[Arc<MemberTable>], generation: u16) -> Result<(), MembersError> {
        for (owner, table) in tables.iter().enumerate() {
            self.services.set_members(owner, state(table, generation))?;
        }
        Ok(())
    }
}

fn copy<T: aya::Pod>(words: &MappedWords, half: usize, values: &[T]) {
    words.copy_from(half * size_of_val(values) / size_of::<u64>(), values);
}

fn state(table: &MemberTable, generation: u16) -> MemberState {
    MemberState {
        generation,
        has_rules: !table.is_empty(),
        has_ports: table.has_ports(),
        asks_for_cookies: table.asks_for_cookies(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::front::model::tests::config;

    fn members() -> Members {
        let secret = Secret::new("0123456789abcdef").unwrap();
        let config = config();
        let read = |service| read(service, &secret, Path::new("")).unwrap();
        let tables = config.services.iter().map(read).collect();
        Members::new(&config, &secret, tables)
    }

    fn rule(text: &str) -> MemberRule {
        text.parse().unwrap()
    }

    fn ceiling(members: &Members, owner: usize) -> u8 {
        let client: SocketAddr = "198.19.0.1:4147".parse().unwrap();
        members.current(owner).ceiling(client).get()
    }

    #[test]
    fn rules_of_a_service_come_and_go() {
        let members = members();
        assert_eq!((ceiling(&members, 0), ceiling(&members, 1)), (3, 5), "the services' own");
        assert_eq!(members.add(0, rule("198.19.0.0/16 * - 6")).unwrap(), 1);
        assert_eq!(members.add(0, rule("198.19.0.0/16 4147 A 7")).unwrap(), 2);
        assert_eq!((ceiling(&members, 0), ceiling(&members, 1)), (7, 5));
        assert_eq!(members.remove(0, &rule("198.19.0.0/16 4147 A 0")).unwrap(), 1, "whatever the priority");
        assert_eq!(ceiling(&members, 0), 6);
        assert_eq!(members.replace(0, vec![rule("198.0.0.0/8 * - 1")]).unwrap(), 1);
        assert_eq!(ceiling(&members, 0), 1);
    }

    #[test]
    fn a_mistake_leaves_the_rules_as_they_were() {
        let members = members();
        members.add(0, rule("198.19.0.0/16 * - 6")).unwrap();
        assert!(members.add(0, rule("198.19.0.0/16 * - 2")).is_err(), "the same conditions twice");
        let error = members.remove(0, &rule("198.19.0.0/16 9 - 6")).unwrap_err().to_string();
        assert!(error.starts_with("no such rule: 198.19.0.0/16"), "{error}");
        assert_eq!(ceiling(&members, 0), 6);
    }

    #[test]
    fn a_service_is_named_where_there_are_several() {
        let members = members();
        assert_eq!(members.owner(Some("api")).unwrap(), 1);
        let missing = members.owner(None).unwrap_err().to_string();
        assert!(missing.contains("web, api"), "{missing}");
        let unknown = members.owner(Some("x")).unwrap_err().to_string();
        assert!(unknown.contains("\"x\"") && unknown.contains("web, api"), "{unknown}");
    }
}
