//! Walking strided views: the minimal dimensions, row by row.

use smallvec::SmallVec;
use wgrad_core::{Layout, collapse};

/// Moves `n` elements that lie `stride` elements apart into a dense run.
///
/// # Safety
/// `source + i * stride` is readable for `i < n` and `target` writable for `n` elements, all
/// aligned to their size and not overlapping.
pub(crate) type RunFn = unsafe fn(source: *const u8, stride: isize, target: *mut u8, n: usize);

unsafe fn run<T: Copy>(source: *const u8, stride: isize, target: *mut u8, n: usize) {
    let source = source.cast::<T>();
    let target = target.cast::<T>();
    // SAFETY: the contract of `RunFn`.
    unsafe {
        match stride {
            1 => std::ptr::copy_nonoverlapping(source, target, n),
            0 => std::slice::from_raw_parts_mut(target, n).fill(*source),
            _ => {
                for i in 0..n {
                    *target.add(i) = *source.offset(i as isize * stride);
                }
            }
        }
    }
}

/// The loop for elements of `size` bytes.
pub(crate) fn run_of(size: usize) -> RunFn {
    match size {
        1 => run::<u8>,
        2 => run::<u16>,
        4 => run::<u32>,
        _ => run::<u64>,
    }
}

/// Asks for the cache lines of `bytes` bytes from `start` on, to be written soon. They need not be there.
pub(crate) fn prefetch(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(start.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// A strided view with as few dimensions as possible, walked in row-major order.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    dims: SmallVec<[usize; 6]>,
    strides: SmallVec<[isize; 6]>,
    offset: isize,
}

impl Walk {
    /// The view, which must not be empty.
    pub fn new(layout: &Layout) -> Walk {
        let merged = collapse(&[layout]);
        let mut dims = SmallVec::from_slice(&merged[0].shape);
        let mut strides = SmallVec::from_slice(&merged[0].strides);
        if dims.is_empty() {
            dims.push(1);
            strides.push(0);
        }
        Walk {
            dims,
            strides,
            offset: layout.offset as isize,
        }
    }

    /// So many elements, so far apart.
    pub fn line(count: usize, stride: isize) -> Walk {
        Walk {
            dims: SmallVec::from_elem(count, 1),
            strides: SmallVec::from_elem(stride, 1),
            offset: 0,
        }
    }

    /// Element offset of the element at a linear position.
    pub fn at(&self, position: usize) -> isize {
        let mut rest = position;
        let mut at = self.offset;
        for (&dim, &stride) in self.dims.iter().zip(&self.strides).rev() {
            at += (rest % dim) as isize * stride;
            rest /= dim;
        }
        at
    }

    /// The stride that walks all of it, if one does.
    pub fn stride(&self) -> Option<isize> {
        (self.dims.len() == 1).then_some(self.strides[0])
    }

    /// All of it as lines that follow one another in memory, if it is that.
    pub fn lines(&self) -> Option<Lines> {
        let (&[ref outer @ .., length], &[ref apart @ .., 1]) = (&self.dims[..], &self.strides[..])
        else {
            return None;
        };
        let (count, apart) = match (outer, apart) {
            ([], []) => (1, length as isize),
            (&[count], &[apart]) if apart >= length as isize => (count, apart),
            _ => return None,
        };
        Some(Lines {
            at: self.offset,
            apart,
            length,
            count,
        })
    }

    /// The distance between neighbours of the last dimension.
    pub fn last_stride(&self) -> isize {
        self.strides.last().copied().unwrap_or(0)
    }

    /// How many neighbours lie next to each other: the size of the last dimension if its stride is 1.
    pub fn dense(&self) -> usize {
        match self.strides.last() {
            Some(1) => self.dims.last().copied().unwrap_or(1),
            _ => 1,
        }
    }
}

/// Lines of a [`Walk`]'s elements, whose neighbours lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    /// Element offset of the first.
    pub at: isize,
    /// Distance between their beginnings.
    pub apart: isize,
    /// Elements of each.
    pub length: usize,
    pub count: usize,
}

/// A place in a [`Walk`].
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    walk: &'a Walk,
    /// Linear position of the next element.
    position: usize,
    index: SmallVec<[usize; 6]>,
    /// Element offset of the next element.
    at: isize,
}

impl<'a> Cursor<'a> {
    pub fn new(walk: &'a Walk) -> Cursor<'a> {
        Cursor {
            walk,
            position: 0,
            index: SmallVec::from_elem(0, walk.dims.len()),
            at: walk.offset,
        }
    }

    /// The linear position of the next element.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Goes to a linear position.
    pub fn seek(&mut self, position: usize) {
        if position == self.position {
            return;
        }
        self.position = position;
        self.at = self.walk.offset;
        let mut rest = position;
        for d in (0..self.index.len()).rev() {
            let dim = self.walk.dims[d];
            self.index[d] = rest % dim;
            self.at += self.index[d] as isize * self.walk.strides[d];
            rest /= dim;
        }
    }

    /// The next run of at most `n` elements within one row: element offset, stride, length.
    #[inline]
    pub fn next_run(&mut self, n: usize) -> (isize, isize, usize) {
        let last = self.index.len() - 1;
        let stride = self.walk.strides[last];
        let start = self.at;
        let take = self.run(n);
        self.position += take;
        self.index[last] += take;
        self.at += take as isize * stride;
        if self.index[last] == self.walk.dims[last] {
            self.carry(last);
        }
        (start, stride, take)
    }

    /// The next lines of the innermost two dimensions, of at most `n` elements together: several whole ones, or a part
    /// of one.
    #[inline]
    pub fn next_lines(&mut self, n: usize) -> Lines {
        let (last, at) = (self.index.len() - 1, self.at);
        let length = self.run(n);
        if last == 0 || length < self.walk.dims[last] {
            self.next_run(n);
            return Lines {
                at,
                apart: 0,
                length,
                count: 1,
            };
        }
        let outer = last - 1;
        let apart = self.walk.strides[outer];
        let count = (n / length).min(self.walk.dims[outer] - self.index[outer]);
        self.position += count * length;
        self.index[outer] += count;
        self.at += count as isize * apart;
        if self.index[outer] == self.walk.dims[outer] {
            self.carry(outer);
        }
        Lines {
            at,
            apart,
            length,
            count,
        }
    }

    /// How long the next run of at most `n` elements is.
    #[inline]
    pub fn run(&self, n: usize) -> usize {
        let last = self.index.len() - 1;
        n.min(self.walk.dims[last] - self.index[last])
    }

    /// Steps to the next element of the dimensions outside of `last`, whose end is reached.
    #[inline]
    fn carry(&mut self, last: usize) {
        let mut d = last;
        loop {
            self.at -= self.walk.dims[d] as isize * self.walk.strides[d];
            self.index[d] = 0;
            if d == 0 {
                return;
            }
            d -= 1;
            self.index[d] += 1;
            self.at += self.walk.strides[d];
            if self.index[d] < self.walk.dims[d] {
                return;
            }
        }
    }

    /// Gathers `n` elements of `size` bytes from `position` on.
    ///
    /// # Safety
    /// The view's elements are readable at `base` and the positions lie within it; `target` is
    /// writable for `n` elements and overlaps none of them.
    pub unsafe fn gather(
        &mut self,
        base: *const u8,
        size: usize,
        position: usize,
        target: *mut u8,
        n: usize,
    ) {
        self.seek(position);
        let run = run_of(size);
        let mut done = 0;
        while done < n {
            let (at, stride, take) = self.next_run(n - done);
            // SAFETY: the caller's promise; `at` is an element of the view.
            unsafe {
                run(
                    base.offset(at * size as isize),
                    stride,
                    target.add(done * size),
                    take,
                );
            }
            done += take;
        }
    }
}

/// One past the highest element that a view touches; `None` where it is empty, `Err`
/// where it reaches below 0 or beyond what can be addressed.
pub(crate) fn extent(layout: &Layout) -> Result<Option<usize>, ()> {
    if layout.shape.contains(&0) {
        return Ok(None);
    }
    let mut low = layout.offset as i128;
    let mut high = low;
    for (&dim, &stride) in layout.shape.iter().zip(&layout.strides) {
        let reach = (dim as i128 - 1) * stride as i128;
        if reach < 0 {
            low += reach;
        } else {
            high += reach;
        }
    }
    if low < 0 || layout.shape.rank() != layout.strides.len() {
        return Err(());
    }
    usize::try_from(high + 1).map(Some).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the lines are cut, their elements are those of the positions.
    #[test]
    fn lines_cover_all_positions_in_order() {
        for dims in [vec![7], vec![3, 5], vec![2, 3, 5], vec![2, 1, 4]] {
            let strides: Vec<isize> = vec![-100, 9, 1][3 - dims.len()..].to_vec();
            let walk = Walk {
                dims: SmallVec::from_slice(&dims),
                strides: SmallVec::from_slice(&strides),
                offset: 1000,
            };
            let numel: usize = dims.iter().product();
            for (from, most) in (0..numel).flat_map(|from| (1..=numel).map(move |n| (from, n))) {
                let mut cursor = Cursor::new(&walk);
                cursor.seek(from);
                let mut position = from;
                while position < numel {
                    assert_eq!(cursor.position(), position);
                    let lines = cursor.next_lines(most.min(numel - position));
                    assert!((1..=most).contains(&(lines.count * lines.length)));
                    for i in 0..lines.count * lines.length {
                        let (line, at) = (i / lines.length, i % lines.length);
                        let at = lines.at + line as isize * lines.apart + at as isize;
                        assert_eq!(at, walk.at(position + i), "{dims:?} from {from} by {most}");
                    }
                    position += lines.count * lines.length;
                }
            }
        }
    }
}
