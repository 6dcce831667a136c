//! Parameters of the clients and of what they ask for.
//! Owns the levels of contexts; drawing and issuing are `popularity`'s and `clients`'.

use std::ops::Range;

use clap::{Args, ValueEnum};

use crate::{
    level::{Level, PerLevel},
    span::Span,
};

/// When requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalKind {
    /// A fixed number of clients; each asks, waits for the response and thinks
    Closed,
    /// Poisson, whatever the cluster does
    Open,
    /// Poisson with bursts
    Burst,
}

/// What is asked for how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PopularityKind {
    /// Every context alike
    Uniform,
    /// The context of rank r in proportion to 1/r^exponent
    Zipf,
}

/// The clients.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Clients")]
pub struct WorkloadSettings {
    /// C: number of contexts
    #[arg(long, value_name = "C", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub contexts: u32,
    /// Contexts that the memory of a server holds
    #[arg(long, value_name = "CONTEXTS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub cache: u64,
    /// Shares of the levels among contexts, in percent: high,medium,low
    #[arg(long, value_name = "PERCENT", default_value_t = PerLevel { high: 60, medium: 25, low: 15 })]
    pub levels: PerLevel<u32>,
    /// Service on a hit by level: high,medium,low
    #[arg(long, value_name = "TIMES", default_value_t = PerLevel { high: Span::ms(15), medium: Span::ms(11), low: Span::ms(5) })]
    pub service: PerLevel<Span>,
    /// What is asked for how often
    #[arg(long, value_enum, default_value_t = PopularityKind::Uniform)]
    pub popularity: PopularityKind,
    /// Exponent of --popularity zipf
    #[arg(long, value_name = "NUMBER", default_value_t = 0.8)]
    pub exponent: f64,
    /// The popularity moves on by a tenth of the contexts so often; 0s for never
    #[arg(long, value_name = "TIME", default_value_t = Span::default())]
    pub shift_every: Span,
    /// A flash crowd: half of all requests are for one context during FROM..TO
    #[arg(long, value_name = "FROM..TO", value_parser = moment_range)]
    pub flash: Option<Range<Span>>,
    /// When requests come
    #[arg(long, value_enum, default_value_t = ArrivalKind::Closed)]
    pub arrival: ArrivalKind,
    /// Clients of --arrival closed
    #[arg(long, value_name = "CLIENTS", default_value_t = 6000, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// Mean time that a client thinks before it asks again; exponential
    #[arg(long, value_name = "TIME", default_value_t = Span::s(1))]
    pub think: Span,
    /// Load of --arrival open and burst, in multiples of what the servers can do when all requests hit
    #[arg(long, value_name = "FACTOR", default_value_t = 0.7)]
    pub load: f64,
    /// Load during a burst, in multiples of --load
    #[arg(long, value_name = "FACTOR", default_value_t = 3.0)]
    pub burst: f64,
    /// How long a burst lasts
    #[arg(long, value_name = "TIME", default_value_t = Span::s(1))]
    pub burst_length: Span,
    /// Time from the beginning of a burst to the next one's
    #[arg(long, value_name = "TIME", default_value_t = Span::s(10))]
    pub burst_every: Span,
    /// Requests of a connection; those after the first go to the first one's server
    #[arg(long, value_name = "REQUESTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub per_connection: u32,
    /// Share of connections, in percent, that stay open and idle after their last response
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub idle: u32,
    /// How long they stay
    #[arg(long, value_name = "TIME", default_value_t = Span::s(5))]
    pub idle_time: Span,
}

impl WorkloadSettings {
    /// The level of a context. Levels alternate along the ranks of popularity, so that each has its share of requests too.
    #[must_use]
    pub fn level(&self, context: u32) -> Level {
        // 37 is coprime to 100: a hundred contexts in a row take every value once.
        let place = context.wrapping_mul(37) % 100;
        match place {
            _ if place < self.levels.high => Level::High,
            _ if place < self.levels.high + self.levels.medium => Level::Medium,
            _ => Level::Low,
        }
    }

    /// Mean service time on a hit, over contexts, in µs.
    #[must_use]
    pub fn mean_service_us(&self) -> f64 {
        let of = |level| f64::from(self.levels[level]) * self.service[level].0 as f64;
        let total: u32 = Level::ALL.into_iter().map(|level| self.levels[level]).sum();
        Level::ALL.into_iter().map(of).sum::<f64>() / f64::from(total.max(1))
    }
}

fn moment_range(text: &str) -> Result<Range<Span>, String> {
    let parse = |text: &str| text.parse::<Span>().map_err(|error| error.to_string());
    let (from, to) = text.split_once("..").ok_or("write FROM..TO, as in 10s..20s")?;
    Ok(parse(from)?..parse(to)?)
}
