//! A real browser, Chromium, with a page of fifty objects: its script checks every one of them.

use std::{fmt::Write as _, process::Stdio};

use tests::{Family, content};

use crate::{
    digest, moves, stage,
    stage::{FAMILIES, Stage},
};

const OBJECTS: usize = 50;
const FILES: [&str; 5] = ["4", "1k", "8k", "64k", "1m"];

/// Only every tenth object is of the largest size.
const LARGE_EVERY: usize = 10;

/// The script writes into the page what came of the objects.
const SCRIPT: &str = r#"
const digest = bytes => {
  let h = 0x811c9dc5;
  for (const byte of bytes) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
};
const servers = new Set();
const isRight = async ([url, length, wanted]) => {
  const response = await fetch(url, { cache: "no-store" });
  const bytes = new Uint8Array(await response.arrayBuffer());
  servers.add(response.headers.get("x-server"));
  return response.ok && bytes.length === length && digest(bytes) === wanted;
};
Promise.allSettled(objects.map(isRight)).then(results => {
  const right = results.filter(result => result.value === true).length;
  document.getElementById("result").textContent =
    `right: ${right} of ${results.length}, from ${[...servers].sort().join(" ")}`;
});
"#;

/// The page, with URL, length and digest of every object.
fn page() -> String {
    let known: Vec<(&str, u64, u32)> = FILES
        .iter()
        .map(|file| {
            let length = content::size_of_file(file).unwrap();
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            content::fill(0, &mut bytes);
            (*file, length, digest::of(&bytes))
        })
        .collect();
    let mut objects = String::new();
    for number in 0..OBJECTS {
        let size = if number % LARGE_EVERY == 0 { FILES.len() - 1 } else { number % (FILES.len() - 1) };
        let (file, length, digest) = known[size];
        let _ = writeln!(objects, "  [\"/bytes/{file}?{number}\", {length}, {digest}],");
    }
    format!(
        "<!doctype html>\n<title>rig</title>\n<link rel=\"icon\" href=\"data:,\">\n<p id=\"result\">not yet</p>\n\
         <script>\nconst objects = [\n{objects}];{SCRIPT}</script>\n"
    )
}

#[test]
fn chromium_loads_a_page_of_fifty_objects_right() {
    let Some(stage) = stage::shared() else { return };
    let directory = stage.rig().plan().run_dir().join("content/page");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("index.html"), page()).unwrap();
    for family in FAMILIES {
        let text = load(&stage, family);
        assert!(text.contains(&format!("right: {OBJECTS} of {OBJECTS}, from server")), "{family:?}: {text}");
    }
    moves::lost_nothing(stage.rig(), stage.growth());
    moves::happened(stage.rig(), stage.growth(), OBJECTS as u64 / 2);
}

/// The page as it is when everything has come.
fn load(stage: &Stage, family: Family) -> String {
    let profile = tempfile::tempdir().unwrap();
    let address = match stage.rig().plan().address("vip", family) {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    };
    let mut chromium = stage.client_host().command("chromium");
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--no-proxy-server"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--host-resolver-rules=MAP rig.test {address}"))
        .args(["--virtual-time-budget=20000", "--dump-dom", "http://rig.test/page/index.html"]);
    let output = chromium.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "chromium: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
