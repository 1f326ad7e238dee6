//! Rows of scores: what products of queries and keys become before and after the exponential function.

use pulp::{Simd, WithSimd};
use wgrad_core::ops::Scores;
use wgrad_core::{DType, Operand};

use crate::cursor::run_of;
use crate::instructions::dispatch;
use crate::interpreter::Bound;
use crate::lanes::{Element, FloatElement, FloatLane, Lane};
use crate::loops::fused;
use crate::storage;

/// A view of up to four dimensions.
#[derive(Clone)]
pub(super) struct View {
    pub buffer: usize,
    pub dtype: DType,
    offset: isize,
    strides: [isize; 4],
}

impl View {
    pub fn new(operand: &Operand) -> View {
        let mut strides = [0; 4];
        for (to, &stride) in strides.iter_mut().zip(&operand.layout.strides[..]) {
            *to = stride;
        }
        View {
            buffer: operand.buffer,
            dtype: operand.dtype,
            offset: operand.layout.offset as isize,
            strides,
        }
    }

    /// The address of an element.
    pub fn at(&self, buffers: &[Bound], index: [usize; 4]) -> *const u8 {
        let mut at = self.offset;
        for (i, stride) in index.into_iter().zip(self.strides) {
            at += i as isize * stride;
        }
        let size = self.dtype.size() as isize;
        buffers[self.buffer]
            .start
            .cast_const()
            .wrapping_offset(at * size)
    }

    /// Strides of the last two dimensions.
    pub fn matrix(&self) -> (isize, isize) {
        (self.strides[2], self.strides[3])
    }

    /// Loads `n` elements along the last dimension, widened.
    ///
    /// # Safety
    /// They are readable, and `to` is writable for `n` elements of the compute type; `staged` has room for `n`.
    pub unsafe fn load(
        &self,
        buffers: &[Bound],
        index: [usize; 4],
        n: usize,
        staged: *mut u8,
        to: *mut u8,
    ) {
        let (from, stride) = (self.at(buffers, index), self.strides[3]);
        // SAFETY: the caller's promise.
        unsafe {
            if stride == 1 {
                storage::load(self.dtype, from, to, n);
            } else {
                run_of(self.dtype.size())(from, stride, staged, n);
                storage::load(self.dtype, staged, to, n);
            }
        }
    }
}

/// What makes scores of products, besides their places.
#[derive(Clone)]
pub(super) struct Rules {
    pub scores: Scores,
    pub mask: Option<View>,
    pub alibi: Option<View>,
    pub seed: Option<View>,
    /// How many heads and queries there are.
    pub heads: usize,
    pub queries: usize,
}

/// A row of a block of scores: of batch, head and query, from key `first` on.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub batch: usize,
    pub head: usize,
    pub query: usize,
    pub first: usize,
}

impl Rules {
    /// The keys that causality and the window admit for any of some queries.
    pub fn keys(&self, first: usize, end: usize, keys: usize) -> (usize, usize) {
        let (mut from, mut to) = (0, keys);
        if self.scores.causal {
            to = to.min(end);
        }
        if let Some(window) = self.scores.window {
            if window == 0 {
                return (0, 0);
            }
            from = (first + 1).saturating_sub(window);
            to = to.min((end - 1).saturating_add(window));
        }
        (from.min(to), to)
    }

    /// The queries for which causality and the window admit any of some keys.
    pub fn queries(&self, first: usize, end: usize) -> (usize, usize) {
        let (mut from, mut to) = (0, self.queries);
        if self.scores.causal {
            from = first;
        }
        if let Some(window) = self.scores.window {
            if window == 0 {
                return (0, 0);
            }
            from = from.max((first + 1).saturating_sub(window));
            to = to.min((end - 1).saturating_add(window));
        }
        (from.min(to), to)
    }

    /// Makes scores of products. `staged` holds two rows.
    ///
    /// # Safety
    /// The operands are readable.
    pub unsafe fn apply<E: FloatElement>(
        &self,
        buffers: &[Bound],
        place: Place,
        row: &mut [E],
        staged: &mut [E],
    ) {
        let Place {
            batch,
            head,
            query,
            first,
        } = place;
        let slope = self.alibi.as_ref().map(|slopes| {
            let mut slope = E::from_f64(0.0);
            // SAFETY: the caller's promise.
            unsafe {
                let from = slopes.at(buffers, [head, 0, 0, 0]);
                storage::load(slopes.dtype, from, std::ptr::from_mut(&mut slope).cast(), 1);
            }
            slope
        });
        let none = E::from_f64(f64::NEG_INFINITY);
        dispatch(Biased {
            row: &mut *row,
            scale: E::from_f64(self.scores.scale()),
            slope,
            apart: query as f64 - first as f64,
        });
        if let Some(mask) = &self.mask {
            let n = row.len();
            let (staged, loaded) = staged.split_at_mut(n);
            let (staged, to) = (staged.as_mut_ptr().cast(), loaded.as_mut_ptr().cast());
            // SAFETY: the caller's promise.
            unsafe { mask.load(buffers, [batch, head, query, first], n, staged, to) };
            if mask.dtype == DType::Bool {
                // SAFETY: as many bytes were written there; any of them is a `u8`.
                let seen = unsafe { std::slice::from_raw_parts(to.cast::<u8>().cast_const(), n) };
                for (x, &seen) in row.iter_mut().zip(seen) {
                    *x = if seen != 0 { *x } else { none };
                }
            } else {
                for (x, &more) in row.iter_mut().zip(&loaded[..n]) {
                    *x = E::Plain::new(*x).add(E::Plain::new(more)).raw();
                }
            }
        }
        let (from, to) = self.keys(query, query + 1, first + row.len());
        let n = row.len();
        row[..from.saturating_sub(first).min(n)].fill(none);
        row[to.saturating_sub(first).min(n)..].fill(none);
    }

    /// The factors of dropout of a row, if weights are dropped.
    ///
    /// # Safety
    /// The operands are readable.
    pub unsafe fn kept<E: Element>(&self, buffers: &[Bound], place: Place, row: &mut [E]) -> bool {
        let Some(seed) = &self.seed else {
            return false;
        };
        let words: [u32; 4] = std::array::from_fn(|i| {
            let from = seed.at(buffers, [i, 0, 0, 0]);
            // SAFETY: the caller's promise.
            unsafe { from.cast::<u32>().read() }
        });
        let index = (place.batch * self.heads + place.head) * self.queries + place.query;
        let mixed = Scores::mix(index as u32 ^ words[0]);
        let (threshold, factor) = self.scores.threshold();
        dispatch(Kept {
            row,
            of_row: Scores::mix(mixed.wrapping_add(words[1])),
            first: place.first as u32,
            words: [words[2], words[3]],
            threshold,
            factor: E::from_f64(factor),
        });
        true
    }
}

/// `x scale - slope |apart - j|`.
struct Biased<'a, E> {
    row: &'a mut [E],
    scale: E,
    slope: Option<E>,
    apart: f64,
}

impl<E: FloatElement> WithSimd for Biased<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let scale = E::Plain::new(self.scale);
        match self.slope {
            None => {
                for x in self.row {
                    *x = E::Plain::new(*x).mul(scale).raw();
                }
            }
            Some(slope) => {
                let (slope, apart) = (E::Plain::new(slope), E::Plain::new(E::from_f64(self.apart)));
                for (j, x) in self.row.iter_mut().enumerate() {
                    let apart = apart.sub(E::Plain::new(E::from_i64(j as i64))).abs();
                    *x = E::Plain::new(*x).mul(scale).sub(slope.mul(apart)).raw();
                }
            }
        }
    }
}

struct Kept<'a, E> {
    row: &'a mut [E],
    of_row: u32,
    first: u32,
    words: [u32; 2],
    threshold: u32,
    factor: E,
}

impl<E: Element> WithSimd for Kept<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let zero = E::from_f64(0.0);
        for (j, x) in self.row.iter_mut().enumerate() {
            let place = self.first.wrapping_add(j as u32).wrapping_mul(0x9e37_79b9);
            let of_key = place.wrapping_add(self.words[0]);
            let bits = Scores::mix((self.of_row ^ of_key).wrapping_add(self.words[1]));
            *x = if bits >= self.threshold {
                self.factor
            } else {
                zero
            };
        }
    }
}

/// `e^(x - shift)` in place; the sum.
pub(super) struct Exponentials<'a, E> {
    pub row: &'a mut [E],
    pub shift: E,
}

impl<E: FloatElement> WithSimd for Exponentials<'_, E> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        const LANES: usize = 16;
        let mut sums = [E::from_f64(0.0); LANES];
        let (chunks, rest) = self.row.as_chunks_mut::<LANES>();
        if fused::<S>() {
            let shift = E::Fused::new(self.shift);
            for chunk in chunks {
                for (x, sum) in chunk.iter_mut().zip(&mut sums) {
                    *x = E::Fused::new(*x).sub(shift).exp().raw();
                    *sum = E::Fused::new(*sum).add(E::Fused::new(*x)).raw();
                }
            }
            for x in &mut *rest {
                *x = E::Fused::new(*x).sub(shift).exp().raw();
            }
        } else {
            let shift = E::Plain::new(self.shift);
            for chunk in chunks {
                for (x, sum) in chunk.iter_mut().zip(&mut sums) {
                    *x = E::Plain::new(*x).sub(shift).exp().raw();
                    *sum = E::Plain::new(*sum).add(E::Plain::new(*x)).raw();
                }
            }
            for x in &mut *rest {
                *x = E::Plain::new(*x).sub(shift).exp().raw();
            }
        }
        sums.iter().chain(&*rest).map(|x| x.to_f64()).sum()
    }
}

/// The largest element; of rows with NaN any.
pub(super) struct Largest<'a, E>(pub &'a [E]);

impl<E: Element> WithSimd for Largest<'_, E> {
    type Output = E;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> E {
        const LANES: usize = 32;
        let larger = |a: E, b: E| if a > b { a } else { b };
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [E::from_f64(f64::NEG_INFINITY); LANES];
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = larger(*lane, x);
            }
        }
        let most = lanes[1..].iter().fold(lanes[0], |a, &b| larger(a, b));
        rest.iter().fold(most, |a, &b| larger(a, b))
    }
}

/// `x factor` in place.
pub(super) struct Scaled<'a, E>(pub &'a mut [E], pub E);

impl<E: Element> WithSimd for Scaled<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let factor = E::Plain::new(self.1);
        for x in self.0 {
            *x = E::Plain::new(*x).mul(factor).raw();
        }
    }
}

/// `x y` in place of `x`.
pub(super) struct Times<'a, E>(pub &'a mut [E], pub &'a [E]);

impl<E: Element> WithSimd for Times<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (x, &y) in self.0.iter_mut().zip(self.1) {
            *x = E::Plain::new(*x).mul(E::Plain::new(y)).raw();
        }
    }
}

/// `scale p (d - delta)` in place of `d`.
pub(super) struct Slopes<'a, E> {
    pub p: &'a [E],
    pub d: &'a mut [E],
    pub delta: E,
    pub scale: E,
}

impl<E: Element> WithSimd for Slopes<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (delta, scale) = (E::Plain::new(self.delta), E::Plain::new(self.scale));
        for (d, &p) in self.d.iter_mut().zip(self.p) {
            let apart = E::Plain::new(*d).sub(delta);
            *d = E::Plain::new(p).mul(apart).mul(scale).raw();
        }
    }
}
