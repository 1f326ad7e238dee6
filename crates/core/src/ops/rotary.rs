//! Rotary position embedding.

use smallvec::SmallVec;

use crate::kernel::program::MapOp;
use crate::ops::elementwise::{cast, map};
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::Shape;

/// Options of [`Tensor::rotary_embedding_with`].
#[derive(Clone)]
pub struct RotaryOptions {
    /// The position of the first row: how many come before it in generation.
    pub offset: usize,
    /// Positions in place of `offset, offset + 1, ..`; broadcasts to the dimensions but the last.
    pub positions: Option<Tensor>,
    /// The slowest pair turns by about `1 / base` for each position.
    pub base: f64,
    /// Whether pairs are neighbours, `2 i` and `2 i + 1`, instead of `i` and `i + E / 2`.
    pub interleaved: bool,
}

impl Default for RotaryOptions {
    fn default() -> RotaryOptions {
        RotaryOptions {
            offset: 0,
            positions: None,
            base: 10_000.0,
            interleaved: false,
        }
    }
}

const NAME: &str = "rotary_embedding";

impl Tensor {
    /// Turns pairs of each row of `[.., L, E]` by angles that grow with the row's position: products of queries
    /// and keys then depend on how far apart these are
    /// ([Su et al. 2021](https://arxiv.org/abs/2104.09864)). Pair `i` of elements `i` and `i + E / 2` turns by
    /// `position * 10000^(-2 i / E)`. Only floats, of an
    /// even size. One kernel computes the angles' sines and cosines, which all heads share, and one turns.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 0.0], [1.0, 0.0]], &dev);
    /// let y = x.rotary_embedding().to_vec::<f32>()?;
    /// assert_eq!(y[..2], [1.0, 0.0]);
    /// assert!((y[2] - 1f32.cos()).abs() < 1e-6 && (y[3] - 1f32.sin()).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn rotary_embedding(&self) -> Tensor {
        self.rotary_embedding_with(RotaryOptions::default())
    }

    /// [`Tensor::rotary_embedding`] from a position on, at given positions, with another base, or of neighbours
    /// as pairs. A new offset is no new program, so generation replays.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::RotaryOptions;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::randn([5, 8], &dev);
    /// let last = RotaryOptions { offset: 4, ..Default::default() };
    /// let y = x.narrow(0, 4, 1).rotary_embedding_with(last);
    /// let whole = x.rotary_embedding().narrow(0, 4, 1);
    /// assert_eq!(y.to_vec::<f32>()?, whole.to_vec::<f32>()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Fewer than two dimensions, an odd last one or positions that do not broadcast give a failed tensor with
    /// [`Error::Shape`].
    #[track_caller]
    pub fn rotary_embedding_with(&self, options: RotaryOptions) -> Tensor {
        let place = Place::caller();
        place.within(|| self.then(|x| rotary(&x, &options, place)))
    }
}

fn rotary(x: &Value, options: &RotaryOptions, place: Place) -> Result<Tensor> {
    let (dtype, shape) = (x.dtype(), x.shape().clone());
    if !dtype.is_float() {
        return Err(Error::dtype(
            NAME,
            place,
            format!("takes floats, not {dtype}"),
        ));
    }
    let [.., rows, size] = shape[..] else {
        return Err(Error::shape(
            NAME,
            place,
            format!("shape {shape} has no rows: it is [.., length, size]"),
        ));
    };
    if !size.is_multiple_of(2) {
        return Err(Error::shape(
            NAME,
            place,
            format!("shape {shape} has a last dimension of {size}, which must be even"),
        ));
    }
    let (half, device) = (size / 2, &x.node.device);
    let wide = dtype.compute();
    let (sizes, dim) = match options.interleaved {
        true => ([half, 2], -1),
        false => ([2, half], -2),
    };
    // All from the number of the element, so that one kernel makes the angles of all rows.
    let table = Shape::from([rows, sizes[0], sizes[1]]);
    let inputs = SmallVec::new();
    let at = map(
        NAME,
        MapOp::Index,
        device,
        inputs,
        &table,
        DType::I32,
        place,
    )?
    .into_tensor();
    let divided = |by: usize| at.floor_divide(by.max(1) as i64);
    let (side, pair) = match options.interleaved {
        true => (at.clone(), divided(2)),
        false => (divided(half), at.clone()),
    };
    let pair = pair.remainder(half.max(1) as i64).to_dtype(wide);
    // Of the first of a pair -1, of the second 1.
    let side = (side.remainder(2) * 2 - 1).to_dtype(wide);
    let speed = (pair * (-2.0 * options.base.ln() / size.max(1) as f64)).exp();
    let positions = match &options.positions {
        None => divided(size).to_dtype(wide) + options.offset as f64,
        Some(given) => {
            let given = given.capture()?;
            same_device(NAME, x, &given, place)?;
            let lead = Shape::from(&shape[..shape.rank() - 1]);
            if given.shape().broadcast(&lead).is_none_or(|all| all != lead) {
                let problem = format!(
                    "positions of shape {} for shape {shape} must broadcast to {lead}",
                    given.shape()
                );
                return Err(Error::shape(NAME, place, problem));
            }
            let given = cast(&given, wide, place)?.into_tensor().detach();
            given.unsqueeze(-1).unsqueeze(-1)
        }
    };
    let angle = positions * speed;
    let x = x.clone().into_tensor().unflatten(-1, sizes).to_dtype(wide);
    let turned = &x * angle.cos() + x.flip([dim]) * (angle.sin() * side);
    Ok(turned.to_dtype(dtype).reshape(&shape))
}
