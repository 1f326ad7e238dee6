//! How a tensor's indices map to the elements of its storage.

use smallvec::SmallVec;

use crate::types::shape::{Dims, Shape};

/// Strides that stay on the stack up to rank 4.
pub type Strides = SmallVec<[isize; 4]>;

/// A strided view of a buffer: element `[i, j, ..]` lies at `offset + i * strides[0] + ..`.
/// All in elements. A stride of 0 repeats (broadcast), a negative one walks backwards.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    /// The shape of the view.
    pub shape: Shape,
    /// One stride per dimension.
    pub strides: Strides,
    /// Where the first element lies.
    pub offset: usize,
}

impl Clone for Layout {
    /// A block copy, as for shapes.
    fn clone(&self) -> Layout {
        Layout {
            shape: self.shape.clone(),
            strides: Strides::from_slice(&self.strides),
            offset: self.offset,
        }
    }
}

impl Layout {
    /// The row-major layout of a whole buffer.
    pub fn contiguous(shape: Shape) -> Layout {
        let strides = shape.strides();
        Layout {
            shape,
            strides,
            offset: 0,
        }
    }

    /// Whether the elements lie in row-major order without gaps (at any offset). Strides of
    /// dimensions of size 1 do not matter; empty views are contiguous.
    pub fn is_contiguous(&self) -> bool {
        if self.shape.contains(&0) {
            return true;
        }
        let mut step = 1isize;
        for (&dim, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if dim != 1 {
                if stride != step {
                    return false;
                }
                step *= dim as isize;
            }
        }
        true
    }

    /// Whether this is the row-major view from the start of the buffer.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && self.is_contiguous()
    }

    /// Whether all elements of the view are one and the same.
    pub fn is_single(&self) -> bool {
        self.shape
            .iter()
            .zip(&self.strides)
            .all(|(&d, &s)| d == 1 || s == 0)
    }

    /// The view with its dimensions in the order of `perm`, a permutation of `0..rank`.
    pub fn permute(&self, perm: &[usize]) -> Layout {
        Layout {
            shape: perm.iter().map(|&d| self.shape[d]).collect(),
            strides: perm.iter().map(|&d| self.strides[d]).collect(),
            offset: self.offset,
        }
    }

    /// The view broadcast to `shape`, `None` where it does not fit.
    pub fn expand(&self, shape: &Shape) -> Option<Layout> {
        let pad = shape.rank().checked_sub(self.shape.rank())?;
        if !shape.is_countable() {
            return None;
        }
        let mut strides: Strides = SmallVec::from_elem(0, pad);
        for (i, (&dim, &stride)) in self.shape.iter().zip(&self.strides).enumerate() {
            match shape[pad + i] {
                to if to == dim => strides.push(if dim == 1 { 0 } else { stride }),
                _ if dim == 1 => strides.push(0),
                _ => return None,
            }
        }
        Some(Layout {
            shape: shape.clone(),
            strides,
            offset: self.offset,
        })
    }

    /// The view as `shape` (of as many elements) without moving data, `None` where a copy is
    /// needed. Splits and merges dimensions; this is torch's `computeStride`.
    pub fn reshape(&self, shape: &Shape) -> Option<Layout> {
        if self.shape == *shape {
            return Some(self.clone());
        }
        if self.is_contiguous() {
            return Some(Layout {
                offset: self.offset,
                ..Layout::contiguous(shape.clone())
            });
        }
        let mut strides: Strides = SmallVec::from_elem(0, shape.rank());
        let mut to = shape.rank();
        let mut from = self.shape.rank();
        while from > 0 {
            // A chunk: neighbouring source dimensions that one stride walks.
            from -= 1;
            let base = self.strides[from];
            let mut size = self.shape[from];
            while from > 0
                && (self.shape[from - 1] == 1
                    || size == 1
                    || self.strides[from - 1] == base * size as isize)
            {
                if size == 1 && self.shape[from - 1] != 1 {
                    break;
                }
                from -= 1;
                size *= self.shape[from];
            }
            let mut step = base;
            let mut left = size;
            while to > 0 && (left > 1 || shape[to - 1] == 1) {
                let dim = shape[to - 1];
                if dim == 0 || !left.is_multiple_of(dim) {
                    return None;
                }
                to -= 1;
                strides[to] = step;
                step *= dim as isize;
                left /= dim;
            }
            if left != 1 {
                return None;
            }
        }
        while to > 0 {
            to -= 1;
            if shape[to] != 1 {
                return None;
            }
        }
        Some(Layout {
            shape: shape.clone(),
            strides,
            offset: self.offset,
        })
    }

    /// Keeps elements `start, start + step, ..` (`len` of them) of dimension `dim`.
    pub fn slice(&self, dim: usize, start: usize, len: usize, step: usize) -> Layout {
        let mut view = self.clone();
        let mut dims = Dims::from_slice(&self.shape);
        dims[dim] = len;
        view.shape = Shape::from(dims);
        if len > 0 {
            let at = self.offset as isize + start as isize * self.strides[dim];
            view.offset = at as usize;
        }
        view.strides[dim] = self.strides[dim] * step as isize;
        view
    }

    /// The view with dimension `dim` from its end to its beginning.
    pub fn flip(&self, dim: usize) -> Layout {
        let mut view = self.clone();
        let last = self.shape[dim].saturating_sub(1) as isize;
        if !self.shape.contains(&0) {
            view.offset = (self.offset as isize + last * self.strides[dim]) as usize;
        }
        view.strides[dim] = -self.strides[dim];
        view
    }

    /// The view without dimension `dim`.
    pub fn remove(&self, dim: usize) -> Layout {
        let mut dims = Dims::from_slice(&self.shape);
        dims.remove(dim);
        let mut strides = self.strides.clone();
        strides.remove(dim);
        Layout {
            shape: Shape::from(dims),
            strides,
            offset: self.offset,
        }
    }

    /// The view with a dimension of size 1 put in at `dim`.
    pub fn insert(&self, dim: usize) -> Layout {
        let mut dims = Dims::from_slice(&self.shape);
        dims.insert(dim, 1);
        let mut strides = self.strides.clone();
        strides.insert(dim, 0);
        Layout {
            shape: Shape::from(dims),
            strides,
            offset: self.offset,
        }
    }

    /// One past the largest element index the view touches (0 for empty views).
    pub fn end(&self) -> usize {
        if self.shape.contains(&0) {
            return 0;
        }
        let last: isize = self
            .shape
            .iter()
            .zip(&self.strides)
            .map(|(&d, &s)| if s > 0 { (d as isize - 1) * s } else { 0 })
            .sum();
        self.offset + last as usize + 1
    }

    /// The element index of coordinate `index`.
    pub fn index(&self, index: &[usize]) -> usize {
        let at: isize = index
            .iter()
            .zip(&self.strides)
            .map(|(&i, &s)| i as isize * s)
            .sum();
        (self.offset as isize + at) as usize
    }
}

/// Merges neighbouring dimensions that every one of `layouts` walks with a single stride and
/// drops dimensions of size 1: the fewest dimensions a kernel has to step through. All layouts
/// share one shape; the result's shape is the same for all.
pub fn collapse(layouts: &[&Layout]) -> Vec<Layout> {
    let Some(first) = layouts.first() else {
        return Vec::new();
    };
    let shape = &first.shape;
    let mut dims: Vec<usize> = Vec::new();
    let mut strides: Vec<Strides> = vec![Strides::new(); layouts.len()];
    for d in 0..shape.rank() {
        if shape[d] == 1 {
            continue;
        }
        let merge = !dims.is_empty()
            && layouts
                .iter()
                .zip(&strides)
                .all(|(l, s)| s.last() == Some(&(l.strides[d] * shape[d] as isize)));
        if merge {
            let last = dims.len() - 1;
            dims[last] *= shape[d];
            for (l, s) in layouts.iter().zip(&mut strides) {
                s[last] = l.strides[d];
            }
        } else {
            dims.push(shape[d]);
            for (l, s) in layouts.iter().zip(&mut strides) {
                s.push(l.strides[d]);
            }
        }
    }
    let shape = Shape::from(dims);
    layouts
        .iter()
        .zip(strides)
        .map(|(l, strides)| Layout {
            shape: shape.clone(),
            strides,
            offset: l.offset,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(l: &Layout) -> Vec<usize> {
        let mut out = Vec::new();
        let mut at = vec![0; l.shape.rank()];
        for _ in 0..l.shape.numel() {
            out.push(l.index(&at));
            for d in (0..at.len()).rev() {
                at[d] += 1;
                if at[d] < l.shape[d] {
                    break;
                }
                at[d] = 0;
            }
        }
        out
    }

    #[test]
    fn reshape_keeps_row_major_order() {
        let base = Layout::contiguous([4, 6, 5].into());
        let views = [
            base.clone(),
            base.permute(&[2, 0, 1]),
            base.slice(1, 1, 2, 2),
            base.slice(0, 1, 1, 1),
            base.slice(2, 0, 1, 1),
            base.permute(&[1, 0, 2]).slice(0, 2, 3, 1),
            Layout::contiguous([1, 6].into())
                .expand(&[4, 6].into())
                .unwrap(),
            Layout::contiguous([4, 1].into())
                .expand(&[4, 6].into())
                .unwrap(),
        ];
        let shapes: Vec<Shape> = [
            vec![120],
            vec![4, 30],
            vec![24, 5],
            vec![2, 2, 6, 5],
            vec![2, 60],
            vec![5, 24],
            vec![4, 2, 5],
            vec![40],
            vec![8, 5],
            vec![1, 30],
            vec![30],
            vec![6, 5, 1],
            vec![24],
            vec![2, 12],
            vec![4, 3, 2],
            vec![4, 2, 3],
            vec![2, 2, 6],
            vec![6, 4],
            vec![4, 6, 1],
            vec![1, 24],
            vec![3, 8],
            vec![60],
            vec![3, 2, 2, 5],
            vec![3, 4, 5],
            vec![6, 2, 5],
        ]
        .into_iter()
        .map(Shape::from)
        .collect();
        let mut hits = 0;
        for view in &views {
            for shape in shapes.iter().filter(|s| s.numel() == view.shape.numel()) {
                if let Some(r) = view.reshape(shape) {
                    assert_eq!(indices(&r), indices(view), "{view:?} as {shape:?}");
                    hits += 1;
                } else {
                    assert!(!view.is_contiguous());
                }
            }
        }
        assert!(hits > 25, "{hits}");
    }

    #[test]
    fn collapse_walks_the_same_elements() {
        let a = Layout::contiguous([2, 3, 4].into());
        let b = Layout::contiguous([3, 4].into())
            .expand(&[2, 3, 4].into())
            .unwrap();
        let c = collapse(&[&a, &b]);
        assert_eq!(c[0].shape, [2, 12]);
        assert_eq!(indices(&c[1]), indices(&b));
        assert_eq!(collapse(&[&a])[0].shape, [24]);
    }
}
