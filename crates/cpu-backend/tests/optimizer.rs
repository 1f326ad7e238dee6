//! Adam and SGD against their formulas in `f64`.

mod harness;

use harness::*;
use wgrad_core::{DType, Kernel, ScalarBits};

const SEGMENTS: [(usize, usize); 3] = [(0, 400), (400, 1004), (1100, 50_000)];
const LEN: usize = 50_004;

/// Arenas of random values, the later ones positive.
fn arenas(dtype: DType, count: usize) -> Vec<Data> {
    let mut dice = Dice::new(1);
    let low = |i| if i < 3 { -1.0 } else { 0.01 };
    (0..count)
        .map(|i| Data::random(&mut dice, dtype, LEN, low(i), 1.0))
        .collect()
}

/// A bench with the arenas as buffers 0 and on.
fn bench(arenas: &[Data]) -> Bench {
    let mut bench = Bench::new();
    bench.inputs = arenas.to_vec();
    bench
}

fn segment_of(i: usize) -> Option<usize> {
    SEGMENTS.iter().position(|&(a, b)| a <= i && i < b)
}

#[test]
fn adam() {
    let arenas = [arenas(DType::F32, 6), arenas(DType::F64, 6)];
    for case in 0..32 {
        let flag = |bit: usize| case >> bit & 1 == 1;
        let (decoupled, maximize, amsgrad, elsewhere) = (flag(0), flag(1), flag(2), flag(3));
        let dtype = if flag(4) { DType::F64 } else { DType::F32 };
        // Parameters, gradients, m, v, vmax, and another arena.
        let mut bench = bench(&arenas[usize::from(flag(4))]);
        let hyper: Vec<[f64; 6]> = (0..SEGMENTS.len())
            .map(|s| {
                let s = s as f64;
                let decay = if decoupled { 0.99 - 0.01 * s } else { 0.1 * s };
                [decay, 0.9 - 0.1 * s, 0.99, 0.01, 1.5, 1e-3]
            })
            .collect();
        for (&(a, b), h) in SEGMENTS.iter().zip(&hyper) {
            bench.scalars.push(ScalarBits::integer(a as i64));
            bench.scalars.push(ScalarBits::integer(b as i64));
            bench.scalars.extend(h.map(ScalarBits::float));
        }
        let target = if elsewhere { 5 } else { 0 };
        let (after, _) = bench.run_all(Kernel::Adam {
            dtype,
            len: LEN,
            param: 0,
            target,
            grad: 1,
            m: 2,
            v: 3,
            vmax: amsgrad.then_some(4),
            decoupled,
            maximize,
            segments: SEGMENTS.len(),
        });
        let before: Vec<_> = bench.inputs.iter().map(|d| &d.1[..]).collect();
        let mut want: Vec<Vec<f64>> = before.iter().map(|b| b.to_vec()).collect();
        want[target] = before[0].to_vec();
        for i in 0..LEN {
            let Some(s) = segment_of(i) else { continue };
            let [decay, b1, b2, step, scale, eps] = hyper[s];
            let mut p = before[0][i];
            let mut g = if maximize {
                -before[1][i]
            } else {
                before[1][i]
            };
            if decoupled {
                p *= decay;
            } else {
                g += decay * p;
            }
            let m = b1 * before[2][i] + (1.0 - b1) * g;
            let v = b2 * before[3][i] + (1.0 - b2) * g * g;
            let vmax = before[4][i].max(v);
            let u = if amsgrad { vmax } else { v };
            want[2][i] = m;
            want[3][i] = v;
            if amsgrad {
                want[4][i] = vmax;
            }
            want[target][i] = p - step * m / (u.sqrt() * scale + eps);
        }
        let tolerance = if dtype == DType::F64 { 1e-14 } else { 1e-6 };
        for (got, want) in after.iter().zip(&want) {
            assert_near(got, want, tolerance);
        }
    }
}

#[test]
fn sgd() {
    let arenas = [arenas(DType::F32, 4), arenas(DType::F64, 4)];
    for case in 0..64 {
        let flag = |bit: usize| case >> bit & 1 == 1;
        let (with_momentum, nesterov, maximize) = (flag(0), flag(1), flag(2));
        let (elsewhere, first) = (flag(3), flag(4));
        let dtype = if flag(5) { DType::F64 } else { DType::F32 };
        let mut bench = bench(&arenas[usize::from(flag(5))]);
        if first {
            // What the momentum buffer holds before the first step does not matter.
            bench.inputs[2].1[7] = f64::NAN;
        }
        let hyper: Vec<[f64; 4]> = (0..SEGMENTS.len())
            .map(|s| [0.1, 0.01 * s as f64, 0.9, 0.2 * s as f64])
            .collect();
        for (&(a, b), h) in SEGMENTS.iter().zip(&hyper) {
            bench.scalars.push(ScalarBits::integer(a as i64));
            bench.scalars.push(ScalarBits::integer(b as i64));
            bench.scalars.extend(h.map(ScalarBits::float));
            bench.scalars.push(ScalarBits::integer(first.into()));
        }
        let target = if elsewhere { 3 } else { 0 };
        let (after, _) = bench.run_all(Kernel::Sgd {
            dtype,
            len: LEN,
            param: 0,
            target,
            grad: 1,
            momentum: with_momentum.then_some(2),
            nesterov,
            maximize,
            segments: SEGMENTS.len(),
        });
        let before: Vec<_> = bench.inputs.iter().map(|d| &d.1[..]).collect();
        let mut want: Vec<Vec<f64>> = before.iter().map(|b| b.to_vec()).collect();
        want[target] = before[0].to_vec();
        for i in 0..LEN {
            let Some(s) = segment_of(i) else { continue };
            let [lr, decay, momentum, dampening] = hyper[s];
            let p = before[0][i];
            let mut g = if maximize {
                -before[1][i]
            } else {
                before[1][i]
            } + decay * p;
            if with_momentum {
                let b = if first {
                    g
                } else {
                    momentum * before[2][i] + (1.0 - dampening) * g
                };
                want[2][i] = b;
                g = if nesterov { g + momentum * b } else { b };
            }
            want[target][i] = p - lr * g;
        }
        let tolerance = if dtype == DType::F64 { 1e-14 } else { 1e-6 };
        for (got, want) in after.iter().zip(&want) {
            assert_near(got, want, tolerance);
        }
    }
}
