//! Activations of neural networks.

use super::formula::smooth;
use crate::tensor::{Rhs, Tensor};
use crate::types::dtype::DType;
use crate::types::element::Scalar;
use crate::types::error::{Error, Place};

/// `alpha` and the scale of [`Tensor::selu`], which keep the mean 0 and the variance 1.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// `scale x` where `x` is above 0, else `scale alpha (e^(x / width) - 1)`.
#[track_caller]
fn exponential(name: &'static str, x: &Tensor, alpha: f64, scale: f64, width: f64) -> Tensor {
    let below = move |x: &Tensor| {
        // Above 0 the exponential might overflow.
        let x = x.gt(0.0).where_cond(0.0, x);
        if width == 1.0 { x } else { x / width }
    };
    smooth(
        name,
        x,
        move |x| {
            x.gt(0.0)
                .where_cond(x * scale, below(x).expm1() * (alpha * scale))
        },
        move |x, g| {
            let slope = g * (below(x).exp() * (alpha * scale / width));
            x.le(0.0).where_cond(slope, g * scale)
        },
    )
}

/// `lo` and `hi` beyond them, else `x`; the derivative at the bounds is 0.
#[track_caller]
fn between(name: &'static str, x: &Tensor, lo: f64, hi: f64) -> Tensor {
    let place = Place::caller();
    if let Ok(dtype) = x.dtype()
        && dtype == DType::Bool
    {
        return Tensor::fail(x.device(), super::formula::refused(name, dtype, place));
    }
    if lo > hi || lo.is_nan() || hi.is_nan() {
        let problem = format!("the lower bound {lo} is not below the upper {hi}");
        return x.then(|_| Err(Error::value(name, place, problem)));
    }
    if x.dtype().is_ok_and(|dtype| !dtype.is_float()) {
        // Integers stay integers.
        return x.clamp(lo as i64, hi as i64);
    }
    smooth(
        name,
        x,
        move |x| x.clamp(lo, hi),
        move |x, g| x.le(lo).logical_or(x.ge(hi)).where_cond(0.0, g),
    )
}

/// Activations, element by element. Integers become `f32` unless said otherwise.
impl Tensor {
    /// `x` above 0, else `slope x`; at 0 the derivative is `slope`
    /// ([Maas et al. 2013](https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf)). torch's default
    /// is a slope of 0.01.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([-10.0, 2.0], &dev).leaky_relu(0.5);
    /// assert_eq!(y.to_vec::<f32>()?, [-5.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        let leak = move |x: &Tensor, y: &Tensor| x.gt(0.0).where_cond(y, y * slope);
        smooth("leaky_relu", self, move |x| leak(x, x), leak)
    }

    /// `x` above 0, else `alpha (e^x - 1)` ([Clevert et al. 2015](https://arxiv.org/abs/1511.07289)). torch's
    /// default is an `alpha` of 1.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([-1.0, 2.0], &dev).elu(1.0).to_vec::<f32>()?;
    /// assert!((y[0] - ((-1.0_f32).exp() - 1.0)).abs() < 1e-6);
    /// assert_eq!(y[1], 2.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        exponential("elu", self, alpha, 1.0, 1.0)
    }

    /// [`Tensor::elu`] scaled so that layers keep the mean 0 and the variance 1
    /// ([Klambauer et al. 2017](https://arxiv.org/abs/1706.02515)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, 1.0], &dev).selu().to_vec::<f32>()?;
    /// assert_eq!(y, [0.0, 1.0507009873554804934193349852946]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn selu(&self) -> Tensor {
        exponential("selu", self, SELU_ALPHA, SELU_SCALE, 1.0)
    }

    /// `x` above 0, else `alpha (e^(x / alpha) - 1)`, whose derivative has no step
    /// ([Barron 2017](https://arxiv.org/abs/1704.07483)). torch's default is an `alpha` of 1; 0 is refused.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([-2.0, 0.0, 3.0], &dev).celu(2.0).to_vec::<f32>()?;
    /// assert!((y[0] - 2.0 * ((-1.0_f32).exp() - 1.0)).abs() < 1e-6);
    /// assert_eq!(y[1..], [0.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn celu(&self, alpha: f64) -> Tensor {
        let place = Place::caller();
        if alpha == 0.0 {
            return self.then(|_| Err(Error::value("celu", place, "alpha is 0")));
        }
        exponential("celu", self, alpha, 1.0, alpha)
    }

    /// `x tanh(ln(1 + e^x))` ([Misra 2019](https://arxiv.org/abs/1908.08681)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, 1.0], &dev).mish().to_vec::<f32>()?;
    /// assert_eq!(y[0], 0.0);
    /// assert!((y[1] - (1.0 + 1.0_f32.exp()).ln().tanh()).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mish(&self) -> Tensor {
        let place = Place::caller();
        place.within(|| {
            smooth(
                "mish",
                self,
                |x| x * x.softplus().tanh(),
                |x, g| {
                    let t = x.softplus().tanh();
                    let slope = x * (t.sqr() * -1.0 + 1.0) * x.sigmoid();
                    g * (t + slope)
                },
            )
        })
    }

    /// `x` within `lo` and `hi`, else the bound that it is beyond; at the bounds the derivative is 0. torch's
    /// defaults are -1 and 1. Integers stay integers.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-4.0, 0.5, 4.0], &dev);
    /// assert_eq!(x.hardtanh(-1.0, 1.0).to_vec::<f32>()?, [-1.0, 0.5, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn hardtanh(&self, lo: f64, hi: f64) -> Tensor {
        between("hardtanh", self, lo, hi)
    }

    /// `min(max(x, 0), 6)` ([Krizhevsky 2010](https://www.cs.toronto.edu/~kriz/conv-cifar10-aug2010.pdf)).
    /// Integers stay integers.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([-1.0, 3.0, 9.0], &dev).relu6().to_vec::<f32>()?, [0.0, 3.0, 6.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn relu6(&self) -> Tensor {
        between("relu6", self, 0.0, 6.0)
    }

    /// `x min(max(x + 3, 0), 6) / 6`, a piecewise [`Tensor::silu`]
    /// ([Howard et al. 2019](https://arxiv.org/abs/1905.02244)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-4.0, 0.0, 4.0], &dev);
    /// assert_eq!(x.hardswish().to_vec::<f32>()?, [0.0, 0.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn hardswish(&self) -> Tensor {
        smooth(
            "hardswish",
            self,
            |x| x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
            |x, g| {
                let slope = x.ge(3.0).where_cond(g, g * (x / 3.0 + 0.5));
                let slope = x.ne(x).where_cond(g, slope);
                x.le(-3.0).where_cond(0.0, slope)
            },
        )
    }

    /// `min(max(x + 3, 0), 6) / 6`, a piecewise [`Tensor::sigmoid`]
    /// ([Courbariaux et al. 2015](https://arxiv.org/abs/1511.00363)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-4.0, 0.0, 4.0], &dev);
    /// assert_eq!(x.hardsigmoid().to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn hardsigmoid(&self) -> Tensor {
        smooth(
            "hardsigmoid",
            self,
            |x| (x + 3.0).clamp(0.0, 6.0) / 6.0,
            |x, g| {
                let inside = x.gt(-3.0).logical_and(x.lt(3.0));
                inside.where_cond(g / 6.0, 0.0)
            },
        )
    }

    /// 0 where `|x| <= lambda`, else `x`. torch's default is a `lambda` of 0.5.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-2.0, 0.25, 0.5, 3.0], &dev);
    /// assert_eq!(x.hardshrink(0.5).to_vec::<f32>()?, [-2.0, 0.0, 0.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn hardshrink(&self, lambda: f64) -> Tensor {
        let kept = move |x: &Tensor, y: &Tensor| x.abs().le(lambda).where_cond(0.0, y);
        smooth("hardshrink", self, move |x| kept(x, x), kept)
    }

    /// `x` drawn towards 0 by `lambda`, and 0 within it. torch's default is a `lambda` of 0.5; a negative one is
    /// refused.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([-2.0, 0.25, 3.0], &dev);
    /// assert_eq!(x.softshrink(0.5).to_vec::<f32>()?, [-1.5, 0.0, 2.5]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn softshrink(&self, lambda: f64) -> Tensor {
        let place = Place::caller();
        if lambda.is_nan() || lambda < 0.0 {
            let problem = format!("lambda is {lambda}, and not at least 0");
            return self.then(|_| Err(Error::value("softshrink", place, problem)));
        }
        smooth(
            "softshrink",
            self,
            move |x| {
                // NaN stays, and what is drawn to 0 keeps its sign.
                let within = x.lt(-lambda).where_cond(x + lambda, x * 0.0);
                x.gt(lambda).where_cond(x - lambda, within)
            },
            move |x, g| x.abs().le(lambda).where_cond(0.0, g),
        )
    }

    /// `x - tanh(x)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, 1.0], &dev).tanhshrink().to_vec::<f32>()?;
    /// assert!(y[0] == 0.0 && (y[1] - (1.0 - 1.0_f32.tanh())).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tanhshrink(&self) -> Tensor {
        smooth(
            "tanhshrink",
            self,
            |x| x - x.tanh(),
            |x, g| g * x.tanh().sqr(),
        )
    }

    /// `x / (1 + |x|)`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([-1.0, 3.0], &dev).softsign().to_vec::<f32>()?, [-0.5, 0.75]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn softsign(&self) -> Tensor {
        let place = Place::caller();
        if self.dtype().is_ok_and(|dtype| dtype == DType::Bool) {
            let error = super::formula::refused("softsign", DType::Bool, place);
            return Tensor::fail(self.device(), error);
        }
        place.within(|| self / (self.abs() + 1.0))
    }

    /// `ln(sigmoid(x))`, precise where the sigmoid is small.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([0.0, -1000.0], &dev).logsigmoid().to_vec::<f32>()?;
    /// assert!((y[0] + 2.0_f32.ln()).abs() < 1e-6);
    /// assert_eq!(y[1], -1000.0); // the sigmoid itself is 0 there
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        let place = Place::caller();
        place.within(|| self.neg_of_float().softplus().neg())
    }

    /// `value` where `x <= threshold`, else `x`. Integers stay integers and take integers alone.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 5, 9], &dev);
    /// assert_eq!(x.threshold(5, 0).to_vec::<i32>()?, [0, 0, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn threshold(&self, threshold: impl Into<Scalar>, value: impl Into<Scalar>) -> Tensor {
        let place = Place::caller();
        let (threshold, value) = (Rhs::Scalar(threshold.into()), Rhs::Scalar(value.into()));
        place.within(|| self.le(threshold).where_cond(value, self))
    }

    /// `x` above 0, else `weight x`, where `weight` has one element, or one for each of dimension 1 (of
    /// dimension 0 of vectors) ([He et al. 2015](https://arxiv.org/abs/1502.01852)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[-1.0, -1.0], [2.0, 2.0]], &dev);
    /// let y = x.prelu(&Tensor::new([0.5, 0.25], &dev));
    /// assert_eq!(y.to_vec::<f32>()?, [-0.5, -0.25, 2.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn prelu(&self, weight: &Tensor) -> Tensor {
        let place = Place::caller();
        let [x, weight] = &[self, weight].map(|x| x.narrowed(place));
        x.then(|x| {
            let w = weight.capture()?;
            let channels = match x.shape().rank() {
                0 | 1 => 1,
                _ => x.shape()[1],
            };
            let one = w.shape().numel() == 1;
            if w.shape().rank() > 1 || !(one || w.shape().numel() == channels) {
                let (weight, shape) = (w.shape(), x.shape());
                let problem = format!(
                    "a weight of shape {weight} for {shape}: one element, or one for each of dimension 1"
                );
                return Err(Error::shape("prelu", place, problem));
            }
            if x.dtype() != w.dtype() || !x.dtype().is_float() {
                let (a, b) = (x.dtype(), w.dtype());
                let problem = format!("takes floats of one type, not {a} and {b}");
                return Err(Error::dtype("prelu", place, problem));
            }
            let rank = x.shape().rank();
            Ok(place.within(|| {
                let weight = match one {
                    true => weight.reshape(&[1usize; 0][..]),
                    false => {
                        let mut dims = vec![1; rank];
                        dims[1] = channels;
                        weight.reshape(dims)
                    }
                };
                let x = x.into_tensor();
                x.gt(0.0).where_cond(&x, &x * weight)
            }))
        })
    }

    /// `x` above 0, else `slope x`; in training the slope is drawn for each element from [lo, hi), else it is
    /// their middle ([Xu et al. 2015](https://arxiv.org/abs/1505.00853)). torch's defaults are 1/8 and 1/3.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = Tensor::new([-2.0, 3.0], &dev).rrelu(0.25, 0.75, false);
    /// assert_eq!(y.to_vec::<f32>()?, [-1.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rrelu(&self, lo: f64, hi: f64, training: bool) -> Tensor {
        let place = Place::caller();
        if !(lo <= hi && (hi - lo).is_finite()) {
            let problem = format!("the lower slope {lo} is not below the upper {hi}");
            return self.then(|_| Err(Error::value("rrelu", place, problem)));
        }
        place.within(|| {
            if !training {
                return self.leaky_relu((lo + hi) / 2.0);
            }
            self.then(|x| {
                let dtype = super::class_dtype(super::Class::Float, x.dtype());
                let target = (dtype, self.device());
                let slopes = Tensor::uniform(x.shape().clone(), lo, hi, target);
                Ok(self.gt(0.0).where_cond(self, self * slopes))
            })
        })
    }

    /// `a sigmoid(b)`, where `a` and `b` are the halves along `dim`, which must be even
    /// ([Dauphin et al. 2016](https://arxiv.org/abs/1612.08083)).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([3.0, 4.0, 0.0, 0.0], &dev);
    /// assert_eq!(x.glu(0).to_vec::<f32>()?, [1.5, 2.0]); // sigmoid(0) is a half
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn glu(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let d = crate::tensor::views::dim_of("glu", x.shape(), dim, place)?;
            let size = x.shape()[d];
            if !size.is_multiple_of(2) {
                let problem = format!("dimension {dim} of shape {} is odd", x.shape());
                return Err(Error::shape("glu", place, problem));
            }
            if !x.dtype().is_float() {
                return Err(super::formula::refused("glu", x.dtype(), place));
            }
            Ok(place.within(|| {
                let a = self.narrow(dim, 0, size / 2);
                let b = self.narrow(dim, size / 2, size / 2);
                a * b.sigmoid()
            }))
        })
    }

    /// `-x`, of integers and bools as floats.
    #[track_caller]
    fn neg_of_float(&self) -> Tensor {
        match self.dtype() {
            Ok(dtype) if !dtype.is_float() => self.to_dtype(DType::F32).neg(),
            _ => self.neg(),
        }
    }
}
