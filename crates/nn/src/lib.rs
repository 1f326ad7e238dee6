//! Neural networks for wgrad: modules and layers, losses, initialisation, optimizers, and
//! safetensors files.
//!
//! A [`Module`] has parameters and buffers with PyTorch's names; `#[derive(Module)]` finds them. A
//! [`Forward`] module maps a tensor to a tensor, and is what [`Sequential`] holds.
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use wgrad_core::Tensor;
//! use wgrad_nn::optim::{AdamW, AdamWOptions, Optimizer};
//! use wgrad_nn::{Dropout, Forward, Linear, Module, Relu, Sequential};
//!
//! let model = Sequential::from((
//!     Linear::new(4, 8, &dev),
//!     Relu,
//!     Dropout::new(0.1),
//!     Linear::new(8, 3, &dev),
//! ));
//! let mut optimizer = AdamW::new(model.parameters(), AdamWOptions::default());
//! let (x, y) = (Tensor::randn([5, 4], &dev), Tensor::new([0, 1, 2, 1, 0], &dev));
//! for _ in 0..3 {
//!     optimizer.zero_grad();
//!     model.forward(&x)?.cross_entropy(&y).backward()?;
//!     optimizer.step()?;
//! }
//! assert_eq!(model.named_parameters()[0].0, "0.weight");
//! # Ok(())
//! # }
//! ```

mod activation;
pub mod amp;
mod apply;
mod attention;
mod batch_norm;
mod bilinear;
mod conv;
mod distance;
mod dropout;
mod embedding;
mod extent;
mod forward;
pub mod hooks;
pub mod init;
mod linear;
pub mod loss;
mod module;
mod norm;
pub mod optim;
mod padding;
mod part;
mod pooling;
mod position;
mod rearrange;
mod recurrent;
pub mod safetensors;
mod sequential;
mod state;
mod summary;
pub mod torch;
mod transformer;
mod tree;

pub use activation::{
    Celu, Elu, Gelu, GeluTanh, Glu, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyRelu,
    LogSigmoid, LogSoftmax, Mish, Prelu, Relu, Relu6, Rrelu, Selu, Sigmoid, Silu, Softmax, Softmin,
    Softplus, Softshrink, Softsign, Tanh, Tanhshrink, Threshold,
};
pub use apply::Visited;
pub use attention::{Masks, MultiheadAttention, MultiheadAttentionOptions};
pub use batch_norm::*;
pub use bilinear::Bilinear;
pub use conv::*;
pub use distance::{CosineSimilarity, PairwiseDistance};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingBag, EmbeddingBagOptions, EmbeddingOptions};
pub use extent::{Extent, OutputSize};
pub use forward::{Forward, InModule};
pub use linear::Linear;
pub use module::Module;
pub use norm::*;
pub use padding::*;
pub use part::{
    Begun, Leaf, LeafMut, ModuleDict, ModuleList, ParameterDict, ParameterList, Part, Training,
    Visitor, VisitorMut,
};
pub use pooling::*;
pub use position::{RotaryEmbedding, SinusoidalEncoding, alibi_slopes};
pub use rearrange::{
    ChannelShuffle, Flatten, Fold, Func, Identity, PixelShuffle, PixelUnshuffle, Unflatten, Unfold,
    Upsample,
};
pub use recurrent::*;
pub use sequential::{Layer, Sequential};
pub use state::Match::{Loose, Strict};
pub use state::{Match, StateDict};
pub use summary::{Row, Summary, summary, summary_of};
pub use transformer::*;
pub use tree::Tree;
/// Implements [`Module`](trait@Module): see the page of [`wgrad_derive`].
pub use wgrad_derive::Module;

/// What programs that train need, beside tensors and devices.
pub mod prelude {
    pub use crate as nn;
    pub use crate::Match::{Loose, Strict};
    pub use crate::amp::{GradScaler, GradScalerOptions};
    pub use crate::optim::{
        self, Adam, AdamOptions, AdamW, AdamWOptions, Group, Optimizer, Sgd, SgdOptions,
        clip_grad_norm,
    };
    pub use crate::{Forward, InModule, Module, StateDict, init, loss};
}
