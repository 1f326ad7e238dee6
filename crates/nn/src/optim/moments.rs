//! What Adam and its relatives have in common: weight decay, and the running means of gradients and their squares.

use wgrad_core::Number;

use super::descent::sign;
use super::quantity::Quantity;

/// The numbers that [`moments`] takes: the gradient's sign, the decay (what the parameter is multiplied by where it is
/// decoupled, else how much of it is added to the gradient), and each beta with what is left of 1, which in `f32` would
/// be off by much.
pub(super) fn of_moments<X: Quantity>(
    step: &X,
    maximize: bool,
    decay: f64,
    (beta1, beta2): (f64, f64),
) -> [X; 6] {
    let numbers = [
        sign(maximize),
        decay,
        beta1,
        1.0 - beta1,
        beta2,
        1.0 - beta2,
    ];
    numbers.map(|number| step.constant(number))
}

/// The decay as [`of_moments`] takes it.
pub(super) fn decay(decoupled: bool, lr: f64, weight_decay: f64) -> f64 {
    match decoupled {
        true => 1.0 - lr * weight_decay,
        false => weight_decay,
    }
}

/// The parameter after weight decay, its gradient, and the new moments.
#[inline(always)]
pub(super) fn moments<X: Number>(
    decoupled: bool,
    p: X,
    g: X,
    [m, v]: [X; 2],
    [sign, decay, b1, r1, b2, r2]: [X; 6],
) -> (X, X, [X; 2]) {
    let g = g * sign;
    let (p, g) = match decoupled {
        true => (p * decay, g),
        false => (p, g + decay * p),
    };
    (p, g, [b1 * m + r1 * g, b2 * v + r2 * g.sqr()])
}
