//! Adafactor.

use wgrad_core::{DType, Tensor};

use super::layerwise::{Layerwise, LayerwiseRule};
use super::options::{not_negative, options};
use super::quantity::Quantity;

/// Adafactor, whose second moments of a matrix are those of its rows and of its columns
/// ([Shazeer and Stern 2018](https://arxiv.org/abs/1804.04235)), as `torch.optim.Adafactor`:
///
/// ```text
/// g = grad                                  (-grad with maximize)
/// beta = 1 - t^beta2_decay
/// p = p (1 - lr weight_decay)
/// R = beta R + (1 - beta) mean of g^2 along each row        row_var, C likewise: col_var
/// V = R C / mean(R)                         (fewer than two dimensions: V = beta V + (1 - beta) g^2, variance)
/// u = g / sqrt(max(V, eps1^2))
/// p = p - max(eps2, rms(p)) min(lr, 1 / sqrt(t)) u / max(1, rms(u) / d)
/// ```
///
/// where `rms(p)` is that of before the weight decay.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Adafactor, AdafactorOptions, Optimizer};
///
/// let w = Tensor::ones([2, 3], &dev).requires_grad();
/// let mut adafactor = Adafactor::new(vec![w.clone()], AdafactorOptions::default());
/// (&w * 5.0).sum().backward()?;
/// adafactor.step()?;
/// assert!((w.to_vec::<f32>()?[0] - 0.99).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
pub type Adafactor = Layerwise<AdafactorOptions>;

options! {
    /// Hyperparameters of [`Adafactor`].
    pub struct AdafactorOptions {
        /// The largest learning rate.
        lr: f64 = 1e-2,
        /// The power of the step by which new squares enter the moments, at most 0.
        beta2_decay: f64 = -0.8,
        /// The least root of a second moment; 0 for the resolution of the parameter's type.
        eps1: f64 = 0.0,
        /// The least size of a parameter that its steps are measured by.
        eps2: f64 = 1e-3,
        /// What the root mean square of a step, before the learning rate, is clipped to.
        d: f64 = 1.0,
        /// By how much, times the learning rate, each step shrinks the parameter.
        weight_decay: f64 = 0.0,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

impl LayerwiseRule for AdafactorOptions {
    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps1", self.eps1),
            ("eps2", self.eps2),
            ("weight_decay", self.weight_decay),
        ])?;
        if !(self.beta2_decay <= 0.0 && self.beta2_decay.is_finite()) {
            let problem = format!("beta2_decay must be at most 0, not {}", self.beta2_decay);
            return Err(problem);
        }
        if !(self.d > 0.0 && self.d.is_finite()) {
            return Err(format!("d must be above 0, not {}", self.d));
        }
        Ok(())
    }

    fn states(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        let rank = shape.len();
        if rank < 2 {
            return vec![("variance", shape.to_vec())];
        }
        let (mut rows, mut columns) = (shape.to_vec(), shape.to_vec());
        rows[rank - 1] = 1;
        columns[rank - 2] = 1;
        vec![("row_var", rows), ("col_var", columns)]
    }

    fn update<X: Quantity>(
        &self,
        step: X,
        p: &Tensor,
        g: &Tensor,
        states: &[Tensor],
    ) -> (Tensor, Vec<Tensor>) {
        let resolution = match p.dtype() {
            Ok(DType::F64) => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        };
        let eps1 = if self.eps1 == 0.0 {
            resolution
        } else {
            self.eps1
        };
        let new = step.power(self.beta2_decay);
        let old = step.constant(1.0) - new.clone();
        let mixed = |kept: &Tensor, fresh: &Tensor| old.scale(kept) + new.scale(fresh);
        let lr = step.power(-0.5).at_most(self.lr);
        let root_mean_square = |x: &Tensor| x.sqr().mean().sqrt();
        let alpha = lr.scale(&root_mean_square(p).maximum(self.eps2));
        let (variance, states) = match states {
            [rows, columns] => {
                let rows = mixed(rows, &g.sqr().mean_dims([-1], true));
                let columns = mixed(columns, &g.sqr().mean_dims([-2], true));
                let mean = rows.mean_dims([-2], true).maximum(eps1);
                (&rows * &columns / mean, vec![rows, columns])
            }
            _ => {
                let variance = mixed(&states[0], &g.sqr());
                (variance.clone(), vec![variance])
            }
        };
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let u = variance.maximum(eps1 * eps1).rsqrt() * g * sign;
        let divisor = (root_mean_square(&u) * (1.0 / self.d)).maximum(1.0);
        let p = p * (1.0 - self.lr * self.weight_decay) - u * (alpha / divisor);
        (p, states)
    }
}
