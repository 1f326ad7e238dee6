//! RAdam.

use wgrad_core::{Coefficients, Formula, Number, UpdateRule};

use super::descent::{Descent, Hyperparameters};
use super::moments::{decay, moments, of_moments};
use super::options::{betas, not_negative, options};
use super::quantity::Quantity;

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
    fn apply<X: Number>(self, p: X, g: X, kept: [X; 2], numbers: [X; 9]) -> (X, [X; 2]) {
        let [a, b, c, d, e, f, step, adaptive, eps] = numbers;
        let (p, _, [m, v]) = moments(DECOUPLED, p, g, kept, [a, b, c, d, e, f]);
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

    fn coefficients<X: Quantity>(&self, step: X, _: &mut [X]) -> Coefficients<X> {
        let (beta1, beta2) = self.betas;
        let number = |value: f64| step.constant(value);
        let longest = 2.0 / (1.0 - beta2) - 1.0;
        let length = length(&step, beta2);
        let product = (length.clone() - number(4.0)) * (length.clone() - number(2.0));
        let rectified =
            product.times(longest / ((longest - 4.0) * (longest - 2.0))) / length.clone();
        let size = (rectified * step.decayed(beta2)).at_least(0.0).power(0.5);
        let size = length.above(5.0, size, number(1.0));
        let decay = decay(self.decoupled_weight_decay, self.lr, self.weight_decay);
        let moments = of_moments(&step, self.maximize, decay, self.betas);
        let own = [
            size.times(self.lr) / step.decayed(beta1),
            length.above(5.0, number(1.0), number(0.0)),
            number(self.eps),
        ];
        moments.into_iter().chain(own).collect()
    }
}

/// How many gradients the second moment is a mean of, `2 / (1 - beta2) - 1 - 2 t beta2^t / (1 - beta2^t)`.
///
/// With `l = -ln beta2` this is `coth(l / 2) - t coth(t l / 2) + t`. While `t l` is small both hyperbolic functions are
/// their poles, which cancel, and little else; so there the poles are left out: `s(l / 2) + t - t s(t l / 2)` with
/// `s(y) = coth(y) - 1 / y`. In `f32` nothing would be left of the difference otherwise.
fn length<X: Quantity>(t: &X, beta2: f64) -> X {
    if beta2 == 0.0 {
        return t.constant(1.0);
    }
    let number = |value: f64| t.constant(value);
    let l = -beta2.ln();
    let y = t.times(0.5 * l);
    let longest = 2.0 / (1.0 - beta2) - 1.0;
    let least = match 0.5 * l < SMALL {
        true => rest_of_coth(&(0.5 * l)),
        false => longest - 2.0 / l,
    };
    let early = number(least) + t.clone() - t.clone() * rest_of_coth(&y.at_most(SMALL));
    let late = number(longest) - t.times(2.0) / y.times(2.0).at_most(80.0).expm1();
    y.above(SMALL, late, early)
}

/// Up to where the series of `coth(y) - 1 / y` serves; its rest is below 1e-13 there.
const SMALL: f64 = 0.25;

/// `coth(y) - 1 / y` of small `y`, by its series.
fn rest_of_coth<X: Quantity>(y: &X) -> X {
    const SERIES: [f64; 6] = [
        -1382.0 / 638_512_875.0,
        2.0 / 93_555.0,
        -1.0 / 4725.0,
        2.0 / 945.0,
        -1.0 / 45.0,
        1.0 / 3.0,
    ];
    let square = y.clone() * y.clone();
    let zero = y.constant(0.0);
    let sum = SERIES
        .iter()
        .fold(zero, |sum, &c| sum * square.clone() + y.constant(c));
    sum * y.clone()
}
