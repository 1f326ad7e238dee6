//! A line chart as a PNG file. Text is drawn with a pixel font, so that no font library of the
//! system is needed.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

const SIZE: (i32, i32) = (800, 490);
/// The frame of the plot: left, top, right, bottom.
const FRAME: (i32, i32, i32, i32) = (70, 50, 780, 430);
/// Pixels per dot of the font.
const DOT: i32 = 3;

/// A named line.
pub struct Line<'a> {
    pub name: &'a str,
    pub color: RGBColor,
    /// The value of epoch 1, 2, ...
    pub values: &'a [f64],
}

/// Draws lines over epochs. The file appears whole or not at all.
pub fn draw(path: &Path, title: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn Error>> {
    let partial = path.with_extension("partial.png");
    let drawn = render(&partial, title, lines);
    let done = drawn.and_then(|()| Ok(std::fs::rename(&partial, path)?));
    if done.is_err() {
        // What is left of a file that could not be written is of no use.
        let _ = std::fs::remove_file(&partial);
    }
    done
}

fn render(path: &Path, title: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn Error>> {
    let size = (SIZE.0 as u32, SIZE.1 as u32);
    let area = BitMapBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;

    let (left, top, right, bottom) = FRAME;
    let values = lines.iter().flat_map(|line| line.values);
    let highest = values
        .copied()
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max);
    let epochs = lines
        .iter()
        .map(|l| l.values.len())
        .max()
        .unwrap_or(0)
        .max(1);
    let x_step = tick_step(epochs as f64, 10.0).max(1.0);
    let y_step = tick_step(if highest > 0.0 { highest } else { 1.0 }, 6.0);
    let y_end = y_step * (highest / y_step).ceil().max(1.0);
    // Epochs 1 to n over the whole width; a single epoch stands at the left.
    let x_span = (epochs as f64 - 1.0).max(1.0);
    let x_at = |epoch: f64| left + ((epoch - 1.0) / x_span * f64::from(right - left)) as i32;
    let y_at = |value: f64| bottom - (value / y_end * f64::from(bottom - top)) as i32;

    let grid = RGBColor(225, 225, 225);
    let decimals = (-y_step.log10().floor()).max(0.0) as usize;
    for i in 0..=(y_end / y_step).round() as usize {
        let value = i as f64 * y_step;
        let y = y_at(value);
        area.draw(&PathElement::new([(left, y), (right, y)], grid))?;
        let label = format!("{value:.decimals$}");
        text(&area, &label, (left - 8 - width(&label), y - 7), BLACK)?;
    }
    let mut epoch = 1.0;
    while epoch <= epochs as f64 {
        let x = x_at(epoch);
        area.draw(&PathElement::new([(x, bottom), (x, bottom + 5)], BLACK))?;
        let label = format!("{epoch}");
        text(&area, &label, (x - width(&label) / 2, bottom + 10), BLACK)?;
        epoch = if epoch == 1.0 && x_step > 1.0 {
            x_step
        } else {
            epoch + x_step
        };
    }
    area.draw(&PathElement::new(
        [(left, top), (left, bottom), (right, bottom)],
        BLACK,
    ))?;
    text(&area, "epoch", (right - width("epoch"), bottom + 32), BLACK)?;
    text(&area, title, (left, 18), BLACK)?;

    let mut legend = right;
    for line in lines.iter().rev() {
        legend -= width(line.name);
        text(&area, line.name, (legend, 18), line.color)?;
        legend -= 34;
        let key = [(legend, 25), (legend + 26, 25)];
        area.draw(&PathElement::new(key, line.color.stroke_width(2)))?;
        legend -= 24;
        let finite = line
            .values
            .iter()
            .enumerate()
            .filter(|(_, v)| v.is_finite());
        let points: Vec<(i32, i32)> = finite
            .map(|(i, &v)| (x_at(i as f64 + 1.0), y_at(v)))
            .collect();
        for &point in &points {
            area.draw(&Circle::new(point, 2, line.color.filled()))?;
        }
        area.draw(&PathElement::new(points, line.color.stroke_width(2)))?;
    }
    area.present()?;
    Ok(())
}

/// A step of 1, 2 or 5 times a power of ten that makes at most `most` ticks.
fn tick_step(range: f64, most: f64) -> f64 {
    let power = 10f64.powf((range / most).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    steps
        .into_iter()
        .find(|s| range / s <= most)
        .unwrap_or(steps[3])
}

fn width(text: &str) -> i32 {
    (text.chars().count() as i32 * 4 - 1).max(0) * DOT
}

fn text(
    area: &DrawingArea<BitMapBackend<'_>, plotters::coord::Shift>,
    text: &str,
    (mut x, y): (i32, i32),
    color: RGBColor,
) -> Result<(), Box<dyn Error>> {
    for c in text.chars() {
        for (row, dots) in glyph(c).into_iter().enumerate() {
            for column in (0..3).filter(|column| dots & (0b100 >> column) != 0) {
                let corner = (x + column * DOT, y + row as i32 * DOT);
                let opposite = (corner.0 + DOT, corner.1 + DOT);
                let dot = [corner, opposite];
                area.draw(&Rectangle::new(dot, color.filled()))?;
            }
        }
        x += 4 * DOT;
    }
    Ok(())
}

/// Three columns by five rows, one row a number. Letters have one case.
fn glyph(c: char) -> [u8; 5] {
    match c.to_ascii_lowercase() {
        '0' => [0b111, 0b101, 0b101, 0b101, 0b111],
        '1' => [0b010, 0b110, 0b010, 0b010, 0b111],
        '2' => [0b111, 0b001, 0b111, 0b100, 0b111],
        '3' => [0b111, 0b001, 0b111, 0b001, 0b111],
        '4' => [0b101, 0b101, 0b111, 0b001, 0b001],
        '5' => [0b111, 0b100, 0b111, 0b001, 0b111],
        '6' => [0b111, 0b100, 0b111, 0b101, 0b111],
        '7' => [0b111, 0b001, 0b010, 0b010, 0b010],
        '8' => [0b111, 0b101, 0b111, 0b101, 0b111],
        '9' => [0b111, 0b101, 0b111, 0b001, 0b111],
        '.' => [0b000, 0b000, 0b000, 0b000, 0b010],
        'a' => [0b010, 0b101, 0b111, 0b101, 0b101],
        'c' => [0b011, 0b100, 0b100, 0b100, 0b011],
        'e' => [0b111, 0b100, 0b110, 0b100, 0b111],
        'g' => [0b011, 0b100, 0b101, 0b101, 0b011],
        'h' => [0b101, 0b101, 0b111, 0b101, 0b101],
        'i' => [0b111, 0b010, 0b010, 0b010, 0b111],
        'l' => [0b100, 0b100, 0b100, 0b100, 0b111],
        'n' => [0b110, 0b101, 0b101, 0b101, 0b101],
        'o' => [0b010, 0b101, 0b101, 0b101, 0b010],
        'p' => [0b110, 0b101, 0b110, 0b100, 0b100],
        'r' => [0b110, 0b101, 0b110, 0b101, 0b101],
        's' => [0b011, 0b100, 0b010, 0b001, 0b110],
        't' => [0b111, 0b010, 0b010, 0b010, 0b010],
        _ => [0; 5],
    }
}
