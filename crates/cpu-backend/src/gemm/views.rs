//! Packing matrices whose rows or columns are several dimensions, such as the windows of an image.

use std::ops::Range;

use pulp::Simd;

use super::Matrix;
use super::blocks::{MOST_COLUMNS, MOST_DEPTH};
use super::turn::{side, turn, turn_rows};
use crate::cursor::Cursor;

/// Where the elements from position `first` on lie.
pub(super) fn offsets(cursor: &mut Cursor<'_>, first: usize, into: &mut [i64]) {
    cursor.seek(first);
    let mut done = 0;
    while done < into.len() {
        let (at, stride, count) = cursor.next_run(into.len() - done);
        for (i, offset) in into[done..done + count].iter_mut().enumerate() {
            *offset = (at + i as isize * stride) as i64;
        }
        done += count;
    }
}

/// Where the elements of lines begin, one line for each of `range`: an offset each.
pub(super) struct Starts {
    places: [i64; MOST_DEPTH],
    count: usize,
}

impl Starts {
    /// Those of B's rows, for all slivers of a depth.
    pub fn of_rows(b: &Matrix<'_>, depths: Range<usize>) -> Starts {
        let (mut places, count) = ([0; MOST_DEPTH], depths.len());
        offsets(&mut Cursor::new(b.rows), depths.start, &mut places[..count]);
        Starts { places, count }
    }

    pub fn part(&self, range: Range<usize>) -> &[i64] {
        &self.places[..self.count][range]
    }

    /// Asks for `columns` elements of the lines of part `i` of so many, which lie so far behind `from`. What the
    /// sliver before has brought is there.
    pub fn fetch<T>(&self, (i, parts): (usize, usize), from: *const T, columns: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = 64 / size_of::<T>();
            let part = self.count * i / parts..self.count * (i + 1) / parts;
            let mut last = i64::MIN;
            for &start in self.part(part) {
                // Windows that overlap are in the same lines of the cache.
                if start.abs_diff(last) < line as u64 {
                    continue;
                }
                last = start;
                let row = from.wrapping_offset(start as isize);
                for column in (line..columns).step_by(line).chain([columns - 1]) {
                    // SAFETY: a hint, which touches nothing.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(column).cast()) };
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (i, parts, from, columns);
    }
}

/// Neighbouring columns that are neighbours in memory: the first, where it lies, how many.
type Run = (usize, isize, usize);

/// The columns of a sliver.
pub(super) struct Columns<const WIDTH: usize> {
    places: [i64; WIDTH],
    runs: [Run; WIDTH],
    count: usize,
    /// Columns that are there.
    width: usize,
}

impl<const WIDTH: usize> Columns<WIDTH> {
    /// Columns that are not there have the place of the last; nobody stores their sums.
    pub fn new(b: &Matrix<'_>, columns: Range<usize>) -> Columns<WIDTH> {
        let (mut places, count) = ([0; WIDTH], columns.len());
        offsets(
            &mut Cursor::new(b.columns),
            columns.start,
            &mut places[..count],
        );
        let last = places[count - 1];
        places[count..].fill(last);
        let (mut runs, mut count) = ([(0, 0, 0); WIDTH], 0);
        let there = places[..columns.len()].iter().map(|&place| place as isize);
        for (j, place) in there.enumerate() {
            match runs[..count].last_mut() {
                Some((first, start, length)) if place == *start + (j - *first) as isize => {
                    *length += 1
                }
                _ => {
                    runs[count] = (j, place, 1);
                    count += 1;
                }
            }
        }
        Columns {
            places,
            runs,
            count,
            width: columns.len(),
        }
    }

    fn runs(&self) -> &[Run] {
        &self.runs[..self.count]
    }

    /// Copies a row, whose elements lie from `from` on and end at `end`. Whole vectors are copied for parts of one
    /// where there is something to read and, as for all rows but the `last`, something to write.
    ///
    /// # Safety
    /// The elements are readable, and the row writable.
    #[inline(always)]
    unsafe fn copy<T: Copy>(&self, from: *const T, end: isize, last: bool, into: *mut T) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.count > WIDTH / 2 {
                for (j, &place) in self.places.iter().enumerate() {
                    *into.add(j) = *from.offset(place as isize);
                }
                return;
            }
            for &(first, start, length) in self.runs() {
                let (source, target) = (from.offset(start), into.add(first));
                if last || start + WIDTH as isize > end {
                    std::ptr::copy_nonoverlapping(source, target, length);
                } else {
                    let vector = source.cast::<[T; WIDTH]>().read_unaligned();
                    target.cast::<[T; WIDTH]>().write_unaligned(vector);
                }
            }
        }
    }
}

/// A sliver of B.
pub(super) struct ViewOfB<'a, const WIDTH: usize> {
    pub b: &'a Matrix<'a>,
    pub columns: Columns<WIDTH>,
}

impl<const WIDTH: usize> ViewOfB<'_, WIDTH> {
    /// Packs rows `depths`, which begin at `starts`.
    ///
    /// # Safety
    /// B is readable there, the sliver writable; `T` has the size of an element.
    #[inline(always)]
    pub unsafe fn pack<S: Simd, T: Copy>(
        &self,
        from: *const T,
        depths: Range<usize>,
        starts: &[i64],
        into: *mut T,
    ) {
        let (runs, deep) = (self.columns.runs(), depths.len());
        if self.columns.width < WIDTH {
            // What lay there may be numbers that are slow to multiply.
            // SAFETY: the caller's promise.
            unsafe { into.write_bytes(0, deep * WIDTH) };
        }
        if runs.len() > 3 && self.b.rows.dense() >= side::<T>() {
            // SAFETY: the caller's promise.
            return unsafe { self.turn::<S, T>(from, depths, into) };
        }
        let longest = runs.iter().map(|&(_, _, length)| length).max();
        // SAFETY: the caller's promise.
        let done = unsafe {
            match longest.unwrap_or(0) {
                0..=8 if WIDTH > 8 => self.copy_rows::<T, 8>(from, starts, into),
                0..=16 if WIDTH > 16 => self.copy_rows::<T, 16>(from, starts, into),
                _ => self.copy_rows::<T, WIDTH>(from, starts, into),
            }
        };
        for (r, &start) in starts.iter().enumerate().skip(done) {
            // SAFETY: the caller's promise.
            unsafe {
                let (from, end) = (from.offset(start as isize), self.b.end - start as isize);
                self.columns
                    .copy(from, end, r + 1 == deep, into.add(r * WIDTH));
            }
        }
    }

    /// Copies rows that begin at `starts` by vectors of `PIECE` elements, one for each run, and says how many: what is
    /// too much of a vector, the next one overwrites.
    ///
    /// # Safety
    /// As for [`ViewOfB::pack`]; no run is longer than a vector.
    #[inline(always)]
    unsafe fn copy_rows<T: Copy, const PIECE: usize>(
        &self,
        from: *const T,
        starts: &[i64],
        into: *mut T,
    ) -> usize {
        let runs = self.columns.runs();
        let furthest = starts.iter().copied().max().unwrap_or(0) as isize;
        let fits = |&(_, start, _): &Run| start + furthest + PIECE as isize <= self.b.end;
        if runs.len() > WIDTH / 2 || !runs.iter().all(fits) {
            return 0;
        }
        // The last row has nothing behind it.
        let done = starts.len() - 1;
        let starts = &starts[..done];
        // SAFETY: the caller's promise; there are whole vectors to read.
        unsafe {
            match *runs {
                [one] => copy_runs::<T, PIECE, WIDTH>(&[one], from, starts, into),
                [one, two] => copy_runs::<T, PIECE, WIDTH>(&[one, two], from, starts, into),
                [one, two, three] => {
                    copy_runs::<T, PIECE, WIDTH>(&[one, two, three], from, starts, into);
                }
                _ => copy_runs::<T, PIECE, WIDTH>(runs, from, starts, into),
            }
        }
        done
    }

    /// The same where rows lie next to each other, and columns do not.
    ///
    /// # Safety
    /// As for [`ViewOfB::pack`].
    #[inline(always)]
    unsafe fn turn<S: Simd, T: Copy>(&self, from: *const T, depths: Range<usize>, into: *mut T) {
        let ViewOfB { b, columns } = self;
        let furthest = columns.places.iter().copied().max().unwrap_or(0) as isize;
        let mut cursor = Cursor::new(b.rows);
        cursor.seek(depths.start);
        let deep = depths.len();
        let mut r = 0;
        while r < deep {
            let (at, stride, length) = cursor.next_run(deep - r);
            let room = (deep - r).min((b.end - furthest - at).max(0) as usize);
            let blocks = blocks_of::<T>(stride, length, room);
            for i in blocks.starts() {
                for part in (0..columns.width).step_by(side::<T>()) {
                    let line = |j: usize| {
                        from.wrapping_offset(columns.places[part + j] as isize + at + i as isize)
                    };
                    // SAFETY: the caller's promise.
                    unsafe { turn::<S, T>(line, into.add((r + i) * WIDTH + part), WIDTH) };
                }
            }
            for i in blocks.rest() {
                let row = at + i as isize * stride;
                // SAFETY: the caller's promise.
                unsafe {
                    let into = into.add((r + i) * WIDTH);
                    columns.copy(from.offset(row), b.end - row, r + i + 1 == deep, into);
                }
            }
            r += length;
        }
    }
}

/// Copies rows of a sliver that each consist of runs.
///
/// # Safety
/// Vectors of `PIECE` elements are readable there, and writable behind `into`.
#[inline(always)]
unsafe fn copy_runs<T: Copy, const PIECE: usize, const WIDTH: usize>(
    runs: &[Run],
    from: *const T,
    starts: &[i64],
    into: *mut T,
) {
    for (r, &start) in starts.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, into) = (from.offset(start as isize), into.add(r * WIDTH));
            for &(first, start, _) in runs {
                let vector = from.offset(start).cast::<[T; PIECE]>().read_unaligned();
                into.add(first).cast::<[T; PIECE]>().write_unaligned(vector);
            }
        }
    }
}

/// A run of lines' elements, as blocks that are turned and a rest of single ones.
struct BlocksOfRun {
    length: usize,
    side: usize,
    turned: bool,
}

/// The blocks of `length` neighbours that are `stride` apart, where `room` of them and of what follows may be read and
/// written. The last one overlaps the one before it; of a run that is shorter than a block, what is too much is
/// overwritten by the next run.
#[inline(always)]
fn blocks_of<T>(stride: isize, length: usize, room: usize) -> BlocksOfRun {
    let side = const { side::<T>() };
    BlocksOfRun {
        length,
        side,
        turned: stride == 1 && room >= side && length > side / 2,
    }
}

impl BlocksOfRun {
    #[inline(always)]
    fn starts(&self) -> impl Iterator<Item = usize> {
        let last = self.length.saturating_sub(self.side);
        let end = if self.turned { self.length } else { 0 };
        (0..end).step_by(self.side).map(move |i| i.min(last))
    }

    #[inline(always)]
    fn rest(&self) -> Range<usize> {
        if self.turned { 0..0 } else { 0..self.length }
    }
}

/// Packs a tile's rows of A.
///
/// # Safety
/// A is readable there, and there is room for a block to be turned beyond the last element; `T` has the size of an
/// element.
#[inline(always)]
pub(super) unsafe fn pack_rows_of_views<S: Simd, T: Copy>(
    a: &Matrix<'_>,
    from: *const T,
    rows: Range<usize>,
    depths: Range<usize>,
    into: *mut T,
) {
    let height = rows.len();
    let mut places = [0i64; MOST_COLUMNS];
    offsets(&mut Cursor::new(a.rows), rows.start, &mut places[..height]);
    let mut cursor = Cursor::new(a.columns);
    cursor.seek(depths.start);
    let furthest = places[..height].iter().copied().max().unwrap_or(0) as isize;
    let mut done = 0;
    while done < depths.len() {
        let (at, stride, length) = cursor.next_run(depths.len() - done);
        let room = (depths.len() - done).min((a.end - furthest - at).max(0) as usize);
        let blocks = blocks_of::<T>(stride, length, room);
        for i in blocks.starts() {
            let line = |r: usize| {
                from.wrapping_offset(places[r.min(height - 1)] as isize + at + i as isize)
            };
            // SAFETY: the caller's promise.
            unsafe { turn_rows::<S, T>(line, height, into.add((done + i) * height)) };
        }
        for i in blocks.rest() {
            let from = from.wrapping_offset(at + i as isize * stride);
            for (r, &place) in places[..height].iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *into.add((done + i) * height + r) = *from.offset(place as isize) };
            }
        }
        done += length;
    }
}
