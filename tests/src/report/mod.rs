//! What a benchmark has to say: a section of `docs/benchmarks.md` made of text, tables, goals and plots. Owns how it looks as
//! Markdown and where it is put; `cargo xtask bench` joins the sections.
//!
//! ```no_run
//! use tests::report::{Cell, Column, Section, Spread, Table};
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut section = Section::new("locality", "Locality");
//! section.text("Medians of 5 rounds, in brackets the least and the most.");
//! let mut table = Table::new("figures", [Column::text("who"), Column::number("p99", "ms", 1)]);
//! table.row([Cell::text("ours"), Spread::of(&[3.1, 3.4, 2.9]).into()]);
//! table.row([Cell::text("direct"), 2.75.into()]);
//! section.table(table);
//! section.goal("p99 at least 30 % lower", "41 %", true);
//! section.publish()
//! # }
//! ```

mod cell;
mod file;
mod spread;
mod table;

pub use cell::Cell;
pub use file::{SECTION, directory};
pub use spread::Spread;
pub use table::{Column, Table};

/// A section. Its parts come in the order in which they were added.
#[derive(Clone, Debug)]
pub struct Section {
    bench: String,
    title: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Table(Table),
    Plot { name: String, caption: String, svg: String },
}

/// Name of the table of goals, in `docs/benchmarks/<bench>-goals.csv`.
const GOALS: &str = "goals";

impl Section {
    /// A section of the benchmark `bench`, which is part of file names: letters, digits, `_`.
    #[must_use]
    pub fn new(bench: &str, title: &str) -> Self {
        Self { bench: bench.to_owned(), title: title.to_owned(), parts: Vec::new() }
    }

    /// Adds a paragraph or a list of Markdown: what was measured and how, or what to learn from it.
    pub fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.parts.push(Part::Table(table));
    }

    /// Adds what must hold, what was measured, and whether it does. Goals are one table, placed where the first was added.
    pub fn goal(&mut self, what: &str, measured: impl Into<String>, holds: bool) {
        let row = [what.into(), Cell::text(measured), Cell::text(if holds { "holds" } else { "**missed**" })];
        let goals = self.parts.iter_mut().find_map(|part| match part {
            Part::Table(table) if table.name() == GOALS => Some(table),
            _ => None,
        });
        if let Some(goals) = goals {
            goals.row(row);
            return;
        }
        let mut goals =
            Table::new(GOALS, [Column::text("must hold"), Column::text("measured"), Column::text("result")]);
        goals.row(row);
        self.table(goals);
    }

    /// Adds a plot: its name for the file, what it shows in a few words, and the SVG, for example of
    /// [`Plot`](dispatcher_sim::plot::Plot) or [`Bars`](dispatcher_sim::plot::Bars).
    pub fn plot(&mut self, name: &str, caption: &str, svg: String) {
        self.parts.push(Part::Plot { name: name.to_owned(), caption: caption.to_owned(), svg });
    }

    /// The section as Markdown. Plots are where the document `docs/benchmarks.md` finds them.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("## {}\n", self.title);
        for part in &self.parts {
            text.push('\n');
            match part {
                Part::Text(paragraph) => text.push_str(paragraph.trim_end()),
                Part::Table(table) => text.push_str(table.markdown().trim_end()),
                Part::Plot { name, caption, .. } => {
                    text.push_str(&format!("![{caption}](benchmarks/{})", self.file_name(name, "svg")));
                }
            }
            text.push('\n');
        }
        text
    }

    fn file_name(&self, part: &str, extension: &str) -> String {
        format!("{}-{part}.{extension}", self.bench)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_shows_its_parts_in_order_and_its_goals_together() {
        let mut section = Section::new("trial", "A trial");
        section.text("Of nothing.");
        section.goal("a < b", "1 < 2", true);
        section.plot("curve", "all of it", String::new());
        section.goal("b < a", "2 < 1", false);
        let expected = "## A trial\n\nOf nothing.\n\n| must hold | measured | result |\n| --- | --- | --- |\n\
                        | a < b | 1 < 2 | holds |\n| b < a | 2 < 1 | **missed** |\n\n![all of it](benchmarks/trial-curve.svg)\n";
        assert_eq!(section.markdown(), expected);
    }
}
