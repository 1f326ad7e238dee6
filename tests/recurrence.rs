//! Recurrent layers: what they are made of, launches and replay, dropout, errors.

mod devices;

use devices::{all, assert_close, cpu, fill, gpu};
use wgrad::autograd::grad;
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
fn steps_are_two_launches_and_replay() {
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
        // A product, whose sum with the input's is its own, and what is elementwise.
        assert_eq!(of(9) - of(8), 2, "{dev}");
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
    check("linear", &cell(x(&[2, 5]), x(&[2, 4]), x(&[2, 4])));
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
