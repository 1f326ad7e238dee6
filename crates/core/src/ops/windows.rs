//! Windows of a tensor: views whose strides overlap.

use smallvec::SmallVec;

use crate::ops::fold::fold;
use crate::tensor::device::Device;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, view};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

/// Windows along the last dimensions of a tensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Windows {
    /// Elements of a window, per dimension.
    pub size: SmallVec<[usize; 3]>,
    /// Distance between windows.
    pub step: SmallVec<[usize; 3]>,
    /// Distance between the elements of a window.
    pub dilation: SmallVec<[usize; 3]>,
    /// How many elements the first window begins before element 0.
    pub low: SmallVec<[usize; 3]>,
}

impl Windows {
    /// Windows that begin at element 0.
    pub fn new(size: &[usize], step: &[usize], dilation: &[usize]) -> Windows {
        Windows {
            size: SmallVec::from_slice(size),
            step: SmallVec::from_slice(step),
            dilation: SmallVec::from_slice(dilation),
            low: SmallVec::from_elem(0, size.len()),
        }
    }

    /// How many dimensions they go along.
    pub fn rank(&self) -> usize {
        self.size.len()
    }

    /// How many elements of dimension `d` a window spans.
    pub fn span(&self, d: usize) -> usize {
        span(self.size[d], self.dilation[d])
    }

    /// How many windows fit along dimension `d` of so many elements.
    pub fn count(&self, d: usize, elements: usize) -> usize {
        match elements.checked_sub(self.span(d)) {
            Some(rest) => rest / self.step[d] + 1,
            None => 0,
        }
    }

    /// Whether the fields fit each other: one to three dimensions, no size, step or dilation of 0.
    pub fn is_sound(&self) -> bool {
        let fields = [&self.size, &self.step, &self.dilation];
        let full = fields
            .iter()
            .all(|field| field.len() == self.rank() && !field.contains(&0));
        full && self.low.len() == self.rank() && (1..=3).contains(&self.rank())
    }

    /// The position in the row-major `[to..]` of element `at` of each of `[counts..]` windows, of `i32`; -1 for one
    /// that lies beyond.
    pub(crate) fn positions(
        &self,
        at: &[usize],
        counts: &[usize],
        to: &[usize],
        device: &Device,
    ) -> Tensor {
        let mut position = Tensor::zeros((), (DType::I32, device));
        let mut inside = Tensor::ones((), (DType::Bool, device));
        for d in 0..self.rank() {
            let mut dims = vec![1; self.rank()];
            dims[d] = counts[d];
            let first = at[d] as i64 * self.dilation[d] as i64 - self.low[d] as i64;
            let c = Tensor::arange(counts[d], (DType::I32, device)).reshape(&dims[..]);
            let c = c * self.step[d] as i32 + first as i32;
            inside = inside.logical_and(c.ge(0)).logical_and(c.lt(to[d] as i32));
            position = position * to[d] as i32 + c;
        }
        inside.where_cond(position, -1)
    }

    /// The coordinates of every element of a window, in order.
    pub(crate) fn elements(&self) -> impl Iterator<Item = SmallVec<[usize; 3]>> + '_ {
        (0..self.size.iter().product()).map(|element: usize| {
            let mut at: SmallVec<[usize; 3]> = SmallVec::from_elem(0, self.rank());
            let mut rest = element;
            for d in (0..self.rank()).rev() {
                at[d] = rest % self.size[d];
                rest /= self.size[d];
            }
            at
        })
    }

    /// The windows along the last dimensions of a view: `[lead.., o.., k..]` of `[lead.., s..]`, where the first one
    /// begins at element 0.
    pub(crate) fn over(&self, layout: &Layout) -> Layout {
        let lead = layout.shape.rank() - self.rank();
        let mut dims = Dims::from_slice(&layout.shape[..lead]);
        let mut strides = layout.strides[..lead].to_vec();
        for d in 0..self.rank() {
            dims.push(self.count(d, layout.shape[lead + d]));
            // Of a single window it does not matter.
            strides.push(layout.strides[lead + d].wrapping_mul(self.step[d] as isize));
        }
        for d in 0..self.rank() {
            dims.push(self.size[d]);
            strides.push(layout.strides[lead + d].wrapping_mul(self.dilation[d] as isize));
        }
        Layout {
            shape: Shape::from(dims),
            strides: strides.into(),
            offset: layout.offset,
        }
    }
}

/// How many elements `size` elements `dilation` apart span; saturates.
pub(crate) fn span(size: usize, dilation: usize) -> usize {
    let apart = size.saturating_sub(1).saturating_mul(dilation);
    apart.saturating_add(size.min(1))
}

impl Tensor {
    /// All windows of `size` elements along `dim`, each `step` from the last, as `torch.Tensor.unfold`: dimension
    /// `dim` counts the windows, and a last dimension is added for their elements. A view: windows may overlap, and
    /// no bytes are moved. The derivative adds up what the windows share.
    ///
    /// `[.., s, ..]` becomes `[.., (s - size) / step + 1, .., size]`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, 2.0, 3.0, 4.0, 5.0], &dev).requires_grad();
    /// let windows = x.unfold(0, 3, 1);
    /// assert_eq!(windows.to_vec::<f32>()?, [1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0]);
    /// windows.mean_dims([-1], false).sum().backward()?; // moving averages
    /// assert_eq!(windows.sum_dims([0], false).to_vec::<f32>()?, [6.0, 9.0, 12.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A step of 0 or a window that is larger than the dimension gives a failed tensor.
    #[track_caller]
    pub fn unfold(&self, dim: isize, size: usize, step: usize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() == 0 && (dim == 0 || dim == -1) {
                // As torch: a tensor of no dimensions has one of one element here.
                let line = x.into_tensor().reshape([1]);
                return place.within(|| line.unfold(0, size, step).squeeze(0).checked());
            }
            let d = dim_of("unfold", x.shape(), dim, place)?;
            let from = x.shape()[d];
            if step == 0 || size > from {
                let problem = match step {
                    0 => format!("a step of 0 along dimension {d} of {}, not 1 or more", x.shape()),
                    _ => format!(
                        "windows of {size} along dimension {d} of {}, which has {from} elements there",
                        x.shape()
                    ),
                };
                return Err(Error::shape("unfold", place, problem));
            }
            let windows = Windows::new(&[size], &[step], &[1]);
            let rank = x.shape().rank();
            // Dimension d last, as `over` wants it, and the windows back in its place.
            let last: Vec<usize> = (0..rank).filter(|&i| i != d).chain([d]).collect();
            let mut back: Vec<usize> = (0..rank - 1).collect();
            back.insert(d, rank - 1);
            back.push(rank);
            let layout = windows.over(&x.layout().permute(&last)).permute(&back);
            let (dim, whole, dtype) = (d as isize, x.shape().clone(), x.dtype());
            Ok(view("unfold", &x, layout, place, move |g| match size {
                // Of windows without elements.
                0 => Tensor::zeros(whole.clone(), (dtype, g.device())),
                _ => {
                    fold("unfold", &g.movedim([dim], [-2]), &windows, &[from]).movedim([-1], [dim])
                }
            }))
        })
    }
}
