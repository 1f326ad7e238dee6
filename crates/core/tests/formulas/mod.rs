//! Formulas of optimizers, for the tests of the backends.

use wgrad_core::{Formula, Number};

/// A decaying mean and mean square, and the largest of the latter.
#[derive(Clone, Copy)]
pub struct Three;

impl Formula<3, 4> for Three {
    fn apply<X: Number>(self, p: X, g: X, [m, v, most]: [X; 3], numbers: [X; 4]) -> (X, [X; 3]) {
        let [b, r, step, eps] = numbers;
        let m = b * m + r * g;
        let v = b * v + r * g.sqr();
        let most = most.maximum(v);
        (p - step * m / (most.sqrt() + eps), [m, v, most])
    }
}

/// Exchanges its states, with a branch and a constant.
#[derive(Clone, Copy)]
pub struct Swap;

impl Formula<2, 1> for Swap {
    fn apply<X: Number>(self, p: X, g: X, [a, b]: [X; 2], [limit]: [X; 1]) -> (X, [X; 2]) {
        let two = p.constant(2.0);
        (X::select(a.gt(limit), p * two, -g), [b, a])
    }
}

/// A step along the gradient.
#[derive(Clone, Copy)]
pub struct Plain;

impl Formula<0, 1> for Plain {
    fn apply<X: Number>(self, p: X, g: X, []: [X; 0], [lr]: [X; 1]) -> (X, [X; 0]) {
        (p - lr * g, [])
    }
}
