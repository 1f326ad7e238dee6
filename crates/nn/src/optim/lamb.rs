//! LAMB.

use wgrad_core::Tensor;

use super::layerwise::{Layerwise, LayerwiseRule};
use super::options::{betas, not_negative, options};
use super::quantity::Quantity;

/// LAMB, Adam whose step of each parameter is as long as the parameter itself, for large batches
/// ([You et al. 2019](https://arxiv.org/abs/1904.00962)):
///
/// ```text
/// g = grad                                  (-grad with maximize)
/// m = beta1 m + (1 - beta1) g               exp_avg
/// v = beta2 v + (1 - beta2) g^2             exp_avg_sq
/// r = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p
/// p = p - lr |p| / |r| r                    (p - lr r where |p| or |r| is 0)
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Lamb, LambOptions, Optimizer};
///
/// let w = Tensor::new([3.0, 4.0], &dev).requires_grad();
/// let mut lamb = Lamb::new(vec![w.clone()], LambOptions { lr: 0.5, ..Default::default() });
/// w.sum().backward()?;
/// lamb.step()?; // |p| = 5, r = (1, 1)
/// assert!((w.to_vec::<f32>()?[0] - (3.0 - 2.5 / 2f32.sqrt())).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
pub type Lamb = Layerwise<LambOptions>;

options! {
    /// Hyperparameters of [`Lamb`], by default the paper's.
    pub struct LambOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the first and of the second moments, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-6,
        /// How much of the parameter is added to its step.
        weight_decay: f64 = 0.0,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

impl LayerwiseRule for LambOptions {
    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ])?;
        betas(self.betas)
    }

    fn states(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        vec![("exp_avg", shape.to_vec()), ("exp_avg_sq", shape.to_vec())]
    }

    fn update<X: Quantity>(
        &self,
        step: X,
        p: &Tensor,
        g: &Tensor,
        states: &[Tensor],
    ) -> (Tensor, Vec<Tensor>) {
        let (beta1, beta2) = self.betas;
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let m = &states[0] * beta1 + g * (sign * (1.0 - beta1));
        let v = &states[1] * beta2 + g.sqr() * (1.0 - beta2);
        let size = step.decayed(beta2).power(-0.5).scale(&v.sqrt()) + self.eps;
        let r = step.decayed(beta1).power(-1.0).scale(&m) / size + p * self.weight_decay;
        let (long, short) = (p.sqr().sum().sqrt(), r.sqr().sum().sqrt());
        let both = long.gt(0.0).logical_and(short.gt(0.0));
        let trust = both.where_cond(&long / &short, 1.0);
        (p - r * (trust * self.lr), vec![m, v])
    }
}
