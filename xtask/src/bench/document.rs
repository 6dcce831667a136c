//! `docs/benchmarks.md` and the files beside it: sections in a fixed order, of which only those that ran are replaced.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use ::tests::report;
use anyhow::{Context, Result};

use super::{machine, section_of};
use crate::workspace;

/// Before each section stands its benchmark's name, unseen by readers.
const MARK: &str = "<!-- bench: ";
const MARK_END: &str = " -->\n";

const HEAD: &str = "\
# Benchmarks

`cargo xtask bench` measures all of this in about 20 minutes and writes this file; `--only NAME` renews one section. Tables are also in
`benchmarks/` as CSV. Who is served when servers are full is measured apart (`--overload`), in [admission.md](admission.md).

Everything runs on one machine: clients, front-end, servers and the wires between them share its CPUs, and each hop is a veth, which costs more than
the programs do. So take the ratios; rivals are always measured in turn in the same run. \"CPU time\" is that of the whole machine, interrupts included. A
bound that was missed is marked **missed**, with what bounds it.

The latest run:
";

/// The document: section by benchmark.
pub(super) struct Document {
    order: Vec<&'static str>,
    sections: BTreeMap<String, String>,
}

impl Document {
    /// The document as it is; empty if there is none.
    pub(super) fn read(order: &[&'static str]) -> Result<Self> {
        let path = path();
        let text = if path.exists() {
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?
        } else {
            String::new()
        };
        Ok(Self { order: order.to_vec(), sections: sections(&text) })
    }

    pub(super) fn path(&self) -> PathBuf {
        path()
    }

    /// Takes over what a benchmark has just written: its section, and its files in place of its older ones.
    pub(super) fn take(&mut self, bench: &str, time: Duration) -> Result<()> {
        let section = section_of(bench)?;
        let directory = workspace::root().join("docs/benchmarks");
        fs::create_dir_all(&directory)?;
        for old in files(&directory, &format!("{bench}-"))? {
            fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        for new in files(&report::directory(bench), &format!("{bench}-"))? {
            let to = directory.join(new.file_name().unwrap_or_default());
            fs::copy(&new, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        let footer = format!("*{}, {:.0} s.*", machine::moment(), time.as_secs_f64());
        self.sections.insert(bench.to_owned(), format!("{}\n\n{footer}\n", section.trim_end()));
        Ok(())
    }

    pub(super) fn write(&self, machine: &str) -> Result<()> {
        let path = path();
        fs::write(&path, self.text(machine)).with_context(|| format!("cannot write {}", path.display()))
    }

    fn text(&self, machine: &str) -> String {
        let mut text = format!("{HEAD}\n{machine}");
        for bench in &self.order {
            if let Some(section) = self.sections.get(*bench) {
                text.push_str(&format!("\n{MARK}{bench}{MARK_END}\n{}\n", section.trim()));
            }
        }
        text
    }
}

fn path() -> PathBuf {
    workspace::root().join("docs/benchmarks.md")
}

fn sections(text: &str) -> BTreeMap<String, String> {
    let parts = text.split(MARK).skip(1);
    let named = parts.filter_map(|part| part.split_once(MARK_END));
    named.map(|(bench, section)| (bench.to_owned(), section.to_owned())).collect()
}

fn files(directory: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    Ok(entries.flatten().map(|entry| entry.path()).filter(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ran_is_replaced_and_the_order_is_fixed() {
        let old = "# head\n\n<!-- bench: b -->\n\n## B\n\nold\n\n<!-- bench: gone -->\n\n## Gone\n";
        let mut document = Document { order: vec!["a", "b"], sections: sections(old) };
        document.sections.insert("a".to_owned(), "## A\n\nnew\n".to_owned());
        let text = document.text("a machine\n");
        assert!(text.ends_with(
            "a machine\n\n<!-- bench: a -->\n\n## A\n\nnew\n\n<!-- bench: b -->\n\n## B\n\nold\n"
        ));
        assert_eq!(Document { order: vec!["a", "b"], sections: sections(&text) }.text("a machine\n"), text);
    }
}
