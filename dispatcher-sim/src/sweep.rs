//! One parameter over a range of values, everything else as it is.
//! Owns which parameters can be varied, by the names of their flags.

use std::str::FromStr;

use dispatcher_core::policy::{LoadThreshold, UnknownPolicy};
use thiserror::Error;

use crate::{
    batch::{self, Job},
    contender::Contender,
    plot::{Curve, Look, Plot},
    run::Outcome,
    settings::{Limit, Settings},
    span::Span,
};

/// What is varied: a parameter by the name of its flag, and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    parameter: Parameter,
    values: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Servers,
    Contexts,
    Cache,
    Clients,
    Load,
    Exponent,
    Idle,
    QueueLimit,
    Limit,
    PeriodMs,
    DelayMs,
    MissMs,
    Classes,
    LoadThreshold,
}

/// All parameters by name.
const PARAMETERS: [(&str, Parameter); 14] = [
    ("servers", Parameter::Servers),
    ("contexts", Parameter::Contexts),
    ("cache", Parameter::Cache),
    ("clients", Parameter::Clients),
    ("load", Parameter::Load),
    ("exponent", Parameter::Exponent),
    ("idle", Parameter::Idle),
    ("queue-limit", Parameter::QueueLimit),
    ("limit", Parameter::Limit),
    ("period-ms", Parameter::PeriodMs),
    ("delay-ms", Parameter::DelayMs),
    ("miss-ms", Parameter::MissMs),
    ("classes", Parameter::Classes),
    ("load-threshold", Parameter::LoadThreshold),
];

/// A sweep is not written as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSweep {
    /// No values.
    #[error("{0:?} is no sweep; write PARAMETER=VALUE,VALUE,…, as in servers=2,4,8")]
    Form(String),
    /// No such parameter.
    #[error("no parameter {0:?} to vary; use one of: {1}")]
    Parameter(String, String),
}

impl FromStr for Sweep {
    type Err = BadSweep;

    fn from_str(text: &str) -> Result<Self, BadSweep> {
        let form = || BadSweep::Form(text.to_owned());
        let (name, values) = text.split_once('=').ok_or_else(form)?;
        let values: Vec<f64> =
            values.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| form())?;
        if values.iter().any(|value| !value.is_finite() || *value < 0.0) {
            return Err(form());
        }
        let parameter = PARAMETERS.into_iter().find(|(known, _)| *known == name).ok_or_else(|| {
            BadSweep::Parameter(name.to_owned(), PARAMETERS.map(|(known, _)| known).join(", "))
        })?;
        Ok(Self { parameter: parameter.1, values })
    }
}

impl Sweep {
    /// The parameter's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        PARAMETERS
            .into_iter()
            .find(|(_, parameter)| *parameter == self.parameter)
            .map_or("", |(name, _)| name)
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// What tables and legends call a contender: without K where that is what varies.
    #[must_use]
    pub fn label(&self, contender: &Contender) -> String {
        let label = contender.to_string();
        match self.parameter {
            Parameter::Classes => label.replace(&format!(", K={}", contender.classes), ""),
            _ => label,
        }
    }

    /// Outcomes of `contenders` at each value. `done` is called after each run.
    ///
    /// # Errors
    /// When a policy does not exist.
    pub fn run(
        &self,
        settings: &Settings,
        contenders: &[Contender],
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<Outcome>>, UnknownPolicy> {
        let job = |value: f64, contender: &Contender| {
            let mut job = Job { settings: settings.clone(), contender: contender.clone() };
            self.set(value, &mut job);
            job
        };
        let jobs: Vec<_> = self
            .values
            .iter()
            .flat_map(|&value| contenders.iter().map(move |contender| job(value, contender)))
            .collect();
        let outcomes = batch::run_all(&jobs, done)?;
        Ok(outcomes.chunks(contenders.len().max(1)).map(<[_]>::to_vec).collect())
    }

    /// A plot of one quantity of the outcomes.
    #[must_use]
    pub fn plot(
        &self,
        quantity: (&str, fn(&Outcome) -> f64),
        contenders: &[Contender],
        outcomes: &[Vec<Outcome>],
    ) -> Plot {
        let (y_label, value) = quantity;
        let curves = contenders.iter().enumerate().map(|(index, contender)| Curve {
            label: self.label(contender),
            look: Look::Distinct(index),
            points: self.values.iter().zip(outcomes).map(|(&x, at)| (x, value(&at[index]))).collect(),
        });
        Plot {
            title: format!("{y_label} over {}", self.name()),
            x_label: self.name().to_owned(),
            y_label: y_label.to_owned(),
            x_is_logarithmic: false,
            curves: curves.collect(),
        }
    }

    fn set(&self, value: f64, job: &mut Job) {
        let Job { settings: Settings { cluster, workload, front, .. }, contender } = job;
        let whole = value as u32;
        let ms = Span((value * 1000.0) as u64);
        match self.parameter {
            Parameter::Servers => cluster.servers = (whole as u16).clamp(1, 256),
            Parameter::Contexts => workload.contexts = whole.max(1),
            Parameter::Cache => workload.cache = u64::from(whole.max(1)),
            Parameter::Clients => workload.clients = whole.max(1),
            Parameter::Load => workload.load = value,
            Parameter::Exponent => workload.exponent = value,
            Parameter::Idle => workload.idle = whole.min(100),
            Parameter::QueueLimit => cluster.queue_limit = whole,
            Parameter::Limit => front.limit = Limit::Connections(whole.into()),
            Parameter::PeriodMs => front.period = ms,
            Parameter::DelayMs => front.delay = ms,
            Parameter::MissMs => cluster.miss = ms,
            Parameter::Classes => contender.classes = (whole as u16).max(1),
            Parameter::LoadThreshold => {
                contender.policy.load_threshold = Some(LoadThreshold::Requests(whole))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_names_a_parameter_and_its_values() {
        let sweep: Sweep = "load=0.5,1,2".parse().unwrap();
        assert_eq!((sweep.name(), sweep.values()), ("load", [0.5, 1.0, 2.0].as_slice()));
        for bad in ["load", "load=", "load=x", "load=-1", "load=inf", "luck=1"] {
            assert!(bad.parse::<Sweep>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sweep_over_k_does_not_name_one_k() {
        let contender: Contender = "context:faithful:20:16x".parse().unwrap();
        let label = |sweep: &str| sweep.parse::<Sweep>().unwrap().label(&contender);
        assert_eq!(label("classes=10,20"), "context faithful, 16x");
        assert_eq!(label("servers=1"), "context faithful, K=20, 16x");
    }

    #[test]
    fn every_value_is_run_for_everybody() {
        let mut settings = Settings::default();
        (settings.run.warm_up, settings.run.requests) = (0, 200);
        let sweep: Sweep = "servers=1,2,3".parse().unwrap();
        let contenders = ["round-robin", "random"].map(|name| name.parse().unwrap());
        let outcomes = sweep.run(&settings, &contenders, &|| ()).unwrap();
        assert!(outcomes.len() == 3 && outcomes.iter().all(|at| at.len() == 2));
        assert!(outcomes[2][0].throughput > outcomes[0][0].throughput * 2.0);
        let plot = sweep.plot(("throughput", |outcome| outcome.throughput), &contenders, &outcomes);
        assert!(plot.svg().unwrap().contains("round-robin"));
    }
}
