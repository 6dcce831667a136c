//! Bars side by side as SVG: panels of their own scale, in each groups, in each group a bar for every series.

use std::io;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Area, FONT, Look, PlotError, plain};

const PANEL_HEIGHT: u32 = 300;
const WIDTH: u32 = 900;
const LEGEND_HEIGHT: u32 = 40;

/// Panels in a row.
const IN_A_ROW: usize = 2;

/// How much of a group's width its bars take.
const FILLED: f64 = 0.8;

/// A figure of bars.
#[derive(Debug, Clone)]
pub struct Bars {
    /// In the legend; every group has a bar for each, or a gap.
    pub series: Vec<String>,
    /// From left to right, two in a row.
    pub panels: Vec<Panel>,
}

/// Bars of one unit and scale.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Above, with the unit.
    pub title: String,
    /// From left to right.
    pub groups: Vec<Group>,
}

/// Bars next to each other.
#[derive(Debug, Clone)]
pub struct Group {
    /// Below; may be empty.
    pub label: String,
    /// One for each series.
    pub bars: Vec<Option<Bar>>,
}

/// A bar with a whisker from the least to the most.
#[derive(Debug, Clone, Copy)]
pub struct Bar {
    /// Its height.
    pub value: f64,
    /// Where the whisker begins.
    pub low: f64,
    /// Where the whisker ends.
    pub high: f64,
}

impl Bars {
    /// The figure as SVG.
    ///
    /// # Errors
    /// When there is nothing to draw.
    pub fn svg(&self) -> io::Result<String> {
        if self.panels.iter().all(|panel| panel.groups.is_empty()) {
            return Err(io::Error::other("a figure of bars has no bar"));
        }
        let mut text = String::new();
        self.draw(&mut text).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), PlotError> {
        let rows = self.panels.len().div_ceil(IN_A_ROW);
        let height = rows as u32 * PANEL_HEIGHT + LEGEND_HEIGHT;
        let root = SVGBackend::with_string(text, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let (panels, legend) = root.split_vertically(height - LEGEND_HEIGHT);
        let columns = IN_A_ROW.min(self.panels.len());
        for (panel, area) in self.panels.iter().zip(panels.split_evenly((rows, columns))) {
            panel.draw(&area)?;
        }
        self.draw_legend(&legend)?;
        root.present()
    }

    fn draw_legend(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), PlotError> {
        let text = (FONT, 14).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        let width = WIDTH as i32 / self.series.len().max(1) as i32;
        for (index, name) in self.series.iter().enumerate() {
            let x = 20 + width * index as i32;
            area.draw(&Rectangle::new([(x, 13), (x + 14, 27)], colour(index).filled()))?;
            area.draw(&Text::new(name.clone(), (x + 20, 20), text.clone()))?;
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let mut builder = ChartBuilder::on(area);
        builder.caption(&self.title, (FONT, 16)).margin(10);
        builder.x_label_area_size(24).y_label_area_size(62);
        let groups = self.groups.len() as f64;
        let mut chart = builder.build_cartesian_2d(0.0..groups, 0.0..self.top())?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().label_style((FONT, 13)).x_labels(0).y_label_formatter(&|y| plain(*y));
        mesh.max_light_lines(0).bold_line_style(RGBColor(225, 225, 225)).y_labels(8).draw()?;
        let text = (FONT, 13).into_text_style(area).pos(Pos::new(HPos::Center, VPos::Top));
        for (place, group) in self.groups.iter().enumerate() {
            let label = EmptyElement::at((place as f64 + 0.5, 0.0))
                + Text::new(group.label.clone(), (0, 6), text.clone());
            chart.plotting_area().draw(&label)?;
            for (index, bar) in group.bars.iter().enumerate() {
                let Some(bar) = bar else { continue };
                let width = FILLED / group.bars.len() as f64;
                let left = place as f64 + (1.0 - FILLED) / 2.0 + width * index as f64;
                let middle = left + width / 2.0;
                let corners = [(left + width * 0.05, 0.0), (left + width * 0.95, bar.value)];
                chart.draw_series([Rectangle::new(corners, colour(index).filled())])?;
                chart.draw_series([PathElement::new(
                    [(middle, bar.low), (middle, bar.high)],
                    RGBColor(90, 90, 90).stroke_width(2),
                )])?;
            }
        }
        Ok(())
    }

    fn top(&self) -> f64 {
        let bars = self.groups.iter().flat_map(|group| group.bars.iter().flatten());
        let highest = bars.map(|bar| bar.value.max(bar.high)).fold(0.0, f64::max);
        if highest > 0.0 { highest * 1.05 } else { 1.0 }
    }
}

fn colour(index: usize) -> RGBColor {
    Look::Distinct(index + 1).colour()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_names_panels_groups_and_series() {
        let bar = |value| Some(Bar { value, low: value * 0.9, high: value * 1.1 });
        let group = |label: &str, bars| Group { label: label.into(), bars };
        let bars = Bars {
            series: vec!["ours".into(), "theirs".into()],
            panels: vec![
                Panel { title: "requests/s".into(), groups: vec![group("tiny", vec![bar(2.0), bar(1.0)])] },
                Panel { title: "p99, ms".into(), groups: vec![group("large", vec![None, bar(0.0)])] },
            ],
        };
        let svg = bars.svg().unwrap();
        for text in ["ours", "theirs", "requests/s", "p99, ms", "tiny", "large"] {
            assert!(svg.lines().any(|line| line == text), "{text}");
        }
        assert!(Bars { series: vec![], panels: vec![] }.svg().is_err());
    }
}
