//! Adam and AdamW.

use wgrad_core::{Coefficients, ScalarBits, UpdateRule};

use super::descent::{Descent, Hyperparameters};

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

/// Hyperparameters of [`Adam`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamOptions {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first and of the second moments, each in `[0, 1)`.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// How much of the parameter is added to its gradient.
    pub weight_decay: f64,
    /// Divide by the largest second moment so far
    /// ([Reddi et al. 2018](https://openreview.net/forum?id=ryQu7f-RZ)).
    pub amsgrad: bool,
    /// Ascend instead of descend.
    pub maximize: bool,
}

/// PyTorch's defaults.
impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            amsgrad: false,
            maximize: false,
        }
    }
}

/// Hyperparameters of [`AdamW`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamWOptions {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first and of the second moments, each in `[0, 1)`.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// By how much, times the learning rate, each step shrinks the parameter.
    pub weight_decay: f64,
    /// Divide by the largest second moment so far.
    pub amsgrad: bool,
    /// Ascend instead of descend.
    pub maximize: bool,
}

/// PyTorch's defaults.
impl Default for AdamWOptions {
    fn default() -> AdamWOptions {
        AdamWOptions {
            lr: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 1e-2,
            amsgrad: false,
            maximize: false,
        }
    }
}

macro_rules! adam_hyperparameters {
    ($options:ident, $decoupled:literal, |$o:ident| $decay:expr) => {
        impl Hyperparameters for $options {
            fn moments(rule: UpdateRule) -> &'static [&'static str] {
                match rule {
                    UpdateRule::Adam { amsgrad: true, .. } => {
                        &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
                    }
                    _ => &["exp_avg", "exp_avg_sq"],
                }
            }

            fn rule(&self) -> Result<UpdateRule, String> {
                super::descent::not_negative("lr", self.lr)?;
                super::descent::not_negative("eps", self.eps)?;
                super::descent::not_negative("weight_decay", self.weight_decay)?;
                for (name, beta) in [("betas.0", self.betas.0), ("betas.1", self.betas.1)] {
                    if !(0.0..1.0).contains(&beta) {
                        return Err(format!("{name} must be in [0, 1), not {beta}"));
                    }
                }
                Ok(UpdateRule::Adam {
                    decoupled: $decoupled,
                    amsgrad: self.amsgrad,
                    maximize: self.maximize,
                })
            }

            fn coefficients(&self, step: u64) -> Coefficients {
                let $o = self;
                let (beta1, beta2) = self.betas;
                let t = step as f64;
                let numbers = [
                    $decay,
                    beta1,
                    beta2,
                    self.lr / (1.0 - beta1.powf(t)),
                    1.0 / (1.0 - beta2.powf(t)).sqrt(),
                    self.eps,
                ];
                numbers.into_iter().map(ScalarBits::float).collect()
            }

            fn lr(&mut self) -> &mut f64 {
                &mut self.lr
            }

            fn numbers(&self) -> Vec<(&'static str, f64)> {
                vec![
                    ("lr", self.lr),
                    ("beta1", self.betas.0),
                    ("beta2", self.betas.1),
                    ("eps", self.eps),
                    ("weight_decay", self.weight_decay),
                    ("amsgrad", f64::from(u8::from(self.amsgrad))),
                    ("maximize", f64::from(u8::from(self.maximize))),
                ]
            }

            fn set_number(&mut self, name: &str, value: f64) -> bool {
                match name {
                    "lr" => self.lr = value,
                    "beta1" => self.betas.0 = value,
                    "beta2" => self.betas.1 = value,
                    "eps" => self.eps = value,
                    "weight_decay" => self.weight_decay = value,
                    "amsgrad" => self.amsgrad = value != 0.0,
                    "maximize" => self.maximize = value != 0.0,
                    _ => return false,
                }
                true
            }
        }
    };
}
adam_hyperparameters!(AdamOptions, false, |o| o.weight_decay);
adam_hyperparameters!(AdamWOptions, true, |o| 1.0 - o.lr * o.weight_decay);
