//! Steps of optimizers over arenas.

#[path = "../../core/tests/formulas/mod.rs"]
mod formulas;
mod harness;

use formulas::{Plain, Swap, Three};
use harness::*;
use wgrad_core::*;

/// Runs a rule over arenas of random values: some segments with gaps between them, in place or not.
fn follow<const N: usize, const S: usize>(
    rule: &UpdateRule,
    hyper: impl Fn(usize) -> [f64; N],
    formula: impl Fn(f64, f64, [f64; S], [f64; N]) -> (f64, [f64; S]),
) {
    let mut rng = Rng(61);
    for gpu in gpus() {
        for (segments, in_place) in [(0, false), (1, true), (2, false), (11, false), (11, true)] {
            let len = 400;
            let arenas: Vec<Vec<f64>> = (0..2 + S)
                .map(|_| rng.values(DType::F32, len))
                .map(|values| values.iter().map(|x| x.abs()).collect())
                .collect();
            let mut t = Trial::new(&gpu);
            let buffers: Vec<usize> = arenas.iter().map(|x| t.input(DType::F32, x)).collect();
            let target = match in_place {
                true => buffers[0],
                false => t.buffer(DType::F32, len),
            };
            let mut scalars = Vec::new();
            let mut want = arenas.clone();
            for s in 0..segments {
                let (start, end) = (s * 32, s * 32 + 24);
                scalars.push(ScalarBits::integer(start as i64));
                scalars.push(ScalarBits::integer(end as i64));
                scalars.extend(hyper(s).map(ScalarBits::float));
                let constants = rule.constants().iter();
                scalars.extend(constants.map(|&c| ScalarBits::float(c)));
                for i in start..end {
                    let states = std::array::from_fn(|k| arenas[2 + k][i]);
                    let (p, new) = formula(arenas[0][i], arenas[1][i], states, hyper(s));
                    want[0][i] = p;
                    for (k, state) in new.into_iter().enumerate() {
                        want[2 + k][i] = state;
                    }
                }
            }
            t.launch(
                Kernel::Update {
                    name: rule.name(),
                    program: rule.program(DType::F32),
                    compiled: rule.compiled().clone(),
                    len,
                    param: buffers[0],
                    target,
                    grad: buffers[1],
                    states: buffers[2..].to_vec(),
                    segments,
                    control: None,
                },
                &scalars,
            );
            t.run();
            let what = format!("{} {segments} {in_place}", rule.name());
            let read = [target].into_iter().chain(buffers[1..].iter().copied());
            for (buffer, want) in read.zip(&want) {
                let dtype = DType::F32;
                let got = t.read(Output { buffer, dtype }, len);
                close(&got, want, 1e-6, 1e-6, &what);
            }
        }
    }
}

#[test]
fn states_and_parameters_are_updated_in_place_or_elsewhere() {
    let rule = UpdateRule::new("three", ["m", "v", "most"], Three);
    let hyper = |s| [0.9, 0.1, 0.01 + s as f64 * 0.001, 1e-3];
    follow(&rule, hyper, |p, g, [m, v, most], [b, r, step, eps]| {
        let m = b * m + r * g;
        let v = b * v + r * g * g;
        let most = most.max(v);
        (p - step * m / (most.sqrt() + eps), [m, v, most])
    });
}

#[test]
fn states_may_exchange_their_values_and_branch() {
    let rule = UpdateRule::new("swap", ["a", "b"], Swap);
    let hyper = |s| [0.1 + 0.1 * s as f64];
    follow(&rule, hyper, |p, g, [a, b], [limit]| {
        (if a > limit { p * 2.0 } else { -g }, [b, a])
    });
    let plain = UpdateRule::new("plain", [], Plain);
    follow(&plain, hyper, |p, g, [], [lr]| (p - lr * g, []));
}
