//! Against double precision; the bounds hold for all floats (`floats_in_loops_keep_the_bounds`).

use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use wgrad_core::{DType, MapOp};

use super::*;
use crate::erf::{erf as erf64, erfc as erfc64};
use crate::loops;

/// Distance of `got` from the exact `want` in units of the last place of `want` as `f32`.
fn ulps(got: f32, want: f64) -> f64 {
    let near = want as f32;
    if near.is_nan() || got.is_nan() {
        return if near.is_nan() && got.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    if near.is_infinite() || got.is_infinite() {
        // Overflow is right where the neighbour below would have been half a unit off.
        return if got == near { 0.0 } else { f64::INFINITY };
    }
    let bits = near.abs().to_bits().min(f32::MAX.to_bits() - 1);
    let unit = f64::from(f32::from_bits(bits + 1)) - f64::from(f32::from_bits(bits));
    (f64::from(got) - want).abs() / unit
}

#[test]
fn nan_for_a_number_is_infinitely_wrong() {
    assert_eq!(ulps(f32::NAN, 1.0), f64::INFINITY);
    assert_eq!(ulps(1.0, f64::NAN), f64::INFINITY);
    assert_eq!(ulps(f32::NAN, f64::NAN), 0.0);
}

/// Numbers of every size, and all those between -20 and 20 in small steps.
fn samples() -> impl Iterator<Item = f32> {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        88.722_83,
        88.722_84,
        -87.3,
        -103.9,
        -104.1,
        f32::from_bits(1),
        -f32::from_bits(1),
    ];
    let sizes = (0..u32::MAX / 20_011).map(|i| f32::from_bits(i * 20_011));
    let near = (0..200_000).map(|i| (i as f32 - 100_000.0) * 2.000_3e-4);
    special.into_iter().chain(sizes).chain(near)
}

/// The largest error of `function`, in both its versions, over `inputs`, and where it is.
fn worst(
    name: &str,
    versions: [fn(f32) -> f32; 2],
    exact: impl Fn(f64) -> f64,
    inputs: impl Iterator<Item = f32>,
) -> [(f64, f32); 2] {
    let mut worst = [(0.0, 0.0f32); 2];
    for x in inputs {
        let want = exact(f64::from(x));
        for (worst, function) in worst.iter_mut().zip(versions) {
            let got = function(x);
            let error = ulps(got, want);
            if error > worst.0 {
                *worst = (error, x);
            }
            if want == 0.0 && x == 0.0 {
                assert_eq!(got.to_bits(), (want as f32).to_bits(), "{name}({x})");
            }
        }
    }
    worst
}

fn check(name: &str, bound: f64, versions: [fn(f32) -> f32; 2], exact: impl Fn(f64) -> f64) {
    for (version, (error, x)) in versions
        .into_iter()
        .zip(worst(name, versions, &exact, samples()))
    {
        assert!(
            error <= bound,
            "{name}({x:e}) = {}, not {}: {error} ULP",
            version(x),
            exact(f64::from(x)),
        );
    }
}

/// Calls a macro with every function of one operand, the bound on its error in ULP, and its
/// reference.
macro_rules! functions {
    ($call:ident) => {
        $call!(exp, 1.2, f64::exp);
        $call!(expm1, 2.0, f64::exp_m1);
        $call!(ln, 1.2, f64::ln);
        $call!(log1p, 2.0, f64::ln_1p);
        $call!(tanh, 2.0, f64::tanh);
        $call!(sigmoid, 2.0, |x: f64| 1.0 / (1.0 + (-x).exp()));
        $call!(erf, 1.5, erf64);
        $call!(erfc, 2.0, erfc64);
        $call!(erfinv, 4.0, crate::math::double::erfinv);
        $call!(exp2, 1.5, f64::exp2);
        $call!(log2, 2.5, f64::log2);
        $call!(log10, 3.0, f64::log10);
        $call!(asin, 3.0, f64::asin);
        $call!(acos, 2.0, f64::acos);
        $call!(atan, 2.5, f64::atan);
        $call!(sinh, 4.0, f64::sinh);
        $call!(cosh, 4.0, f64::cosh);
        $call!(asinh, 3.5, crate::math::double::asinh);
        $call!(acosh, 3.5, crate::math::double::acosh);
        $call!(atanh, 3.5, crate::math::double::atanh);
        $call!(logit, 3.0, crate::math::double::logit);
        $call!(sinc, 4.0, crate::math::double::sinc);
        $call!(softplus, 2.0, |x: f64| (if x <= 0.0 { 0.0 } else { x })
            + (-x.abs()).exp().ln_1p());
        $call!(gelu, 2.1, |x: f64| if x == f64::NEG_INFINITY {
            -0.0
        } else {
            0.5 * x * erfc64(-x * std::f64::consts::FRAC_1_SQRT_2)
        });
        $call!(gelu_tanh, 2.6, |x: f64| if x == f64::NEG_INFINITY {
            -0.0
        } else {
            x / (1.0 + (-2.0 * x * (GELU_LINEAR + GELU_CUBIC * x * x)).exp())
        });
    };
}

#[test]
fn functions_keep_their_bounds() {
    macro_rules! call {
        ($name:ident, $bound:expr, $exact:expr) => {
            check(
                stringify!($name),
                $bound,
                [$name::<true>, $name::<false>],
                $exact,
            )
        };
    }
    functions!(call);
}

/// Into how many parts all floats are divided; a prime, so that the last digits of a part's differ.
const PARTS: u32 = 1021;

/// The first of the floats to go over, by their bits, and the distance between them: a part, another one each time, the
/// one with the number `WGRAD_FLOATS`, or all, if that is `all`.
fn floats() -> (u32, u32) {
    let given = std::env::var("WGRAD_FLOATS").ok();
    if given.as_deref() == Some("all") {
        return (0, 1);
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let part = given.and_then(|part| part.parse().ok());
    let part = part.unwrap_or(clock.map_or(0, |t| t.subsec_micros())) % PARTS;
    println!("WGRAD_FLOATS={part}");
    (part, PARTS)
}

/// By the loops that kernels run on this machine. All floats take a minute or two a function:
/// `WGRAD_FLOATS=all cargo test --release -p wgrad-cpu-backend -- --nocapture floats_in_loops`.
#[test]
fn floats_in_loops_keep_the_bounds() {
    const BLOCK: u32 = 1 << 16;
    let (first, step) = floats();
    let count = (u32::MAX - first) / step;
    let mut beyond = Vec::new();
    macro_rules! call {
        ($name:ident, $bound:expr, $exact:expr) => {
            let exact: fn(f64) -> f64 = $exact;
            let op = MapOp::ROWS.iter().find(|op| op.name() == stringify!($name));
            let run = loops::operation(*op.unwrap(), DType::F32).unwrap();
            let (error, x) = (0..=count / BLOCK)
                .into_par_iter()
                .map(|block| {
                    let last = (block * BLOCK).saturating_add(BLOCK - 1).min(count);
                    let xs = block * BLOCK..=last;
                    let xs: Vec<f32> = xs.map(|i| f32::from_bits(first + i * step)).collect();
                    let mut ys = vec![0f32; xs.len()];
                    let x = xs.as_ptr().cast();
                    // SAFETY: both slices have so many elements.
                    unsafe { run(xs.len(), [x, x, x], ys.as_mut_ptr().cast()) };
                    let pairs = xs.iter().zip(&ys);
                    let errors = pairs.map(|(&x, &y)| (ulps(y, exact(f64::from(x))), x));
                    errors.fold((0.0, 0.0), |a: (f64, f32), b| if b.0 > a.0 { b } else { a })
                })
                .reduce(|| (0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
            let found = format!("{} {error:.3} ULP at {x:e}", stringify!($name));
            println!("{found}");
            if error > $bound {
                beyond.push(found);
            }
        };
    }
    functions!(call);
    assert!(beyond.is_empty(), "{beyond:?}");
}

#[test]
fn angles() {
    let limited = |f: fn(f64) -> f64| {
        move |x: f64| {
            if x.abs() > f64::from(HUGE_ANGLE) {
                f64::NAN
            } else {
                f(x)
            }
        }
    };
    fn cut(f: fn(f32) -> f32, x: f32) -> f32 {
        if x.abs() > HUGE_ANGLE { f32::NAN } else { f(x) }
    }
    check(
        "sin",
        1.0,
        [|x| cut(sin::<true>, x), |x| cut(sin::<false>, x)],
        limited(f64::sin),
    );
    check(
        "cos",
        1.0,
        [|x| cut(cos::<true>, x), |x| cut(cos::<false>, x)],
        limited(f64::cos),
    );
    check(
        "tan",
        1.0,
        [|x| cut(tan::<true>, x), |x| cut(tan::<false>, x)],
        limited(f64::tan),
    );
    assert!(sin::<true>(f32::INFINITY).is_nan() && cos::<false>(f32::NAN).is_nan());
}

#[test]
fn powers() {
    let values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        2.5,
        1e-3,
        -7.25,
        1e20,
        -1e20,
        16_777_215.0,
        16_777_216.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        f32::from_bits(3),
    ];
    let random = (0..2000u32).map(|i| {
        let x = wgrad_core::random::philox([i, 0, 0, 0], [1, 2]);
        let unit = wgrad_core::random::unit;
        (unit(x[0]) * 20.0, unit(x[1]) * 24.0 - 12.0)
    });
    let pairs = values
        .iter()
        .flat_map(|&a| values.iter().map(move |&b| (a, b)));
    for (a, b) in pairs.chain(random) {
        let want = f64::from(a).powf(f64::from(b));
        for got in [pow::<true>(a, b), pow::<false>(a, b)] {
            assert!(ulps(got, want) <= 1.0, "{a}^{b} = {got}, not {want}");
            if want == 0.0 {
                assert_eq!(got.to_bits(), (want as f32).to_bits(), "{a}^{b}");
            }
        }
    }
}
