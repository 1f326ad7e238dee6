//! Loops whose second operand is one number for the whole block, as a row's values are.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};
use wgrad_core::{DType, MapOp};

use super::{OpFn, fused};
use crate::instructions::dispatch;
use crate::lanes::{FloatElement, FloatLane, Lane};

trait Arithmetic {
    fn apply<L: FloatLane>(a: L, b: L) -> L;
}

macro_rules! arithmetic {
    ($($name:ident $apply:expr;)*) => { $(
        struct $name;
        impl Arithmetic for $name {
            #[inline(always)]
            fn apply<L: FloatLane>(a: L, b: L) -> L {
                fn given<L>(f: impl Fn(L, L) -> L, a: L, b: L) -> L {
                    f(a, b)
                }
                given($apply, a, b)
            }
        }
    )* };
}
arithmetic! {
    Add |a, b| a.add(b);
    Sub |a, b| a.sub(b);
    Mul |a, b| a.mul(b);
    Div |a, b| a.div(b);
    ExpOfDifference |a: L, b: L| a.sub(b).exp();
}

struct Uniform<'a, E, O>(&'a [E], E, &'a mut [E], PhantomData<O>);
impl<E: FloatElement, O: Arithmetic> WithSimd for Uniform<'_, E, O> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        if fused::<S>() {
            let b = E::Fused::new(self.1);
            for (o, &a) in self.2.iter_mut().zip(self.0) {
                *o = O::apply(E::Fused::new(a), b).raw();
            }
        } else {
            let b = E::Plain::new(self.1);
            for (o, &a) in self.2.iter_mut().zip(self.0) {
                *o = O::apply(E::Plain::new(a), b).raw();
            }
        }
    }
}

/// An [`OpFn`] of whose second operand only the first element is read.
unsafe fn uniform<E: FloatElement, O: Arithmetic>(n: usize, args: [*const u8; 3], out: *mut u8) {
    // SAFETY: the contract of `OpFn`, but for the second operand, which has one element.
    let (a, b, out) = unsafe {
        (
            std::slice::from_raw_parts(args[0].cast::<E>(), n),
            *args[1].cast::<E>(),
            std::slice::from_raw_parts_mut(out.cast::<E>(), n),
        )
    };
    dispatch(Uniform::<E, O>(a, b, out, PhantomData));
}

/// The loop of an operation whose second operand is one number, where there is one.
pub(crate) fn with_number(op: MapOp, dtype: DType) -> Option<OpFn> {
    fn of<E: FloatElement>(op: MapOp) -> Option<OpFn> {
        Some(match op {
            MapOp::Add => uniform::<E, Add>,
            MapOp::Sub => uniform::<E, Sub>,
            MapOp::Mul => uniform::<E, Mul>,
            MapOp::Div => uniform::<E, Div>,
            _ => return None,
        })
    }
    match dtype {
        DType::F32 => of::<f32>(op),
        DType::F64 => of::<f64>(op),
        _ => None,
    }
}

/// `e^(a - b)` for one number `b`: what softmax spends its time with.
pub(crate) fn exp_of_difference(dtype: DType) -> Option<OpFn> {
    match dtype {
        DType::F32 => Some(uniform::<f32, ExpOfDifference>),
        DType::F64 => Some(uniform::<f64, ExpOfDifference>),
        _ => None,
    }
}
