//! What the dispatcher saw during the demo, as tables: classes, servers, packets, and drops by reason.

use std::{collections::BTreeMap, fmt::Write};

use ::tests::Rig;
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use super::traffic::Tally;

/// Counters of a normal life, in the order of a request's way, with what to call them. What else has counted is a
/// drop, a refusal or an exception, and is listed by its reason.
const FRONT: [(&str, &str); 12] = [
    ("syn_answered", "handshakes answered with a cookie"),
    ("handshake_completed", "handshakes completed"),
    ("request_first", "first segments given to the slow path"),
    ("request_later", "further segments of pending flows"),
    ("collecting_started", "heads that spanned segments"),
    ("request_dispatched", "requests sent to a server with a ticket"),
    ("request_quick", "requests sent to a server by the class cache"),
    ("further_stayed", "further requests that stayed at their server"),
    ("further_moving", "further requests for another server"),
    ("move_released", "connections that went to another server"),
    ("forwarded", "packets of known flows forwarded"),
    ("report_accepted", "reports of the servers"),
];
const SERVERS: [(&str, &str); 4] = [
    ("handoff_accepted", "hand-offs: tickets turned into connections"),
    ("segment_passed", "packets of connections handed off"),
    ("request_booked", "further requests on kept connections"),
    ("response_started", "responses begun"),
];
/// Not worth a line: everyday traffic beside the service, and bookkeeping.
const QUIET: [&str; 5] =
    ["other_passed", "filter_expired", "pending_ack_dropped", "collecting_acked", "rst_passed"];

pub(super) fn print(rig: &Rig, tally: &Tally, slow: &str) -> Result<()> {
    let bind_table = rig.show("front", "bind-table")?;
    let servers = rig.show("front", "servers")?;
    let front = values(&rig.show("front", "counters")?);
    let mut back = Counters::default();
    for server in rig.plan().server_names() {
        for (name, counter) in values(&rig.show(&server, "counters")?) {
            let sum = back.entry(name).or_insert(Counter { value: 0, help: counter.help });
            sum.value += counter.value;
        }
    }
    println!("\nClasses and the servers they are bound to (one row per class and service address)");
    println!("{}", class_table(&bind_table));
    println!("\nServers ({slow} answered slowly for six seconds, and its classes moved away)");
    println!("{}", server_table(&servers, tally));
    println!("\nA request's way");
    println!("{}", way_table(tally, &front, &back));
    println!("\nDrops, refusals and exceptions, by reason");
    println!("{}", exceptions_table(&front, &back));
    Ok(())
}

#[derive(Clone, Debug)]
struct Counter {
    value: u64,
    help: String,
}

type Counters = BTreeMap<String, Counter>;

fn values(rows: &[Value]) -> Counters {
    let counter = |row: &Value| Counter { value: number(&row["value"]), help: text(&row["help"]) };
    rows.iter().map(|row| (text(&row["name"]), counter(row))).collect()
}

fn class_table(rows: &[Value]) -> Table {
    let mut table = table(&["class", "server", "flows", "hits", "moved"], 2);
    for row in rows.iter().filter(|row| number(&row["dispatched"]) > 0) {
        let cells = ["class_name", "server", "dispatched", "hits", "moved"].map(|key| text(&row[key]));
        table.add_row(cells);
    }
    table
}

fn server_table(rows: &[Value], tally: &Tally) -> Table {
    let header = [
        "server",
        "state",
        "q",
        "T",
        "flows",
        "hits",
        "moved",
        "packets to it",
        "right answers",
        "of classes",
    ];
    let mut table = table(&header, 2);
    for row in rows {
        let name = text(&row["name"]);
        let mine = || tally.answers.iter().filter(|((_, server), _)| *server == name);
        let mut classes = String::new();
        for ((class, _), count) in mine() {
            let _ = write!(classes, "{}{class} {count}", if classes.is_empty() { "" } else { ", " });
        }
        let answers: u64 = mine().map(|(_, count)| count).sum();
        let load = format!("{:.1} ms", number(&row["load_us"]) as f64 / 1000.0);
        let [state, queue, dispatched, hits, moved, packets] =
            ["state", "queue", "dispatched", "hits", "moved", "packets"].map(|key| text(&row[key]));
        table.add_row([
            name,
            state,
            queue,
            load,
            dispatched,
            hits,
            moved,
            packets,
            answers.to_string(),
            classes,
        ]);
    }
    if let Some(column) = table.column_mut(9) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    table
}

fn way_table(tally: &Tally, front: &Counters, back: &Counters) -> Table {
    let mut table = table(&["where", "what", "count"], 2);
    table.add_row(["client".to_owned(), "connections opened".to_owned(), tally.connections.to_string()]);
    table.add_row(["client".to_owned(), "requests sent".to_owned(), tally.requests.to_string()]);
    for (place, names, counters) in [("front", &FRONT[..], front), ("servers", &SERVERS[..], back)] {
        for (name, what) in names {
            let value =
                counters.get(*name).map_or_else(|| "-".to_owned(), |counter| counter.value.to_string());
            table.add_row([place.to_owned(), (*what).to_owned(), value]);
        }
    }
    table
}

fn exceptions_table(front: &Counters, back: &Counters) -> Table {
    let mut table = table(&["where", "counter", "what", "count"], 3);
    for (place, known, counters) in [("front", &FRONT[..], front), ("servers", &SERVERS[..], back)] {
        let exception =
            |name: &str| !QUIET.contains(&name) && known.iter().all(|(normal, _)| *normal != name);
        for (name, counter) in counters.iter().filter(|(name, counter)| counter.value > 0 && exception(name))
        {
            table.add_row([place.to_owned(), name.clone(), counter.help.clone(), counter.value.to_string()]);
        }
    }
    if table.row_count() == 0 {
        table.add_row(["-", "none", "", ""]);
    }
    table
}

/// A table whose columns from `numbers_from` on are numbers.
fn table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_out_of_the_ordinary_is_listed_as_an_exception() {
        let front = values(&[
            json!({"name": "forwarded", "value": 7, "help": "forwarded"}),
            json!({"name": "cookie_refused", "value": 2, "help": "no good cookie"}),
            json!({"name": "fragment_dropped", "value": 0, "help": "fragments"}),
        ]);
        let shown = exceptions_table(&front, &Counters::default()).to_string();
        assert!(shown.contains("cookie_refused") && shown.contains("no good cookie"), "{shown}");
        assert!(!shown.contains("forwarded") && !shown.contains("fragment"), "{shown}");
    }

    #[test]
    fn classes_without_a_flow_are_not_shown() {
        let rows = [
            json!({"class_name": "images", "server": "server1", "dispatched": 5, "hits": 4, "moved": 1}),
            json!({"class_name": "hash 3", "server": null, "dispatched": 0, "hits": 0, "moved": 0}),
        ];
        let shown = class_table(&rows).to_string();
        assert!(shown.contains("images") && !shown.contains("hash 3"), "{shown}");
    }
}
