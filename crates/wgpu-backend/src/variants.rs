//! Representative kernels of every kind, for checks by other shader compilers.

use wgrad_core::{
    Accumulator, Arg, BufferSpec, Control, DType, Epilogue, Formula, Instr, Kernel, Launch, Layout,
    MapOp, Number, Operand, Output, Plan, Program, ReduceOp, Result, Rows, Shape, Spec, UpdateRule,
    ops::{self, Example},
};

use crate::device::Gpu;
use crate::executable::generate;

/// A plan with a buffer for each operand.
#[derive(Default)]
struct Draft {
    plan: Plan,
}

impl Draft {
    fn buffer(&mut self) -> usize {
        let allocation = self.plan.buffers.len();
        self.plan.buffers.push(BufferSpec {
            bytes: 1 << 20,
            allocation,
        });
        allocation
    }

    fn operand(&mut self, dtype: DType, layout: Layout) -> Operand {
        Operand {
            buffer: self.buffer(),
            dtype,
            layout,
        }
    }

    fn dense(&mut self, dtype: DType, shape: &[usize]) -> Operand {
        self.operand(dtype, Layout::contiguous(shape.into()))
    }

    fn output(&mut self, dtype: DType) -> Output {
        Output {
            buffer: self.buffer(),
            dtype,
        }
    }

    fn launch(&mut self, kernel: Kernel) {
        self.plan.launches.push(Launch {
            kernel,
            scalars: 0..0,
            fault: None,
        });
    }

    /// A map of one instruction over views of one layout.
    fn map(&mut self, op: MapOp, from: DType, to: DType, layout: &Layout) {
        let arity = match op {
            MapOp::Where | MapOp::Clamp => 3,
            MapOp::Index => 0,
            MapOp::RandomBits | MapOp::Uniform | MapOp::Normal => 4,
            _ if op.wgsl().is_some_and(|w| w.contains("$1")) => 2,
            _ => 1,
        };
        let positional = op.is_positional();
        let inputs = if positional { 0 } else { arity };
        let kind = |i: usize| {
            if op == MapOp::Where && i == 0 {
                DType::Bool
            } else {
                from
            }
        };
        let program = Program {
            inputs: (0..inputs).map(kind).collect(),
            scalars: vec![DType::U32; arity - inputs],
            instrs: vec![Instr {
                op,
                dtype: to,
                args: (0..arity as u16)
                    .map(|i| {
                        if positional {
                            Arg::Scalar(i)
                        } else {
                            Arg::Input(i)
                        }
                    })
                    .collect(),
            }],
            outputs: vec![(Arg::Instr(0), to)],
            ..Program::default()
        };
        let inputs = (0..inputs)
            .map(|i| self.operand(kind(i), layout.clone()))
            .collect();
        let outputs = vec![self.output(to)];
        self.launch(Kernel::Map {
            shape: layout.shape.clone(),
            inputs,
            program,
            outputs,
        });
    }

    fn maps(&mut self) {
        let plain = Layout::contiguous([60].into());
        let strided = Layout::contiguous([12, 7].into()).permute(&[1, 0]);
        for &op in MapOp::ROWS {
            let compares = matches!(
                op,
                MapOp::Eq | MapOp::Ne | MapOp::Lt | MapOp::Le | MapOp::Gt | MapOp::Ge
            );
            let logic = matches!(op, MapOp::And | MapOp::Or | MapOp::Xor);
            let from = match op {
                _ if logic => DType::Bool,
                _ if op.takes_integers() => DType::I32,
                _ => DType::F32,
            };
            let to = if compares { DType::Bool } else { from };
            self.map(op, from, to, &plain);
            if compares {
                self.map(op, DType::I32, to, &plain);
                self.map(op, DType::U8, to, &plain);
            }
        }
        for op in [
            MapOp::Neg,
            MapOp::Abs,
            MapOp::Sign,
            MapOp::Relu,
            MapOp::Mul,
            MapOp::Maximum,
            MapOp::Trunc,
            MapOp::Fmod,
            MapOp::Remainder,
            MapOp::FloorDivide,
            MapOp::DivTrunc,
            MapOp::BitXor,
            MapOp::ShiftLeft,
            MapOp::ShiftRight,
            MapOp::Gcd,
        ] {
            for dtype in [DType::I32, DType::U32, DType::I16, DType::I8, DType::U8] {
                self.map(op, dtype, dtype, &strided);
            }
        }
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
        for from in types {
            for to in types {
                self.map(MapOp::Cast, from, to, &plain);
            }
            self.map(MapOp::Cast, from, from, &strided);
        }
        for (op, dtype) in [
            (MapOp::Where, DType::F32),
            (MapOp::Clamp, DType::F32),
            (MapOp::NanToZero, DType::F32),
            (MapOp::Not, DType::Bool),
            (MapOp::Index, DType::I32),
            (MapOp::RandomBits, DType::U32),
            (MapOp::Uniform, DType::F32),
            (MapOp::Normal, DType::F32),
        ] {
            self.map(op, dtype, dtype, &plain);
        }
    }

    fn reductions(&mut self) {
        let layouts = [
            Layout::contiguous([40, 20].into()),
            Layout::contiguous([40, 2000].into()),
            Layout::contiguous([1, 200_000].into()),
            Layout::contiguous([5000, 40].into()).permute(&[1, 0]),
            Layout::contiguous([7, 9].into()).permute(&[1, 0]),
        ];
        for layout in layouts {
            for (op, dtype) in [
                (ReduceOp::Sum, DType::F32),
                (ReduceOp::Product, DType::F32),
                (ReduceOp::Product, DType::I32),
                (ReduceOp::Max, DType::F32),
                (ReduceOp::ArgMin, DType::F32),
                (ReduceOp::ArgMax, DType::I32),
                (ReduceOp::Any, DType::Bool),
                (ReduceOp::All, DType::Bool),
            ] {
                let accumulator = Accumulator { op, dtype };
                let input = self.operand(dtype, layout.clone());
                let output = self.output(accumulator.result());
                self.launch(Kernel::Reduce {
                    shape: layout.shape.clone(),
                    reduced: 1,
                    inputs: vec![input],
                    prologue: Program {
                        inputs: vec![dtype],
                        outputs: vec![(Arg::Input(0), dtype)],
                        ..Program::default()
                    },
                    accumulators: vec![accumulator],
                    epilogue_inputs: vec![],
                    epilogue: result_of(accumulator.result()),
                    outputs: vec![output],
                });
            }
        }
    }

    fn products(&mut self) {
        for [m, n, k] in [
            [64usize, 64, 64],
            [37, 41, 33],
            [1, 64, 512],
            [2, 3, 1000],
            [256, 256, 64],
            // Deep: sums of sums.
            [8, 8, 40_000],
            [1024, 1024, 4096],
            [1024, 1024, 20_000],
        ] {
            for turned in [[false, false], [false, true], [true, false]] {
                let lay = |rows: usize, columns: usize, turned: bool| {
                    if turned {
                        Layout::contiguous([columns, rows].into()).permute(&[1, 0])
                    } else {
                        Layout::contiguous([rows, columns].into())
                    }
                };
                for dtype in [DType::F32, DType::F16] {
                    let a = self.operand(dtype, lay(m, k, turned[0]));
                    let b = self.operand(dtype, lay(k, n, turned[1]));
                    let output = self.output(DType::F32);
                    self.launch(Kernel::MatMul {
                        batch: ().into(),
                        m: m.into(),
                        n: n.into(),
                        k: k.into(),
                        a,
                        b,
                        epilogue_inputs: vec![],
                        epilogue: result_of(DType::F32),
                        outputs: vec![output],
                        sums: None,
                    });
                }
            }
        }
    }

    /// Convolutions of 3 x 3, and the gradients of their weights and inputs.
    fn convolutions(&mut self) {
        let (n, c, o) = (2usize, 32usize, 64usize);
        for side in [14usize, 28] {
            let dense = |dims: &[usize]| Layout::contiguous(Shape::new(dims));
            // The windows `[n, c, oh, ow, kh, kw]` of a padded picture; backwards, those of a gradient.
            let windows = |channels: usize, backwards: bool| {
                let base = dense(&[n, channels, side + 2, side + 2]);
                let [s0, s1, s2, s3] = [0, 1, 2, 3].map(|d| base.strides[d]);
                let (k2, k3) = if backwards { (-s2, -s3) } else { (s2, s3) };
                Layout {
                    shape: [n, channels, side, side, 3, 3].into(),
                    strides: [s0, s1, s2, s3, k2, k3].as_slice().into(),
                    offset: if backwards { 2 * (s2 + s3) as usize } else { 0 },
                }
            };
            let repeated = |layout: Layout| {
                let mut dims = vec![n];
                dims.extend(layout.shape.iter());
                layout.expand(&Shape::from(dims)).unwrap_or(layout)
            };
            let forward = [0, 1, 4, 5, 2, 3];
            let products: [([Shape; 4], Layout, Layout); 3] = [
                (
                    [
                        [n].into(),
                        [o].into(),
                        [side, side].into(),
                        [c, 3, 3].into(),
                    ],
                    repeated(dense(&[o, c, 3, 3])),
                    windows(c, false).permute(&forward),
                ),
                (
                    [
                        [n].into(),
                        [c].into(),
                        [side, side].into(),
                        [o, 3, 3].into(),
                    ],
                    repeated(dense(&[o, c, 3, 3]).permute(&[1, 0, 2, 3])),
                    windows(o, true).permute(&forward),
                ),
                (
                    [
                        ().into(),
                        [o].into(),
                        [c, 3, 3].into(),
                        [n, side, side].into(),
                    ],
                    dense(&[n, o, side, side]).permute(&[1, 0, 2, 3]),
                    windows(c, false).permute(&[0, 2, 3, 1, 4, 5]),
                ),
            ];
            for ([batch, m, n, k], a, b) in products {
                let (a, b) = (self.operand(DType::F32, a), self.operand(DType::F32, b));
                let output = self.output(DType::F32);
                self.launch(Kernel::MatMul {
                    batch,
                    m,
                    n,
                    k,
                    a,
                    b,
                    epilogue_inputs: vec![],
                    epilogue: result_of(DType::F32),
                    outputs: vec![output],
                    sums: None,
                });
            }
        }
    }

    fn structured(&mut self) {
        for classes in [10usize, 65, 300, 4096, 10_001, 70_000] {
            let input = self.dense(DType::F32, &[9, classes]);
            let (output, at) = (self.output(DType::F32), self.output(DType::I32));
            self.launch(Kernel::Rows(Rows::softmax(input, output, at)));
        }
        // Every form of every operation, with elements of each width.
        let known = |example: &Example| crate::ops::is_known(&example.operation);
        for example in ops::built_in().into_iter().filter(known) {
            for dtype in [DType::F32, DType::F16, DType::U8, DType::Bool] {
                self.operation(&example, dtype);
            }
            if crate::ops::takes_epilogue(&example.operation) {
                self.finished(&example);
            }
        }
    }

    /// An operation on its example's operands, floats among them replaced by `dtype`.
    fn operation(&mut self, example: &Example, dtype: DType) {
        let mut specs = example.operands.clone();
        for spec in specs.iter_mut().filter(|spec| spec.dtype.is_float()) {
            spec.dtype = dtype;
        }
        let op = &example.operation;
        let Ok(results) = op.results(&specs) else {
            return;
        };
        let inputs = specs.iter().map(|spec| self.dense(spec.dtype, &spec.shape));
        let inputs = inputs.collect();
        let some = |spec: &Spec| spec.shape.numel() > 0;
        let outputs = results
            .iter()
            .map(|spec| some(spec).then(|| self.output(spec.dtype)));
        let outputs: Vec<Option<Output>> = outputs.collect();
        if outputs.iter().any(Option::is_some) {
            self.launch(Kernel::Operation {
                op: op.clone(),
                inputs,
                outputs,
                epilogue: None,
            });
        }
    }

    /// An operation with an epilogue that adds to its elements and compares them.
    fn finished(&mut self, example: &Example) {
        let op = &example.operation;
        let part = op.count() - 1;
        let specs = &example.operands;
        let results = op.results(specs).unwrap_or_default();
        let Some(Spec { shape, dtype }) = results.get(part).filter(|s| s.shape.numel() > 0) else {
            return;
        };
        let inputs = specs.iter().map(|spec| self.dense(spec.dtype, &spec.shape));
        let inputs = inputs.collect();
        let instr = |op, dtype, args: [Arg; 2]| Instr {
            op,
            dtype,
            args: args.into_iter().collect(),
        };
        let program = Program {
            inputs: vec![*dtype],
            accumulators: vec![*dtype],
            instrs: vec![
                instr(MapOp::Add, *dtype, [Arg::Acc(0), Arg::Input(0)]),
                instr(MapOp::Gt, DType::Bool, [Arg::Instr(0), Arg::Acc(0)]),
            ],
            outputs: vec![(Arg::Instr(0), *dtype), (Arg::Instr(1), DType::Bool)],
            ..Program::default()
        };
        let epilogue = Epilogue {
            part,
            shape: shape.clone(),
            inputs: vec![self.dense(*dtype, shape)],
            program,
            outputs: vec![self.output(*dtype), self.output(DType::Bool)],
        };
        self.launch(Kernel::Operation {
            op: op.clone(),
            inputs,
            outputs: vec![None; op.count()],
            epilogue: Some(epilogue),
        });
    }

    fn optimizers(&mut self) {
        for case in 0..16 {
            let [many, in_place, moments, decided] =
                std::array::from_fn(|bit| case >> bit & 1 == 1);
            let param = self.buffer();
            let target = if in_place { param } else { self.buffer() };
            let rule = match moments {
                true => UpdateRule::new("adam", ["exp_avg", "exp_avg_sq"], Adam),
                false => UpdateRule::new("sgd", [], Plain),
            };
            let numbers = rule.numbers();
            let kernel = Kernel::Update {
                name: rule.name(),
                program: rule.program(DType::F32),
                compiled: rule.compiled().clone(),
                len: 400,
                param,
                target,
                grad: self.buffer(),
                states: rule.states().iter().map(|_| self.buffer()).collect(),
                segments: if many { 9 } else { 1 },
                control: decided.then(|| Control {
                    buffer: self.buffer(),
                    numbers,
                }),
            };
            self.launch(kernel);
        }
    }
}

#[derive(Clone, Copy)]
struct Adam;

impl Formula<2, 7> for Adam {
    fn apply<X: Number>(self, p: X, g: X, [m, v]: [X; 2], numbers: [X; 7]) -> (X, [X; 2]) {
        let [b1, r1, b2, r2, step, scale, eps] = numbers;
        let m = b1 * m + r1 * g;
        let v = b2 * v + r2 * g.sqr();
        (p - step * m / (v.sqrt() * scale + eps), [m, v])
    }
}

#[derive(Clone, Copy)]
struct Plain;

impl Formula<0, 1> for Plain {
    fn apply<X: Number>(self, p: X, g: X, []: [X; 0], [lr]: [X; 1]) -> (X, [X; 0]) {
        (p - lr * g, [])
    }
}

fn result_of(dtype: DType) -> Program {
    Program {
        accumulators: vec![dtype],
        outputs: vec![(Arg::Acc(0), dtype)],
        ..Program::default()
    }
}

/// Label and WGSL of representative kernels, once with immediates and once without.
pub(crate) fn generate_all(gpu: &Gpu) -> Result<Vec<(String, String)>> {
    let mut draft = Draft::default();
    draft.maps();
    draft.reductions();
    draft.products();
    draft.convolutions();
    draft.structured();
    draft.optimizers();
    let mut all = Vec::new();
    for immediates in [0, 128] {
        let mut traits = gpu.traits.clone();
        traits.immediates = immediates;
        for launch in &draft.plan.launches {
            for made in generate(&traits, &draft.plan, &launch.kernel, &mut 0)? {
                all.push((made.label, made.text));
            }
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}
