//! What a site consists of: its contexts, each with level, service time, class and target. Classes and targets come from
//! request heads through the code of the daemon.

use dispatcher_core::{
    class::{ClassKey, ClassMap},
    http::{Head, parse_head},
    ids::ClassId,
};

use crate::{level::Level, settings::WorkloadSettings};

/// Longest head that the catalogue makes, in bytes.
const MAX_HEAD_BYTES: usize = 256;

/// One context.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Class of its requests.
    pub class: ClassId,
    /// Target of its requests.
    pub target: u64,
    /// Level of service.
    pub level: Level,
    /// Service on a hit, in µs.
    pub service_us: u32,
}

/// All contexts of a site with `classes` hash classes.
#[must_use]
pub fn contexts(settings: &WorkloadSettings, classes: u16) -> Vec<Context> {
    let map = ClassMap::new(ClassId(0), Vec::new(), classes, ClassKey::Path);
    (0..settings.contexts).map(|number| context(settings, &map, number)).collect()
}

fn context(settings: &WorkloadSettings, map: &ClassMap, number: u32) -> Context {
    let level = settings.level(number);
    let text = format!("GET {} HTTP/1.1\r\nHost: site\r\n\r\n", path(number));
    let (class, target) = match parse_head(text.as_bytes(), MAX_HEAD_BYTES) {
        Head::Complete(head) => (map.classify(&head), map.target(&head)),
        _ => (ClassId(0), 0),
    };
    let service_us = u32::try_from(settings.service[level].0).unwrap_or(u32::MAX);
    Context { class, target, level, service_us }
}

/// The path of a context, also in generated logs.
#[must_use]
pub fn path(number: u32) -> String {
    format!("/context/{number}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn levels_have_the_papers_shares_and_targets_differ() {
        let contexts = contexts(&Settings::default().workload, 20);
        let count = |level| contexts.iter().filter(|context| context.level == level).count();
        assert_eq!((count(Level::High), count(Level::Medium), count(Level::Low)), (600, 250, 150));
        assert_eq!(contexts.iter().map(|context| context.target).collect::<HashSet<_>>().len(), 1000);
        assert_eq!(contexts.iter().map(|context| context.class).collect::<HashSet<_>>().len(), 20);
    }
}
