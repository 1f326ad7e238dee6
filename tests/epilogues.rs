//! Elementwise work behind structured operations: where the device fuses it runs in the operation's own kernel, with
//! the numbers that it gives in kernels of its own.

mod devices;

use devices::{all, assert_close, cpu, fill, open_gpu};
use wgrad::prelude::*;
use wgrad::{DType, DeviceOptions, PadMode};

/// An operation, the operands it is run on, and how many kernels that takes.
struct Case {
    name: &'static str,
    operands: fn(&Device) -> Vec<Tensor>,
    run: fn(&[Tensor]) -> Tensor,
    launches: u64,
}

fn floats(seed: u64, shape: &[usize], dev: &Device) -> Tensor {
    Tensor::from_vec(fill(seed, shape.iter().product(), 2.0), shape, dev)
}

fn indices(below: i32, shape: &[usize], dev: &Device) -> Tensor {
    let n: usize = shape.iter().product();
    let of = |i| (i * 7 + i / 3) % below;
    Tensor::from_vec((0..n as i32).map(of).collect::<Vec<i32>>(), shape, dev)
}

/// The gradient of `f` at `x`, which nothing else holds.
fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> Tensor, by: &Tensor) -> Tensor {
    f(x).backward_with(by).unwrap();
    let gradient = x.grad().unwrap();
    x.zero_grad();
    gradient
}

const CASES: &[Case] = &[
    Case {
        name: "gather",
        operands: |dev| vec![floats(1, &[4, 5, 7], dev), indices(4, &[3, 5, 7], dev)],
        run: |o| o[0].gather(0, &o[1]),
        launches: 1,
    },
    Case {
        name: "gather of a transpose",
        operands: |dev| vec![floats(1, &[9, 6], dev), indices(9, &[6, 5], dev)],
        run: |o| o[0].t().gather(1, &o[1]),
        launches: 1,
    },
    Case {
        name: "gather of integers",
        operands: |dev| vec![indices(50, &[11, 3], dev), indices(11, &[7, 3], dev)],
        run: |o| o[0].gather(0, &o[1]),
        launches: 1,
    },
    Case {
        name: "embedding",
        operands: |dev| vec![floats(2, &[11, 7], dev), indices(11, &[3, 5], dev)],
        run: |o| o[0].embedding(&o[1]),
        launches: 1,
    },
    Case {
        name: "large embedding",
        operands: |dev| vec![floats(2, &[50, 129], dev), indices(50, &[301], dev)],
        run: |o| o[0].embedding(&o[1]),
        launches: 1,
    },
    Case {
        name: "embedding of f16",
        operands: |dev| {
            let table = floats(2, &[11, 13], dev).to_dtype(DType::F16);
            vec![table, indices(11, &[9], dev)]
        },
        run: |o| o[0].embedding(&o[1]),
        launches: 1,
    },
    Case {
        name: "cat",
        operands: |dev| {
            let part = |seed, size| floats(seed, &[3, size, 7], dev);
            vec![part(3, 2), part(4, 3), part(5, 1)]
        },
        run: |o| Tensor::cat(o, 1),
        launches: 1,
    },
    Case {
        name: "cat of short and strided parts",
        operands: |dev| vec![floats(3, &[2, 35], dev), floats(4, &[35, 5], dev)],
        run: |o| Tensor::cat(&[o[0].t(), o[1].clone()], 1),
        launches: 1,
    },
    Case {
        name: "large cat",
        operands: |dev| vec![floats(3, &[1, 20_003], dev), floats(4, &[2, 20_003], dev)],
        run: |o| Tensor::cat(o, 0),
        launches: 1,
    },
    Case {
        name: "place",
        operands: |dev| vec![floats(6, &[2, 3, 5], dev)],
        run: |o| o[0].pad(&[1, 2, 2, 0], PadMode::ZERO),
        launches: 1,
    },
    Case {
        name: "place of a row",
        operands: |dev| vec![floats(6, &[5], dev)],
        run: |o| o[0].pad(&[3, 4], PadMode::ZERO),
        launches: 1,
    },
    Case {
        name: "large place",
        operands: |dev| vec![floats(6, &[31, 40, 37], dev)],
        run: |o| o[0].permute([0, 2, 1]).pad(&[1, 1, 1, 2], PadMode::ZERO),
        launches: 1,
    },
    Case {
        name: "place in steps",
        operands: |dev| {
            vec![
                floats(6, &[7, 9], dev).requires_grad(),
                floats(7, &[2, 3], dev),
            ]
        },
        run: |o| {
            gradient(
                &o[0],
                |x| x.slice((s(1..6).step(3), s(2..9).step(3))),
                &o[1],
            )
        },
        launches: 1,
    },
    Case {
        name: "max_pool",
        operands: |dev| vec![floats(8, &[2, 3, 7, 9], dev)],
        run: |o| o[0].max_pool2d([2, 3]),
        launches: 1,
    },
    Case {
        name: "avg_pool",
        operands: |dev| vec![floats(9, &[3, 70, 22, 45], dev)],
        run: |o| o[0].avg_pool2d([2, 3]),
        launches: 1,
    },
    Case {
        // The positions, and the elements that are put there.
        name: "gradient of max_pool",
        operands: |dev| {
            vec![
                floats(8, &[2, 3, 8, 9], dev).requires_grad(),
                floats(7, &[2, 3, 4, 3], dev),
            ]
        },
        run: |o| gradient(&o[0], |x| x.max_pool2d([2, 3]), &o[1]),
        launches: 2,
    },
    Case {
        name: "large gradient of max_pool",
        operands: |dev| {
            let x = floats(8, &[9, 5, 31, 27], dev).requires_grad();
            vec![x, floats(7, &[9, 5, 15, 9], dev)]
        },
        run: |o| gradient(&o[0], |x| x.max_pool2d([2, 3]), &o[1]),
        launches: 2,
    },
    Case {
        name: "one element among many",
        operands: |dev| {
            let x = floats(8, &[100_003], dev).requires_grad();
            vec![x, floats(7, &[1], dev)]
        },
        run: |o| gradient(&o[0], |x| x.narrow(0, 70_001, 1), &o[1]),
        launches: 1,
    },
    Case {
        name: "gradient of unfold",
        operands: |dev| {
            vec![
                floats(8, &[5, 11], dev).requires_grad(),
                floats(7, &[5, 5, 3], dev),
            ]
        },
        run: |o| gradient(&o[0], |x| x.unfold(1, 3, 2), &o[1]),
        launches: 1,
    },
    Case {
        name: "searchsorted",
        operands: |dev| {
            let sorted: Vec<f32> = (0..13).map(|i| i as f32 * 0.3 - 2.0).collect();
            vec![
                Tensor::from_vec(sorted, [1, 13], dev),
                floats(5, &[1, 37], dev),
            ]
        },
        run: |o| o[0].searchsorted(&o[1], false),
        launches: 1,
    },
];

/// What is made of a result: of it alone, of operands that are broadcast or lie in another order, of several types,
/// and of random numbers. `None` where it is not of that.
type Epilogue = (&'static str, fn(&Tensor, &[Tensor]) -> Vec<Tensor>);

const EPILOGUES: &[Epilogue] = &[
    ("a chain", |y, _| vec![(y * 2.0 + 1.0).relu() * 0.5]),
    ("a row", |y, o| vec![y + &o[0]]),
    ("a column, and an operand in another order", |y, o| {
        vec![y * &o[1], y - &o[2], (y + &o[1]) * &o[2]]
    }),
    ("a mask first", |y, _| vec![y.gt(0.5), y.abs()]),
    ("types", |y, o| {
        vec![
            (y + &o[0]).to_dtype(DType::F16),
            y.to_dtype(DType::I32),
            y.to_dtype(DType::U8),
        ]
    }),
    ("also itself", |y, o| vec![y * &o[0], y.clone()]),
    ("noise", |y, _| {
        y.device().seed(5);
        vec![y + Tensor::rand(y.shape().unwrap(), y.device())]
    }),
];

/// Operands over a shape: a row, a column (or one number), and all in another order.
fn beside(shape: &[usize], dev: &Device) -> Vec<Tensor> {
    let last = *shape.last().unwrap();
    let turned: Vec<usize> = shape.iter().rev().copied().collect();
    let order: Vec<isize> = (0..shape.len() as isize).rev().collect();
    vec![
        floats(21, &[last], dev),
        floats(22, &[shape[0], 1, 1, 1][..shape.len()], dev),
        floats(23, &turned, dev).permute(order),
    ]
}

/// Runs a case on a device; its results as floats and how many kernels they took.
fn run(case: &Case, epilogue: &Epilogue, dev: &Device) -> (Vec<(DType, Vec<f32>)>, u64) {
    let operands = (case.operands)(dev);
    let shape = (case.run)(&operands).shape().unwrap();
    let others = beside(shape.dims(), dev);
    dev.synchronize().unwrap();
    let before = dev.stats().launches;
    let results = epilogue.1(&(case.run)(&operands), &others);
    dev.synchronize().unwrap();
    let launches = dev.stats().launches - before;
    let numbers = results.iter().map(|y| {
        let dtype = y.dtype().unwrap();
        (dtype, y.to_dtype(DType::F32).to_vec().unwrap())
    });
    (numbers.collect(), launches)
}

#[track_caller]
fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    println!("{what}"); // shown where this fails
    assert_close(got, want, tolerance, tolerance);
}

#[test]
fn an_epilogue_runs_in_the_operations_kernel() {
    let unfused = DeviceOptions::cpu().fusion(false).open().unwrap();
    for dev in all() {
        let is_fused = dev.fusion();
        for case in CASES {
            for epilogue in EPILOGUES {
                let what = format!("{}, {} on {dev}, fused: {is_fused}", case.name, epilogue.0);
                let (got, launches) = run(case, epilogue, &dev);
                let (want, _) = run(case, epilogue, &unfused);
                assert_eq!(got.len(), want.len(), "{what}");
                for ((dtype, got), (other, want)) in got.iter().zip(&want) {
                    assert_eq!(dtype, other, "{what}");
                    let tolerance = if *dtype == DType::F16 { 1e-3 } else { 1e-5 };
                    close(&what, got, want, tolerance);
                }
                if is_fused {
                    assert_eq!(launches, case.launches, "{what}");
                }
            }
        }
    }
}

#[test]
fn doubles_and_wide_integers_on_the_cpu() {
    for dev in [cpu(), DeviceOptions::cpu().fusion(false).open().unwrap()] {
        let index = Tensor::new([2, 0, 1, 2, 2], &dev);
        let table = Tensor::from_vec(vec![1.5f64, -2.25, 1e300], [3, 1], &dev);
        let y = table.embedding(&index) * 2.0;
        assert_eq!(y.to_vec::<f64>().unwrap(), [2e300, 3.0, -4.5, 2e300, 2e300]);
        let table = Tensor::from_vec(vec![1i64 << 40, -7, 3], [3, 1], &dev);
        let y = table.embedding(&index);
        let results = [&y + 1, y.gt(2).to_dtype(DType::I64)];
        drop(y);
        let [sums, masks] = results.map(|y| y.to_vec::<i64>().unwrap());
        assert_eq!(sums, [4, (1 << 40) + 1, -6, 4, 4]);
        assert_eq!(masks, [1, 1, 0, 1, 1]);
    }
}

#[test]
fn nothing_has_an_epilogue_too() {
    for dev in all() {
        let table = floats(1, &[4, 3], &dev);
        let none = Tensor::from_vec(Vec::<i32>::new(), [0, 2], &dev);
        let y = table.embedding(&none) + floats(2, &[3], &dev);
        assert_eq!(y.shape().unwrap().dims(), [0, 2, 3]);
        assert!(y.to_vec::<f32>().unwrap().is_empty());
        let empty = floats(1, &[0, 3], &dev);
        let y = Tensor::cat(&[empty.clone(), empty.clone()], 0).relu();
        assert!(y.to_vec::<f32>().unwrap().is_empty());
        // Nothing in zeros.
        let y = empty.pad(&[1, 0, 2, 0], PadMode::ZERO) + 1.0;
        assert_eq!(y.to_vec::<f32>().unwrap(), [1.0; 8]);
    }
}

#[test]
fn a_bad_index_is_told_behind_an_epilogue() {
    for dev in all() {
        let table = floats(2, &[5, 2], &dev).requires_grad();
        let rows = table.embedding(&Tensor::new([1, 5, 0], &dev));
        let line = line!() - 1;
        let y = (rows * 2.0).relu() + 1.0;
        match y.to_vec::<f32>().unwrap_err() {
            Error::IndexOutOfRange {
                index, size, place, ..
            } => {
                assert_eq!((index, size, place.line()), (5, 5, line), "{dev}");
            }
            other => panic!("{dev}: {other}"),
        }
        // Told once; the element itself is NaN, which a ReLU passes on.
        let values = y.to_vec::<f32>().unwrap();
        let missing = values.iter().map(|v| v.is_nan());
        assert_eq!(
            missing.collect::<Vec<_>>(),
            [false, false, true, true, false, false],
            "{dev}"
        );
    }
}

/// The gradients of a network in whose middle stand operations with epilogues, by those of its parts.
#[test]
fn gradients_flow_through_epilogues() {
    let gradients = |dev: &Device| {
        let table = floats(1, &[9, 6], dev).requires_grad();
        let shift = floats(2, &[6], dev).requires_grad();
        let index = indices(9, &[2, 4], dev);
        let h = (table.embedding(&index) + &shift).tanh();
        let h = Tensor::cat(&[h.clone(), h.narrow(1, 0, 2) * 0.5], 1).relu();
        let h = h.pad(&[1, 1, 1, 0], PadMode::ZERO) + 0.25;
        let h = (h.unsqueeze(1).avg_pool2d([2, 3]) * &shift.narrow(0, 0, 2)).sigmoid();
        let h = (h.max_pool2d([2, 1]) - 0.5).sqr();
        h.sum().backward().unwrap();
        [table, shift].map(|x| x.grad().unwrap().to_vec::<f32>().unwrap())
    };
    let want = gradients(&DeviceOptions::cpu().fusion(false).open().unwrap());
    assert!(want.iter().flatten().any(|g| g.abs() > 1e-3));
    for dev in all() {
        for (got, want) in gradients(&dev).iter().zip(&want) {
            assert_close(got, want, 1e-4, 1e-5);
        }
    }
}

/// Operations that share a kernel with another of their results, or whose kernel has several launches, take none.
#[test]
fn several_results_keep_kernels_of_their_own() {
    let cpu = DeviceOptions::cpu().fusion(true).open().unwrap();
    for dev in std::iter::once(cpu).chain(open_gpu(DeviceOptions::gpu().fusion(true))) {
        let x = floats(1, &[2, 3, 8, 8], &dev);
        dev.synchronize().unwrap();
        let before = dev.stats().launches;
        let (y, at) = x.max_pool2d_with_indices([2, 2], Default::default());
        let y = y.relu();
        dev.synchronize().unwrap();
        assert_eq!(dev.stats().launches - before, 2);
        let (y, at) = (
            y.to_vec::<f32>().unwrap(),
            at.to_dtype(DType::I32).to_vec::<i32>().unwrap(),
        );
        let x = x.to_vec::<f32>().unwrap();
        for (i, (y, at)) in y.iter().zip(&at).enumerate() {
            let plane = i / 16 * 64;
            assert_eq!(*y, x[plane + *at as usize].max(0.0));
        }
    }
}
