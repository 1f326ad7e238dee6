//! Initial values of parameters, as `torch.nn.init`, drawn from the device's random stream.
//!
//! The functions return plain tensors; [`Tensor::requires_grad`] makes a parameter of one.
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use wgrad_nn::init::{self, Fan, Gain};
//!
//! let weight = init::kaiming_uniform([16, 8], Fan::In, Gain::Relu, &dev).requires_grad();
//! let bound = (6.0f32 / 8.0).sqrt();
//! assert!(weight.to_vec::<f32>()?.iter().all(|w| w.abs() <= bound));
//! # Ok(())
//! # }
//! ```

use wgrad_core::{DType, Device, Error, PadMode, Place, Result, Shape, Target, Tensor};

/// The type of parameters unless another is given.
pub(crate) const FLOAT: DType = DType::F32;

/// Which side of a layer keeps its variance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fan {
    /// Inputs per output: the forward pass keeps it.
    #[default]
    In,
    /// Outputs per input: the backward pass keeps it.
    Out,
}

/// By how much the nonlinearity behind a layer shrinks the standard deviation
/// (`torch.nn.init.calculate_gain`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Gain {
    /// No nonlinearity, a convolution, or a sigmoid: 1.
    Linear,
    /// `tanh`: 5/3.
    Tanh,
    /// `relu`: the square root of 2.
    Relu,
    /// A leaky relu with this negative slope: `sqrt(2 / (1 + slope^2))`.
    LeakyRelu(f64),
    /// `selu`: 3/4.
    Selu,
    /// This factor.
    Factor(f64),
}

impl Gain {
    /// The factor.
    pub fn factor(self) -> f64 {
        match self {
            Gain::Linear => 1.0,
            Gain::Tanh => 5.0 / 3.0,
            Gain::Relu => std::f64::consts::SQRT_2,
            Gain::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Gain::Selu => 0.75,
            Gain::Factor(factor) => factor,
        }
    }
}

/// Inputs per output and outputs per input of a weight `[out, in, kernel..]`.
///
/// # Errors
/// [`Error::Shape`] if there are fewer than two dimensions.
///
/// ```
/// use wgrad_core::Shape;
/// assert_eq!(wgrad_nn::init::fans(&Shape::from([8, 3, 5, 5])), Ok((3 * 25, 8 * 25)));
/// assert!(wgrad_nn::init::fans(&Shape::from([8])).is_err());
/// ```
#[track_caller]
pub fn fans(shape: &Shape) -> Result<(usize, usize)> {
    match shape.dims() {
        [out, input, kernel @ ..] => {
            let field = Shape::new(kernel).numel();
            Ok((input.saturating_mul(field), out.saturating_mul(field)))
        }
        _ => Err(Error::Shape {
            op: "init",
            problem: format!("shape {shape} has no fans, which need two dimensions"),
            place: Place::caller(),
        }),
    }
}

/// Uniform in `[lo, hi)`.
#[track_caller]
pub fn uniform(shape: impl Into<Shape>, lo: f64, hi: f64, target: impl Target) -> Tensor {
    Tensor::uniform(shape, lo, hi, target)
}

/// Normal with this mean and standard deviation.
#[track_caller]
pub fn normal(shape: impl Into<Shape>, mean: f64, std: f64, target: impl Target) -> Tensor {
    let place = Place::caller();
    place.hold(|| Tensor::randn(shape, target) * std + mean)
}

/// All zeros.
#[track_caller]
pub fn zeros(shape: impl Into<Shape>, target: impl Target) -> Tensor {
    Tensor::zeros(shape, target)
}

/// All ones.
#[track_caller]
pub fn ones(shape: impl Into<Shape>, target: impl Target) -> Tensor {
    Tensor::ones(shape, target)
}

/// The same number everywhere.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// assert_eq!(init::constant([2], 0.5, &dev).to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn constant(shape: impl Into<Shape>, value: f64, target: impl Target) -> Tensor {
    let target = (target.dtype().unwrap_or(FLOAT), target.device());
    Tensor::full(shape, value, target)
}

/// Ones on the main diagonal of a matrix, else zeros: a linear layer that keeps its input.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let y = init::eye([2, 3], &dev);
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn eye(shape: impl Into<Shape>, target: impl Target) -> Tensor {
    let (place, shape) = (Place::caller(), shape.into());
    match shape.rank() {
        2 => place.hold(|| Tensor::eye(shape, target)),
        _ => refused(&shape, "is no matrix", place),
    }
}

/// Convolutions that keep their input, in each of `groups` as many channels as there are: a one in
/// the middle of the kernel of channel `i` in result `i`. The shape is `[out, in / groups, k..]` with
/// one to three dimensions of the kernel; other shapes, and groups that do not divide `out`, give a
/// failed tensor.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::randn([1, 2, 5], &dev);
/// let options = ConvOptions { padding: ConvPadding::Same, ..Default::default() };
/// let y = x.conv1d_with(&init::dirac([2, 2, 3], 1, &dev), None, options);
/// assert_eq!(y.to_vec::<f32>()?, x.to_vec::<f32>()?);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn dirac(shape: impl Into<Shape>, groups: usize, target: impl Target) -> Tensor {
    let (place, shape) = (Place::caller(), shape.into());
    let target = (target.dtype().unwrap_or(FLOAT), target.device());
    let [out, input, kernel @ ..] = shape.dims() else {
        return refused(&shape, "has no kernel", place);
    };
    if !(1..=3).contains(&kernel.len()) || groups == 0 || !out.is_multiple_of(groups) {
        return refused(
            &shape,
            &format!("is no convolution's with {groups} groups"),
            place,
        );
    }
    if kernel.contains(&0) {
        return place.hold(|| Tensor::zeros(&shape, target));
    }
    let mut points = vec![*out, *input];
    points.resize(shape.rank(), 1);
    let sides = kernel.iter().rev();
    let sides: Vec<isize> = sides
        .flat_map(|&k| [(k / 2) as isize, (k - 1 - k / 2) as isize])
        .collect();
    place.hold(|| {
        let each = Tensor::eye([out / groups, *input], target).repeat(&[groups, 1]);
        each.reshape(points).pad(&sides, PadMode::ZERO)
    })
}

/// Normal numbers with this mean and standard deviation that lie in `[lo, hi]`: those of
/// [`Tensor::trunc_normal`]. PyTorch's usual bounds are -2 and 2.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let weight = init::trunc_normal([100], 0.0, 1.0, (-2.0, 2.0), &dev);
/// assert!(weight.abs().max().item::<f32>()? <= 2.0);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn trunc_normal(
    shape: impl Into<Shape>,
    mean: f64,
    std: f64,
    bounds: (f64, f64),
    target: impl Target,
) -> Tensor {
    Tensor::trunc_normal(shape, mean, std, bounds, target)
}

/// A matrix of normal numbers with this standard deviation around 0, of which in each column a part
/// `sparsity` (rounded up to whole rows) is 0. Other shapes, and parts that are not within 0 and 1,
/// give a failed tensor.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let weight = init::sparse([10, 4], 0.25, 0.01, &dev);
/// let zeros = weight.eq(0.0).to_dtype(DType::F32).sum_dims([0], false);
/// assert_eq!(zeros.to_vec::<f32>()?, [3.0; 4]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn sparse(shape: impl Into<Shape>, sparsity: f64, std: f64, target: impl Target) -> Tensor {
    let (place, shape) = (Place::caller(), shape.into());
    let [rows, _] = shape[..] else {
        return refused(&shape, "is no matrix", place);
    };
    if !(0.0..=1.0).contains(&sparsity) {
        return refused(
            &shape,
            &format!("cannot be sparse to a part of {sparsity}"),
            place,
        );
    }
    let zeros = (sparsity * rows as f64).ceil() as i64;
    place.hold(|| {
        let target = (target.dtype().unwrap_or(FLOAT), target.device());
        // The ranks of random numbers are a random order of the rows.
        let order = Tensor::rand(&shape, target.1)
            .argsort(0, false)
            .argsort(0, false);
        order
            .lt(zeros)
            .where_cond(0.0, normal(&shape, 0.0, std, target))
    })
}

/// A matrix with orthonormal rows or columns, whichever are fewer, times `gain`, drawn from all of
/// them alike; of more dimensions, all but the first are the columns
/// ([Saxe et al. 2013](https://arxiv.org/abs/1312.6120)).
///
/// It is the orthogonal factor of the polar decomposition of a normal matrix `g`, `g (g^T g)^-1/2`
/// (which is distributed like PyTorch's factor of a QR decomposition), by the iteration of Newton and
/// Schulz, `x (3 - x^T x) / 2`: products of matrices on the device.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let q = init::orthogonal([3, 5], init::Gain::Linear, &dev);
/// let error = q.matmul(&q.t()) - Tensor::eye(3, &dev);
/// assert!(error.abs().max().item::<f32>()? < 1e-5);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn orthogonal(shape: impl Into<Shape>, gain: Gain, target: impl Target) -> Tensor {
    let (place, shape) = (Place::caller(), shape.into());
    let [rows, columns @ ..] = shape.dims() else {
        return refused(&shape, "is no matrix", place);
    };
    if columns.is_empty() {
        return refused(&shape, "is no matrix", place);
    }
    let (rows, columns) = (*rows, Shape::new(columns).numel());
    let (long, short) = (rows.max(columns), rows.min(columns));
    place.hold(|| {
        let dtype = target.dtype().unwrap_or(FLOAT);
        if short == 0 {
            return Tensor::zeros(&shape, (dtype, target.device()));
        }
        let mut q = Tensor::randn([long, short], (dtype.compute(), target.device()));
        // Singular values lie within sqrt(long) -+ sqrt(short), scaled to at most about 1; of square
        // matrices the least one is rarely below 1e-6 of what is usual.
        let largest = (long as f64).sqrt() + (short as f64).sqrt();
        let least =
            ((long as f64).sqrt() - (short as f64).sqrt()).max(1e-6 / (short as f64).sqrt());
        q = q / largest;
        // Small ones grow by half each time; behind that errors are squared.
        let steps = (largest / least).ln() / 1.5f64.ln() + 6.0;
        for _ in 0..steps.ceil() as usize {
            q = &q * 1.5 - q.matmul(&q.t().matmul(&q)) * 0.5;
        }
        let q = if rows < columns { q.t() } else { q };
        (q * gain.factor()).reshape(&shape).to_dtype(dtype)
    })
}

/// A tensor that has failed by its shape.
fn refused(shape: &Shape, why: &str, place: Place) -> Tensor {
    let error = Error::Shape {
        op: "init",
        problem: format!("shape {shape} {why}"),
        place,
    };
    Tensor::zeros(shape, &Device::failed(error))
}

/// Uniform within `gain sqrt(3 / fan)`
/// ([He et al. 2015](https://arxiv.org/abs/1502.01852)). A shape without fans gives a failed
/// tensor.
#[track_caller]
pub fn kaiming_uniform(
    shape: impl Into<Shape>,
    fan: Fan,
    gain: Gain,
    target: impl Target,
) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root(chosen(fan, input, out));
            Distribution::Uniform(std)
        })
    })
}

/// Normal with standard deviation `gain / sqrt(fan)`; otherwise as [`kaiming_uniform`].
#[track_caller]
pub fn kaiming_normal(
    shape: impl Into<Shape>,
    fan: Fan,
    gain: Gain,
    target: impl Target,
) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root(chosen(fan, input, out));
            Distribution::Normal(std)
        })
    })
}

/// Uniform within `gain sqrt(6 / (fan in + fan out))`
/// ([Glorot and Bengio 2010](https://proceedings.mlr.press/v9/glorot10a.html)). A shape without
/// fans gives a failed tensor.
#[track_caller]
pub fn xavier_uniform(shape: impl Into<Shape>, gain: Gain, target: impl Target) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root((input as f64 + out as f64) / 2.0);
            Distribution::Uniform(std)
        })
    })
}

/// Normal with standard deviation `gain sqrt(2 / (fan in + fan out))`; otherwise as
/// [`xavier_uniform`].
#[track_caller]
pub fn xavier_normal(shape: impl Into<Shape>, gain: Gain, target: impl Target) -> Tensor {
    let place = Place::caller();
    place.hold(|| {
        scaled(shape.into(), target, |input, out| {
            let std = gain.factor() / root((input as f64 + out as f64) / 2.0);
            Distribution::Normal(std)
        })
    })
}

/// A distribution around zero with a standard deviation.
enum Distribution {
    Uniform(f64),
    Normal(f64),
}

fn chosen(fan: Fan, input: usize, out: usize) -> f64 {
    match fan {
        Fan::In => input as f64,
        Fan::Out => out as f64,
    }
}

/// The bound of PyTorch's usual uniform weights and biases, `1 / sqrt(fan in)`.
pub(crate) fn bound(fan_in: usize) -> f64 {
    match fan_in {
        0 => 0.0,
        fan => 1.0 / (fan as f64).sqrt(),
    }
}

/// The square root, 1 for weights without elements (which have no value to scale).
fn root(fan: f64) -> f64 {
    if fan > 0.0 { fan.sqrt() } else { 1.0 }
}

#[track_caller]
fn scaled(
    shape: Shape,
    target: impl Target,
    distribution: impl FnOnce(usize, usize) -> Distribution,
) -> Tensor {
    match fans(&shape).map(|(input, out)| distribution(input, out)) {
        Ok(Distribution::Uniform(std)) => {
            let bound = 3f64.sqrt() * std;
            Tensor::uniform(shape, -bound, bound, target)
        }
        Ok(Distribution::Normal(std)) => Tensor::randn(shape, target) * std,
        Err(error) => Tensor::zeros(shape, &Device::failed(error)),
    }
}
