//! Strides, padding and groups.

/// How many zeros stand around the input of a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConvPadding<const N: usize> {
    /// So many on both sides of each dimension.
    Zeros([usize; N]),
    /// So many that the result is as large as the input; the one that cannot be shared stands behind. The stride is
    /// 1.
    Same,
    /// None, as `Zeros` of 0.
    Valid,
}

impl<const N: usize> ConvPadding<N> {
    /// Before and behind dimension `d`, along which a kernel spans so many elements.
    pub(super) fn of(&self, d: usize, span: usize) -> (usize, usize) {
        match self {
            ConvPadding::Zeros(sizes) => (sizes[d], sizes[d]),
            ConvPadding::Same => {
                let all = span.saturating_sub(1);
                (all / 2, all - all / 2)
            }
            ConvPadding::Valid => (0, 0),
        }
    }
}

/// Options of [`conv1d_with`](crate::Tensor::conv1d_with) and its siblings, along `N` dimensions.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let (x, w) = (Tensor::ones([1, 4, 8, 8], &dev), Tensor::ones([4, 1, 3, 3], &dev));
/// let options = ConvOptions { padding: ConvPadding::Zeros([1, 1]), groups: 4, ..Default::default() };
/// let y = x.conv2d_with(&w, None, options); // each channel by itself
/// assert_eq!(y.shape()?, [1, 4, 8, 8]);
/// assert_eq!(y.to_vec::<f32>()?[..3], [4.0, 6.0, 6.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvOptions<const N: usize> {
    /// Distance between the windows, 1 by default.
    pub stride: [usize; N],
    /// Zeros around the input, none by default.
    pub padding: ConvPadding<N>,
    /// Distance between the elements of a window, 1 by default.
    pub dilation: [usize; N],
    /// Into how many parts channels and results are divided, 1 by default.
    pub groups: usize,
}

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> ConvOptions<N> {
        ConvOptions {
            stride: [1; N],
            padding: ConvPadding::Valid,
            dilation: [1; N],
            groups: 1,
        }
    }
}

/// Options of [`conv_transpose1d_with`](crate::Tensor::conv_transpose1d_with) and its siblings, along `N`
/// dimensions.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let (x, w) = (Tensor::ones([1, 1, 2, 2], &dev), Tensor::ones([1, 1, 2, 2], &dev));
/// let options = ConvTransposeOptions { stride: [2, 2], ..Default::default() };
/// assert_eq!(x.conv_transpose2d_with(&w, None, options).to_vec::<f32>()?, [1.0; 16]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvTransposeOptions<const N: usize> {
    /// Distance between the windows of the result, 1 by default.
    pub stride: [usize; N],
    /// How much of the result is left out on both sides, 0 by default.
    pub padding: [usize; N],
    /// How much of it is added behind, 0 by default; below the stride or the dilation.
    pub output_padding: [usize; N],
    /// Distance between the elements of a window, 1 by default.
    pub dilation: [usize; N],
    /// Into how many parts channels and results are divided, 1 by default.
    pub groups: usize,
}

impl<const N: usize> Default for ConvTransposeOptions<N> {
    fn default() -> ConvTransposeOptions<N> {
        ConvTransposeOptions {
            stride: [1; N],
            padding: [0; N],
            output_padding: [0; N],
            dilation: [1; N],
            groups: 1,
        }
    }
}
