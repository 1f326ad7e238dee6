//! Functions that are put together from others. With 16-bit floats all of one is computed in `f32` and rounded at
//! its end, also where nothing is fused.

use smallvec::SmallVec;

use super::{Class, cast, class_dtype, promote_values};
use crate::autograd::{self, Grads, Saves, no_grad};
use crate::tensor::Tensor;
use crate::types::dtype::{Category, DType};
use crate::types::error::{Error, Place, Result};

/// `f(x)` of floats, with the derivative `slope(x, g)` for the gradient `g`, where that of the formula would not be
/// the one to have: at kinks, and where a branch that is not taken has none. Integers become `f32`.
#[track_caller]
pub(super) fn smooth(
    name: &'static str,
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Tensor,
    slope: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
) -> Tensor {
    let place = Place::caller();
    x.then(|x| {
        let dtype = class_dtype(Class::Float, x.dtype());
        let wide = cast(&x, dtype.compute(), place)?;
        let inside = wide.clone().into_tensor();
        let y = place.within(|| no_grad(|| f(&inside))).capture()?;
        let y = match autograd::tracks(&[&wide]) {
            false => y,
            true => {
                let saves = Saves {
                    inputs: SmallVec::from_iter([inside]),
                    output: false,
                };
                autograd::track(name, y, &[&wide], saves, place, move |c| {
                    Grads::from_iter([Some(slope(&c.inputs[0], c.grad))])
                })
                .capture()?
            }
        };
        Ok(cast(&y, dtype, place)?.into_tensor())
    })
}

/// `f` of operands; those of 16-bit floats are widened before, and the result is rounded.
#[track_caller]
pub(super) fn composed<const N: usize>(
    operands: [&Tensor; N],
    f: impl FnOnce([Tensor; N]) -> Tensor,
) -> Tensor {
    let place = Place::caller();
    let device = operands[0].device().clone();
    let result = promoted(&operands).map(|dtype| {
        place.within(|| match dtype.compute() {
            same if same == dtype => f(operands.map(Tensor::clone)),
            wide => f(operands.map(|operand| operand.to_dtype(wide))).to_dtype(dtype),
        })
    });
    Tensor::or_fail(&device, result)
}

/// The type that tensors promote to.
fn promoted(operands: &[&Tensor]) -> Result<DType> {
    let mut widest = operands[0].capture()?;
    let mut dtype = widest.dtype();
    for operand in &operands[1..] {
        let value = operand.capture()?;
        dtype = promote_values(&widest, &value);
        if dtype == value.dtype() {
            widest = value;
        }
    }
    Ok(dtype)
}

/// The error of an operation that takes floats alone, or floats and integers.
pub(super) fn refused(name: &'static str, dtype: DType, place: Place) -> Error {
    let problem = match dtype.category() {
        Category::Bool => "takes numbers, not bools; convert them with to_dtype".to_string(),
        _ => format!("takes floats, not {dtype}; convert them with to_dtype"),
    };
    Error::dtype(name, place, problem)
}
