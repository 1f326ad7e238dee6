//! Windows as loops: three dimensions, the outer ones of a single element where there are fewer.

use std::ops::Range;

use wgrad_core::ops::Windows;
use wgrad_core::{Layout, Shape};

use crate::cursor::Walk;

/// The windows of one plane, `[s..]`, which are counted `[o..]`.
#[derive(Clone, Debug)]
pub(super) struct Loops {
    pub size: [usize; 3],
    pub step: [usize; 3],
    pub dilation: [usize; 3],
    pub low: [usize; 3],
    /// How many elements and how many windows there are.
    pub elements: [usize; 3],
    pub counts: [usize; 3],
    /// Along which dimensions every window lies within, which saves divisions for every row.
    whole: [bool; 3],
}

/// The last sizes of three, the others 1 (or what stands for one).
fn last_of<T: Copy>(values: &[T], one: T) -> [T; 3] {
    let mut all = [one; 3];
    all[3 - values.len()..].copy_from_slice(values);
    all
}

impl Loops {
    pub fn new(windows: &Windows, elements: &[usize], counts: &[usize]) -> Loops {
        let mut loops = Loops {
            size: last_of(&windows.size, 1),
            step: last_of(&windows.step, 1),
            dilation: last_of(&windows.dilation, 1),
            low: last_of(&windows.low, 0),
            elements: last_of(elements, 1),
            counts: last_of(counts, 1),
            whole: [false; 3],
        };
        loops.whole = [0, 1, 2].map(|d| {
            let last = loops.counts[d].saturating_sub(1);
            let all = 0..loops.size[d];
            loops.elements_of(d, 0) == all && loops.elements_of(d, last) == all
        });
        loops
    }

    /// How many elements a plane has.
    pub fn plane(&self) -> usize {
        self.elements.iter().product()
    }

    /// How many windows.
    pub fn windows(&self) -> usize {
        self.counts.iter().product()
    }

    /// The elements of window `o` along dimension `d` that lie within.
    pub fn elements_of(&self, d: usize, o: usize) -> Range<usize> {
        if self.whole[d] {
            return 0..self.size[d];
        }
        let (begin, dilation) = (o * self.step[d], self.dilation[d]);
        let first = self.low[d].saturating_sub(begin).div_ceil(dilation);
        let end = (self.elements[d] + self.low[d])
            .saturating_sub(begin)
            .div_ceil(dilation);
        first..end.min(self.size[d])
    }

    /// The elements along the last dimension that lie within in any window.
    pub fn elements_of_any(&self) -> Range<usize> {
        let all = |at: usize| self.elements_of(2, at);
        let last = self.counts[2].saturating_sub(1);
        all(last).start..all(0).end
    }

    /// The windows whose element `t` lies within along the last dimension, and where that of the first does.
    pub fn inside(&self, t: usize) -> (Range<usize>, usize) {
        let (shift, low) = (t * self.dilation[2], self.low[2]);
        if self.whole[2] {
            return (0..self.counts[2], shift);
        }
        let first = low.saturating_sub(shift).div_ceil(self.step[2]);
        let end = (self.elements[2] + low)
            .saturating_sub(shift)
            .div_ceil(self.step[2]);
        let end = end.min(self.counts[2]).max(first);
        (
            first..end,
            (first * self.step[2] + shift).saturating_sub(low),
        )
    }
}

/// The leading dimensions of a view, walked together, and the strides of its last ones.
pub(super) fn planes(layout: &Layout, rank: usize) -> (Walk, Vec<isize>) {
    let lead = layout.shape.rank() - rank;
    let walk = Walk::new(&Layout {
        shape: Shape::new(&layout.shape[..lead]),
        strides: layout.strides[..lead].into(),
        offset: layout.offset,
    });
    (walk, layout.strides[lead..].to_vec())
}

/// The strides of up to three dimensions, those of the missing ones 0.
pub(super) fn strides(of: &[isize]) -> [isize; 3] {
    last_of(of, 0)
}
