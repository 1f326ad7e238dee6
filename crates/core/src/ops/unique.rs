//! Elements without their repetitions.

use super::compaction::positions;
use super::scatter::scatter_add;
use super::sort::first;
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// What [`Tensor::unique`] gives: what is not used of it is not computed.
#[derive(Clone)]
pub struct Unique {
    /// The different elements, a vector.
    pub values: Tensor,
    /// For each element of the tensor, in its shape, where its value stands among them, as `i32`.
    pub inverse: Tensor,
    /// How often each value occurs, as `i32`.
    pub counts: Tensor,
}

impl Tensor {
    /// The different elements in ascending order, where each element of the tensor stands among them, and how
    /// often each occurs: `torch.unique` with all its results. Each NaN is different from the others.
    ///
    /// How many there are is read back, which runs what has been recorded and waits for it.
    ///
    /// ```ignore
    /// let unique = Tensor::new([3, 1, 3, 2], &dev).unique();
    /// unique.values;  // [1, 2, 3]
    /// unique.inverse; // [2, 0, 2, 1]
    /// unique.counts;  // [1, 1, 2]
    /// ```
    #[track_caller]
    pub fn unique(&self) -> Unique {
        let place = Place::caller();
        results(self, || {
            let shape = self.shape()?;
            let flat = self.reshape([-1isize]).capture()?;
            let (sorted, from) = first("unique", &flat, 0, false, None, place)?;
            let runs = runs(&sorted, place)?;
            // The inverse is in sorted order; each number goes to where its element stood.
            let (number, from) = (runs.inverse.capture()?, from.capture()?);
            let inverse = scatter_add("unique", &number, 0, shape.numel(), &from, place)?;
            Ok(Unique {
                inverse: inverse.reshape(shape),
                ..runs
            })
        })
    }

    /// [`Tensor::unique`] in the order in which the elements stand, where only repetitions that follow each
    /// other are left out: `torch.unique_consecutive`.
    ///
    /// ```ignore
    /// let unique = Tensor::new([1, 1, 2, 1], &dev).unique_consecutive();
    /// unique.values; // [1, 2, 1]
    /// ```
    #[track_caller]
    pub fn unique_consecutive(&self) -> Unique {
        let place = Place::caller();
        results(self, || {
            let shape = self.shape()?;
            let runs = runs(&self.reshape([-1isize]), place)?;
            Ok(Unique {
                inverse: runs.inverse.reshape(shape),
                ..runs
            })
        })
    }
}

#[track_caller]
fn results(x: &Tensor, f: impl FnOnce() -> Result<Unique>) -> Unique {
    let place = Place::caller();
    place.hold(f).unwrap_or_else(|error: Error| {
        let failed = Tensor::fail(x.device(), error);
        Unique {
            values: failed.clone(),
            inverse: failed.clone(),
            counts: failed,
        }
    })
}

/// The runs of equal elements of a vector: their value, for each element the number of its run, and their
/// lengths.
fn runs(x: &Tensor, place: Place) -> Result<Unique> {
    let (n, device) = (x.numel()?, x.device());
    if n == 0 {
        let none = Tensor::zeros([0], (DType::I32, device));
        return Ok(Unique {
            values: x.clone(),
            inverse: none.clone(),
            counts: none,
        });
    }
    let changes = x.narrow(0, 1, n - 1).ne(x.narrow(0, 0, n - 1));
    let begins = Tensor::cat(&[Tensor::ones([1], (DType::Bool, device)), changes], 0);
    let starts = positions(&begins, place);
    let runs = starts.numel()?;
    let ends = Tensor::cat(
        &[
            starts.narrow(0, 1, runs - 1),
            Tensor::full([1], n as i64, (DType::I32, device)),
        ],
        0,
    );
    Ok(Unique {
        values: x.index_select(0, &starts),
        inverse: begins.cumsum(0) - 1,
        counts: ends - starts,
    })
}
