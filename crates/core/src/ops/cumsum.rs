//! Running sums along a dimension.

use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::ops::elementwise::cast;
use crate::tensor::Tensor;
use crate::tensor::views::dim_of;
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

impl Tensor {
    /// The running sums along `dim` (negative counts from the end), as `torch.cumsum`: element `i` is the sum
    /// of the elements `0..=i`. Of the same shape; bools, `u8` and `i32` give `i32` and wrap, `u32` gives
    /// `i64` where the device has it.
    ///
    /// Long rows are summed in blocks, so that errors grow with the logarithm of the length rather than with
    /// the length.
    ///
    /// ```ignore
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &dev);
    /// x.cumsum(1); // [[1, 3, 6], [4, 9, 15]]
    /// ```
    ///
    /// A dimension that is not there gives a failed tensor with
    /// [`Error::DimOutOfRange`](crate::Error::DimOutOfRange).
    #[track_caller]
    pub fn cumsum(&self, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let dtype = match x.dtype() {
                DType::Bool | DType::U8 => DType::I32,
                DType::U32 if x.node.device.open()?.backend.limits().has(DType::I64) => DType::I64,
                dtype => dtype,
            };
            let x = cast(&x, dtype.compute(), place)?;
            if x.shape().rank() == 0 && (dim == 0 || dim == -1) {
                return Ok(place.hold(|| x.into_tensor().to_dtype(dtype)));
            }
            let d = dim_of("cumsum", x.shape(), dim, place)? as isize;
            // The kernel's rows are the last dimension; it reads and its result is read through strides.
            let rows = place.hold(|| x.into_tensor().transpose(d, -1)).capture()?;
            let op = AnyOperation::new(Cumsum { reverse: false });
            let sums = apply_part(op, &[&rows], 0, place)?;
            Ok(place.hold(|| sums.transpose(d, -1).to_dtype(dtype)))
        })
    }
}

/// Running sums along the last dimension of one operand, of `f32`, `f64`, `i32`, `i64` or `u32`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cumsum {
    /// Whether they run from the end to the beginning.
    pub reverse: bool,
}

impl Operation for Cumsum {
    const NAME: &'static str = "cumsum";

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let [x] = operands else {
            return Err(format!("{} operands instead of one", operands.len()));
        };
        let known = [DType::F32, DType::F64, DType::I32, DType::I64, DType::U32];
        match x.shape.rank() {
            0 => Err("a tensor without dimensions has no rows".into()),
            _ if !known.contains(&x.dtype) => Err(format!("running sums of {}", x.dtype)),
            _ => Ok(vec![x.clone()]),
        }
    }

    /// Sums of 2, 4, 8, ... elements: each step adds what stands half as far away.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let summed = || -> Result<Tensor> {
            let mut sums = operands[0].clone();
            let shape = sums.shape()?;
            let n = shape.last().copied().unwrap_or(0);
            let mut reach = 1;
            while reach < n {
                let (from, to) = if self.reverse { (reach, 0) } else { (0, reach) };
                let mut start = vec![0; shape.rank()];
                start[shape.rank() - 1] = to;
                let far = sums.narrow(-1, from, n - reach);
                sums = &sums + super::place::lay(&far, &shape, &start, &vec![1; shape.rank()]);
                reach *= 2;
            }
            Ok(sums)
        };
        vec![Tensor::or_fail(operands[0].device(), summed())]
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    /// An element is part of all sums from its own on: the running sums of the gradient the other way.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let place = Place::caller();
        let back = AnyOperation::new(Cumsum {
            reverse: !self.reverse,
        });
        vec![Some(c.grad().then(|g| apply_part(back, &[&g], 0, place)))]
    }

    fn examples() -> Vec<(Cumsum, Vec<Spec>)> {
        let case = |reverse: bool, shape: &[usize]| {
            (Cumsum { reverse }, vec![Spec::new(shape, DType::F32)])
        };
        vec![
            case(false, &[3, 5]),
            case(true, &[3, 5]),
            case(false, &[2, 3, 130]),
            case(true, &[2, 4099]),
            case(false, &[20_000]),
            case(false, &[3, 0]),
        ]
    }
}
