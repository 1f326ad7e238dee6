//! Results whose size depends on data: the one number that says how large is read back, the rest stays on the
//! device.

use crate::ops::elementwise::cast;
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

/// The value of a tensor with one element that holds a size. Runs what has been recorded and waits for it.
///
/// # Errors
/// What reading can fail with; in a browser, where nothing can be waited for, that.
pub(crate) fn read_size(size: &Tensor, place: Place) -> Result<usize> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        // In its own type: what is beyond i32 would wrap.
        let size = place.within(|| match size.dtype()? {
            DType::I64 => size.item::<i64>(),
            DType::U32 => size.item::<u32>().map(i64::from),
            _ => size.to_dtype(DType::I32).item::<i32>().map(i64::from),
        })?;
        Ok(usize::try_from(size).unwrap_or(0))
    }
    #[cfg(target_arch = "wasm32")]
    {
        let _ = size;
        let problem = "the size of the result depends on data, which cannot be waited for here";
        Err(crate::types::error::Error::value("item", place, problem))
    }
}

/// The positions of the true elements of a vector of bools (or of those that are not 0), ascending, as a
/// vector of `i32`: `torch.nonzero` in one dimension. How many there are is read back.
///
/// Position `j` is the first one up to which more than `j` are true: that is found by halving the running counts,
/// so nothing is scattered, and the work is the same whatever is true.
pub(crate) fn positions(mask: &Tensor, place: Place) -> Tensor {
    mask.then(|mask| {
        let n = mask.shape().numel();
        let mask = cast(&mask, DType::Bool, place)?;
        let device = mask.node.device.clone();
        place.within(|| {
            if n == 0 {
                return Tensor::zeros([0], (DType::I32, &device)).checked();
            }
            let counts = mask.into_tensor().cumsum(0);
            let count = read_size(&counts.narrow(0, n - 1, 1), place)?;
            let numbers = Tensor::arange(1..count as i32 + 1, (DType::I32, &device));
            counts.searchsorted(&numbers, false).checked()
        })
    })
}
