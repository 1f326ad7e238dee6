//! Stochastic gradient descent.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{finite, not_negative, options};
use super::quantity::Quantity;

/// Stochastic gradient descent, as `torch.optim.SGD`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// b = momentum b + (1 - dampening) g        momentum_buffer, b = g at first
/// g = nesterov ? g + momentum b : b         (with momentum)
/// p = p - lr g
/// ```
pub type Sgd = Descent<SgdOptions>;

options! {
    /// Hyperparameters of [`Sgd`].
    pub struct SgdOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// Decay of the momentum buffer; 0 for none.
        momentum: f64 = 0.0,
        /// How much less of the gradient enters the momentum buffer.
        dampening: f64 = 0.0,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Nesterov's form of momentum, which needs momentum and no dampening.
        nesterov: bool = false,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

/// What the rule of [`Sgd`] depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SgdForm {
    momentum: bool,
    nesterov: bool,
}

/// Numbers: the gradient's sign, lr, weight decay, momentum, and how much of the gradient enters the buffer.
#[derive(Clone, Copy)]
struct SgdRule<const NESTEROV: bool>;

impl<const NESTEROV: bool> Formula<0, 5> for SgdRule<NESTEROV> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, []: [X; 0], numbers: [X; 5]) -> (X, [X; 0]) {
        let [sign, lr, decay, ..] = numbers;
        (p - lr * (g * sign + decay * p), [])
    }
}

impl<const NESTEROV: bool> Formula<1, 5> for SgdRule<NESTEROV> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [b]: [X; 1], numbers: [X; 5]) -> (X, [X; 1]) {
        let [sign, lr, decay, momentum, rest] = numbers;
        let g = g * sign + decay * p;
        let b = momentum * b + rest * g;
        let step = if NESTEROV { g + momentum * b } else { b };
        (p - lr * step, [b])
    }
}

impl Hyperparameters for SgdOptions {
    type Form = SgdForm;

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
        ])?;
        finite(&[("dampening", self.dampening)])?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            return Err("nesterov needs a momentum above 0 and a dampening of 0".into());
        }
        Ok(())
    }

    fn form(&self) -> SgdForm {
        SgdForm {
            momentum: self.momentum != 0.0,
            nesterov: self.nesterov,
        }
    }

    /// A group without momentum is one whose buffer is its gradient.
    fn fits(own: SgdForm, common: SgdForm) -> bool {
        let plain = !own.momentum && common.momentum;
        plain || own == common
    }

    fn rule(form: SgdForm) -> UpdateRule {
        let buffer = ["momentum_buffer"];
        match (form.momentum, form.nesterov) {
            (false, _) => UpdateRule::new("sgd", [], SgdRule::<false>),
            (true, false) => UpdateRule::new("sgd", buffer, SgdRule::<false>),
            (true, true) => UpdateRule::new("sgd", buffer, SgdRule::<true>),
        }
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        // Without momentum torch ignores dampening. The first step's buffer is the gradient: before it, the
        // buffer is zero.
        let number = |value: f64| step.constant(value);
        let later = match self.momentum {
            0.0 => 1.0,
            _ => 1.0 - self.dampening,
        };
        Coefficients::from_iter([
            number(sign(self.maximize)),
            number(self.lr),
            number(self.weight_decay),
            number(self.momentum),
            step.above(1.5, number(later), number(1.0)),
        ])
    }
}
