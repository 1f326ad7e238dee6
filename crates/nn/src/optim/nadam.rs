//! NAdam.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters};
use super::moments::{decay, moments, of_moments};
use super::options::{betas, not_negative, options};
use super::quantity::Quantity;

/// NAdam, Adam with Nesterov's momentum
/// ([Dozat 2016](https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ)), as `torch.optim.NAdam`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize; decoupled: p = p (1 - lr weight_decay))
/// mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)
/// m = beta1 m + (1 - beta1) g               exp_avg
/// v = beta2 v + (1 - beta2) g^2             exp_avg_sq
/// p = p - lr ((1 - mu_t) / (1 - mu_1 .. mu_t) g + mu_(t+1) / (1 - mu_1 .. mu_(t+1)) m)
///             / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{NAdam, NAdamOptions, Optimizer};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut nadam = NAdam::new(vec![w.clone()], NAdamOptions::default());
/// (&w * 3.0).backward()?;
/// nadam.step()?;
/// assert!(w.item::<f32>()? < 1.0);
/// # Ok(())
/// # }
/// ```
pub type NAdam = Descent<NAdamOptions>;

options! {
    /// Hyperparameters of [`NAdam`].
    pub struct NAdamOptions {
        /// Learning rate.
        lr: f64 = 2e-3,
        /// Decay of the first and of the second moments, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// How much of the parameter is added to its gradient, or by how much it shrinks.
        weight_decay: f64 = 0.0,
        /// How fast the momentum grows.
        momentum_decay: f64 = 4e-3,
        /// Weight decay as AdamW's.
        decoupled_weight_decay: bool = false,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct NAdamRule<const DECOUPLED: bool>;

impl<const DECOUPLED: bool> Formula<2, 10> for NAdamRule<DECOUPLED> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, kept: [X; 2], numbers: [X; 10]) -> (X, [X; 2]) {
        let [a, b, c, d, e, f, of_gradient, of_moment, scale, eps] = numbers;
        let (p, g, [m, v]) = moments(DECOUPLED, p, g, kept, [a, b, c, d, e, f]);
        let step = of_gradient * g + of_moment * m;
        (p - step / (v.sqrt() * scale + eps), [m, v])
    }
}

impl Hyperparameters for NAdamOptions {
    /// decoupled_weight_decay.
    type Form = bool;

    const KEPT: &'static [(&'static str, f64)] = &[("mu_product", 1.0)];

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("momentum_decay", self.momentum_decay),
        ])?;
        betas(self.betas)
    }

    fn form(&self) -> bool {
        self.decoupled_weight_decay
    }

    fn rule(decoupled: bool) -> UpdateRule {
        let states = ["exp_avg", "exp_avg_sq"];
        match decoupled {
            true => UpdateRule::new("nadam", states, NAdamRule::<true>),
            false => UpdateRule::new("nadam", states, NAdamRule::<false>),
        }
    }

    fn coefficients<X: Quantity>(&self, step: X, kept: &mut [X]) -> Coefficients<X> {
        let (beta1, beta2) = self.betas;
        let number = |value: f64| step.constant(value);
        let one = || number(1.0);
        // 0.96^(t decay) is 1 less what has decayed of it.
        let base = 0.96f64.powf(self.momentum_decay);
        let mu = |t: &X| (one() + t.decayed(base)).times(0.5 * beta1);
        let (now, next) = (mu(&step), mu(&(step.clone() + one())));
        let product = kept[0].clone() * now.clone();
        kept[0] = product.clone();
        let decay = decay(self.decoupled_weight_decay, self.lr, self.weight_decay);
        let moments = of_moments(&step, self.maximize, decay, self.betas);
        let own = [
            (one() - now).times(self.lr) / (one() - product.clone()),
            next.times(self.lr) / (one() - product * next),
            step.decayed(beta2).power(-0.5),
            number(self.eps),
        ];
        moments.into_iter().chain(own).collect()
    }
}
