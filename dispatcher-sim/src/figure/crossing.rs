//! Where ours passes the paper's LARD: hit rate over K, with as many servers as the figures have at most.
//! Draws what the figures have run; runs nothing.

use std::{io, path::Path};

use dispatcher_core::policy::TableKind;

use super::{
    Series,
    curves::{self, CLASSES},
};
use crate::{
    contender::Contender,
    plot::{Curve, Look, Plot},
};

/// Writes one plot for each series.
pub(super) fn write(all: &[Series], directory: &Path) -> io::Result<()> {
    for series in all {
        let name = format!("classes-{}-{}.svg", series.contexts, series.popularity);
        plot(series).write(&directory.join(name))?;
    }
    Ok(())
}

fn plot(series: &Series) -> Plot {
    let hit_rate = |member: &_| {
        series.outcomes(member).last().map_or(0.0, |with_most_servers| with_most_servers.hit_rate)
    };
    let ours = [(TableKind::Faithful, 2), (TableKind::Sticky, 3)].map(|(table, index)| Curve {
        label: format!("context {}", if table == TableKind::Sticky { "sticky" } else { "faithful" }),
        look: Look::Distinct(index),
        points: CLASSES
            .map(|k| (f64::from(k), hit_rate(&curves::lru(Contender::context(table, k)))))
            .to_vec(),
    });
    let rivals = curves::rivals().map(|(member, look)| Curve {
        label: member.label(),
        look,
        points: [10.0, 1000.0].map(|k| (k, hit_rate(&member))).to_vec(),
    });
    Plot {
        title: format!(
            "Hit rate over K, {} contexts, {} popularity, {} servers",
            series.contexts,
            series.popularity,
            super::SERVERS[super::SERVERS.len() - 1]
        ),
        x_label: "K: context classes".to_owned(),
        y_label: "hit rate".to_owned(),
        x_is_logarithmic: true,
        curves: rivals.into_iter().chain(ours).collect(),
    }
}
