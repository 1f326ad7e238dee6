//! Accumulators: how a reduction's elements combine.
//!
//! Within a block elements combine in their own type, over many lanes; across blocks in a
//! [`State`], which for float sums is an `f64`. The order depends on sizes only.

mod extremum;

use pulp::{Simd, WithSimd};
use wgrad_core::{Accumulator, DType, ReduceOp};

use crate::instructions::dispatch;
use crate::lanes::{Element, Lane};

/// Lanes that a row is folded over: four vectors of eight, to hide the latency of an addition.
const LANES: usize = 32;

/// Elements of a long row that are added up in their own type.
const LONG: usize = 128 * LANES;

/// An accumulator between blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// A float sum (`f64`), an integer sum (`i64`) or an element, as bits.
    value: u64,
    /// Position of the element, or -1 while there is none.
    index: i64,
}

impl State {
    /// Of no elements.
    pub const EMPTY: State = State {
        value: 0,
        index: -1,
    };
}

/// Folds the `n` elements of a dense block into one state; the first stands at `position`.
type RowFn = unsafe fn(block: *const u8, n: usize, position: i64, state: &mut State);
/// Folds a dense block into `level`, whose element `i % width` takes element `i`; `fresh` starts
/// anew. Rows of the block have `columns` elements, `width` is a multiple.
type ColumnsFn = unsafe fn(
    block: *const u8,
    n: usize,
    columns: usize,
    width: usize,
    fresh: bool,
    level: *mut u8,
);
/// Folds `level` into the states of its columns.
type FlushFn = unsafe fn(level: *const u8, width: usize, states: &mut [State]);
/// Folds a dense block of rows into the states of its columns; the first row stands at `position`.
type PositionsFn = unsafe fn(block: *const u8, n: usize, position: i64, states: &mut [State]);
/// Writes the results of states, in the accumulator's result type.
type FinishFn = unsafe fn(states: &[State], out: *mut u8);

/// How an accumulator folds over kept columns.
#[derive(Clone, Copy)]
pub(crate) enum ColumnFold {
    /// By way of a level of elements, which is flushed now and then.
    Levels { add: ColumnsFn, flush: FlushFn },
    /// Element by element, because positions count.
    Positions(PositionsFn),
}

/// The functions of one accumulator. All of them trust that the pointers hold as many elements of
/// the accumulator's type as they are told.
#[derive(Clone, Copy)]
pub(crate) struct Fold {
    pub row: RowFn,
    pub columns: ColumnFold,
    pub merge: fn(&mut State, &State),
    pub finish: FinishFn,
}

/// The functions of `accumulator`; `None` where there are none.
pub(crate) fn fold_of(accumulator: Accumulator) -> Option<Fold> {
    Some(match accumulator.dtype {
        DType::F64 => of_type::<f64>(accumulator.op)?,
        DType::F32 => of_type::<f32>(accumulator.op)?,
        DType::I64 => of_type::<i64>(accumulator.op)?,
        DType::I32 => of_type::<i32>(accumulator.op)?,
        DType::U32 => of_type::<u32>(accumulator.op)?,
        DType::I16 => of_type::<i16>(accumulator.op)?,
        DType::I8 => of_type::<i8>(accumulator.op)?,
        DType::U8 => of_type::<u8>(accumulator.op)?,
        // Bools are 0 and 1: any is the largest, all the smallest.
        DType::Bool => match accumulator.op {
            ReduceOp::Any => Fold {
                finish: finish_bool::<false>,
                ..of_type::<u8>(ReduceOp::Max)?
            },
            ReduceOp::All => Fold {
                finish: finish_bool::<true>,
                ..of_type::<u8>(ReduceOp::Min)?
            },
            ReduceOp::Sum | ReduceOp::Product => return None,
            op => of_type::<u8>(op)?,
        },
        _ => return None,
    })
}

fn of_type<E: Numeric>(op: ReduceOp) -> Option<Fold> {
    Some(match op {
        ReduceOp::Sum => Fold {
            row: sum_row::<E>,
            columns: ColumnFold::Levels {
                add: columns::<E, Adding>,
                flush: sum_flush::<E>,
            },
            merge: |state, other| state.value = E::add_sums(state.value, other.value),
            finish: sum_finish::<E>,
        },
        ReduceOp::Product => Fold {
            row: product_row::<E>,
            columns: ColumnFold::Positions(product_columns::<E>),
            merge: |state, other| {
                if other.index >= 0 {
                    multiply::<E>(state, other.value);
                }
            },
            finish: product_finish::<E>,
        },
        ReduceOp::Max => extremum::<E, Largest>(),
        ReduceOp::Min => extremum::<E, Smallest>(),
        ReduceOp::ArgMax => position::<E, Largest>(),
        ReduceOp::ArgMin => position::<E, Smallest>(),
        ReduceOp::Any | ReduceOp::All => return None,
    })
}

fn extremum<E: Numeric, C: Combine>() -> Fold {
    Fold {
        row: extremum_row::<E, C>,
        columns: ColumnFold::Levels {
            add: columns::<E, C>,
            flush: extremum_flush::<E, C>,
        },
        merge: merge_extremum::<E, C>,
        finish: extremum_finish::<E>,
    }
}

fn position<E: Numeric, C: Combine>() -> Fold {
    Fold {
        row: position_row::<E, C>,
        columns: ColumnFold::Positions(position_columns::<E, C>),
        merge: merge_extremum::<E, C>,
        finish: position_finish,
    }
}

/// Elements and their sums.
trait Numeric: Element {
    /// The extremum of a row, where there is a faster way to it that knows it.
    fn quick_extremum<C: Combine>(_row: &[Self]) -> Option<Self> {
        None
    }
    /// The sum of a sum and an element, both sums as bits.
    fn add_to_sum(sum: u64, element: Self) -> u64;
    fn add_sums(a: u64, b: u64) -> u64;
    fn from_sum(sum: u64) -> Self;
    /// The product of a row, which like a sum is an `f64` or wraps at 64 bits.
    fn product(row: &[Self]) -> u64;
    fn multiply(a: u64, b: u64) -> u64;
    fn to_bits(self) -> u64;
    fn of_bits(bits: u64) -> Self;
}

macro_rules! float_sums {
    ($($t:ty, $bits:ty, $quick:expr;)*) => { $(impl Numeric for $t {
        #[inline(always)]
        fn quick_extremum<C: Combine>(row: &[$t]) -> Option<$t> { ($quick)(row, C::LARGEST) }
        #[inline(always)]
        fn add_to_sum(sum: u64, element: $t) -> u64 {
            (f64::from_bits(sum) + f64::from(element)).to_bits()
        }
        #[inline(always)]
        fn add_sums(a: u64, b: u64) -> u64 {
            (f64::from_bits(a) + f64::from_bits(b)).to_bits()
        }
        #[inline(always)]
        fn from_sum(sum: u64) -> $t { f64::from_bits(sum) as $t }
        #[inline(always)]
        fn product(row: &[$t]) -> u64 {
            let (chunks, rest) = row.as_chunks::<8>();
            let mut lanes = [1f64; 8];
            for chunk in chunks {
                for (lane, &x) in lanes.iter_mut().zip(chunk) {
                    *lane *= f64::from(x);
                }
            }
            let rest = rest.iter().map(|&x| f64::from(x));
            lanes.into_iter().chain(rest).product::<f64>().to_bits()
        }
        #[inline(always)]
        fn multiply(a: u64, b: u64) -> u64 {
            (f64::from_bits(a) * f64::from_bits(b)).to_bits()
        }
        #[inline(always)]
        fn to_bits(self) -> u64 { <$t>::to_bits(self).into() }
        #[inline(always)]
        fn of_bits(bits: u64) -> $t { <$t>::from_bits(bits as $bits) }
    })* };
}
float_sums! { f32, u32, extremum::extremum; f64, u64, |_: &[f64], _| None; }

macro_rules! integer_sums {
    ($($t:ty)*) => { $(impl Numeric for $t {
        // Sums wrap at 64 bits and are cut down at the end, which is the same as wrapping at
        // the type's own width all the time.
        #[inline(always)]
        fn add_to_sum(sum: u64, element: $t) -> u64 { sum.wrapping_add(element as u64) }
        #[inline(always)]
        fn add_sums(a: u64, b: u64) -> u64 { a.wrapping_add(b) }
        #[inline(always)]
        fn from_sum(sum: u64) -> $t { sum as $t }
        #[inline(always)]
        fn product(row: &[$t]) -> u64 {
            row.iter().fold(1, |product: u64, &x| product.wrapping_mul(x as u64))
        }
        #[inline(always)]
        fn multiply(a: u64, b: u64) -> u64 { a.wrapping_mul(b) }
        #[inline(always)]
        fn to_bits(self) -> u64 { self as u64 }
        #[inline(always)]
        fn of_bits(bits: u64) -> $t { bits as $t }
    })* };
}
integer_sums! { i64 i32 u32 i16 i8 u8 }

/// How two elements become one.
trait Combine {
    fn combine<L: Lane>(a: L, b: L) -> L;
    /// The start of a level, `None` where it starts with elements.
    const ZERO: bool = false;
    /// Whether the largest is wanted, of what wants an extremum.
    const LARGEST: bool = false;
    /// Whether `new` takes the place of `old`: it is better, or NaN where `old` is not.
    fn wins<E: Element>(_new: E, _old: E) -> bool {
        false
    }
}
struct Adding;
struct Largest;
struct Smallest;
impl Combine for Adding {
    #[inline(always)]
    fn combine<L: Lane>(a: L, b: L) -> L {
        a.add(b)
    }
    const ZERO: bool = true;
}
impl Combine for Largest {
    const LARGEST: bool = true;
    #[inline(always)]
    fn combine<L: Lane>(a: L, b: L) -> L {
        a.maximum(b)
    }
    #[inline(always)]
    fn wins<E: Element>(new: E, old: E) -> bool {
        new > old || (new.is_nan() && !old.is_nan())
    }
}
impl Combine for Smallest {
    #[inline(always)]
    fn combine<L: Lane>(a: L, b: L) -> L {
        a.minimum(b)
    }
    #[inline(always)]
    fn wins<E: Element>(new: E, old: E) -> bool {
        new < old || (new.is_nan() && !old.is_nan())
    }
}

/// Folds a row that is not empty.
struct RowFold<'a, E, C>(&'a [E], std::marker::PhantomData<C>);
impl<E: Element, C: Combine> WithSimd for RowFold<'_, E, C> {
    type Output = E;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> E {
        let join = |a: E, b: E| C::combine(E::Plain::new(a), E::Plain::new(b)).raw();
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        let Some((first, chunks)) = chunks.split_first() else {
            let mut total = rest[0];
            for &x in &rest[1..] {
                total = join(total, x);
            }
            return total;
        };
        let mut lanes = *first;
        for chunk in chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane = join(*lane, x);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(rest) {
            *lane = join(*lane, x);
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                lanes[i] = join(lanes[i], lanes[i + width]);
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// The extremum of a row that is not empty.
fn row_extremum<E: Numeric, C: Combine>(row: &[E]) -> E {
    E::quick_extremum::<C>(row).unwrap_or_else(|| fold_row::<E, C>(row))
}

fn fold_row<E: Element, C: Combine>(row: &[E]) -> E {
    dispatch(RowFold::<E, C>(row, std::marker::PhantomData))
}

/// The sum of a row, over many lanes.
pub(crate) fn sum<E: Element>(row: &[E]) -> E {
    if row.is_empty() {
        E::from_i64(0)
    } else {
        fold_row::<E, Adding>(row)
    }
}

/// The sum of a row of any length, whose error does not grow with it.
pub(crate) fn long_sum<E: Element>(row: &[E]) -> f64 {
    row.chunks(LONG).map(|part| sum(part).to_f64()).sum()
}

/// A block as a slice.
macro_rules! block {
    ($block:ident, $n:expr, $t:ty) => {
        // SAFETY: the caller of a fold's function gives as many elements as it says.
        unsafe { std::slice::from_raw_parts($block.cast::<$t>(), $n) }
    };
}

unsafe fn sum_row<E: Numeric>(block: *const u8, n: usize, _: i64, state: &mut State) {
    let row = block!(block, n, E);
    state.value = E::add_to_sum(state.value, sum(row));
}

struct ColumnFolding<'a, E, C> {
    block: &'a [E],
    level: &'a mut [E],
    combine: std::marker::PhantomData<C>,
}
impl<E: Element, C: Combine> WithSimd for ColumnFolding<'_, E, C> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.block.chunks(self.level.len()) {
            for (l, &x) in self.level.iter_mut().zip(row) {
                *l = C::combine(E::Plain::new(*l), E::Plain::new(x)).raw();
            }
        }
    }
}

unsafe fn columns<E: Element, C: Combine>(
    block: *const u8,
    n: usize,
    columns: usize,
    width: usize,
    fresh: bool,
    level: *mut u8,
) {
    let mut block = block!(block, n, E);
    // SAFETY: as for the block.
    let level = unsafe { std::slice::from_raw_parts_mut(level.cast::<E>(), width) };
    if fresh && C::ZERO {
        level.fill(E::from_i64(0));
    } else if fresh && n >= width {
        let (first, rest) = block.split_at(width);
        level.copy_from_slice(first);
        block = rest;
    } else if fresh {
        // Fewer rows than the level is wide: the first stands for those that are missing,
        // which changes no extremum.
        for row in level.chunks_mut(columns) {
            row.copy_from_slice(&block[..columns]);
        }
    }
    dispatch(ColumnFolding::<E, C> {
        block,
        level,
        combine: std::marker::PhantomData,
    });
}

unsafe fn sum_flush<E: Numeric>(level: *const u8, width: usize, states: &mut [State]) {
    for row in block!(level, width, E).chunks(states.len()) {
        for (state, &x) in states.iter_mut().zip(row) {
            state.value = E::add_to_sum(state.value, x);
        }
    }
}

unsafe fn sum_finish<E: Numeric>(states: &[State], out: *mut u8) {
    // SAFETY: the caller's promise.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<E>(), states.len()) };
    for (o, state) in out.iter_mut().zip(states) {
        *o = E::from_sum(state.value);
    }
}

#[inline(always)]
fn multiply<E: Numeric>(state: &mut State, by: u64) {
    // The product of nothing is 1, whatever its bits.
    state.value = match state.index {
        0.. => E::multiply(state.value, by),
        _ => by,
    };
    state.index = 0;
}

unsafe fn product_row<E: Numeric>(block: *const u8, n: usize, _: i64, state: &mut State) {
    if n > 0 {
        multiply::<E>(state, E::product(block!(block, n, E)));
    }
}

unsafe fn product_columns<E: Numeric>(block: *const u8, n: usize, _: i64, states: &mut [State]) {
    for row in block!(block, n, E).chunks(states.len()) {
        for (state, &x) in states.iter_mut().zip(row) {
            multiply::<E>(state, E::product(&[x]));
        }
    }
}

unsafe fn product_finish<E: Numeric>(states: &[State], out: *mut u8) {
    // SAFETY: the caller's promise.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<E>(), states.len()) };
    for (o, state) in out.iter_mut().zip(states) {
        *o = match state.index {
            0.. => E::from_sum(state.value),
            _ => E::from_i64(1),
        };
    }
}

#[inline(always)]
fn take<E: Numeric, C: Combine>(state: &mut State, x: E, position: i64) {
    if state.index < 0 || C::wins(x, E::of_bits(state.value)) {
        state.value = x.to_bits();
        state.index = position;
    }
}

/// States of later elements are merged into those of earlier ones, so ties keep the first.
fn merge_extremum<E: Numeric, C: Combine>(state: &mut State, other: &State) {
    if other.index >= 0 {
        take::<E, C>(state, E::of_bits(other.value), other.index);
    }
}

unsafe fn extremum_row<E: Numeric, C: Combine>(
    block: *const u8,
    n: usize,
    position: i64,
    state: &mut State,
) {
    let row = block!(block, n, E);
    if !row.is_empty() {
        take::<E, C>(state, row_extremum::<E, C>(row), position);
    }
}

unsafe fn extremum_flush<E: Numeric, C: Combine>(
    level: *const u8,
    width: usize,
    states: &mut [State],
) {
    for row in block!(level, width, E).chunks(states.len()) {
        for (state, &x) in states.iter_mut().zip(row) {
            take::<E, C>(state, x, 0);
        }
    }
}

unsafe fn extremum_finish<E: Numeric>(states: &[State], out: *mut u8) {
    // SAFETY: the caller's promise.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<E>(), states.len()) };
    for (o, state) in out.iter_mut().zip(states) {
        *o = if state.index < 0 {
            E::MISSING
        } else {
            E::of_bits(state.value)
        };
    }
}

unsafe fn position_row<E: Numeric, C: Combine>(
    block: *const u8,
    n: usize,
    position: i64,
    state: &mut State,
) {
    let row = block!(block, n, E);
    if row.is_empty() {
        return;
    }
    // Most blocks do not hold the winner: find their best first, its place only where it wins.
    let best = row_extremum::<E, C>(row);
    if state.index < 0 || C::wins(best, E::of_bits(state.value)) {
        let at = row
            .iter()
            .position(|&x| x == best || (x.is_nan() && best.is_nan()));
        state.value = best.to_bits();
        state.index = position + at.unwrap_or(0) as i64;
    }
}

unsafe fn position_columns<E: Numeric, C: Combine>(
    block: *const u8,
    n: usize,
    position: i64,
    states: &mut [State],
) {
    for (r, row) in block!(block, n, E).chunks(states.len()).enumerate() {
        for (state, &x) in states.iter_mut().zip(row) {
            take::<E, C>(state, x, position + r as i64);
        }
    }
}

unsafe fn position_finish(states: &[State], out: *mut u8) {
    // SAFETY: the caller's promise.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<i32>(), states.len()) };
    for (o, state) in out.iter_mut().zip(states) {
        *o = state.index as i32;
    }
}

unsafe fn finish_bool<const EMPTY: bool>(states: &[State], out: *mut u8) {
    // SAFETY: the caller's promise.
    let out = unsafe { std::slice::from_raw_parts_mut(out, states.len()) };
    for (o, state) in out.iter_mut().zip(states) {
        *o = if state.index < 0 {
            u8::from(EMPTY)
        } else {
            u8::from(state.value != 0)
        };
    }
}
