//! One loop per operation and lane type, generated from the table of rows.
//!
//! An [`OpFn`] works on one block of registers. Which instruction set it uses is decided when it
//! is called; the loop inside is compiled once for each.

mod uniform;

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};
use wgrad_core::{DType, MapOp, map_rows};

use crate::instructions::dispatch;
use crate::lanes::{Element, FloatElement, FloatLane, IntegerElement, IntegerLane, Lane};
use crate::math::HUGE_ANGLE;

pub(crate) use uniform::{exp_of_difference, with_number};

/// Computes `n` elements from up to three operands.
///
/// # Safety
/// The operands that the operation has hold `n` elements of its operand types, aligned; `out`
/// holds `n` of its result type and overlaps no operand.
pub(crate) type OpFn = unsafe fn(n: usize, args: [*const u8; 3], out: *mut u8);

/// Whether loops compiled for `S` have a fast fused multiply-add.
#[inline(always)]
pub(crate) const fn fused<S: Simd>() -> bool {
    !S::IS_SCALAR && !cfg!(target_arch = "wasm32")
}

/// The operands and the result as slices.
macro_rules! slices {
    ($n:ident, $args:ident, $out:ident: $o:ty, $($name:ident: $t:ty = $i:literal),*) => {
        // SAFETY: the contract of `OpFn`.
        let ($($name,)* $out) = unsafe {
            ($(std::slice::from_raw_parts($args[$i].cast::<$t>(), $n),)*
             std::slice::from_raw_parts_mut($out.cast::<$o>(), $n))
        };
    };
}

trait UnaryOp<L> {
    fn apply(x: L) -> L;
}
trait BinaryOp<L> {
    fn apply(a: L, b: L) -> L;
}
trait CompareOp<L> {
    fn apply(a: L, b: L) -> bool;
}
trait LogicOp {
    fn apply(a: u8, b: u8) -> u8;
}

// These give the closures of the table the types that they leave open.
#[inline(always)]
fn unary_expr<L>(f: impl Fn(L) -> L, x: L) -> L {
    f(x)
}
#[inline(always)]
fn binary_expr<L, R>(f: impl Fn(L, L) -> R, a: L, b: L) -> R {
    f(a, b)
}

struct Unary<'a, E, O>(&'a [E], &'a mut [E], PhantomData<O>);
impl<E: Element, O: UnaryOp<E::Plain> + UnaryOp<E::Fused>> WithSimd for Unary<'_, E, O> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if fused::<S>() {
            for (o, &a) in self.1.iter_mut().zip(self.0) {
                *o = <O as UnaryOp<E::Fused>>::apply(E::Fused::new(a)).raw();
            }
        } else {
            for (o, &a) in self.1.iter_mut().zip(self.0) {
                *o = <O as UnaryOp<E::Plain>>::apply(E::Plain::new(a)).raw();
            }
        }
    }
}

unsafe fn unary<E: Element, O: UnaryOp<E::Plain> + UnaryOp<E::Fused>>(
    n: usize,
    args: [*const u8; 3],
    out: *mut u8,
) {
    slices!(n, args, out: E, a: E = 0);
    dispatch(Unary::<E, O>(a, out, PhantomData));
}

struct Binary<'a, E, O>(&'a [E], &'a [E], &'a mut [E], PhantomData<O>);
impl<E: Element, O: BinaryOp<E::Plain> + BinaryOp<E::Fused>> WithSimd for Binary<'_, E, O> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if fused::<S>() {
            for ((o, &a), &b) in self.2.iter_mut().zip(self.0).zip(self.1) {
                *o = <O as BinaryOp<E::Fused>>::apply(E::Fused::new(a), E::Fused::new(b)).raw();
            }
        } else {
            for ((o, &a), &b) in self.2.iter_mut().zip(self.0).zip(self.1) {
                *o = <O as BinaryOp<E::Plain>>::apply(E::Plain::new(a), E::Plain::new(b)).raw();
            }
        }
    }
}

unsafe fn binary<E: Element, O: BinaryOp<E::Plain> + BinaryOp<E::Fused>>(
    n: usize,
    args: [*const u8; 3],
    out: *mut u8,
) {
    slices!(n, args, out: E, a: E = 0, b: E = 1);
    dispatch(Binary::<E, O>(a, b, out, PhantomData));
}

struct Compare<'a, E, O>(&'a [E], &'a [E], &'a mut [u8], PhantomData<O>);
impl<E: Element, O: CompareOp<E::Plain>> WithSimd for Compare<'_, E, O> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((o, &a), &b) in self.2.iter_mut().zip(self.0).zip(self.1) {
            *o = u8::from(O::apply(E::Plain::new(a), E::Plain::new(b)));
        }
    }
}

unsafe fn compare<E: Element, O: CompareOp<E::Plain>>(
    n: usize,
    args: [*const u8; 3],
    out: *mut u8,
) {
    slices!(n, args, out: u8, a: E = 0, b: E = 1);
    dispatch(Compare::<E, O>(a, b, out, PhantomData));
}

unsafe fn logic<O: LogicOp>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: u8, a: u8 = 0, b: u8 = 1);
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = O::apply(a, b);
    }
}

unsafe fn not(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: u8, a: u8 = 0);
    for (o, &a) in out.iter_mut().zip(a) {
        *o = u8::from(a == 0);
    }
}

unsafe fn copy<E: Element>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: E, a: E = 0);
    out.copy_from_slice(a);
}

struct Select<'a, E>(&'a [u8], &'a [E], &'a [E], &'a mut [E]);
impl<E: Element> WithSimd for Select<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (((o, &c), &a), &b) in self.3.iter_mut().zip(self.0).zip(self.1).zip(self.2) {
            *o = if c != 0 { a } else { b };
        }
    }
}

unsafe fn select<E: Element>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: E, c: u8 = 0, a: E = 1, b: E = 2);
    dispatch(Select(c, a, b, out));
}

struct Clamp<'a, E>(&'a [E], &'a [E], &'a [E], &'a mut [E]);
impl<E: Element> WithSimd for Clamp<'_, E> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (((o, &x), &lo), &hi) in self.3.iter_mut().zip(self.0).zip(self.1).zip(self.2) {
            let x = E::Plain::new(x).maximum(E::Plain::new(lo));
            *o = x.minimum(E::Plain::new(hi)).raw();
        }
    }
}

unsafe fn clamp<E: Element>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: E, x: E = 0, lo: E = 1, hi: E = 2);
    dispatch(Clamp(x, lo, hi, out));
}

/// The row functions of `f32` angles, exact for huge ones too.
unsafe fn angle<O: UnaryOp<<f32 as Element>::Plain> + UnaryOp<<f32 as Element>::Fused>>(
    n: usize,
    args: [*const u8; 3],
    out: *mut u8,
    exact: fn(f64) -> f64,
) {
    slices!(n, args, out: f32, a: f32 = 0);
    dispatch(Unary::<f32, O>(a, out, PhantomData));
    let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    if largest > HUGE_ANGLE {
        for (o, &x) in out.iter_mut().zip(a) {
            if x.abs() > HUGE_ANGLE {
                *o = exact(f64::from(x)) as f32;
            }
        }
    }
}

unsafe fn sin(n: usize, args: [*const u8; 3], out: *mut u8) {
    // SAFETY: the same contract.
    unsafe { angle::<rows::Sin>(n, args, out, f64::sin) }
}
unsafe fn cos(n: usize, args: [*const u8; 3], out: *mut u8) {
    // SAFETY: the same contract.
    unsafe { angle::<rows::Cos>(n, args, out, f64::cos) }
}
unsafe fn tan(n: usize, args: [*const u8; 3], out: *mut u8) {
    // SAFETY: the same contract.
    unsafe { angle::<rows::Tan>(n, args, out, f64::tan) }
}

/// The implementation of a row for the lane types of its class.
macro_rules! implement_row {
    (unary number $name:ident $e:expr) => {
        impl<L: Lane> UnaryOp<L> for rows::$name {
            #[inline(always)]
            fn apply(x: L) -> L {
                unary_expr($e, x)
            }
        }
    };
    (unary float $name:ident $e:expr) => {
        impl<L: FloatLane> UnaryOp<L> for rows::$name {
            #[inline(always)]
            fn apply(x: L) -> L {
                unary_expr($e, x)
            }
        }
    };
    (binary number $name:ident $e:expr) => {
        impl<L: Lane> BinaryOp<L> for rows::$name {
            #[inline(always)]
            fn apply(a: L, b: L) -> L {
                binary_expr($e, a, b)
            }
        }
    };
    (binary integer $name:ident $e:expr) => {
        impl<L: IntegerLane> BinaryOp<L> for rows::$name {
            #[inline(always)]
            fn apply(a: L, b: L) -> L {
                binary_expr($e, a, b)
            }
        }
    };
    (binary float $name:ident $e:expr) => {
        impl<L: FloatLane> BinaryOp<L> for rows::$name {
            #[inline(always)]
            fn apply(a: L, b: L) -> L {
                binary_expr($e, a, b)
            }
        }
    };
}

/// A row's loop for an integer type; `float` rows have none.
macro_rules! integer_row {
    (number $loop:ident $e:ident $name:ident) => {
        Some($loop::<$e, rows::$name>)
    };
    (integer $loop:ident $e:ident $name:ident) => {
        Some($loop::<$e, rows::$name>)
    };
    (float $loop:ident $e:ident $name:ident) => {
        None
    };
}

/// The loop of a row without a derivative for a float type.
macro_rules! float_constant {
    (integer $e:ident $name:ident) => {
        None
    };
    (float $e:ident $name:ident) => {
        Some(binary::<$e, rows::$name>)
    };
}

macro_rules! define_loops {
    (
        unary { $($(#[$udoc:meta])* $U:ident $uclass:ident $uname:ident, rust $ur:expr, wgsl $uw:literal,
            saves $us:tt, grad $ug:expr, domain $ud:tt;)* }
        binary { $($B:ident $bclass:ident $bname:ident, rust $br:expr, wgsl $bw:literal,
            da $bsa:tt $bda:expr, db $bsb:tt $bdb:expr, domain $bd:tt;)* }
        compare { $($C:ident $cname:ident, rust $cr:expr, wgsl $cw:literal;)* }
        logic { $($L:ident $lname:ident, rust $lr:expr, wgsl $lw:literal;)* }
        constant { $($K:ident $kclass:ident $kname:ident, rust $kr:expr, wgsl $kw:literal;)* }
    ) => {
        /// A type for each row, to carry its expression.
        mod rows {
            $(pub(super) struct $U;)*
            $(pub(super) struct $B;)*
            $(pub(super) struct $C;)*
            $(pub(super) struct $L;)*
            $(pub(super) struct $K;)*
        }
        $(implement_row!(unary $uclass $U $ur);)*
        $(implement_row!(binary $bclass $B $br);)*
        $(implement_row!(binary $kclass $K $kr);)*
        $(impl<L: Lane> CompareOp<L> for rows::$C {
            #[inline(always)]
            fn apply(a: L, b: L) -> bool {
                binary_expr($cr, a, b)
            }
        })*
        $(impl LogicOp for rows::$L {
            #[inline(always)]
            fn apply(a: u8, b: u8) -> u8 {
                binary_expr($lr, a, b)
            }
        })*

        fn float_row<E: FloatElement>(op: MapOp) -> Option<OpFn> {
            match op {
                $(MapOp::$U => Some(unary::<E, rows::$U>),)*
                $(MapOp::$B => Some(binary::<E, rows::$B>),)*
                $(MapOp::$C => Some(compare::<E, rows::$C>),)*
                $(MapOp::$K => float_constant!($kclass E $K),)*
                _ => None,
            }
        }

        fn integer_row<E: IntegerElement>(op: MapOp) -> Option<OpFn> {
            match op {
                $(MapOp::$U => integer_row!($uclass unary E $U),)*
                $(MapOp::$B => integer_row!($bclass binary E $B),)*
                $(MapOp::$C => Some(compare::<E, rows::$C>),)*
                $(MapOp::$K => integer_row!($kclass binary E $K),)*
                _ => None,
            }
        }

        /// How many operands an operation has.
        pub(crate) fn arity(op: MapOp) -> usize {
            match op {
                $(MapOp::$U => 1,)*
                MapOp::Not | MapOp::Copy | MapOp::Cast | MapOp::NanToZero => 1,
                MapOp::Where | MapOp::Clamp => 3,
                MapOp::Index => 0,
                MapOp::RandomBits | MapOp::Uniform | MapOp::Normal => 4,
                // The rows of the other classes.
                _ => 2,
            }
        }

        /// Whether an operation on operands of any type gives bools.
        pub(crate) fn gives_bool(op: MapOp) -> bool {
            match op {
                $(MapOp::$C => true,)*
                $(MapOp::$L => true,)*
                MapOp::Not => true,
                _ => false,
            }
        }

        fn logic_row(op: MapOp) -> Option<OpFn> {
            match op {
                $(MapOp::$L => Some(logic::<rows::$L>),)*
                _ => None,
            }
        }
    };
}
map_rows!(define_loops);

struct NanToZero;
impl<L: Lane> UnaryOp<L> for NanToZero {
    #[inline(always)]
    fn apply(x: L) -> L {
        x.nan_to_zero()
    }
}

/// The loop of `op` on operands of the compute type `dtype`; `None` where there is none. `Where`
/// takes the type of its second operand; casts are [`cast`]'s.
pub(crate) fn operation(op: MapOp, dtype: DType) -> Option<OpFn> {
    fn plain<E: Element>(op: MapOp) -> Option<OpFn> {
        match op {
            MapOp::Copy => Some(copy::<E>),
            MapOp::Where => Some(select::<E>),
            MapOp::Clamp => Some(clamp::<E>),
            MapOp::NanToZero => Some(unary::<E, NanToZero>),
            _ => None,
        }
    }
    fn integer<E: IntegerElement>(op: MapOp) -> Option<OpFn> {
        integer_row::<E>(op).or_else(|| plain::<E>(op))
    }
    match (dtype, op) {
        (DType::F32, MapOp::Sin) => Some(sin),
        (DType::F32, MapOp::Cos) => Some(cos),
        (DType::F32, MapOp::Tan) => Some(tan),
        (DType::F32, _) => float_row::<f32>(op).or_else(|| plain::<f32>(op)),
        (DType::F64, _) => float_row::<f64>(op).or_else(|| plain::<f64>(op)),
        (DType::I64, _) => integer::<i64>(op),
        (DType::I32, _) => integer::<i32>(op),
        (DType::U32, _) => integer::<u32>(op),
        (DType::I16, _) => integer::<i16>(op),
        (DType::I8, _) => integer::<i8>(op),
        (DType::U8, _) => integer::<u8>(op),
        (DType::Bool, MapOp::Not) => Some(not),
        (DType::Bool, _) => logic_row(op).or_else(|| integer::<u8>(op)),
        _ => None,
    }
}

/// Rust's `as`.
trait As<T> {
    fn cast(self) -> T;
}
macro_rules! casts {
    ($($a:ty => $($b:ty)*;)*) => { $($(impl As<$b> for $a {
        #[inline(always)]
        fn cast(self) -> $b { self as $b }
    })*)* };
}
casts! {
    f64 => f64 f32 i64 i32 u32 i16 i8 u8;
    f32 => f64 f32 i64 i32 u32 i16 i8 u8;
    i64 => f64 f32 i64 i32 u32 i16 i8 u8;
    i32 => f64 f32 i64 i32 u32 i16 i8 u8;
    u32 => f64 f32 i64 i32 u32 i16 i8 u8;
    i16 => f64 f32 i64 i32 u32 i16 i8 u8;
    i8 => f64 f32 i64 i32 u32 i16 i8 u8;
    u8 => f64 f32 i64 i32 u32 i16 i8 u8;
}

struct Cast<'a, A, B>(&'a [A], &'a mut [B]);
impl<A: Element + As<B>, B: Element> WithSimd for Cast<'_, A, B> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (o, &a) in self.1.iter_mut().zip(self.0) {
            *o = a.cast();
        }
    }
}

unsafe fn cast_loop<A: Element + As<B>, B: Element>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: B, a: A = 0);
    dispatch(Cast(a, out));
}

unsafe fn to_bool<A: Element>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: u8, a: A = 0);
    let zero = A::from_i64(0);
    for (o, &a) in out.iter_mut().zip(a) {
        *o = u8::from(a != zero);
    }
}

unsafe fn to_half<A: Element, const BRAIN: bool>(n: usize, args: [*const u8; 3], out: *mut u8) {
    slices!(n, args, out: f32, a: A = 0);
    for (o, &a) in out.iter_mut().zip(a) {
        let x = a.to_odd();
        *o = if BRAIN {
            half::bf16::from_f32(x).to_f32()
        } else {
            half::f16::from_f32(x).to_f32()
        };
    }
}

/// The cast from the compute type `from` to `to` (to f16 and bf16: rounded, in `f32` registers).
pub(crate) fn cast(from: DType, to: DType) -> Option<OpFn> {
    fn from_type<A>(to: DType) -> Option<OpFn>
    where
        A: Element + As<f64> + As<f32> + As<i64> + As<i32> + As<u32> + As<i16> + As<i8> + As<u8>,
    {
        Some(match to {
            DType::F64 => cast_loop::<A, f64>,
            DType::F32 => cast_loop::<A, f32>,
            DType::F16 => to_half::<A, false>,
            DType::BF16 => to_half::<A, true>,
            DType::I64 => cast_loop::<A, i64>,
            DType::I32 => cast_loop::<A, i32>,
            DType::U32 => cast_loop::<A, u32>,
            DType::I16 => cast_loop::<A, i16>,
            DType::I8 => cast_loop::<A, i8>,
            DType::U8 => cast_loop::<A, u8>,
            DType::Bool => to_bool::<A>,
            _ => return None,
        })
    }
    match from {
        DType::F64 => from_type::<f64>(to),
        DType::F32 => from_type::<f32>(to),
        DType::I64 => from_type::<i64>(to),
        DType::I32 => from_type::<i32>(to),
        DType::U32 => from_type::<u32>(to),
        DType::I16 => from_type::<i16>(to),
        DType::I8 => from_type::<i8>(to),
        DType::U8 | DType::Bool => from_type::<u8>(to),
        _ => None,
    }
}
