//! Rows of a table, gathered in bags.

use crate::ops::elementwise::cast;
use crate::ops::index::{ScatterReduce, index_select};
use crate::ops::statistics::floats;
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// What [`Tensor::embedding_bag`] makes of the rows of a bag.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The largest of each column. Equal ones share the gradient.
    Max,
}

/// Options of [`Tensor::embedding_bag`].
#[derive(Clone, Default, Debug)]
pub struct EmbeddingBagOptions {
    /// Where each bag begins in a vector of positions: ascending integers, the first of which is 0. Others are
    /// [`Error::IndexOutOfRange`] at this thread's next read.
    pub offsets: Option<Tensor>,
    /// Whether the last of the offsets is where the last bag ends, and begins none. Positions behind it are in no bag.
    pub include_last_offset: bool,
    /// What becomes of a bag's rows.
    pub mode: BagMode,
    /// A factor for each position, of the table's type; only for sums.
    pub per_sample_weights: Option<Tensor>,
    /// A row that counts for nothing; negative numbers count from the end of the table.
    pub padding_index: Option<i64>,
}

impl Tensor {
    /// Rows of this table `[n, d]` at the positions of each bag, reduced to one row: of positions `[bags, m]`, or of
    /// a vector of positions in which `offsets` begin the bags, `[bags, d]`. A bag of nothing gives zeros.
    /// `torch.nn.functional.embedding_bag`; bad positions as in [`Tensor::gather`].
    ///
    /// ```
    /// # use wgrad::{BagMode, EmbeddingBagOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let table = Tensor::new([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]], &dev);
    /// let bags = Tensor::new([[0, 2], [1, 1]], &dev);
    /// let y = table.embedding_bag(&bags, EmbeddingBagOptions::default());
    /// assert_eq!(y.to_vec::<f32>()?, [2.5, 25.0, 2.0, 20.0]);
    ///
    /// let offsets = Some(Tensor::new([0, 3], &dev)); // three positions, and one
    /// let options = EmbeddingBagOptions { offsets, mode: BagMode::Sum, ..Default::default() };
    /// let y = table.embedding_bag(&Tensor::new([0, 1, 2, 2], &dev), options);
    /// assert_eq!(y.to_vec::<f32>()?, [7.0, 70.0, 4.0, 40.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn embedding_bag(&self, index: &Tensor, options: EmbeddingBagOptions) -> Tensor {
        let place = Place::caller();
        self.then(|table| place.within(|| bags(&table, &index.capture()?, &options, place)))
    }
}

fn bags(
    table: &Value,
    index: &Value,
    options: &EmbeddingBagOptions,
    place: Place,
) -> Result<Tensor> {
    let name = "embedding_bag";
    let dtype = floats(name, table, place)?;
    let (shape, of) = (table.shape(), index.shape());
    same_device(name, table, index, place)?;
    if !index.dtype().is_integer() {
        let problem = format!("an index must hold integers, not {}", index.dtype());
        return Err(Error::dtype(name, place, problem));
    }
    let fits = match of.rank() {
        1 => options.offsets.is_some(),
        2 => options.offsets.is_none(),
        _ => false,
    };
    if shape.rank() != 2 || !fits {
        let with = match &options.offsets {
            Some(_) => "with",
            None => "without",
        };
        let problem = format!(
            "positions of shape {of} {with} offsets for a table of shape {shape}: the table must be [rows, size], and \
             positions [bags, size of a bag] without offsets or [positions] with them"
        );
        return Err(Error::shape(name, place, problem));
    }
    let compute = dtype.compute();
    let flat = index.clone().into_tensor().reshape([of.numel()]);
    let rows = table
        .clone()
        .into_tensor()
        .embedding(&flat)
        .to_dtype(compute);
    // What counts: not the padding.
    let counts = match options.padding_index {
        None => None,
        Some(at) => {
            let n = shape[0] as i64;
            let at = if at < 0 { at.saturating_add(n) } else { at };
            if !(0..n).contains(&at) {
                let problem = format!(
                    "a padding at {at} for a table of shape {shape}: it must be one of its {n} rows"
                );
                return Err(Error::value(name, place, problem));
            }
            Some(flat.ne(at))
        }
    };
    let rows = match &options.per_sample_weights {
        None => rows,
        Some(weights) => {
            let weights = weights.capture()?;
            same_device(name, table, &weights, place)?;
            if options.mode != BagMode::Sum || weights.shape() != of || weights.dtype() != dtype {
                let (mode, own, given) = (options.mode, weights.shape(), weights.dtype());
                let problem = format!(
                    "weights of shape {own} and {given} for {mode:?} of shape {of}: they must be {of} and {dtype}, for Sum"
                );
                return Err(Error::shape(name, place, problem));
            }
            let weights = cast(&weights, compute, place)?.into_tensor();
            rows * weights.reshape([of.numel(), 1])
        }
    };
    let none = match options.mode {
        BagMode::Max => f64::NEG_INFINITY,
        _ => 0.0,
    };
    let rows = match &counts {
        Some(counts) => counts.unsqueeze(1).where_cond(rows, none),
        None => rows,
    };
    let counts = match counts {
        Some(counts) => counts.to_dtype(compute),
        None => Tensor::ones([of.numel()], (compute, rows.device())),
    };
    let (sums, sizes) = match &options.offsets {
        None => by_rows(rows, counts, (of[0], of[1], shape[1]), options.mode),
        Some(offsets) => by_offsets(rows, counts, offsets, shape[1], options, place)?,
    };
    let sizes = sizes.unsqueeze(1);
    let y = match options.mode {
        BagMode::Sum => sums,
        BagMode::Mean => sums / sizes.clamp_min(1.0),
        BagMode::Max => sizes.eq(0.0).where_cond(0.0, sums),
    };
    y.to_dtype(dtype).checked()
}

/// Bags of one size.
fn by_rows(
    rows: Tensor,
    counts: Tensor,
    (bags, size, d): (usize, usize, usize),
    mode: BagMode,
) -> (Tensor, Tensor) {
    let rows = rows.reshape([bags, size, d]);
    let sizes = counts.reshape([bags, size]).sum_dims([1], false);
    let reduced = match mode {
        BagMode::Max if size > 0 => rows.max_dims([1], false),
        _ => rows.sum_dims([1], false),
    };
    (reduced, sizes)
}

/// Bags that begin at offsets.
fn by_offsets(
    rows: Tensor,
    counts: Tensor,
    offsets: &Tensor,
    d: usize,
    options: &EmbeddingBagOptions,
    place: Place,
) -> Result<(Tensor, Tensor)> {
    let name = "embedding_bag";
    let (of, dtype) = (offsets.shape()?, offsets.dtype()?);
    if !dtype.is_integer() {
        let problem = format!("offsets must be integers, not {dtype}");
        return Err(Error::dtype(name, place, problem));
    }
    let last = usize::from(options.include_last_offset);
    if of.rank() != 1 || of[0] < last {
        let problem = format!("offsets of shape {of}, not [bags] with {last} or more elements");
        return Err(Error::shape(name, place, problem));
    }
    let (all, n) = (of[0], rows.shape()?[0]);
    let ints = (DType::I32, rows.device());
    let at = Tensor::arange(n, ints);
    let begins = ascending(offsets, n, place)?;
    // The last bag that begins at or before a position. A last offset begins one of what is left over.
    let bag = begins.searchsorted(&at, true).to_dtype(DType::I32) - 1;
    let bag = if all == 0 { bag } else { bag.clamp_min(0) };
    let bags = all;
    let zeros = |size: &[usize]| -> Result<Tensor> {
        Ok(Tensor::zeros(size, (rows.dtype()?, rows.device())))
    };
    let sizes = zeros(&[bags])?.index_add(0, &bag, &counts, 1);
    let reduced = match options.mode {
        BagMode::Max => {
            let index = bag.unsqueeze(1).expand([n, d]);
            zeros(&[bags, d])?.scatter_reduce(0, &index, &rows, ScatterReduce::Amax, false)
        }
        _ => zeros(&[bags, d])?.index_add(0, &bag, &rows, 1),
    };
    let own = |x: Tensor| x.narrow(0, 0, all - last);
    Ok((own(reduced), own(sizes)))
}

/// Offsets as `i32`, of which the first is 0 and none is less than the one before or more than `n`. Others are 0, and
/// reported as indices of a table of so many rows.
fn ascending(offsets: &Tensor, n: usize, place: Place) -> Result<Tensor> {
    let count = offsets.shape()?[0];
    let table = Tensor::arange(n + 1, (DType::I32, offsets.device()));
    if count == 0 {
        return Ok(offsets.to_dtype(DType::I32));
    }
    // Of a signed type, so that there is a number for those that do not fit.
    let offsets = match offsets.dtype()? {
        DType::I64 | DType::I32 => offsets.clone(),
        _ => offsets.to_dtype(DType::I32),
    };
    let first = offsets.narrow(0, 0, 1);
    let fits = match count {
        1 => first.eq(0),
        _ => {
            let (before, behind) = (
                offsets.narrow(0, 0, count - 1),
                offsets.narrow(0, 1, count - 1),
            );
            Tensor::cat(&[first.eq(0), behind.ge(&before)], 0)
        }
    };
    let index = fits.where_cond(&offsets, -1);
    let name = "embedding_bag with offsets, which begin at 0 and do not descend";
    index_select(name, &table, 0, &index, place).checked()
}
