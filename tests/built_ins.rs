//! Every structured operation on the operands of its examples: kernel against reference, in values, gradients
//! and second derivatives, on both devices, in every type and in odd layouts.

mod devices;

use devices::fill;
use wgrad::autograd::{grad, gradcheck};
use wgrad::backend::ops::{self, Example, Recurrence, RecurrenceGrad};
use wgrad::prelude::*;
use wgrad::{AnyOperation, CpuKernel, Operation, Spec, Wgsl};

#[path = "../examples/custom_operation.rs"]
#[allow(dead_code)]
mod custom_operation;

use custom_operation::Discount;

const TYPES: [DType; 9] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I64,
    DType::U32,
    DType::U8,
    DType::Bool,
];

fn devices() -> Vec<Device> {
    let mut devices = vec![DeviceOptions::cpu().poison(true).open().unwrap()];
    devices.extend(devices::flash_gpu());
    devices
}

/// wgrad's own, and one from outside.
fn all() -> Vec<Example> {
    let mut all = ops::built_in();
    all.extend(ops::examples::<Discount>());
    all
}

/// The example with its floats of another type, if the operation and the device take that.
fn in_type(example: &Example, dtype: DType, dev: &Device) -> Option<Vec<Spec>> {
    let mut specs = example.operands.clone();
    for spec in specs.iter_mut().filter(|spec| spec.dtype.is_float()) {
        spec.dtype = dtype;
    }
    let results = example.operation.results(&specs).ok()?;
    let limits = dev.limits().unwrap();
    let has = |spec: &Spec| limits.dtypes.contains(&spec.dtype);
    (specs.iter().all(has) && results.iter().all(has)).then_some(specs)
}

/// Numbers for an operand: small ones, and valid indices.
fn numbers(example: &Example, specs: &[Spec], i: usize) -> Vec<f32> {
    let spec = &specs[i];
    let n = spec.shape.numel();
    if spec.dtype.is_float() || !example.operands[i].dtype.is_integer() {
        let scale = if spec.dtype.is_float() { 1.0 } else { 3.0 };
        let numbers = fill(i as u64 + 1, n, scale).into_iter();
        return numbers
            .map(|v| {
                if spec.dtype.is_float() {
                    v
                } else {
                    v.abs().floor()
                }
            })
            .collect();
    }
    let range = example.operation.index_range(specs).unwrap_or(4).max(1);
    (0..n).map(|j| (j * 7 % range) as f32).collect()
}

/// An operand laid out: as it is, turned, or with gaps and an offset.
fn laid_out(numbers: &[f32], spec: &Spec, layout: usize, dev: &Device) -> Tensor {
    let shape = spec.shape.to_vec();
    let plain = Tensor::from_vec(numbers.to_vec(), &spec.shape, dev).to_dtype(spec.dtype);
    match (layout, shape.len()) {
        (_, 0) | (0, _) => plain,
        (1, rank) => {
            // The elements in the order of the turned dimensions.
            plain
                .transpose(0, rank as isize - 1)
                .contiguous()
                .transpose(0, rank as isize - 1)
        }
        (_, _) => {
            let before = plain.narrow(0, 0, shape[0].min(1));
            let wide = Tensor::cat(&[before, plain.clone()], 0);
            let wide = Tensor::stack(&[wide.clone(), wide], -1).contiguous();
            let size = wide.shape().unwrap()[0];
            wide.select(-1, 1).narrow(0, size - shape[0], shape[0])
        }
    }
}

fn read(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).to_vec().unwrap()
}

#[track_caller]
fn assert_near(got: &Tensor, want: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (read(got), read(want));
    let scale = want
        .iter()
        .fold(1f32, |a, v| if v.is_finite() { a.max(v.abs()) } else { a });
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance * scale;
        assert!(same, "{what}, element {i}: {g} instead of {w}");
    }
}

fn tolerance(dtype: DType) -> f32 {
    match dtype {
        DType::F64 => 1e-6,
        DType::F32 => 1e-4,
        DType::F16 => 1e-2,
        DType::BF16 => 6e-2,
        _ => 0.0,
    }
}

/// A number that depends on every element of every result in its own way.
fn weighed(results: &[Tensor]) -> Tensor {
    let mut total: Option<Tensor> = None;
    for y in results
        .iter()
        .filter(|y| y.dtype().is_ok_and(DType::is_float))
    {
        let n = y.numel().unwrap();
        let w = (Tensor::arange(n, (DType::F32, y.device())) * 0.37).sin() + 1.5;
        let w = w.to_dtype(y.dtype().unwrap()).reshape(y.shape().unwrap());
        let part = (y * w + y.sqr() * 0.5).sum();
        total = Some(total.map_or(part.clone(), |total| total + part));
    }
    total.unwrap()
}

type Compute<'a> = &'a dyn Fn(&[&Tensor]) -> Vec<Tensor>;

/// The gradients of the differentiable operands, in the middle of a graph, and the gradients of a number
/// made of those.
fn derivatives(
    operation: &AnyOperation,
    operands: &[Tensor],
    compute: Compute<'_>,
) -> (Vec<Tensor>, Vec<Tensor>) {
    let float = |i: usize| operands[i].dtype().unwrap().is_float() && !operation.is_constant(i);
    let wanted: Vec<usize> = (0..operands.len()).filter(|&i| float(i)).collect();
    let leaves: Vec<Tensor> = wanted
        .iter()
        .map(|&i| operands[i].detach().requires_grad())
        .collect();
    let mut inner: Vec<Tensor> = operands.to_vec();
    for (&i, leaf) in wanted.iter().zip(&leaves) {
        inner[i] = leaf.tanh();
    }
    let inner: Vec<&Tensor> = inner.iter().collect();
    let leaves: Vec<&Tensor> = leaves.iter().collect();
    let options = GradOptions {
        create_graph: true,
        ..Default::default()
    };
    // Without `allow_unused`: a gradient that is missing is an error.
    let first = grad(&weighed(&compute(&inner)), &leaves, options);
    let first = first.unwrap_or_else(|error| panic!("{operation:?}: {error}"));
    let number = first
        .iter()
        .map(|g| (g.sqr() + g).sum())
        .reduce(|a, b| a + b)
        .unwrap();
    let second = grad(&number, &leaves, GradOptions::default()).unwrap();
    (first, second)
}

/// Whether an operand is differentiable, and a result.
fn is_differentiable(op: &AnyOperation, specs: &[Spec]) -> bool {
    let operand = |i: usize| specs[i].dtype.is_float() && !op.is_constant(i);
    let results = op.results(specs).unwrap();
    (0..specs.len()).any(operand) && results.iter().any(|result| result.dtype.is_float())
}

/// Elements of operands up to which every type and layout is compared, and up to which derivatives are.
const MANY: usize = 2000;
const MOST: usize = 20_000;

/// What GPUs run as its reference, step by step.
const COMPOSED: [&str; 2] = [Recurrence::NAME, RecurrenceGrad::NAME];

fn is_composed(op: &AnyOperation, dev: &Device) -> bool {
    !dev.is_cpu() && COMPOSED.contains(&op.name())
}

/// Compares the kernels of one example on one device.
fn compare(example: &Example, dtype: DType, dev: &Device) {
    let Some(specs) = in_type(example, dtype, dev) else {
        return;
    };
    let op = &example.operation;
    if is_composed(op, dev) {
        return;
    }
    let numel: usize = specs.iter().map(|spec| spec.shape.numel()).sum();
    assert!(dev.has_kernel(op, &specs), "{op:?} on {dev}");
    if numel > MANY && dtype != DType::F32 {
        return;
    }
    for layout in 0..3 {
        if numel > MANY && layout > 0 {
            continue;
        }
        let what = format!("{op:?} of {specs:?}, layout {layout}, {dev}");
        let lay = |i: usize| laid_out(&numbers(example, &specs, i), &specs[i], layout, dev);
        let operands: Vec<Tensor> = (0..specs.len()).map(lay).collect();
        let refs: Vec<&Tensor> = operands.iter().collect();
        let got = op.record(&refs);
        let want = op.reference(&operands);
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            assert_near(g, w, tolerance(dtype), &format!("result {i} of {what}"));
        }
        // Rounding to 16 bits makes derivatives of derivatives too coarse to be compared.
        let exact = matches!(dtype, DType::F32 | DType::F64) && is_differentiable(op, &specs);
        if !exact || numel > MOST || (layout > 0 && (dtype == DType::F64 || numel > 100)) {
            continue;
        }
        let by_kernel = derivatives(op, &operands, &|x| op.record(x));
        let reference = |x: &[&Tensor]| {
            let x: Vec<Tensor> = x.iter().map(|&t| t.clone()).collect();
            op.reference(&x)
        };
        let by_reference = derivatives(op, &operands, &reference);
        for (order, got, want) in [
            ("first", by_kernel.0, by_reference.0),
            ("second", by_kernel.1, by_reference.1),
        ] {
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let what = format!("{order} derivative {i} of {what}");
                assert_near(g, w, 5.0 * tolerance(dtype), &what);
            }
        }
    }
}

#[test]
fn kernels_of_the_cpu_give_what_references_give() {
    let dev = DeviceOptions::cpu().poison(true).open().unwrap();
    for example in all() {
        for dtype in TYPES {
            compare(&example, dtype, &dev);
        }
    }
}

#[test]
fn kernels_of_the_gpu_give_what_references_give() {
    let Some(dev) = devices::flash_gpu() else {
        return;
    };
    for example in all() {
        for dtype in TYPES {
            compare(&example, dtype, &dev);
        }
    }
}

#[test]
fn derivatives_agree_with_finite_differences() {
    let dev = devices::cpu();
    for example in all() {
        let Some(specs) = in_type(&example, DType::F64, &dev) else {
            continue;
        };
        let numel: usize = specs.iter().map(|spec| spec.shape.numel()).sum();
        let op = &example.operation;
        if numel > 300 || !is_differentiable(op, &specs) {
            continue;
        }
        let operand = |i: usize| laid_out(&numbers(&example, &specs, i), &specs[i], 0, &dev);
        let operands: Vec<Tensor> = (0..specs.len()).map(operand).collect();
        let float = |i: usize| specs[i].dtype.is_float() && !op.is_constant(i);
        let wanted: Vec<usize> = (0..specs.len()).filter(|&i| float(i)).collect();
        let points: Vec<Tensor> = wanted.iter().map(|&i| operands[i].clone()).collect();
        let f = |x: &[Tensor]| {
            let mut inner: Vec<&Tensor> = operands.iter().collect();
            for (&i, x) in wanted.iter().zip(x) {
                inner[i] = x;
            }
            let results = op.record(&inner);
            weighed(&results[results.len().min(2) - 1..results.len().min(2)])
        };
        gradcheck(f, &points).unwrap_or_else(|error| panic!("{op:?}: {error}"));
    }
}

#[test]
fn every_operation_has_both_kernels() {
    for dev in devices() {
        for example in ops::built_in() {
            let op = &example.operation;
            let has_kernel = dev.has_kernel(op, &example.operands);
            assert_eq!(has_kernel, !is_composed(op, &dev), "{op:?} on {dev}");
        }
    }
}

/// Two results, the second of which takes indices, and mistakes of all kinds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Odd(&'static str);

impl Operation for Odd {
    const NAME: &'static str = "odd";
    const RESULTS: usize = 2;

    fn results(&self, operands: &[Spec]) -> std::result::Result<Vec<Spec>, String> {
        match operands {
            [x] if x.dtype == DType::F32 => {
                let two = vec![x.clone(), Spec::new(x.shape.clone(), DType::U8)];
                Ok(two
                    .into_iter()
                    .take(if self.0 == "one result" { 1 } else { 2 })
                    .collect())
            }
            _ => Err("takes one tensor of f32".into()),
        }
    }
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let x = &operands[0];
        match self.0 {
            "reference of another shape" => vec![x.sum(), x.to_dtype(DType::U8)],
            "reference of one result" => vec![x.clone()],
            _ => vec![x * 2.0, x.to_dtype(DType::U8)],
        }
    }
    fn derivative(&self, c: &wgrad::Derivative<'_>) -> Vec<Option<Tensor>> {
        match self.0 {
            "no gradient" => vec![None],
            "gradient of another shape" => vec![Some(c.grad().sum())],
            "what is not kept" => vec![Some(c.grad() * c.result(0))],
            _ => vec![Some(c.grad() * 2.0)],
        }
    }
    fn index_range(&self, _: &[Spec]) -> Option<usize> {
        (self.0 == "bad index").then_some(3)
    }
    fn examples() -> Vec<(Odd, Vec<Spec>)> {
        Vec::new()
    }
    fn cpu(&self) -> Option<CpuKernel> {
        if self.0.starts_with("reference") {
            return None;
        }
        let bad = self.0 == "bad index";
        Some(CpuKernel::with_indices(move |x, y| {
            let (first, second) = y.split_at_mut(1);
            let x = x[0].values::<f32>()?;
            for (y, x) in first[0].values_mut::<f32>()?.iter_mut().zip(x) {
                *y = x * 2.0;
            }
            for (y, x) in second[0].values_mut::<u8>()?.iter_mut().zip(x) {
                *y = *x as u8;
            }
            bad.then_some(7)
        }))
    }
    fn wgsl(&self, operands: &[Spec]) -> Option<Wgsl> {
        const SHADER: &str = "
            @compute @workgroup_size(64)
            fn main(@builtin(global_invocation_id) id: vec3<u32>) {
                #if oops
                let what = nobody_knows(id);
                #endif
                if id.x < params.n {
                    store_twice(id.x, load_x0(id.x) * 2.0);
                    store_y1(id.x, u32(load_x0(id.x)));
                }
            }
        ";
        if self.0.starts_with("reference") {
            return None;
        }
        let n = operands.first()?.shape.numel();
        let kernel = Wgsl::new(SHADER, n.div_ceil(64))
            .results(&["twice"])
            .param("n", n);
        Some(kernel.variable("oops", self.0 == "bad shader"))
    }
}

#[test]
fn operations_from_outside_and_their_mistakes() {
    for dev in devices() {
        let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &dev);
        // Strided, both results, one of them packed; then one alone.
        let made = Tensor::custom(Odd("fine"), &[&x.t()]);
        assert_eq!(
            made[0].to_vec::<f32>().unwrap(),
            [2.0, 8.0, 4.0, 10.0, 6.0, 12.0]
        );
        assert_eq!(made[1].to_vec::<u8>().unwrap(), [1, 4, 2, 5, 3, 6]);
        let second = Tensor::custom(Odd("fine"), &[&x]).remove(1);
        assert_eq!(second.to_vec::<u8>().unwrap(), [1, 2, 3, 4, 5, 6]);
        let empty = Tensor::custom(Odd("fine"), &[&x.narrow(0, 0, 0)]);
        assert_eq!(empty[0].to_vec::<f32>().unwrap(), [0f32; 0]);
        // A run that comes again is a replay; another field is another program.
        let before = dev.stats();
        for _ in 0..3 {
            Tensor::custom(Odd("fine"), &[&x])[0]
                .to_vec::<f32>()
                .unwrap();
        }
        assert!(dev.stats().plan_hits >= before.plan_hits + 2);
        // Wrong operands: failed tensors, as many as there are results.
        for operands in [&[][..], &[&x, &x][..], &[&x.to_dtype(DType::I32)][..]] {
            let failed = Tensor::custom(Odd("fine"), operands);
            assert_eq!(failed.len(), 2);
            assert!(
                failed[1]
                    .to_vec::<u8>()
                    .unwrap_err()
                    .to_string()
                    .contains("odd")
            );
        }
        for (mistake, says) in [
            ("one result", "has 1 results instead of 2"),
            ("reference of another shape", "its reference gives f32 []"),
            ("reference of one result", "gives 1 results instead of 2"),
        ] {
            let error = Tensor::custom(Odd(mistake), &[&x])
                .remove(0)
                .to_vec::<f32>()
                .unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        for (mistake, says) in [
            ("no gradient", "leaves out operand 0"),
            (
                "gradient of another shape",
                "has shape [] instead of [2, 3]",
            ),
            ("what is not kept", "result 0 is not kept"),
        ] {
            let leaf = x.detach().requires_grad();
            let y = Tensor::custom(Odd(mistake), &[&leaf]).remove(0);
            let error = y.sum().backward().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        if dev.is_cpu() {
            let line = line!() + 1;
            let y = Tensor::custom(Odd("bad index"), &[&x]).remove(0);
            let error = y.to_vec::<f32>().unwrap_err().to_string();
            let place = format!("built_ins.rs:{line}:");
            assert!(
                error.contains("odd: index 7 is out of range for size 3"),
                "{error}"
            );
            assert!(error.contains(&place), "{error}");
        } else {
            let y = Tensor::custom(Odd("bad shader"), &[&x]).remove(0);
            let error = y.to_vec::<f32>().unwrap_err().to_string();
            assert!(error.contains("nobody_knows"), "{error}");
        }
        // Afterwards everything works.
        assert_eq!((&x + 1.0).sum().item::<f32>().unwrap(), 27.0);
    }
}

#[test]
fn without_a_kernel_the_profile_tells() {
    for dev in devices() {
        let x = Tensor::from_vec(fill(1, 35, 1.0), [5, 7], &dev).requires_grad();
        let plain = Discount::new(0.9).without_shader();
        let by_kernel = Tensor::custom(Discount::new(0.9), &[&x]).remove(0);
        let y = Tensor::custom(plain.clone(), &[&x]).remove(0);
        assert_near(&y, &by_kernel, 1e-5, "discount");
        (y.sqr().sum()).backward().unwrap();
        let got = x.grad().unwrap();
        x.zero_grad();
        by_kernel.sqr().sum().backward().unwrap();
        assert_near(&got, &x.grad().unwrap(), 1e-4, "gradient");
        let Ok((_, profile)) = dev.profile(|| read(&Tensor::custom(plain.clone(), &[&x])[0]))
        else {
            continue; // no clock that can be read
        };
        let told = profile
            .to_string()
            .contains("discount has no kernel on this device: 1 ran");
        assert_eq!(told, !dev.is_cpu(), "{profile}");
        let named = profile
            .spans
            .iter()
            .any(|span| span.name == "discount [5, 7]");
        assert_eq!(named, dev.is_cpu(), "{profile}");
    }
}

#[test]
fn the_example_runs() {
    custom_operation::main().unwrap();
}
