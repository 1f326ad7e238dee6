//! Pictures of another size: one dimension after the other.
//!
//! Along a dimension each new element is a weighted sum of a few old ones, which are selected by their positions.
//! (A product with a matrix of weights would spread NaN and infinities over all of a row.)

mod grid;

pub use grid::{GridOptions, GridPadding, GridSampling};

use crate::ops::elementwise::cast;
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// How [`Tensor::interpolate`] makes elements between others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Resampling {
    /// The element that the beginning of the new one lies in: torch's `nearest`.
    #[default]
    Nearest,
    /// The element that the middle of the new one lies in: torch's `nearest-exact`.
    NearestExact,
    /// On the line between two neighbours in each dimension: torch's `linear`, `bilinear` and `trilinear`.
    Linear,
    /// On a cubic curve through four neighbours in each of two dimensions, with torch's coefficient -0.75.
    Bicubic,
    /// The mean of all elements that the new one touches.
    Area,
}

/// Options of [`Tensor::interpolate_with`].
#[derive(Clone, Default, Debug)]
pub struct InterpolateOptions {
    /// The new size of each dimension behind the channels, or one for all.
    pub size: Option<Vec<usize>>,
    /// How many times as large each of these dimensions becomes, rounded down, or one number for all.
    pub scale_factor: Option<Vec<f64>>,
    /// How elements are made.
    pub mode: Resampling,
    /// Whether the middles of the first and the last elements stay at the ends, and not their borders. Only where
    /// elements lie on lines or curves.
    pub align_corners: bool,
    /// Whether positions are those of the sizes, and not of the `scale_factor`.
    pub recompute_scale_factor: bool,
    /// Whether smaller pictures are made of all elements that a line or curve as wide as a new element covers, so that
    /// no detail is skipped, and what repeats itself does not make false patterns. Only in two dimensions, on lines or
    /// curves, whose coefficient is then -0.5.
    pub antialias: bool,
}

impl Tensor {
    /// Of `[n, channels, ..]` with one to three dimensions behind the channels a tensor of another `size` there
    /// (a number for each of these dimensions, or one for all). `torch.nn.functional.interpolate`.
    ///
    /// Neighbours may be of any type; what is computed, only floats.
    ///
    /// ```
    /// # use wgrad::{Resampling, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[0.0, 4.0]]], &dev);
    /// assert_eq!(x.interpolate(&[4], Resampling::Nearest).to_vec::<f32>()?, [0.0, 0.0, 4.0, 4.0]);
    /// assert_eq!(x.interpolate(&[4], Resampling::Linear).to_vec::<f32>()?, [0.0, 1.0, 3.0, 4.0]);
    /// assert_eq!(x.interpolate(&[1], Resampling::Area).to_vec::<f32>()?, [2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn interpolate(&self, size: &[usize], mode: Resampling) -> Tensor {
        self.interpolate_with(InterpolateOptions {
            size: Some(size.to_vec()),
            mode,
            ..Default::default()
        })
    }

    /// [`Tensor::interpolate`] by a factor, with the corners aligned, or without false patterns in what gets smaller.
    ///
    /// ```
    /// # use wgrad::{InterpolateOptions, Resampling, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[0.0, 4.0]]], &dev);
    /// let y = x.interpolate_with(InterpolateOptions {
    ///     scale_factor: Some(vec![2.5]),
    ///     mode: Resampling::Linear,
    ///     align_corners: true,
    ///     ..Default::default()
    /// });
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 2.0, 3.0, 4.0]);
    ///
    /// // Every third line is white. Others may be skipped, or all be seen.
    /// let lines = Tensor::new([[[[0.0, 1.0, 0.0, 0.0, 1.0, 0.0]]]], &dev);
    /// let half = |antialias| lines.interpolate_with(InterpolateOptions {
    ///     size: Some(vec![1, 2]),
    ///     mode: Resampling::Linear,
    ///     antialias,
    ///     ..Default::default()
    /// });
    /// assert_eq!(half(false).to_vec::<f32>()?, [1.0, 1.0]);
    /// assert!((half(true) - 0.375).abs().max().item::<f32>()? < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn interpolate_with(&self, options: InterpolateOptions) -> Tensor {
        let place = Place::caller();
        // Means of windows are as good in 16 bits.
        let x = match options.mode {
            Resampling::Area => self.clone(),
            _ => self.widened(),
        };
        x.then(|x| place.within(|| interpolated(&x, &options, place)))
    }
}

fn interpolated(x: &Value, options: &InterpolateOptions, place: Place) -> Result<Tensor> {
    let name = "interpolate";
    let (shape, mode) = (x.shape(), options.mode);
    let wrong = |what: String| Err(Error::shape(name, place, what));
    let fits = match mode {
        Resampling::Bicubic => shape.rank() == 4,
        _ => (3..=5).contains(&shape.rank()),
    };
    if !fits {
        let dims = match mode {
            Resampling::Bicubic => "4",
            _ => "3 to 5",
        };
        return wrong(format!(
            "{mode:?} of shape {shape}, which must have {dims} dimensions, [n, channels, ..]"
        ));
    }
    let between = matches!(mode, Resampling::Linear | Resampling::Bicubic);
    if options.align_corners && !between {
        let problem = format!("corners are aligned by Linear and Bicubic, not by {mode:?}");
        return Err(Error::value(name, place, problem));
    }
    if options.antialias && !(between && shape.rank() == 4) {
        let problem = format!(
            "antialias is of Linear and Bicubic in shapes [n, channels, h, w], not of {mode:?} of shape {shape}"
        );
        return Err(Error::value(name, place, problem));
    }
    let selects = matches!(mode, Resampling::Nearest | Resampling::NearestExact);
    if !selects && !x.dtype().is_float() {
        let problem = format!(
            "takes floats, not {}; convert them with to_dtype",
            x.dtype()
        );
        return Err(Error::dtype(name, place, problem));
    }
    let axes = axes(shape, options, place)?;
    if let Some(axis) = axes.iter().find(|axis| axis.from == 0 || axis.to == 0) {
        let (d, to) = (axis.dim, axis.to);
        return wrong(format!(
            "dimension {d} of shape {shape} to the size {to}: neither may be 0"
        ));
    }
    let mut wide = materialized(x, place)?;
    if !selects {
        wide = cast(&wide, x.dtype().compute(), place)?;
    }
    let mut y = wide.into_tensor();
    for axis in &axes {
        if axis.is_identity(options) {
            continue;
        }
        y = match mode {
            _ if options.antialias => axis.filtered(&y, mode, options.align_corners)?,
            Resampling::Area => axis.averaged(&y),
            _ => axis.weighted(&y, mode, options.align_corners)?,
        };
    }
    y.to_dtype(x.dtype()).checked()
}

/// A dimension that gets another size.
struct Axis {
    dim: usize,
    from: usize,
    to: usize,
    /// How many times as large it becomes, where that and not the sizes give positions.
    factor: Option<f64>,
}

fn axes(shape: &Shape, options: &InterpolateOptions, place: Place) -> Result<Vec<Axis>> {
    let name = "interpolate";
    let n = shape.rank() - 2;
    let all = |len: usize| match len {
        1 => Ok(()),
        _ if len == n => Ok(()),
        _ => {
            let problem = format!(
                "{len} numbers for the {n} dimensions of shape {shape} behind the channels: there must be one, or one for each"
            );
            Err(Error::shape(name, place, problem))
        }
    };
    let of = |i: usize, len: usize| if len == 1 { 0 } else { i };
    let axis = |i: usize, to: usize, factor: Option<f64>| Axis {
        dim: i + 2,
        from: shape[i + 2],
        to,
        factor,
    };
    match (&options.size, &options.scale_factor) {
        (Some(size), None) => {
            all(size.len())?;
            Ok((0..n)
                .map(|i| axis(i, size[of(i, size.len())], None))
                .collect())
        }
        (None, Some(factors)) => {
            all(factors.len())?;
            let one = |i: usize| {
                let factor = factors[of(i, factors.len())];
                let to = (shape[i + 2] as f64 * factor).floor();
                if !(0.0..=f64::from(u32::MAX)).contains(&to) {
                    let problem = format!(
                        "a factor of {factor} for dimension {} of shape {shape}, which must have 0 to {} elements then",
                        i + 2,
                        u32::MAX
                    );
                    return Err(Error::shape(name, place, problem));
                }
                let own = (!options.recompute_scale_factor).then_some(factor);
                Ok(axis(i, to as usize, own))
            };
            (0..n).map(one).collect()
        }
        _ => {
            let problem = "takes either a size or a scale factor";
            Err(Error::value(name, place, problem))
        }
    }
}

impl Axis {
    /// Whether nothing changes. Lines, as in torch, begin where the elements are if their number is the same.
    fn is_identity(&self, options: &InterpolateOptions) -> bool {
        let plain = || self.factor.is_none_or(|factor| factor == 1.0);
        let begins = matches!(options.mode, Resampling::Linear | Resampling::Area);
        self.from == self.to && (begins || options.antialias || plain())
    }

    /// The size of a new element in old ones.
    fn step(&self) -> f64 {
        match self.factor {
            Some(factor) if factor > 0.0 => factor.recip(),
            _ => self.from as f64 / self.to as f64,
        }
    }

    /// The size of a new element in old ones where the first and the last stay at the ends.
    fn aligned_step(&self) -> f64 {
        match self.to {
            1 => 0.0,
            to => (self.from - 1) as f64 / (to - 1) as f64,
        }
    }

    /// A vector of an element for each new place, as one along the dimension of `x`.
    fn along(&self, vector: Tensor, x: &Tensor) -> Tensor {
        let mut to = vec![1; x.rank().unwrap_or(0)];
        if let Some(size) = to.get_mut(self.dim) {
            *size = self.to;
        }
        vector.reshape(to)
    }

    /// The old elements at positions, which are whole numbers as floats, within the ends.
    fn at(&self, x: &Tensor, positions: &Tensor) -> Tensor {
        let last = (self.from - 1) as f64;
        let index = positions.clamp(0.0, last).to_dtype(DType::I32);
        x.index_select(self.dim as isize, &index)
    }

    fn weighted(&self, x: &Tensor, mode: Resampling, align: bool) -> Result<Tensor> {
        let selects = matches!(mode, Resampling::Nearest | Resampling::NearestExact);
        // Neighbours are found in f32, as in torch.
        let dtype = match selects {
            true => DType::F32,
            false => x.dtype()?,
        };
        let place = Tensor::arange(self.to, (dtype, x.device()));
        let step = self.step();
        let middle = || (&place + 0.5) * step;
        let source = match mode {
            Resampling::Nearest => &place * step,
            Resampling::NearestExact => middle(),
            _ if align => &place * self.aligned_step(),
            Resampling::Linear => (middle() - 0.5).clamp(0.0, f64::INFINITY),
            _ => middle() - 0.5,
        };
        let first = source.floor();
        if selects {
            return Ok(self.at(x, &first));
        }
        let part = self.along((&source - &first).clamp(0.0, 1.0), x);
        let taps: Vec<(isize, Tensor)> = match mode {
            Resampling::Bicubic => cubic(&part)
                .into_iter()
                .zip(-1..)
                .map(|(w, i)| (i, w))
                .collect(),
            _ => vec![(0, &part * -1.0 + 1.0), (1, part)],
        };
        let terms = taps
            .iter()
            .map(|(i, weight)| self.at(x, &(&first + *i as f64)) * weight);
        Ok(terms
            .reduce(|sum, term| sum + term)
            .unwrap_or_else(|| x.clone()))
    }

    /// Sums of the elements whose middles lie below a line or curve around the middle of the new one, which is as wide as
    /// that one if it is the larger, with weights that sum to 1: with `c = (i + 1/2) step` and `s = max(step, 1)`, those
    /// from `floor(c - r s + 1/2)` to below `floor(c + r s + 1/2)`, element `j` with `f((j + 1/2 - c) / s)`, where `f` is
    /// 0 from `r` on. As torch, and PIL before it.
    fn filtered(&self, x: &Tensor, mode: Resampling, align: bool) -> Result<Tensor> {
        let (dim, dtype) = (self.dim as isize, (x.dtype()?, x.device()));
        let step = if align {
            self.aligned_step()
        } else {
            self.step()
        };
        let size = step.max(1.0);
        let radius = match mode {
            Resampling::Bicubic => 2.0,
            _ => 1.0,
        };
        let reach = radius * size;
        let most = (2 * reach.ceil() as usize + 1).min(self.from);
        let middle = (Tensor::arange(self.to, dtype) + 0.5).unsqueeze(1) * step;
        let last = self.from as f64;
        let first = (&middle - reach + 0.5).floor().clamp(0.0, last);
        let end = (&middle + reach + 0.5).floor().clamp(0.0, last);
        let at = first + Tensor::arange(most, dtype);
        let inside = at.lt(&end);
        let away = ((&at - &middle + 0.5) / size).abs();
        let weights = match mode {
            Resampling::Bicubic => {
                let [near, far] = keys(&away, -0.5);
                let far = away.lt(2.0).where_cond(far, 0.0);
                away.lt(1.0).where_cond(near, far)
            }
            _ => (1.0 - away).clamp_min(0.0),
        };
        let weights = inside.where_cond(weights, 0.0);
        let weights = &weights / weights.sum_dims([1], true);
        let index = at.clamp(0.0, last - 1.0).to_dtype(DType::I32);
        let parts = x
            .index_select(dim, &index.reshape([-1isize]))
            .unflatten(dim, [self.to as isize, -1]);
        let mut along = Dims::from_elem(1, x.rank()? - self.dim + 1);
        (along[0], along[1]) = (self.to, most);
        let along = Shape::from(along);
        // What stands outside may be NaN or infinite.
        let parts = inside.reshape(&along).where_cond(parts, 0.0);
        Ok((parts * weights.reshape(along)).sum_dims([dim + 1], false))
    }

    /// The means of the elements from `floor(i from / to)` to below `ceil((i + 1) from / to)`.
    fn averaged(&self, x: &Tensor) -> Tensor {
        let dim = self.dim as isize;
        if self.from.is_multiple_of(self.to) {
            let sizes = [self.to as isize, -1];
            return x.unflatten(dim, sizes).mean_dims([dim + 1], false);
        }
        let most = self.from.div_ceil(self.to) + 1;
        let int = (DType::I32, x.device());
        let i = Tensor::arange(self.to, int).unsqueeze(1);
        // i from / to, where i from alone may be beyond the type.
        let (whole, rest) = (self.from / self.to, self.from % self.to);
        let scaled =
            |i: &Tensor, up: usize| i.mul(whole) + (i.mul(rest) + up as i32).floor_divide(self.to);
        let (start, end) = (scaled(&i, 0), scaled(&(&i + 1), self.to - 1));
        let at = &start + Tensor::arange(most, int);
        let inside = at.lt(&end);
        let count = (end - start).to_dtype(x.dtype().unwrap_or(DType::F32));
        let index = at.minimum(self.from - 1).reshape([-1isize]);
        let parts = x
            .index_select(dim, &index)
            .unflatten(dim, [self.to as isize, -1]);
        let mut behind = Dims::from_elem(1, x.rank().unwrap_or(0) - self.dim + 1);
        (behind[0], behind[1]) = (self.to, most);
        let inside = inside.reshape(Shape::from(behind.clone()));
        let sums = inside.where_cond(parts, 0.0).sum_dims([dim + 1], false);
        behind.remove(1);
        sums / count.reshape(Shape::from(behind))
    }
}

/// Keys' curve at distances below 1, and from 1 to 2
/// ([Keys 1981](https://doi.org/10.1109/TASSP.1981.1163711)).
fn keys(x: &Tensor, a: f64) -> [Tensor; 2] {
    let near = (x * (a + 2.0) - (a + 3.0)) * x * x + 1.0;
    let far = ((x * a - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    [near, far]
}

/// The weights of the neighbours at -1, 0, 1 and 2 for a place at the part `t` of the way from 0 to 1, with a coefficient
/// of -0.75.
fn cubic(t: &Tensor) -> [Tensor; 4] {
    let weights = |x: &Tensor| keys(x, -0.75);
    let back = t * -1.0 + 1.0;
    let ([near, _], [_, far]) = (weights(t), weights(&(t + 1.0)));
    let ([behind, _], [_, last]) = (weights(&back), weights(&(&back + 1.0)));
    [far, near, behind, last]
}
