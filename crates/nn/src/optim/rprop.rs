//! Rprop.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters, sign};
use super::options::{not_negative, options};
use super::quantity::Quantity;

/// Rprop, resilient propagation, which looks at the gradient's sign alone
/// ([Riedmiller and Braun 1993](https://doi.org/10.1109/ICNN.1993.298623)), for full batches; as
/// `torch.optim.Rprop`:
///
/// ```text
/// g = grad                                  (-grad with maximize)
/// g prev > 0:  size = min(eta2 size, max)   step_size, at first lr
/// g prev < 0:  size = max(eta1 size, min),  g = 0
/// p = p - sign(g) size
/// prev = g
/// ```
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Optimizer, Rprop, RpropOptions};
///
/// let w = Tensor::scalar(1.0, &dev).requires_grad();
/// let mut rprop = Rprop::new(vec![w.clone()], RpropOptions { lr: 0.25, ..Default::default() });
/// (&w * 3.0).backward()?;
/// rprop.step()?;
/// assert_eq!(w.item::<f32>()?, 0.75);
/// rprop.step()?; // the same sign: a step 1.2 times as long
/// assert!((w.item::<f32>()? - 0.45).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub type Rprop = Descent<RpropOptions>;

options! {
    /// Hyperparameters of [`Rprop`].
    pub struct RpropOptions {
        /// The size of the first steps.
        lr: f64 = 1e-2,
        /// What a step's size is multiplied by where the gradient turns, in `(0, 1)`, and where it does not,
        /// above 1.
        etas: (f64, f64) = (0.5, 1.2),
        /// The smallest and the largest size.
        step_sizes: (f64, f64) = (1e-6, 50.0),
        /// Ascend instead of descend.
        maximize: bool = false,
    }
}

#[derive(Clone, Copy)]
struct RpropRule;

impl Formula<2, 6> for RpropRule {
    #[inline(always)]
    fn apply<X: Number>(self, p: X, g: X, [prev, size]: [X; 2], numbers: [X; 6]) -> (X, [X; 2]) {
        let [sign, first, shrink, grow, least, most] = numbers;
        let (zero, one) = (p.constant(0.0), p.constant(1.0));
        let g = g * sign;
        let same = g.sign() * prev.sign();
        let factor = X::select(same.gt(zero), grow, one);
        let factor = X::select(same.lt(zero), shrink, factor);
        let size = ((size + first) * factor).maximum(least).minimum(most);
        let g = X::select(same.lt(zero), zero, g);
        (p - g.sign() * size, [g, size])
    }
}

impl Hyperparameters for RpropOptions {
    type Form = ();

    fn check(&self) -> Result<(), String> {
        let (least, most) = self.step_sizes;
        not_negative(&[
            ("lr", self.lr),
            ("step_sizes.0", least),
            ("step_sizes.1", most),
        ])?;
        let (shrink, grow) = self.etas;
        if !(shrink > 0.0 && shrink < 1.0 && grow > 1.0 && grow.is_finite()) {
            return Err(format!(
                "etas must be in (0, 1) and above 1, not {shrink} and {grow}"
            ));
        }
        Ok(())
    }

    fn form(&self) {}

    fn rule(_: ()) -> UpdateRule {
        UpdateRule::new("rprop", ["prev", "step_size"], RpropRule)
    }

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        // States are zero before the first step.
        let number = |value: f64| step.constant(value);
        let first = step.above(1.5, number(0.0), number(self.lr));
        let ((shrink, grow), (least, most)) = (self.etas, self.step_sizes);
        let [shrink, grow, least, most] = [shrink, grow, least, most].map(number);
        Coefficients::from_iter([
            number(sign(self.maximize)),
            first,
            shrink,
            grow,
            least,
            most,
        ])
    }
}
