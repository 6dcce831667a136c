//! What is wrong with a host or a configuration is said clearly, at the start.

use std::{fs, io::Write as _, path::PathBuf, process::Stdio, time::Duration};

use dispatcher_common::counter::ControlCounter;
use tests::{BackOptions, FrontOptions, Rig, skipped};

use crate::{stage, watch::Watch};

/// A rig of one server, without a dispatcher.
fn bare_rig() -> Option<Rig> {
    (!skipped(&stage::test_name())).then(|| Rig::builder("e2e-preflight").servers(1).start().unwrap())
}

/// The agent must not start, and say all of this.
fn agent_refuses(rig: &mut Rig, options: &BackOptions, words: &[&str]) {
    let error = rig.start_back_with("server1", options).expect_err("the agent starts");
    says(&format!("{error:#}"), words);
}

fn front_refuses(rig: &mut Rig, options: &FrontOptions, words: &[&str]) {
    let error = rig.start_front(options).expect_err("the front-end starts");
    says(&format!("{error:#}"), words);
}

fn says(message: &str, words: &[&str]) {
    eprintln!("{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

#[test]
fn an_agent_says_what_its_host_lacks() {
    let Some(mut rig) = bare_rig() else { return };
    let usual = BackOptions::default();
    rig.host("server1").unwrap().run("ip addr del 198.18.0.100/32 dev lo").unwrap();
    agent_refuses(&mut rig, &usual, &["198.18.0.100", "lo", "ip addr add 198.18.0.100/32 dev lo"]);
    rig.host("server1").unwrap().run("ip addr add 198.18.0.100/32 dev lo").unwrap();
    rig.host("server1").unwrap().run("ip addr del 2001:db8::100/128 dev lo").unwrap();
    agent_refuses(&mut rig, &usual, &["2001:db8::100", "ip addr add 2001:db8::100/128 dev lo"]);
    rig.host("server1").unwrap().run("ip addr add 2001:db8::100/128 dev lo preferred_lft 0").unwrap();
    for (key, name) in [
        ("ipv4/tcp_syncookies", "tcp_syncookies"),
        ("ipv4/tcp_timestamps", "tcp_timestamps"),
        ("ipv4/tcp_sack", "tcp_sack"),
        ("ipv4/tcp_window_scaling", "tcp_window_scaling"),
    ] {
        rig.host("server1").unwrap().sysctl(&[(key, "0")]).unwrap();
        agent_refuses(&mut rig, &usual, &[name]);
        rig.host("server1").unwrap().sysctl(&[(key, "1")]).unwrap();
    }
    let elsewhere = BackOptions::default().alter(|text| *text = text.replace("\"eth0\"", "\"eth9\""));
    agent_refuses(&mut rig, &elsewhere, &["eth9", "does not exist"]);
    rig.start_back("server1").unwrap();
}

#[test]
fn a_listener_that_speaks_mptcp_is_named() {
    let Some(mut rig) = bare_rig() else { return };
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)\n\
                  s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ns.bind(('0.0.0.0', 82))\ns.listen()\n\
                  print('ready', flush=True)\nimport time\ntime.sleep(60)\n";
    let mut command = rig.host("server1").unwrap().command("python3");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut listener = rig.spawn("server1", command).unwrap();
    let mut ready = [0; 5];
    let output = listener.child().stdout.as_mut().unwrap();
    if std::io::Read::read_exact(output, &mut ready).is_err() {
        let _ = writeln!(std::io::stderr(), "skipped: {}: this kernel has no MPTCP", stage::test_name());
        return;
    }
    let options = BackOptions::default().alter(|text| *text = text.replace("port = 80\n", "port = 82\n"));
    let message = match rig.start_back_with("server1", &options) {
        Err(error) => format!("{error:#}"),
        Ok(()) => rig.log("server1"),
    };
    says(&message, &["MPTCP", "82"]);
}

#[test]
fn a_front_end_says_what_is_wrong_with_its_interface() {
    let Some(mut rig) = bare_rig() else { return };
    rig.host("front").unwrap().run("ip link add br9 type bridge").unwrap();
    rig.host("front").unwrap().run("ip link set br9 up").unwrap();
    let bridge = FrontOptions::default().alter(|text| *text = text.replace("\"eth0\"", "\"br9\""));
    front_refuses(&mut rig, &bridge, &["br9", "native XDP", "--mode skb"]);
    let missing = FrontOptions::default().alter(|text| *text = text.replace("\"eth0\"", "\"eth9\""));
    front_refuses(&mut rig, &missing, &["eth9", "does not exist"]);
    assert!(!rig.plan().pin_path("front").exists(), "a start that failed left pins");
    rig.start_front(&FrontOptions::default()).unwrap();
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let Some(mut rig) = bare_rig() else { return };
    rig.start_dispatcher(&FrontOptions::default()).unwrap();
    for (role, verb) in [("front", "front"), ("server1", "back")] {
        let mut command = rig.host(role).unwrap().command(rig.dispatcher());
        command.args([verb, "--config"]).arg(rig.plan().run_dir().join(role).join("dispatcher.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut second = rig.spawn(role, command).unwrap();
        let status = second.wait(Duration::from_secs(5)).unwrap();
        let mut message = String::new();
        std::io::Read::read_to_string(second.child().stderr.as_mut().unwrap(), &mut message).unwrap();
        assert_eq!(status.code(), Some(1), "{message}");
        says(&message, &["running"]);
        rig.show(role, "counters").unwrap();
    }
    let url = crate::curl::url(&rig, tests::Family::V4, "/pages/1");
    crate::curl::check_text(&crate::curl::get(&rig, &url), "/pages/1");
}

#[test]
fn a_server_with_another_secret_is_named_and_gets_no_request() {
    let Some(mut rig) = bare_rig() else { return };
    let watch = Watch::start(&rig);
    let other = BackOptions::default().alter(|text| *text = text.replace("secret of", "another secret of"));
    rig.start_back_with("server1", &other).unwrap();
    rig.start_front(&FrontOptions::default()).unwrap();
    watch.until(&rig, ControlCounter::ReportBadTag, 3);
    let rows = rig.show("front", "servers").unwrap();
    assert_ne!(rows[0]["state"], "up", "{rows:?}");
    says(&rig.log("front"), &["198.18.0.11", "secret"]);
    watch.finish(&rig);
}

/// What is wrong, the change that makes it so, and the words that the message must have.
type Mistake = (&'static str, fn(String) -> String, &'static [&'static str]);

const MISTAKES: [Mistake; 7] = [
    ("an unknown key", |text| text.replacen("mode =", "mood =", 1), &["mood", "dispatcher.toml:"]),
    (
        "a server that is not there",
        |text| text + "servers = [\"server7\"]\n",
        &["server7", "dispatcher.toml:"],
    ),
    (
        "an unknown policy",
        |text| text.replace("\"context\"", "\"random-walk\""),
        &["random-walk", "round-robin", "dispatcher.toml:"],
    ),
    ("a short secret", |text| text.replace("secret of the rig e2e-preflight", "short"), &["secret", "16"]),
    (
        "a duration without a unit",
        |text| text.replace("\"48x\"", "\"600\""),
        &["load_threshold", "dispatcher.toml:"],
    ),
    ("no TOML", |text| text.replacen("[[service]]", "[[service", 1), &["dispatcher.toml:"]),
    (
        "a port that is none",
        |text| text.replacen("port = 80\n", "port = 0\n", 1),
        &["port", "dispatcher.toml:"],
    ),
];

#[test]
fn check_names_file_line_and_remedy_of_a_mistake() {
    let Some(mut rig) = bare_rig() else { return };
    rig.start_front(&FrontOptions::default()).unwrap();
    rig.stop("front").unwrap();
    let path = rig.plan().run_dir().join("front/dispatcher.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (status, message) = check(&rig, &path);
    assert_eq!(status, Some(0), "{message}");
    says(&message, &["ok", "1 server"]);
    for (what, change, words) in MISTAKES {
        let changed = change(text.clone());
        assert_ne!(changed, text, "{what}");
        fs::write(&path, &changed).unwrap();
        let (status, message) = check(&rig, &path);
        assert_eq!(status, Some(1), "{what}: {message}");
        says(&message, words);
    }
    let (status, message) = check(&rig, &path.with_file_name("missing.toml"));
    assert_eq!(status, Some(1), "{message}");
    says(&message, &["missing.toml"]);
}

/// Exit status and all output of `dispatcher check`.
fn check(rig: &Rig, path: &PathBuf) -> (Option<i32>, String) {
    let output =
        rig.host("front").unwrap().command(rig.dispatcher()).arg("check").arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
