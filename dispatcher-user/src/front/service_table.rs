//! The SERVICES map: which VIPs and ports are services, and what the program goes by for each. An entry changes at once, so every
//! packet is judged by one state of its service.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use aya::maps::{HashMap, MapData, MapError};
use dispatcher_common::service::{ServiceEntry, ServiceKey, flag};
use dispatcher_core::{
    config::{FrontConfig, ServiceConfig},
    policy::InKernel,
};

use super::sweep::{Loss, Lost};

/// The port of the entry that stands for a VIP as such, whatever the port.
const ANY_PORT: u16 = 0;

/// The map and what is in it.
#[derive(Debug)]
pub struct ServiceTable(Mutex<State>);

#[derive(Debug)]
struct State {
    map: HashMap<MapData, ServiceKey, ServiceEntry>,
    /// By configured service: whether the class cache may be asked as far as the configuration goes.
    quick: Vec<bool>,
    entries: Vec<(ServiceKey, ServiceEntry)>,
}

/// What the rules of a service's member-table mean for the data plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberState {
    pub generation: u16,
    pub has_rules: bool,
    pub has_ports: bool,
    /// Cookies make a difference.
    pub asks_for_cookies: bool,
}

impl ServiceTable {
    /// A table on the map, which an earlier control plane may have filled.
    #[must_use]
    pub fn new(map: HashMap<MapData, ServiceKey, ServiceEntry>) -> Self {
        Self(Mutex::new(State { map, quick: Vec::new(), entries: Vec::new() }))
    }

    /// The generation of rules after the one that services have now.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn next_generation(&self) -> Result<u16, MapError> {
        let mut latest = 0;
        for entry in self.lock().map.iter() {
            let (_, entry) = entry?;
            latest = entry.generation.max(latest);
        }
        Ok(latest.wrapping_add(1))
    }

    /// Writes the services, with the rules of each, and removes those that are no longer configured. Returns the service numbers
    /// that meant another before.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set(&self, config: &FrontConfig, members: &[MemberState]) -> Result<Vec<Loss>, MapError> {
        let state = &mut *self.lock();
        state.quick = quick(config);
        state.entries = service_entries(config, &state.quick, members);
        replace_services(&mut state.map, &state.entries)
    }

    /// Sets which requests on kept connections a configured service refuses.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_gate(&self, owner: usize, gate: u8) -> Result<(), MapError> {
        self.change(owner, |entry| entry.gate = gate)
    }

    /// Puts other rules in force.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_members(&self, owner: usize, members: MemberState) -> Result<(), MapError> {
        let quick = self.lock().quick.get(owner).copied().unwrap_or_default();
        self.change(owner, |entry| set_members(entry, quick, members))
    }

    fn change(&self, owner: usize, change: impl Fn(&mut ServiceEntry)) -> Result<(), MapError> {
        let State { map, entries, .. } = &mut *self.lock();
        for (key, entry) in entries.iter_mut().filter(|(_, entry)| usize::from(entry.owner) == owner) {
            let before = *entry;
            change(entry);
            if *entry != before {
                map.insert(*key, *entry, 0)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which services have a class cache: those whose policy the program knows.
fn quick(config: &FrontConfig) -> Vec<bool> {
    let is_quick = |service: &ServiceConfig| {
        let policy = service.policy.build(service.class_base, service.class_count());
        config.class_cache > 0 && policy.is_ok_and(|policy| !matches!(policy.in_kernel(), InKernel::No))
    };
    config.services.iter().map(is_quick).collect()
}

fn set_members(entry: &mut ServiceEntry, quick: bool, members: MemberState) {
    entry.generation = members.generation;
    entry.flags &= !(flag::MEMBERS | flag::MEMBER_PORTS | flag::QUICK);
    entry.flags |= if quick && !members.asks_for_cookies { flag::QUICK } else { 0 };
    entry.flags |= if members.has_rules { flag::MEMBERS } else { 0 };
    entry.flags |= if members.has_ports { flag::MEMBER_PORTS } else { 0 };
}

/// The flags that rules do not change.
fn lasting_flags(service: &ServiceConfig) -> u8 {
    let admission = service.admission.as_ref();
    let flags = [
        (admission.is_some(), flag::ADMISSION),
        (admission.is_some_and(|settings| settings.sources.is_limited()), flag::SOURCE_LIMITS),
        (service.per_request, flag::PER_REQUEST),
    ];
    flags.into_iter().filter(|(holds, _)| *holds).fold(0, |all, (_, flag)| all | flag)
}

/// One entry for each VIP and port, numbered as the model numbers them, and one for each VIP alone.
fn service_entries(
    config: &FrontConfig,
    quick: &[bool],
    members: &[MemberState],
) -> Vec<(ServiceKey, ServiceEntry)> {
    let key = |vip: IpAddr, port: u16| ServiceKey::new(vip.into(), port.to_be());
    let services = config.services.iter().enumerate();
    let pairs =
        services.flat_map(|(owner, service)| service.vips.iter().map(move |vip| (owner, service, *vip)));
    let mut entries: Vec<(ServiceKey, ServiceEntry)> = Vec::new();
    for (id, (owner, service, vip)) in pairs.enumerate() {
        let mut entry = ServiceEntry {
            id: id as u16,
            owner: owner as u8,
            priority: service.priority.get(),
            flags: lasting_flags(service),
            ..ServiceEntry::default()
        };
        set_members(&mut entry, quick[owner], members.get(owner).copied().unwrap_or_default());
        entries.push((key(vip, service.port), entry));
        let any = key(vip, ANY_PORT);
        if entries.iter().all(|(other, _)| *other != any) {
            entries.push((any, entry));
        }
    }
    entries
}

fn replace_services(
    map: &mut HashMap<MapData, ServiceKey, ServiceEntry>,
    wanted: &[(ServiceKey, ServiceEntry)],
) -> Result<Vec<Loss>, MapError> {
    let old: Vec<(ServiceKey, ServiceEntry)> = map.iter().collect::<Result<_, _>>()?;
    let mut losses = Vec::new();
    for (key, entry) in old {
        let new = wanted.iter().find(|(wanted, _)| *wanted == key);
        if key.port_be() != ANY_PORT && new.is_none_or(|(_, new)| new.id != entry.id) {
            losses.push(Loss::now(Lost::Service(entry.id)));
        }
        if new.is_none() {
            map.remove(&key)?;
        }
    }
    for (key, entry) in wanted {
        map.insert(key, entry, 0)?;
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::model::tests::config;

    fn entries_of(config: &FrontConfig) -> Vec<(ServiceKey, ServiceEntry)> {
        service_entries(config, &quick(config), &[])
    }

    #[test]
    fn the_class_cache_is_asked_unless_it_is_off_or_cookies_make_a_difference() {
        let is_quick = |entry: &ServiceEntry| entry.flags & flag::QUICK != 0;
        let mut config = config();
        assert!(entries_of(&config).iter().all(|(_, entry)| is_quick(entry)));
        let mut entry = entries_of(&config)[0].1;
        set_members(&mut entry, true, MemberState { asks_for_cookies: true, ..MemberState::default() });
        assert!(!is_quick(&entry));
        set_members(&mut entry, true, MemberState::default());
        assert!(is_quick(&entry));
        config.class_cache = 0;
        assert!(!entries_of(&config).iter().any(|(_, entry)| is_quick(entry)));
    }

    #[test]
    fn a_service_has_the_flags_of_its_configuration_whatever_its_rules() {
        let mut config = config();
        config.class_cache = 0;
        config.services[0].per_request = false;
        let mut entries = entries_of(&config);
        let flags = |entries: &[(ServiceKey, ServiceEntry)]| -> Vec<u8> {
            entries.iter().map(|(_, entry)| entry.flags).collect()
        };
        let expected = [0, 0, 0, 0, flag::PER_REQUEST, flag::PER_REQUEST];
        assert_eq!(flags(&entries), expected);
        entries.iter_mut().for_each(|(_, entry)| set_members(entry, false, MemberState::default()));
        assert_eq!(flags(&entries), expected);
    }

    #[test]
    fn services_are_numbered_by_vip_and_each_vip_has_an_entry_of_its_own() {
        let entries = entries_of(&config());
        let ids: Vec<_> =
            entries.iter().map(|(key, entry)| (u16::from_be(key.port_be()), entry.id)).collect();
        assert_eq!(ids, [(80, 0), (0, 0), (80, 1), (0, 1), (80, 2), (0, 2)]);
        assert_eq!(IpAddr::from(entries[2].0.vip), "2001:db8::100".parse::<IpAddr>().unwrap());
        assert_eq!(entries[4].1.priority, 5);
    }

    #[test]
    fn a_number_that_means_another_service_is_lost() {
        let mut map = match HashMap::create(128, 0) {
            Ok(map) => map,
            Err(error) => return println!("skipped: cannot create a map: {error}; run as root"),
        };
        let before = entries_of(&config());
        assert_eq!(replace_services(&mut map, &before).unwrap(), []);
        assert_eq!(replace_services(&mut map, &before).unwrap(), []);
        let mut fewer = config();
        fewer.services.remove(0);
        let losses = replace_services(&mut map, &entries_of(&fewer)).unwrap();
        let mut lost: Vec<_> = losses.into_iter().map(|loss| loss.what).collect();
        lost.sort_by_key(|what| format!("{what:?}"));
        assert_eq!(lost, [Lost::Service(0), Lost::Service(1), Lost::Service(2)]);
        assert_eq!(map.iter().count(), 2);
    }
}
