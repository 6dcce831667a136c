//! Curves as SVG. Owns the look: colours that colour-blind people tell apart (Okabe and Ito's, and a scale from dark to light
//! for K), markers besides, and a legend beside the plot, where it covers no curve. Bars are drawn in `bars`.

mod bars;

use std::{fs, io, ops::Range, path::Path};

use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub use bars::{Bar, Bars, Group, Panel};

const SIZE: (u32, u32) = (900, 480);
const LEGEND_WIDTH: u32 = 230;
const FONT: &str = "sans-serif";

/// How a curve looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// One of the distinct colours.
    Distinct(usize),
    /// So far along the scale, in 1/1000.
    Scale(u32),
    /// One of the distinct colours with another marker: what the others are compared with.
    Rival(usize),
}

/// A curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name in the legend.
    pub label: String,
    /// Its look.
    pub look: Look,
    /// Its points, x ascending.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Above.
    pub title: String,
    /// Under the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// Whether x grows by factors.
    pub x_is_logarithmic: bool,
    /// In the order of the legend.
    pub curves: Vec<Curve>,
}

type PlotError = DrawingAreaErrorKind<io::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Dot,
    Disc,
    Ring,
}

/// Okabe and Ito's colours, but for the yellow that is hard to see on white.
const DISTINCT: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

impl Look {
    fn colour(self) -> RGBColor {
        match self {
            Self::Distinct(index) | Self::Rival(index) => DISTINCT[index % DISTINCT.len()],
            Self::Scale(place) => scale(place),
        }
    }

    /// Which marker; curves of one colour differ in it.
    fn marker(self) -> Marker {
        match self {
            Self::Scale(_) => Marker::Dot,
            Self::Distinct(index) if index < DISTINCT.len() => Marker::Disc,
            Self::Distinct(_) | Self::Rival(_) => Marker::Ring,
        }
    }
}

/// From dark violet over blue and green to yellow, of growing lightness.
fn scale(place: u32) -> RGBColor {
    const STOPS: [[u32; 3]; 4] = [[68, 1, 84], [49, 104, 142], [53, 183, 121], [210, 200, 30]];
    let place = place.min(999) * 3;
    let (stop, within) = ((place / 1000) as usize, place % 1000);
    let mix = |channel: usize| {
        let (from, to) = (STOPS[stop][channel], STOPS[stop + 1][channel]);
        ((from * (1000 - within) + to * within) / 1000) as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

impl Plot {
    /// Writes the plot to a file.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, self.svg()?)
    }

    /// The plot as SVG.
    ///
    /// # Errors
    /// When there is nothing to draw.
    pub fn svg(&self) -> io::Result<String> {
        let mut text = String::new();
        self.draw(&mut text).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(text)
    }

    fn draw(&self, text: &mut String) -> Result<(), PlotError> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(SIZE.0 - LEGEND_WIDTH);
        self.draw_curves(&left)?;
        self.draw_legend(&right)?;
        root.present()
    }

    fn draw_curves(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let mut builder = ChartBuilder::on(area);
        builder.caption(&self.title, (FONT, 18)).margin(12);
        builder.x_label_area_size(42).y_label_area_size(58);
        let (x, y) = (self.x_range(), 0.0..self.y_top());
        if self.x_is_logarithmic {
            self.fill(&mut builder.build_cartesian_2d(x.log_scale(), y)?)
        } else {
            self.fill(&mut builder.build_cartesian_2d(x, y)?)
        }
    }

    fn fill<'a, X>(
        &self,
        chart: &mut ChartContext<'_, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>,
    ) -> Result<(), PlotError>
    where
        X: Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
    {
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(&self.x_label).y_desc(&self.y_label).label_style((FONT, 13)).axis_desc_style((FONT, 15));
        mesh.x_label_formatter(&|x| plain(*x)).y_label_formatter(&|y| plain(*y));
        mesh.max_light_lines(0).bold_line_style(RGBColor(225, 225, 225)).x_labels(17).draw()?;
        for curve in &self.curves {
            let colour = curve.look.colour();
            chart.draw_series(LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)))?;
            let marker = curve.look.marker();
            chart.draw_series(curve.points.iter().map(|&point| mark(marker, point, colour)))?;
        }
        Ok(())
    }

    fn draw_legend(&self, area: &Area<'_>) -> Result<(), PlotError> {
        let text = (FONT, 14).into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        for (index, curve) in self.curves.iter().enumerate() {
            let (y, colour) = (52 + 22 * index as i32, curve.look.colour());
            area.draw(&PathElement::new([(4, y), (34, y)], colour.stroke_width(2)))?;
            area.draw(&mark(curve.look.marker(), (19, y), colour))?;
            area.draw(&Text::new(curve.label.clone(), (42, y), text.clone()))?;
        }
        Ok(())
    }

    fn x_range(&self) -> Range<f64> {
        let xs = || self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.0);
        let (low, high) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
        if low < high { low..high } else { low - 1.0..low + 1.0 }
    }

    fn y_top(&self) -> f64 {
        let highest = self.curves.iter().flat_map(|curve| &curve.points).map(|point| point.1);
        let highest = highest.fold(0.0, f64::max);
        if highest > 0.0 { highest * 1.05 } else { 1.0 }
    }
}

/// A number without needless zeros.
fn plain(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn mark<C>(marker: Marker, at: C, colour: RGBColor) -> Circle<C, i32> {
    match marker {
        Marker::Dot => Circle::new(at, 2, colour.filled()),
        Marker::Disc => Circle::new(at, 3, colour.filled()),
        Marker::Ring => Circle::new(at, 4, colour.stroke_width(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_its_axes_and_every_curve() {
        let curve =
            |label: &str, look, y| Curve { label: label.into(), look, points: vec![(1.0, 0.0), (10.0, y)] };
        let plot = Plot {
            title: "all".into(),
            x_label: "servers".into(),
            y_label: "hits".into(),
            x_is_logarithmic: true,
            curves: vec![curve("ours", Look::Scale(500), 1.0), curve("theirs", Look::Rival(0), 0.5)],
        };
        let svg = plot.svg().unwrap();
        for text in ["all", "servers", "hits", "ours", "theirs"] {
            assert!(svg.lines().any(|line| line == text), "{text}");
        }
        assert_eq!(svg, plot.svg().unwrap());
    }

    #[test]
    fn the_scale_grows_lighter_from_end_to_end() {
        let lightness = |place| {
            let RGBColor(red, green, blue) = scale(place);
            u32::from(red) * 3 + u32::from(green) * 6 + u32::from(blue)
        };
        assert!([0, 166, 333, 500, 666, 833, 999].map(lightness).is_sorted());
    }
}
