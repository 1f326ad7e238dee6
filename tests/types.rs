//! Every kernel with every element type in every position: it computes what the CPU computes, or is
//! refused when recorded. No shader compiler ever has an opinion.

mod devices;

use devices::{cpu, gpu};
use wgrad::optim::{Adam, AdamOptions, Optimizer, Sgd, SgdOptions};
use wgrad::prelude::*;

/// Small numbers that every type holds: integers from 0 to 13, truth values for bools, and halves
/// for floats.
fn stored(dtype: DType, seed: usize, shape: &[usize], dev: &Device) -> Tensor {
    let n: usize = shape.iter().product();
    let value = |i: usize| ((i * 31 + seed * 17 + 5) % 14) as f32;
    let data: Vec<f32> = (0..n)
        .map(|i| match dtype {
            DType::Bool => f32::from(u8::from(value(i) > 6.0)),
            _ if dtype.is_float() => value(i) * 0.5 - 3.0,
            _ => value(i),
        })
        .collect();
    let x = Tensor::from_vec(data, shape, dev).to_dtype(dtype);
    // As a value from before, not as an operation to fuse with. What fails is found later.
    let _ = dev.synchronize();
    x
}

/// Indices below 4.
fn indices(dtype: DType, n: usize, dev: &Device) -> Tensor {
    let data: Vec<i32> = (0..n).map(|i| (i * 3 % 4) as i32).collect();
    let x = Tensor::from_vec(data, n, dev).to_dtype(dtype);
    let _ = dev.synchronize();
    x
}

type Case = (&'static str, fn([DType; 3], &Device) -> Tensor);

/// Each with one to three element types.
const CASES: &[Case] = &[
    ("stored", |[d, ..], dev| stored(d, 0, &[3, 7], dev)),
    ("cast", |[d, e, _], dev| {
        stored(d, 0, &[3, 7], dev).to_dtype(e)
    }),
    ("add", |[d, e, _], dev| {
        stored(d, 0, &[3, 7], dev) + stored(e, 1, &[3, 7], dev)
    }),
    ("mul", |[d, e, _], dev| {
        stored(d, 0, &[3, 7], dev) * stored(e, 1, &[7], dev)
    }),
    ("sub of a view", |[d, e, _], dev| {
        stored(d, 0, &[7, 3], dev).t() - stored(e, 1, &[3, 1], dev)
    }),
    ("lt", |[d, e, _], dev| {
        stored(d, 0, &[3, 7], dev).lt(stored(e, 1, &[3, 7], dev))
    }),
    ("maximum", |[d, e, _], dev| {
        stored(d, 0, &[3, 7], dev).maximum(stored(e, 1, &[3, 7], dev))
    }),
    ("where", |[d, e, f], dev| {
        let test = stored(f, 2, &[3, 7], dev).to_dtype(DType::Bool);
        test.where_cond(stored(d, 0, &[3, 7], dev), stored(e, 1, &[3, 7], dev))
    }),
    ("sqrt", |[d, ..], dev| {
        stored(d, 0, &[3, 7], dev).abs().sqrt()
    }),
    ("neg", |[d, ..], dev| -stored(d, 0, &[3, 7], dev)),
    ("relu", |[d, ..], dev| stored(d, 0, &[3, 7], dev).relu()),
    ("sum", |[d, ..], dev| stored(d, 0, &[3, 70], dev).sum()),
    ("sum of rows", |[d, e, _], dev| {
        stored(d, 0, &[3, 70], dev).sum_dims([1], false) + stored(e, 1, &[3], dev)
    }),
    ("sum of columns", |[d, e, _], dev| {
        stored(d, 0, &[70, 9], dev).sum_dims([0], false) * stored(e, 1, &[9], dev)
    }),
    ("mean", |[d, ..], dev| {
        stored(d, 0, &[3, 70], dev).mean_dims([1], false)
    }),
    ("max", |[d, ..], dev| stored(d, 0, &[3, 70], dev).max()),
    ("max of rows", |[d, e, _], dev| {
        stored(d, 0, &[5, 70], dev).max_dims([1], false) + stored(e, 1, &[5], dev)
    }),
    ("min of columns", |[d, e, _], dev| {
        stored(d, 0, &[70, 9], dev).min_dims([0], false).to_dtype(e)
    }),
    ("max of many", |[d, ..], dev| {
        stored(d, 0, &[1, 20_000], dev).max_dims([1], true)
    }),
    ("argmax", |[d, ..], dev| {
        stored(d, 0, &[5, 70], dev).argmax(1, false)
    }),
    ("argmin of columns", |[d, e, _], dev| {
        stored(d, 0, &[70, 9], dev).argmin(0, false).to_dtype(e)
    }),
    ("any", |[d, ..], dev| {
        stored(d, 0, &[70, 9], dev).any_dims([0], false)
    }),
    ("all", |[d, e, _], dev| {
        stored(d, 0, &[9, 70], dev).all_dims([1], false).to_dtype(e)
    }),
    ("product", |[d, e, _], dev| {
        stored(d, 0, &[5, 9], dev).matmul(&stored(e, 1, &[9, 6], dev))
    }),
    ("product of a turned matrix", |[d, e, f], dev| {
        stored(d, 0, &[9, 5], dev)
            .t()
            .matmul(&stored(e, 1, &[9, 6], dev))
            + stored(f, 2, &[6], dev)
    }),
    ("product with a vector", |[d, e, _], dev| {
        stored(d, 0, &[5, 90], dev).matmul(&stored(e, 1, &[90], dev))
    }),
    ("product along k", |[d, e, _], dev| {
        stored(d, 0, &[3, 600], dev).matmul(&stored(e, 1, &[5, 600], dev).t())
    }),
    ("batched product", |[d, e, f], dev| {
        let y = stored(d, 0, &[2, 5, 9], dev).matmul(&stored(e, 1, &[2, 9, 6], dev));
        y.to_dtype(f)
    }),
    ("softmax", |[d, ..], dev| {
        stored(d, 0, &[3, 9], dev).softmax(1)
    }),
    ("log_softmax", |[d, e, _], dev| {
        stored(d, 0, &[3, 100], dev).log_softmax(1).to_dtype(e)
    }),
    ("logsumexp", |[d, ..], dev| {
        stored(d, 0, &[3, 9], dev).logsumexp(1, false)
    }),
    ("cross_entropy", |[d, e, f], dev| {
        let options = CrossEntropyOptions {
            reduction: Reduction::None,
            weight: Some(stored(f, 2, &[9], dev)),
            ..CrossEntropyOptions::default()
        };
        stored(d, 0, &[5, 9], dev).cross_entropy_with(&targets(e, dev), options)
    }),
    ("gradient of cross_entropy", |[d, e, _], dev| {
        let x = stored(d, 0, &[5, 9], dev).requires_grad();
        match x.cross_entropy(&targets(e, dev)).backward() {
            Ok(()) => x.grad().expect("a gradient"),
            Err(_) => x.cross_entropy(&targets(e, dev)),
        }
    }),
    ("gather", |[d, e, _], dev| {
        stored(d, 0, &[4, 6], dev).gather(0, &indices(e, 18, dev).reshape([3, 6]))
    }),
    ("index_select", |[d, e, _], dev| {
        stored(d, 0, &[3, 5], dev).index_select(1, &indices(e, 7, dev))
    }),
    ("embedding", |[d, e, _], dev| {
        stored(d, 0, &[4, 5], dev).embedding(&indices(e, 6, dev))
    }),
    ("scatter_add", |[d, e, f], dev| {
        let x = stored(d, 0, &[4, 5], dev).requires_grad();
        let y = x.embedding(&indices(e, 6, dev)) * stored(f, 1, &[6, 5], dev);
        match y.sum().backward() {
            Ok(()) => x.grad().expect("a gradient"),
            Err(_) => y,
        }
    }),
    ("cat", |[d, e, _], dev| {
        Tensor::cat(&[stored(d, 0, &[2, 3], dev), stored(e, 1, &[2, 4], dev)], 1)
    }),
    ("stack", |[d, ..], dev| {
        Tensor::stack(&[stored(d, 0, &[3], dev), stored(d, 1, &[3], dev)], 1)
    }),
    ("place", |[d, ..], dev| {
        let x = stored(d, 0, &[7, 5], dev).requires_grad();
        let y = x.slice((s(1..7).step(2), 1..4));
        match (&y * &y).sum().backward() {
            Ok(()) => x.grad().expect("a gradient"),
            Err(_) => y,
        }
    }),
    ("random", |[d, ..], dev| Tensor::rand([3, 7], (d, dev))),
    ("normal", |[d, ..], dev| Tensor::randn([3, 7], (d, dev))),
    ("randint", |[d, ..], dev| {
        Tensor::randint([3, 7], 0, 9, (d, dev))
    }),
    ("bernoulli", |[d, ..], dev| {
        Tensor::bernoulli([3, 7], 0.5, (d, dev))
    }),
    ("arange", |[d, ..], dev| Tensor::arange(21, (d, dev))),
    ("linspace", |[d, ..], dev| {
        Tensor::linspace(0.0, 10.0, 21, (d, dev))
    }),
    ("eye", |[d, ..], dev| Tensor::eye(5, (d, dev))),
    ("full", |[d, ..], dev| Tensor::full([3, 7], 1, (d, dev))),
];

/// How many types a case looks at.
fn types_of(name: &str) -> usize {
    match name {
        "where"
        | "product of a turned matrix"
        | "batched product"
        | "cross_entropy"
        | "scatter_add" => 3,
        "cast"
        | "add"
        | "mul"
        | "sub of a view"
        | "lt"
        | "maximum"
        | "sum of rows"
        | "sum of columns"
        | "max of rows"
        | "min of columns"
        | "argmin of columns"
        | "all"
        | "product"
        | "product with a vector"
        | "product along k"
        | "log_softmax"
        | "gradient of cross_entropy"
        | "gather"
        | "index_select"
        | "embedding"
        | "cat" => 2,
        _ => 1,
    }
}

/// Type, shape and numbers.
fn outcome(y: &Tensor) -> Result<(DType, Vec<usize>, Vec<f32>)> {
    let (dtype, shape) = (y.dtype()?, y.shape()?.to_vec());
    y.device().synchronize()?;
    let values = match dtype {
        DType::F32 => y.to_vec::<f32>()?,
        _ => y.to_dtype(DType::F32).to_vec::<f32>()?,
    };
    Ok((dtype, shape, values))
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::DType { .. })
}

/// Classes of 5 rows of 9, or their probabilities.
fn targets(dtype: DType, dev: &Device) -> Tensor {
    match dtype.is_float() {
        true => stored(dtype, 1, &[5, 9], dev).softmax(1),
        false => indices(dtype, 5, dev),
    }
}

/// Digits that a type keeps.
fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 2e-6,
    }
}

#[test]
fn every_kernel_takes_every_type_or_refuses_it() {
    let cpu = cpu();
    let Some(gpu) = gpu() else { return };
    let has = gpu.limits().unwrap().dtypes;
    let mut computed = 0;
    for (name, case) in CASES {
        let count = types_of(name);
        // Third types only where the first two are one of each kind: 9 x 9 x 9 kernels take long.
        let first = DType::ALL;
        let second: &[DType] = if count > 1 {
            &DType::ALL
        } else {
            &[DType::F32]
        };
        let some = [DType::F32, DType::BF16, DType::I32, DType::U8, DType::Bool];
        let third: &[DType] = if count > 2 { &some } else { &[DType::F32] };
        for d in first {
            for &e in second {
                for &f in third {
                    if count > 2 && d != e && d != f && e != f {
                        continue;
                    }
                    let types = [d, e, f];
                    let what = format!("{name} of {:?}", &types[..count]);
                    for dev in [&cpu, &gpu] {
                        dev.seed(7);
                    }
                    let want = outcome(&case(types, &cpu));
                    let got = outcome(&case(types, &gpu));
                    match (&want, &got) {
                        (Ok(want), Ok(got)) => {
                            computed += 1;
                            same(want, got, &what);
                        }
                        (Err(a), Err(b)) => {
                            assert!(is_refusal(a), "{what} on the CPU: {a}");
                            assert!(is_refusal(b), "{what} on the GPU: {b}");
                        }
                        (Ok(_), Err(error)) => {
                            // A type that it lacks, given or promoted to.
                            let text = error.to_string();
                            let lacks = DType::ALL.iter().filter(|t| !has.contains(t)).any(|t| {
                                text.contains(&format!("{t} is not available"))
                                    || text.contains(&format!("promote to {t}, which"))
                            });
                            assert!(is_refusal(error) && lacks, "{what}: {error}");
                        }
                        (Err(error), Ok(_)) => panic!("{what} fails on the CPU alone: {error}"),
                    }
                }
            }
        }
    }
    assert!(computed > 1000, "{computed} cases were compared");
}

#[track_caller]
fn same(want: &(DType, Vec<usize>, Vec<f32>), got: &(DType, Vec<usize>, Vec<f32>), what: &str) {
    // A GPU keeps i64 as i32, and sums u32 as they are.
    let narrow = matches!(got.0, DType::I32 | DType::U32);
    assert!(
        want.0 == got.0 || (want.0 == DType::I64 && narrow),
        "{what} is {} but {} on the CPU",
        got.0,
        want.0
    );
    assert_eq!(want.1, got.1, "{what}");
    for (i, (w, g)) in want.2.iter().zip(&got.2).enumerate() {
        let bound = tolerance(want.0) * (1.0 + w.abs());
        let near = w == g || (w.is_nan() && g.is_nan()) || (w - g).abs() <= bound;
        assert!(near, "{what}, element {i}: {g} but {w} on the CPU");
    }
}

#[test]
fn bytes_keep_their_type_and_wrap() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        let x = Tensor::from_vec(vec![250u8, 3, 7, 9, 100, 20], [2, 3], &dev);
        let y = x.matmul(&x.t());
        assert_eq!(y.dtype().unwrap(), DType::U8);
        let dot = |a: [u32; 3], b: [u32; 3]| (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) as u8;
        let (a, b) = ([250, 3, 7], [9, 100, 20]);
        let want = vec![dot(a, a), dot(a, b), dot(b, a), dot(b, b)];
        assert_eq!(y.to_vec::<u8>().unwrap(), want, "{dev}");
        for (name, extreme, want) in [("max", x.max(), 250u8), ("min", x.min(), 3)] {
            assert_eq!(extreme.dtype().unwrap(), DType::U8, "{name}");
            assert_eq!(extreme.item::<u8>().unwrap(), want, "{name} on {dev}");
        }
        let columns = x.max_dims([0], false).to_vec::<u8>().unwrap();
        assert_eq!(columns, [250, 100, 20], "{dev}");
    }
}

#[test]
fn optimizers_take_what_they_can_update() {
    for dev in std::iter::once(cpu()).chain(gpu()) {
        for dtype in DType::ALL {
            for which in ["adam", "sgd"] {
                let w = stored(dtype, 0, &[3, 7], &dev).requires_grad();
                let before = outcome(&w);
                let stepped = (&w * &w).sum().backward().and_then(|()| match which {
                    "adam" => Adam::new(vec![w.clone()], AdamOptions::default()).step(),
                    _ => Sgd::new(vec![w.clone()], SgdOptions::default()).step(),
                });
                let what = format!("{which} of {dtype} on {dev}");
                match stepped {
                    Ok(()) => assert_ne!(outcome(&w), before, "{what} changes nothing"),
                    Err(Error::Grad { .. }) => assert!(!dtype.is_float(), "{what}"),
                    Err(error) => assert!(is_refusal(&error), "{what}: {error}"),
                }
            }
        }
    }
}
