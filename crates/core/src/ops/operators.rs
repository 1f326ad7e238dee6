//! `+ - * /` and negation on tensors, references and numbers, in every combination.
//!
//! Numbers are `f64` and `i32`. With `f32` as well, the type of the literal in `(x * 0.5).exp()`
//! would be ambiguous; the methods (`x.mul(v)`) take every number type.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::kernel::program::MapOp;
use crate::ops::elementwise::binary;
use crate::tensor::{Rhs, Tensor};
use crate::types::error::Place;

macro_rules! operators {
    ($($trait:ident $method:ident $op:ident;)*) => { $(
        operators!(@tensor $trait $method $op, Tensor, Tensor);
        operators!(@tensor $trait $method $op, Tensor, &Tensor);
        operators!(@tensor $trait $method $op, &Tensor, Tensor);
        operators!(@tensor $trait $method $op, &Tensor, &Tensor);
        operators!(@scalar $trait $method $op, f64, i32);
    )* };
    (@tensor $trait:ident $method:ident $op:ident, $l:ty, $r:ty) => {
        impl $trait<$r> for $l {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $r) -> Tensor {
                binary(MapOp::$op, &Rhs::from(self), &Rhs::from(other), Place::caller())
            }
        }
    };
    (@scalar $trait:ident $method:ident $op:ident, $($s:ty),*) => { $(
        operators!(@pair $trait $method $op, Tensor, $s);
        operators!(@pair $trait $method $op, &Tensor, $s);
        operators!(@pair $trait $method $op, $s, Tensor);
        operators!(@pair $trait $method $op, $s, &Tensor);
    )* };
    (@pair $trait:ident $method:ident $op:ident, $l:ty, $r:ty) => {
        impl $trait<$r> for $l {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: $r) -> Tensor {
                binary(MapOp::$op, &operand(self), &operand(other), Place::caller())
            }
        }
    };
}
operators! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}

fn operand(value: impl Into<Rhs>) -> Rhs {
    value.into()
}

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(&self)
    }
}

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}

impl std::iter::Sum for Tensor {
    /// The sum of the tensors. An empty iterator gives a failed tensor, for it has no device.
    fn sum<I: Iterator<Item = Tensor>>(iter: I) -> Tensor {
        iter.reduce(|a, b| a + b).unwrap_or_else(|| {
            let error =
                crate::types::error::Error::value("sum", Place::caller(), "no tensors to add");
            Tensor::fail(&crate::tensor::device::Device::failed(error.clone()), error)
        })
    }
}
