//! The member-tables of the configured services: read from their files at start, changed live, and put in force at once in the
//! kernel and in the slow path. What the rules mean is the decision core's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
    time::Duration,
};

use aya::maps::MapError;
use dispatcher_common::member::{MemberEntry, MemberKey, Scope};
use dispatcher_core::{
    config::{FrontConfig, ServiceConfig},
    member::{MemberError, MemberRule, MemberTable, RuleError, SignedCookies, parse_rules},
    secret::Secret,
};
use thiserror::Error;

use super::service_table::{MemberState, ServiceTable};
use crate::kernel::table::Table;

/// The MEMBERS map.
pub type MemberTrie = Table<MemberKey, MemberEntry>;

/// Entries written by one system call.
const BATCH: usize = 4096;

/// How long old rules stay in the kernel after new ones are in force: each CPU looks services up anew within a tick, of 10 ms at
/// most.
const GRACE: Duration = Duration::from_millis(50);

/// Rules cannot be put in force. Those before stay.
#[derive(Debug, Error)]
pub enum MembersError {
    /// For the operator.
    #[error("cannot read {}: {source}; check the path and its rights", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
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
    /// From the kernel, unexpected.
    #[error("cannot write the member-table: {0} entries were refused; lower the number of rules")]
    Full(usize),
    /// From the kernel, unexpected.
    #[error("cannot write the member-table: {0}; remove the pin path and start again")]
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
            let text = fs::read_to_string(&path)
                .map_err(|source| MembersError::Read { path: path.clone(), source })?;
            parse_rules(&text, &path.display().to_string())?
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
}

#[derive(Debug)]
struct Service {
    config: ServiceConfig,
    signed: Option<SignedCookies>,
    table: RwLock<Arc<MemberTable>>,
}

/// The kernel's side; one change at a time.
#[derive(Debug)]
struct Kernel {
    trie: MemberTrie,
    services: Arc<ServiceTable>,
    loaded: Mutex<Vec<Loaded>>,
}

/// What the trie holds for a service.
#[derive(Debug, Default)]
struct Loaded {
    generation: u16,
    keys: Vec<MemberKey>,
}

impl Members {
    /// Tables that no program sees.
    ///
    /// # Panics
    /// Never, as there is a table for each service.
    #[must_use]
    pub fn new(config: &FrontConfig, secret: &Secret, tables: Vec<MemberTable>) -> Self {
        let services = config.services.iter().zip(tables).map(|(config, table)| Service {
            config: config.clone(),
            signed: signed(config, secret),
            table: RwLock::new(Arc::new(table)),
        });
        Self { services: services.collect(), kernel: None }
    }

    /// Writes the tables to the kernel under a generation that nobody has, and removes what else is there once
    /// [`ServiceTable::set`] was called with the states that this gives.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(
        &mut self,
        trie: MemberTrie,
        services: Arc<ServiceTable>,
    ) -> Result<(Vec<MemberState>, StaleRules), MembersError> {
        let stale = trie.keys()?;
        let used = stale.iter().map(|key| key.scope().generation).collect();
        let generation = services.unused_generation(&used)?;
        let mut loaded = Vec::new();
        let mut states = Vec::new();
        for (owner, service) in self.services.iter().enumerate() {
            let table = service.current();
            let keys = write(&trie, &table, Scope { owner: owner as u16, generation })?;
            loaded.push(Loaded { generation, keys });
            states.push(state(&table, generation));
        }
        let rest = StaleRules { trie: trie.clone(), keys: stale };
        self.kernel = Some(Kernel { trie, services, loaded: Mutex::new(loaded) });
        Ok((states, rest))
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
        let guard = self.kernel.as_ref().map(|kernel| kernel.lock());
        self.replace_locked(owner, rules, guard)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub fn add(&self, owner: usize, rule: MemberRule) -> Result<usize, MembersError> {
        let guard = self.kernel.as_ref().map(|kernel| kernel.lock());
        let mut rules = self.current(owner).rules().to_vec();
        rules.push(rule);
        self.replace_locked(owner, rules, guard)
    }

    /// Removes the rule with these conditions, whatever its priority.
    ///
    /// # Errors
    /// When there is none, or as [`replace`](Self::replace).
    pub fn remove(&self, owner: usize, rule: &MemberRule) -> Result<usize, MembersError> {
        let guard = self.kernel.as_ref().map(|kernel| kernel.lock());
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

    fn replace_locked(
        &self,
        owner: usize,
        rules: Vec<MemberRule>,
        loaded: Option<std::sync::MutexGuard<'_, Vec<Loaded>>>,
    ) -> Result<usize, MembersError> {
        let service = &self.services[owner];
        let table = Arc::new(table(&service.config, rules, service.signed.clone())?);
        if let (Some(kernel), Some(mut loaded)) = (&self.kernel, loaded) {
            kernel.replace(owner, &table, &mut loaded[owner], || service.put(&table))?;
        } else {
            service.put(&table);
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
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(
        &self,
        owner: usize,
        table: &MemberTable,
        loaded: &mut Loaded,
        put: impl FnOnce(),
    ) -> Result<(), MembersError> {
        // The trie is empty of it: every generation is removed before the next one begins.
        let generation = loaded.generation.wrapping_add(1);
        let keys = write(&self.trie, table, Scope { owner: owner as u16, generation })?;
        if let Err(error) = self.services.set_members(owner, state(table, generation)) {
            remove(&self.trie, &keys);
            return Err(error.into());
        }
        put();
        let old = std::mem::replace(loaded, Loaded { generation, keys });
        if !old.keys.is_empty() {
            thread::sleep(GRACE);
            remove(&self.trie, &old.keys);
        }
        Ok(())
    }
}

/// Entries of an earlier control plane, or of services that are gone.
#[derive(Debug)]
#[must_use = "the entries stay until they are removed"]
pub struct StaleRules {
    trie: MemberTrie,
    keys: Vec<MemberKey>,
}

impl StaleRules {
    /// Removes them. Call it once no service refers to them.
    pub fn remove(self) {
        if !self.keys.is_empty() {
            thread::sleep(GRACE);
            remove(&self.trie, &self.keys);
        }
    }
}

fn state(table: &MemberTable, generation: u16) -> MemberState {
    MemberState { generation, has_rules: !table.is_empty(), has_ports: table.has_ports() }
}

/// Writes the entries of a table; none of them if not all.
fn write(trie: &MemberTrie, table: &MemberTable, scope: Scope) -> Result<Vec<MemberKey>, MembersError> {
    let (keys, values): (Vec<_>, Vec<_>) = table.entries(scope).into_iter().unzip();
    let mut failed = 0;
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        failed += trie.update_batch(keys, values);
    }
    if failed > 0 {
        remove(trie, &keys);
        return Err(MembersError::Full(failed));
    }
    Ok(keys)
}

fn remove(trie: &MemberTrie, keys: &[MemberKey]) {
    let failed = keys.iter().filter(|key| trie.delete(key).is_err()).count();
    if failed > 0 {
        tracing::warn!("{failed} old entries of the member-table could not be removed; they hold nobody");
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
