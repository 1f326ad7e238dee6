//! Scaled dot-product attention.

mod cache;
mod operation;
mod reference;

pub use cache::KvCache;
pub use operation::{Attention, AttentionGrad, Extras, Scores};

use crate::kernel::program::MapOp;
use crate::operation::{AnyOperation, apply_part};
use crate::ops::elementwise::cast;
use crate::tensor::create::draw;
use crate::tensor::views::materialized;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// Options of [`Tensor::scaled_dot_product_attention_with`].
#[derive(Clone, Default)]
pub struct AttentionOptions {
    /// Broadcasts to `[.., L, S]`: bools, true where a query may attend to a key, or floats, which are added to
    /// the scores.
    pub mask: Option<Tensor>,
    /// Whether query `i` attends to the keys `0..=i` only. Where there are other numbers of queries and keys,
    /// the first of both belong together, as in torch.
    pub is_causal: bool,
    /// The probability with which each weight becomes 0 (the others grow by `1 / (1 - dropout)`).
    pub dropout: f64,
    /// What products of queries and keys are multiplied by; without it `1 / sqrt(E)`.
    pub scale: Option<f64>,
    /// Whether `k` and `v` may have fewer heads (dimension -3) than `q`, of which then several in a row share
    /// one.
    pub enable_gqa: bool,
    /// A sliding window: query `i` attends to the keys `j` with `|i - j| < window` only. With
    /// [`is_causal`](AttentionOptions::is_causal) these are the last `window` ones, its own included.
    pub window: Option<usize>,
    /// A slope for each head, `[heads]`: `slope * |i - j|` is subtracted from the scores
    /// ([Press et al. 2022](https://arxiv.org/abs/2108.12409)).
    pub alibi: Option<Tensor>,
}

const NAME: &str = "scaled_dot_product_attention";

impl Tensor {
    /// `softmax(q k^T / sqrt(E)) v` for queries `[.., L, E]`, keys `[.., S, E]` and values `[.., S, V]`:
    /// `[.., L, V]`, as `torch.nn.functional.scaled_dot_product_attention`. Dimensions in front broadcast. Only
    /// floats, all of one type; 16-bit ones are computed in `f32`.
    ///
    /// The scores are never stored, neither for the result nor for gradients, so memory is linear in both
    /// lengths ([Dao 2024](https://arxiv.org/abs/2307.08691)); there is one kernel forward and three backward.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let q = Tensor::new([[1.0, 0.0]], &dev);
    /// let k = Tensor::new([[0.0, 1.0], [0.0, 2.0]], &dev);
    /// let v = Tensor::new([[3.0], [5.0]], &dev);
    /// let y = q.scaled_dot_product_attention(&k, &v);
    /// assert_eq!(y.to_vec::<f32>()?, [4.0]); // both keys are as near
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Shapes that do not fit give a failed tensor with [`Error::Shape`], other types one with
    /// [`Error::DType`].
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, k: &Tensor, v: &Tensor) -> Tensor {
        self.scaled_dot_product_attention_with(k, v, AttentionOptions::default())
    }

    /// [`Tensor::scaled_dot_product_attention`] with a mask, causality, dropout, a scale, grouped heads, a
    /// sliding window or linear biases. What is given together holds together: a key counts where mask,
    /// causality and window all admit it. A query that no key is left for gives 0, and so do its gradients.
    ///
    /// Keys that causality or the window leave out cost no time, and neither of them memory. A float mask that
    /// requires a gradient costs memory for all scores in the backward pass, and so do slopes that do.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::AttentionOptions;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0], [1.0], [1.0]], &dev);
    /// let v = Tensor::new([[1.0], [3.0], [5.0]], &dev);
    /// let causal = || AttentionOptions { is_causal: true, ..Default::default() };
    /// let y = x.scaled_dot_product_attention_with(&x, &v, causal());
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 3.0]);
    /// let window = AttentionOptions { window: Some(2), ..causal() };
    /// let y = x.scaled_dot_product_attention_with(&x, &v, window);
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 4.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Dropout draws from the device's generator; which weights it hits is the same on every device, and in
    /// the backward pass.
    #[track_caller]
    pub fn scaled_dot_product_attention_with(
        &self,
        k: &Tensor,
        v: &Tensor,
        options: AttentionOptions,
    ) -> Tensor {
        let place = Place::caller();
        let [q, k, v] = [self, k, v].map(|x| x.narrowed(place));
        place.within(|| q.then(|q| attention(&q, &k.capture()?, &v.capture()?, &options, place)))
    }
}

/// The sizes of an attention: dimensions in front (the heads last among them), and those of the kernel.
struct Sizes {
    lead: Shape,
    batch: usize,
    heads: usize,
    kv_heads: usize,
    queries: usize,
    keys: usize,
}

fn attention(
    q: &Value,
    k: &Value,
    v: &Value,
    options: &AttentionOptions,
    place: Place,
) -> Result<Tensor> {
    for other in [k, v] {
        same_device(NAME, q, other, place)?;
    }
    let dtype = q.dtype();
    if !dtype.is_float() || k.dtype() != dtype || v.dtype() != dtype {
        let problem = format!(
            "takes floats of one type, not {dtype}, {} and {}",
            k.dtype(),
            v.dtype()
        );
        return Err(Error::dtype(NAME, place, problem));
    }
    let sizes = sizes(q, k, v, options.enable_gqa, place)?;
    let (head, value_head) = (last(q.shape()), last(v.shape()));
    let Sizes {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        ..
    } = sizes;
    // Heads of no elements have products of 0, and no size to divide them by.
    let scale = options.scale.unwrap_or(1.0 / (head.max(1) as f64).sqrt());
    if !(0.0..=1.0).contains(&options.dropout) {
        let problem = format!("dropout {} must be within 0 and 1", options.dropout);
        return Err(Error::value(NAME, place, problem));
    }
    let whole = |x: &Value, kv: bool, rest: [usize; 2]| -> Result<Value> {
        let heads = if kv { kv_heads } else { heads };
        let lead = sizes.lead.iter().rev().skip(1).rev().copied();
        let own = (sizes.lead.rank() > 0).then_some(heads);
        let to: Shape = lead.chain(own).chain(rest).collect();
        let x = x.clone().into_tensor().expand(&to);
        let x = x.reshape([batch, heads, rest[0], rest[1]]).capture()?;
        materialized(&x, place)
    };
    let q = whole(q, false, [queries, head])?;
    let k = whole(k, true, [keys, head])?;
    let v = whole(v, true, [keys, value_head])?;
    let mask = options
        .mask
        .as_ref()
        .map(|mask| mask_of(mask, &q, &sizes, place));
    let alibi = options
        .alibi
        .as_ref()
        .map(|slopes| slopes_of(slopes, &q, heads, place));
    let (mask, alibi) = (mask.transpose()?, alibi.transpose()?);
    let seed = (options.dropout > 0.0).then(|| {
        draw(
            MapOp::RandomBits,
            4.into(),
            DType::U32,
            &q.node.device,
            place,
        )
        .capture()
    });
    let seed = seed.transpose()?;
    let scores = Scores {
        causal: options.is_causal,
        window: options.window,
        scale: scale.to_bits(),
        dropout: options.dropout.to_bits(),
        mask: mask.is_some(),
        alibi: alibi.is_some(),
    };
    let operands: Vec<&Value> = [&q, &k, &v]
        .into_iter()
        .chain(&mask)
        .chain(&alibi)
        .chain(&seed)
        .collect();
    let operation = Attention(scores);
    let part = Attention::OUTPUT;
    let y = match [batch, heads, queries, keys, head, value_head].contains(&0) {
        // Kernels are for what there is.
        true => {
            let operands = operands.iter().map(|&x| x.clone().into_tensor());
            let operands: Vec<Tensor> = operands.collect();
            reference::attention(&operation.0, &operands)?
                .1
                .to_dtype(dtype)
        }
        false => apply_part(AnyOperation::new(operation), &operands, part, place)?.transpose(1, 2),
    };
    let to: Shape = sizes
        .lead
        .iter()
        .copied()
        .chain([queries, value_head])
        .collect();
    Ok(y.reshape(&to))
}

fn last(shape: &Shape) -> usize {
    shape.last().copied().unwrap_or(0)
}

fn sizes(q: &Value, k: &Value, v: &Value, grouped: bool, place: Place) -> Result<Sizes> {
    let wrong = |problem: String| Err(Error::shape(NAME, place, problem));
    let (q, k, v) = (q.shape(), k.shape(), v.shape());
    let shapes = format!("queries {q}, keys {k} and values {v}");
    if q.rank() < 2 || k.rank() < 2 || v.rank() < 2 {
        return wrong(format!("{shapes} must have two dimensions or more each"));
    }
    let of = |shape: &Shape| -> (Shape, usize) {
        let rank = shape.rank();
        (Shape::from(&shape[..rank - 2]), shape[rank - 2])
    };
    let ((lead_q, queries), (lead_k, keys), (lead_v, values)) = (of(q), of(k), of(v));
    if last(q) != last(k) {
        return wrong(format!(
            "{shapes}: the last dimensions of queries ({}) and keys ({}) must agree",
            last(q),
            last(k)
        ));
    }
    if keys != values {
        return wrong(format!(
            "{shapes}: there must be as many keys ({keys}) as values ({values}), in the last dimension but one"
        ));
    }
    // Without the heads, if there are several of one's own.
    let no_fit = || {
        Error::shape(
            NAME,
            place,
            format!(
                "{shapes} do not broadcast in the dimensions before the last two (fewer heads of keys and values than of queries \
         are shared with enable_gqa)"
            ),
        )
    };
    let heads_of = |lead: &Shape| lead.last().copied().unwrap_or(1);
    let (of_q, of_k, of_v) = (heads_of(&lead_q), heads_of(&lead_k), heads_of(&lead_v));
    let shares = of_k == of_v && of_q != of_k && (of_k == 1 || grouped);
    if !shares {
        let lead = lead_q
            .broadcast(&lead_k)
            .and_then(|lead| lead.broadcast(&lead_v));
        let lead = lead.ok_or_else(no_fit)?;
        let heads = heads_of(&lead);
        return Ok(Sizes {
            batch: lead.iter().rev().skip(1).product(),
            lead,
            heads,
            kv_heads: heads,
            queries,
            keys,
        });
    }
    if of_k == 0 || !of_q.is_multiple_of(of_k) {
        return wrong(format!(
            "{shapes}: the heads of queries ({of_q}) must be a multiple of those of keys and values ({of_k})"
        ));
    }
    let outer = |lead: &Shape| Shape::from(&lead[..lead.rank().saturating_sub(1)]);
    let lead = outer(&lead_q)
        .broadcast(&outer(&lead_k))
        .and_then(|lead| lead.broadcast(&outer(&lead_v)))
        .ok_or_else(no_fit)?;
    Ok(Sizes {
        batch: lead.iter().product(),
        lead: lead.iter().copied().chain([of_q]).collect(),
        heads: of_q,
        kv_heads: of_k,
        queries,
        keys,
    })
}

/// A mask as a view `[batch, heads, queries, keys]`.
fn mask_of(mask: &Tensor, q: &Value, sizes: &Sizes, place: Place) -> Result<Value> {
    let mask = mask.capture()?;
    same_device(NAME, q, &mask, place)?;
    let dtype = q.dtype();
    let mask = match mask.dtype() {
        DType::Bool => mask,
        given if given == dtype || given == dtype.compute() => mask,
        given if given.is_float() => cast(&mask, dtype.compute(), place)?,
        given => {
            let problem = format!("a mask is of bools or floats, not of {given}");
            return Err(Error::dtype(NAME, place, problem));
        }
    };
    let shape = mask.shape().clone();
    let to: Shape = sizes
        .lead
        .iter()
        .copied()
        .chain([sizes.queries, sizes.keys])
        .collect();
    if shape.broadcast(&to).is_none_or(|all| all != to) {
        let problem = format!("a mask of shape {shape} does not broadcast to {to}");
        return Err(Error::shape(NAME, place, problem));
    }
    let whole = [sizes.batch, sizes.heads, sizes.queries, sizes.keys];
    let (rank, mask) = (shape.rank(), mask.into_tensor());
    // One for all heads stays a view, whatever the dimensions in front are.
    let one = shape.iter().rev().skip(2).all(|&d| d == 1);
    let mask = match one {
        true => {
            let dim = |back: usize| rank.checked_sub(back).map_or(1, |d| shape[d]);
            mask.reshape([1, 1, dim(2), dim(1)]).expand(whole)
        }
        false => mask.expand(&to).reshape(whole),
    };
    materialized(&mask.capture()?, place)
}

fn slopes_of(slopes: &Tensor, q: &Value, heads: usize, place: Place) -> Result<Value> {
    let slopes = slopes.capture()?;
    same_device(NAME, q, &slopes, place)?;
    if *slopes.shape() != [heads] {
        let problem = format!(
            "slopes of shape {}, not [{heads}], for {heads} heads",
            slopes.shape()
        );
        return Err(Error::shape(NAME, place, problem));
    }
    if !slopes.dtype().is_float() {
        let problem = format!("slopes are floats, not {}", slopes.dtype());
        return Err(Error::dtype(NAME, place, problem));
    }
    materialized(&cast(&slopes, q.dtype().compute(), place)?, place)
}
