//! Averaged stochastic gradient descent.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{finite, not_negative, options};
use super::quantity::Quantity;

/// Averaged stochastic gradient descent
/// ([Polyak and Juditsky 1992](https://doi.org/10.1137/0330046)), as `torch.optim.ASGD`:
///
/// ```text
/// g = grad + weight_decay p                 (-grad with maximize)
/// p = p (1 - lambd eta) - eta g
/// a = a + mu (p - a)                        ax, the average
/// eta = lr / (1 + lambd lr t)^alpha         at first lr
/// mu = 1 / max(1, t - t0)                   at first 1
/// ```
///
/// The averages are `0.ax` and so on of [`state_dict`](super::Optimizer::state_dict).
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Asgd, AsgdOptions, Optimizer};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let options = AsgdOptions { lr: 0.25, lambd: 0.0, t0: 0.0, ..Default::default() };
/// let mut asgd = Asgd::new(vec![w.clone()], options);
/// w.backward()?;
/// for _ in 0..3 {
///     asgd.step()?; // 0.75, 0.5, 0.25
/// }
/// assert_eq!(asgd.state_dict()?.tensors["0.ax"].item::<f32>()?, 0.375);
/// # Ok(())
/// # }
/// ```
pub type Asgd = Descent<AsgdOptions>;

options! {
    /// Hyperparameters of [`Asgd`].
    pub struct AsgdOptions {
        /// Learning rate.
        lr: f64 = 1e-2,
        /// Decay of parameters and learning rate.
        lambd: f64 = 1e-4,
        /// The power by which the learning rate falls.
        alpha: f64 = 0.75,
        /// After how many steps averaging begins.
        t0: f64 = 1e6,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64 = 0.0,
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct AsgdRule;

impl Formula<1, 6> for AsgdRule {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [average]: [X; 1], numbers: [X; 6]) -> (X, [X; 1]) {
        let [sign, keep, eta, decay, mu, rest] = numbers;
        let g = g * sign + decay * p;
        let p = p * keep - eta * g;
        (p, [rest * average + mu * p])
    }
}

impl Hyperparameters for AsgdOptions {
    type Form = ();

    const KEPT: &'static [(&'static str, f64)] = &[("eta", 0.0), ("mu", 1.0)];

    fn check(&self) -> Result<(), String> {
        not_negative(&[("lr", self.lr), ("weight_decay", self.weight_decay)])?;
        finite(&[
            ("lambd", self.lambd),
            ("alpha", self.alpha),
            ("t0", self.t0),
        ])
    }

    fn form(&self) {}

    fn rule(_: ()) -> UpdateRule {
        UpdateRule::new("asgd", ["ax"], AsgdRule)
    }

    fn coefficients<X: Quantity>(&self, step: X, kept: &mut [X]) -> Coefficients<X> {
        let number = |value: f64| step.constant(value);
        let eta = step.above(1.5, kept[0].clone(), number(self.lr));
        let mu = kept[1].clone();
        let growth = number(1.0) + step.times(self.lambd * self.lr);
        kept[0] = number(self.lr) / growth.power(self.alpha);
        kept[1] = number(1.0) / (step.clone() - number(self.t0)).at_least(1.0);
        Coefficients::from_iter([
            number(sign(self.maximize)),
            number(1.0) - eta.times(self.lambd),
            eta,
            number(self.weight_decay),
            mu.clone(),
            number(1.0) - mu,
        ])
    }
}
