//! Property tests: random graphs of random operations and layouts give the same numbers fused and
//! unfused, on the CPU and on the GPU, with memory poisoned by NaN.

mod devices;

use std::sync::OnceLock;

use devices::{assert_close, fill};
use proptest::prelude::*;
use wgrad::prelude::*;
use wgrad::{CrossEntropyOptions, Reduction, Shape};

/// One step of a random program; operands are picked among the values so far.
#[derive(Clone, Debug)]
enum Step {
    Unary(u8, usize),
    Binary(u8, usize, usize),
    Scalar(u8, usize, i8),
    Reduce(u8, usize, usize, bool),
    View(u8, usize, usize, usize),
    MatMul(usize, usize),
    Cat(usize, usize, usize),
    Softmax(usize, usize),
    Pick(usize, usize),
    CrossEntropy(usize, u8),
    Read(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let i = || 0..64usize;
    prop_oneof![
        4 => (any::<u8>(), i()).prop_map(|(op, a)| Step::Unary(op, a)),
        5 => (any::<u8>(), i(), i()).prop_map(|(op, a, b)| Step::Binary(op, a, b)),
        3 => (any::<u8>(), i(), any::<i8>()).prop_map(|(op, a, c)| Step::Scalar(op, a, c)),
        2 => (any::<u8>(), i(), i(), any::<bool>()).prop_map(|(op, a, d, k)| Step::Reduce(op, a, d, k)),
        4 => (any::<u8>(), i(), i(), i()).prop_map(|(op, a, x, y)| Step::View(op, a, x, y)),
        2 => (i(), i()).prop_map(|(a, b)| Step::MatMul(a, b)),
        1 => (i(), i(), i()).prop_map(|(a, b, d)| Step::Cat(a, b, d)),
        1 => (i(), i()).prop_map(|(a, d)| Step::Softmax(a, d)),
        1 => (i(), i()).prop_map(|(a, d)| Step::Pick(a, d)),
        2 => (i(), any::<u8>()).prop_map(|(a, op)| Step::CrossEntropy(a, op)),
        1 => i().prop_map(Step::Read),
    ]
}

/// Smooth, bounded functions, so that rounding stays rounding.
fn unary(op: u8, x: &Tensor) -> Tensor {
    match op % 12 {
        0 => x.tanh(),
        1 => x.sigmoid(),
        2 => x.sin(),
        3 => x.relu(),
        4 => x.gelu(),
        5 => x.neg(),
        6 => (x.clamp(-3.0, 3.0)).exp() * 0.05,
        7 => (x.sqr() + 1.0).sqrt().recip(),
        8 => (x.abs() + 0.5).ln(),
        9 => x.erf(),
        10 => x.silu().clamp(-2.0, 2.0),
        _ => x.softplus() * 0.3,
    }
}

fn binary(op: u8, a: &Tensor, b: &Tensor) -> Tensor {
    match op % 6 {
        0 => (a + b) * 0.5,
        1 => a - b * 0.5,
        2 => a * b.tanh(),
        3 => a.maximum(b),
        4 => a / (b.sqr() + 1.0),
        _ => a.gt(b).where_cond(a, b * 0.5),
    }
}

/// Cross-entropy over the last dimension in one of its forms. There are few, so that one program
/// often asks several things of the same logits.
fn cross_entropy(op: u8, x: &Tensor, shape: &Shape) -> Tensor {
    let classes = shape[shape.rank() - 1];
    let rows = shape.numel() / classes;
    let targets = (0..rows).map(|r| (r * 5 % classes) as i32).collect();
    let targets = Tensor::from_vec::<i32>(targets, rows, x.device());
    let weight: Vec<f32> = (0..classes).map(|c| 0.5 + 0.25 * (c % 4) as f32).collect();
    let weight = Tensor::from_vec(weight, classes, x.device());
    let options = CrossEntropyOptions {
        weight: (op & 1 != 0).then_some(weight),
        // The first target is 0, so that one always counts.
        ignore_index: (op & 2 != 0).then_some(classes.max(2) as i64 - 1),
        reduction: match op / 4 % 3 {
            0 => Reduction::Mean,
            1 => Reduction::Sum,
            _ => Reduction::None,
        },
        ..Default::default()
    };
    let logits = x.reshape([rows, classes]);
    logits.cross_entropy_with(&targets, options) * 0.2
}

/// Runs the program; the values of all results, and the gradients of the leaves.
fn run(steps: &[Step], dev: &Device) -> Vec<Vec<f32>> {
    let leaves: Vec<Tensor> = [vec![4, 3], vec![3], vec![2, 4, 3], vec![1, 5], vec![4, 1]]
        .into_iter()
        .enumerate()
        .map(|(i, shape)| {
            let n = shape.iter().product();
            Tensor::from_vec(fill(i as u64, n, 1.0), shape, dev).requires_grad()
        })
        .collect();
    let mut values = leaves.clone();
    let mut out = Vec::new();
    for step in steps {
        let at = |i: &usize| values[i % values.len()].clone();
        let next = match step {
            Step::Unary(op, a) => unary(*op, &at(a)),
            Step::Binary(op, a, b) => binary(*op, &at(a), &at(b)),
            Step::Scalar(op, a, c) => {
                let c = f64::from(*c) / 64.0;
                if op % 2 == 0 {
                    at(a) * c
                } else {
                    (at(a) + c) * 0.7
                }
            }
            Step::Reduce(op, a, d, keep) => {
                let x = at(a);
                let rank = x.rank().unwrap();
                if rank == 0 {
                    continue;
                }
                let d = [(d % rank) as isize];
                match op % 4 {
                    0 => x.sum_dims(d, *keep) * 0.3,
                    1 => x.mean_dims(d, *keep),
                    2 => x.max_dims(d, *keep),
                    _ => x.min_dims(d, *keep),
                }
            }
            Step::View(op, a, p, q) => {
                let x = at(a);
                let shape = x.shape().unwrap();
                if shape.rank() == 0 {
                    continue;
                }
                let d = p % shape.rank();
                match op % 6 {
                    0 => x.transpose(d as isize, (q % shape.rank()) as isize),
                    1 => x.reshape((-1,)),
                    2 => x.narrow(
                        d as isize,
                        q % shape[d],
                        1 + (q / 7) % (shape[d] - q % shape[d]),
                    ),
                    3 => x.unsqueeze(d as isize),
                    4 if shape.rank() < 4 => {
                        let mut to = vec![1 + q % 3];
                        to.extend_from_slice(&shape);
                        x.expand(to)
                    }
                    _ => x.t().checked().unwrap_or(x),
                }
            }
            Step::MatMul(a, b) => (at(a).matmul(&at(b)) * 0.3).tanh(),
            Step::Cat(a, b, d) => {
                let (a, b) = (at(a), at(b));
                let rank = a.rank().unwrap().max(1);
                Tensor::cat(&[a, b], (d % rank) as isize)
            }
            Step::Softmax(a, d) => {
                let x = at(a);
                let rank = x.rank().unwrap();
                if rank == 0 {
                    continue;
                }
                x.softmax((d % rank) as isize)
            }
            Step::Pick(a, d) => {
                let x = at(a);
                let shape = x.shape().unwrap();
                if shape.rank() == 0 {
                    continue;
                }
                let d = d % shape.rank();
                let index: Vec<i32> = (0..3).map(|i| (i * 2 % shape[d]) as i32).collect();
                x.index_select(d as isize, &Tensor::from_vec(index, 3, dev))
            }
            Step::CrossEntropy(a, op) => {
                let x = at(a);
                let shape = x.shape().unwrap();
                if shape.rank() == 0 {
                    continue;
                }
                cross_entropy(*op, &x, &shape)
            }
            Step::Read(a) => {
                out.push(at(a).to_vec::<f32>().unwrap());
                continue;
            }
        };
        // Operands that do not fit make a failed tensor, on every device alike.
        match next.checked() {
            Ok(t) if t.numel().unwrap() <= 4000 && t.rank().unwrap() <= 5 => values.push(t),
            Ok(_) => {}
            Err(_) => out.push(vec![f32::NAN]),
        }
    }
    let loss: Tensor = values.iter().map(|v| v.sqr().mean()).sum();
    loss.backward().unwrap();
    out.push(vec![loss.item::<f32>().unwrap()]);
    out.extend(values.iter().map(|v| v.to_vec::<f32>().unwrap()));
    out.extend(
        leaves
            .iter()
            .map(|l| l.grad().unwrap().to_vec::<f32>().unwrap()),
    );
    out
}

fn devices() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES.get_or_init(devices::all)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_agree(steps in prop::collection::vec(step(), 1..40)) {
        let mut reference: Option<Vec<Vec<f32>>> = None;
        for dev in devices() {
            let got = run(&steps, dev);
            match &reference {
                None => reference = Some(got),
                Some(want) => {
                    assert_eq!(got.len(), want.len());
                    for (g, w) in got.iter().zip(want) {
                        assert_close(g, w, 1e-3, 1e-4);
                    }
                }
            }
        }
    }
}
