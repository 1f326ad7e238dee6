//! The largest element of each window, and their sums.

use smallvec::SmallVec;

use crate::operation::{Derivative, Operation, Spec};
use crate::ops::fold::{Fold, summed};
use crate::ops::windows::Windows;
use crate::tensor::Tensor;
use crate::types::dtype::DType;
use crate::types::error;
use crate::types::shape::{Dims, Shape};

/// The largest element of each window and its position: of `[lead.., s..]` the positions `[lead.., o..]` in the
/// row-major `[s..]`, of `i32`, and the values. Windows may reach beyond the ends, where there is nothing; the first
/// of equal elements counts, and NaN, of several the last. The largest of nothing is minus infinity, at 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MaxPool {
    /// The windows.
    pub windows: Windows,
    /// How many there are, per dimension.
    pub counts: SmallVec<[usize; 3]>,
}

/// The sums of windows, which may reach beyond the ends, where there is nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SumPool {
    /// The windows.
    pub windows: Windows,
    /// How many there are, per dimension.
    pub counts: SmallVec<[usize; 3]>,
}

/// The shape of what pools give.
fn pooled(windows: &Windows, counts: &[usize], operands: &[Spec]) -> Result<Spec, String> {
    let [x] = operands else {
        return Err("takes one tensor".into());
    };
    let rank = windows.rank();
    if !windows.is_sound() || counts.len() != rank || x.shape.rank() < rank {
        return Err(format!("windows {:?} of {}", windows.size, x.shape));
    }
    if !matches!(x.dtype, DType::F32 | DType::F64) {
        return Err(format!("takes floats, not {}", x.dtype));
    }
    let mut dims = Dims::from_slice(&x.shape[..x.shape.rank() - rank]);
    dims.extend_from_slice(counts);
    Ok(Spec::new(Shape::from(dims), x.dtype))
}

/// Element `at` of each window of `x`, `nothing` where there is none, and its position.
fn element(
    x: &Tensor,
    windows: &Windows,
    counts: &[usize],
    at: &[usize],
    nothing: f64,
) -> error::Result<(Tensor, Tensor)> {
    let (shape, rank) = (x.shape()?, windows.rank());
    let lead = shape.rank() - rank;
    let places = windows.positions(at, counts, &shape[lead..], x.device());
    let flat = x.flatten(lead as isize, -1);
    let inside = places.ge(0);
    if shape[lead..].contains(&0) {
        let mut dims = Dims::from_slice(&shape[..lead]);
        dims.extend_from_slice(counts);
        let none = Tensor::full(Shape::from(dims), nothing, (x.dtype()?, x.device()));
        return Ok((none, places));
    }
    let picked = flat.index_select(-1, &places.clamp_min(0).flatten(0, -1));
    let picked = picked.unflatten(-1, counts);
    Ok((inside.where_cond(picked, nothing), places))
}

const RESULTS_OF_MAX: usize = 2;

impl Operation for MaxPool {
    const NAME: &'static str = "max_pool";
    // Its reference goes over all elements of a window, of which there may be billions in padding.
    const PRIMITIVE: bool = true;
    const RESULTS: usize = RESULTS_OF_MAX;

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let values = pooled(&self.windows, &self.counts, operands)?;
        Ok(vec![Spec::new(values.shape.clone(), DType::I32), values])
    }

    /// Element by element of the windows: it stays unless a larger one comes.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let x = &operands[0];
        let largest = || -> error::Result<Vec<Tensor>> {
            let mut best: Option<(Tensor, Tensor)> = None;
            for at in self.windows.elements() {
                let (value, place) =
                    element(x, &self.windows, &self.counts, &at, f64::NEG_INFINITY)?;
                let place = place.expand(&value.shape()?);
                best = Some(match best {
                    None => (value, place),
                    Some((most, position)) => {
                        let first = position.lt(0).logical_and(place.ge(0));
                        let wins = value
                            .gt(&most)
                            .logical_or(value.ne(&value))
                            .logical_or(first);
                        (
                            wins.where_cond(value, most),
                            wins.where_cond(place, position),
                        )
                    }
                });
            }
            let (values, positions) =
                best.ok_or_else(|| error::Error::Device("no window".into()))?;
            Ok(vec![positions.clamp_min(0), values])
        };
        match largest() {
            Ok(results) => results,
            Err(error) => vec![Tensor::fail(x.device(), error); RESULTS_OF_MAX],
        }
    }

    fn is_differentiable(&self, part: usize) -> bool {
        part == 1
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    fn keeps_result(&self, part: usize, result: usize) -> bool {
        part == 1 && result == 0
    }

    /// The gradient goes to the elements at the positions.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let Some(x) = c.spec(0) else {
            return vec![None];
        };
        let fold = Fold {
            windows: self.windows.clone(),
            to: SmallVec::from_slice(&x.shape[x.shape.rank() - self.counts.len()..]),
        };
        vec![Some(summed(Self::NAME, fold, c.grad(), Some(&c.result(0))))]
    }

    fn examples() -> Vec<(MaxPool, Vec<Spec>)> {
        let pool = |(windows, counts, specs): Case| (MaxPool { windows, counts }, specs);
        cases().into_iter().map(pool).collect()
    }
}

impl Operation for SumPool {
    const NAME: &'static str = "sum_pool";
    // Its reference goes over all elements of a window, of which there may be billions in padding.
    const PRIMITIVE: bool = true;

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        Ok(vec![pooled(&self.windows, &self.counts, operands)?])
    }

    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let sum = || -> error::Result<Tensor> {
            let mut sum: Option<Tensor> = None;
            for at in self.windows.elements() {
                let (value, _) = element(&operands[0], &self.windows, &self.counts, &at, 0.0)?;
                sum = Some(match sum {
                    None => value,
                    Some(sum) => sum + value,
                });
            }
            sum.ok_or_else(|| error::Error::Device("no window".into()))
        };
        vec![Tensor::or_fail(operands[0].device(), sum())]
    }

    fn keeps_operand(&self, _: usize) -> bool {
        false
    }

    /// Every element of a window gets its gradient.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let Some(x) = c.spec(0) else {
            return vec![None];
        };
        let rank = self.counts.len();
        let grad = c.grad().then(|g| {
            let mut dims = Dims::from_slice(g.shape());
            let ones = [1].repeat(rank);
            let apart: Dims = dims.iter().chain(&ones).copied().collect();
            dims.extend_from_slice(&self.windows.size);
            let each = g
                .into_tensor()
                .reshape(Shape::from(apart))
                .expand(Shape::from(dims));
            let fold = Fold {
                windows: self.windows.clone(),
                to: SmallVec::from_slice(&x.shape[x.shape.rank() - rank..]),
            };
            summed(Self::NAME, fold, &each, None).checked()
        });
        vec![Some(grad)]
    }

    fn examples() -> Vec<(SumPool, Vec<Spec>)> {
        let pool = |(windows, counts, specs): Case| (SumPool { windows, counts }, specs);
        cases().into_iter().map(pool).collect()
    }
}

type Case = (Windows, SmallVec<[usize; 3]>, Vec<Spec>);

fn cases() -> Vec<Case> {
    let case = |size: &[usize],
                step: &[usize],
                dilation: &[usize],
                low: &[usize],
                counts: &[usize],
                x: &[usize]| {
        let windows = Windows {
            low: low.into(),
            ..Windows::new(size, step, dilation)
        };
        (windows, counts.into(), vec![Spec::new(x, DType::F32)])
    };
    vec![
        case(&[3], &[2], &[1], &[1], &[4], &[2, 7]),
        case(&[2, 2], &[2, 2], &[1, 1], &[0, 0], &[3, 2], &[2, 3, 6, 4]),
        case(&[3, 2], &[1, 2], &[2, 1], &[1, 0], &[4, 3], &[3, 6, 5]),
        case(
            &[2, 3, 2],
            &[1, 2, 2],
            &[1, 1, 1],
            &[0, 1, 0],
            &[3, 2, 2],
            &[2, 4, 4, 4],
        ),
    ]
}
