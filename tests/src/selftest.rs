//! Tests of the rig itself, without a dispatcher: direct requests, HAProxy, and what is left afterwards.

use std::{
    fs,
    fs::File,
    io,
    io::Write,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::Path,
    process::Stdio,
    time::Duration,
};

use crate::{Family, FrontOptions, Rig, content, pass::attach_program, remove_leftovers, skipped};

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
    let builder = || Rig::builder("rig-http").servers(2);
    for builder in [builder(), builder().two_arm(true), builder().straight()] {
        let mut rig = builder.start().unwrap();
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

/// In place of the real binary: a role answers `show` while it runs and if its configuration is not broken.
const STAND_IN: &str = r#"#!/bin/sh
case "$1" in
show) read -r id < "$(dirname "$5")/id" && kill -0 "$id" && echo '[{"name": "server1", "state": "up"}]' ;;
*) grep -q broken "$3" && { echo "$3: broken on purpose" >&2; exit 1; }
   echo $$ > "$(dirname "$3")/id"
   exec sleep 1000 ;;
esac
"#;

#[test]
fn roles_are_started_killed_and_restarted_and_say_why_they_end() {
    if skipped("roles_are_started_killed_and_restarted_and_say_why_they_end") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("dispatcher");
    fs::write(&binary, STAND_IN).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut rig = Rig::builder("rig-roles").servers(1).dispatcher(&binary).start().unwrap();
    rig.start_dispatcher(&FrontOptions::default()).unwrap();
    let first = rig.process("front").unwrap().id();
    assert!(rig.start_front(&FrontOptions::default()).is_err(), "it runs already");
    rig.kill9("front").unwrap();
    rig.restart("front").unwrap();
    assert_ne!(rig.process("front").unwrap().id(), first);
    rig.restart("server1").unwrap();
    assert!(!rig.stop("front").unwrap().success());
    assert!(rig.stop("front").is_err(), "it is stopped already");
    let broken = FrontOptions::default().alter(|text| text.push_str("broken"));
    let error = format!("{:#}", rig.start_front(&broken).unwrap_err());
    assert!(error.contains("broken on purpose"), "{error}");
    rig.start_front(&FrontOptions::default()).unwrap();
}

/// An ethertype for experiments (IEEE 802), in network byte order.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// Swaps the MACs of frames of that ethertype and sends them back by `XDP_TX`; passes all others.
#[rustfmt::skip]
const REFLECT: [u64; 19] = [
    0x0000_0000_0000_1261, // r2 = data
    0x0000_0000_0004_1361, // r3 = data_end
    0x0000_0000_0000_24bf, // r4 = r2
    0x0000_000e_0000_0407, // r4 += 14
    0x0000_0000_000c_342d, // if r4 > r3 pass
    0x0000_0000_000c_2569, // r5 = ethertype
    0x0000_b588_000a_0555, // if r5 != 0x88b5 pass
    0x0000_0000_0000_2061, // r0 = destination, 4 bytes
    0x0000_0000_0004_2169, // r1 = destination, 2 bytes
    0x0000_0000_0006_2461, // r4 = source, 4 bytes
    0x0000_0000_000a_2569, // r5 = source, 2 bytes
    0x0000_0000_0000_4263, // destination = r4, r5
    0x0000_0000_0004_526b,
    0x0000_0000_0006_0263, // source = r0, r1
    0x0000_0000_000a_126b,
    0x0000_0003_0000_00b7, // r0 = XDP_TX
    0x0000_0000_0000_0095,
    0x0000_0002_0000_00b7, // pass: r0 = XDP_PASS
    0x0000_0000_0000_0095,
];

#[test]
fn a_frame_that_the_front_end_sends_back_reaches_the_client_at_once() {
    if skipped("a_frame_that_the_front_end_sends_back_reaches_the_client_at_once") {
        return;
    }
    let rig = Rig::builder("rig-xdp").servers(1).start().unwrap();
    attach_program(rig.host("front").unwrap(), "eth0", &rig.plan().pin_path("front"), &REFLECT).unwrap();
    let client = rig.host("client").unwrap();
    let socket = UnixDatagram::from(client.enter(packet_socket).unwrap().unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let (client_mac, front_mac) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut sent = [front_mac, client_mac].concat();
    sent.extend(EXPERIMENT);
    sent.resize(60, 7);
    let mut frame = [0; 2048];
    for _ in 0..3 {
        // A packet socket takes write and read like any file.
        File::from(socket.as_fd().try_clone_to_owned().unwrap()).write_all(&sent).unwrap();
        loop {
            let length = socket.recv(&mut frame).expect("the frame did not come back");
            if frame[..14] == [&client_mac[..], &front_mac[..], &EXPERIMENT[..]].concat() {
                assert_eq!(frame[14..length], sent[14..]);
                break;
            }
        }
    }
}

/// A packet socket on eth0 of the calling thread's namespace.
fn packet_socket() -> io::Result<OwnedFd> {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeroes is a valid address; the name is a C string; the length is the structure's.
    let bound = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = libc::if_nametoindex(c"eth0".as_ptr()) as i32;
        libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32)
    };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}
