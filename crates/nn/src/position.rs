//! What tells attention where things stand.

use std::fmt;

use wgrad_core::{DType, Error, Place, Result, RotaryOptions, Target, Tensor};
use wgrad_derive::Module;

use crate::forward::Forward;
use crate::hooks;
use crate::init;

/// Adds sines and cosines of the position to each row of `[.., length, size]`
/// ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)):
///
/// ```text
/// p[i, 2 j] = sin(i / base^(2 j / size))        p[i, 2 j + 1] = cos(i / base^(2 j / size))
/// ```
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let y = nn::SinusoidalEncoding::default().forward(&Tensor::zeros([2, 2], &dev))?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 1f32.sin(), 1f32.cos()]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct SinusoidalEncoding {
    /// How slow the slowest wave is, 10,000 by default.
    #[module(skip)]
    pub base: f64,
}

impl Default for SinusoidalEncoding {
    fn default() -> SinusoidalEncoding {
        SinusoidalEncoding { base: 10_000.0 }
    }
}

impl fmt::Display for SinusoidalEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinusoidalEncoding(base={:?})", self.base)
    }
}

impl Forward for SinusoidalEncoding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let place = Place::caller();
            let shape = x.shape()?;
            let &[.., length, size] = shape.dims() else {
                let problem = format!("shape {shape} has no rows: it is [.., length, size]");
                let op = "sinusoidal_encoding";
                return Err(Error::Shape { op, problem, place });
            };
            let dtype = x.dtype()?;
            let wide = (
                if dtype == DType::F64 {
                    dtype
                } else {
                    DType::F32
                },
                x.device(),
            );
            let pairs = size.div_ceil(2);
            let waves = Tensor::arange(pairs, wide) * (-2.0 * self.base.ln() / size as f64);
            let angles = Tensor::arange(length, wide).unsqueeze(1) * waves.exp();
            let both = Tensor::stack(&[angles.sin(), angles.cos()], -1).flatten(-2, -1);
            (x + both.narrow(-1, 0, size).to_dtype(dtype)).checked()
        })
    }
}

/// Turns pairs of each row of `[.., length, size]` by angles that grow with the position, so that
/// products of queries and keys depend on how far apart these are
/// ([Su et al. 2021](https://arxiv.org/abs/2104.09864)): [`Tensor::rotary_embedding_with`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let q = Tensor::randn([2, 4, 10, 8], &dev); // batch, heads, length, size
/// assert_eq!(nn::RotaryEmbedding::default().forward(&q)?.shape()?, [2, 4, 10, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct RotaryEmbedding {
    /// How slow the slowest pair turns, 10,000 by default.
    #[module(skip)]
    pub base: f64,
    /// Whether pairs are neighbours, instead of `i` and `i + size / 2`.
    #[module(skip)]
    pub interleaved: bool,
}

impl Default for RotaryEmbedding {
    fn default() -> RotaryEmbedding {
        RotaryEmbedding {
            base: 10_000.0,
            interleaved: false,
        }
    }
}

impl RotaryEmbedding {
    /// [`Forward`] of rows that begin at this position, as in generation.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, offset: usize) -> Result<Tensor> {
        let options = RotaryOptions {
            offset,
            positions: None,
            base: self.base,
            interleaved: self.interleaved,
        };
        hooks::layer(self, x, |x| x.rotary_embedding_with(options).checked())
    }
}

impl fmt::Display for RotaryEmbedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RotaryEmbedding { base, interleaved } = self;
        write!(
            f,
            "RotaryEmbedding(base={base:?}, interleaved={interleaved})"
        )
    }
}

impl Forward for RotaryEmbedding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_from(x, 0)
    }
}

/// The slopes of attention with linear biases for so many heads, `2^(-8 i / heads)` from `i = 1`
/// (where `heads` is no power of 2, those of the next smaller one, and then every second one of the
/// next larger) ([Press et al. 2022](https://arxiv.org/abs/2108.12409)). They are the `alibi` of
/// [`AttentionOptions`](wgrad_core::AttentionOptions).
///
/// ```
/// # use wgrad::{AttentionOptions, prelude::*};
/// # let dev = wgrad::cpu();
/// let slopes = nn::alibi_slopes(4, &dev);
/// assert_eq!(slopes.to_vec::<f32>()?, [0.25, 0.0625, 0.015625, 0.00390625]);
/// let q = Tensor::randn([2, 4, 10, 8], &dev);
/// let options = AttentionOptions { alibi: Some(slopes), is_causal: true, ..Default::default() };
/// assert_eq!(q.scaled_dot_product_attention_with(&q, &q, options).shape()?, [2, 4, 10, 8]);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn alibi_slopes(heads: usize, target: impl Target) -> Tensor {
    let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
    let of = |n: usize, i: usize| 2f64.powf(-8.0 * (i as f64 + 1.0) / n as f64);
    let power = if heads == 0 { 0 } else { 1 << heads.ilog2() };
    let slopes: Vec<f64> = (0..heads)
        .map(|i| match i < power {
            true => of(power, i),
            false => of(2 * power, 2 * (i - power)),
        })
        .collect();
    Tensor::from_vec(
        slopes.iter().map(|&s| s as f32).collect(),
        [heads],
        target.1,
    )
    .to_dtype(target.0)
}
