//! Kernels of rows, which the fuser writes: launches counted, and values and gradients fused against
//! unfused, on the CPU and on the GPU, for rows of all lengths and layouts, with what is special in them.

mod devices;

use devices::{fill, gpu};
use proptest::prelude::*;
use wgrad::prelude::*;

/// Launches that `work` takes when it is replayed.
fn launches(dev: &Device, work: impl Fn()) -> u64 {
    work();
    dev.synchronize().unwrap();
    let before = dev.stats();
    work();
    dev.synchronize().unwrap();
    dev.stats().launches - before.launches
}

fn tensor(seed: u64, shape: &[usize], dev: &Device) -> Tensor {
    Tensor::from_vec(fill(seed, shape.iter().product(), 2.0), shape, dev)
}

fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    x.layer_norm([48], Some(weight), Some(bias), 1e-5)
}

fn rms_norm(x: &Tensor, weight: &Tensor) -> Tensor {
    x.rms_norm([48], Some(weight), Some(1e-5))
}

#[test]
fn norms_and_softmax_are_single_launches() {
    let all = [Some(devices::cpu()), gpu()];
    for dev in all.into_iter().flatten() {
        let x = tensor(1, &[64, 48], &dev);
        let (weight, bias) = (tensor(2, &[48], &dev), tensor(3, &[48], &dev));
        let mask = tensor(4, &[64, 48], &dev).gt(0.0);
        let (y, z) = (tensor(5, &[64, 48], &dev), tensor(6, &[4, 16, 48], &dev));
        dev.synchronize().unwrap();
        let once = |what: &str, work: &dyn Fn() -> Tensor| {
            let count = launches(&dev, || drop(work().to_vec::<f32>().unwrap()));
            assert_eq!(count, 1, "{what} on {dev}");
        };
        once("layer norm", &|| layer_norm(&x, &weight, &bias));
        once("layer norm of a sum", &|| {
            layer_norm(&(&x + &y), &weight, &bias)
        });
        once("RMS norm", &|| rms_norm(&x, &weight));
        once("group norm", &|| z.group_norm(4, None, None, 1e-5));
        once("normalised vectors", &|| x.normalize(2.0, [1], 1e-12));
        once("softmax", &|| x.softmax(-1));
        once("log_softmax", &|| x.log_softmax(1));
        once("logsumexp", &|| x.logsumexp(1, false));
        once("logsumexp that keeps", &|| x.logsumexp(-1, true));
        once("softmax of three dimensions", &|| (&z * 0.5).softmax(2));
        once("L2 norm", &|| {
            &x / (x.sqr().sum_dims([-1], true) + 1e-6).sqrt()
        });
        once("standardised, squeezed", &|| {
            let mean = x.mean_dims([1], false).unsqueeze(1);
            &x - mean
        });
        once("masked, scaled softmax with dropout", &|| {
            let scores = mask.where_cond(&x * 0.125, f64::NEG_INFINITY);
            let kept = Tensor::rand([64, 48], &dev).ge(0.1);
            scores.softmax(-1) * kept.to_dtype(DType::F32) * (1.0 / 0.9)
        });
        once("over two dimensions", &|| {
            let (mean, most) = (z.mean_dims([1, 2], true), z.max_dims([1, 2], true));
            (&z - mean) / most
        });
    }
}

#[test]
fn backward_passes_of_norms_are_few_launches() {
    let all = [Some(devices::cpu()), gpu()];
    for dev in all.into_iter().flatten() {
        let leaf = |seed, shape: &[usize]| tensor(seed, shape, &dev).requires_grad();
        let (x, weight, bias) = (leaf(1, &[64, 48]), leaf(2, &[48]), leaf(3, &[48]));
        let g = tensor(4, &[64, 48], &dev);
        let backward = |what: &str, most: u64, forward: &dyn Fn() -> Tensor| {
            let count = launches(&dev, || {
                for leaf in [&x, &weight, &bias] {
                    leaf.zero_grad();
                }
                forward().backward_with(&g).unwrap();
                dev.synchronize().unwrap();
                x.grad().unwrap().to_vec::<f32>().unwrap();
            });
            // One forward.
            assert!(count <= 1 + most, "{what} on {dev}: {count}");
        };
        backward("layer norm", 2, &|| layer_norm(&x, &weight, &bias));
        backward("RMS norm", 2, &|| rms_norm(&x, &weight));
        backward("softmax", 1, &|| x.softmax(-1));
        backward("log_softmax", 1, &|| x.log_softmax(-1));
    }
}

/// A step of a program over `[.., rows, length]`, on the values of elements and of rows so far.
#[derive(Clone, Debug)]
enum Step {
    /// A reduction of the last dimension.
    Reduce(u8, usize),
    /// Elements with a value of their row.
    WithRow(u8, usize, usize),
    Elements(u8, usize, usize),
    Rows(u8, usize, usize),
    /// Elements with an operand that is the same for all rows, or for all elements of a row, or strided.
    WithOperand(u8, usize),
    Softmax(u8, usize),
    Mask(usize, bool),
    Index(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let i = || 0..16usize;
    prop_oneof![
        4 => (any::<u8>(), i()).prop_map(|(op, a)| Step::Reduce(op, a)),
        5 => (any::<u8>(), i(), i()).prop_map(|(op, a, r)| Step::WithRow(op, a, r)),
        3 => (any::<u8>(), i(), i()).prop_map(|(op, a, b)| Step::Elements(op, a, b)),
        2 => (any::<u8>(), i(), i()).prop_map(|(op, a, b)| Step::Rows(op, a, b)),
        3 => (any::<u8>(), i()).prop_map(|(which, a)| Step::WithOperand(which, a)),
        2 => (any::<u8>(), i()).prop_map(|(form, a)| Step::Softmax(form, a)),
        1 => (i(), any::<bool>()).prop_map(|(a, whole)| Step::Mask(a, whole)),
        1 => i().prop_map(Step::Index),
    ]
}

/// Bounded and smooth, so that rounding stays rounding.
fn pair(op: u8, a: &Tensor, b: &Tensor) -> Tensor {
    match op % 5 {
        0 => (a + b) * 0.5,
        1 => a - b * 0.5,
        2 => a * b.tanh(),
        3 => a / (b.sqr() + 1.0),
        _ => a.maximum(b),
    }
}

/// The results of a program, and the gradients of its leaves.
fn run(steps: &[Step], outer: &[usize], length: usize, dev: &Device) -> Vec<Vec<f32>> {
    let shape: Vec<usize> = outer.iter().copied().chain([length]).collect();
    let rows: usize = outer.iter().product();
    let leaf = |seed, shape: &[usize]| {
        let n = shape.iter().product();
        Tensor::from_vec(fill(seed, n, 1.0), shape, dev).requires_grad()
    };
    let turned: Vec<usize> = shape.iter().rev().copied().collect();
    let leaves = [
        leaf(1, &shape),
        leaf(2, &[length]),
        leaf(3, &[rows, 1]),
        leaf(4, &turned),
    ];
    let along: Vec<isize> = (0..shape.len() as isize).rev().collect();
    let per_row: Vec<usize> = outer.iter().copied().chain([1]).collect();
    let operands = [
        leaves[1].clone(),
        leaves[2].reshape(&per_row[..]),
        leaves[3].permute(&along[..]),
        leaves[1].reshape([1, length]).expand(&shape[..]),
    ];
    let mut elements = vec![leaves[0].clone()];
    let mut values = vec![leaves[2].reshape(&per_row[..])];
    for step in steps {
        let element = |i: &usize| elements[i % elements.len()].clone();
        let value = |i: &usize| values[i % values.len()].clone();
        match step {
            Step::Reduce(op, a) => {
                let x = element(a);
                values.push(match op % 4 {
                    0 => x.mean_dims([-1], true),
                    1 => x.max_dims([-1], op & 16 != 0).reshape(&per_row[..]),
                    2 => x.min_dims([-1], true),
                    _ => x.sum_dims([-1], true) * (1.0 / length as f64),
                });
            }
            Step::WithRow(op, a, r) => elements.push(pair(*op, &element(a), &value(r))),
            Step::Elements(op, a, b) => elements.push(pair(*op, &element(a), &element(b))),
            Step::Rows(op, a, b) => values.push(pair(*op, &value(a), &value(b))),
            Step::WithOperand(which, a) => {
                let operand = &operands[usize::from(*which) % operands.len()];
                elements.push(pair(*which / 4, &element(a), operand));
            }
            Step::Softmax(form, a) => match form % 3 {
                0 => elements.push(element(a).softmax(-1)),
                1 => elements.push(element(a).log_softmax(-1) * 0.1),
                _ => values.push(element(a).logsumexp(-1, true) * 0.1),
            },
            Step::Mask(a, whole) => {
                let x = element(a);
                let mask = match whole {
                    true => x.lt(0.3),
                    false => operands[0].gt(-0.9).expand(&shape[..]),
                };
                elements.push(mask.where_cond(&x, f64::from(-4.0f32)));
            }
            Step::Index(a) => {
                let at = element(a).argmax([-1], true).to_dtype(DType::F32);
                values.push(at * (1.0 / length as f64));
            }
        }
    }
    let mut loss = Tensor::from_slice(&[0.0f32], [1], dev).sum();
    for x in elements.iter().chain(&values) {
        loss = loss + (x * x).mean();
    }
    loss.backward().unwrap();
    let mut out = Vec::new();
    for x in elements.iter().chain(&values).chain([&loss]) {
        out.push(x.to_vec::<f32>().unwrap());
    }
    for leaf in &leaves {
        let zero = vec![0.0; leaf.numel().unwrap()];
        out.push(leaf.grad().map_or(Ok(zero), |g| g.to_vec::<f32>()).unwrap());
    }
    out
}

fn compare(steps: &[Step], outer: &[usize], length: usize) -> Result<(), TestCaseError> {
    static DEVICES: std::sync::OnceLock<Vec<Device>> = std::sync::OnceLock::new();
    let all = DEVICES.get_or_init(devices::all);
    let want = run(
        steps,
        outer,
        length,
        &all[if all.len() == 4 { 2 } else { 1 }],
    );
    for dev in all {
        let got = run(steps, outer, length, dev);
        prop_assert_eq!(got.len(), want.len());
        for (which, (got, want)) in got.iter().zip(&want).enumerate() {
            prop_assert_eq!(got.len(), want.len());
            let scale = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                let same = g.is_nan() && w.is_nan() || g == w;
                prop_assert!(
                    same || (g - w).abs() <= 2e-4 * scale,
                    "result {which}, element {i} on {dev}, fusion {}: {g} for {w}",
                    dev.fusion()
                );
            }
        }
    }
    Ok(())
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: 40,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn random_programs_of_rows_agree(
        steps in prop::collection::vec(step(), 1..12),
        outer in prop_oneof![Just(vec![6]), Just(vec![2, 5]), Just(vec![1]), Just(vec![3, 1])],
        length in prop_oneof![Just(1usize), Just(3), Just(8), Just(70), Just(257), Just(1030)],
    ) {
        compare(&steps, &outer, length)?;
    }
}

/// A fixed program through rows of every length at which a form changes.
#[test]
fn rows_of_every_length_agree() {
    let steps = [
        Step::WithOperand(0, 0),
        Step::Reduce(0, 1),
        Step::WithRow(1, 1, 1),
        Step::Softmax(0, 2),
        Step::WithOperand(2, 3),
        Step::Reduce(1, 3),
        Step::Index(2),
        Step::WithRow(3, 2, 2),
    ];
    for (rows, length) in [
        (5, 1),
        (5, 3),
        (300, 4),
        (3, 1023),
        (3, 1025),
        (3, 4096),
        (3, 4097),
        (2, 16_385),
        (2, 100_000),
        (20, 100_000),
    ] {
        compare(&steps, &[rows], length).unwrap_or_else(|e| panic!("{rows} rows of {length}: {e}"));
    }
}

/// No rows, and rows of nothing.
#[test]
fn rows_of_nothing() {
    for dev in devices::all() {
        for shape in [[0, 7], [7, 0]] {
            let x = Tensor::from_vec(Vec::<f32>::new(), shape, &dev).requires_grad();
            let y = (&x - x.mean_dims([1], true)).softmax(1);
            assert_eq!(y.to_vec::<f32>().unwrap(), Vec::<f32>::new());
            y.sum().backward().unwrap();
            assert_eq!(x.grad().unwrap().dims().unwrap(), shape);
        }
        let none = Tensor::from_vec(Vec::<f32>::new(), [2, 0], &dev);
        let sums = none.logsumexp(1, false).to_vec::<f32>().unwrap();
        assert_eq!(sums, [f32::NEG_INFINITY; 2], "{dev}");
    }
}

/// NaN, infinities and fully masked rows, as torch has them.
#[test]
fn special_rows() {
    let (n, inf) = (f32::NAN, f32::INFINITY);
    for dev in devices::all() {
        let rows = [
            [1.0, n, 3.0, 0.0, 1.0],
            [inf, 2.0, 3.0, 0.0, 1.0],
            [-inf, 2.0, 3.0, 2.0, -inf],
            [-inf, -inf, -inf, -inf, -inf],
            [1e4, -1e4, 0.0, 1e4, 0.0],
        ];
        let x = Tensor::new(rows, &dev);
        let softmax = x.softmax(1).to_vec::<f32>().unwrap();
        let logs = x.log_softmax(1).to_vec::<f32>().unwrap();
        let sums = x.logsumexp(1, false).to_vec::<f32>().unwrap();
        for (r, row) in rows.iter().enumerate() {
            let top = row.iter().copied().fold(-inf, f32::max);
            let nan = row.iter().any(|v| v.is_nan()) || top.is_infinite();
            let total: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
            for (c, v) in row.iter().enumerate() {
                let (p, log) = (softmax[r * 5 + c], logs[r * 5 + c]);
                if nan {
                    assert!(p.is_nan(), "softmax {p} in row {r} on {dev}");
                    assert!(log.is_nan() || top == inf, "log {log} in row {r} on {dev}");
                    continue;
                }
                let want = f64::from(v - top).exp() / total;
                assert!((f64::from(p) - want).abs() < 1e-6, "{p} for {want}");
                let want = f64::from(v - top) - total.ln();
                assert!(
                    f64::from(log) == want
                        || (f64::from(log) - want).abs() <= 1e-6 * want.abs().max(1.0),
                    "{log} for {want}"
                );
            }
            let want = match () {
                () if row.iter().any(|v| v.is_nan()) => n,
                () if top.is_infinite() => top,
                () => top + total.ln() as f32,
            };
            assert!(
                sums[r] == want || sums[r].is_nan() && want.is_nan(),
                "{} for {want}",
                sums[r]
            );
        }
    }
}

/// Every element type that rows may have, with rows of whole vectors and others.
#[test]
fn rows_of_every_type_agree() {
    let all = devices::all();
    for length in [3usize, 8, 100, 1030] {
        for dtype in [
            DType::F32,
            DType::F16,
            DType::BF16,
            DType::I32,
            DType::U8,
            DType::F64,
        ] {
            let run = |dev: &Device| -> Option<Vec<f32>> {
                let x = tensor(7, &[5, length], dev) * 20.0 + 50.0;
                let x = x.to_dtype(dtype);
                if x.dtype().is_err() {
                    return None; // the device lacks it
                }
                let y = match dtype {
                    DType::I32 | DType::U8 => (&x - x.min_dims([1], true)) * x.max_dims([1], true),
                    _ => (&x - x.mean_dims([1], true)).softmax(1) * 8.0,
                };
                let hit = x.eq(x.max_dims([1], true));
                let y = hit.where_cond(&y + 1.0, &y).to_dtype(dtype);
                Some(y.to_dtype(DType::F32).to_vec::<f32>().unwrap())
            };
            let want = run(&devices::cpu()).unwrap();
            let tolerance = match dtype {
                DType::F16 => 4e-3,
                DType::BF16 => 3e-2,
                _ => 1e-5,
            };
            for dev in &all {
                if let Some(got) = run(dev) {
                    devices::assert_close(&got, &want, tolerance, tolerance);
                }
            }
        }
    }
}

/// More reductions of one space than a kernel takes.
#[test]
fn many_reductions_of_a_row_agree() {
    let work = |dev: &Device| {
        let x = tensor(9, &[6, 40], dev);
        let mut y = x.clone();
        for i in 0..20 {
            y = &y * 0.9 + (&x * (0.1 * f64::from(i))).sin().mean_dims([1], true);
        }
        y.to_vec::<f32>().unwrap()
    };
    let want = work(&devices::cpu());
    for dev in devices::all() {
        devices::assert_close(&work(&dev), &want, 1e-5, 1e-6);
    }
}
