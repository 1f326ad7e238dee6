//! What a user calls: elementwise operations, reductions, matrix products, and structured operations.
//!
//! A structured operation is one that is more than the others. Each is one file here (what it computes, in
//! plain operations; its shape rule; its derivative), one in each backend, and a line in the three lists:
//! [`built_in`], and the tables of the backends.

pub(crate) mod attention;
mod channels;
mod columns;
mod compaction;
pub(crate) mod concat;
pub(crate) mod contraction;
mod convolution;
pub(crate) mod cross_entropy;
mod ctc;
mod diagonal;
mod differences;
mod dropout;
mod einsum;
pub(crate) mod elementwise;
mod embedding_bag;
mod extremes;
pub(crate) mod fold;
pub(crate) mod gather;
pub(crate) mod index;
mod join;
mod linear_cross_entropy;
pub(crate) mod matmul;
mod norm;
mod normalisation;
mod operators;
mod padding;
pub(crate) mod place;
pub(crate) mod pool;
mod pooling;
mod product;
mod products;
mod quantiles;
pub(crate) mod rearrange;
pub(crate) mod recurrence;
pub(crate) mod reduce;
mod resampling;
pub(crate) mod rotary;
pub(crate) mod scan;
pub(crate) mod scatter;
pub(crate) mod search_sorted;
mod softmax;
pub(crate) mod sort;
mod split;
mod statistics;
mod tally;
mod unique;
mod windows;

pub use attention::{Attention, AttentionGrad, Extras, Scores};
pub use columns::ColumnOptions;
pub use concat::Concat;
pub use convolution::{ConvOptions, ConvPadding, ConvTransposeOptions};
pub use cross_entropy::CrossEntropy;
pub use ctc::CtcOptions;
pub use embedding_bag::{BagMode, EmbeddingBagOptions};
pub use fold::Fold;
pub use gather::Gather;
pub use normalisation::{BatchNorm, BatchNormOptions};
pub use padding::PadMode;
pub use place::Place;
pub use pool::{MaxPool, SumPool};
pub use pooling::{AvgPoolOptions, LpPoolOptions, MaxPoolOptions, UnpoolOptions};
pub use quantiles::Interpolation;
pub use recurrence::{Cell, Recurrence, RecurrenceGrad};
pub use resampling::{GridOptions, GridPadding, GridSampling, InterpolateOptions, Resampling};
pub use scan::{Combine, Scan};
pub use scatter::{Merge, Scatter};
pub use search_sorted::SearchSorted;
pub use sort::Sort;
pub use unique::Unique;
pub use windows::Windows;

use crate::operation::{AnyOperation, Operation, Spec};

/// An operation with operands that it takes.
#[derive(Clone, Debug)]
pub struct Example {
    /// The operation.
    pub operation: AnyOperation,
    /// Shapes and types of its operands.
    pub operands: Vec<Spec>,
}

/// The examples of an operation.
pub fn examples<O: Operation>() -> Vec<Example> {
    let example = |(operation, operands)| Example {
        operation: AnyOperation::new(operation),
        operands,
    };
    O::examples().into_iter().map(example).collect()
}

/// Examples of every operation of wgrad's own: what tests and shader compilers go through.
pub fn built_in() -> Vec<Example> {
    const LIST: &[fn() -> Vec<Example>] = &[
        examples::<Attention>,
        examples::<AttentionGrad>,
        examples::<Concat>,
        examples::<CrossEntropy>,
        examples::<Fold>,
        examples::<Gather>,
        examples::<MaxPool>,
        examples::<Place>,
        examples::<Recurrence>,
        examples::<RecurrenceGrad>,
        examples::<Scatter>,
        examples::<Scan>,
        examples::<SearchSorted>,
        examples::<Sort>,
        examples::<SumPool>,
    ];
    LIST.iter().flat_map(|of| of()).collect()
}
