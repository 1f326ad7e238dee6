//! Linear layer and cross-entropy by chunks against both as they are.

mod devices;

use devices::{all, assert_close, cpu, fill};
use wgrad::prelude::*;
use wgrad::{CrossEntropyOptions, Reduction};

const N: usize = 13;
const IN: usize = 6;
const CLASSES: usize = 37;

struct Case {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    targets: Tensor,
    options: CrossEntropyOptions,
}

fn case(dev: &Device, kind: usize) -> Case {
    let targets: Vec<i32> = (0..N as i32).map(|i| i * 5 % CLASSES as i32).collect();
    let tensor = |seed, shape: &[usize]| {
        let n = shape.iter().product();
        Tensor::from_vec(fill(seed, n, 1.0), shape, dev)
    };
    Case {
        x: tensor(1, &[N, IN]).requires_grad(),
        weight: tensor(2, &[CLASSES, IN]).requires_grad(),
        bias: (kind & 1 == 0).then(|| tensor(3, &[CLASSES]).requires_grad()),
        targets: Tensor::from_vec(targets, N, dev),
        options: CrossEntropyOptions {
            weight: (kind & 2 == 0).then(|| tensor(4, &[CLASSES]).abs()),
            ignore_index: (kind & 4 == 0).then_some(10),
            reduction: if kind & 8 == 0 {
                Reduction::Mean
            } else {
                Reduction::Sum
            },
            ..Default::default()
        },
    }
}

impl Case {
    /// The loss and all gradients, with the layer in the middle of the graph; by `rows`, or plain.
    fn run(&self, rows: Option<usize>) -> Vec<Vec<f32>> {
        let x = self.x.sin();
        let bias = self.bias.as_ref();
        let options = self.options.clone();
        let loss = match rows {
            Some(rows) => {
                x.linear_cross_entropy_by(rows, &self.weight, bias, &self.targets, options)
            }
            None => x
                .linear(&self.weight, bias)
                .cross_entropy_with(&self.targets, options),
        };
        // The layer's input and weight are used elsewhere as well.
        let all = loss.sqr() * 0.5 + x.sum() + self.weight.sqr().sum();
        all.backward().unwrap();
        let leaves = [&self.x, &self.weight].into_iter().chain(bias);
        let mut out = vec![loss.to_vec::<f32>().unwrap()];
        for leaf in leaves {
            out.push(leaf.grad().unwrap().to_vec().unwrap());
            leaf.zero_grad();
        }
        out
    }
}

#[test]
fn chunks_give_the_numbers_of_the_whole() {
    for dev in all() {
        for kind in 0..16 {
            let case = case(&dev, kind);
            let want = case.run(None);
            for rows in [1, 4, 12, N, 1000] {
                let got = case.run(Some(rows));
                for (g, w) in got.iter().zip(&want) {
                    assert_close(g, w, 2e-5, 2e-6);
                }
            }
        }
    }
}

#[test]
fn gradients_can_be_differentiated_again() {
    for dev in all() {
        for kind in [0, 15] {
            let case = case(&dev, kind);
            let second = |rows: usize| -> Vec<Vec<f32>> {
                let inputs = [&case.x, &case.weight];
                let bias = case.bias.as_ref();
                let options = case.options.clone();
                let loss = case.x.linear_cross_entropy_by(
                    rows,
                    &case.weight,
                    bias,
                    &case.targets,
                    options,
                );
                let options = GradOptions {
                    create_graph: true,
                    ..GradOptions::default()
                };
                let first = autograd::grad(&loss, &inputs, options).unwrap();
                let sum = first.iter().map(|g| g.sqr().sum());
                let sum = sum.reduce(|a, b| a + b).unwrap();
                autograd::grad(&sum, &inputs, GradOptions::default())
                    .unwrap()
                    .into_iter()
                    .map(|g| g.to_vec::<f32>().unwrap())
                    .collect()
            };
            for (g, w) in second(5).iter().zip(&second(N)) {
                assert_close(g, w, 1e-4, 1e-5);
            }
        }
    }
}

#[test]
fn wrong_targets_are_errors() {
    let dev = cpu();
    let case = case(&dev, 1);
    let loss = |targets: &Tensor| {
        let options = CrossEntropyOptions::default();
        case.x
            .linear_cross_entropy_by(4, &case.weight, None, targets, options)
            .item::<f32>()
    };
    let outside = Tensor::from_vec(vec![CLASSES as i32; N], N, &dev);
    assert!(matches!(loss(&outside), Err(Error::IndexOutOfRange { .. })));
    for shape in [N - 1, N + 1] {
        assert!(loss(&Tensor::from_vec(vec![0i32; shape], shape, &dev)).is_err());
    }
    assert!(loss(&Tensor::zeros([N], &dev)).is_err());
    let narrow = Tensor::zeros([CLASSES, IN - 1], &dev);
    let whole = case.x.linear_cross_entropy(&narrow, None, &case.targets);
    assert!(whole.item::<f32>().is_err());
}

#[test]
fn many_classes_take_little_memory() {
    let dev = cpu();
    let (n, inner, classes) = (1024, 4, 40_000);
    let x = Tensor::from_vec(fill(1, n * inner, 1.0), [n, inner], &dev).requires_grad();
    let w = Tensor::from_vec(fill(2, classes * inner, 1.0), [classes, inner], &dev).requires_grad();
    let t = Tensor::from_vec((0..n as i32).map(|i| i * 37).collect::<Vec<_>>(), n, &dev);
    dev.synchronize().unwrap();
    let before = dev.stats().live_bytes;
    let loss = x.linear_cross_entropy(&w, None, &t);
    loss.backward().unwrap();
    let loss = loss.item::<f32>().unwrap();
    let peak = dev.stats().peak_bytes - before;
    let logits = (n * classes * 4) as u64;
    assert!(
        peak < logits / 2,
        "{peak} bytes, the logits alone are {logits}"
    );
    // Against the definition, in f64.
    let (xs, ws) = (fill(1, n * inner, 1.0), fill(2, classes * inner, 1.0));
    let mut want = 0.0;
    for r in 0..n {
        let logit = |c: usize| -> f64 {
            let at = |i| f64::from(xs[r * inner + i]) * f64::from(ws[c * inner + i]);
            (0..inner).map(at).sum()
        };
        let sum: f64 = (0..classes).map(|c| logit(c).exp()).sum();
        want += sum.ln() - logit(r * 37);
    }
    let want = want / n as f64;
    assert!(
        (f64::from(loss) - want).abs() < 1e-4,
        "{loss} but expected {want}"
    );
}

#[test]
fn half_precision_and_odd_operands_are_as_in_the_plain_path() {
    for dev in all() {
        let n = 40;
        let tensor = |seed, shape: [usize; 2], scale| {
            Tensor::from_vec(fill(seed, shape[0] * shape[1], scale), shape, &dev)
        };
        // A loss per row far above what f16 can sum up.
        let x = tensor(1, [n, IN], 60.0)
            .to_dtype(DType::F16)
            .requires_grad();
        let w = tensor(2, [CLASSES, IN], 60.0)
            .to_dtype(DType::F16)
            .requires_grad();
        let bias = Tensor::ones([1], &dev).requires_grad();
        let t = Tensor::from_vec((0..n as i32).map(|i| i % 37).collect::<Vec<_>>(), n, &dev);
        for (bias, graph) in [(None, false), (Some(&bias), false), (None, true)] {
            let run = |rows: usize| {
                let options = CrossEntropyOptions::default();
                let loss = x.linear_cross_entropy_by(rows, &w, bias, &t, options);
                let inputs: Vec<&Tensor> = [&x, &w].into_iter().chain(bias).collect();
                let options = GradOptions {
                    create_graph: graph,
                    ..GradOptions::default()
                };
                let grads = autograd::grad(&loss, &inputs, options).unwrap();
                let mut all = vec![loss];
                all.extend(grads);
                all
            };
            for (got, want) in run(16).iter().zip(&run(n)) {
                assert_eq!(got.dtype().unwrap(), want.dtype().unwrap());
                assert_eq!(got.shape().unwrap(), want.shape().unwrap());
                let numbers = |t: &Tensor| t.to_dtype(DType::F32).to_vec::<f32>().unwrap();
                assert!(numbers(got)[0].is_finite());
                assert_close(&numbers(got), &numbers(want), 4e-3, 1e-2);
            }
        }
    }
}

#[test]
fn more_classes_than_a_chunk_holds() {
    let dev = cpu();
    let classes = (1 << 23) + 5;
    let w = Tensor::from_vec(fill(2, classes, 1.0), [classes, 1], &dev);
    let x = Tensor::from_vec(vec![1.0f32; 5], [5, 1], &dev).requires_grad();
    let t = Tensor::from_vec(vec![7i32, 0, 1, 2, 3], 5, &dev);
    let loss = x.linear_cross_entropy(&w, None, &t);
    loss.backward().unwrap();
    let weights = fill(2, classes, 1.0);
    let sum: f64 = weights.iter().map(|&w| f64::from(w).exp()).sum();
    let picked: f64 = [7, 0, 1, 2, 3]
        .iter()
        .map(|&i: &usize| f64::from(weights[i]))
        .sum();
    let want = sum.ln() - picked / 5.0;
    let loss = f64::from(loss.item::<f32>().unwrap());
    assert!((loss - want).abs() < 1e-3, "{loss} but expected {want}");
    assert_eq!(x.grad().unwrap().dims::<2>().unwrap(), [5, 1]);
}
