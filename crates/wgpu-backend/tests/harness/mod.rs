//! Plans driven directly through `Backend`, and a naive reference in f64.
#![allow(dead_code)] // each test file uses a part

use std::sync::{Arc, OnceLock};

use wgrad_core::*;
use wgrad_wgpu_backend::{KernelSet, MatmulChoice, WgpuBackend, WgpuOptions};

/// Options of the two families of kernels; between them all ways of passing parameters.
pub fn families() -> [WgpuOptions; 2] {
    let base = WgpuOptions {
        allow_software: true,
        poison: true,
        ..WgpuOptions::default()
    };
    [
        WgpuOptions {
            kernels: KernelSet::Software,
            ..base.clone()
        },
        WgpuOptions {
            kernels: KernelSet::Hardware,
            no_immediates: true,
            ..base
        },
    ]
}

/// Opens a device; `None`, loudly, where the machine has no adapter at all.
pub fn open(options: &WgpuOptions) -> Option<Arc<WgpuBackend>> {
    match pollster::block_on(WgpuBackend::open(options)) {
        Ok(gpu) => Some(Arc::new(gpu)),
        Err(Error::NoAdapter(why)) => {
            assert!(
                std::env::var_os("WGRAD_REQUIRE_GPU").is_none(),
                "no adapter: {why}"
            );
            // Not eprintln!, which the test runner keeps to itself.
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("SKIPPED: no GPU adapter ({why})\n"),
            );
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// The devices of both families, opened once per test binary.
pub fn gpus() -> Vec<Arc<WgpuBackend>> {
    static GPUS: OnceLock<Vec<Arc<WgpuBackend>>> = OnceLock::new();
    GPUS.get_or_init(|| families().iter().filter_map(open).collect())
        .clone()
}

/// A device with a given matrix product kernel.
pub fn with_matmul(matmul: MatmulChoice) -> Option<Arc<WgpuBackend>> {
    let software = matches!(matmul, MatmulChoice::Lanes | MatmulChoice::Registers);
    let family = usize::from(!software);
    open(&WgpuOptions {
        matmul,
        ..families()[family].clone()
    })
}

/// Bytes of values in a storage type.
pub fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let mut out = Vec::new();
    for &v in values {
        match dtype {
            DType::F32 => out.extend((v as f32).to_le_bytes()),
            DType::F16 => out.extend(half::f16::from_f32(v as f32).to_le_bytes()),
            DType::BF16 => out.extend(half::bf16::from_f32(v as f32).to_le_bytes()),
            DType::I32 => out.extend((v as i32).to_le_bytes()),
            DType::U32 => out.extend((v as u32).to_le_bytes()),
            DType::I16 => out.extend((v as i16).to_le_bytes()),
            DType::I8 => out.push(v as i8 as u8),
            DType::U8 => out.push(v as u8),
            DType::Bool => out.extend(u32::from(v != 0.0).to_le_bytes()),
            other => panic!("{other}"),
        }
    }
    out.resize(out.len().next_multiple_of(4), 0xFF);
    out
}

/// Values of bytes in a storage type.
pub fn decode(dtype: DType, bytes: &[u8], count: usize) -> Vec<f64> {
    let word = |i: usize| {
        [
            bytes[4 * i],
            bytes[4 * i + 1],
            bytes[4 * i + 2],
            bytes[4 * i + 3],
        ]
    };
    let half = |i: usize| [bytes[2 * i], bytes[2 * i + 1]];
    (0..count)
        .map(|i| match dtype {
            DType::F32 => f64::from(f32::from_le_bytes(word(i))),
            DType::F16 => half::f16::from_le_bytes(half(i)).to_f64(),
            DType::BF16 => half::bf16::from_le_bytes(half(i)).to_f64(),
            DType::I32 => f64::from(i32::from_le_bytes(word(i))),
            DType::U32 | DType::Bool => f64::from(u32::from_le_bytes(word(i))),
            DType::I16 => f64::from(i16::from_le_bytes(half(i))),
            DType::I8 => f64::from(bytes[i] as i8),
            DType::U8 => f64::from(bytes[i]),
            other => panic!("{other}"),
        })
        .collect()
}

/// What a storage type makes of values.
pub fn stored(dtype: DType, values: &[f64]) -> Vec<f64> {
    decode(dtype, &encode(dtype, values), values.len())
}

/// A plan under construction with its buffers.
pub struct Trial {
    pub gpu: Arc<WgpuBackend>,
    pub plan: Plan,
    pub bindings: Vec<Binding>,
    pub scalars: Vec<ScalarBits>,
    pub fault: Option<Fault>,
}

impl Trial {
    pub fn new(gpu: &Arc<WgpuBackend>) -> Trial {
        Trial {
            gpu: gpu.clone(),
            plan: Plan::default(),
            bindings: Vec::new(),
            scalars: Vec::new(),
            fault: None,
        }
    }

    /// A buffer of so many elements.
    pub fn buffer(&mut self, dtype: DType, count: usize) -> usize {
        let size = if dtype == DType::Bool {
            4
        } else {
            dtype.size()
        };
        let bytes = (count * size).next_multiple_of(16).max(16);
        let buffer = self.gpu.allocate(bytes).unwrap();
        self.plan.buffers.push(BufferSpec {
            bytes,
            allocation: self.plan.buffers.len(),
        });
        self.bindings.push(Binding { buffer, offset: 0 });
        self.plan.buffers.len() - 1
    }

    /// A buffer with values.
    pub fn input(&mut self, dtype: DType, values: &[f64]) -> usize {
        let at = self.buffer(dtype, values.len());
        let bytes = encode(dtype, values);
        self.gpu
            .write(&self.bindings[at].buffer, 0, &bytes)
            .unwrap();
        at
    }

    /// An operand with a layout over fresh values.
    pub fn operand(&mut self, dtype: DType, values: &[f64], layout: Layout) -> Operand {
        Operand {
            buffer: self.input(dtype, values),
            dtype,
            layout,
        }
    }

    /// A contiguous operand.
    pub fn dense(&mut self, dtype: DType, values: &[f64], shape: &[usize]) -> Operand {
        self.operand(dtype, values, Layout::contiguous(shape.into()))
    }

    pub fn output(&mut self, dtype: DType, count: usize) -> Output {
        Output {
            buffer: self.buffer(dtype, count),
            dtype,
        }
    }

    /// Adds a launch with its scalars; fault code 7 where `fault`.
    pub fn launch(&mut self, kernel: Kernel, scalars: &[ScalarBits]) {
        let start = self.scalars.len();
        self.scalars.extend_from_slice(scalars);
        self.plan.launches.push(Launch {
            kernel,
            scalars: start..self.scalars.len(),
            fault: Some(0),
        });
    }

    pub fn run(&mut self) {
        let made = self.gpu.compile(&self.plan).unwrap();
        made.run(&self.bindings, &self.scalars, &[7]).unwrap();
    }

    pub fn read(&mut self, output: Output, count: usize) -> Vec<f64> {
        let size = if output.dtype == DType::Bool {
            4
        } else {
            output.dtype.size()
        };
        let buffer = &self.bindings[output.buffer].buffer;
        let back = pollster::block_on(self.gpu.read(Some(buffer), 0, count * size)).unwrap();
        self.fault = self.fault.or(back.fault);
        decode(output.dtype, &back.bytes, count)
    }
}

/// A small deterministic generator.
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    pub fn range(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * (f64::from(self.bits()) / 2147483648.0)
    }

    /// Values for a type, small integers where it is no float.
    pub fn values(&mut self, dtype: DType, count: usize) -> Vec<f64> {
        (0..count)
            .map(|_| match dtype {
                DType::Bool => f64::from(self.bits() & 1),
                DType::U8 | DType::U32 => f64::from(self.bits() % 50),
                DType::I32 | DType::I16 | DType::I8 => f64::from(self.bits() % 100) - 50.0,
                // Exact in 16 bits.
                _ => (self.range(-3.0, 3.0) * 64.0).round() / 64.0,
            })
            .collect()
    }

    /// A view of `shape` with odd strides, and how many elements its buffer needs.
    pub fn layout(&mut self, shape: &[usize]) -> (Layout, usize) {
        let rank = shape.len();
        let dense = Layout::contiguous(shape.into());
        let layout = match self.below(6) {
            0 => dense,
            1 => Layout {
                offset: [1, 3, 4, 8][self.below(4)],
                ..dense
            },
            2 => {
                // A permutation.
                let mut perm: Vec<usize> = (0..rank).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, self.below(i + 1));
                }
                let mut inverse = vec![0; rank];
                for (i, &p) in perm.iter().enumerate() {
                    inverse[p] = i;
                }
                let base: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
                Layout::contiguous(base.into()).permute(&inverse)
            }
            3 => {
                // Some dimensions repeat.
                let base: Vec<usize> = shape
                    .iter()
                    .map(|&d| if self.below(2) == 0 { 1 } else { d })
                    .collect();
                Layout::contiguous(base.into())
                    .expand(&shape.into())
                    .unwrap()
            }
            4 => {
                // A slice of something larger, by steps.
                let mut layout = Layout::contiguous(shape.iter().map(|d| d * 2 + 4).collect());
                for (d, &n) in shape.iter().enumerate() {
                    let step = 1 + self.below(2);
                    let first = [0, 1, 4][self.below(3)];
                    layout = layout.slice(d, first, n, step);
                }
                layout
            }
            _ => {
                // Backwards.
                let mut layout = dense;
                let d = self.below(rank.max(1));
                if rank > 0 && shape[d] > 0 {
                    layout.offset += (shape[d] - 1) * layout.strides[d] as usize;
                    layout.strides[d] = -layout.strides[d];
                }
                layout
            }
        };
        let mut end = layout.end();
        for (&n, &s) in shape.iter().zip(&layout.strides) {
            if s < 0 {
                end = end.max(layout.offset + 1);
            }
            let _ = n;
        }
        (layout, end.max(1))
    }
}

/// The elements of a view in row-major order.
pub fn view(values: &[f64], layout: &Layout) -> Vec<f64> {
    points(&layout.shape)
        .iter()
        .map(|p| values[layout.index(p)])
        .collect()
}

/// All coordinates of a shape in row-major order.
pub fn points(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &n in shape {
        all = all
            .into_iter()
            .flat_map(|p: Vec<usize>| {
                (0..n).map(move |i| {
                    let mut p = p.clone();
                    p.push(i);
                    p
                })
            })
            .collect();
    }
    all
}

/// A program of one instruction over inputs of one type.
pub fn single(op: MapOp, args: usize, from: DType, to: DType) -> Program {
    Program {
        inputs: vec![from; args],
        instrs: vec![Instr {
            op,
            dtype: to,
            args: (0..args as u16).map(Arg::Input).collect(),
        }],
        outputs: vec![(Arg::Instr(0), to)],
        ..Program::default()
    }
}

/// A program that passes an accumulator on.
pub fn pass_on(dtype: DType) -> Program {
    Program {
        accumulators: vec![dtype],
        outputs: vec![(Arg::Acc(0), dtype)],
        ..Program::default()
    }
}

/// A program that passes its inputs on.
pub fn pass_inputs(dtypes: &[DType]) -> Program {
    Program {
        inputs: dtypes.to_vec(),
        outputs: dtypes
            .iter()
            .enumerate()
            .map(|(i, d)| (Arg::Input(i as u16), d.compute()))
            .collect(),
        ..Program::default()
    }
}

/// Compares within `relative |want| + absolute`; NaN equals NaN, infinities equal themselves.
#[track_caller]
pub fn close(got: &[f64], want: &[f64], relative: f64, absolute: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let equal = g == w || (g.is_nan() && w.is_nan());
        let near = (g - w).abs() <= relative * w.abs() + absolute;
        assert!(equal || near, "{what}: element {i} is {g:e}, not {w:e}");
    }
}

/// The error function in f64: a series near 0, a continued fraction beyond.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let a = x.abs();
    if a < 2.5 {
        let (mut term, mut sum) = (a, a);
        for n in 1..100 {
            term *= -a * a / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return sum.copysign(x) * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if a > 7.0 {
        return 1f64.copysign(x);
    }
    let mut tail = a;
    for n in (1..60).rev() {
        tail = a + n as f64 / 2.0 / tail;
    }
    let rest = (-a * a).exp() / tail / std::f64::consts::PI.sqrt();
    (1.0 - rest).copysign(x)
}
