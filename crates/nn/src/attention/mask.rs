//! Which keys a query attends to.

use wgrad_core::{DType, Error, PadMode, Place, Result, Tensor};

use super::NAME;

/// Which keys a query does not attend to. Masks of bools are true where it does **not**, as in
/// `torch.nn` (and other than in
/// [`scaled_dot_product_attention_with`](Tensor::scaled_dot_product_attention_with)); masks of
/// floats are added to the scores.
#[derive(Clone, Default, Debug)]
pub struct Masks {
    /// `[queries, keys]`, or `[batch * heads, queries, keys]`.
    pub attn_mask: Option<Tensor>,
    /// `[batch, keys]`, or `[keys]` without a batch: keys that only fill up a sequence.
    pub key_padding_mask: Option<Tensor>,
    /// Whether query `i` attends to the keys `0..=i` only.
    pub is_causal: bool,
}

impl Masks {
    /// Query `i` attends to the keys `0..=i` only.
    pub fn causal() -> Masks {
        Masks {
            is_causal: true,
            ..Masks::default()
        }
    }
}

/// A mask of the scores.
pub(super) enum Mask {
    /// True where a query does not attend.
    Out(Tensor),
    /// What is added.
    Added(Tensor),
}

impl Mask {
    #[track_caller]
    pub(super) fn new(mask: &Tensor, shape: [usize; 4]) -> Result<Mask> {
        let dtype = mask.dtype()?;
        let mask = mask.reshape(shape);
        match dtype {
            DType::Bool => Ok(Mask::Out(mask)),
            dtype if dtype.is_float() => Ok(Mask::Added(mask)),
            dtype => Err(Error::DType {
                op: NAME,
                problem: format!("masks are of bools or floats, not {dtype}"),
                place: Place::caller(),
            }),
        }
    }

    /// The same with so many keys behind the others, to which all queries attend.
    #[track_caller]
    pub(super) fn widened(self, keys: usize) -> Mask {
        if keys == 0 {
            return self;
        }
        let more = [0, keys as isize];
        match self {
            Mask::Out(out) => Mask::Out(out.pad(&more, PadMode::ZERO)),
            Mask::Added(added) => Mask::Added(added.pad(&more, PadMode::ZERO)),
        }
    }

    /// Both.
    #[track_caller]
    pub(super) fn and(self, other: Mask) -> Mask {
        match (self, other) {
            (Mask::Out(a), Mask::Out(b)) => Mask::Out(a.logical_or(b)),
            (Mask::Added(a), Mask::Added(b)) => Mask::Added(a + b),
            (Mask::Out(out), Mask::Added(added)) | (Mask::Added(added), Mask::Out(out)) => {
                Mask::Added(out.where_cond(f64::NEG_INFINITY, added))
            }
        }
    }

    /// As [`AttentionOptions`] has it: true where a query attends, or what is added.
    #[track_caller]
    pub(super) fn admitted(&self) -> Tensor {
        match self {
            Mask::Out(out) => out.logical_not(),
            Mask::Added(added) => added.clone(),
        }
    }

    #[track_caller]
    pub(super) fn applied(&self, scores: Tensor) -> Tensor {
        match self {
            Mask::Out(out) => scores.masked_fill(out, f64::NEG_INFINITY),
            Mask::Added(added) => scores + added,
        }
    }
}
