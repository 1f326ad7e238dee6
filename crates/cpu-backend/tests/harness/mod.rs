//! Runs single kernels on host data.
#![allow(dead_code)] // each test binary uses a part

use half::{bf16, f16};
use wgrad_core::{
    Backend, Binding, Buffer, BufferSpec, DType, Fault, Kernel, Launch, Layout, Operand, Output,
    Plan, ScalarBits, Shape,
};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

/// Deterministic random numbers.
pub struct Dice {
    block: u32,
    words: [u32; 4],
    used: usize,
}

impl Dice {
    pub fn new(seed: u32) -> Dice {
        Dice {
            block: seed.wrapping_mul(2_654_435_761),
            words: [0; 4],
            used: 4,
        }
    }

    pub fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.block.wrapping_add(1);
            self.words = wgrad_core::random::philox([self.block, 0, 0, 0], [7, 9]);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.bits()) / 4_294_967_296.0
    }
}

/// Values of a type, as `f64`, in their stored bytes.
pub fn encode(dtype: DType, values: &[f64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &x in values {
        match dtype {
            DType::F64 => bytes.extend(x.to_le_bytes()),
            DType::F32 => bytes.extend((x as f32).to_le_bytes()),
            DType::F16 => bytes.extend(f16::from_f32(x as f32).to_le_bytes()),
            DType::BF16 => bytes.extend(bf16::from_f32(x as f32).to_le_bytes()),
            DType::I64 => bytes.extend((x as i64).to_le_bytes()),
            DType::I32 => bytes.extend((x as i32).to_le_bytes()),
            DType::U32 => bytes.extend((x as u32).to_le_bytes()),
            DType::I16 => bytes.extend((x as i16).to_le_bytes()),
            DType::I8 => bytes.push(x as i8 as u8),
            DType::U8 => bytes.push(x as u8),
            _ => bytes.push(u8::from(x != 0.0)),
        }
    }
    bytes
}

pub fn decode(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    bytes
        .chunks_exact(dtype.size())
        .map(|b| match dtype {
            DType::F64 => f64::from_le_bytes(b.try_into().unwrap()),
            DType::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            DType::F16 => f16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            DType::BF16 => bf16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            DType::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
            DType::I32 => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
            DType::U32 => f64::from(u32::from_le_bytes(b.try_into().unwrap())),
            DType::I16 => f64::from(i16::from_le_bytes(b.try_into().unwrap())),
            DType::I8 => f64::from(b[0] as i8),
            _ => f64::from(b[0]),
        })
        .collect()
}

/// A buffer's contents: type and values.
#[derive(Clone, Debug)]
pub struct Data(pub DType, pub Vec<f64>);

impl Data {
    /// The values as the type holds them.
    pub fn rounded(&self) -> Vec<f64> {
        decode(self.0, &encode(self.0, &self.1))
    }

    /// Random values of a type.
    pub fn random(dice: &mut Dice, dtype: DType, len: usize, low: f64, high: f64) -> Data {
        let values = (0..len).map(|_| dice.between(low, high)).collect();
        let mut data = Data(dtype, values);
        data.1 = data.rounded();
        data
    }
}

pub fn cpu() -> CpuBackend {
    CpuBackend::new(CpuOptions {
        poison: true,
        ..CpuOptions::default()
    })
}

/// A kernel over buffers: inputs are uploaded, outputs (type and length) read back.
pub struct Bench {
    pub cpu: CpuBackend,
    pub inputs: Vec<Data>,
    pub outputs: Vec<(DType, usize)>,
    pub scalars: Vec<ScalarBits>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench {
            cpu: cpu(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            scalars: Vec::new(),
        }
    }

    /// An input that is dense and whole.
    pub fn dense(&mut self, data: Data, shape: impl Into<Shape>) -> Operand {
        self.input(data, Layout::contiguous(shape.into()))
    }

    pub fn input(&mut self, data: Data, layout: Layout) -> Operand {
        assert!(self.outputs.is_empty(), "inputs come first");
        let dtype = data.0;
        self.inputs.push(data);
        Operand {
            buffer: self.inputs.len() - 1,
            dtype,
            layout,
        }
    }

    /// An input of random values, laid out at random: permuted, broadcast, reversed, with gaps.
    /// Returns its values in row-major order too.
    pub fn random(
        &mut self,
        dice: &mut Dice,
        dtype: DType,
        shape: &Shape,
        (low, high): (f64, f64),
    ) -> (Operand, Vec<f64>) {
        let layout = random_layout(dice, shape);
        let data = Data::random(dice, dtype, layout.end().max(1), low, high);
        let values = view(&data.1, &layout);
        (self.input(data, layout), values)
    }

    pub fn output(&mut self, dtype: DType, len: usize) -> Output {
        self.outputs.push((dtype, len));
        Output {
            buffer: self.inputs.len() + self.outputs.len() - 1,
            dtype,
        }
    }

    fn plan(&self, kernel: Kernel) -> Plan {
        let inputs = self.inputs.iter().map(|data| (data.0, data.1.len()));
        let buffers = inputs.chain(self.outputs.iter().copied()).enumerate();
        Plan {
            buffers: buffers
                .map(|(i, (dtype, len))| BufferSpec {
                    bytes: (len * dtype.size()).next_multiple_of(16),
                    allocation: i,
                })
                .collect(),
            launches: vec![Launch {
                kernel,
                scalars: 0..self.scalars.len(),
                fault: Some(0),
            }],
        }
    }

    /// Whether the kernel compiles.
    pub fn compiles(&self, kernel: Kernel) -> bool {
        self.cpu.compile(&self.plan(kernel)).is_ok()
    }

    /// Runs the kernel; all buffers afterwards, and the fault.
    pub fn run_all(&self, kernel: Kernel) -> (Vec<Vec<f64>>, Option<Fault>) {
        let mut buffers: Vec<(Buffer, DType, usize)> = Vec::new();
        for data in &self.inputs {
            let mut bytes = encode(data.0, &data.1);
            let len = data.1.len();
            bytes.resize(bytes.len().next_multiple_of(16).max(16), 0xFF);
            let buffer = self.cpu.allocate(bytes.len()).unwrap();
            self.cpu.write(&buffer, 0, &bytes).unwrap();
            buffers.push((buffer, data.0, len));
        }
        for &(dtype, len) in &self.outputs {
            let buffer = self.cpu.allocate((len * dtype.size()).max(1)).unwrap();
            buffers.push((buffer, dtype, len));
        }
        let plan = self.plan(kernel);
        let bindings: Vec<Binding> = buffers
            .iter()
            .map(|(buffer, ..)| Binding {
                buffer: buffer.clone(),
                offset: 0,
            })
            .collect();
        let executable = self.cpu.compile(&plan).unwrap();
        executable.run(&bindings, &self.scalars, &[77]).unwrap();
        let mut fault = None;
        let values = buffers
            .iter()
            .map(|(buffer, dtype, len)| {
                let read = self.cpu.read(Some(buffer), 0, len * dtype.size());
                let read = pollster::block_on(read).unwrap();
                fault = fault.or(read.fault);
                decode(*dtype, &read.bytes)
            })
            .collect();
        (values, fault)
    }

    /// Runs the kernel; its outputs.
    pub fn run(&self, kernel: Kernel) -> Vec<Vec<f64>> {
        let (mut all, fault) = self.run_all(kernel);
        assert_eq!(fault, None);
        all.drain(..self.inputs.len());
        all
    }
}

pub fn random_layout(dice: &mut Dice, shape: &Shape) -> Layout {
    let rank = shape.rank();
    let mut order: Vec<usize> = (0..rank).collect();
    if dice.below(2) == 0 {
        for i in (1..rank).rev() {
            order.swap(i, dice.below(i + 1));
        }
    }
    let broadcast = dice.below(3) == 0;
    let mut strides = vec![0isize; rank];
    let mut offset = dice.below(3);
    let mut step = 1isize;
    for &d in order.iter().rev() {
        if broadcast && dice.below(2) == 0 {
            continue;
        }
        let gap = if dice.below(4) == 0 { 2 } else { 1 };
        strides[d] = step * gap;
        step *= gap * shape[d].max(1) as isize;
        if dice.below(5) == 0 && shape[d] > 0 {
            offset += (shape[d] - 1) * strides[d] as usize;
            strides[d] = -strides[d];
        }
    }
    Layout {
        shape: shape.clone(),
        strides: strides.into_iter().collect(),
        offset,
    }
}

/// Every index of a shape in row-major order.
pub fn indices(shape: &Shape) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut at = vec![0; shape.rank()];
    for _ in 0..shape.numel() {
        all.push(at.clone());
        for d in (0..at.len()).rev() {
            at[d] += 1;
            if at[d] < shape[d] {
                break;
            }
            at[d] = 0;
        }
    }
    all
}

/// A view's values in row-major order.
pub fn view(values: &[f64], layout: &Layout) -> Vec<f64> {
    indices(&layout.shape)
        .iter()
        .map(|i| values[layout.index(i)])
        .collect()
}

pub fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

#[track_caller]
pub fn assert_same(got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(same(*g, *w), "element {i}: {g}, not {w}");
    }
}

#[track_caller]
pub fn assert_near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            same(*g, *w) || (g - w).abs() <= tolerance * w.abs().max(1.0),
            "element {i}: {g}, not {w}"
        );
    }
}
