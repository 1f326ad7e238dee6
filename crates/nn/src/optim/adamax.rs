//! Adamax.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{betas, not_negative, options};
use super::quantity::Quantity;

/// Adamax, Adam by the infinity norm ([Kingma and Ba 2014](https://arxiv.org/abs/1412.6980)), as
/// `torch.optim.Adamax`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// m = beta1 m + (1 - beta1) g               exp_avg
/// u = max(beta2 u, |g| + eps)               exp_inf
/// p = p - lr / (1 - beta1^t) m / u
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Adamax, AdamaxOptions, Optimizer};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut adamax = Adamax::new(vec![w.clone()], AdamaxOptions { lr: 0.25, ..Default::default() });
/// (&w * 3.0).backward()?;
/// adamax.step()?;
/// assert!((w.item::<f32>()? - 0.75).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub type Adamax = Descent<AdamaxOptions>;

options! {
    /// Hyperparameters of [`Adamax`].
    pub struct AdamaxOptions {
        /// Learning rate.
        lr: f64 = 2e-3,
        /// Decay of the mean and of the largest gradient, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the size of the gradient.
        eps: f64 = 1e-8,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

/// Numbers: the gradient's sign, weight decay, beta1, 1 - beta1, beta2, `lr / (1 - beta1^t)`, eps.
#[derive(Clone, Copy)]
struct AdamaxRule;

impl Formula<2, 7> for AdamaxRule {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [m, u]: [X; 2], numbers: [X; 7]) -> (X, [X; 2]) {
        let [sign, decay, b1, r1, b2, step, eps] = numbers;
        let g = g * sign + decay * p;
        let m = b1 * m + r1 * g;
        let u = (b2 * u).maximum(g.abs() + eps);
        (p - step * m / u, [m, u])
    }
}

impl Hyperparameters for AdamaxOptions {
    type Form = ();

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ])?;
        betas(self.betas)
    }

    fn form(&self) {}

    fn rule(_: ()) -> UpdateRule {
        UpdateRule::new("adamax", ["exp_avg", "exp_inf"], AdamaxRule)
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        let (beta1, beta2) = self.betas;
        let number = |value: f64| step.constant(value);
        Coefficients::from_iter([
            number(sign(self.maximize)),
            number(self.weight_decay),
            number(beta1),
            number(1.0 - beta1),
            number(beta2),
            number(self.lr) / step.decayed(beta1),
            number(self.eps),
        ])
    }
}
