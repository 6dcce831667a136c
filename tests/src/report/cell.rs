//! A field of a table.

use super::Spread;

/// A field. Its column knows the unit and the decimals.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// One number.
    Number(f64),
    /// A median with its spread.
    Spread(Spread),
    /// Not measured, or without meaning here.
    None,
}

impl Cell {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// As Markdown.
    pub(super) fn markdown(&self, decimals: usize) -> String {
        match self {
            Self::Text(text) => text.replace('|', "\\|"),
            Self::Number(number) => grouped(*number, decimals),
            Self::Spread(Spread { median, low, high }) => {
                let [median, low, high] = [*median, *low, *high].map(|number| grouped(number, decimals));
                format!("{median} ({low}–{high})")
            }
            Self::None => "–".to_owned(),
        }
    }

    /// As fields of a CSV file: one, or median, low and high. Two decimals more than people read.
    pub(super) fn fields(&self, decimals: usize, spreads: bool) -> Vec<String> {
        let plain = |number: &f64| format!("{number:.0$}", decimals + 2);
        let (first, low, high) = match self {
            Self::Text(text) => (text.replace("**", ""), String::new(), String::new()),
            Self::Number(number) => (plain(number), String::new(), String::new()),
            Self::Spread(Spread { median, low, high }) => (plain(median), plain(low), plain(high)),
            Self::None => Default::default(),
        };
        if spreads { vec![first, low, high] } else { vec![first] }
    }
}

/// With blanks between groups of three digits from 10 000 on.
fn grouped(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let whole = text.trim_start_matches('-').find('.').unwrap_or(text.trim_start_matches('-').len());
    let (sign, digits) = text.split_at(text.len() - text.trim_start_matches('-').len());
    if whole < 5 {
        return text;
    }
    let mut grouped = sign.to_owned();
    for (index, character) in digits.char_indices() {
        if index > 0 && index < whole && (whole - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(character);
    }
    grouped
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Spread> for Cell {
    fn from(spread: Spread) -> Self {
        Self::Spread(spread)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(cell: Option<T>) -> Self {
        cell.map_or(Self::None, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(9_999.0, 0), "9999");
        assert_eq!(grouped(1_234_567.891, 1), "1 234 567.9");
        assert_eq!(grouped(-12_345.0, 0), "-12 345");
        assert_eq!(grouped(-1.5, 2), "-1.50");
    }
}
