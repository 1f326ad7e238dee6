//! Adam and AdamW.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
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

/// The formula of both, with a state more where `AMSGRAD`. Its numbers are the gradient's sign, `decay` (what p is
/// multiplied by where decay is decoupled, else how much of it is added to the gradient), beta1, 1 - beta1 (which in
/// f32 would be off by much), beta2, 1 - beta2, `step = lr / (1 - beta1^t)`, `scale = 1 / sqrt(1 - beta2^t)` and eps.
#[derive(Clone, Copy)]
struct AdamRule<const DECOUPLED: bool>;

impl<const DECOUPLED: bool> AdamRule<DECOUPLED> {
    /// The parameter after weight decay, and the new moments.
    #[inline(always)]
    fn moments<X: Number>(p: X, g: X, [m, v]: [X; 2], numbers: [X; 9]) -> (X, [X; 2]) {
        let [sign, decay, b1, r1, b2, r2, ..] = numbers;
        let g = g * sign;
        let (p, g) = if DECOUPLED {
            (p * decay, g)
        } else {
            (p, g + decay * p)
        };
        (p, [b1 * m + r1 * g, b2 * v + r2 * g.sqr()])
    }
}

impl<const DECOUPLED: bool> Formula<2, 9> for AdamRule<DECOUPLED> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, moments: [X; 2], numbers: [X; 9]) -> (X, [X; 2]) {
        let [.., step, scale, eps] = numbers;
        let (p, [m, v]) = AdamRule::<DECOUPLED>::moments(p, g, moments, numbers);
        (p - step * m / (v.sqrt() * scale + eps), [m, v])
    }
}

impl<const DECOUPLED: bool> Formula<3, 9> for AdamRule<DECOUPLED> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [m, v, most]: [X; 3], numbers: [X; 9]) -> (X, [X; 3]) {
        let [.., step, scale, eps] = numbers;
        let (p, [m, v]) = AdamRule::<DECOUPLED>::moments(p, g, [m, v], numbers);
        let most = most.maximum(v);
        (p - step * m / (most.sqrt() * scale + eps), [m, v, most])
    }
}

macro_rules! adam_hyperparameters {
    ($options:ident, $decoupled:literal, |$o:ident| $decay:expr) => {
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
                let $o = self;
                let (beta1, beta2) = self.betas;
                let number = |value: f64| step.constant(value);
                Coefficients::from_iter([
                    number(sign(self.maximize)),
                    number($decay),
                    number(beta1),
                    number(1.0 - beta1),
                    number(beta2),
                    number(1.0 - beta2),
                    number(self.lr) / step.decayed(beta1),
                    step.decayed(beta2).power(-0.5),
                    number(self.eps),
                ])
            }
        }
    };
}
adam_hyperparameters!(AdamOptions, false, |o| o.weight_decay);
adam_hyperparameters!(AdamWOptions, true, |o| 1.0 - o.lr * o.weight_decay);
