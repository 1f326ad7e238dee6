//! Transformers.

use wgrad_core::{Place, Result, Target, Tensor};
use wgrad_derive::Module;

use crate::attention::{Masks, MultiheadAttention, MultiheadAttentionOptions};
use crate::dropout::Dropout;
use crate::forward::{Forward, Within};
use crate::hooks;
use crate::init::{self, Gain};
use crate::linear::Linear;
use crate::module::Module;
use crate::norm::{LayerNorm, LayerNormOptions};

/// What stands between the two linear layers of a transformer's layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// [`Tensor::gelu`].
    Gelu,
}

impl Activation {
    #[track_caller]
    fn of(self, x: &Tensor) -> Tensor {
        match self {
            Activation::Relu => x.relu(),
            Activation::Gelu => x.gelu(),
        }
    }
}

/// Options of the layers of transformers; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TransformerLayerOptions {
    /// The size between the two linear layers, 2,048 by default.
    pub dim_feedforward: usize,
    /// The probability of dropout, 0.1 by default.
    pub dropout: f64,
    /// What stands between the two linear layers.
    pub activation: Activation,
    /// What layer norms add to variances, 1e-5 by default.
    pub layer_norm_eps: f64,
    /// Whether sequences are `[batch, length, ..]` instead of `[length, batch, ..]`.
    pub batch_first: bool,
    /// Whether layer norms stand before attention and linear layers, and not behind the sums.
    pub norm_first: bool,
    /// Whether there are biases, as by default.
    pub bias: bool,
}

impl Default for TransformerLayerOptions {
    fn default() -> TransformerLayerOptions {
        TransformerLayerOptions {
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: Activation::Relu,
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
        }
    }
}

impl TransformerLayerOptions {
    #[track_caller]
    fn attention(&self, d_model: usize, heads: usize, target: impl Target) -> MultiheadAttention {
        let options = MultiheadAttentionOptions {
            dropout: self.dropout,
            bias: self.bias,
            batch_first: self.batch_first,
            ..Default::default()
        };
        MultiheadAttention::with(d_model, heads, options, target)
    }

    #[track_caller]
    fn norm(&self, d_model: usize, target: impl Target) -> LayerNorm {
        let options = LayerNormOptions {
            eps: self.layer_norm_eps,
            bias: self.bias,
            ..Default::default()
        };
        LayerNorm::with(d_model, options, target)
    }

    #[track_caller]
    fn linear(&self, inputs: usize, outputs: usize, target: impl Target) -> Linear {
        match self.bias {
            true => Linear::new(inputs, outputs, target),
            false => Linear::without_bias(inputs, outputs, target),
        }
    }
}

/// A layer of a transformer's encoder, as `torch.nn.TransformerEncoderLayer`
/// ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)): attention of a sequence
/// `[length, batch, d_model]` to itself, then two linear layers, each added to what it took. With
/// `norm_first`
///
/// ```text
/// x = x + attention(norm1(x))      else    x = norm1(x + attention(x))
/// x = x + feed_forward(norm2(x))           x = norm2(x + feed_forward(x))
/// ```
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layer = nn::TransformerEncoderLayer::new(16, 4, &dev);
/// let x = Tensor::randn([10, 2, 16], &dev);
/// assert_eq!(layer.forward(&x)?.shape()?, [10, 2, 16]);
/// let y = layer.forward_masked(&x, &nn::Masks::causal())?;
/// assert_eq!(y.shape()?, [10, 2, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate)]
pub struct TransformerEncoderLayer {
    /// Attention of the sequence to itself.
    pub self_attn: MultiheadAttention,
    /// From `d_model` to `dim_feedforward`.
    pub linear1: Linear,
    dropout: Dropout,
    /// From `dim_feedforward` to `d_model`.
    pub linear2: Linear,
    /// The norm at the attention.
    pub norm1: LayerNorm,
    /// The norm at the linear layers.
    pub norm2: LayerNorm,
    dropout1: Dropout,
    dropout2: Dropout,
    #[module(skip)]
    options: TransformerLayerOptions,
}

impl TransformerEncoderLayer {
    /// A layer with the usual options.
    #[track_caller]
    pub fn new(d_model: usize, nhead: usize, target: impl Target) -> TransformerEncoderLayer {
        let options = TransformerLayerOptions::default();
        TransformerEncoderLayer::with(d_model, nhead, options, target)
    }

    /// A layer with options.
    #[track_caller]
    pub fn with(
        d_model: usize,
        nhead: usize,
        options: TransformerLayerOptions,
        target: impl Target,
    ) -> TransformerEncoderLayer {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let hidden = options.dim_feedforward;
        TransformerEncoderLayer {
            self_attn: options.attention(d_model, nhead, target),
            linear1: options.linear(d_model, hidden, target),
            dropout: Dropout::new(options.dropout),
            linear2: options.linear(hidden, d_model, target),
            norm1: options.norm(d_model, target),
            norm2: options.norm(d_model, target),
            dropout1: Dropout::new(options.dropout),
            dropout2: Dropout::new(options.dropout),
            options,
        }
    }

    /// [`Forward`] where the sequence does not attend to all of itself.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, masks: &Masks) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let attend = |x: &Tensor| {
                let y = self.self_attn.forward_masked(x, x, x, masks);
                self.dropout1
                    .forward(&y.within("self_attn", &self.self_attn)?)
            };
            let feed = |x: &Tensor| {
                let layers = (&self.linear1, &self.dropout, &self.linear2, &self.dropout2);
                feed_forward(x, self.options.activation, layers)
            };
            let x = residual(x, &self.norm1, "norm1", self.options.norm_first, attend)?;
            residual(&x, &self.norm2, "norm2", self.options.norm_first, feed)
        })
    }
}

/// `x + f(norm(x))`, or `norm(x + f(x))`.
#[track_caller]
fn residual(
    x: &Tensor,
    norm: &LayerNorm,
    name: &str,
    norm_first: bool,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    if norm_first {
        let y = f(&norm.forward(x).within(name, norm)?)?;
        return (x + y).checked();
    }
    let sum = x + f(x)?;
    norm.forward(&sum).within(name, norm)
}

/// Two linear layers, an activation and dropout.
#[track_caller]
fn feed_forward(
    x: &Tensor,
    activation: Activation,
    (linear1, dropout, linear2, last): (&Linear, &Dropout, &Linear, &Dropout),
) -> Result<Tensor> {
    let hidden = linear1.forward(x).within("linear1", linear1)?;
    let hidden = dropout
        .forward(&activation.of(&hidden))
        .within("dropout", dropout)?;
    let y = linear2.forward(&hidden).within("linear2", linear2)?;
    last.forward(&y)
}

impl Forward for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, &Masks::default())
    }
}

/// A layer of a transformer's decoder, as `torch.nn.TransformerDecoderLayer`: as
/// [`TransformerEncoderLayer`], with attention to what the encoder gave between its two parts.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layer = nn::TransformerDecoderLayer::new(16, 4, &dev);
/// let (x, memory) = (Tensor::randn([10, 2, 16], &dev), Tensor::randn([7, 2, 16], &dev));
/// assert_eq!(layer.forward(&x, &memory)?.shape()?, [10, 2, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate)]
pub struct TransformerDecoderLayer {
    /// Attention of the sequence to itself.
    pub self_attn: MultiheadAttention,
    /// Attention to what the encoder gave.
    pub multihead_attn: MultiheadAttention,
    /// From `d_model` to `dim_feedforward`.
    pub linear1: Linear,
    dropout: Dropout,
    /// From `dim_feedforward` to `d_model`.
    pub linear2: Linear,
    /// The norm at the attention to itself.
    pub norm1: LayerNorm,
    /// The norm at the attention to the encoder.
    pub norm2: LayerNorm,
    /// The norm at the linear layers.
    pub norm3: LayerNorm,
    dropout1: Dropout,
    dropout2: Dropout,
    dropout3: Dropout,
    #[module(skip)]
    options: TransformerLayerOptions,
}

impl TransformerDecoderLayer {
    /// A layer with the usual options.
    #[track_caller]
    pub fn new(d_model: usize, nhead: usize, target: impl Target) -> TransformerDecoderLayer {
        let options = TransformerLayerOptions::default();
        TransformerDecoderLayer::with(d_model, nhead, options, target)
    }

    /// A layer with options.
    #[track_caller]
    pub fn with(
        d_model: usize,
        nhead: usize,
        options: TransformerLayerOptions,
        target: impl Target,
    ) -> TransformerDecoderLayer {
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        let hidden = options.dim_feedforward;
        let dropout = || Dropout::new(options.dropout);
        TransformerDecoderLayer {
            self_attn: options.attention(d_model, nhead, target),
            multihead_attn: options.attention(d_model, nhead, target),
            linear1: options.linear(d_model, hidden, target),
            dropout: dropout(),
            linear2: options.linear(hidden, d_model, target),
            norm1: options.norm(d_model, target),
            norm2: options.norm(d_model, target),
            norm3: options.norm(d_model, target),
            dropout1: dropout(),
            dropout2: dropout(),
            dropout3: dropout(),
            options,
        }
    }

    /// The sequence `x`, and what the encoder gave.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, memory: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, memory, &Masks::default(), &Masks::default())
    }

    /// [`forward`](TransformerDecoderLayer::forward) where the sequence does not attend to all of
    /// itself, or of what the encoder gave.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_masked(
        &self,
        x: &Tensor,
        memory: &Tensor,
        masks: &Masks,
        memory_masks: &Masks,
    ) -> Result<Tensor> {
        let norm_first = self.options.norm_first;
        hooks::layer(self, x, |x| {
            let attend = |x: &Tensor| {
                let y = self.self_attn.forward_masked(x, x, x, masks);
                self.dropout1
                    .forward(&y.within("self_attn", &self.self_attn)?)
            };
            let look = |x: &Tensor| {
                let y = self
                    .multihead_attn
                    .forward_masked(x, memory, memory, memory_masks);
                self.dropout2
                    .forward(&y.within("multihead_attn", &self.multihead_attn)?)
            };
            let feed = |x: &Tensor| {
                let layers = (&self.linear1, &self.dropout, &self.linear2, &self.dropout3);
                feed_forward(x, self.options.activation, layers)
            };
            let x = residual(x, &self.norm1, "norm1", norm_first, attend)?;
            let x = residual(&x, &self.norm2, "norm2", norm_first, look)?;
            residual(&x, &self.norm3, "norm3", norm_first, feed)
        })
    }
}

/// Layers of an encoder, and maybe a norm behind them, as `torch.nn.TransformerEncoder` (where the
/// layers begin as copies of one; here each is what you make it).
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layers = (0..2).map(|_| nn::TransformerEncoderLayer::new(16, 4, &dev)).collect();
/// let encoder = nn::TransformerEncoder { layers, norm: None };
/// assert_eq!(encoder.forward(&Tensor::randn([10, 2, 16], &dev))?.shape()?, [10, 2, 16]);
/// assert_eq!(encoder.named_parameters()[0].0, "layers.0.self_attn.in_proj_weight");
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// What stands behind them.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// [`Forward`] where the sequence does not attend to all of itself.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, masks: &Masks) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let mut x = x.clone();
            for (i, layer) in self.layers.iter().enumerate() {
                x = layer
                    .forward_masked(&x, masks)
                    .within(&format!("layers.{i}"), layer)?;
            }
            behind(x, self.norm.as_ref())
        })
    }
}

#[track_caller]
fn behind(x: Tensor, norm: Option<&LayerNorm>) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&x).within("norm", norm),
        None => x.checked(),
    }
}

impl Forward for TransformerEncoder {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, &Masks::default())
    }
}

/// Layers of a decoder, and maybe a norm behind them, as `torch.nn.TransformerDecoder`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let layers = (0..2).map(|_| nn::TransformerDecoderLayer::new(16, 4, &dev)).collect();
/// let decoder = nn::TransformerDecoder { layers, norm: Some(nn::LayerNorm::new(16, &dev)) };
/// let (x, memory) = (Tensor::randn([10, 2, 16], &dev), Tensor::randn([7, 2, 16], &dev));
/// assert_eq!(decoder.forward(&x, &memory)?.shape()?, [10, 2, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// What stands behind them.
    pub norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// The sequence `x`, and what the encoder gave.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, memory: &Tensor) -> Result<Tensor> {
        self.forward_masked(x, memory, &Masks::default(), &Masks::default())
    }

    /// [`forward`](TransformerDecoder::forward) where the sequence does not attend to all of itself,
    /// or of what the encoder gave.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_masked(
        &self,
        x: &Tensor,
        memory: &Tensor,
        masks: &Masks,
        memory_masks: &Masks,
    ) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let mut x = x.clone();
            for (i, layer) in self.layers.iter().enumerate() {
                let y = layer.forward_masked(&x, memory, masks, memory_masks);
                x = y.within(&format!("layers.{i}"), layer)?;
            }
            behind(x, self.norm.as_ref())
        })
    }
}

/// An encoder and a decoder, as `torch.nn.Transformer`: of a source `[S, batch, d_model]` and a
/// target `[T, batch, d_model]`, `[T, batch, d_model]`. Weights begin by [`init::xavier_uniform`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let options = nn::TransformerLayerOptions { dim_feedforward: 32, ..Default::default() };
/// let model = nn::Transformer::with(16, 4, [2, 2], options, &dev);
/// let (source, target) = (Tensor::randn([7, 2, 16], &dev), Tensor::randn([10, 2, 16], &dev));
/// assert_eq!(model.forward(&source, &target)?.shape()?, [10, 2, 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate)]
pub struct Transformer {
    /// What reads the source.
    pub encoder: TransformerEncoder,
    /// What makes the result of the target and of what the encoder gave.
    pub decoder: TransformerDecoder,
}

/// The masks of a [`Transformer`].
#[derive(Clone, Default, Debug)]
pub struct TransformerMasks {
    /// Of the source, for itself.
    pub source: Masks,
    /// Of the target, for itself.
    pub target: Masks,
    /// Of what the encoder gave, for the target.
    pub memory: Masks,
}

impl Transformer {
    /// A transformer of 512 features and 8 heads, with 6 layers on both sides.
    #[track_caller]
    pub fn new(target: impl Target) -> Transformer {
        Transformer::with(512, 8, [6, 6], TransformerLayerOptions::default(), target)
    }

    /// A transformer with so many layers of the encoder and of the decoder.
    #[track_caller]
    pub fn with(
        d_model: usize,
        nhead: usize,
        [encoder, decoder]: [usize; 2],
        options: TransformerLayerOptions,
        target: impl Target,
    ) -> Transformer {
        let place = Place::caller();
        let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
        place.hold(|| {
            let encoder = (0..encoder)
                .map(|_| TransformerEncoderLayer::with(d_model, nhead, options, target))
                .collect();
            let decoder = (0..decoder)
                .map(|_| TransformerDecoderLayer::with(d_model, nhead, options, target))
                .collect();
            let norm = || Some(options.norm(d_model, target));
            let transformer = Transformer {
                encoder: TransformerEncoder {
                    layers: encoder,
                    norm: norm(),
                },
                decoder: TransformerDecoder {
                    layers: decoder,
                    norm: norm(),
                },
            };
            for parameter in transformer.parameters() {
                // A parameter that has failed says so when it is used.
                if let Ok(shape) = parameter.shape()
                    && shape.rank() > 1
                {
                    let _ = parameter.assign(&init::xavier_uniform(shape, Gain::Linear, target));
                }
            }
            transformer
        })
    }

    /// What the decoder makes of the target and of what the encoder made of the source.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward(&self, source: &Tensor, target: &Tensor) -> Result<Tensor> {
        self.forward_masked(source, target, &TransformerMasks::default())
    }

    /// [`forward`](Transformer::forward) with masks.
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_masked(
        &self,
        source: &Tensor,
        target: &Tensor,
        masks: &TransformerMasks,
    ) -> Result<Tensor> {
        hooks::layer(self, source, |source| {
            let memory = self.encoder.forward_masked(source, &masks.source);
            let memory = memory.within("encoder", &self.encoder)?;
            let (own, of_memory) = (&masks.target, &masks.memory);
            let y = self.decoder.forward_masked(target, &memory, own, of_memory);
            y.within("decoder", &self.decoder)
        })
    }
}
