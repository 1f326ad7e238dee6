//! Elementwise kernels: every row, every type, every layout.

mod harness;
#[path = "../../cpu-backend/tests/harness/special.rs"]
mod special;

use harness::*;
use wgrad_core::*;

/// A row in f64.
fn reference(op: MapOp, x: &[f64]) -> f64 {
    let a = x[0];
    let b = x.get(1).copied().unwrap_or(0.0);
    let nan = a.is_nan() || b.is_nan();
    let sigmoid = |x: f64| {
        if x < 0.0 {
            x.exp() / (1.0 + x.exp())
        } else {
            1.0 / (1.0 + (-x).exp())
        }
    };
    match op.name() {
        "neg" => -a,
        "abs" => a.abs(),
        "sign" if a == 0.0 || a.is_nan() => a,
        "sign" => a.signum(),
        "recip" => 1.0 / a,
        "sqr" => a * a,
        "sqrt" => a.sqrt(),
        "rsqrt" => 1.0 / a.sqrt(),
        "exp" => a.exp(),
        "expm1" => a.exp_m1(),
        "ln" => a.ln(),
        "log1p" => a.ln_1p(),
        "sin" => a.sin(),
        "cos" => a.cos(),
        "tan" => a.tan(),
        "tanh" => a.tanh(),
        "sigmoid" => sigmoid(a),
        "relu" if a.is_nan() => a,
        "relu" => a.max(0.0),
        // The limit, where the formula has infinity times 0.
        "gelu" | "gelu_tanh" if a == f64::NEG_INFINITY => -0.0,
        "gelu" => 0.5 * a * (1.0 + erf(a / 2f64.sqrt())),
        "gelu_tanh" => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a * a * a);
            a * sigmoid(2.0 * u)
        }
        "silu" => a * sigmoid(a),
        "softplus" if a > 40.0 => a,
        "softplus" => a.exp().ln_1p(),
        "erf" => erf(a),
        "floor" => a.floor(),
        "ceil" => a.ceil(),
        "round" => a.round_ties_even(),
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "pow" => a.powf(b),
        "minimum" | "maximum" if nan => f64::NAN,
        "minimum" => a.min(b),
        "maximum" => a.max(b),
        "eq" => f64::from(a == b),
        "ne" => f64::from(a != b),
        "lt" => f64::from(a < b),
        "le" => f64::from(a <= b),
        "gt" => f64::from(a > b),
        "ge" => f64::from(a >= b),
        "logical_and" => f64::from(a != 0.0 && b != 0.0),
        "logical_or" => f64::from(a != 0.0 || b != 0.0),
        "logical_xor" => f64::from((a != 0.0) != (b != 0.0)),
        other => {
            special::reference(other, a, b).unwrap_or_else(|| panic!("no reference for {other}"))
        }
    }
}

const LOGIC: [&str; 3] = ["logical_and", "logical_or", "logical_xor"];
const COMPARE: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];

fn arity(op: MapOp) -> usize {
    if op.wgsl().is_some_and(|w| w.contains("$1")) {
        2
    } else {
        1
    }
}

fn float_operands(op: MapOp) -> Vec<Vec<f64>> {
    let (lo, hi) = op.domain().unwrap_or((-3.0, 3.0));
    let mut rng = Rng(1);
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        1.5,
        2.5,
        -2.5,
        1e-6,
        -1e-6,
        1e-30,
        -1e-30,
        20.0,
        -20.0,
        87.0,
        -87.0,
        88.5,
        100.0,
        -100.0,
        1e4,
        -1e4,
        12345.678,
        1e6,
        3.3e7,
        1e20,
        -1e20,
        3e38,
        -3e38,
        3.0,
        -3.0,
        2.0,
        -2.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let mut first: Vec<f64> = (0..500).map(|_| rng.range(lo, hi)).collect();
    if arity(op) == 1 {
        first.extend((0..300).map(|_| rng.range(-12.0, 12.0)));
        first.extend((0..300).map(|_| rng.range(-1e4, 1e4)));
        first.extend(special);
        return vec![stored(DType::F32, &first)];
    }
    let mut second: Vec<f64> = (0..500).map(|_| rng.range(lo, hi)).collect();
    first.extend((0..300).map(|_| rng.range(0.0, 20.0)));
    second.extend((0..300).map(|_| rng.range(-20.0, 20.0)));
    for a in special {
        for b in special {
            first.push(a);
            second.push(b);
        }
    }
    vec![stored(DType::F32, &first), stored(DType::F32, &second)]
}

fn run_single(
    gpu: &std::sync::Arc<wgrad_wgpu_backend::WgpuBackend>,
    op: MapOp,
    from: DType,
    to: DType,
    operands: &[Vec<f64>],
) -> Vec<f64> {
    let n = operands[0].len();
    let mut t = Trial::new(gpu);
    let inputs = operands.iter().map(|v| t.dense(from, v, &[n])).collect();
    let y = t.output(to, n);
    t.launch(
        Kernel::Map {
            shape: [n].into(),
            inputs,
            program: single(op, operands.len(), from, to),
            outputs: vec![y],
        },
        &[],
    );
    t.run();
    t.read(y, n)
}

#[test]
fn rows_of_floats() {
    for gpu in gpus() {
        for &op in MapOp::ROWS {
            if LOGIC.contains(&op.name()) || op.takes_integers() {
                continue;
            }
            let to = if COMPARE.contains(&op.name()) {
                DType::Bool
            } else {
                DType::F32
            };
            let operands = float_operands(op);
            let got = run_single(&gpu, op, DType::F32, to, &operands);
            for (i, &g) in got.iter().enumerate() {
                let x: Vec<f64> = operands.iter().map(|o| o[i]).collect();
                let exact = reference(op, &x);
                let w = f64::from(exact as f32);
                // A few units in the last place; a subnormal may be flushed.
                let (relative, absolute) = match op.name() {
                    "sin" | "cos" => (2e-7, 2.5e-7),
                    "tan" => (1e-6, 1e-6),
                    "gelu" | "gelu_tanh" => (6e-7, 3e-7 * x[0].abs()),
                    // Where they pass 0 their parts cancel.
                    "lgamma" | "digamma" => (8e-7, 8e-7 * (1.0 + x[0].abs().ln().abs())),
                    "sinc" => (5e-7, 1e-7),
                    "erfc" => (1.2e-6, 0.0),
                    // Terms of both signs.
                    "zeta" if x[1] < 0.0 => {
                        let nearest = (x[1] - x[1].round()).abs();
                        (1.2e-6, 1e-6 * nearest.powf(-x[0]).min(1e38))
                    }
                    "zeta" => (1.2e-6, 0.0),
                    "remainder" => (5e-7, 1e-7 * x[1].abs()),
                    "logaddexp" | "logaddexp2" => (5e-7, 2e-7),
                    _ => (5e-7, 0.0),
                };
                let equal = g == w || (g.is_nan() && w.is_nan());
                let near = (g - exact).abs() <= relative * exact.abs() + absolute + 1.2e-38;
                let edge =
                    w.is_infinite() && g.abs() > 3.4e38 || g.is_infinite() && exact.abs() > 3.4e38;
                assert!(
                    equal || near || edge,
                    "{}{x:?} is {g:e}, not {w:e}",
                    op.name()
                );
            }
        }
    }
}

#[test]
fn rows_of_integers_and_bools() {
    let mut rng = Rng(3);
    for gpu in gpus() {
        for &op in MapOp::ROWS {
            let name = op.name();
            let number = [
                "neg",
                "abs",
                "sign",
                "sqr",
                "relu",
                "floor",
                "ceil",
                "round",
                "add",
                "sub",
                "mul",
                "minimum",
                "maximum",
                "trunc",
                "fmod",
                "remainder",
                "floor_divide",
                "div_trunc",
                "bitwise_and",
                "bitwise_or",
                "bitwise_xor",
                "gcd",
            ];
            let types: &[DType] = if LOGIC.contains(&name) {
                &[DType::Bool]
            } else if number.contains(&name) || COMPARE.contains(&name) {
                &[DType::I32, DType::U32, DType::I16, DType::I8, DType::U8]
            } else {
                continue;
            };
            for &from in types {
                let to = if COMPARE.contains(&name) {
                    DType::Bool
                } else {
                    from
                };
                let mut operands: Vec<Vec<f64>> =
                    (0..arity(op)).map(|_| rng.values(from, 101)).collect();
                for o in &mut operands {
                    if from != DType::Bool {
                        o.push(if from == DType::I8 { -128.0 } else { 200.0 });
                        o.push(if from == DType::I8 { 127.0 } else { 255.0 });
                    }
                    if from == DType::I16 {
                        o.extend([32767.0, -32768.0, 256.0]);
                    }
                    if from == DType::I32 {
                        o.extend([2147483647.0, -2147483648.0, 65536.0]);
                    }
                }
                let got = run_single(&gpu, op, from, to, &operands);
                let want: Vec<f64> = (0..operands[0].len())
                    .map(|i| {
                        let x: Vec<f64> = operands.iter().map(|o| o[i]).collect();
                        // Products of i32 do not fit an f64.
                        let product =
                            |b: f64| f64::from((x[0] as i64).wrapping_mul(b as i64) as u32);
                        let exact = match name {
                            "sqr" => product(x[0]),
                            "mul" => product(x[1]),
                            _ => {
                                let second = x.get(1).copied().unwrap_or(0.0);
                                special::integers(name, x[0] as i64, second as i64)
                                    .map_or_else(|| reference(op, &x), |y| y as f64)
                            }
                        };
                        match to {
                            DType::I32 => f64::from(exact as i64 as i32),
                            DType::U32 => f64::from(exact as i64 as u32),
                            DType::I16 => f64::from(exact as i64 as i16),
                            DType::I8 => f64::from(exact as i64 as i8),
                            DType::U8 => f64::from(exact as i64 as u8),
                            _ => exact,
                        }
                    })
                    .collect();
                close(&got, &want, 0.0, 0.0, &format!("{name} {from}"));
            }
        }
    }
}

#[test]
fn casts_between_all_types() {
    let types = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I32,
        DType::U32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
    ];
    let floats = [
        0.0,
        -0.0,
        0.4,
        -0.4,
        0.5,
        1.5,
        2.5,
        -1.0,
        255.0,
        256.0,
        65504.0,
        65519.9,
        65520.0,
        70000.0,
        1e-8,
        3e-8,
        6e-8,
        6.1e-5,
        5.97e-5,
        1.0009765625,
        1.00048828125,
        1.00146484375,
        3e9,
        -3e9,
        5e9,
        1e20,
        -1e20,
        1e38,
        3.3895e38,
        0.1,
        -0.3,
        1e-20,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let integers = [
        0.0,
        1.0,
        2.0,
        100.0,
        255.0,
        256.0,
        300.0,
        65537.0,
        16777217.0,
        2147483647.0,
        -1.0,
        -128.0,
        -2147483648.0,
        4294967295.0,
        3000000000.0,
    ];
    for gpu in gpus() {
        for from in types {
            for to in types {
                let raw: &[f64] = if from.is_float() { &floats } else { &integers };
                let x = stored(from, raw);
                let got = run_single(&gpu, MapOp::Cast, from, to, std::slice::from_ref(&x));
                let want: Vec<f64> = x
                    .iter()
                    .map(|&v| match to {
                        DType::Bool => f64::from(v != 0.0),
                        DType::I32 if !from.is_float() => f64::from(v as i64 as i32),
                        DType::U32 if !from.is_float() => f64::from(v as i64 as u32),
                        DType::I16 if !from.is_float() => f64::from(v as i64 as i16),
                        DType::I8 if !from.is_float() => f64::from(v as i64 as i8),
                        DType::U8 if !from.is_float() => f64::from(v as i64 as u8),
                        _ => stored(to, &[v])[0],
                    })
                    .collect();
                close(&got, &want, 0.0, 0.0, &format!("{from} to {to}"));
            }
        }
    }
}

#[test]
fn layouts_of_all_kinds() {
    let mut rng = Rng(7);
    let shapes: &[&[usize]] = &[
        &[],
        &[1],
        &[3],
        &[4],
        &[5],
        &[64],
        &[257],
        &[3, 5],
        &[4, 8],
        &[7, 12],
        &[12, 7],
        &[2, 3, 4],
        &[5, 1, 8],
        &[3, 5, 7],
        &[2, 3, 4, 5],
        &[1, 1, 6],
        &[0],
        &[3, 0, 4],
        &[33, 36],
        &[2, 2, 2, 2, 4],
    ];
    let types = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::I32,
        DType::I16,
        DType::I8,
        DType::U8,
        DType::Bool,
        DType::U32,
    ];
    for gpu in gpus() {
        for round in 0..12 {
            for shape in shapes {
                let n: usize = shape.iter().product();
                let mut t = Trial::new(&gpu);
                let mut program = Program::default();
                let mut inputs = Vec::new();
                let mut wants = Vec::new();
                let mut outputs = Vec::new();
                for i in 0..3 {
                    let dtype = types[(round + i * 3) % types.len()];
                    let (layout, len) = rng.layout(shape);
                    let values = stored(dtype, &rng.values(dtype, len));
                    wants.push(view(&values, &layout));
                    inputs.push(t.operand(dtype, &values, layout));
                    program.inputs.push(dtype);
                    program.outputs.push((Arg::Input(i as u16), dtype));
                    outputs.push(t.output(dtype, n));
                }
                t.launch(
                    Kernel::Map {
                        shape: (*shape).into(),
                        inputs: inputs.clone(),
                        program,
                        outputs: outputs.clone(),
                    },
                    &[],
                );
                t.run();
                for (i, want) in wants.iter().enumerate() {
                    let got = t.read(outputs[i], n);
                    close(&got, want, 0.0, 0.0, &format!("{shape:?} {:?}", inputs[i]));
                }
            }
        }
    }
}

#[test]
fn several_outputs_scalars_and_in_place() {
    for gpu in gpus() {
        let n = 37;
        let x: Vec<f64> = (0..n).map(|i| i as f64 - 10.0).collect();
        let mut t = Trial::new(&gpu);
        let a = t.dense(DType::F32, &x, &[n]);
        let y = t.output(DType::Bool, n);
        let in_place = Output {
            buffer: a.buffer,
            dtype: DType::F32,
        };
        let instr = |op, dtype, args: &[Arg]| Instr {
            op,
            dtype,
            args: args.iter().copied().collect(),
        };
        let program = Program {
            inputs: vec![DType::F32],
            scalars: vec![DType::F32, DType::Bool, DType::F32],
            instrs: vec![
                instr(MapOp::Mul, DType::F32, &[Arg::Input(0), Arg::Scalar(0)]),
                instr(MapOp::Gt, DType::Bool, &[Arg::Instr(0), Arg::Scalar(2)]),
                instr(MapOp::Xor, DType::Bool, &[Arg::Instr(1), Arg::Scalar(1)]),
                instr(
                    MapOp::Where,
                    DType::F32,
                    &[Arg::Instr(1), Arg::Instr(0), Arg::Scalar(2)],
                ),
                instr(
                    MapOp::Clamp,
                    DType::F32,
                    &[Arg::Instr(3), Arg::Scalar(2), Arg::Input(0)],
                ),
            ],
            outputs: vec![(Arg::Instr(2), DType::Bool), (Arg::Instr(4), DType::F32)],
            ..Program::default()
        };
        t.launch(
            Kernel::Map {
                shape: [n].into(),
                inputs: vec![a],
                program,
                outputs: vec![y, in_place],
            },
            &[
                ScalarBits::float(2.0),
                ScalarBits::integer(1),
                ScalarBits::float(3.0),
            ],
        );
        t.run();
        let bools: Vec<f64> = x.iter().map(|v| f64::from(v * 2.0 <= 3.0)).collect();
        close(&t.read(y, n), &bools, 0.0, 0.0, "xor");
        let floats: Vec<f64> = x
            .iter()
            .map(|v| if v * 2.0 > 3.0 { v * 2.0 } else { 3.0 }.max(3.0).min(*v))
            .collect();
        close(&t.read(in_place, n), &floats, 0.0, 0.0, "clamp in place");
    }
}

#[test]
fn more_groups_than_one_dimension_holds() {
    let Some(gpu) = gpus().into_iter().next() else {
        return;
    };
    let n = 65_535 * 256 + 4 * 64 * 3 + 5;
    let mut t = Trial::new(&gpu);
    let y = t.output(DType::I32, n);
    let program = Program {
        instrs: vec![Instr {
            op: MapOp::Index,
            dtype: DType::I32,
            args: Default::default(),
        }],
        outputs: vec![(Arg::Instr(0), DType::I32)],
        ..Program::default()
    };
    t.launch(
        Kernel::Map {
            shape: [n].into(),
            inputs: vec![],
            program,
            outputs: vec![y],
        },
        &[],
    );
    t.run();
    let buffer = t.bindings[y.buffer].buffer.clone();
    let back = pollster::block_on(gpu.read(Some(&buffer), 0, n * 4)).unwrap();
    for (i, word) in back.bytes.chunks_exact(4).enumerate() {
        assert_eq!(i32::from_le_bytes(word.try_into().unwrap()), i as i32);
    }
}
