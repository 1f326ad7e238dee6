//! Steps of optimizers against their formulas in `f64`.

#[path = "../../core/tests/formulas/mod.rs"]
mod formulas;
mod harness;

use formulas::{Plain, Swap, Three};
use harness::*;
use wgrad_core::{DType, Kernel, ScalarBits, UpdateRule};

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

/// The kernel of a rule whose states are the buffers from 2 on.
fn kernel(rule: &UpdateRule, dtype: DType, target: usize, segments: usize) -> Kernel {
    Kernel::Update {
        name: rule.name(),
        program: rule.program(dtype),
        compiled: rule.compiled().clone(),
        len: LEN,
        param: 0,
        target,
        grad: 1,
        states: (2..2 + rule.states().len()).collect(),
        segments,
        control: None,
    }
}

/// Runs the rule over `segments`, whose numbers `hyper` are, and compares each element with `formula`, which
/// takes parameter, gradient and states.
fn follow<const N: usize, const S: usize>(
    rule: &UpdateRule,
    segments: &[(usize, usize)],
    hyper: &[[f64; N]],
    formula: impl Fn(f64, f64, [f64; S], [f64; N]) -> (f64, [f64; S]),
) {
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
        // Parameters, gradients, states, and another arena.
        let mut bench = bench(&arenas(dtype, 3 + S));
        for (&(a, b), h) in segments.iter().zip(hyper) {
            bench.scalars.push(ScalarBits::integer(a as i64));
            bench.scalars.push(ScalarBits::integer(b as i64));
            bench.scalars.extend(h.map(ScalarBits::float));
            let constants = rule.constants().iter();
            bench
                .scalars
                .extend(constants.map(|&c| ScalarBits::float(c)));
        }
        for target in [0, 2 + S] {
            let (after, _) = bench.run_all(kernel(rule, dtype, target, segments.len()));
            let before: Vec<_> = bench.inputs.iter().map(|d| &d.1[..]).collect();
            let mut want: Vec<Vec<f64>> = before.iter().map(|b| b.to_vec()).collect();
            want[target] = before[0].to_vec();
            for i in 0..LEN {
                let Some(s) = segments.iter().position(|&(a, b)| a <= i && i < b) else {
                    continue;
                };
                let states = std::array::from_fn(|k| before[2 + k][i]);
                let (p, new) = formula(before[0][i], before[1][i], states, hyper[s]);
                want[target][i] = p;
                for (k, state) in new.into_iter().enumerate() {
                    want[2 + k][i] = state;
                }
            }
            for (got, want) in after.iter().zip(&want) {
                assert_near(got, want, tolerance);
            }
        }
    }
}

#[test]
fn states_and_parameters_are_updated_in_place_or_elsewhere() {
    let rule = UpdateRule::new("three", ["m", "v", "most"], Three);
    let hyper: Vec<[f64; 4]> = (0..SEGMENTS.len())
        .map(|s| [0.9 - 0.1 * s as f64, 0.1 + 0.1 * s as f64, 0.01, 1e-3])
        .collect();
    let formula = |p, g, [m, v, most]: [f64; 3], [b, r, step, eps]: [f64; 4]| {
        let m = b * m + r * g;
        let v = b * v + r * g * g;
        let most = most.max(v);
        (p - step * m / (most.sqrt() + eps), [m, v, most])
    };
    follow(&rule, &SEGMENTS, &hyper, formula);
    // Segments may stand in any order.
    let turned: Vec<_> = SEGMENTS.iter().rev().copied().collect();
    follow(&rule, &turned, &hyper, formula);
}

#[test]
fn states_may_exchange_their_values_and_branch() {
    let rule = UpdateRule::new("swap", ["a", "b"], Swap);
    let hyper = [[0.1], [-0.2], [0.3]];
    follow(&rule, &SEGMENTS, &hyper, |p, g, [a, b], [limit]| {
        (if a > limit { p * 2.0 } else { -g }, [b, a])
    });
    let plain = UpdateRule::new("plain", [], Plain);
    follow(&plain, &SEGMENTS, &hyper, |p, g, [], [lr]| (p - lr * g, []));
}

#[test]
fn what_does_not_fit_is_refused() {
    let rule = UpdateRule::new("plain", [], Plain);
    let mut bench = bench(&arenas(DType::F32, 2));
    bench.scalars = [0, LEN as i64].map(ScalarBits::integer).to_vec();
    bench.scalars.push(ScalarBits::float(0.1));
    let good = kernel(&rule, DType::F32, 0, 1);
    let refused = |change: &dyn Fn(&mut Kernel)| {
        let mut kernel = good.clone();
        change(&mut kernel);
        assert!(!bench.compiles(kernel));
    };
    assert!(bench.compiles(good.clone()));
    refused(&|kernel| {
        if let Kernel::Update { len, .. } = kernel {
            *len += 4;
        }
    });
    refused(&|kernel| {
        if let Kernel::Update { states, .. } = kernel {
            states.push(0);
        }
    });
    refused(&|kernel| {
        if let Kernel::Update { program, .. } = kernel {
            *program = rule.program(DType::F64);
        }
    });
}
