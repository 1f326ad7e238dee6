//! RAdam.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{betas, not_negative, options};

/// RAdam, Adam whose adaptive step is held back while its variance is large
/// ([Liu et al. 2019](https://arxiv.org/abs/1908.03265)), as `torch.optim.RAdam`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize; decoupled: p = p (1 - lr weight_decay))
/// m = beta1 m + (1 - beta1) g               exp_avg
/// v = beta2 v + (1 - beta2) g^2             exp_avg_sq
/// rho_inf = 2 / (1 - beta2) - 1
/// rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t)
/// rho_t > 5:  r = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))
///             p = p - lr / (1 - beta1^t) m r sqrt(1 - beta2^t) / (sqrt(v) + eps)
/// otherwise:  p = p - lr / (1 - beta1^t) m
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Optimizer, RAdam, RAdamOptions};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut radam = RAdam::new(vec![w.clone()], RAdamOptions { lr: 0.125, ..Default::default() });
/// (&w * 3.0).backward()?;
/// radam.step()?; // at first along the gradient
/// assert!((w.item::<f32>()? - 0.625).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub type RAdam = Descent<RAdamOptions>;

options! {
    /// Hyperparameters of [`RAdam`].
    pub struct RAdamOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the first and of the second moments, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// How much of the parameter is added to its gradient, or by how much it shrinks.
        weight_decay: f64 = 0.0,
        /// Weight decay as AdamW's.
        decoupled_weight_decay: bool = false,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct RAdamRule<const DECOUPLED: bool>;

impl<const DECOUPLED: bool> Formula<2, 9> for RAdamRule<DECOUPLED> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [m, v]: [X; 2], numbers: [X; 9]) -> (X, [X; 2]) {
        let [sign, decay, b1, r1, b2, r2, step, adaptive, eps] = numbers;
        let g = g * sign;
        let (p, g) = if DECOUPLED {
            (p * decay, g)
        } else {
            (p, g + decay * p)
        };
        let m = b1 * m + r1 * g;
        let v = b2 * v + r2 * g.sqr();
        // Without the adaptive part, `adaptive` is 0.
        let is_adaptive = adaptive.gt(p.constant(0.0));
        let divisor = X::select(is_adaptive, v.sqrt() + eps, p.constant(1.0));
        (p - step * m / divisor, [m, v])
    }
}

impl Hyperparameters for RAdamOptions {
    /// decoupled_weight_decay.
    type Form = bool;

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ])?;
        betas(self.betas)
    }

    fn form(&self) -> bool {
        self.decoupled_weight_decay
    }

    fn rule(decoupled: bool) -> UpdateRule {
        let states = ["exp_avg", "exp_avg_sq"];
        match decoupled {
            true => UpdateRule::new("radam", states, RAdamRule::<true>),
            false => UpdateRule::new("radam", states, RAdamRule::<false>),
        }
    }

    fn coefficients(&self, step: u64, _: &mut [f64]) -> Coefficients {
        let (beta1, beta2) = self.betas;
        let t = step as f64;
        let step = self.lr / (1.0 - beta1.powf(t));
        let rest2 = 1.0 - beta2.powf(t);
        let longest = 2.0 / (1.0 - beta2) - 1.0;
        let length = longest - 2.0 * t * beta2.powf(t) / rest2;
        let adaptive = length > 5.0;
        let size = if adaptive {
            let rectified = (length - 4.0) * (length - 2.0) * longest
                / ((longest - 4.0) * (longest - 2.0) * length);
            rectified.sqrt() * rest2.sqrt()
        } else {
            1.0
        };
        Coefficients::from_slice(&[
            sign(self.maximize),
            if self.decoupled_weight_decay {
                1.0 - self.lr * self.weight_decay
            } else {
                self.weight_decay
            },
            beta1,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            step * size,
            f64::from(u8::from(adaptive)),
            self.eps,
        ])
    }
}
