//! How near two tensors are.

use std::fmt;

use wgrad_core::{Result, Tensor};
use wgrad_derive::Module;

use crate::hooks;

/// The cosines of the angles between vectors along a dimension, as `torch.nn.CosineSimilarity`:
/// [`Tensor::cosine_similarity`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let (a, b) = (Tensor::new([[3.0, 4.0]], &dev), Tensor::new([[2.0, 0.0]], &dev));
/// let y = nn::CosineSimilarity::default().forward(&a, &b)?;
/// assert!((y.item::<f32>()? - 0.6).abs() < 1e-6);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct CosineSimilarity {
    /// The dimension, 1 by default.
    #[module(skip)]
    pub dim: isize,
    /// The least length that is divided by, 1e-8 by default.
    #[module(skip)]
    pub eps: f64,
}

impl Default for CosineSimilarity {
    fn default() -> CosineSimilarity {
        CosineSimilarity { dim: 1, eps: 1e-8 }
    }
}

impl CosineSimilarity {
    /// The cosines.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        hooks::layer(self, a, |a| {
            a.cosine_similarity(b, self.dim, self.eps).checked()
        })
    }
}

impl fmt::Display for CosineSimilarity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosineSimilarity(dim={}, eps={:?})", self.dim, self.eps)
    }
}

/// The norms of the differences of vectors along the last dimension, as
/// `torch.nn.PairwiseDistance`: [`Tensor::pairwise_distance`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let (a, b) = (Tensor::new([[3.0, 4.0]], &dev), Tensor::zeros([1, 2], &dev));
/// let y = nn::PairwiseDistance::default().forward(&a, &b)?;
/// assert!((y.item::<f32>()? - 5.0).abs() < 1e-5);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, PartialEq, Debug)]
#[module(crate = crate, display)]
pub struct PairwiseDistance {
    /// Which norm it is, 2 by default.
    #[module(skip)]
    pub p: f64,
    /// What is added to the differences, 1e-6 by default.
    #[module(skip)]
    pub eps: f64,
    /// Whether the dimension stays, with size 1.
    #[module(skip)]
    pub keepdim: bool,
}

impl Default for PairwiseDistance {
    fn default() -> PairwiseDistance {
        PairwiseDistance {
            p: 2.0,
            eps: 1e-6,
            keepdim: false,
        }
    }
}

impl PairwiseDistance {
    /// The distances.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let PairwiseDistance { p, eps, keepdim } = *self;
        hooks::layer(self, a, |a| {
            a.pairwise_distance(b, p, eps, keepdim).checked()
        })
    }
}

impl fmt::Display for PairwiseDistance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PairwiseDistance { p, eps, keepdim } = self;
        write!(
            f,
            "PairwiseDistance(p={p:?}, eps={eps:?}, keepdim={keepdim})"
        )
    }
}
