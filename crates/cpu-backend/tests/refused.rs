//! A kernel that a device's compiler refuses is reported with the line that recorded it; what the CPU's refuses.

use wgrad_core::ops::{Attention, AttentionGrad, Sort};
use wgrad_core::{
    AnyOperation, Arg, Backend, BoxFuture, Buffer, BufferSpec, DType, Device, Epilogue, Error,
    Executable, Kernel, Launch, Layout, Limits, Operand, Operation, Output, Plan, Program,
    ReadBack, Result, Shape, Spec, Stats, Tensor,
};
use wgrad_cpu_backend::{CpuBackend, CpuOptions};

/// The CPU, whose compiler takes no softmax.
struct Picky(CpuBackend);

impl Backend for Picky {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn is_cpu(&self) -> bool {
        true
    }
    fn limits(&self) -> &Limits {
        self.0.limits()
    }
    fn allocate(&self, bytes: usize) -> Result<Buffer> {
        self.0.allocate(bytes)
    }
    fn write(&self, buffer: &Buffer, offset: usize, bytes: &[u8]) -> Result<()> {
        self.0.write(buffer, offset, bytes)
    }
    fn read(
        &self,
        buffer: Option<&Buffer>,
        offset: usize,
        bytes: usize,
    ) -> BoxFuture<Result<ReadBack>> {
        self.0.read(buffer, offset, bytes)
    }
    fn clear(&self, buffer: &Buffer) -> Result<()> {
        self.0.clear(buffer)
    }
    fn copy(
        &self,
        source: &Buffer,
        source_offset: usize,
        target: &Buffer,
        target_offset: usize,
        bytes: usize,
    ) -> Result<()> {
        self.0
            .copy(source, source_offset, target, target_offset, bytes)
    }
    fn compile(&self, plan: &Plan) -> Result<Box<dyn Executable>> {
        let rows = |kernel: &Kernel| matches!(kernel, Kernel::Rows(_));
        if plan.launches.iter().any(|launch| rows(&launch.kernel)) {
            return Err(Error::Device("the kernel of rows does not compile".into()));
        }
        self.0.compile(plan)
    }
    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }
    fn stats(&self) -> Stats {
        self.0.stats()
    }
    fn trim(&self) {
        self.0.trim();
    }
}

#[test]
fn a_refused_kernel_names_its_line() {
    let dev = Device::new(Picky(CpuBackend::new(CpuOptions::default())), true);
    let x = Tensor::new([[1.0, 2.0]], &dev);
    let sum = (&x + 1.0).sum();
    let line = line!() + 1;
    let y = x.softmax(1);
    let error = (&y * 2.0).sum().item::<f32>().unwrap_err().to_string();
    let place = format!("refused.rs:{line}:");
    assert!(
        error.contains("the kernel of rows does not compile (") && error.contains(&place),
        "{error}"
    );
    // Of one run, whose nodes fail together; the device goes on.
    assert!(sum.item::<f32>().is_err());
    assert_eq!((&x + 1.0).sum().item::<f32>().unwrap(), 5.0);
}

/// An operation's kernel that runs no epilogue says so, rather than forget it.
#[test]
fn an_epilogue_that_no_kernel_runs_is_refused() {
    let cpu = CpuBackend::new(CpuOptions::default());
    let (op, specs) = Sort::examples().swap_remove(0);
    let op = AnyOperation::new(op);
    assert!(!cpu.takes_epilogue(&op));
    let results = op.results(&specs).unwrap();
    let operand = |buffer| Operand {
        buffer,
        dtype: specs[buffer].dtype,
        layout: Layout::contiguous(specs[buffer].shape.clone()),
    };
    let result = results[0].dtype;
    let output = Output {
        buffer: specs.len(),
        dtype: result,
    };
    let epilogue = Epilogue {
        part: 0,
        shape: results[0].shape.clone(),
        inputs: Vec::new(),
        program: Program {
            accumulators: vec![result],
            outputs: vec![(Arg::Acc(0), result)],
            ..Program::default()
        },
        outputs: vec![output],
    };
    let launch = |epilogue: Option<Epilogue>| Launch {
        kernel: Kernel::Operation {
            inputs: (0..specs.len()).map(operand).collect(),
            outputs: match epilogue {
                Some(_) => vec![None; op.count()],
                None => [Some(output)]
                    .into_iter()
                    .chain(vec![None; op.count() - 1])
                    .collect(),
            },
            op: op.clone(),
            epilogue,
        },
        scalars: 0..0,
        fault: None,
    };
    let plan = |launch: Launch| Plan {
        buffers: (0..=specs.len())
            .map(|allocation| BufferSpec {
                bytes: 1 << 16,
                allocation,
            })
            .collect(),
        launches: vec![launch],
    };
    assert!(cpu.compile(&plan(launch(None))).is_ok());
    let refused = cpu.compile(&plan(launch(Some(epilogue)))).err().unwrap();
    assert!(
        refused.to_string().contains("takes no epilogue"),
        "{refused}"
    );
}

/// Attention with one operand that is another, each in a buffer with room to spare: that it lies there says nothing of
/// whether it fits the others.
#[test]
fn operands_of_attention_that_do_not_fit_each_other_are_refused() {
    let masked = |specs: &[Spec]| specs.iter().any(|spec| spec.dtype == DType::U32);
    let mut forward = Attention::examples().into_iter();
    let (op, specs) = forward.find(|(_, specs)| masked(specs)).unwrap();
    // Values of another size give results of another size, which is all that they change.
    refuses_others(op, &specs, |operand, dim| (operand, dim) == (2, 3));
    let mut backward = AttentionGrad::examples().into_iter();
    let (op, specs) = backward.find(|(_, specs)| masked(specs)).unwrap();
    refuses_others(op, &specs, |_, _| false);
}

fn refuses_others<O: Operation>(op: O, specs: &[Spec], may: impl Fn(usize, usize) -> bool) {
    let cpu = CpuBackend::new(CpuOptions::default());
    let op = AnyOperation::new(op);
    let results = op.results(specs).unwrap();
    let (n, all) = (specs.len(), specs.len() + results.len());
    let compiles = |specs: &[Spec]| {
        let input = |(buffer, spec): (usize, &Spec)| Operand {
            buffer,
            dtype: spec.dtype,
            layout: Layout::contiguous(spec.shape.clone()),
        };
        let output = |(i, spec): (usize, &Spec)| {
            Some(Output {
                buffer: n + i,
                dtype: spec.dtype,
            })
        };
        let kernel = Kernel::Operation {
            inputs: specs.iter().enumerate().map(input).collect(),
            outputs: results.iter().enumerate().map(output).collect(),
            op: op.clone(),
            epilogue: None,
        };
        let buffer = |allocation| BufferSpec {
            bytes: 1 << 16,
            allocation,
        };
        let plan = Plan {
            buffers: (0..all).map(buffer).collect(),
            launches: vec![Launch {
                kernel,
                scalars: 0..0,
                fault: None,
            }],
        };
        cpu.compile(&plan).is_ok()
    };
    assert!(compiles(specs));
    for (i, spec) in specs.iter().enumerate() {
        let with = |other: Spec| {
            let mut specs = specs.to_vec();
            specs[i] = other;
            compiles(&specs)
        };
        for d in 0..spec.shape.rank() {
            let mut dims = spec.shape.to_vec();
            dims[d] += 1;
            let other = Spec::new(dims, spec.dtype);
            assert_eq!(with(other), may(i, d), "{} {i}, {d}", op.name());
        }
        let more: Shape = [1].into_iter().chain(spec.shape.iter().copied()).collect();
        assert!(!with(Spec::new(more, spec.dtype)), "{} {i}", op.name());
        assert!(
            !with(Spec::new(&spec.shape, DType::I32)),
            "{} {i}",
            op.name()
        );
    }
    assert!(!compiles(&specs[..n - 1]));
}
