//! Tables of rows, looked up by integers.

use std::fmt;

use wgrad_core::{
    BagMode, DType, EmbeddingBagOptions as Bags, Error, Place, Result, Target, Tensor, no_grad,
};
use wgrad_derive::Module;

use crate::forward::Forward;
use crate::hooks;
use crate::init;

/// Options of [`Embedding`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EmbeddingOptions {
    /// A row that is zeros at first and gets no gradient; negative numbers count from the end.
    pub padding_idx: Option<isize>,
    /// The largest norm of rows: those that are looked up are scaled down to it, in the table
    /// itself. (A pass over the table for each lookup.)
    pub max_norm: Option<f64>,
    /// Which norm that is, 2 by default.
    pub norm_type: f64,
    /// Whether a row's gradient is divided by how often it was looked up.
    pub scale_grad_by_freq: bool,
}

impl Default for EmbeddingOptions {
    fn default() -> EmbeddingOptions {
        EmbeddingOptions {
            padding_idx: None,
            max_norm: None,
            norm_type: 2.0,
            scale_grad_by_freq: false,
        }
    }
}

/// Rows of a table at positions, as `torch.nn.Embedding`: of integers of any shape `[..]`,
/// `[.., embedding_dim]`. A position outside of the table is an error of the next read.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let options = nn::EmbeddingOptions { padding_idx: Some(0), ..Default::default() };
/// let table = nn::Embedding::with(10, 3, options, &dev);
/// let y = table.forward(&Tensor::new([[1, 0], [4, 9]], &dev))?;
/// assert_eq!(y.shape()?, [2, 2, 3]);
/// assert_eq!(y.to_vec::<f32>()?[3..6], [0.0; 3]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct Embedding {
    /// `[num_embeddings, embedding_dim]`.
    pub weight: Tensor,
    #[module(skip)]
    size: [usize; 2],
    #[module(skip)]
    options: EmbeddingOptions,
}

/// A table of which row `padding` is zeros, drawn from a normal distribution.
#[track_caller]
fn table(size: [usize; 2], padding: Option<isize>, target: impl Target) -> Tensor {
    let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
    let weight = init::normal(size, 0.0, 1.0, target);
    match row(padding, size[0]) {
        Some(row) => {
            let at = Tensor::new([row as i32], target.1);
            weight.index_fill(0, &at, 0.0).requires_grad()
        }
        None => weight.requires_grad(),
    }
}

/// A row's number, if there is such a row.
fn row(padding: Option<isize>, rows: usize) -> Option<usize> {
    let at = padding?;
    let at = if at < 0 {
        at.checked_add_unsigned(rows)?
    } else {
        at
    };
    usize::try_from(at).ok().filter(|&at| at < rows)
}

fn no_such_row(op: &'static str, padding: isize, rows: usize, place: Place) -> Error {
    let problem = format!("padding_idx {padding} is no row of a table of {rows}");
    Error::Value { op, problem, place }
}

/// Scales the rows at these positions down to a largest norm, in the table.
fn limit(weight: &Tensor, at: &Tensor, max_norm: f64, norm_type: f64) -> Result<()> {
    no_grad(|| {
        let rows = weight.detach();
        let [count, _] = rows.dims::<2>()?;
        let flat = at.flatten(0, -1);
        let seen = Tensor::zeros([count], (DType::F32, rows.device())).index_fill(0, &flat, 1.0);
        let norm = rows.vector_norm(norm_type, [1], true);
        let large = seen.gt(0.0).unsqueeze(1).logical_and(norm.gt(max_norm));
        let scaled = &rows * (max_norm / (norm + 1e-7));
        weight.assign(&large.where_cond(scaled, rows))
    })
}

/// For each position `1 / n`, where `n` is how often it occurs: `[.., 1]`.
fn shares(at: &Tensor, rows: usize, dtype: DType) -> Result<Tensor> {
    no_grad(|| {
        let flat = at.flatten(0, -1);
        let ones = Tensor::ones([flat.numel()?], (DType::F32, at.device()));
        let counts = Tensor::zeros([rows], (DType::F32, at.device())).index_add(0, &flat, &ones, 1);
        let share = counts.gather(0, &flat).recip().to_dtype(dtype);
        share.reshape(at.shape()?).unsqueeze(-1).checked()
    })
}

impl Embedding {
    /// A table of normally distributed numbers.
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize, target: impl Target) -> Embedding {
        Embedding::with(
            num_embeddings,
            embedding_dim,
            EmbeddingOptions::default(),
            target,
        )
    }

    /// A table with options. A padding that is no row is an error of `forward`.
    #[track_caller]
    pub fn with(
        num_embeddings: usize,
        embedding_dim: usize,
        options: EmbeddingOptions,
        target: impl Target,
    ) -> Embedding {
        let size = [num_embeddings, embedding_dim];
        Embedding {
            weight: table(size, options.padding_idx, target),
            size,
            options,
        }
    }

    /// A table of given rows, as `torch.nn.Embedding.from_pretrained`; with `freeze` it is not
    /// trained.
    #[track_caller]
    pub fn from_pretrained(weight: Tensor, freeze: bool) -> Embedding {
        let size = weight.dims::<2>().unwrap_or_default();
        let weight = weight.requires_grad();
        weight.set_requires_grad(!freeze);
        Embedding {
            weight,
            size,
            options: EmbeddingOptions::default(),
        }
    }
}

impl fmt::Display for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([rows, dim], options) = (self.size, &self.options);
        write!(f, "Embedding({rows}, {dim}")?;
        if let Some(padding) = options.padding_idx {
            let padding = row(Some(padding), rows).map_or(padding, |row| row as isize);
            write!(f, ", padding_idx={padding}")?;
        }
        if let Some(max_norm) = options.max_norm {
            write!(f, ", max_norm={max_norm:?}")?;
        }
        if options.norm_type != 2.0 {
            write!(f, ", norm_type={:?}", options.norm_type)?;
        }
        if options.scale_grad_by_freq {
            f.write_str(", scale_grad_by_freq=true")?;
        }
        f.write_str(")")
    }
}

impl Forward for Embedding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let place = Place::caller();
            let rows = self.size[0];
            let padding = match (
                self.options.padding_idx,
                row(self.options.padding_idx, rows),
            ) {
                (Some(padding), None) => {
                    return Err(no_such_row("embedding", padding, rows, place));
                }
                (_, row) => row,
            };
            if let Some(max_norm) = self.options.max_norm {
                limit(&self.weight, x, max_norm, self.options.norm_type)?;
            }
            let y = self.weight.embedding(x);
            if self.options.scale_grad_by_freq && y.needs_grad() {
                let share = shares(x, rows, y.dtype()?)?;
                // It stays as long as the graph.
                let _ = y.register_hook(move |grad| Some(grad * &share))?;
            }
            let Some(padding) = padding.filter(|_| self.weight.needs_grad()) else {
                return y.checked();
            };
            // The value of the row, without its gradient.
            let still = self.weight.detach().embedding(x);
            let is_padding = x.eq(padding as i64).unsqueeze(-1);
            is_padding.where_cond(still, y).checked()
        })
    }
}

/// Options of [`EmbeddingBag`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EmbeddingBagOptions {
    /// What becomes of a bag's rows, by default their mean.
    pub mode: BagMode,
    /// A row that is zeros at first and counts for nothing; negative numbers count from the end.
    pub padding_idx: Option<isize>,
    /// The largest norm of rows, as [`EmbeddingOptions::max_norm`].
    pub max_norm: Option<f64>,
    /// Which norm that is, 2 by default.
    pub norm_type: f64,
    /// Whether the last of the offsets is where the last bag ends, and begins none.
    pub include_last_offset: bool,
}

impl Default for EmbeddingBagOptions {
    fn default() -> EmbeddingBagOptions {
        EmbeddingBagOptions {
            mode: BagMode::Mean,
            padding_idx: None,
            max_norm: None,
            norm_type: 2.0,
            include_last_offset: false,
        }
    }
}

/// Sums, means or maxima of bags of rows of a table, as `torch.nn.EmbeddingBag`: of integers
/// `[bags, n]`, `[bags, embedding_dim]`. [`EmbeddingBag::forward_with`] takes bags of different
/// sizes and weights.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let bags = nn::EmbeddingBag::new(10, 3, &dev);
/// assert_eq!(bags.forward(&Tensor::new([[1, 2, 2], [4, 0, 9]], &dev))?.shape()?, [2, 3]);
///
/// let offsets = Tensor::new([0, 4], &dev); // four rows, and one
/// let y = bags.forward_with(&Tensor::new([1, 2, 3, 4, 5], &dev), Some(&offsets), None)?;
/// assert_eq!(y.shape()?, [2, 3]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Debug)]
#[module(crate = crate, display)]
pub struct EmbeddingBag {
    /// `[num_embeddings, embedding_dim]`.
    pub weight: Tensor,
    #[module(skip)]
    size: [usize; 2],
    #[module(skip)]
    options: EmbeddingBagOptions,
}

impl EmbeddingBag {
    /// A table of normally distributed numbers, of whose bags there are means.
    #[track_caller]
    pub fn new(num_embeddings: usize, embedding_dim: usize, target: impl Target) -> EmbeddingBag {
        let options = EmbeddingBagOptions::default();
        EmbeddingBag::with(num_embeddings, embedding_dim, options, target)
    }

    /// A table with options. A padding that is no row is an error of `forward`.
    #[track_caller]
    pub fn with(
        num_embeddings: usize,
        embedding_dim: usize,
        options: EmbeddingBagOptions,
        target: impl Target,
    ) -> EmbeddingBag {
        let size = [num_embeddings, embedding_dim];
        EmbeddingBag {
            weight: table(size, options.padding_idx, target),
            size,
            options,
        }
    }

    /// The bags of a vector of positions that begin at `offsets`, and with a factor for each
    /// position (`per_sample_weights`, only for sums).
    ///
    /// # Errors
    /// What does not fit.
    #[track_caller]
    pub fn forward_with(
        &self,
        x: &Tensor,
        offsets: Option<&Tensor>,
        per_sample_weights: Option<&Tensor>,
    ) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            if let Some(max_norm) = self.options.max_norm {
                limit(&self.weight, x, max_norm, self.options.norm_type)?;
            }
            let options = Bags {
                offsets: offsets.cloned(),
                include_last_offset: self.options.include_last_offset,
                mode: self.options.mode,
                per_sample_weights: per_sample_weights.cloned(),
                padding_index: self.options.padding_idx.map(|at| at as i64),
            };
            self.weight.embedding_bag(x, options).checked()
        })
    }
}

impl fmt::Display for EmbeddingBag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([rows, dim], options) = (self.size, &self.options);
        write!(f, "EmbeddingBag({rows}, {dim}")?;
        if let Some(max_norm) = options.max_norm {
            write!(f, ", max_norm={max_norm:?}")?;
        }
        if options.norm_type != 2.0 {
            write!(f, ", norm_type={:?}", options.norm_type)?;
        }
        let mode = match options.mode {
            BagMode::Sum => "sum",
            BagMode::Mean => "mean",
            BagMode::Max => "max",
        };
        write!(f, ", mode={mode}")?;
        if let Some(padding) = options.padding_idx {
            let padding = row(Some(padding), rows).map_or(padding, |row| row as isize);
            write!(f, ", padding_idx={padding}")?;
        }
        f.write_str(")")
    }
}

impl Forward for EmbeddingBag {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_with(x, None, None)
    }
}
