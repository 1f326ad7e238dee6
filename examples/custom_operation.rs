//! An operation of one's own: the discounted sums of reinforcement learning, `y[t] = x[t] + g y[t + 1]` along
//! each row, with a kernel for the CPU, one for GPUs, and a reference in plain operations from which its
//! derivative comes.
//!
//!     cargo run --release --example custom_operation

use wgrad::prelude::*;
use wgrad::{AnyOperation, CpuKernel, Operation, Spec, Wgsl};

/// Discounted sums along the rows of a matrix.
///
/// What is hashed and compared is structure: another factor plans the program anew. It is kept as bits,
/// because floats have neither `Eq` nor `Hash`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Discount {
    factor: u64,
    /// Whether it brings a kernel for GPUs.
    shader: bool,
}

impl Discount {
    /// With a factor below 1.
    pub fn new(factor: f64) -> Discount {
        Discount {
            factor: factor.to_bits(),
            shader: true,
        }
    }

    /// The same without a kernel for GPUs: there it runs as its reference.
    pub fn without_shader(self) -> Discount {
        Discount {
            shader: false,
            ..self
        }
    }
}

/// The kernel for the CPU, for rows of any type.
fn discount<T: Copy + std::ops::Add<Output = T> + std::ops::Mul<Output = T>>(
    x: &[T],
    y: &mut [T],
    n: usize,
    factor: T,
) {
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let mut next = None;
        for (x, y) in x.iter().zip(y).rev() {
            *y = next.map_or(*x, |next| *x + factor * next);
            next = Some(*y);
        }
    }
}

/// The kernel for GPUs: a thread for each row. The factor is in the text, so a shader is compiled for each.
const SHADER: &str = "
// Discounted sums of each row, from its end to its beginning.
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_group(group, groups) * 64u + lane;
    if row >= params.rows {
        return;
    }
    var next = 0.0;
    for (var t = params.n; t > 0u; t--) {
        let i = row * params.n + t - 1u;
        next = load_x(i) + {{factor}} * next;
        store_y(i, next);
    }
}
";

impl Operation for Discount {
    const NAME: &'static str = "discount";

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        match operands {
            [x] if x.shape.rank() == 2 && matches!(x.dtype, DType::F32 | DType::F64) => {
                Ok(vec![x.clone()])
            }
            [x] => Err(format!("takes a matrix of f32 or f64, not {x}")),
            _ => Err(format!("takes one operand, not {}", operands.len())),
        }
    }

    /// A product with the triangular matrix of the factor's powers.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let x = &operands[0];
        let n = x.shape().map_or(0, |shape| shape[1]);
        let dtype = x.dtype().unwrap_or(DType::F32);
        let steps = Tensor::arange(n, (DType::I32, x.device()));
        let ahead = steps.unsqueeze(1) - steps.unsqueeze(0); // [from, to]
        let powers = (ahead.to_dtype(dtype) * f64::from_bits(self.factor).ln()).exp();
        let weights = ahead.ge(0).where_cond(powers, 0.0);
        vec![x.matmul(&weights)]
    }

    fn examples() -> Vec<(Discount, Vec<Spec>)> {
        vec![(Discount::new(0.9), vec![Spec::new([3, 7], DType::F32)])]
    }

    fn cpu(&self) -> Option<CpuKernel> {
        let factor = f64::from_bits(self.factor);
        Some(CpuKernel::new(move |x, y| {
            let (x, y) = (&x[0], &mut y[0]);
            let n = x.shape()[1].max(1);
            if let (Some(x), Some(y)) = (x.values::<f32>(), y.values_mut::<f32>()) {
                discount(x, y, n, factor as f32);
            } else if let (Some(x), Some(y)) = (x.values::<f64>(), y.values_mut::<f64>()) {
                discount(x, y, n, factor);
            }
        }))
    }

    fn wgsl(&self, operands: &[Spec]) -> Option<Wgsl> {
        let [rows, n] = operands.first()?.shape[..] else {
            return None;
        };
        let kernel = Wgsl::new(SHADER, rows.div_ceil(64))
            .operands(&["x"])
            .results(&["y"])
            .param("rows", rows)
            .param("n", n)
            .variable(
                "factor",
                format!("{:?}f", f64::from_bits(self.factor) as f32).as_str(),
            );
        self.shader.then_some(kernel)
    }
}

/// What others call.
pub fn discounted(x: &Tensor, factor: f64) -> Tensor {
    Tensor::custom(Discount::new(factor), &[x]).remove(0)
}

/// Runs it on every device.
pub fn main() -> wgrad::Result<()> {
    let mut devices = vec![wgrad::cpu()];
    devices.extend(wgrad::gpu());
    for dev in &devices {
        println!("{dev}");
        let rewards = Tensor::new([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]], dev).requires_grad();
        let returns = discounted(&rewards, 0.5);
        println!("returns {:?}", returns.to_vec::<f32>()?);
        returns.select(1, 0).sum().backward()?;
        println!(
            "gradient of the second ones {:?}",
            rewards.grad()?.to_vec::<f32>()?
        );

        // On a device without a kernel for it the reference runs, and the profile says so.
        let bare = Discount::new(0.5).without_shader();
        let known = dev.has_kernel(
            &AnyOperation::new(bare.clone()),
            &[Spec::new([2, 3], DType::F32)],
        );
        println!(
            "without the shader: {}",
            if known { "a kernel" } else { "the reference" }
        );
        if let Ok((_, profile)) = dev.profile(|| Tensor::custom(bare, &[&rewards])) {
            println!("{profile}");
        }
    }
    // The derivative, which is the reference's, against finite differences of the kernel.
    let x = Tensor::from_vec(vec![0.3, -1.0, 2.0, 0.7, 0.1, -0.4], [2, 3], &devices[0]);
    autograd::gradcheck(|x| discounted(&x[0], 0.9).sqr().sum(), &[x])?;
    println!("gradcheck: the derivative is right");
    Ok(())
}
