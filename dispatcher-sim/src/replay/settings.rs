//! Parameters of a replay. What is not said here is as in a simulation without `--queue-limit` and the like.
//! Owns their defaults; what they do is the business of the module that reads them.

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use super::line::Format;
use crate::{
    settings::{ClusterSettings, FrontSettings, Limit, Settings},
    span::Span,
};

/// When the requests of a log are issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pace {
    /// By their time stamps
    Log,
    /// As soon as the front-end lets one more in
    Saturate,
}

/// A replay.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Log")]
pub struct ReplaySettings {
    /// Format of the lines
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,
    /// How time stamps are written, in strptime's letters, as in '%d:%H:%M:%S'; without it as the format has them
    #[arg(long, value_name = "FORMAT")]
    pub time_format: Option<String>,
    /// When requests are issued
    #[arg(long, value_enum, default_value_t = Pace::Log)]
    pub pace: Pace,
    /// So many times faster than the log
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,
    /// Quiet times are shortened to this
    #[arg(long, value_name = "TIME", default_value_t = Span::s(1))]
    pub longest_gap: Span,
    /// Memory of a server for content, in pages of 4 KiB
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::mb(256))]
    pub cache: ByteSize,
    /// Service on a hit, but for the bytes
    #[arg(long, value_name = "TIME", default_value_t = Span::ms(1))]
    pub service_time: Span,
    /// Bytes that a server sends in a second
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::mb(100))]
    pub bandwidth: ByteSize,
    /// Bytes that a server reads from its disk in a second, after --miss
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::mb(100))]
    pub disk_bandwidth: ByteSize,
    /// Time between two reports of a server
    #[arg(long, value_name = "TIME", default_value_t = Span::ms(100))]
    pub period: Span,
    /// S: connections let in at once: a number, `paper` or `none`
    #[arg(long, value_name = "S", default_value_t = Limit::Paper)]
    pub limit: Limit,
    /// Seed of random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// The servers.
    #[command(flatten)]
    pub cluster: ClusterSettings,
}

impl Default for ReplaySettings {
    /// What all flags have when none is given.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Flags {
            #[command(flatten)]
            settings: ReplaySettings,
        }
        <Flags as clap::Parser>::parse_from(["replay"]).settings
    }
}

impl ReplaySettings {
    /// The simulation that is like it.
    pub(super) fn simulation(&self) -> Settings {
        let mut settings = Settings { cluster: self.cluster.clone(), ..Settings::default() };
        settings.front = FrontSettings { period: self.period, limit: self.limit, ..settings.front };
        settings.run.seed = self.seed;
        settings
    }
}
