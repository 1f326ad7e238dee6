//! The line search of L-BFGS: Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6, with torch's
//! safeguards.

use wgrad_core::{Result, Tensor};

/// What is known of a point of the line.
#[derive(Clone)]
pub(super) struct Point {
    /// How far along the direction it is.
    pub length: f64,
    pub loss: f64,
    pub gradient: Tensor,
    /// The derivative along the direction.
    pub slope: f64,
}

/// What the loss must fall by, and how flat the end must be.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;

/// A point that fulfils the strong Wolfe conditions, if `budget` evaluations find one, else the best of the last
/// bracket. `widest` is the largest element of the direction.
pub(super) fn strong_wolfe(
    at: &mut dyn FnMut(f64) -> Result<Point>,
    start: &Point,
    length: f64,
    widest: f64,
    tolerance_change: f64,
    budget: usize,
) -> Result<Point> {
    let too_high = |p: &Point| p.loss > start.loss + DECREASE * p.length * start.slope;
    let flat = |p: &Point| p.slope.abs() <= -CURVATURE * start.slope;
    let mut before = start.clone();
    before.length = 0.0;
    let mut point = at(length)?;
    let mut used = 0;
    // Outwards until the minimum is between two points.
    let (mut low, mut high) = loop {
        if used >= budget {
            let mut start = start.clone();
            start.length = 0.0;
            break (start, point);
        }
        if too_high(&point) || (used > 1 && point.loss >= before.loss) || point.slope.is_nan() {
            break (before, point);
        }
        if flat(&point) {
            return Ok(point);
        }
        if point.slope >= 0.0 {
            break (before, point);
        }
        let least = point.length + 0.01 * (point.length - before.length);
        let next = cubic_minimum(&before, &point, (least, point.length * 10.0));
        before = std::mem::replace(&mut point, at(next)?);
        used += 1;
    };
    if low.loss > high.loss {
        std::mem::swap(&mut low, &mut high);
    }
    // Inwards.
    let mut stuck = false;
    while used < budget && (high.length - low.length).abs() * widest >= tolerance_change {
        let (left, right) = (low.length.min(high.length), low.length.max(high.length));
        // In the order of the line, as torch has it.
        let mut next = cubic_minimum(&low, &high, (left, right));
        let margin = 0.1 * (right - left);
        if (right - next).min(next - left) < margin {
            if stuck || next >= right || next <= left {
                next = if (next - right).abs() < (next - left).abs() {
                    right - margin
                } else {
                    left + margin
                };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let point = at(next)?;
        used += 1;
        if too_high(&point) || point.loss >= low.loss {
            high = point;
            if low.loss > high.loss {
                std::mem::swap(&mut low, &mut high);
            }
            continue;
        }
        if flat(&point) {
            return Ok(point);
        }
        if point.slope * (high.length - low.length) >= 0.0 {
            high = low;
        }
        low = point;
    }
    Ok(low)
}

/// Where the cubic through two points with these slopes is least, within bounds; their middle where it has no
/// minimum.
fn cubic_minimum(a: &Point, b: &Point, (least, most): (f64, f64)) -> f64 {
    let (a, b) = if a.length <= b.length { (a, b) } else { (b, a) };
    let d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.length - b.length);
    let square = d1 * d1 - a.slope * b.slope;
    if square >= 0.0 {
        let d2 = square.sqrt();
        let along = (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
        let minimum = b.length - (b.length - a.length) * along;
        minimum.max(least).min(most)
    } else {
        (least + most) / 2.0
    }
}
