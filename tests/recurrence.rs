//! Recurrent layers: what they are made of, launches and replay, dropout, errors.

mod devices;

use devices::{all, assert_close, cpu, fill, gpu};
use wgrad::autograd::{grad, gradcheck, gradgradcheck};
use wgrad::prelude::*;
use wgrad::{CellWeights, RecurrenceOptions};

fn tensor(seed: u64, shape: &[usize], dev: &Device) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_vec(fill(seed, n, 1.0), shape, dev)
}

fn weights(gates: usize, inputs: usize, size: usize, dev: &Device) -> CellWeights {
    let rows = gates * size;
    CellWeights {
        w_ih: tensor(1, &[rows, inputs], dev).requires_grad(),
        w_hh: tensor(2, &[rows, size], dev).requires_grad(),
        b_ih: Some(tensor(3, &[rows], dev).requires_grad()),
        b_hh: Some(tensor(4, &[rows], dev).requires_grad()),
    }
}

#[test]
fn a_layer_is_its_cell_again_and_again() {
    for dev in all() {
        let (x, h) = (tensor(5, &[5, 2, 3], &dev), tensor(6, &[1, 2, 4], &dev));
        let c = tensor(7, &[1, 2, 4], &dev);
        let w = weights(4, 3, 4, &dev);
        let (y, ..) = x.lstm(
            &h,
            &c,
            std::slice::from_ref(&w),
            RecurrenceOptions::default(),
        );
        let (mut state, mut cells) = (h.select(0, 0), c.select(0, 0));
        let mut states = Vec::new();
        for step in 0..5 {
            let (b_ih, b_hh) = (w.b_ih.as_ref(), w.b_hh.as_ref());
            let x = x.select(0, step);
            (state, cells) = x.lstm_cell(&state, &cells, &w.w_ih, &w.w_hh, b_ih, b_hh);
            states.push(state.clone());
        }
        let leaves = [&w.w_ih, &w.w_hh];
        let run = |y: &Tensor| -> Vec<Vec<f32>> {
            let grads = grad(&y.sqr().sum(), &leaves, GradOptions::default()).unwrap();
            std::iter::once(y)
                .chain(&grads)
                .map(|t| t.to_vec().unwrap())
                .collect()
        };
        for (got, want) in run(&y).iter().zip(&run(&Tensor::stack(&states, 0))) {
            assert_close(got, want, 1e-4, 1e-5);
        }
    }
}

/// How many launches `f` takes, when it has run before.
fn launches(dev: &Device, f: &dyn Fn() -> Vec<Tensor>) -> u64 {
    for _ in 0..2 {
        let made = f();
        dev.synchronize().unwrap();
        drop(made);
    }
    let before = dev.stats();
    let made = f();
    dev.synchronize().unwrap();
    let after = dev.stats();
    assert_eq!(after.plan_misses, before.plan_misses, "{dev}: it replays");
    drop(made);
    after.launches - before.launches
}

#[test]
fn sequences_take_few_launches_and_replay() {
    for dev in [Some(cpu()), gpu()].into_iter().flatten() {
        let w = weights(4, 3, 8, &dev);
        let (h, c) = (tensor(6, &[1, 2, 8], &dev), tensor(7, &[1, 2, 8], &dev));
        let of = |steps: usize| {
            let x = tensor(5, &[steps, 2, 3], &dev);
            launches(&dev, &|| {
                let layer = std::slice::from_ref(&w);
                let (y, h, c) = no_grad(|| x.lstm(&h, &c, layer, RecurrenceOptions::default()));
                vec![y, h, c]
            })
        };
        // A step of a GPU: a product, whose sum with the input's is its own, and what is elementwise. On the CPU all
        // steps are one launch.
        let each = if dev.is_cpu() { 0 } else { 2 };
        assert_eq!(of(9) - of(8), each, "{dev}");
        let slopes = |steps: usize| {
            let x = tensor(5, &[steps, 2, 3], &dev);
            launches(&dev, &|| {
                let layer = std::slice::from_ref(&w);
                let (y, ..) = x.lstm(&h, &c, layer, RecurrenceOptions::default());
                let leaves = leaves(layer);
                grad(&y.sqr().sum(), &leaves, GradOptions::default()).unwrap()
            })
        };
        if dev.is_cpu() {
            assert_eq!(slopes(9), slopes(8), "{dev}");
            assert!(slopes(9) <= 14, "{dev}: {}", slopes(9));
        }
        let (h, c, x) = (h.select(0, 0), c.select(0, 0), tensor(5, &[2, 3], &dev));
        let cell = || {
            let (h, c) = no_grad(|| x.lstm_cell(&h, &c, &w.w_ih, &w.w_hh, None, None));
            vec![h, c]
        };
        assert_eq!(launches(&dev, &cell), 3, "{dev}");
        let w = weights(3, 3, 8, &dev);
        let (b_ih, b_hh) = (w.b_ih.as_ref(), w.b_hh.as_ref());
        let cell = || vec![no_grad(|| x.gru_cell(&h, &w.w_ih, &w.w_hh, b_ih, b_hh))];
        assert_eq!(launches(&dev, &cell), 3, "{dev}");
        let w = weights(1, 3, 8, &dev);
        let cell = || {
            vec![no_grad(|| {
                x.rnn_tanh_cell(&h, &w.w_ih, &w.w_hh, None, None)
            })]
        };
        assert_eq!(launches(&dev, &cell), 2, "{dev}");
    }
}

const KINDS: [(&str, usize); 4] = [("rnn_tanh", 1), ("rnn_relu", 1), ("gru", 3), ("lstm", 4)];

/// A layer in both directions: the states of all steps, the last ones, and of an LSTM the last cells.
fn layer(kind: &str, x: &Tensor, state: &[Tensor], w: &[CellWeights]) -> Vec<Tensor> {
    let options = RecurrenceOptions {
        bidirectional: true,
        ..Default::default()
    };
    let pair = |(y, h)| vec![y, h];
    match kind {
        "rnn_tanh" => pair(x.rnn_tanh(&state[0], w, options)),
        "rnn_relu" => pair(x.rnn_relu(&state[0], w, options)),
        "gru" => pair(x.gru(&state[0], w, options)),
        _ => {
            let (y, h, c) = x.lstm(&state[0], &state[1], w, options);
            vec![y, h, c]
        }
    }
}

/// The same, cell by cell.
fn cells(kind: &str, x: &Tensor, state: &[Tensor], w: &[CellWeights]) -> Vec<Tensor> {
    let count = x.shape().unwrap()[0];
    let mut sides = Vec::new();
    let mut last: Vec<Vec<Tensor>> = vec![Vec::new(); state.len()];
    for (direction, w) in w.iter().enumerate() {
        let at = |s: &Tensor| s.select(0, direction as isize);
        let mut state: Vec<Tensor> = state.iter().map(at).collect();
        let (w_ih, w_hh, b_ih, b_hh) = (&w.w_ih, &w.w_hh, w.b_ih.as_ref(), w.b_hh.as_ref());
        let mut made = vec![None; count];
        for i in 0..count {
            let step = if direction == 1 { count - 1 - i } else { i };
            let x = x.select(0, step as isize);
            state = match kind {
                "rnn_tanh" => vec![x.rnn_tanh_cell(&state[0], w_ih, w_hh, b_ih, b_hh)],
                "rnn_relu" => vec![x.rnn_relu_cell(&state[0], w_ih, w_hh, b_ih, b_hh)],
                "gru" => vec![x.gru_cell(&state[0], w_ih, w_hh, b_ih, b_hh)],
                _ => {
                    let (h, c) = x.lstm_cell(&state[0], &state[1], w_ih, w_hh, b_ih, b_hh);
                    vec![h, c]
                }
            };
            made[step] = Some(state[0].clone());
        }
        let made: Vec<Tensor> = made.into_iter().flatten().collect();
        sides.push(Tensor::stack(&made, 0));
        for (last, state) in last.iter_mut().zip(state) {
            last.push(state);
        }
    }
    let last = last.iter().map(|states| Tensor::stack(states, 0));
    std::iter::once(Tensor::cat(&sides, -1))
        .chain(last)
        .collect()
}

/// Operands of [`layer`]: an input that lies otherwise, a state that repeats a row, weights with and without biases.
fn operands(
    (kind, gates): (&str, usize),
    [steps, batch, size]: [usize; 3],
    (dtype, dev): (DType, &Device),
) -> (Vec<Tensor>, Vec<CellWeights>) {
    let make = |seed: u64, shape: &[usize]| tensor(seed, shape, dev).to_dtype(dtype).detach();
    let x = make(11, &[batch, steps, 3]).transpose(0, 1);
    let parts = if kind == "lstm" { 2 } else { 1 };
    let state = (0..parts).map(|i| make(12 + i, &[2, 1, size]).expand([2, batch, size]));
    let inputs: Vec<Tensor> = std::iter::once(x).chain(state).collect();
    let rows = gates * size;
    let scale = 2.0 / (size as f64).sqrt();
    let weights = |seed: u64, biases: [bool; 2]| CellWeights {
        w_ih: make(seed, &[3, rows]).t().requires_grad(),
        w_hh: (make(seed + 1, &[rows, size]) * scale)
            .detach()
            .requires_grad(),
        b_ih: biases[0].then(|| make(seed + 2, &[rows]).requires_grad()),
        b_hh: biases[1].then(|| make(seed + 3, &[rows]).requires_grad()),
    };
    let one = size % 2 == 0;
    (
        inputs,
        vec![weights(20, [true; 2]), weights(30, [one, !one])],
    )
}

fn leaves(w: &[CellWeights]) -> Vec<&Tensor> {
    w.iter()
        .flat_map(|w| {
            [
                Some(&w.w_ih),
                Some(&w.w_hh),
                w.b_ih.as_ref(),
                w.b_hh.as_ref(),
            ]
        })
        .flatten()
        .collect()
}

/// A number that depends on each element of each result in its own way.
fn weighed(results: &[Tensor]) -> Tensor {
    let part = |y: &Tensor| {
        let places = Tensor::arange(y.numel().unwrap(), (DType::F32, y.device()));
        let w = ((places * 0.7).sin() + 1.5).to_dtype(y.dtype().unwrap());
        (y * w.reshape(y.shape().unwrap())).sum()
    };
    results.iter().map(part).reduce(|a, b| a + b).unwrap()
}

#[test]
fn layers_of_odd_sizes_are_their_cells() {
    // More sequences than threads have tiles for, and fewer than threads; more and fewer elements than vectors have.
    let sizes = [
        [1, 1, 1],
        [3, 5, 7],
        [2, 13, 18],
        [3, 2, 33],
        [2, 37, 70],
        [2, 1, 433],
    ];
    for dev in all() {
        let types = [DType::F32, DType::F64, DType::F16, DType::BF16];
        let has = |dtype: &DType| dev.limits().unwrap().dtypes.contains(dtype);
        for dtype in types.into_iter().filter(has) {
            for (kind, sizes) in KINDS.into_iter().flat_map(|k| sizes.map(|s| (k, s))) {
                // What is composed of cells on both sides needs no more than an example.
                let by_kernel = dev.is_cpu() && matches!(dtype, DType::F32 | DType::F64);
                let whole = by_kernel && dev.fusion() && (sizes[1] * sizes[2] < 400 || kind.1 > 1);
                if !whole && sizes != [3, 5, 7] {
                    continue;
                }
                let (inputs, w) = operands(kind, sizes, (dtype, &dev));
                let run = |f: &dyn Fn(&Tensor, &[Tensor]) -> Vec<Tensor>| -> Vec<Vec<f32>> {
                    let inputs: Vec<Tensor> =
                        inputs.iter().map(|x| x.clone().requires_grad()).collect();
                    let results = f(&inputs[0], &inputs[1..]);
                    let wanted: Vec<&Tensor> = inputs.iter().chain(leaves(&w)).collect();
                    let grads = grad(&weighed(&results), &wanted, GradOptions::default()).unwrap();
                    let read = |t: &Tensor| t.to_dtype(DType::F32).to_vec().unwrap();
                    results.iter().chain(&grads).map(read).collect()
                };
                let got = run(&|x, state| layer(kind.0, x, state, &w));
                let want = run(&|x, state| cells(kind.0, x, state, &w));
                let tolerance = match dtype {
                    DType::F16 => 1e-2,
                    DType::BF16 => 8e-2,
                    _ => 2e-5,
                };
                for (got, want) in got.iter().zip(&want) {
                    let scale = want.iter().fold(1f32, |a, v| a.max(v.abs()));
                    assert_close(got, want, 0.0, tolerance * scale);
                }
            }
        }
    }
}

#[test]
fn derivatives_are_those_of_finite_differences() {
    let dev = cpu();
    for kind in KINDS {
        for sizes in [[1, 2, 2], [3, 1, 2]] {
            let (inputs, w) = operands(kind, sizes, (DType::F64, &dev));
            let count = inputs.len();
            let more = [&w[0].w_ih, &w[0].w_hh, w[0].b_hh.as_ref().unwrap()];
            let points = inputs.iter().chain(more);
            let points: Vec<Tensor> = points.map(|x| x.detach().contiguous()).collect();
            let f = |x: &[Tensor]| {
                let first = CellWeights {
                    w_ih: x[count].clone(),
                    w_hh: x[count + 1].clone(),
                    b_ih: None,
                    b_hh: Some(x[count + 2].clone()),
                };
                weighed(&layer(kind.0, &x[0], &x[1..count], &[first, w[1].clone()]))
            };
            gradcheck(f, &points).unwrap_or_else(|error| panic!("{kind:?} {sizes:?}: {error}"));
            gradgradcheck(f, &points).unwrap_or_else(|error| panic!("{kind:?} {sizes:?}: {error}"));
        }
    }
}

#[test]
fn no_sequences_and_ones_that_are_not_numbers() {
    for dev in all() {
        for kind in KINDS {
            // No sequences have states and gradients of zero.
            let (inputs, w) = operands(kind, [3, 0, 4], (DType::F32, &dev));
            let results = layer(kind.0, &inputs[0], &inputs[1..], &w);
            assert_eq!(results[0].shape().unwrap(), [3, 0, 8]);
            assert_eq!(results[1].shape().unwrap(), [2, 0, 4]);
            let grads = grad(&weighed(&results), &leaves(&w), GradOptions::default()).unwrap();
            for (g, w) in grads.iter().zip(leaves(&w)) {
                assert_eq!(g.shape(), w.shape());
                assert!(
                    g.to_vec::<f32>().unwrap().iter().all(|&g| g == 0.0),
                    "{dev}"
                );
            }
            // What is no number, or infinite, stays in its sequence.
            let (inputs, w) = operands(kind, [3, 7, 5], (DType::F32, &dev));
            let plain = layer(kind.0, &inputs[0], &inputs[1..], &w);
            let with = |value: f32| {
                let states = inputs[1..].iter().map(|s| {
                    let before = s.narrow(1, 0, 2);
                    let odd = Tensor::full([2, 1, 5], value, s.device());
                    Tensor::cat(&[before, odd, s.narrow(1, 3, 4)], 1)
                });
                layer(kind.0, &inputs[0], &states.collect::<Vec<_>>(), &w)
            };
            for value in [f32::NAN, f32::INFINITY] {
                let got = with(value);
                for (got, plain) in got.iter().zip(&plain) {
                    for (from, count) in [(0, 2), (3, 4)] {
                        let read = |y: &Tensor| y.narrow(1, from, count).to_vec::<f32>().unwrap();
                        assert_close(&read(got), &read(plain), 1e-6, 1e-6);
                    }
                }
                let own = got[0].narrow(1, 2, 1).to_vec::<f32>().unwrap();
                assert!(
                    !value.is_nan() || own.iter().all(|y| y.is_nan()),
                    "{dev}: {own:?}"
                );
            }
        }
    }
}

#[test]
fn dropout_is_between_layers() {
    let dev = cpu();
    let (x, h) = (tensor(5, &[20, 4, 3], &dev), tensor(6, &[2, 4, 3], &dev));
    let layers = [weights(1, 3, 3, &dev), weights(1, 3, 3, &dev)];
    let with = |dropout: f64| {
        let options = RecurrenceOptions {
            dropout,
            ..Default::default()
        };
        let (y, _) = x.rnn_tanh(&h, &layers, options);
        y.to_vec::<f32>().unwrap()
    };
    assert_eq!(with(0.0), with(0.0));
    assert_ne!(with(0.5), with(0.5));
    // Nothing arrives at the second layer but its biases.
    let alone = Tensor::zeros([20, 4, 3], &dev);
    let (y, _) = alone.rnn_tanh(
        &h.narrow(0, 1, 1),
        &layers[1..],
        RecurrenceOptions::default(),
    );
    assert_close(&with(1.0), &y.to_vec().unwrap(), 1e-6, 1e-6);
}

#[test]
fn wrong_shapes_are_errors_with_their_place() {
    let dev = cpu();
    let x = |shape: &[usize]| Tensor::zeros(shape, &dev);
    let w = weights(4, 3, 4, &dev);
    let check = |name: &str, y: &Tensor| {
        let text = y.to_vec::<f32>().unwrap_err().to_string();
        assert!(
            text.contains(name) && text.contains("recurrence.rs"),
            "{text}"
        );
    };
    let cell =
        |x: Tensor, h: Tensor, c: Tensor| x.lstm_cell(&h, &c, &w.w_ih, &w.w_hh, None, None).0;
    check("lstm_cell", &cell(x(&[2, 3]), x(&[1, 4]), x(&[1, 4])));
    check("lstm_cell", &cell(x(&[2, 3]), x(&[2, 4]), x(&[1, 4])));
    check("lstm_cell", &cell(x(&[2, 3]), x(&[2, 5]), x(&[2, 5])));
    check("lstm_cell", &cell(x(&[2, 5]), x(&[2, 4]), x(&[2, 4])));
    check(
        "gru_cell",
        &x(&[2, 3]).gru_cell(&x(&[2, 4]), &w.w_ih, &w.w_hh, None, None),
    );
    let layer = |x: Tensor, h: Tensor, n: usize| {
        x.lstm(&h, &h, &vec![w.clone(); n], RecurrenceOptions::default())
            .0
    };
    check("lstm", &layer(x(&[5, 2, 3]), x(&[1, 2, 4]), 0));
    check("lstm", &layer(x(&[5, 2, 3]), x(&[1, 2, 4]), 2));
    check("lstm", &layer(x(&[5, 2, 3]), x(&[1, 3, 4]), 1));
    check("lstm", &layer(x(&[0, 2, 3]), x(&[1, 2, 4]), 1));
    check("lstm", &layer(x(&[5]), x(&[1]), 1));
}
