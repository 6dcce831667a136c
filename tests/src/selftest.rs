//! Tests of the rig itself, without a dispatcher: direct requests, HAProxy, and what is left afterwards.

use std::{fs, path::Path, process::Stdio, time::Duration};

use crate::{Family, Rig, content, remove_leftovers, skipped};

/// Status, `X-Server` and body of a GET by curl from the client.
fn get(rig: &Rig, url: &str) -> (String, Vec<u8>) {
    let output = rig
        .host("client")
        .unwrap()
        .command("curl")
        .args(["-sS", "-g", "-m", "10", "-D", "/dev/stderr", url])
        .output()
        .unwrap();
    let head = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && head.contains(" 200 OK"), "{url}: {head}");
    (head, output.stdout)
}

fn namespaces(instance: &str) -> usize {
    let Ok(entries) = fs::read_dir("/run/netns") else { return 0 };
    let prefix = format!("dispatcher-{instance}-");
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

#[test]
fn servers_answer_directly_and_through_haproxy_in_both_families() {
    let name = "servers_answer_directly_and_through_haproxy_in_both_families";
    if skipped(name) {
        return;
    }
    for two_arm in [false, true] {
        let mut rig = Rig::builder("rig-http").servers(2).two_arm(two_arm).start().unwrap();
        rig.start_haproxy().unwrap();
        for family in [Family::V4, Family::V6] {
            let direct = rig.plan().url("server2", family, 80);
            let (head, body) = get(&rig, &format!("{direct}/images/a.png?size=3"));
            assert!(head.contains("X-Server: server2"), "{head}");
            assert_eq!(body, b"server2 /images/a.png\n");
            let proxy = rig.plan().url("front", family, 8080);
            let (_, body) = get(&rig, &format!("{proxy}/bytes/1m"));
            assert_eq!(Some(body.len() as u64), content::size_of_file("1m"));
            assert_eq!(content::first_difference(0, &body), None);
        }
    }
    assert_eq!(namespaces("rig-http"), 0);
}

#[test]
fn a_post_is_answered_everywhere() {
    if skipped("a_post_is_answered_everywhere") {
        return;
    }
    let rig = Rig::builder("rig-post").servers(1).slowable(true).start().unwrap();
    for path in ["/", "/bytes/1k", "/cgi/form"] {
        let url = rig.plan().url("server1", Family::V4, 80) + path;
        let mut curl = rig.host("client").unwrap().command("curl");
        let output = curl.args(["-sS", "-m", "10", "-d", "a=b", &url]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("server1 {path}\n"));
    }
}

#[test]
fn a_slow_server_answers_late_and_then_quickly_again() {
    if skipped("a_slow_server_answers_late_and_then_quickly_again") {
        return;
    }
    let mut rig = Rig::builder("rig-slow").servers(1).slowable(true).start().unwrap();
    let url = rig.plan().url("server1", Family::V6, 80) + "/cgi/slow";
    let seconds = |rig: &Rig| {
        let mut curl = rig.host("client").unwrap().command("curl");
        let format = "%{time_starttransfer}";
        let output = curl.args(["-sS", "-g", "-o", "/dev/null", "-w", format, &url]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).parse::<f64>().unwrap()
    };
    rig.set_slow("server1", Duration::from_millis(300)).unwrap();
    assert!(seconds(&rig) >= 0.3);
    rig.set_slow("server1", Duration::ZERO).unwrap();
    assert!(seconds(&rig) < 0.25);
}

#[test]
fn what_a_killed_process_left_is_removed() {
    if skipped("what_a_killed_process_left_is_removed") {
        return;
    }
    let rig = Rig::builder("rig-left").servers(1).start().unwrap();
    let mut sleep = rig.host("server1").unwrap().command("sleep");
    sleep.arg("1000").stdin(Stdio::null());
    let bystander = sleep.spawn().unwrap().id();
    let run_dir = rig.plan().run_dir();
    let pids: Vec<String> = fs::read_dir(run_dir.join("processes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    rig.leave();
    assert!(!pids.is_empty());
    assert_eq!(remove_leftovers("rig-left").unwrap(), 4);
    let runs =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(pids.iter().all(|pid| !runs(pid)), "a server is still running");
    assert!(runs(&bystander.to_string()), "a process that the rig did not start was killed");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(bystander).unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(namespaces("rig-left"), 0);
    assert!(!Path::new(&run_dir).exists());
    assert_eq!(remove_leftovers("rig-left").unwrap(), 0);
}
