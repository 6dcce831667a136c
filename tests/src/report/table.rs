//! A table with typed columns.

use super::cell::Cell;

/// What stands in a column.
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    unit: String,
    decimals: usize,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Column {
    /// Of words.
    #[must_use]
    pub fn text(name: &str) -> Self {
        Self::number(name, "", 0)
    }

    /// Of numbers or spreads, shown with so many decimals; the unit may be empty.
    #[must_use]
    pub fn number(name: &str, unit: &str, decimals: usize) -> Self {
        Self { name: name.to_owned(), unit: unit.to_owned(), decimals }
    }

    fn heading(&self) -> String {
        match (self.name.as_str(), self.unit.as_str()) {
            (name, "") => name.to_owned(),
            ("", unit) => unit.to_owned(),
            (name, unit) => format!("{name}, {unit}"),
        }
    }
}

impl Table {
    /// An empty table; `name` is part of its file's name.
    #[must_use]
    pub fn new(name: &str, columns: impl IntoIterator<Item = Column>) -> Self {
        Self { name: name.to_owned(), columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "table {}: every column has a cell", self.name);
        self.rows.push(cells);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn markdown(&self) -> String {
        let headings = self.columns.iter().map(Column::heading).collect();
        let rule = vec!["---".to_owned(); self.columns.len()];
        let rows = self.rows.iter().map(|row| {
            row.iter().zip(&self.columns).map(|(cell, column)| cell.markdown(column.decimals)).collect()
        });
        [headings, rule].into_iter().chain(rows).map(line).collect()
    }

    /// Columns and lines of the CSV file. A column with a spread in any row has three fields there.
    pub(super) fn csv(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let spreads: Vec<bool> = (0..self.columns.len())
            .map(|index| self.rows.iter().any(|row| matches!(row[index], Cell::Spread(_))))
            .collect();
        let headings = self.columns.iter().zip(&spreads).flat_map(|(column, spreads)| {
            let heading = column.heading();
            let bounds = if *spreads { [" low", " high"].as_slice() } else { &[] };
            let bounds: Vec<String> = bounds.iter().map(|bound| format!("{heading}{bound}")).collect();
            [heading].into_iter().chain(bounds)
        });
        let lines = self.rows.iter().map(|row| {
            let cells = row.iter().zip(&self.columns).zip(&spreads);
            cells.flat_map(|((cell, column), spreads)| cell.fields(column.decimals, *spreads)).collect()
        });
        (headings.collect(), lines.collect())
    }
}

fn line(cells: Vec<String>) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::{super::Spread, *};

    fn table() -> Table {
        let mut table = Table::new("t", [Column::text("who"), Column::number("CPU", "µs", 1)]);
        table.row(["a|b".into(), Spread::of(&[1.0, 3.0, 2.0]).into()]);
        table.row(["c".into(), Cell::None]);
        table
    }

    #[test]
    fn people_read_units_in_the_heading_and_the_spread_in_brackets() {
        assert_eq!(
            table().markdown(),
            "| who | CPU, µs |\n| --- | --- |\n| a\\|b | 2.0 (1.0–3.0) |\n| c | – |\n"
        );
    }

    #[test]
    fn programs_read_a_spread_as_three_fields() {
        let (columns, lines) = table().csv();
        assert_eq!(columns, ["who", "CPU, µs", "CPU, µs low", "CPU, µs high"]);
        assert_eq!(lines, [["a|b", "2.000", "1.000", "3.000"], ["c", "", "", ""]]);
    }
}
