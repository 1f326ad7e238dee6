//! Result types of operations for every type and pair of types, against PyTorch's table
//! (`golden/result_types.py`). Deliberate differences are listed here and in docs/guide/differences.md.

mod devices;

use wgrad::prelude::*;

const TABLE: &str = include_str!("golden/result_types.txt");

fn dtype(name: &str) -> DType {
    let found = DType::ALL.into_iter().find(|d| d.name() == name);
    found.unwrap_or_else(|| panic!("type {name}"))
}

fn unary(op: &str, x: &Tensor) -> Tensor {
    match op {
        "neg" => x.neg(),
        "abs" => x.abs(),
        "sign" => x.sign(),
        "reciprocal" => x.recip(),
        "square" => x.sqr(),
        "sqrt" => x.sqrt(),
        "rsqrt" => x.rsqrt(),
        "exp" => x.exp(),
        "expm1" => x.expm1(),
        "log" => x.ln(),
        "log1p" => x.log1p(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "tanh" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "relu" => x.relu(),
        "erf" => x.erf(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round(),
        "logical_not" => x.logical_not(),
        "sum" => x.sum(),
        "amax" => x.max(),
        "argmax" => x.argmax(0, false),
        "any" => x.any(),
        "all" => x.all(),
        other => panic!("{other} is not in this test"),
    }
}

fn binary(op: &str, x: &Tensor, y: wgrad::Rhs) -> Tensor {
    match op {
        "add" => x.add(y),
        "sub" => x.sub(y),
        "mul" => x.mul(y),
        "div" => x.div(y),
        "pow" => x.pow(y),
        "minimum" => x.minimum(y),
        "maximum" => x.maximum(y),
        "eq" => x.eq(y),
        "lt" => x.lt(y),
        "logical_and" => x.logical_and(y),
        other => panic!("{other} is not in this test"),
    }
}

/// What wgrad gives where torch gives `want`, for operands of the types `operands`.
fn ours<'a>(op: &str, operands: &[&str], want: &'a str) -> &'a str {
    let wide = operands.iter().any(|o| o.trim_end_matches('0') == "i64");
    match (op, want) {
        // i32 is the integer type on every device; only what is i64 already stays it.
        ("argmax", "i64") => "i32",
        (_, "i64") if !wide => "i32",
        // A bool beside a number counts as 0 or 1, and the place of the first true is a place.
        ("sub", "refused") if operands != ["bool", "bool"] && operands != ["bool", "bool0"] => {
            match operands {
                ["bool", "b"] => "refused",
                [a, "bool" | "bool0" | "b"] => {
                    ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8"]
                        .into_iter()
                        .find(|name| name == a)
                        .unwrap_or(want)
                }
                ["bool", "f"] => "f32",
                ["bool", "i"] => "i32",
                ["bool", b] => {
                    let b = b.trim_end_matches('0').to_string();
                    ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "u8"]
                        .into_iter()
                        .find(|name| *name == b)
                        .unwrap_or(want)
                }
                _ => want,
            }
        }
        // A power of bools is refused whatever the exponent.
        ("pow", "bool") => "refused",
        ("argmax", "refused") => "i32",
        // Whether any is, is a truth value of u8 too.
        ("any" | "all", "u8") => "bool",
        _ => want,
    }
}

#[test]
fn result_types_are_torchs() {
    let mut cases = 0;
    for dev in devices::all() {
        let has = |name: &str| dev.limits().unwrap().has(dtype(name));
        for line in TABLE.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [op, operands @ .., want] = &words[..] else {
                panic!("{line}")
            };
            let types = || operands.iter().filter(|o| o.len() > 1);
            if !types().all(|o| has(o.trim_end_matches('0'))) {
                continue;
            }
            let ones = |name: &str| {
                let shape = if name.ends_with('0') { vec![] } else { vec![2] };
                Tensor::ones(shape, (dtype(name.trim_end_matches('0')), &dev))
            };
            let x = ones(operands[0]);
            let y = match operands.get(1) {
                None => unary(op, &x),
                Some(&"f") => binary(op, &x, 1.0.into()),
                Some(&"i") => binary(op, &x, 1.into()),
                Some(&"b") => binary(op, &x, true.into()),
                Some(name) => binary(op, &x, ones(name).into()),
            };
            let got = match y.dtype() {
                Ok(dtype) => dtype.name(),
                Err(_) => "refused",
            };
            assert_eq!(got, ours(op, operands, want), "{line} on {dev}");
            if got != "refused" {
                y.to_dtype(DType::F32)
                    .to_vec::<f32>()
                    .unwrap_or_else(|e| panic!("{line}: {e}"));
            }
            cases += 1;
        }
    }
    assert!(cases > 3000, "{cases} cases");
}

/// Types that torch does not promote, and i64 where a device lacks it.
#[test]
fn unsigned_words_promote_where_there_is_room() {
    for dev in devices::all() {
        let wide = dev.limits().unwrap().has(DType::I64);
        let of = |dtype| Tensor::ones([2], (dtype, &dev));
        let mixed = of(DType::I32) + of(DType::U32);
        match wide {
            true => assert_eq!(mixed.dtype().unwrap(), DType::I64),
            false => {
                let error = mixed.dtype().unwrap_err().to_string();
                assert!(
                    error.starts_with("add: the operands promote to i64, which"),
                    "{error}"
                );
            }
        }
        assert_eq!(
            (of(DType::U8) + of(DType::U32)).dtype().unwrap(),
            DType::U32
        );
        let large = Tensor::from_vec(vec![3_000_000_000u32; 2], [2], &dev);
        match wide {
            true => assert_eq!(large.sum().item::<i64>().unwrap(), 6_000_000_000),
            // It wraps, and the documentation says so.
            false => assert_eq!(large.sum().item::<u32>().unwrap(), 1_705_032_704),
        }
    }
}

/// `result_type` is what a sum has.
#[test]
fn result_types_by_name() {
    let dev = devices::cpu();
    for a in DType::ALL {
        for b in DType::ALL {
            for (rank_a, rank_b) in [(1, 1), (0, 1), (1, 0), (0, 0)] {
                let of = |dtype, rank: usize| Tensor::ones(vec![2; rank], (dtype, &dev));
                let (x, y) = (of(a, rank_a), of(b, rank_b));
                let want = x.add(&y).dtype().unwrap();
                assert_eq!(wgrad::result_type(&x, &y).unwrap(), want, "{a} {b}");
            }
            let category = a.category() <= b.category();
            assert_eq!(a.can_cast(b), category);
        }
        for (number, lowest) in [
            (wgrad::Scalar::Float(1.0), DType::F32),
            (wgrad::Scalar::Integer(1), DType::I32),
        ] {
            let x = Tensor::ones([2], (a, &dev));
            let want = if number.category() > a.category() {
                lowest
            } else {
                a
            };
            assert_eq!(
                wgrad::result_type(&x, number).unwrap(),
                want,
                "{a} {number:?}"
            );
            assert_eq!(
                wgrad::result_type(number, &x).unwrap(),
                want,
                "{a} {number:?}"
            );
        }
    }
    assert_eq!(wgrad::result_type(1, 2.0).unwrap(), DType::F32);
    let failed = Tensor::zeros([2], &dev) + Tensor::zeros([3], &dev);
    assert!(wgrad::result_type(&failed, 1).is_err());
}

/// torch.finfo and torch.iinfo.
#[test]
fn what_types_hold() {
    for (dtype, bits, eps, max, normal) in [
        (DType::F64, 64, f64::EPSILON, f64::MAX, f64::MIN_POSITIVE),
        (
            DType::F32,
            32,
            1.1920928955078125e-07,
            3.4028234663852886e+38,
            1.1754943508222875e-38,
        ),
        (DType::F16, 16, 0.0009765625, 65504.0, 6.103515625e-05),
        (
            DType::BF16,
            16,
            0.0078125,
            3.3895313892515355e+38,
            1.1754943508222875e-38,
        ),
    ] {
        let info = dtype.finfo().unwrap();
        assert_eq!(
            (
                info.bits,
                info.eps,
                info.max,
                info.min,
                info.smallest_normal
            ),
            (bits, eps, max, -max, normal)
        );
        assert!(dtype.iinfo().is_none());
    }
    for (dtype, bits, min, max) in [
        (DType::I64, 64, i64::MIN, i64::MAX),
        (DType::I32, 32, i64::from(i32::MIN), i64::from(i32::MAX)),
        (DType::U32, 32, 0, i64::from(u32::MAX)),
        (DType::U8, 8, 0, 255),
    ] {
        let info = dtype.iinfo().unwrap();
        assert_eq!((info.bits, info.min, info.max), (bits, min, max));
        assert!(dtype.finfo().is_none());
    }
    assert!(DType::Bool.finfo().is_none() && DType::Bool.iinfo().is_none());
}
