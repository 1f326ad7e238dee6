//! wgrad: tensors with automatic differentiation that train neural networks on any GPU through
//! wgpu (Vulkan, Metal, DX12, WebGPU), and on the CPU where there is none.
//!
//! One concrete [`Tensor`]; names and meanings are PyTorch's. Operations are recorded, fused, run
//! when something is read, and replayed when the same program comes again.
//!
//! ```
//! use wgrad::prelude::*;
//!
//! # fn main() -> wgrad::Result<()> {
//! let dev = wgrad::default_device();
//! let a = Tensor::scalar(3.0, &dev).requires_grad();
//! let b = Tensor::scalar(2.0, &dev).requires_grad();
//! let y = a.powi(2) + &b;
//! y.backward()?;
//! assert_eq!(a.grad()?.item::<f32>()?, 6.0); // dy/da
//! assert_eq!(b.grad()?.item::<f32>()?, 1.0); // dy/db
//! # Ok(())
//! # }
//! ```
//!
//! Building an expression never fails; reading it can:
//!
//! ```
//! use wgrad::prelude::*;
//!
//! let dev = wgrad::cpu();
//! let bad = Tensor::zeros([2, 3], &dev) + Tensor::zeros([4, 5], &dev); // no panic
//! let error = bad.relu().sum().item::<f32>().unwrap_err();
//! assert!(matches!(error, Error::Broadcast { .. }));
//! assert!(error.to_string().starts_with("add: shapes [2, 3] and [4, 5] do not broadcast"));
//! ```

mod devices;

pub use devices::*;
pub use wgrad_core::{
    AnyOperation, AttentionOptions, AvgPoolOptions, BagMode, BatchNorm, BatchNormOptions, Category,
    CellWeights, Coefficients, ColumnOptions, ConvOptions, ConvPadding, ConvTransposeOptions,
    CpuKernel, CpuOperand, CpuResult, CrossEntropyOptions, CtcOptions, DType, Data, Derivative,
    Device, DimList, Element, Ellipsis, EmbeddingBagOptions, Error, FloatInfo, Formula, Generator,
    GradOptions, GridOptions, GridPadding, GridSampling, Index, IndexList, Indexing, IntegerInfo,
    InterpolateOptions, Interpolation, KvCache, Limits, LpPoolOptions, MaxPoolOptions, NewAxis,
    Number, Operation, PadMode, Place, Profile, Progression, RandomState, RecurrenceOptions,
    Reduction, Resampling, ReshapeTo, Result, Rhs, RotaryOptions, Rounding, Scalar, ScatterReduce,
    Shape, Size, Slice, SliceList, Span, Spec, Stats, Target, Tensor, Unique, UnpoolOptions,
    UpdateRule, Updater, Wgsl, WgslVariable, autocast, autocast_disabled, autocast_dtype,
    autocast_wide, no_grad, result_type, s,
};
pub use wgrad_cpu_backend::InstructionSet;

/// Differentiation as functions: [`grad`](autograd::grad), [`gradcheck`](autograd::gradcheck),
/// [`no_grad`].
pub mod autograd {
    pub use wgrad_core::autograd::*;
    #[cfg(not(target_arch = "wasm32"))]
    pub use wgrad_core::{gradcheck, gradgradcheck};
}

/// What a backend implements, for those who write one.
pub mod backend {
    #[doc(hidden)]
    pub use wgrad_core::apply_row;
    pub use wgrad_core::{
        Accumulator, Arg, Backend, Binding, BoxFuture, Buffer, BufferSpec, CompiledUpdate,
        Executable, Fault, Instr, Kernel, Launch, Layout, MapOp, Operand, Output, Plan, Program,
        RawBuffer, ReadBack, ReduceOp, ScalarBits, Strides, UpdateBlock, collapse, ops, random,
    };
}

/// The programs of the guides run as documentation tests.
#[cfg(doctest)]
mod guides {
    macro_rules! guides {
        ($($name:ident $file:literal)*) => {
            $(#[doc = include_str!(concat!("../docs/guide/", $file))] pub struct $name;)*
        };
    }
    guides! {
        AddingAnOperation "adding-an-operation.md"
        Autograd "autograd.md"
        FromPytorch "from-pytorch.md"
        GettingStarted "getting-started.md"
        Losses "losses.md"
        Performance "performance.md"
        Saving "saving.md"
        Tensors "tensors.md"
        Training "training.md"
    }
}

/// The version of wgpu that [`from_wgpu`] takes its arguments from.
#[cfg(feature = "gpu")]
pub use wgpu;
#[cfg(feature = "data")]
pub use wgrad_data as data;
#[cfg(feature = "nn")]
pub use wgrad_nn as nn;
#[cfg(feature = "nn")]
pub use wgrad_nn::amp;
#[cfg(feature = "nn")]
pub use wgrad_nn::optim;
/// The trainer. It waits for numbers, which browsers do not allow.
#[cfg(all(feature = "train", not(target_arch = "wasm32")))]
pub use wgrad_train as train;

/// What most programs need: `use wgrad::prelude::*;`
pub mod prelude {
    pub use crate::autograd;
    pub use crate::{
        AvgPoolOptions, ConvOptions, ConvPadding, ConvTransposeOptions, CrossEntropyOptions, DType,
        Device, DeviceOptions, Ellipsis, Error, GradOptions, LpPoolOptions, MaxPoolOptions,
        NewAxis, PadMode, Reduction, Result, Shape, Tensor, UnpoolOptions, autocast, no_grad, s,
    };
    #[cfg(feature = "data")]
    pub use wgrad_data::Batch;
    #[cfg(feature = "nn")]
    pub use wgrad_nn::prelude::*;
    #[cfg(all(feature = "train", not(target_arch = "wasm32")))]
    pub use wgrad_train::{Accuracy, Epochs, Keep, Trainer};
}
