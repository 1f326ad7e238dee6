//! Charts of lines and points, as PNG files or SVG texts. The font for the former is part of the program: nothing is
//! asked of the system.

use std::path::Path;
use std::sync::Once;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use wgrad_core::{Error, Result};

use crate::picture::Picture;

/// A part of DejaVu Sans; its licence is beside it.
const FONT: &[u8] = include_bytes!("chart/DejaVuSans-subset.ttf");

/// Pixels of a PNG file.
const PIXELS: (u32, u32) = (800, 480);
/// What an SVG image is laid out for; pages scale it.
const LAYOUT: (u32, u32) = (600, 380);

/// Colours that differ for the colour-blind too
/// ([Okabe and Ito 2008](https://jfly.uni-koeln.de/color/)).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];

/// A chart.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::train::Chart;
///
/// let chart = Chart::new("a parabola")
///     .labels("x", "x squared")
///     .line("exact", (0..=20).map(|i| (f64::from(i), f64::from(i * i))))
///     .points("measured", [(4.0, 17.0), (11.0, 119.0)]);
/// let path = std::env::temp_dir().join(format!("parabola-{}.png", std::process::id()));
/// chart.save_png(&path)?;
/// assert!(chart.to_svg()?.starts_with("<svg"));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Chart {
    title: String,
    x: String,
    y: String,
    logarithmic: bool,
    series: Vec<Series>,
}

#[derive(Clone, Debug)]
struct Series {
    name: String,
    is_line: bool,
    points: Vec<(f64, f64)>,
}

impl Chart {
    /// A chart without lines.
    pub fn new(title: impl Into<String>) -> Chart {
        Chart {
            title: title.into(),
            ..Default::default()
        }
    }

    /// What the axes are called.
    pub fn labels(mut self, x: impl Into<String>, y: impl Into<String>) -> Chart {
        self.x = x.into();
        self.y = y.into();
        self
    }

    /// Makes the vertical axis logarithmic; what is not above 0 is left out.
    pub fn logarithmic(mut self) -> Chart {
        self.logarithmic = true;
        self
    }

    /// Adds a line; NaN and infinities leave gaps.
    pub fn line(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Chart {
        self.series(name.into(), true, points)
    }

    /// Adds points.
    pub fn points(
        self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Chart {
        self.series(name.into(), false, points)
    }

    fn series(
        mut self,
        name: String,
        is_line: bool,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Chart {
        self.series.push(Series {
            name,
            is_line,
            points: points.into_iter().collect(),
        });
        self
    }

    /// Writes the chart as a PNG file, which appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn save_png(&self, path: impl AsRef<Path>) -> Result<()> {
        let (width, height) = PIXELS;
        let mut picture = Picture::new(width as usize, height as usize);
        let name = path.as_ref().display().to_string();
        let area = BitMapBackend::with_buffer(picture.bytes_mut(), PIXELS).into_drawing_area();
        let drawn = self.draw(&area);
        drop(area);
        drawn.map_err(|problem| Error::File {
            path: name,
            problem,
        })?;
        picture.save_png(path)
    }

    /// The chart as the text of an SVG image.
    ///
    /// # Errors
    /// [`Error::File`] without a name, if it cannot be drawn.
    pub fn to_svg(&self) -> Result<String> {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, LAYOUT).into_drawing_area();
        let drawn = self.draw(&area);
        drop(area);
        drawn.map_err(|problem| Error::File {
            path: "chart".into(),
            problem,
        })?;
        Ok(text)
    }

    /// The vertical position of a value; `None` where it has none.
    fn height(&self, value: f64) -> Option<f64> {
        match self.logarithmic {
            true if value > 0.0 => Some(value.log10()),
            true => None,
            false => Some(value),
        }
        .filter(|height| height.is_finite())
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Result<(), String> {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            // The font is a constant, which every test of this module reads.
            let _ = register_font("sans-serif", FontStyle::Normal, FONT);
        });
        let told = |e: DrawingAreaErrorKind<DB::ErrorType>| e.to_string();
        let drawable: Vec<Vec<Option<(f64, f64)>>> = self
            .series
            .iter()
            .map(|series| {
                let place = |&(x, y): &(f64, f64)| {
                    self.height(y)
                        .filter(|_| x.is_finite())
                        .map(|height| (x, height))
                };
                series.points.iter().map(place).collect()
            })
            .collect();
        let all = || drawable.iter().flatten().flatten();
        let x = range(all().map(|p| p.0), 0.0);
        let y = range(all().map(|p| p.1), 0.04);
        area.fill(&WHITE).map_err(told)?;
        let (across, up) = (x.end - x.start, y.end - y.start);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, y)
            .map_err(told)?;
        let label = |height: &f64| match self.logarithmic {
            true => tick(10f64.powf(*height), 0.0),
            false => tick(*height, up),
        };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(RGBColor(90, 90, 90))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .x_label_formatter(&|x| tick(*x, across))
            .y_label_formatter(&label)
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()
            .map_err(told)?;
        for ((series, points), color) in
            (self.series.iter().zip(&drawable)).zip(COLORS.iter().cycle())
        {
            let key = |(x, y)| Rectangle::new([(x, y - 2), (x + 18, y + 2)], color.filled());
            if series.is_line {
                for (number, run) in points.split(Option::is_none).enumerate() {
                    let run = run.iter().copied().flatten();
                    let drawn = chart.draw_series(LineSeries::new(run, color.stroke_width(2)));
                    let drawn = drawn.map_err(told)?;
                    if number == 0 {
                        drawn.label(&series.name).legend(key);
                    }
                }
            } else {
                let dots = points.iter().copied().flatten();
                let dots = dots.map(|point| Circle::new(point, 3, color.mix(0.7).filled()));
                let drawn = chart.draw_series(dots).map_err(told)?;
                drawn.label(&series.name).legend(key);
            }
        }
        if self.series.iter().any(|series| !series.name.is_empty()) {
            chart
                .configure_series_labels()
                .label_font(("sans-serif", 15))
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(200, 200, 200))
                .position(SeriesLabelPosition::UpperRight)
                .draw()
                .map_err(told)?;
        }
        area.present().map_err(told)
    }
}

/// From the smallest to the largest, and a share more on both sides; something where there is nothing.
fn range(values: impl Iterator<Item = f64>, margin: f64) -> std::ops::Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    if low > high {
        return 0.0..1.0;
    }
    match high - low {
        0.0 if low == 0.0 => -0.5..0.5,
        0.0 => low - low.abs() / 2.0..high + high.abs() / 2.0,
        span => low - span * margin..high + span * margin,
    }
}

/// A number at an axis of this length: as few digits as tell it.
fn tick(number: f64, length: f64) -> String {
    if number.abs() < length * 1e-9 {
        return "0".into();
    }
    let rounded = format!("{number:.4e}").parse().unwrap_or(number);
    match f64::abs(rounded) {
        0.0 => "0".into(),
        1e-3..1e6 => rounded.to_string(),
        _ => format!("{rounded:e}"),
    }
}
