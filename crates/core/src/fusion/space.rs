//! The space that a reduction walks, and what stands in it.

use super::Group;
use crate::fusion::graph::{Graph, Input, Item};
use crate::kernel::Operand;
use crate::record::node::Op;
use crate::types::layout::Layout;
use crate::types::shape::Shape;

/// Rows longer than this are only worth a kernel of rows where there are [`MANY_ROWS`]: a workgroup or a
/// thread walks each of them alone, where several could share it.
const LONG_ROW: usize = 16 * 1024;
const MANY_ROWS: usize = 64;
/// Rows longer than this are not, however many there are.
const LONGEST_ROW: usize = 1 << 20;

/// Kept dimensions, then reduced ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Space {
    pub shape: Shape,
    pub reduced: usize,
}

/// What an item of a kernel of rows is computed for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    Element,
    Row,
}

/// Whether two shapes differ in dimensions of size 1 at most.
pub(super) fn alike(a: &Shape, b: &Shape) -> bool {
    let sizes = |shape: &Shape| {
        shape
            .iter()
            .filter(|d| **d != 1)
            .copied()
            .collect::<Vec<_>>()
    };
    a == b || sizes(a) == sizes(b)
}

/// The space of the group's reductions.
pub(crate) fn space(graph: &Graph, group: &Group) -> Option<Space> {
    let reduction = group.all().map(|i| &graph.items[i]);
    reduction.into_iter().find_map(Space::of)
}

impl Space {
    /// The space of a reduction.
    pub fn of(item: &Item) -> Option<Space> {
        match (&item.op, item.inputs.first()) {
            (Op::Reduce { reduced, .. }, Some(Input::Item(_, layout) | Input::Leaf(_, layout))) => {
                Some(Space {
                    shape: layout.shape.clone(),
                    reduced: *reduced,
                })
            }
            _ => None,
        }
    }

    pub fn kept(&self) -> Shape {
        Shape::new(&self.shape[..self.shape.rank() - self.reduced])
    }

    /// Elements of a row.
    pub fn length(&self) -> usize {
        self.shape[self.shape.rank() - self.reduced..]
            .iter()
            .product()
    }

    /// Whether a kernel of rows is right for it, where the device stores at most so many bytes. Rows of one
    /// element are no rows: what stands at their elements and what once a row could not be told apart.
    pub fn is_worth_rows(&self, most_bytes: usize) -> bool {
        let length = self.length();
        let many = self.kept().numel() >= MANY_ROWS && length <= LONGEST_ROW;
        // A view that repeats elements may be longer than anything that could be stored between kernels.
        let huge = || self.shape.numel().saturating_mul(4) > most_bytes;
        length > 1 && (length <= LONG_ROW || many || huge())
    }

    /// Where an item of this shape is computed.
    pub fn level(&self, shape: &Shape) -> Option<Level> {
        match () {
            () if alike(shape, &self.shape) => Some(Level::Element),
            () if alike(shape, &self.kept()) => Some(Level::Row),
            () => None,
        }
    }

    /// Whether a view over the space is the same along each row.
    pub fn is_still(&self, layout: &Layout) -> bool {
        let dims = self.shape.rank() - self.reduced..self.shape.rank();
        dims.into_iter()
            .all(|d| layout.shape[d] == 1 || layout.strides[d] == 0)
    }

    /// Whether `layout` repeats, along each row, the row's own element of a whole tensor of one element
    /// a row.
    pub fn repeats(&self, layout: &Layout) -> bool {
        if !alike(&layout.shape, &self.shape) {
            return false;
        }
        let Some(layout) = layout.reshape(&self.shape) else {
            return false;
        };
        self.is_still(&layout) && self.without_elements(&layout).is_whole()
    }

    /// A view over the space that is the same along each row, once a row.
    fn without_elements(&self, layout: &Layout) -> Layout {
        let kept = self.shape.rank() - self.reduced;
        Layout {
            shape: self.kept(),
            strides: layout.strides[..kept].into(),
            offset: layout.offset,
        }
    }

    /// The operand over the kept dimensions: of a view that has an element a row, or that is the same
    /// along each row.
    pub fn operand_of_row(&self, operand: Operand) -> Operand {
        let layout = match operand.layout.shape == self.shape {
            true => Some(self.without_elements(&operand.layout)),
            false => operand.layout.reshape(&self.kept()),
        };
        Operand {
            layout: layout.unwrap_or(operand.layout),
            ..operand
        }
    }
}
