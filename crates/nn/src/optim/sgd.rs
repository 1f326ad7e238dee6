//! Stochastic gradient descent.

use wgrad_core::{Coefficients, ScalarBits, UpdateRule};

use super::descent::{Descent, Hyperparameters, not_negative};

/// Stochastic gradient descent, as `torch.optim.SGD`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// b = momentum b + (1 - dampening) g        momentum_buffer, b = g at first
/// g = nesterov ? g + momentum b : b         (with momentum)
/// p = p - lr g
/// ```
pub type Sgd = Descent<SgdOptions>;

/// Hyperparameters of [`Sgd`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SgdOptions {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the momentum buffer; 0 for none.
    pub momentum: f64,
    /// How much less of the gradient enters the momentum buffer.
    pub dampening: f64,
    /// How much of the parameter is added to its gradient.
    pub weight_decay: f64,
    /// Nesterov's form of momentum, which needs momentum and no dampening.
    pub nesterov: bool,
    /// Ascend instead of descend.
    pub maximize: bool,
}

/// PyTorch's defaults.
impl Default for SgdOptions {
    fn default() -> SgdOptions {
        SgdOptions {
            lr: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
            maximize: false,
        }
    }
}

impl Hyperparameters for SgdOptions {
    fn moments(rule: UpdateRule) -> &'static [&'static str] {
        match rule {
            UpdateRule::Sgd { momentum: true, .. } => &["momentum_buffer"],
            _ => &[],
        }
    }

    fn rule(&self) -> Result<UpdateRule, String> {
        not_negative("lr", self.lr)?;
        not_negative("momentum", self.momentum)?;
        not_negative("weight_decay", self.weight_decay)?;
        if !self.dampening.is_finite() {
            return Err(format!("dampening must be finite, not {}", self.dampening));
        }
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err("nesterov needs a momentum above 0 and a dampening of 0".into());
        }
        Ok(UpdateRule::Sgd {
            momentum: self.momentum != 0.0,
            nesterov: self.nesterov,
            maximize: self.maximize,
        })
    }

    /// A group without momentum is one whose buffer is its gradient.
    fn fits(own: UpdateRule, updater: UpdateRule) -> bool {
        match (own, updater) {
            (
                UpdateRule::Sgd {
                    momentum: false,
                    maximize: a,
                    ..
                },
                UpdateRule::Sgd {
                    momentum: true,
                    maximize: b,
                    ..
                },
            ) => a == b,
            _ => own == updater,
        }
    }

    fn coefficients(&self, step: u64) -> Coefficients {
        // Without momentum torch ignores dampening.
        let dampening = if self.momentum == 0.0 {
            0.0
        } else {
            self.dampening
        };
        let numbers = [self.lr, self.weight_decay, self.momentum, dampening];
        let first = ScalarBits::integer(i64::from(step == 1));
        let numbers = numbers.into_iter().map(ScalarBits::float);
        numbers.chain([first]).collect()
    }

    fn lr(&mut self) -> &mut f64 {
        &mut self.lr
    }

    fn numbers(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("lr", self.lr),
            ("momentum", self.momentum),
            ("dampening", self.dampening),
            ("weight_decay", self.weight_decay),
            ("nesterov", f64::from(u8::from(self.nesterov))),
            ("maximize", f64::from(u8::from(self.maximize))),
        ]
    }

    fn set_number(&mut self, name: &str, value: f64) -> bool {
        match name {
            "lr" => self.lr = value,
            "momentum" => self.momentum = value,
            "dampening" => self.dampening = value,
            "weight_decay" => self.weight_decay = value,
            "nesterov" => self.nesterov = value != 0.0,
            "maximize" => self.maximize = value != 0.0,
            _ => return false,
        }
        true
    }
}
