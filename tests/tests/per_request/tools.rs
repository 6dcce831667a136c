//! The clients that people measure with, on kept connections: none sees an error.

use std::process::Stdio;

use tests::{Family, content};

use crate::{
    moves, stage,
    stage::{FAMILIES, Stage, WEB},
};

const SECONDS: u32 = 3;
const REQUESTS: u32 = 20_000;

/// Asks for one target after the other; `wrk` itself knows but one.
const MANY_TARGETS: &str = r#"local number = 0
request = function()
  number = number + 1
  return wrk.format("GET", "/id/" .. number % 150)
end
"#;

/// Runs a program on the client's host; gives what it prints.
fn run(stage: &Stage, program: &str, arguments: &[&str]) -> String {
    let output = stage.client_host().command(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}\n{text}");
    text
}

fn url(stage: &Stage, family: Family, path: &str) -> String {
    stage.rig().plan().url("vip", family, WEB) + path
}

#[test]
fn wrk_sees_no_error() {
    let Some(stage) = stage::shared() else { return };
    let script = stage.rig().plan().run_dir().join("targets.lua");
    std::fs::write(&script, MANY_TARGETS).unwrap();
    let time = format!("-d{SECONDS}");
    let common = ["-t2", "-c32", &time, "--timeout", "5"];
    for family in FAMILIES {
        let by_script = ["-s", script.to_str().unwrap()];
        for (path, more) in [("/", &by_script[..]), ("/bytes/8k", &[])] {
            let url = url(&stage, family, path);
            let text = run(&stage, "wrk", &[&common[..], more, &[&url]].concat());
            assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
            assert!(text.contains(" requests in "), "{text}");
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 1000);
}

#[test]
fn curl_fetches_many_urls_on_one_connection() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        let paths: Vec<String> = (0..60).map(|number| format!("/id/{}", number % 40)).collect();
        let config: String =
            paths.iter().map(|path| format!("url = \"{}\"\n", url(&stage, family, path))).collect();
        let file = stage.rig().plan().run_dir().join("urls.curl");
        std::fs::write(&file, config).unwrap();
        let format = "%{http_code} %header{x-server} %{num_connects}\\n";
        let arguments = ["-sS", "-g", "-m", "30", "-w", format, "--config", file.to_str().unwrap()];
        let text = run(&stage, "curl", &arguments);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2 * paths.len());
        for (number, (lines, path)) in lines.chunks(2).zip(&paths).enumerate() {
            let [code, server, connects] = lines[1].split(' ').collect::<Vec<_>>()[..] else {
                panic!("{lines:?}")
            };
            assert_eq!(lines[0], format!("{server} {path} "));
            assert_eq!((code, connects), ("200", if number == 0 { "1" } else { "0" }), "request {number}");
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 50);
}

#[test]
fn curl_has_the_bytes_of_large_files_on_one_connection() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        let large = url(&stage, family, "/bytes/1m");
        let mut curl = stage.client_host().command("curl");
        let output = curl.args(["-sS", "-g", "-m", "30"]).args([large.as_str(); 12]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout.len(), 12 << 20);
        for body in output.stdout.chunks(1 << 20) {
            assert_eq!(content::first_difference(0, body), None);
        }
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 8);
}

#[test]
fn h2load_sees_no_error() {
    let Some(stage) = stage::shared() else { return };
    for family in FAMILIES {
        // As a host it would write an IPv6 address without the brackets that belong there.
        let to = url(&stage, family, "").replace("http://", "--connect-to=") + ":80";
        let (requests, url) = (REQUESTS.to_string(), "http://rig.test/bytes/1k");
        let text = run(&stage, "h2load", &["--h1", "-n", &requests, "-c", "16", &to, url]);
        assert!(
            text.contains(&format!("{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout")),
            "h2load printed: {text}"
        );
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 1000);
}

/// HTTP/1.0 with keep-alive.
#[test]
fn ab_sees_no_error() {
    let Some(stage) = stage::shared() else { return };
    let (requests, url) = (REQUESTS.to_string(), url(&stage, Family::V4, "/id/ab"));
    let text = run(&stage, "ab", &["-k", "-q", "-n", &requests, "-c", "16", &url]);
    let value = |label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label));
        line.map(str::trim).unwrap_or_else(|| panic!("ab printed: {text}"))
    };
    assert_eq!(value("Complete requests:"), requests);
    assert_eq!(value("Failed requests:"), "0");
    assert_eq!(value("Keep-Alive requests:"), requests);
    assert!(!text.contains("Non-2xx"), "{text}");
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), 1000);
}
