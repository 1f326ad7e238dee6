//! Attention of several heads.

mod mask;

use std::fmt;

use wgrad_core::{AttentionOptions, DType, Error, Place, Result, Shape, Target, Tensor};
use wgrad_derive::Module;

use crate::forward::{Forward, Within};
use crate::hooks;
use crate::init::{self, Gain};
use crate::linear::Linear;
use crate::part::Training;
use crate::position::alibi_slopes;
use mask::Mask;

pub use mask::Masks;

/// Options of [`MultiheadAttention`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MultiheadAttentionOptions {
    /// The probability with which each weight of a key is dropped in training, 0 by default.
    pub dropout: f64,
    /// Whether there are biases, as by default.
    pub bias: bool,
    /// The size of keys, by default that of queries.
    pub kdim: Option<usize>,
    /// The size of values, by default that of queries.
    pub vdim: Option<usize>,
    /// Whether sequences are `[batch, length, ..]` instead of `[length, batch, ..]`.
    pub batch_first: bool,
    /// Whether a key and a value that are parameters stand behind the others.
    pub add_bias_kv: bool,
    /// Whether a key and a value of zeros stand behind the others.
    pub add_zero_attn: bool,
    /// Whether what lies far from a query counts less, more so in some heads than in others: attention with linear
    /// biases of the [usual slopes](crate::alibi_slopes) ([Press et al. 2022](https://arxiv.org/abs/2108.12409)), which
    /// PyTorch lacks. Distances are those of positions, so not with keys that are added.
    pub alibi: bool,
}

impl Default for MultiheadAttentionOptions {
    fn default() -> MultiheadAttentionOptions {
        MultiheadAttentionOptions {
            dropout: 0.0,
            bias: true,
            kdim: None,
            vdim: None,
            batch_first: false,
            add_bias_kv: false,
            add_zero_attn: false,
            alibi: false,
        }
    }
}

/// Attention of several heads, as `torch.nn.MultiheadAttention`
/// ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)): queries `[L, batch, embed_dim]`, keys
/// and values `[S, batch, ..]` (or the batch first, or without it) are projected and cut into
/// heads, of which each is `softmax(q k^T / sqrt(head size)) v`; the heads, side by side, are
/// projected again.
///
/// Parameters are PyTorch's: `in_proj_weight` `[3 embed_dim, embed_dim]` (or `q_proj_weight`,
/// `k_proj_weight`, `v_proj_weight` where keys or values are of another size), `in_proj_bias`,
/// `out_proj.weight` and `out_proj.bias`. The projections begin by [`init::xavier_uniform`], biases
/// by zeros, `bias_k` and `bias_v` by [`init::xavier_normal`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let options = nn::MultiheadAttentionOptions { batch_first: true, ..Default::default() };
/// let attention = nn::MultiheadAttention::with(8, 2, options, &dev);
/// let (x, memory) = (Tensor::randn([3, 5, 8], &dev), Tensor::randn([3, 7, 8], &dev));
/// assert_eq!(attention.forward(&x, &memory, &memory)?.shape()?, [3, 5, 8]);
///
/// let masks = nn::Masks::causal();
/// let (_, weights) = attention.forward_with_weights(&x, &x, &x, &masks, true)?;
/// assert_eq!(weights.shape()?, [3, 5, 5]); // the mean of the heads
/// assert_eq!(weights.triu(1).sum().item::<f32>()?, 0.0);
///
/// // In a sequence of layers it attends to itself.
/// let model = nn::Sequential::from((attention, nn::Relu));
/// assert_eq!(model.forward(&x)?.shape()?, [3, 5, 8]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct MultiheadAttention {
    /// `[3 embed_dim, embed_dim]`, for queries, keys and values.
    pub in_proj_weight: Option<Tensor>,
    /// `[embed_dim, embed_dim]`, where they are apart.
    pub q_proj_weight: Option<Tensor>,
    /// `[embed_dim, kdim]`.
    pub k_proj_weight: Option<Tensor>,
    /// `[embed_dim, vdim]`.
    pub v_proj_weight: Option<Tensor>,
    /// `[3 embed_dim]`.
    pub in_proj_bias: Option<Tensor>,
    /// `[1, 1, embed_dim]`, with [`add_bias_kv`](MultiheadAttentionOptions::add_bias_kv).
    pub bias_k: Option<Tensor>,
    /// `[1, 1, embed_dim]`, with [`add_bias_kv`](MultiheadAttentionOptions::add_bias_kv).
    pub bias_v: Option<Tensor>,
    /// What the heads are projected by.
    pub out_proj: Linear,
    training: Training,
    #[module(skip)]
    embed_dim: usize,
    #[module(skip)]
    num_heads: usize,
    #[module(skip)]
    options: MultiheadAttentionOptions,
}

const NAME: &str = "multihead_attention";

impl MultiheadAttention {
    /// Attention with the usual options. Heads that do not divide the size are an error of
    /// `forward`.
    #[track_caller]
    pub fn new(embed_dim: usize, num_heads: usize, target: impl Target) -> MultiheadAttention {
        let options = MultiheadAttentionOptions::default();
        MultiheadAttention::with(embed_dim, num_heads, options, target)
    }

    /// Attention with options.
    #[track_caller]
    pub fn with(
        embed_dim: usize,
        num_heads: usize,
        options: MultiheadAttentionOptions,
        target: impl Target,
    ) -> MultiheadAttention {
        let place = Place::caller();
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let (kdim, vdim) = (
            options.kdim.unwrap_or(embed_dim),
            options.vdim.unwrap_or(embed_dim),
        );
        let rows = embed_dim.saturating_mul(3);
        let draw = |rows: usize, columns: usize| {
            place.hold(|| {
                init::xavier_uniform([rows, columns], Gain::Linear, target).requires_grad()
            })
        };
        let zeros = |n: usize| place.hold(|| Tensor::zeros([n], target).requires_grad());
        let whole = kdim == embed_dim && vdim == embed_dim;
        let apart = |columns: usize| (!whole).then(|| draw(embed_dim, columns));
        let behind = || {
            let draw = || init::xavier_normal([1, 1, embed_dim], Gain::Linear, target);
            let drawn = options.add_bias_kv.then(|| place.hold(draw));
            drawn.map(Tensor::requires_grad)
        };
        let out = place.hold(|| Linear::without_bias(embed_dim, embed_dim, target));
        MultiheadAttention {
            in_proj_weight: whole.then(|| draw(rows, embed_dim)),
            q_proj_weight: apart(embed_dim),
            k_proj_weight: apart(kdim),
            v_proj_weight: apart(vdim),
            in_proj_bias: options.bias.then(|| zeros(rows)),
            bias_k: behind(),
            bias_v: behind(),
            out_proj: Linear {
                bias: options.bias.then(|| zeros(embed_dim)),
                ..out
            },
            training: Training::default(),
            embed_dim,
            num_heads,
            options,
        }
    }

    /// The options.
    pub fn options(&self) -> &MultiheadAttentionOptions {
        &self.options
    }

    /// What the queries get. Scores are never stored: memory is linear in the lengths.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        self.forward_masked(query, key, value, &Masks::default())
    }

    /// [`forward`](MultiheadAttention::forward) where queries do not attend to all keys. (A query
    /// that no key is left for gets zeros before the last projection, where PyTorch gives NaN.)
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_masked(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        masks: &Masks,
    ) -> Result<Tensor> {
        hooks::counted(
            self,
            query,
            |x, _| self.multiply_adds(x, key),
            |query| {
                let heads = self.heads([query, key, value], masks)?;
                let options = AttentionOptions {
                    mask: heads.mask.as_ref().map(Mask::admitted),
                    is_causal: heads.is_causal,
                    dropout: self.dropout(),
                    alibi: heads.slopes.clone(),
                    ..AttentionOptions::default()
                };
                let y = heads.query.scaled_dot_product_attention_with(
                    &heads.key,
                    &heads.value,
                    options,
                );
                self.joined(&y, &heads)
            },
        )
    }

    /// What the queries get, and the weights of the keys, `[batch, L, S]`: their means over the
    /// heads, or with `average` off `[batch, heads, L, S]`. As PyTorch's `need_weights`, whose rows
    /// without any key are NaN.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_with_weights(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        masks: &Masks,
        average: bool,
    ) -> Result<(Tensor, Tensor)> {
        hooks::counted(
            self,
            query,
            |x, _| self.multiply_adds(x, key),
            |query| {
                let heads = self.heads([query, key, value], masks)?;
                let scale = 1.0 / (heads.head_size as f64).sqrt();
                let mut scores = (&heads.query * scale).matmul(&heads.key.transpose(-2, -1));
                if let Some(slopes) = &heads.slopes {
                    let of = |n: usize| Tensor::arange(0..n as i32, query.device());
                    let apart = of(heads.queries).unsqueeze(1) - of(heads.keys);
                    let slopes = slopes.to_dtype(scores.dtype()?).reshape((-1, 1, 1));
                    scores = scores - slopes * apart.abs();
                }
                if let Some(mask) = &heads.mask {
                    scores = mask.applied(scores);
                }
                if heads.is_causal {
                    let ones =
                        Tensor::ones([heads.queries, heads.keys], (DType::F32, query.device()));
                    scores = scores.masked_fill(&ones.tril(0).eq(0.0), f64::NEG_INFINITY);
                }
                let weights = scores.softmax(-1).dropout(self.dropout(), true);
                let y = self.joined(&weights.matmul(&heads.value), &heads)?;
                let weights = if average {
                    weights.mean_dims([1], false)
                } else {
                    weights
                };
                let weights = if heads.single {
                    weights.squeeze(0)
                } else {
                    weights
                };
                Ok((y, weights.checked()?))
            },
        )
    }

    fn dropout(&self) -> f64 {
        match self.training.get() {
            true => self.options.dropout,
            false => 0.0,
        }
    }

    #[track_caller]
    fn wrong(&self, problem: String) -> Error {
        let (op, place) = (NAME, Place::caller());
        Error::Shape { op, problem, place }
    }

    /// The operands projected, in heads, and the masks.
    #[track_caller]
    fn heads(&self, [query, key, value]: [&Tensor; 3], masks: &Masks) -> Result<Heads> {
        let [q, k, v] = [query.shape()?, key.shape()?, value.shape()?];
        let rank = q.rank();
        if !(2..=3).contains(&rank) || k.rank() != rank || v.rank() != rank {
            let problem = format!(
                "a query of shape {q} with keys of {k} and values of {v}: all must have two dimensions, or three with a \
                 batch"
            );
            return Err(self.wrong(problem));
        }
        let single = rank == 2;
        let first = |x: &Tensor| match (single, self.options.batch_first) {
            (true, _) => x.unsqueeze(0),
            (false, true) => x.clone(),
            (false, false) => x.transpose(0, 1),
        };
        let head_size = self.embed_dim.checked_div(self.num_heads).unwrap_or(0);
        if head_size == 0 || head_size * self.num_heads != self.embed_dim {
            let (size, heads) = (self.embed_dim, self.num_heads);
            return Err(self.wrong(format!(
                "{heads} heads of an embedding of {size}, which must be a multiple of them"
            )));
        }
        let itself = query.is_same(key) && key.is_same(value);
        let projected = match &self.in_proj_weight {
            Some(weight) if itself => {
                let bias = self.in_proj_bias.as_ref();
                let all = first(query).linear(weight, bias);
                [0, 1, 2].map(|i| all.narrow(-1, i * self.embed_dim, self.embed_dim))
            }
            _ => {
                let apart = [
                    &self.q_proj_weight,
                    &self.k_proj_weight,
                    &self.v_proj_weight,
                ];
                let mut projected = [query, key, value].into_iter().enumerate().map(|(i, x)| {
                    let (from, rows) = (i * self.embed_dim, self.embed_dim);
                    let weight = match (apart[i], &self.in_proj_weight) {
                        (Some(weight), _) => weight.clone(),
                        (None, Some(all)) => all.narrow(0, from, rows),
                        (None, None) => return Err(self.wrong("there is no projection".into())),
                    };
                    let bias = self
                        .in_proj_bias
                        .as_ref()
                        .map(|bias| bias.narrow(0, from, rows));
                    first(x).linear(&weight, bias.as_ref()).checked()
                });
                let mut next = || projected.next().unwrap_or_else(|| Ok(query.clone()));
                [next()?, next()?, next()?]
            }
        };
        let [query, key, value] = projected;
        let query_device = &query.device().clone();
        let [batch, queries, _] = query.dims::<3>()?;
        let [key_batch, keys, _] = key.dims::<3>()?;
        if key_batch != batch || value.shape()? != key.shape()? {
            let problem = format!(
                "a query of shape {q} with keys of {k} and values of {v}: there must be one batch, and as many keys as \
                 values"
            );
            return Err(self.wrong(problem));
        }
        let added = usize::from(self.bias_k.is_some()) + usize::from(self.options.add_zero_attn);
        if self.options.alibi && added > 0 {
            return Err(self.wrong("alibi has no distance to keys that are added".into()));
        }
        let mut masked = self.mask(masks, [batch, queries, keys], single)?;
        // To keys that are added all queries attend.
        let is_causal = masks.is_causal && added == 0;
        if masks.is_causal && added > 0 {
            let ones = Tensor::ones([1, 1, queries, keys], (DType::Bool, query_device));
            let later = Mask::Out(ones.triu(1));
            masked = Some(match masked {
                Some(mask) => mask.and(later),
                None => later,
            });
        }
        let mask = masked.map(|mask| mask.widened(added));
        let [key, value] = [(key, &self.bias_k), (value, &self.bias_v)].map(|(x, bias)| {
            let mut parts = vec![x.clone()];
            parts.extend(
                bias.as_ref()
                    .map(|bias| bias.expand([batch, 1, self.embed_dim])),
            );
            if self.options.add_zero_attn {
                parts.push(x.narrow(1, 0, keys.min(1)).zeros_like().expand([
                    batch,
                    1,
                    self.embed_dim,
                ]));
            }
            match parts.len() {
                1 => x,
                _ => Tensor::cat(&parts, 1),
            }
        });
        let keys = keys + added;
        let cut = |x: Tensor, length: usize| {
            x.reshape([batch, length, self.num_heads, head_size])
                .transpose(1, 2)
        };
        Ok(Heads {
            query: cut(query, queries),
            key: cut(key, keys),
            value: cut(value, keys),
            mask,
            is_causal,
            slopes: self
                .options
                .alibi
                .then(|| alibi_slopes(self.num_heads, query_device)),
            head_size,
            queries,
            keys,
            single,
        })
    }

    /// Both masks as one that broadcasts to the scores.
    #[track_caller]
    fn mask(
        &self,
        masks: &Masks,
        [batch, queries, keys]: [usize; 3],
        single: bool,
    ) -> Result<Option<Mask>> {
        let heads = self.num_heads;
        let attn = masks.attn_mask.as_ref().map(|mask| {
            let shape = mask.shape()?;
            if shape == [queries, keys] {
                Mask::new(mask, [1, 1, queries, keys])
            } else if shape == [batch * heads, queries, keys] {
                Mask::new(mask, [batch, heads, queries, keys])
            } else {
                let whole = batch * heads;
                Err(self.wrong(format!(
                    "attn_mask of shape {shape}, not [{queries}, {keys}] or [{whole}, {queries}, {keys}]"
                )))
            }
        });
        let padding = masks.key_padding_mask.as_ref().map(|mask| {
            let shape = mask.shape()?;
            let wanted = if single {
                Shape::from([keys])
            } else {
                Shape::from([batch, keys])
            };
            if shape != wanted {
                return Err(self.wrong(format!("key_padding_mask of shape {shape}, not {wanted}")));
            }
            Mask::new(mask, [batch, 1, 1, keys])
        });
        Ok(match (attn.transpose()?, padding.transpose()?) {
            (Some(a), Some(b)) => Some(a.and(b)),
            (a, b) => a.or(b),
        })
    }

    /// The heads side by side, projected, in the shape of the query.
    #[track_caller]
    fn joined(&self, y: &Tensor, heads: &Heads) -> Result<Tensor> {
        let [batch, _, queries, _] = y.dims::<4>()?;
        let y = y.transpose(1, 2).reshape([batch, queries, self.embed_dim]);
        let y = match (heads.single, self.options.batch_first) {
            (true, _) => y.squeeze(0),
            (false, true) => y,
            (false, false) => y.transpose(0, 1),
        };
        self.out_proj.forward(&y).within("out_proj", &self.out_proj)
    }

    /// The projections and both products, without the last projection.
    fn multiply_adds(&self, query: &Shape, key: &Tensor) -> usize {
        let size = self.embed_dim;
        let queries = query.numel().checked_div(size).unwrap_or(0);
        let key = key.shape().unwrap_or_default();
        let (kdim, vdim) = (
            self.options.kdim.unwrap_or(size),
            self.options.vdim.unwrap_or(size),
        );
        let all_keys = key.numel().checked_div(kdim).unwrap_or(0);
        let length = match (key.rank(), self.options.batch_first) {
            (3, true) => key[1],
            (0, _) => 0,
            _ => key[0],
        };
        size * (queries * size + all_keys * (kdim + vdim) + 2 * queries * length)
    }
}

/// The operands of attention, `[batch, heads, length, head size]`.
struct Heads {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Option<Mask>,
    is_causal: bool,
    /// How fast each head forgets, `[heads]`.
    slopes: Option<Tensor>,
    head_size: usize,
    queries: usize,
    keys: usize,
    /// Whether there was no batch.
    single: bool,
}

impl fmt::Display for MultiheadAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MultiheadAttention({}, {}",
            self.embed_dim, self.num_heads
        )?;
        let options = &self.options;
        if options.dropout != 0.0 {
            write!(f, ", dropout={:?}", options.dropout)?;
        }
        f.write_str(if options.bias { "" } else { ", bias=false" })?;
        for (name, size) in [("kdim", options.kdim), ("vdim", options.vdim)] {
            if let Some(size) = size {
                write!(f, ", {name}={size}")?;
            }
        }
        f.write_str(if options.batch_first {
            ", batch_first=true)"
        } else {
            ")"
        })
    }
}

/// Attention of a sequence to itself.
impl Forward for MultiheadAttention {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        MultiheadAttention::forward(self, x, x, x)
    }
}
