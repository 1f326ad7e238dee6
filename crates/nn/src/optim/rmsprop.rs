//! RMSprop.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{not_negative, options};
use super::quantity::Quantity;

/// RMSprop ([Hinton 2012](https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf)), as
/// `torch.optim.RMSprop`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// s = alpha s + (1 - alpha) g^2             square_avg
/// a = alpha a + (1 - alpha) g               grad_avg, with centered
/// d = g / (sqrt(s) + eps)                   (centered: sqrt(s - a^2))
/// b = momentum b + d                        momentum_buffer, with momentum
/// p = p - lr d                              (with momentum: b)
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Optimizer, RmsProp, RmsPropOptions};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut rmsprop = RmsProp::new(vec![w.clone()], RmsPropOptions::default());
/// (&w * 3.0).backward()?;
/// rmsprop.step()?;
/// assert!((w.item::<f32>()? - 0.9).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub type RmsProp = Descent<RmsPropOptions>;

options! {
    /// Hyperparameters of [`RmsProp`].
    pub struct RmsPropOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// Decay of the means, at most 1.
        alpha: f64 = 0.99,
        /// Added to the denominator.
        eps: f64 = 1e-8,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Decay of the momentum buffer; 0 for none.
        momentum: f64 = 0.0,
        /// Divide by the standard deviation rather than by the root of the mean square.
        centered: bool = false,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

/// What the rule of [`RmsProp`] depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RmsPropForm {
    centered: bool,
    momentum: bool,
}

/// Numbers: the gradient's sign, lr, alpha, 1 - alpha, eps, weight decay, momentum. States: the mean square, then
/// the momentum buffer if there is one, then the mean if `CENTERED`.
#[derive(Clone, Copy)]
struct RmsPropRule<const CENTERED: bool, const MOMENTUM: bool>;

/// The gradient with weight decay, and its new mean square.
#[inline(always)]
fn square<X: Number>(p: X, g: X, s: X, numbers: [X; 7]) -> (X, X) {
    let [sign, _, alpha, rest, _, decay, _] = numbers;
    let g = g * sign + decay * p;
    (g, alpha * s + rest * g.sqr())
}

/// The new mean, and the variance; rounding may make one that is zero negative.
#[inline(always)]
fn variance<X: Number>(g: X, s: X, a: X, numbers: [X; 7]) -> (X, X) {
    let [_, _, alpha, rest, ..] = numbers;
    let a = alpha * a + rest * g;
    (a, (s - a.sqr()).maximum(a.constant(0.0)))
}

impl Formula<1, 7> for RmsPropRule<false, false> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [s]: [X; 1], numbers: [X; 7]) -> (X, [X; 1]) {
        let [_, lr, _, _, eps, ..] = numbers;
        let (g, s) = square(p, g, s, numbers);
        (p - lr * (g / (s.sqrt() + eps)), [s])
    }
}

impl Formula<2, 7> for RmsPropRule<false, true> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [s, b]: [X; 2], numbers: [X; 7]) -> (X, [X; 2]) {
        let [_, lr, _, _, eps, _, momentum] = numbers;
        let (g, s) = square(p, g, s, numbers);
        let b = momentum * b + g / (s.sqrt() + eps);
        (p - lr * b, [s, b])
    }
}

impl Formula<2, 7> for RmsPropRule<true, false> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [s, a]: [X; 2], numbers: [X; 7]) -> (X, [X; 2]) {
        let [_, lr, _, _, eps, ..] = numbers;
        let (g, s) = square(p, g, s, numbers);
        let (a, variance) = variance(g, s, a, numbers);
        (p - lr * (g / (variance.sqrt() + eps)), [s, a])
    }
}

impl Formula<3, 7> for RmsPropRule<true, true> {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [s, b, a]: [X; 3], numbers: [X; 7]) -> (X, [X; 3]) {
        let [_, lr, _, _, eps, _, momentum] = numbers;
        let (g, s) = square(p, g, s, numbers);
        let (a, variance) = variance(g, s, a, numbers);
        let b = momentum * b + g / (variance.sqrt() + eps);
        (p - lr * b, [s, b, a])
    }
}

impl Hyperparameters for RmsPropOptions {
    type Form = RmsPropForm;

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
            ("momentum", self.momentum),
            ("alpha", self.alpha),
        ])?;
        if self.alpha > 1.0 {
            return Err(format!("alpha must be at most 1, not {}", self.alpha));
        }
        Ok(())
    }

    fn form(&self) -> RmsPropForm {
        RmsPropForm {
            centered: self.centered,
            momentum: self.momentum != 0.0,
        }
    }

    /// A group without momentum is one whose buffer is its step.
    fn fits(own: RmsPropForm, common: RmsPropForm) -> bool {
        let with_momentum = RmsPropForm {
            momentum: true,
            ..own
        };
        own == common || with_momentum == common
    }

    fn rule(form: RmsPropForm) -> UpdateRule {
        let (name, s, b, a) = ("rmsprop", "square_avg", "momentum_buffer", "grad_avg");
        match (form.centered, form.momentum) {
            (false, false) => UpdateRule::new(name, [s], RmsPropRule::<false, false>),
            (false, true) => UpdateRule::new(name, [s, b], RmsPropRule::<false, true>),
            (true, false) => UpdateRule::new(name, [s, a], RmsPropRule::<true, false>),
            (true, true) => UpdateRule::new(name, [s, b, a], RmsPropRule::<true, true>),
        }
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        let numbers = [
            sign(self.maximize),
            self.lr,
            self.alpha,
            1.0 - self.alpha,
            self.eps,
            self.weight_decay,
            self.momentum,
        ];
        numbers
            .map(|value| step.constant(value))
            .into_iter()
            .collect()
    }
}
