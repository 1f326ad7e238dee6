//! What the rows of the table are, in double precision and independent of their expressions.

use wgrad_core::MapOp;

#[path = "../harness/special.rs"]
pub mod special;

fn pass(x: f64) -> f64 {
    if x.is_nan() { f64::NAN } else { 0.0 }
}

/// The rows' definitions, independent of their expressions.
pub fn reference(op: MapOp, x: &[f64]) -> f64 {
    let a = x[0];
    let b = x.get(1).copied().unwrap_or(0.0);
    let nan = a.is_nan() || b.is_nan();
    let truth = |t: bool| f64::from(u8::from(t));
    match op {
        MapOp::Neg => -a,
        MapOp::Abs => a.abs(),
        MapOp::Sign if a == 0.0 || nan => pass(a),
        MapOp::Sign => a.signum(),
        MapOp::Recip => 1.0 / a,
        MapOp::Sqr => a * a,
        MapOp::Sqrt => a.sqrt(),
        MapOp::Rsqrt => 1.0 / a.sqrt(),
        MapOp::Exp => a.exp(),
        MapOp::Expm1 => a.exp_m1(),
        MapOp::Ln => a.ln(),
        MapOp::Log1p => a.ln_1p(),
        MapOp::Sin => a.sin(),
        MapOp::Cos => a.cos(),
        MapOp::Tan => a.tan(),
        MapOp::Tanh => a.tanh(),
        MapOp::Sigmoid => 1.0 / (1.0 + (-a).exp()),
        MapOp::Relu => {
            if nan {
                f64::NAN
            } else {
                a.max(0.0)
            }
        }
        MapOp::Gelu if a == f64::NEG_INFINITY => 0.0,
        MapOp::GeluTanh if a == f64::NEG_INFINITY => 0.0,
        MapOp::Silu if a == f64::NEG_INFINITY => f64::NAN,
        MapOp::Gelu if a > 6.0 => a,
        MapOp::Gelu => a * 0.5 * (1.0 + erf(a * std::f64::consts::FRAC_1_SQRT_2)),
        MapOp::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a * a * a);
            0.5 * a * (1.0 + u.tanh())
        }
        MapOp::Silu => a / (1.0 + (-a).exp()),
        MapOp::Softplus if nan => a,
        MapOp::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
        MapOp::Erf => erf(a),
        MapOp::Floor => a.floor(),
        MapOp::Ceil => a.ceil(),
        MapOp::Round => a.round_ties_even(),
        MapOp::Add => a + b,
        MapOp::Sub => a - b,
        MapOp::Mul => a * b,
        MapOp::Div => a / b,
        MapOp::Pow => a.powf(b),
        MapOp::Minimum | MapOp::Maximum if nan => f64::NAN,
        MapOp::Minimum => a.min(b),
        MapOp::Maximum => a.max(b),
        MapOp::Eq => truth(a == b),
        MapOp::Ne => truth(a != b),
        MapOp::Lt => truth(a < b),
        MapOp::Le => truth(a <= b),
        MapOp::Gt => truth(a > b),
        MapOp::Ge => truth(a >= b),
        MapOp::And => truth(a != 0.0 && b != 0.0),
        MapOp::Or => truth(a != 0.0 || b != 0.0),
        MapOp::Xor => truth((a != 0.0) != (b != 0.0)),
        other => special::reference(other.name(), a, b)
            .unwrap_or_else(|| panic!("a row without a reference: {other:?}")),
    }
}

/// The integral of the Gaussian by its series, or 1 for large operands.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

pub fn is_logic(op: MapOp) -> bool {
    matches!(op, MapOp::And | MapOp::Or | MapOp::Xor)
}

pub fn is_compare(op: MapOp) -> bool {
    use MapOp::*;
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge)
}

pub fn is_binary(op: MapOp) -> bool {
    use MapOp::*;
    is_logic(op)
        || is_compare(op)
        || op.takes_integers()
        || matches!(op, Add | Sub | Mul | Div | Pow | Minimum | Maximum)
        || matches!(op, Fmod | Remainder | FloorDivide | DivTrunc | Zeta)
        || matches!(
            op,
            Atan2 | Hypot | Copysign | Xlogy | Logaddexp | Logaddexp2
        )
}

/// The size of what cancels in a row or in its reference: errors count beside that, where it is more than the result.
pub fn cancelling(op: MapOp, x: &[f64], want: f64) -> f64 {
    use MapOp::*;
    match op {
        Gelu | GeluTanh => 2.0,
        Lgamma | Digamma | Logaddexp | Logaddexp2 | Logit => 1.0 + x[0].abs().min(50.0),
        Sinc => 1e-2,
        // The last place of the operand is many of the inverse's.
        Erfinv => 0.2 * (want * want).min(30.0).exp(),
        Remainder => x[1].abs(),
        // Terms of both signs.
        Zeta if x[1] < 0.0 => (x[1] - x[1].round()).abs().powf(-x[0]).min(1e300),
        _ => 0.0,
    }
}
