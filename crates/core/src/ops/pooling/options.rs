//! What else the pools can be told.

/// Options of [`max_pool1d_with`](crate::Tensor::max_pool1d_with) and its siblings, along `N` dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxPoolOptions<const N: usize> {
    /// Distance between the windows; without one, they do not overlap.
    pub stride: Option<[usize; N]>,
    /// How much minus infinity stands on both sides, none by default.
    pub padding: [usize; N],
    /// Distance between the elements of a window, 1 by default.
    pub dilation: [usize; N],
    /// Whether a last window may reach beyond the end.
    pub ceil_mode: bool,
}

impl<const N: usize> Default for MaxPoolOptions<N> {
    fn default() -> MaxPoolOptions<N> {
        MaxPoolOptions {
            stride: None,
            padding: [0; N],
            dilation: [1; N],
            ceil_mode: false,
        }
    }
}

/// Options of [`avg_pool1d_with`](crate::Tensor::avg_pool1d_with) and its siblings, along `N` dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AvgPoolOptions<const N: usize> {
    /// Distance between the windows; without one, they do not overlap.
    pub stride: Option<[usize; N]>,
    /// How many zeros stand on both sides, none by default.
    pub padding: [usize; N],
    /// Whether a last window may reach beyond the end.
    pub ceil_mode: bool,
    /// Whether padding counts among the elements of a window, as by default.
    pub count_include_pad: bool,
    /// What sums are divided by instead of the number of elements.
    pub divisor: Option<usize>,
}

impl<const N: usize> Default for AvgPoolOptions<N> {
    fn default() -> AvgPoolOptions<N> {
        AvgPoolOptions {
            stride: None,
            padding: [0; N],
            ceil_mode: false,
            count_include_pad: true,
            divisor: None,
        }
    }
}

/// Options of [`lp_pool1d_with`](crate::Tensor::lp_pool1d_with) and its siblings, along `N` dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LpPoolOptions<const N: usize> {
    /// Distance between the windows; without one, they do not overlap.
    pub stride: Option<[usize; N]>,
    /// Whether a last window may reach beyond the end.
    pub ceil_mode: bool,
}

/// Options of [`max_unpool1d_with`](crate::Tensor::max_unpool1d_with) and its siblings, along `N` dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnpoolOptions<const N: usize> {
    /// The stride of the pool; without one, that of windows that do not overlap.
    pub stride: Option<[usize; N]>,
    /// The padding of the pool, none by default.
    pub padding: [usize; N],
    /// The size of the result, less than a stride from the smallest that is pooled to this.
    pub size: Option<[usize; N]>,
}

impl<const N: usize> Default for UnpoolOptions<N> {
    fn default() -> UnpoolOptions<N> {
        UnpoolOptions {
            stride: None,
            padding: [0; N],
            size: None,
        }
    }
}
