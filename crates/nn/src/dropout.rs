//! Dropout.

use wgrad_core::{Result, Tensor};

use crate::forward::Forward;
use crate::hooks;
use crate::module::Module;
use crate::part::{Training, Visitor, VisitorMut};

/// In training, sets each element to zero with probability `p` and scales the others by
/// `1 / (1 - p)`; otherwise the identity
/// ([Hinton et al. 2012](https://arxiv.org/abs/1207.0580)).
///
/// The mask comes from the device's random stream and is an elementwise operation like any other,
/// so it joins the kernel of its neighbours.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::{Dropout, Forward, Module};
///
/// let dropout = Dropout::new(0.5);
/// let x = Tensor::ones([8], &dev);
/// assert!(dropout.forward(&x)?.to_vec::<f32>()?.iter().all(|&v| v == 0.0 || v == 2.0));
/// dropout.eval();
/// assert_eq!(dropout.forward(&x)?.to_vec::<f32>()?, [1.0; 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dropout {
    p: f64,
    training: Training,
}

impl Dropout {
    /// Dropout with probability `p`; `forward` is an error if `p` is not within 0 and 1.
    pub fn new(p: f64) -> Dropout {
        Dropout {
            p,
            training: Training::default(),
        }
    }

    /// The probability of a zero.
    pub fn p(&self) -> f64 {
        self.p
    }
}

impl Module for Dropout {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.part("training", &self.training);
    }

    fn visit_mut(&mut self, _: &mut VisitorMut<'_>) {}

    fn description(&self) -> String {
        format!("Dropout({})", self.p)
    }
}

impl Forward for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::call(self, x, |x| {
            x.dropout(self.p, self.training.get()).checked()
        })
    }
}
