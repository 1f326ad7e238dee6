//! Adam and AdamW.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters};
use super::moments::{decay, moments, of_moments};
use super::options::{betas, not_negative, options};
use super::quantity::Quantity;

/// Adam ([Kingma and Ba 2014](https://arxiv.org/abs/1412.6980)), as `torch.optim.Adam`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// m = beta1 m + (1 - beta1) g               exp_avg
/// v = beta2 v + (1 - beta2) g^2             exp_avg_sq
/// p = p - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)
/// ```
///
/// With `amsgrad` the largest `v` so far takes the place of `v` in the last line.
pub type Adam = Descent<AdamOptions>;

/// Adam with decoupled weight decay
/// ([Loshchilov and Hutter 2017](https://arxiv.org/abs/1711.05101)), as `torch.optim.AdamW`: the
/// decay is `p = p (1 - lr weight_decay)` and does not enter the moments.
pub type AdamW = Descent<AdamWOptions>;

options! {
    /// Hyperparameters of [`Adam`].
    pub struct AdamOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the first and of the second moments, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Divide by the largest second moment so far
        /// ([Reddi et al. 2018](https://openreview.net/forum?id=ryQu7f-RZ)).
        amsgrad: bool = false,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

options! {
    /// Hyperparameters of [`AdamW`].
    pub struct AdamWOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the first and of the second moments, each in `[0, 1)`.
        betas: (f64, f64) = (0.9, 0.999),
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// By how much, times the learning rate, each step shrinks the parameter.
        weight_decay: f64 = 1e-2,
        /// Divide by the largest second moment so far.
        amsgrad: bool = false,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

/// The formula of both, with a state more for `amsgrad`. Its numbers are those of the moments,
/// `step = lr / (1 - beta1^t)`, `scale = 1 / sqrt(1 - beta2^t)` and eps.
#[derive(Clone, Copy)]
struct AdamRule<const DECOUPLED: bool>;

impl<const DECOUPLED: bool> Formula<2, 9> for AdamRule<DECOUPLED> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, kept: [X; 2], numbers: [X; 9]) -> (X, [X; 2]) {
        let [a, b, c, d, e, f, step, scale, eps] = numbers;
        let (p, _, [m, v]) = moments(DECOUPLED, p, g, kept, [a, b, c, d, e, f]);
        (p - step * m / (v.sqrt() * scale + eps), [m, v])
    }
}

impl<const DECOUPLED: bool> Formula<3, 9> for AdamRule<DECOUPLED> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [m, v, most]: [X; 3], numbers: [X; 9]) -> (X, [X; 3]) {
        let [a, b, c, d, e, f, step, scale, eps] = numbers;
        let (p, _, [m, v]) = moments(DECOUPLED, p, g, [m, v], [a, b, c, d, e, f]);
        let most = most.maximum(v);
        (p - step * m / (most.sqrt() * scale + eps), [m, v, most])
    }
}

macro_rules! adam_hyperparameters {
    ($options:ident, $decoupled:literal) => {
        impl Hyperparameters for $options {
            /// amsgrad.
            type Form = bool;

            fn check(&self) -> Result<(), String> {
                let numbers = [
                    ("lr", self.lr),
                    ("eps", self.eps),
                    ("weight_decay", self.weight_decay),
                ];
                not_negative(&numbers).and_then(|()| betas(self.betas))
            }

            fn form(&self) -> bool {
                self.amsgrad
            }

            fn rule(amsgrad: bool) -> UpdateRule {
                let (m, v) = ("exp_avg", "exp_avg_sq");
                match amsgrad {
                    true => {
                        let states = [m, v, "max_exp_avg_sq"];
                        UpdateRule::new("adam", states, AdamRule::<$decoupled>)
                    }
                    false => UpdateRule::new("adam", [m, v], AdamRule::<$decoupled>),
                }
            }

            fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
                let (beta1, beta2) = self.betas;
                let decay = decay($decoupled, self.lr, self.weight_decay);
                let moments = of_moments(&step, self.maximize, decay, self.betas);
                let own = [
                    step.constant(self.lr) / step.decayed(beta1),
                    step.decayed(beta2).power(-0.5),
                    step.constant(self.eps),
                ];
                moments.into_iter().chain(own).collect()
            }
        }
    };
}
adam_hyperparameters!(AdamOptions, false);
adam_hyperparameters!(AdamWOptions, true);
