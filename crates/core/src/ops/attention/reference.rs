//! Attention in plain operations.

use super::Scores;
use crate::autograd::no_grad;
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// The heads of `x`, `[batch, heads, ..]`, by the head of keys that they share: `[batch, shared, group, ..]`.
fn grouped(x: &Tensor, shared: usize) -> Result<Tensor> {
    let shape = x.shape()?;
    let group = shape[1].checked_div(shared).unwrap_or(0);
    let to = [shape[0], shared, group]
        .into_iter()
        .chain(shape[2..].iter().copied());
    Ok(x.reshape(to.collect::<crate::Shape>()))
}

/// `[batch, shared, group, ..]` as `[batch, heads, ..]`.
fn flat(x: &Tensor, heads: usize) -> Result<Tensor> {
    let shape = x.shape()?;
    let to = [shape[0], heads]
        .into_iter()
        .chain(shape[3..].iter().copied());
    Ok(x.reshape(to.collect::<crate::Shape>()))
}

/// The operands in the type that is computed in.
fn wide(x: &Tensor) -> Result<Tensor> {
    Ok(x.to_dtype(x.dtype()?.compute()))
}

/// `s` of [`Scores`], `[batch, heads, queries, keys]`.
fn scores(scores: &Scores, q: &Tensor, k: &Tensor, extras: &[Tensor]) -> Result<Tensor> {
    let (shape, keys) = (q.shape()?, k.shape()?);
    let products = grouped(q, keys[1])?.matmul(&k.unsqueeze(2).transpose(-1, -2));
    let mut s = flat(&products, shape[1])? * scores.scale();
    let (dtype, device) = (s.dtype()?, s.device().clone());
    let i = Tensor::arange(shape[2], (DType::I32, &device)).unsqueeze(1);
    let j = Tensor::arange(keys[2], (DType::I32, &device));
    let apart = (&i - &j).abs();
    let extras = scores.split(extras);
    if let Some(slopes) = extras.alibi {
        s = s - slopes.to_dtype(dtype).reshape([-1, 1, 1]) * apart.to_dtype(dtype);
    }
    let mut admit = |seen: Tensor| s = seen.where_cond(&s, f64::NEG_INFINITY);
    if scores.causal {
        admit(j.le(&i));
    }
    if let Some(window) = scores.window {
        admit(apart.lt(i32::try_from(window).unwrap_or(i32::MAX)));
    }
    match extras.mask {
        Some(mask) if mask.dtype()? == DType::Bool => admit(mask.clone()),
        Some(mask) => s = s + mask.to_dtype(dtype),
        None => {}
    }
    Ok(s)
}

/// The factors of dropout, `[batch, heads, queries, keys]`.
fn kept(scores: &Scores, s: &Tensor, extras: &[Tensor]) -> Result<Option<Tensor>> {
    let Some(words) = scores.split(extras).seed else {
        return Ok(None);
    };
    let constant = |x: i64| Tensor::full([], x, (DType::U32, s.device()));
    let mix = |x: Tensor| -> Tensor {
        let x = x.bitwise_xor(x.bitwise_right_shift(16)) * constant(0x7feb_352d);
        let x = x.bitwise_xor(x.bitwise_right_shift(15)) * constant(0x846c_a68b);
        x.bitwise_xor(x.bitwise_right_shift(16))
    };
    let shape = s.shape()?;
    let [batch, heads, queries, keys] = shape[..] else {
        let place = Place::caller();
        return Err(Error::shape(
            super::NAME,
            place,
            format!("scores of shape {shape}"),
        ));
    };
    let count = |n: usize| Tensor::arange(n, (DType::U32, s.device()));
    let words: Vec<Tensor> = (0..4).map(|i| words.select(0, i)).collect();
    let row = mix(mix(count(batch * heads * queries).bitwise_xor(&words[0])) + &words[1]);
    let column = count(keys) * constant(0x9e37_79b9) + &words[2];
    let bits = mix(row.unsqueeze(1).bitwise_xor(column) + &words[3]);
    let (threshold, factor) = scores.threshold();
    let kept = bits.ge(i64::from(threshold)).to_dtype(s.dtype()?) * factor;
    Ok(Some(kept.reshape([batch, heads, queries, keys])))
}

/// The product of weights `[batch, heads, queries, keys]` and what belongs to keys.
fn weighted(weights: &Tensor, x: &Tensor) -> Result<Tensor> {
    let heads = weights.shape()?[1];
    flat(
        &grouped(weights, x.shape()?[1])?.matmul(&x.unsqueeze(2)),
        heads,
    )
}

/// What belongs to keys as the sum of what belongs to queries by weights.
fn gathered(weights: &Tensor, x: &Tensor, shared: usize) -> Result<Tensor> {
    let (weights, x) = (grouped(weights, shared)?, grouped(x, shared)?);
    Ok(weights.transpose(-1, -2).matmul(&x).sum_dims([2], false))
}

/// Logarithms and weighted sums, in the type that is computed in.
pub(super) fn attention(of: &Scores, operands: &[Tensor]) -> Result<(Tensor, Tensor)> {
    let (q, k, v) = (
        wide(&operands[0])?,
        wide(&operands[1])?,
        wide(&operands[2])?,
    );
    let extras = &operands[3..];
    let s = scores(of, &q, &k, extras)?;
    if k.shape()?[2] == 0 {
        // No keys: no weights.
        let lse = s.sum_dims([-1], false) + f64::INFINITY;
        return Ok((lse, weighted(&s, &v)?));
    }
    if s.numel()? == 0 {
        return Ok((s.sum_dims([-1], false), weighted(&s, &v)?));
    }
    // A shift of all scores of a query changes nothing, so it is a constant.
    let top = no_grad(|| s.max_dims([-1], true));
    let dead = top.eq(f64::NEG_INFINITY);
    let top = dead.where_cond(0.0, &top);
    let total = (&s - &top).exp().sum_dims([-1], true);
    let lse = dead.where_cond(f64::INFINITY, dead.where_cond(1.0, total).ln() + top);
    let mut p = (&s - &lse).exp();
    if let Some(kept) = kept(of, &s, extras)? {
        p = p * kept;
    }
    Ok((lse.squeeze(-1), weighted(&p, &v)?))
}

/// The gradients of [`super::AttentionGrad`].
pub(super) fn gradients(of: &Scores, operands: &[Tensor]) -> Result<Vec<Tensor>> {
    let dtype = operands[0].dtype()?;
    let wide: Vec<Tensor> = operands[..6].iter().map(wide).collect::<Result<_>>()?;
    let [q, k, v, g, lse, delta] = &wide[..] else {
        return Err(Error::Device("operands are missing".into()));
    };
    let extras = &operands[6..];
    let shared = k.shape()?[1];
    let s = scores(of, q, k, extras)?;
    let p = (&s - lse.unsqueeze(-1)).exp();
    let products = grouped(g, shared)?.matmul(&v.unsqueeze(2).transpose(-1, -2));
    let mut d = flat(&products, q.shape()?[1])?;
    let mut w = p.clone();
    if let Some(kept) = kept(of, &s, extras)? {
        d = d * &kept;
        w = w * kept;
    }
    let t = p * (d - delta.unsqueeze(-1)) * of.scale();
    let all = [
        weighted(&t, k)?,
        gathered(&t, q, shared)?,
        gathered(&w, g, shared)?,
    ];
    Ok(all.into_iter().map(|x| x.to_dtype(dtype)).collect())
}
