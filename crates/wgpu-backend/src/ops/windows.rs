//! Windows as parameters: three dimensions, the outer ones of a single element where there are fewer.

use wgrad_core::ops::Windows;
use wgrad_core::{Layout, Shape};

use crate::source::Source;

/// The last of three, the others a dimension of one element.
fn dimensions<T: Copy>(of: &[T], one: T) -> [T; 3] {
    let mut all = [one; 3];
    all[3 - of.len()..].copy_from_slice(of);
    all
}

/// The parameters of the windows of a plane.
pub(super) fn parameters(
    source: &mut Source<'_>,
    windows: &Windows,
    elements: &[usize],
    counts: &[usize],
) {
    for (name, values) in [
        ("size", dimensions(&windows.size, 1)),
        ("step", dimensions(&windows.step, 1)),
        ("dilation", dimensions(&windows.dilation, 1)),
        ("low", dimensions(&windows.low, 0)),
        ("elements", dimensions(elements, 1)),
        ("count", dimensions(counts, 1)),
    ] {
        for (d, value) in values.into_iter().enumerate() {
            source.u32(&format!("{name}{d}"), value);
        }
    }
}

/// How many elements a window spans along each dimension.
pub(super) fn spans(source: &mut Source<'_>, windows: &Windows) {
    let spans: Vec<usize> = (0..windows.rank()).map(|d| windows.span(d)).collect();
    for (d, span) in dimensions(&spans, 1).into_iter().enumerate() {
        source.u32(&format!("span{d}"), span);
    }
}

/// The strides of a view's dimensions from `first` on as parameters `name0` to `name2`.
pub(super) fn strides(source: &mut Source<'_>, name: &str, strides: &[isize]) {
    for (d, stride) in dimensions(strides, 0).into_iter().enumerate() {
        source.stride(&format!("{name}{d}"), stride);
    }
}

/// The leading dimensions of a view.
pub(super) fn planes(layout: &Layout, lead: usize) -> Layout {
    Layout {
        shape: Shape::new(&layout.shape[..lead]),
        strides: layout.strides[..lead].into(),
        offset: layout.offset,
    }
}
