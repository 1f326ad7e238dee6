//! The optimizers' steps in plain operations: what runs with fusion off, and what the fused
//! kernels are tested against. (Matrix products and cross-entropy have theirs beside them.)

use crate::kernel::ScalarBits;
use crate::tensor::Tensor;
use crate::types::error::{Error, Result};
use crate::update::UpdateRule;

impl UpdateRule {
    /// One step of one parameter: its new value and its new states, by the formulas of
    /// [`Kernel::Adam`](crate::Kernel::Adam) and [`Kernel::Sgd`](crate::Kernel::Sgd). `numbers` are
    /// a segment's scalars after the element range.
    pub(crate) fn reference(
        self,
        numbers: &[ScalarBits],
        p: &Tensor,
        grad: &Tensor,
        states: &[Tensor],
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let incomplete = || Error::Device("an optimizer's numbers are incomplete".into());
        match self {
            UpdateRule::Adam {
                decoupled,
                amsgrad,
                maximize,
            } => {
                let (&[decay, beta1, beta2, step, scale, eps], [m, v, ..]) = (numbers, states)
                else {
                    return Err(incomplete());
                };
                let [decay, beta1, beta2] = [decay, beta1, beta2].map(ScalarBits::to_f64);
                let [step, scale, eps] = [step, scale, eps].map(ScalarBits::to_f64);
                let mut g = if maximize { -grad } else { grad.clone() };
                let mut p = p.clone();
                if decoupled {
                    p = p * decay;
                } else {
                    g = g + &p * decay;
                }
                let m = m * beta1 + &g * (1.0 - beta1);
                let v = v * beta2 + &g * &g * (1.0 - beta2);
                let mut new = vec![m.clone(), v.clone()];
                let mut u = v;
                if let (true, Some(largest)) = (amsgrad, states.get(2)) {
                    u = largest.maximum(&u);
                    new.push(u.clone());
                }
                Ok((p - m * step / (u.sqrt() * scale + eps), new))
            }
            UpdateRule::Sgd {
                momentum: with_momentum,
                nesterov,
                maximize,
            } => {
                let &[lr, decay, momentum, dampening, first] = numbers else {
                    return Err(incomplete());
                };
                let [lr, decay] = [lr, decay].map(ScalarBits::to_f64);
                let [momentum, dampening] = [momentum, dampening].map(ScalarBits::to_f64);
                let mut g = if maximize { -grad } else { grad.clone() };
                g = g + p * decay;
                let mut new = Vec::new();
                if let (true, Some(buffer)) = (with_momentum, states.first()) {
                    let buffer = match first.to_i64() {
                        0 => buffer * momentum + &g * (1.0 - dampening),
                        _ => g.clone(),
                    };
                    g = if nesterov {
                        g + &buffer * momentum
                    } else {
                        buffer.clone()
                    };
                    new.push(buffer);
                }
                Ok((p - g * lr, new))
            }
        }
    }
}
