//! Windows added up: the adjoint of the view that [`Windows::over`] is.

use smallvec::SmallVec;

use crate::operation::{AnyOperation, Derivative, Operation, Spec, apply_part};
use crate::ops::elementwise::cast;
use crate::ops::place::lay;
use crate::ops::windows::Windows;
use crate::tensor::{Tensor, Value, view};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place};
use crate::types::shape::{Dims, Shape};

/// `[lead.., s..]` of `[lead.., o.., k..]`: every element is the sum of those of the windows that cover it. Or, of
/// two operands `[lead.., o..]`, the sum of those elements of the first for whose window the second, of `i32`, names
/// this element: its position in the row-major `[s..]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fold {
    /// The windows.
    pub windows: Windows,
    /// The sizes of the result.
    pub to: SmallVec<[usize; 3]>,
}

impl Fold {
    /// How many dimensions it goes along.
    pub fn rank(&self) -> usize {
        self.to.len()
    }

    /// Sizes that have room for every window, also beyond both ends.
    fn room(&self, counts: &[usize]) -> Vec<usize> {
        let windows = &self.windows;
        let reach = |d: usize| (counts[d].max(1) - 1) * windows.step[d] + windows.span(d);
        (0..self.rank())
            .map(|d| reach(d).max(windows.low[d] + self.to[d]))
            .collect()
    }
}

impl Operation for Fold {
    const NAME: &'static str = "fold";
    // Its reference goes over all elements of a window, of which there may be billions in padding.
    const PRIMITIVE: bool = true;

    fn results(&self, operands: &[Spec]) -> Result<Vec<Spec>, String> {
        let rank = self.rank();
        let (x, behind) = match operands {
            [x] => (x, 2 * rank),
            [x, at] if at.dtype == DType::I32 && at.shape == x.shape => (x, rank),
            _ => return Err("takes windows, or elements and their positions".into()),
        };
        let sizes = &self.windows.size[..];
        let fits = self.windows.is_sound()
            && rank == self.windows.rank()
            && x.shape.rank() >= behind
            && (operands.len() == 2 || x.shape[x.shape.rank() - rank..] == *sizes);
        if !fits || !matches!(x.dtype, DType::F32 | DType::F64) {
            let to = &self.to[..];
            return Err(format!("windows of {} do not fold to {to:?}", x.shape));
        }
        let mut dims = Dims::from_slice(&x.shape[..x.shape.rank() - behind]);
        dims.extend_from_slice(&self.to);
        Ok(vec![Spec::new(Shape::from(dims), x.dtype)])
    }

    /// Each element of the windows laid where it belongs.
    fn reference(&self, operands: &[Tensor]) -> Vec<Tensor> {
        let sum = operands[0].then(|x| {
            let (two, rank, shape) = (operands.len() == 2, self.rank(), x.shape());
            let lead = shape.rank() - if two { rank } else { 2 * rank };
            let counts = &shape[lead..lead + rank];
            let mut dims = Dims::from_slice(&shape[..lead]);
            dims.extend_from_slice(&self.room(counts));
            let to = Shape::from(dims);
            let device = &x.node.device;
            let mut sum = Tensor::zeros(to.clone(), (x.dtype(), device));
            for at in self.windows.elements() {
                let x = if two {
                    let own = self.windows.positions(&at, counts, &self.to, device);
                    operands[1].eq(own).where_cond(&operands[0], 0.0)
                } else {
                    let inner = (lead + rank) as isize;
                    let all = operands[0].clone();
                    at.iter().fold(all, |x, &t| x.select(inner, t as isize))
                };
                let mut start = vec![0; lead];
                start.extend((0..rank).map(|d| at[d] * self.windows.dilation[d]));
                let mut step = vec![1; lead];
                step.extend_from_slice(&self.windows.step);
                sum = sum + lay(&x, &to, &start, &step);
            }
            for d in 0..rank {
                sum = sum.narrow((lead + d) as isize, self.windows.low[d], self.to[d]);
            }
            sum.contiguous().checked()
        });
        vec![sum]
    }

    fn is_constant(&self, operand: usize) -> bool {
        operand == 1
    }

    fn keeps_operand(&self, operand: usize) -> bool {
        operand == 1
    }

    /// The windows of the gradient; or its elements at the positions.
    fn derivative(&self, c: &Derivative<'_>) -> Vec<Option<Tensor>> {
        let Some(x) = c.spec(0) else {
            return vec![None];
        };
        let (g, rank) = (c.grad(), self.rank());
        if c.operands() == 2 {
            let flat = |t: &Tensor| t.flatten(-(rank as isize), -1);
            let grad = flat(g).gather(-1, &flat(&c.operand(1)));
            return vec![Some(grad.reshape(x.shape.clone())), None];
        }
        let lead = x.shape.rank() - 2 * rank;
        let counts = &x.shape[lead..lead + rank];
        let grad = g.then(|g| {
            let mut dims = Dims::from_slice(&x.shape[..lead]);
            dims.extend_from_slice(&self.room(counts));
            let mut start = vec![0; lead];
            start.extend_from_slice(&self.windows.low);
            let same = dims[..] == g.shape()[..];
            let g = g.into_tensor();
            let around = match same {
                true => g,
                false => lay(&g, &Shape::from(dims), &start, &vec![1; lead + rank]),
            };
            windows_of(&around, &self.windows, counts).checked()
        });
        vec![Some(grad)]
    }

    fn examples() -> Vec<(Fold, Vec<Spec>)> {
        let case = |fields: [&[usize]; 4], to: &[usize], x: &[usize]| {
            let [size, step, dilation, low] = fields;
            let windows = Windows {
                low: low.into(),
                ..Windows::new(size, step, dilation)
            };
            let fold = Fold {
                windows,
                to: to.into(),
            };
            (fold, vec![Spec::new(x, DType::F32)])
        };
        vec![
            case([&[3], &[1], &[1], &[0]], &[7], &[2, 5, 3]),
            case([&[2], &[3], &[2], &[1]], &[9], &[3, 2]),
            case(
                [&[3, 2], &[2, 1], &[1, 2], &[1, 0]],
                &[6, 5],
                &[2, 3, 3, 3, 2],
            ),
            case(
                [&[2, 2, 2], &[2, 1, 1], &[1, 1, 1], &[0, 0, 1]],
                &[4, 3, 4],
                &[2, 2, 2, 4, 2, 2, 2],
            ),
        ]
    }
}

/// The first `counts` windows along the last dimensions of `x`, as a view with a derivative.
pub(crate) fn windows_of(x: &Tensor, windows: &Windows, counts: &[usize]) -> Tensor {
    x.then(|x| {
        let rank = windows.rank();
        let to: SmallVec<[usize; 3]> = SmallVec::from_slice(&x.shape()[x.shape().rank() - rank..]);
        let windows = Windows::new(&windows.size, &windows.step, &windows.dilation);
        let mut layout = windows.over(x.layout());
        let first = layout.shape.rank() - 2 * rank;
        for (d, &count) in counts.iter().enumerate() {
            layout = layout.slice(first + d, 0, count, 1);
        }
        Ok(view("unfold", &x, layout, Place::caller(), move |g| {
            fold("unfold", g, &windows, &to)
        }))
    })
}

/// The windows `[lead.., o.., k..]` added up to `[lead.., to..]`.
pub(crate) fn fold(name: &'static str, x: &Tensor, windows: &Windows, to: &[usize]) -> Tensor {
    let fold = Fold {
        windows: windows.clone(),
        to: SmallVec::from_slice(to),
    };
    summed(name, fold, x, None)
}

/// A fold, of 16-bit floats in `f32` and rounded at its end.
pub(crate) fn summed(
    name: &'static str,
    fold: Fold,
    x: &Tensor,
    positions: Option<&Tensor>,
) -> Tensor {
    let place = Place::caller();
    x.then(|x| {
        let dtype = x.dtype();
        if !dtype.is_float() {
            let problem = format!("takes floats, not {dtype}; convert them with to_dtype");
            return Err(Error::dtype(name, place, problem));
        }
        let wide = cast(&x, dtype.compute(), place)?;
        let positions = positions.map(Tensor::capture).transpose()?;
        let operands: SmallVec<[&Value; 2]> = [&wide].into_iter().chain(&positions).collect();
        let y = apply_part(AnyOperation::new(fold), &operands, 0, place)?;
        y.to_dtype(dtype).checked()
    })
}
