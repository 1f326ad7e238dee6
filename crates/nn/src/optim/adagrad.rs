//! Adagrad and Adadelta.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{decays, not_negative, options};
use super::quantity::Quantity;

/// Adagrad ([Duchi et al. 2011](https://jmlr.org/papers/v12/duchi11a.html)), as `torch.optim.Adagrad`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// s = s + g^2                               sum, at first initial_accumulator_value
/// p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Adagrad, AdagradOptions, Optimizer};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut adagrad = Adagrad::new(vec![w.clone()], AdagradOptions { lr: 0.5, ..Default::default() });
/// (&w * 3.0).backward()?;
/// adagrad.step()?;
/// assert!((w.item::<f32>()? - 0.5).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub type Adagrad = Descent<AdagradOptions>;

options! {
    /// Hyperparameters of [`Adagrad`].
    pub struct AdagradOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// How fast the learning rate falls.
        lr_decay: f64 = 0.0,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// What the sum of squares is before the first step.
        initial_accumulator_value: f64 = 0.0,
        /// Added to the denominator.
        eps: f64 = 1e-10,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct AdagradRule;

impl Formula<1, 5> for AdagradRule {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [sum]: [X; 1], numbers: [X; 5]) -> (X, [X; 1]) {
        let [sign, lr, decay, first, eps] = numbers;
        let g = g * sign + decay * p;
        let sum = sum + first + g.sqr();
        (p - lr * g / (sum.sqrt() + eps), [sum])
    }
}

impl Hyperparameters for AdagradOptions {
    type Form = ();

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("lr_decay", self.lr_decay),
            ("weight_decay", self.weight_decay),
            ("initial_accumulator_value", self.initial_accumulator_value),
            ("eps", self.eps),
        ])
    }

    fn form(&self) {}

    fn rule(_: ()) -> UpdateRule {
        UpdateRule::new("adagrad", ["sum"], AdagradRule)
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        let number = |value: f64| step.constant(value);
        let decay = number(1.0 - self.lr_decay) + step.times(self.lr_decay);
        // States are zero before the first step.
        let first = step.above(1.5, number(0.0), number(self.initial_accumulator_value));
        Coefficients::from_iter([
            number(sign(self.maximize)),
            number(self.lr) / decay,
            number(self.weight_decay),
            first,
            number(self.eps),
        ])
    }
}

/// Adadelta ([Zeiler 2012](https://arxiv.org/abs/1212.5701)), as `torch.optim.Adadelta`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// s = rho s + (1 - rho) g^2                 square_avg
/// d = sqrt(a + eps) / sqrt(s + eps) g
/// a = rho a + (1 - rho) d^2                 acc_delta
/// p = p - lr d
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Adadelta, AdadeltaOptions, Optimizer};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut adadelta = Adadelta::new(vec![w.clone()], AdadeltaOptions::default());
/// (&w * 3.0).backward()?;
/// adadelta.step()?;
/// assert!((w.item::<f32>()? - (1.0 - 1e-3 / 0.1f32.sqrt())).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub type Adadelta = Descent<AdadeltaOptions>;

options! {
    /// Hyperparameters of [`Adadelta`].
    pub struct AdadeltaOptions {
        /// What the steps are multiplied by.
        lr: f64 = 1.0,
        /// Decay of the mean squares, in `[0, 1)`.
        rho: f64 = 0.9,
        /// Added under the square roots.
        eps: f64 = 1e-6,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct AdadeltaRule;

impl Formula<2, 6> for AdadeltaRule {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [s, a]: [X; 2], numbers: [X; 6]) -> (X, [X; 2]) {
        let [sign, lr, rho, rest, eps, decay] = numbers;
        let g = g * sign + decay * p;
        let s = rho * s + rest * g.sqr();
        let delta = (a + eps).sqrt() / (s + eps).sqrt() * g;
        let a = rho * a + rest * delta.sqr();
        (p - lr * delta, [s, a])
    }
}

impl Hyperparameters for AdadeltaOptions {
    type Form = ();

    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ])?;
        decays(&[("rho", self.rho)])
    }

    fn form(&self) {}

    fn rule(_: ()) -> UpdateRule {
        UpdateRule::new("adadelta", ["square_avg", "acc_delta"], AdadeltaRule)
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        let rest = 1.0 - self.rho;
        let numbers = [
            sign(self.maximize),
            self.lr,
            self.rho,
            rest,
            self.eps,
            self.weight_decay,
        ];
        numbers
            .map(|value| step.constant(value))
            .into_iter()
            .collect()
    }
}
