//! Lion.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{betas, not_negative, options};
use super::quantity::Quantity;

/// Lion, which steps along the sign of its momentum ([Chen et al. 2023](https://arxiv.org/abs/2302.06675)):
///
/// ```text
/// g = grad                                  (-grad with maximize)
/// u = sign(beta1 m + (1 - beta1) g)
/// m = beta2 m + (1 - beta2) g               exp_avg
/// p = p (1 - lr weight_decay) - lr u
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Lion, LionOptions, Optimizer};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut lion = Lion::new(vec![w.clone()], LionOptions { lr: 0.25, ..Default::default() });
/// (&w * 3.0).backward()?;
/// lion.step()?;
/// assert_eq!(w.item::<f32>()?, 0.75);
/// # Ok(())
/// # }
/// ```
pub type Lion = Descent<LionOptions>;

options! {
    /// Hyperparameters of [`Lion`], by default the paper's.
    pub struct LionOptions {
        /// Learning rate.
        lr: f64 = 1e-4,
        /// The momentum's weight in the step, and its decay, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.99),
        /// By how much, times the learning rate, each step shrinks the parameter.
        weight_decay: f64 = 0.0,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct LionRule;

impl Formula<1, 7> for LionRule {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [m]: [X; 1], numbers: [X; 7]) -> (X, [X; 1]) {
        let [sign, decay, lr, b1, r1, b2, r2] = numbers;
        let g = g * sign;
        let step = (b1 * m + r1 * g).sign();
        (p * decay - lr * step, [b2 * m + r2 * g])
    }
}

impl Hyperparameters for LionOptions {
    type Form = ();

    fn check(&self) -> Result<(), String> {
        not_negative(&[("lr", self.lr), ("weight_decay", self.weight_decay)])?;
        betas(self.betas)
    }

    fn form(&self) {}

    fn rule(_: ()) -> UpdateRule {
        UpdateRule::new("lion", ["exp_avg"], LionRule)
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        let (beta1, beta2) = self.betas;
        let decay = 1.0 - self.lr * self.weight_decay;
        let numbers = [
            sign(self.maximize),
            decay,
            self.lr,
            beta1,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
        ];
        numbers
            .map(|value| step.constant(value))
            .into_iter()
            .collect()
    }
}
