//! Windows of images as columns, and back.

use smallvec::SmallVec;

use crate::ops::fold::{fold, windows_of};
use crate::ops::windows::Windows;
use crate::tensor::Tensor;
use crate::types::error::{Error, Place, Result};

/// How the windows of [`Tensor::im2col`] and [`Tensor::col2im`] lie: those of a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ColumnOptions {
    /// The distance of the elements of a window, 1 by default.
    pub dilation: [usize; 2],
    /// Zeros at both sides, 0 by default.
    pub padding: [usize; 2],
    /// The distance of windows, 1 by default.
    pub stride: [usize; 2],
}

impl Default for ColumnOptions {
    fn default() -> ColumnOptions {
        ColumnOptions {
            dilation: [1; 2],
            padding: [0; 2],
            stride: [1; 2],
        }
    }
}

impl ColumnOptions {
    /// The windows over images of this size, and how many there are along both dimensions.
    fn windows(
        &self,
        name: &'static str,
        size: [usize; 2],
        kernel: [usize; 2],
        place: Place,
    ) -> Result<(Windows, [usize; 2])> {
        let windows = Windows {
            low: SmallVec::from_slice(&self.padding),
            ..Windows::new(&kernel, &self.stride, &self.dilation)
        };
        if !windows.is_sound() {
            let (stride, dilation) = (self.stride, self.dilation);
            let problem = format!(
                "windows of {kernel:?}, stride {stride:?}, dilation {dilation:?}: none may be 0"
            );
            return Err(Error::value(name, place, problem));
        }
        let counts = [0, 1].map(|d| windows.count(d, self.padded(size[d], d)));
        if counts.contains(&0) {
            let (padding, spans) = (self.padding, [windows.span(0), windows.span(1)]);
            let problem = format!(
                "windows of {kernel:?} over images of {size:?}, padding {padding:?}: what they span with their dilation, \
                 {spans:?}, must not be more than the padded images"
            );
            return Err(Error::shape(name, place, problem));
        }
        let all =
            [kernel, counts].map(|[h, w]| h.checked_mul(w).and_then(|n| isize::try_from(n).ok()));
        if all.contains(&None)
            || self
                .padding
                .iter()
                .any(|&size| size > isize::MAX as usize / 4)
        {
            let padding = self.padding;
            let problem = format!(
                "{counts:?} windows of {kernel:?}, padding {padding:?}: they are too many or too large"
            );
            return Err(Error::value(name, place, problem));
        }
        Ok((windows, counts))
    }

    fn padded(&self, size: usize, d: usize) -> usize {
        size.saturating_add(self.padding[d].saturating_mul(2))
    }
}

impl Tensor {
    /// The windows of images `[n, c, h, w]` (or without `n`) as columns: `[n, c kh kw, windows]`, as
    /// `torch.nn.functional.unfold`. (What `unfold` is here is a view along one dimension, as `torch.Tensor.unfold`.)
    ///
    /// ```
    /// # use wgrad::{ColumnOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], &dev);
    /// let columns = x.im2col([2, 2], ColumnOptions::default());
    /// assert_eq!(columns.shape()?, [4, 2]);
    /// assert_eq!(columns.to_vec::<f32>()?, [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Sizes of 0 and windows that do not fit give a failed tensor.
    #[track_caller]
    pub fn im2col(&self, kernel: [usize; 2], options: ColumnOptions) -> Tensor {
        let (place, name) = (Place::caller(), "im2col");
        self.then(|x| {
            let shape = x.shape().clone();
            let (lead, [h, w]) = match shape[..] {
                [c, h, w] => ([1, c], [h, w]),
                [n, c, h, w] => ([n, c], [h, w]),
                _ => {
                    let problem = format!("images have 3 or 4 dimensions, not shape {shape}");
                    return Err(Error::shape(name, place, problem));
                }
            };
            let (windows, counts) = options.windows(name, [h, w], kernel, place)?;
            place.within(|| {
                let [ph, pw] = options.padding.map(|size| size as isize);
                let x = x.into_tensor().reshape([lead[0], lead[1], h, w]);
                let padded = match options.padding {
                    [0, 0] => x,
                    _ => x.pad(&[pw, pw, ph, ph], crate::ops::PadMode::ZERO),
                };
                let rows = lead[1] * kernel[0] * kernel[1];
                let columns = windows_of(&padded, &windows, &counts).permute([0, 1, 4, 5, 2, 3]);
                let columns = columns.reshape([lead[0], rows, counts[0] * counts[1]]);
                let columns = if shape.rank() == 3 {
                    columns.squeeze(0)
                } else {
                    columns
                };
                columns.checked()
            })
        })
    }

    /// Columns `[n, c kh kw, windows]` (or without `n`) added up to images `[n, c, h, w]` of a size: each element is the
    /// sum of those of the windows that cover it. The adjoint of [`Tensor::im2col`], as `torch.nn.functional.fold`.
    ///
    /// ```
    /// # use wgrad::{ColumnOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// let columns = Tensor::ones([4, 2], &dev);
    /// let y = columns.col2im([2, 3], [2, 2], ColumnOptions::default());
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A failed tensor where the columns are not those of such windows.
    #[track_caller]
    pub fn col2im(&self, size: [usize; 2], kernel: [usize; 2], options: ColumnOptions) -> Tensor {
        let (place, name) = (Place::caller(), "col2im");
        self.then(|x| {
            let shape = x.shape().clone();
            let (windows, counts) = options.windows(name, size, kernel, place)?;
            let window = kernel[0].saturating_mul(kernel[1]);
            let (n, rows, columns) = match shape[..] {
                [rows, columns] => (1, rows, columns),
                [n, rows, columns] => (n, rows, columns),
                _ => (0, 1, 0),
            };
            if !rows.is_multiple_of(window) || columns != counts[0] * counts[1] {
                let count = counts[0] * counts[1];
                let problem = format!(
                    "columns of shape {shape} for {count} windows of {kernel:?}: they must be [n, c {window}, {count}] or [c \
                     {window}, {count}]"
                );
                return Err(Error::shape(name, place, problem));
            }
            place.within(|| {
                let [oh, ow] = counts;
                let [kh, kw] = kernel;
                let x = x.into_tensor().reshape([n, rows / window, kh, kw, oh, ow]);
                let y = fold(name, &x.permute([0, 1, 4, 5, 2, 3]), &windows, &size);
                let y = if shape.rank() == 2 { y.squeeze(0) } else { y };
                y.checked()
            })
        })
    }
}
