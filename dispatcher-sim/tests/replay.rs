//! Replay from end to end: a log of the simulator's own requests, and a real one where it is at hand.
//! Single lines and stamps are tested beside their code.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::{
    fs::{self, File},
    io::{BufWriter, Cursor, Write},
    path::{Path, PathBuf},
};

use dispatcher_core::policy::TableKind;
use dispatcher_sim::{
    catalogue,
    contender::Contender,
    popularity::Popularity,
    random::{self, Stream},
    replay::{self, BadLine, Lines, Replay, ReplaySettings},
    run::Outcome,
    settings::{PopularityKind, Settings},
};
use flate2::{Compression, write::GzEncoder};

/// Names the file of the real log.
const REAL_LOG_VARIABLE: &str = "DISPATCHER_REAL_LOG";

fn contenders(names: &[&str]) -> Vec<Contender> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn replayed(settings: &ReplaySettings, names: &[&str], log: &str) -> (Lines, Vec<(Contender, Outcome)>) {
    let mut replay = Replay::new(settings, contenders(names)).unwrap();
    replay.feed(&mut Cursor::new(log), &|_| ()).unwrap();
    replay.finish()
}

/// Writes a log of requests for the contexts of `settings`, ten a second.
fn write_log(settings: &Settings, lines: u32, log: &mut dyn Write) {
    let popularity = Popularity::new(&settings.workload);
    let mut rng = random::stream(settings.run.seed, Stream::Contexts);
    for line in 0..lines {
        let path = catalogue::path(popularity.draw(0, &mut rng));
        let (minute, second) = (line / 600 % 60, line / 10 % 60);
        let stamp = format!(
            "{:02}/Jan/2026:{:02}:{minute:02}:{second:02} +0000",
            1 + line / 864_000,
            line / 36_000 % 24
        );
        writeln!(log, r#"192.0.2.1 - - [{stamp}] "GET {path} HTTP/1.1" 200 {}"#, 1000 + line % 7).unwrap();
    }
}

/// Most memory that this process ever had, in kB.
fn peak_memory_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[test]
fn a_million_lines_are_replayed_in_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log.gz");
    let mut settings = Settings::default();
    settings.workload.popularity = PopularityKind::Zipf;
    let mut log = GzEncoder::new(BufWriter::new(File::create(&path).unwrap()), Compression::fast());
    write_log(&settings, 1_000_000, &mut log);
    log.finish().unwrap().flush().unwrap();
    let before = peak_memory_kb();
    let settings = ReplaySettings { cache: bytesize::ByteSize::kib(400), ..ReplaySettings::default() };
    let names = ["round-robin", "lard", "context:100"];
    let mut replay = Replay::new(&settings, contenders(&names)).unwrap();
    replay.feed(&mut replay::open(&path).unwrap(), &|_| ()).unwrap();
    let (lines, results) = replay.finish();
    assert_eq!((lines.good, lines.bad), (1_000_000, 0));
    let rates: Vec<_> = results.iter().map(|(_, outcome)| outcome.hit_rate).collect();
    assert!(rates[0] < 0.5 && rates[1] > 0.8 && rates[2] > 0.8, "{rates:?}");
    if let (Some(before), Some(after)) = (before, peak_memory_kb()) {
        assert!(after - before < 100_000, "{before} kB before, {after} kB after");
    }
}

#[test]
fn bad_lines_are_counted_and_shown_and_never_fatal() {
    let log = concat!(
        "a - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 10\n",
        "\n",
        "nonsense\n",
        "a - - [tomorrow] \"GET /a HTTP/1.0\" 200 10\n",
        "a - - [10/Oct/2000:13:55:37 -0700] \"GET /\u{0} HTTP/1.0\" 400 10\n",
        "{\"msec\": \"971211338.5\", \"request\": \"GET /a HTTP/1.1\", \"body_bytes_sent\": 10}\n",
        "a - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.0\" 200 10",
    );
    let (lines, results) = replayed(&ReplaySettings::default(), &["round-robin", "hash"], log);
    assert_eq!((lines.good, lines.bad), (3, 3));
    let numbers: Vec<_> = lines.examples.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 3, 4]);
    assert!(matches!(lines.examples[0].1, BadLine::Form { .. }), "{lines:?}");
    assert!(matches!(lines.examples[1].1, BadLine::Stamp { .. }), "{lines:?}");
    assert!(matches!(lines.examples[2].1, BadLine::Request(_)), "{lines:?}");
    let hash = &results[1].1;
    assert!((hash.hit_rate - 2.0 / 3.0).abs() < 1e-9, "one object on one server: {hash:?}");
}

#[test]
fn a_replay_is_the_same_every_time() {
    let mut log = Vec::new();
    write_log(&Settings::default(), 40_000, &mut log);
    let log = String::from_utf8(log).unwrap();
    let names = ["random", "prequal", "context", "lard-r"];
    let once = replayed(&ReplaySettings::default(), &names, &log);
    assert_eq!(once, replayed(&ReplaySettings::default(), &names, &log));
}

#[test]
fn advice_names_the_fewest_classes_that_are_as_good() {
    let mut settings = Settings::default();
    settings.workload.popularity = PopularityKind::Zipf;
    let mut log = Vec::new();
    write_log(&settings, 60_000, &mut log);
    let log = String::from_utf8(log).unwrap();
    let settings = ReplaySettings { cache: bytesize::ByteSize::kib(400), ..ReplaySettings::default() };
    let (_, results) = replayed(
        &settings,
        &["round-robin", "context:sticky:10", "context:sticky:50", "context:sticky:1000"],
        &log,
    );
    let advice = replay::advise(&results).unwrap();
    let best = results[1..].iter().map(|(_, outcome)| outcome.hit_rate).fold(0.0, f64::max);
    assert!(advice.outcome.hit_rate >= best - 0.005 && advice.contender.classes < 1000, "{advice:?}");
}

#[test]
fn advice_prefers_the_default_table_where_both_are_as_good() {
    let mut log = Vec::new();
    write_log(&Settings::default(), 20_000, &mut log);
    let log = String::from_utf8(log).unwrap();
    // Memories hold everything, so all miss each object once.
    let (_, results) =
        replayed(&ReplaySettings::default(), &["context:sticky:10", "context:sticky:50", "context"], &log);
    let policy = replay::advise(&results).unwrap().contender.policy;
    assert_eq!((policy.table, policy.load_threshold), (TableKind::Weighted, None));
}

fn real_log() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/epa-http-second-half.log.gz");
    let named = std::env::var_os(REAL_LOG_VARIABLE).map(PathBuf::from);
    named.into_iter().chain([beside]).find(|path| path.exists())
}

#[test]
fn a_real_log_with_odd_stamps_is_replayed() {
    let Some(path) = real_log() else {
        println!("skipped: no real log beside the workspace, and {REAL_LOG_VARIABLE} names none");
        return;
    };
    let settings = ReplaySettings {
        time_format: Some("%d:%H:%M:%S".to_owned()),
        cache: bytesize::ByteSize::mb(2),
        ..ReplaySettings::default()
    };
    let names = ["round-robin", "lard", "context:100"];
    let mut replay = Replay::new(&settings, contenders(&names)).unwrap();
    replay.feed(&mut replay::open(&path).unwrap(), &|_| ()).unwrap();
    let (lines, results) = replay.finish();
    assert!(lines.good > 15_000 && lines.bad * 100 < lines.good, "{lines:?}");
    let rates: Vec<_> = results.iter().map(|(_, outcome)| outcome.hit_rate).collect();
    assert!(rates[1] > rates[0] && rates[2] > rates[0], "{rates:?}");
}
