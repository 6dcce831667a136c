//! Where a section is put: below target/, so that a look at a figure changes no document. `cargo xtask bench` takes it from there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use dispatcher_sim::csv_file;

use super::{Part, Section};

/// Name of the section's text among its files.
pub const SECTION: &str = "section.md";

/// Where a benchmark's files are: [`SECTION`], and those for `docs/benchmarks/`.
#[must_use]
pub fn directory(bench: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench").join(bench)
}

impl Section {
    /// Prints the section and writes its files, in place of those of an earlier run.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn publish(&self) -> Result<()> {
        let text = self.markdown();
        println!("\n{text}");
        let directory = directory(&self.bench);
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        self.write(&directory).with_context(|| format!("cannot write to {}", directory.display()))?;
        // Last, as it says that the others are there.
        fs::write(directory.join(SECTION), text).with_context(|| format!("cannot write {SECTION}"))
    }

    fn write(&self, directory: &Path) -> Result<()> {
        for part in &self.parts {
            match part {
                Part::Text(_) => {}
                Part::Table(table) => {
                    let (columns, lines) = table.csv();
                    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                    csv_file::write(&directory.join(self.file_name(table.name(), "csv")), &columns, &lines)?;
                }
                Part::Plot { name, svg, .. } => {
                    fs::write(directory.join(self.file_name(name, "svg")), svg)?;
                }
            }
        }
        Ok(())
    }
}
