//! Muon.

use wgrad_core::Tensor;

use super::layerwise::{Layerwise, LayerwiseRule};
use super::options::{decays, finite, not_negative, options};
use super::quantity::Quantity;

/// Muon, momentum whose matrix is made orthogonal
/// ([Jordan 2024](https://kellerjordan.github.io/posts/muon/)), as `torch.optim.Muon`, for matrices; the other
/// parameters of a network need an optimizer of their own, such as [`AdamW`](super::AdamW).
///
/// ```text
/// b = momentum b + (1 - momentum) grad      momentum_buffer
/// u = nesterov ? momentum b + (1 - momentum) grad : b
/// x = u / max(|u|, eps), turned so that it is wider than high; ns_steps times:
///     x = a x + (b a' + c a'^2) x  where a' = x x^T
/// p = p (1 - lr weight_decay) - lr ratio x
/// ```
///
/// The ratio is `sqrt(max(1, rows / columns))`, or with `match_rms_adamw` `0.2 sqrt(max(rows, columns))`. The
/// products are in the parameter's type, where torch takes bfloat16.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Muon, MuonOptions, Optimizer};
///
/// let w = Tensor::zeros([2, 2], &dev).requires_grad();
/// let mut muon = Muon::new(vec![w.clone()], MuonOptions { lr: 1.0, ..Default::default() });
/// (&w * Tensor::new([[100.0, 0.0], [0.0, -1.0]], &dev)).sum().backward()?;
/// muon.step()?;
/// let step = w.to_vec::<f32>()?; // both singular values near 1, whatever they were
/// assert!(step[0] < -0.6 && step[0] > -1.3 && step[3] > 0.1 && step[1] == 0.0);
/// # Ok(())
/// # }
/// ```
pub type Muon = Layerwise<MuonOptions>;

options! {
    /// Hyperparameters of [`Muon`].
    pub struct MuonOptions {
        /// Learning rate.
        lr: f64 = 1e-3,
        /// By how much, times the learning rate, each step shrinks the parameter.
        weight_decay: f64 = 0.1,
        /// Decay of the momentum buffer, in `[0, 1)`.
        momentum: f64 = 0.95,
        /// Nesterov's form of momentum.
        nesterov: bool = true,
        /// Coefficients of the polynomial: of the matrix itself ..
        ns_a: f64 = 3.4445,
        /// .. of its third power ..
        ns_b: f64 = -4.775,
        /// .. and of its fifth.
        ns_c: f64 = 2.0315,
        /// The least norm that is divided by.
        eps: f64 = 1e-7,
        /// How often the polynomial is applied.
        ns_steps: usize = 5,
        /// Steps of the size that AdamW's have.
        match_rms_adamw: bool = false,
    }
}

impl LayerwiseRule for MuonOptions {
    fn check(&self) -> Result<(), String> {
        not_negative(&[
            ("lr", self.lr),
            ("eps", self.eps),
            ("weight_decay", self.weight_decay),
        ])?;
        decays(&[("momentum", self.momentum)])?;
        finite(&[
            ("ns_a", self.ns_a),
            ("ns_b", self.ns_b),
            ("ns_c", self.ns_c),
        ])?;
        if self.ns_steps >= 100 {
            return Err(format!("ns_steps must be below 100, not {}", self.ns_steps));
        }
        Ok(())
    }

    fn takes(&self, shape: &[usize]) -> Result<(), String> {
        match shape.len() {
            2 => Ok(()),
            _ => Err(format!("Muon takes matrices, not the shape {shape:?}")),
        }
    }

    fn states(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
        vec![("momentum_buffer", shape.to_vec())]
    }

    fn update<X: Quantity>(
        &self,
        _: X,
        p: &Tensor,
        g: &Tensor,
        states: &[Tensor],
    ) -> (Tensor, Vec<Tensor>) {
        let lerp = |a: &Tensor, b: &Tensor, t: f64| a * (1.0 - t) + b * t;
        let buffer = lerp(&states[0], g, 1.0 - self.momentum);
        let u = if self.nesterov {
            lerp(g, &buffer, self.momentum)
        } else {
            buffer.clone()
        };
        let (rows, columns) = match p.shape().as_deref() {
            Ok(&[rows, columns]) => (rows, columns),
            _ => (1, 1),
        };
        let high = rows > columns;
        let mut x = if high { u.transpose(0, 1) } else { u };
        x = &x / x.sqr().sum().sqrt().maximum(self.eps);
        for _ in 0..self.ns_steps {
            let gram = x.matmul(&x.transpose(0, 1));
            let poly = &gram * self.ns_b + gram.matmul(&gram) * self.ns_c;
            x = &x * self.ns_a + poly.matmul(&x);
        }
        let x = if high { x.transpose(0, 1) } else { x };
        let ratio = if self.match_rms_adamw {
            0.2 * (rows.max(columns) as f64).sqrt()
        } else {
            (rows as f64 / columns as f64).max(1.0).sqrt()
        };
        let p = p * (1.0 - self.lr * self.weight_decay) - x * (self.lr * ratio);
        (p, vec![buffer])
    }
}
