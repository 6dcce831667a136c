//! Rows of JSON objects as a table for people. Knows no particular listing: a column for each key, in the order of the first
//! row; what is nested becomes `key:value` pairs.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

/// The table's text, without a newline at its end.
pub(super) fn render(rows: &[Value]) -> String {
    let Some(Value::Object(first)) = rows.first() else { return "nothing to show".to_owned() };
    let keys: Vec<&String> = first.keys().collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(keys.iter().map(|key| key.replace('_', " ")));
    for row in rows {
        table.add_row(keys.iter().map(|key| cell(&row[key.as_str()])));
    }
    for (index, key) in keys.iter().enumerate() {
        let is_number = |row: &Value| row[key.as_str()].is_number() || row[key.as_str()].is_null();
        if let Some(column) = table.column_mut(index).filter(|_| rows.iter().all(is_number)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Lines under a first one, without a newline at their end.
pub(super) fn lines<'a>(first: &'a str, lines: impl Iterator<Item = &'a str>) -> String {
    std::iter::once(first).chain(lines).collect::<Vec<_>>().join("\n")
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.1}"),
            _ => number.to_string(),
        },
        Value::Object(map) if map.is_empty() => "-".to_owned(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}:{}", cell(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        Value::Bool(flag) => flag.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_lines_under_a_header() {
        let rows = [
            json!({"name": "server1", "queue": 3, "by_class": {"7": 2}, "cpu": 12.25}),
            json!({"name": "server2", "queue": 12, "by_class": {}, "cpu": null}),
        ];
        let text = render(&rows);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].contains(&"queue") && lines[0].contains(&"class"), "{text}");
        assert!(lines[1].contains(&"7:2") && lines[1].contains(&"12.2"), "{text}");
        assert_eq!(lines[2].iter().filter(|cell| **cell == "-").count(), 2, "{text}");
    }

    #[test]
    fn no_rows_are_said_to_be_none() {
        assert_eq!(render(&[]), "nothing to show");
    }
}
