//! Values and derivatives of elementwise operations where they are special: zeros of both signs,
//! infinities, NaN, subnormals, the largest number, ends of ranges. Against PyTorch
//! (`golden/special_values.py`), on every device, fused and unfused.
//!
//! Deliberate differences are listed in [`difference`] and in docs/guide/differences.md.

mod devices;

use std::collections::BTreeMap;

use wgrad::prelude::*;

const TABLE: &str = include_str!("golden/special_values.txt");

/// One operation's lines: per point operands, value, derivatives.
#[derive(Default)]
struct Rows {
    columns: Vec<Vec<f32>>,
}

fn table() -> BTreeMap<&'static str, Rows> {
    let mut table: BTreeMap<&str, Rows> = BTreeMap::new();
    for line in TABLE.lines() {
        let mut words = line.split(' ');
        let rows = table.entry(words.next().unwrap()).or_default();
        let numbers: Vec<f32> = words
            .map(|w| f32::from_bits(u32::from_str_radix(w, 16).unwrap()))
            .collect();
        rows.columns.resize(numbers.len(), Vec::new());
        for (column, number) in rows.columns.iter_mut().zip(numbers) {
            column.push(number);
        }
    }
    table
}

fn apply(op: &str, x: &[Tensor]) -> Tensor {
    let a = &x[0];
    if let Some(b) = x.get(1) {
        return match op {
            "add" => a.add(b),
            "sub" => a.sub(b),
            "mul" => a.mul(b),
            "div" => a.div(b),
            "pow" => a.pow(b),
            "minimum" => a.minimum(b),
            "maximum" => a.maximum(b),
            "eq" => a.eq(b),
            "ne" => a.ne(b),
            "lt" => a.lt(b),
            "le" => a.le(b),
            "gt" => a.gt(b),
            "ge" => a.ge(b),
            other => panic!("{other} is not in this test"),
        };
    }
    match op {
        "neg" => a.neg(),
        "abs" => a.abs(),
        "sign" => a.sign(),
        "recip" => a.recip(),
        "sqr" => a.sqr(),
        "sqrt" => a.sqrt(),
        "rsqrt" => a.rsqrt(),
        "exp" => a.exp(),
        "expm1" => a.expm1(),
        "ln" => a.ln(),
        "log1p" => a.log1p(),
        "sin" => a.sin(),
        "cos" => a.cos(),
        "tan" => a.tan(),
        "tanh" => a.tanh(),
        "sigmoid" => a.sigmoid(),
        "relu" => a.relu(),
        "gelu" => a.gelu(),
        "gelu_tanh" => a.gelu_tanh(),
        "silu" => a.silu(),
        "softplus" => a.softplus(),
        "erf" => a.erf(),
        "floor" => a.floor(),
        "ceil" => a.ceil(),
        "round" => a.round(),
        "nan_to_zero" => a.nan_to_zero(),
        "clamp" => a.clamp(-1.0, 1.0),
        "clamp_min" => a.clamp(0.0, f64::INFINITY),
        "clamp_max" => a.clamp(f64::NEG_INFINITY, 0.0),
        "powf0.5" => a.powf(0.5),
        "powf-0.5" => a.powf(-0.5),
        "mul1e5" => a * 1e5,
        "div1e5" => a / 1e5,
        power => match power.strip_prefix("powi").map(str::parse) {
            Some(Ok(n)) => a.powi(n),
            _ => panic!("{power} is not in this test"),
        },
    }
}

/// What is compared: the value, or the derivative by an operand.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    Value,
    Slope,
}

/// Where wgrad is meant to differ from torch, with the value it gives; `None` for no difference.
fn difference(op: &str, part: Part, x: &[f32]) -> Option<f32> {
    let a = x[0];
    match (op, part) {
        // NaN has no sign.
        ("sign", Part::Value) if a.is_nan() => Some(f32::NAN),
        // The limit, where the formula has infinity times 0.
        ("gelu" | "gelu_tanh", Part::Value) if a == f32::NEG_INFINITY => Some(-0.0),
        // Where the value is NaN, so is the slope.
        ("powf-0.5", Part::Slope) if a == f32::NEG_INFINITY => Some(f32::NAN),
        // Only NaN is replaced; torch's nan_to_num also has the slope 0 at infinities.
        ("nan_to_zero", Part::Slope) if a.is_infinite() => Some(1.0),
        _ => None,
    }
}

/// Whether both are equal, or as near as rounding in another order comes.
fn agrees(got: f32, want: f32, part: Part) -> bool {
    if got.is_nan() || want.is_nan() {
        return got.is_nan() && want.is_nan();
    }
    if got == want {
        // Zeros of values have torch's sign.
        return part == Part::Slope
            || got != 0.0
            || got.is_sign_negative() == want.is_sign_negative();
    }
    let (rtol, atol) = match part {
        Part::Value => (3e-6, 1e-36),
        Part::Slope => (5e-6, 2e-7),
    };
    (got - want).abs() <= rtol * want.abs() + atol
}

#[test]
fn special_values_are_torchs() {
    let mut faults = Vec::new();
    let mut compared = 0;
    for dev in devices::all() {
        for (op, rows) in table() {
            let arity = match (op, rows.columns.len()) {
                // These have no derivative.
                ("eq" | "ne" | "lt" | "le" | "gt" | "ge", _) | (_, 5) => 2,
                _ => 1,
            };
            let (points, results) = rows.columns.split_at(arity);
            let leaf = |x: &Vec<f32>| Tensor::from_slice(x, [x.len()], &dev).requires_grad();
            let leaves: Vec<Tensor> = points.iter().map(leaf).collect();
            let y = apply(op, &leaves);
            let mut got = vec![(Part::Value, y.to_dtype(DType::F32).to_vec::<f32>().unwrap())];
            if results.len() > 1 {
                y.sum().backward().unwrap();
                for leaf in &leaves {
                    got.push((Part::Slope, leaf.grad().unwrap().to_vec::<f32>().unwrap()));
                }
            }
            for (which, ((part, got), want)) in got.iter().zip(results).enumerate() {
                for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
                    let x: Vec<f32> = points.iter().map(|p| p[i]).collect();
                    // A GPU may take subnormal numbers for 0, and give 0 for them.
                    if !dev.is_cpu() && x.iter().chain([&want]).any(|v| v.is_subnormal()) {
                        continue;
                    }
                    compared += 1;
                    let want = difference(op, *part, &x).unwrap_or(want);
                    if !agrees(got, want, *part) {
                        let what = match which {
                            0 => "value".to_string(),
                            n => format!("derivative {n}"),
                        };
                        let fusion = if dev.fusion() { "" } else { ", unfused" };
                        faults.push(format!(
                            "{op}{x:?} {what}: {got} for {want} ({dev}{fusion})"
                        ));
                    }
                }
            }
        }
    }
    assert!(compared > 8000, "{compared} compared");
    assert!(
        faults.is_empty(),
        "{} differ:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// What a driver's compiler knows without running: `x <= x`, and `x - x` of integers. It must not
/// calculate on with that: 0 times NaN is NaN, and each element of a 16-bit type counts.
#[test]
fn a_value_with_itself_is_no_constant() {
    for dev in devices::all() {
        let n = 9;
        let x = Tensor::from_slice(&[-3i32, 0, 7, 1, 2, 9, -1, 4, 5], [n], &dev);
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1.0];
        let special: Vec<f32> = special.into_iter().cycle().take(n).collect();
        let y = Tensor::from_slice(&special, [n], &dev);
        let known: [(&str, Tensor, f32); 8] = [
            ("le", x.le(&x), 1.0),
            ("ge", x.ge(&x), 1.0),
            ("eq", x.eq(&x), 1.0),
            ("lt", x.lt(&x), 0.0),
            ("gt", x.gt(&x), 0.0),
            ("ne", x.ne(&x), 0.0),
            ("sub", x.sub(&x), 0.0),
            ("mul", x.sub(&x).mul(&x), 0.0),
        ];
        for (op, value, expected) in known {
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                let case = format!("{op} as {dtype} on {dev}");
                let c = value.to_dtype(dtype);
                let got = c.to_dtype(DType::F32).to_vec::<f32>().unwrap();
                assert_eq!(got, vec![expected; n], "{case}");
                let z = value.to_dtype(dtype).to_dtype(DType::F32);
                for (what, got, want) in [
                    (
                        "c * y",
                        z.mul(&y),
                        special.iter().map(|y| expected * y).collect(),
                    ),
                    (
                        "c / y",
                        z.div(&y),
                        special.iter().map(|y| expected / y).collect(),
                    ),
                    (
                        "y / c",
                        y.div(&z),
                        special.iter().map(|y| y / expected).collect::<Vec<_>>(),
                    ),
                ] {
                    let got = got.to_vec::<f32>().unwrap();
                    for (got, want) in got.iter().zip(&want) {
                        let same = got == want || got.is_nan() && want.is_nan();
                        assert!(same, "{case}, {what}: {got} for {want}");
                    }
                }
            }
        }
    }
}
