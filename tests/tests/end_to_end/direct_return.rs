//! Responses travel straight from server to client.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use tests::{Family, Rig, content};

use crate::{curl, stage, stage::FAMILIES, watch::Watch};

#[test]
fn a_hundred_megabytes_arrive_intact_and_pass_the_front_end_by() {
    let Some(mut stage) = stage::shared() else { return };
    let rig = stage.rig();
    let watch = Watch::start(rig);
    for family in FAMILIES {
        whole_file_bypasses_the_front_end(rig, family);
    }
    watch.finish(rig);
}

/// Also for other set-ups: fetches 100 MB and looks at what the front-end's interface and program saw of it.
pub(crate) fn whole_file_bypasses_the_front_end(rig: &Rig, family: Family) {
    let (interface, dispatched) = (interface_bytes(rig), sent_to_servers(rig));
    let mut command = rig.host("client").unwrap().command("curl");
    command.args(["-sS", "-g", "-m", "60", &curl::url(rig, family, "/bytes/100m")]);
    check_content(command, 100 << 20);
    let passed = interface_bytes(rig) - interface;
    assert!(passed < 20 << 20, "{passed} bytes passed the front-end's interfaces");
    let (packets, bytes) = sent_to_servers(rig);
    let (packets, bytes) = (packets - dispatched.0, bytes - dispatched.1);
    assert!(packets > 10 && bytes / packets < 110, "not ACKs alone: {bytes} bytes in {packets} packets");
}

/// Runs curl and compares what it writes with the servers' content.
pub(crate) fn check_content(mut command: Command, length: u64) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut offset, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        let count = output.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        assert_eq!(content::first_difference(offset, &chunk[..count]), None);
        offset += count as u64;
    }
    let result = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "after {offset} bytes: {errors}");
    assert_eq!(offset, length);
}

/// Bytes in and out on all of the front-end's interfaces.
fn interface_bytes(rig: &Rig) -> u64 {
    let text = rig.host("front").unwrap().run("cat /proc/net/dev").unwrap();
    let lines = text.lines().filter(|line| line.trim_start().starts_with("eth"));
    let fields = |line: &str| {
        let numbers: Vec<u64> =
            line.split_once(':').unwrap().1.split_whitespace().map(|word| word.parse().unwrap()).collect();
        numbers[0] + numbers[8]
    };
    lines.map(fields).sum()
}

/// Packets and bytes that the front-end's program sent to all servers.
fn sent_to_servers(rig: &Rig) -> (u64, u64) {
    let rows = rig.show("front", "servers").unwrap();
    let sum = |key: &str| rows.iter().map(|row| row[key].as_u64().unwrap()).sum();
    (sum("packets"), sum("bytes"))
}
