//! Pictures read at the places of a grid, and grids.

use super::cubic;
use crate::ops::elementwise::cast;
use crate::ops::statistics::floats;
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

/// How [`Tensor::grid_sample`] reads between elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum GridSampling {
    /// On the lines between two neighbours in each dimension: torch's `bilinear`.
    #[default]
    Bilinear,
    /// The nearest element, halves to even. The places have the derivative 0.
    Nearest,
    /// On cubic curves through four neighbours in each of two dimensions.
    Bicubic,
}

/// What lies outside of a picture for [`Tensor::grid_sample`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum GridPadding {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements at the border.
    Border,
    /// The picture, mirrored at its border.
    Reflection,
}

/// Options of [`Tensor::grid_sample`].
#[derive(Clone, Copy, Default, Debug)]
pub struct GridOptions {
    /// How elements are read.
    pub mode: GridSampling,
    /// What is outside.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the middles of the first and the last elements, and not their borders.
    pub align_corners: bool,
}

impl Tensor {
    /// Of pictures `[n, channels, h, w]` (or `[n, channels, d, h, w]`) what stands at the places of a grid
    /// `[n, h', w', 2]` (or `[n, d', h', w', 3]`): `[n, channels, h', w']`. A place is `x, y` (or `x, y, z`), from -1
    /// at the left, upper end to 1 ([Jaderberg et al. 2015](https://arxiv.org/abs/1506.02025)).
    /// `torch.nn.functional.grid_sample`. Both are of one type of floats.
    ///
    /// ```
    /// # use wgrad::{GridOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[[0.0, 4.0]]]], &dev);
    /// let grid = Tensor::new([[[[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [9.0, 0.0]]]], &dev);
    /// let y = x.grid_sample(&grid, GridOptions { align_corners: true, ..Default::default() });
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 2.0, 4.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn grid_sample(&self, grid: &Tensor, options: GridOptions) -> Tensor {
        let place = Place::caller();
        self.then(|x| place.within(|| sampled(&x, &grid.capture()?, options, place)))
    }

    /// The grid that [`Tensor::grid_sample`] takes for a picture of shape `[n, channels, h, w]`
    /// (or `[n, channels, d, h, w]`) moved by the matrices `[n, 2, 3]` (or `[n, 3, 4]`): each place is the matrix times
    /// `[x, y, 1]`. `torch.nn.functional.affine_grid`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let turned = Tensor::new([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]], &dev);
    /// let grid = Tensor::affine_grid(&turned, [1, 1, 1, 2], true); // places (-1, 0) and (1, 0)
    /// assert_eq!(grid.to_vec::<f32>()?, [0.0, 1.0, 0.0, -1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn affine_grid(theta: &Tensor, shape: impl Into<Shape>, align_corners: bool) -> Tensor {
        let (place, shape) = (Place::caller(), shape.into());
        theta.then(|theta| place.within(|| affine(&theta, &shape, align_corners, place)))
    }
}

fn affine(theta: &Value, shape: &Shape, align: bool, place: Place) -> Result<Tensor> {
    let name = "affine_grid";
    let dtype = floats(name, theta, place)?;
    let spatial = shape.rank().saturating_sub(2);
    let fits = matches!(spatial, 2 | 3)
        && *theta.shape() == [shape[0], spatial, spatial + 1]
        && shape.iter().all(|&size| size > 0);
    if !fits {
        let of = theta.shape();
        let problem = format!(
            "matrices of shape {of} for a picture of shape {shape}: they must be [n, 2, 3] for [n, channels, h, w], or [n, \
             3, 4] for [n, channels, d, h, w], and no size 0"
        );
        return Err(Error::shape(name, place, problem));
    }
    let compute = dtype.compute();
    let theta = cast(theta, compute, place)?.into_tensor();
    // [n, 1, .., spatial, spatial + 1]
    let mut apart = Dims::from_elem(1, spatial + 1);
    apart[0] = shape[0];
    apart.extend([spatial, spatial + 1]);
    let theta = theta.reshape(Shape::from(apart));
    let mut grid = theta.select(-1, spatial as isize);
    for axis in 0..spatial {
        // x is the last dimension.
        let d = spatial - 1 - axis;
        let size = shape[2 + d];
        let mut along = Dims::from_elem(1, spatial + 1);
        along[d] = size;
        let from = match (size, align) {
            (1, _) => 0.0,
            (_, true) => 2.0 / (size - 1) as f64,
            (_, false) => 2.0 / size as f64,
        };
        // Symmetric: the middle is 0.
        let at = Tensor::arange(size, (compute, theta.device()));
        let at = (at - (size - 1) as f64 / 2.0) * from;
        grid = grid + theta.select(-1, axis as isize) * at.reshape(Shape::from(along));
    }
    grid.to_dtype(dtype).checked()
}

/// A dimension of the picture, and where places lie along it: `[n, places]`.
struct Axis {
    size: usize,
    at: Tensor,
    options: GridOptions,
}

/// A neighbour along a dimension.
#[derive(Clone)]
struct Tap {
    /// Its position, a whole number within the dimension.
    index: Tensor,
    weight: Option<Tensor>,
    /// Where it is inside of the picture, if it may be outside.
    inside: Option<Tensor>,
}

fn sampled(x: &Value, grid: &Value, options: GridOptions, place: Place) -> Result<Tensor> {
    let name = "grid_sample";
    same_device(name, x, grid, place)?;
    let dtype = floats(name, x, place)?;
    let (shape, of) = (x.shape(), grid.shape());
    if grid.dtype() != dtype {
        let problem = format!("a grid of {} for a tensor of {dtype}", grid.dtype());
        return Err(Error::dtype(name, place, problem));
    }
    let spatial = shape.rank().saturating_sub(2);
    let cubic = options.mode == GridSampling::Bicubic;
    let fits = matches!(spatial, 2 | 3)
        && !(cubic && spatial == 3)
        && of.rank() == shape.rank()
        && of[0] == shape[0]
        && of[spatial + 1] == spatial
        && shape[2..].iter().all(|&size| size > 0);
    if !fits {
        let mode = options.mode;
        let problem = format!(
            "{mode:?} of shape {shape} at a grid of shape {of}: for [n, channels, h, w] it must be [n, .., .., 2], for [n, \
             channels, d, h, w] (not Bicubic) [n, .., .., .., 3], and no size to sample 0"
        );
        return Err(Error::shape(name, place, problem));
    }
    let wide = |x: &Value| -> Result<Tensor> {
        Ok(materialized(&cast(x, dtype.compute(), place)?, place)?.into_tensor())
    };
    let (n, channels) = (shape[0], shape[1]);
    let places: usize = of[1..=spatial].iter().product();
    let grid = wide(grid)?.reshape([n, places, spatial]);
    // From the last dimension, x, to the first.
    let axes = (0..spatial).map(|axis| Axis {
        size: shape[shape.rank() - 1 - axis],
        at: grid.select(2, axis as isize),
        options,
    });
    let mut taps: Vec<Tap> = Vec::new();
    let mut stride = 1;
    for axis in axes {
        let own = axis.taps();
        taps = match taps.is_empty() {
            true => own,
            false => {
                let pair = |outer: &Tap, inner: &Tap| joined(outer, inner, stride);
                let all = own.iter().flat_map(|o| taps.iter().map(move |i| (o, i)));
                all.map(|(outer, inner)| pair(outer, inner)).collect()
            }
        };
        stride *= axis.size;
    }
    let picture = wide(x)?.reshape([n, channels, stride]);
    // All neighbours at once: [n, channels, neighbours, places].
    let stacked = |of: &dyn Fn(&Tap) -> Option<Tensor>| -> Option<Tensor> {
        let all: Option<Vec<Tensor>> = taps.iter().map(of).collect();
        all.map(|all| Tensor::stack(&all, 1).unsqueeze(1))
    };
    let Some(index) = stacked(&|tap| Some(tap.index.to_dtype(DType::I32))) else {
        return Ok(picture);
    };
    let count = taps.len() * places;
    let flat = index.reshape([n, 1, count]).expand([n, channels, count]);
    let mut read = picture
        .gather(2, &flat)
        .reshape([n, channels, taps.len(), places]);
    if let Some(inside) = stacked(&|tap| tap.inside.clone()) {
        read = inside.where_cond(read, 0.0);
    }
    // Last, so that a place that is none gives NaN.
    if let Some(weight) = stacked(&|tap| tap.weight.clone()) {
        read = read * weight;
    }
    let mut to = Dims::from_slice(&[n, channels]);
    to.extend_from_slice(&of[1..=spatial]);
    let y = read.sum_dims([2], false).reshape(Shape::from(to));
    y.to_dtype(dtype).checked()
}

/// A neighbour of two dimensions (or more), the inner ones of which have `stride` elements.
fn joined(outer: &Tap, inner: &Tap, stride: usize) -> Tap {
    let both = |a: &Option<Tensor>, b: &Option<Tensor>, f: fn(&Tensor, &Tensor) -> Tensor| {
        a.as_ref().zip(b.as_ref()).map(|(a, b)| f(a, b))
    };
    Tap {
        index: outer.index.mul(stride) + &inner.index,
        weight: both(&outer.weight, &inner.weight, |a, b| a * b),
        inside: both(&outer.inside, &inner.inside, |a, b| a.logical_and(b)),
    }
}

impl Axis {
    fn taps(&self) -> Vec<Tap> {
        let n = self.size as f64;
        let at = match self.options.align_corners {
            true => (&self.at + 1.0) * ((n - 1.0) / 2.0),
            false => ((&self.at + 1.0) * n - 1.0) * 0.5,
        };
        if self.options.mode == GridSampling::Bicubic {
            let first = at.floor().detach();
            let weights = cubic(&(&at - &first));
            let tap = |(weight, i): (Tensor, i32)| {
                // What is outside is looked up inside, element by element.
                let at = self.bounded(&(&first + f64::from(i))).detach();
                self.tap(&at, Some(weight))
            };
            return weights.into_iter().zip(-1..).map(tap).collect();
        }
        let at = self.bounded(&at);
        if self.options.mode == GridSampling::Nearest {
            return vec![self.tap(&at.detach().round(), None)];
        }
        let first = at.floor().detach();
        let part = &at - &first;
        vec![
            self.tap(&first, Some(&part * -1.0 + 1.0)),
            self.tap(&(&first + 1.0), Some(part)),
        ]
    }

    /// Places that may be outside, brought inside where the padding says so.
    fn bounded(&self, at: &Tensor) -> Tensor {
        let last = (self.size - 1) as f64;
        match self.options.padding {
            GridPadding::Zeros => at.clone(),
            GridPadding::Border => at.clamp(0.0, last),
            GridPadding::Reflection => {
                let (low, span) = match self.options.align_corners {
                    true => (0.0, last),
                    false => (-0.5, last + 1.0),
                };
                if span == 0.0 {
                    return at * 0.0;
                }
                // The distance from the lower border, folded.
                let from = at - low;
                let from = from.lt(0.0).where_cond(from.neg(), &from);
                let flips = from.detach().div(span).floor();
                let rest = from.fmod(span);
                let odd = flips.remainder(2.0).ne(0.0);
                let folded = odd.where_cond(&rest * -1.0 + span, &rest) + low;
                folded.clamp(0.0, last)
            }
        }
    }

    fn tap(&self, at: &Tensor, weight: Option<Tensor>) -> Tap {
        let last = (self.size - 1) as f64;
        let inside = at.ge(0.0).logical_and(at.le(last));
        Tap {
            // Where it is outside, something must be read all the same.
            index: at.clamp(0.0, last).to_dtype(DType::I32),
            weight,
            inside: (self.options.padding == GridPadding::Zeros
                || self.options.mode == GridSampling::Bilinear)
                .then_some(inside),
        }
    }
}
