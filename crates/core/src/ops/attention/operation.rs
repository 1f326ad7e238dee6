//! Attention and its gradients as structured operations.

use super::reference;
use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

/// What scores are made of: `scale q k^T`, less `slope |i - j|`, plus a mask of floats; minus infinity where the
/// mask of bools, causality (`j <= i`) or the window (`|i - j| < window`) leave a key out.
///
/// Behind their first operands both operations take the mask (`[batch, heads, queries, keys]`), the slopes
/// (`[heads]`) and the words of dropout (`u32 [4]`), as far as there are any. The weight of query `i` and key `j`
/// of head `h` of batch `b` is kept, divided by `1 - dropout`, where
/// `mix((row ^ (j * 0x9e3779b9 + words[2])) + words[3])` is not below `2^32 dropout`, with
/// `row = mix(mix(((b heads + h) queries + i) ^ words[0]) + words[1])` and [`Scores::mix`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scores {
    /// Whether `j <= i` only.
    pub causal: bool,
    /// Whether `|i - j| < window` only.
    pub window: Option<usize>,
    /// The bits of an `f64`.
    pub scale: u64,
    /// The bits of an `f64`; 0 is none.
    pub dropout: u64,
    /// Whether there is a mask.
    pub mask: bool,
    /// Whether there are slopes.
    pub alibi: bool,
}

/// The operands that follow the first ones.
pub struct Extras<'a, T> {
    /// Of bools or floats.
    pub mask: Option<&'a T>,
    /// By head.
    pub alibi: Option<&'a T>,
    /// Of dropout.
    pub seed: Option<&'a T>,
}

impl Scores {
    /// What the products are multiplied by.
    pub fn scale(&self) -> f64 {
        f64::from_bits(self.scale)
    }

    /// The probability of dropout.
    pub fn dropout(&self) -> f64 {
        f64::from_bits(self.dropout)
    }

    /// Weights whose words are below this are dropped, and the factor of the others.
    pub fn threshold(&self) -> (u32, f64) {
        let p = self.dropout();
        let threshold = (p * 4_294_967_296.0) as u32;
        (threshold, if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 })
    }

    /// How many operands follow the first ones.
    pub fn extras(&self) -> usize {
        usize::from(self.mask) + usize::from(self.alibi) + usize::from(self.dropout() > 0.0)
    }

    /// Tells the operands apart that follow the first ones.
    pub fn split<'a, T>(&self, extras: &'a [T]) -> Extras<'a, T> {
        let mut rest = extras.iter();
        Extras {
            mask: self.mask.then(|| rest.next()).flatten(),
            alibi: self.alibi.then(|| rest.next()).flatten(),
            seed: (self.dropout() > 0.0).then(|| rest.next()).flatten(),
        }
    }

    /// A word as random as another ([Wellons 2018](https://nullprogram.com/blog/2018/07/31/), `lowbias32`).
    #[inline(always)]
    pub fn mix(mut x: u32) -> u32 {
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^ (x >> 16)
    }

    /// Checks the operands of both; their sizes.
    fn check(&self, operands: &[Spec], first: usize) -> Result<Checked, String> {
        if operands.len() != first + self.extras() {
            return Err(format!("{} operands", operands.len()));
        }
        let (q, k, v) = (&operands[0], &operands[1], &operands[2]);
        let ([batch, heads, queries, head], [b, kv_heads, keys, e], [b2, h2, keys2, value_head]) =
            (&q.shape[..], &k.shape[..], &v.shape[..])
        else {
            return Err(format!("queries {q}, keys {k} and values {v}"));
        };
        let fits = (b, b2, h2, keys2, e) == (batch, batch, kv_heads, keys, head);
        let shared = *kv_heads > 0 && heads.is_multiple_of(*kv_heads);
        if !fits || !shared {
            return Err(format!("queries {q}, keys {k} and values {v}"));
        }
        let dtype = q.dtype;
        if !dtype.is_float() || k.dtype != dtype || v.dtype != dtype {
            return Err(format!("queries {q}, keys {k} and values {v}"));
        }
        let extras = self.split(&operands[first..]);
        if let Some(mask) = extras.mask {
            let is_known = [DType::Bool, dtype, dtype.compute()].contains(&mask.dtype);
            if mask.shape != [*batch, *heads, *queries, *keys] || !is_known {
                return Err(format!("a mask {mask} for queries {q} and keys {k}"));
            }
        }
        if let Some(slopes) = extras.alibi
            && (slopes.shape != [*heads] || ![dtype, dtype.compute()].contains(&slopes.dtype))
        {
            return Err(format!("slopes {slopes} for queries {q}"));
        }
        if let Some(seed) = extras.seed
            && *seed != Spec::new(4, DType::U32)
        {
            return Err(format!("words of dropout {seed}"));
        }
        Ok(Checked {
            output: Spec::new([*batch, *queries, *heads, *value_head], dtype),
            grad: Spec::new([*batch, *heads, *queries, *value_head], dtype),
            by_row: Spec::new([*batch, *heads, *queries], dtype.compute()),
        })
    }
}

struct Checked {
    output: Spec,
    grad: Spec,
    by_row: Spec,
}

/// Attention of queries `[batch, heads, queries, E]` to keys `[batch, shared, keys, E]` with values
/// `[batch, shared, keys, V]`, where as many heads in a row share each head of keys: of its [`Scores`] `s`, the
/// logarithms `lse_i = ln(sum_j e^s_ij)` in the type that is computed in, infinity where all scores are minus
/// infinity, and `sum_j e^(s_ij - lse_i) v_j`, `[batch, queries, heads, V]`: the heads of a query lie beside each other,
/// as whoever projects them wants them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Attention(pub Scores);

impl Attention {
    /// The number of the result that holds the logarithms.
    pub const LSE: usize = 0;
    /// The number of the result that holds the weighted sums.
    pub const OUTPUT: usize = 1;
}

impl Operation for Attention {
    const NAME: &'static str = "attention";
    const RESULTS: usize = 2;

    fn called(&self) -> &'static str {
        super::NAME
    }

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let checked = self.0.check(operands, 3)?;
        Ok(vec![checked.by_row, checked.output])
    }

    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let device = operands[0].device();
        let results = || -> Result<Vec<Tensor>> {
            let (lse, output) = reference::attention(&self.0, operands)?;
            let output = output.to_dtype(operands[0].dtype()?);
            Ok(vec![lse, output.transpose(1, 2)])
        };
        results().unwrap_or_else(|error| vec![Tensor::fail(device, error); 2])
    }

    fn keeps_result(&self, part: usize, _: usize) -> bool {
        part == Self::OUTPUT
    }

    /// Of queries, keys and values by [`AttentionGrad`]; what else there is needs all scores.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        if c.part() != Self::OUTPUT {
            return c.of_reference(self);
        }
        let mut all = vec![None; c.operands()];
        if (3..c.operands()).any(|i| c.needs(i)) {
            all = c.of_reference(self);
        }
        let wanted: Vec<usize> = (0..3).filter(|&i| c.needs(i)).collect();
        let made = || -> Result<Vec<Tensor>> {
            let lse = c.result(Self::LSE);
            let wide = |x: &Tensor| Ok::<_, crate::Error>(x.to_dtype(lse.dtype()?));
            let products = wide(c.grad())? * wide(&c.result(Self::OUTPUT))?;
            let delta = products.sum_dims([-1], false).transpose(1, 2);
            let grad = c.grad().transpose(1, 2);
            let first = (0..3).map(|i| c.operand(i)).chain([grad, lse, delta]);
            let operands = first.chain((3..c.operands()).map(|i| c.operand(i)));
            let operands: Vec<Value> = operands.map(|x| x.capture()).collect::<Result<_>>()?;
            let operands: Vec<&Value> = operands.iter().collect();
            let operation = AnyOperation::new(AttentionGrad(self.0.clone()));
            apply(operation, &operands, &wanted, Place::caller())
        };
        let made = match wanted.is_empty() {
            true => Ok(Vec::new()),
            false => made(),
        };
        let device = c.grad().device();
        let made = made.unwrap_or_else(|error| vec![Tensor::fail(device, error); wanted.len()]);
        for (&i, grad) in wanted.iter().zip(made) {
            all[i] = Some(grad);
        }
        all
    }

    fn examples() -> Vec<(Attention, Vec<Spec>)> {
        let case = |(scores, first): (Scores, Vec<Spec>)| {
            let (mut operands, extras) = (first, scores.extras());
            let extras = operands.split_off(operands.len() - extras);
            operands.truncate(3);
            operands.extend(extras);
            (Attention(scores), operands)
        };
        cases().into_iter().map(case).collect()
    }
}

/// The gradients of [`Attention`]'s queries, keys and values, by that of its weighted sums. Operands are these
/// three, the gradient `g`, the logarithms, and `delta_i = g_i . output_i`, then those of [`Scores`]. With
/// `p_ij = e^(s_ij - lse_i)`, `d_ij = g_i . v_j` and weights kept by dropout `m_ij` (0, or `1 / (1 - dropout)`):
/// `t_ij = scale p_ij (m_ij d_ij - delta_i)`, the gradients are `sum_j t_ij k_j`, `sum_i t_ij q_i`, and
/// `sum_i m_ij p_ij g_i`, sums over `i` also over the heads that share a key.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AttentionGrad(pub Scores);

impl AttentionGrad {
    /// How many operands come before those of the scores.
    pub const FIRST: usize = 6;
}

impl Operation for AttentionGrad {
    const NAME: &'static str = "attention_grad";
    const RESULTS: usize = 3;

    fn called(&self) -> &'static str {
        super::NAME
    }

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let checked = self.0.check(operands, Self::FIRST)?;
        let [grad, lse, delta] = &operands[3..Self::FIRST] else {
            return Err(format!("{} operands", operands.len()));
        };
        if *grad != checked.grad || *lse != checked.by_row || *delta != checked.by_row {
            return Err(format!(
                "a gradient {grad} with logarithms {lse} and {delta}"
            ));
        }
        Ok(operands[..3].to_vec())
    }

    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let device = operands[0].device();
        let results = reference::gradients(&self.0, operands);
        results.unwrap_or_else(|error| vec![Tensor::fail(device, error); 3])
    }

    fn examples() -> Vec<(AttentionGrad, Vec<Spec>)> {
        let cases = cases().into_iter();
        cases
            .map(|(scores, operands)| (AttentionGrad(scores), operands))
            .collect()
    }
}

/// Scores with operands of [`AttentionGrad`].
fn cases() -> Vec<(Scores, Vec<Spec>)> {
    let plain = || Scores {
        causal: false,
        window: None,
        scale: 0.6f64.to_bits(),
        dropout: 0,
        mask: false,
        alibi: false,
    };
    // Batch, heads, heads of keys, queries, keys, sizes of heads.
    let case = |scores: Scores, [b, h, s, l, n, e, v]: [usize; 7], mask: DType| {
        let float = |shape: &[usize]| Spec::new(shape, DType::F32);
        let mut operands = vec![
            float(&[b, h, l, e]),
            float(&[b, s, n, e]),
            float(&[b, s, n, v]),
            float(&[b, h, l, v]),
            float(&[b, h, l]),
            float(&[b, h, l]),
        ];
        if scores.mask {
            operands.push(Spec::new([b, h, l, n], mask));
        }
        if scores.alibi {
            operands.push(float(&[h]));
        }
        if scores.dropout() > 0.0 {
            operands.push(Spec::new(4, DType::U32));
        }
        (scores, operands)
    };
    let causal = || Scores {
        causal: true,
        ..plain()
    };
    let window = Scores {
        mask: true,
        window: Some(9),
        ..plain()
    };
    let most = Scores {
        mask: true,
        alibi: true,
        dropout: 0.3f64.to_bits(),
        ..plain()
    };
    // Large ones, of which tests take one type: each form takes a GPU's driver on the CPU seconds to compile.
    vec![
        case(causal(), [2, 2, 1, 130, 70, 3, 2], DType::F32),
        case(window, [1, 2, 2, 30, 34, 8, 4], DType::Bool),
        case(most, [1, 2, 1, 2, 3, 4, 5], DType::F32),
        case(causal(), [1, 2, 1, 70, 70, 32, 20], DType::F32),
        case(plain(), [1, 1, 1, 66, 40, 64, 64], DType::F32),
        case(plain(), [1, 1, 1, 4, 3, 256, 256], DType::F32),
    ]
}
