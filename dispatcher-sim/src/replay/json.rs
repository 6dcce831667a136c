//! JSON lines with the names of nginx's variables. Logs differ in which they have, so each field has several names.
//! Owns those names; time stamps as text are `stamp`'s.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::field::{Fields, Stamp};

type Object = Map<String, Value>;

/// The fields of a line, if it is such an object.
pub(super) fn fields(line: &str) -> Option<Fields<'static>> {
    let object: Object = serde_json::from_str(line).ok()?;
    let host = text(&object, &["host", "http_host", "server_name"]);
    Some(Fields {
        stamp: stamp(&object)?,
        request: Cow::Owned(request(&object)?),
        host: host.map(Cow::Owned),
        bytes: number(&object, &["body_bytes_sent", "bytes_sent", "bytes", "size"]).unwrap_or(0.0) as u64,
    })
}

fn stamp(object: &Object) -> Option<Stamp<'static>> {
    if let Some(seconds) = number(object, &["msec"]) {
        return Some(Stamp::Seconds(seconds as i64));
    }
    let names = ["time_iso8601", "time_local", "time", "timestamp", "@timestamp"];
    text(object, &names).map(|text| Stamp::Text(Cow::Owned(text)))
}

fn request(object: &Object) -> Option<String> {
    text(object, &["request"]).or_else(|| {
        let target = text(object, &["request_uri", "uri", "path"])?;
        let method = text(object, &["request_method", "method"]).unwrap_or_else(|| "GET".to_owned());
        Some(format!("{method} {target}"))
    })
}

fn text(object: &Object, names: &[&str]) -> Option<String> {
    let value = names.iter().find_map(|name| object.get(*name)?.as_str())?;
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

/// nginx writes numbers in quotes where its format has them so.
fn number(object: &Object, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| match object.get(*name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_whole_or_in_parts() {
        let whole = r#"{"time_iso8601": "2026-01-02T03:04:05+00:00", "request": "GET /a?b HTTP/1.1",
            "status": 200, "body_bytes_sent": "17", "host": "a.example"}"#;
        let fields = fields(whole).unwrap();
        assert_eq!(fields.stamp, Stamp::Text("2026-01-02T03:04:05+00:00".into()));
        assert_eq!((fields.request.as_ref(), fields.bytes), ("GET /a?b HTTP/1.1", 17));
        assert_eq!(fields.host.as_deref(), Some("a.example"));
        let parts = r#"{"msec": "1767323045.123", "request_method": "POST", "request_uri": "/a"}"#;
        let fields = super::fields(parts).unwrap();
        assert_eq!((fields.stamp, fields.request.as_ref()), (Stamp::Seconds(1_767_323_045), "POST /a"));
    }

    #[test]
    fn objects_without_time_or_request_are_bad() {
        for bad in ["{", "[]", r#"{"msec": 1}"#, r#"{"request": "GET / HTTP/1.1"}"#] {
            assert_eq!(fields(bad), None, "{bad}");
        }
    }
}
