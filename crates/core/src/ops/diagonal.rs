//! Triangles and diagonals of matrices.

use smallvec::SmallVec;

use crate::ops::place::lay;
use crate::tensor::device::Target;
use crate::tensor::views::dim_of;
use crate::tensor::{Tensor, check_size, view};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::layout::Layout;
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// The matrices (the last two dimensions) with zeros above diagonal `diagonal`: 0 is the main one, positive
    /// ones lie above it. `torch.tril`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::ones([3, 3], &dev).tril(0);
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tril(&self, diagonal: isize) -> Tensor {
        triangle(
            "tril",
            self,
            |below| below.le(diagonal as i64),
            Place::caller(),
        )
    }

    /// The matrices with zeros below diagonal `diagonal`. `torch.triu`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.triu(0).to_vec::<i32>()?, [1, 2, 0, 4]);
    /// assert_eq!(x.triu(1).to_vec::<i32>()?, [0, 2, 0, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn triu(&self, diagonal: isize) -> Tensor {
        triangle(
            "triu",
            self,
            |below| below.ge(diagonal as i64),
            Place::caller(),
        )
    }

    /// Rows and columns of the elements that [`Tensor::tril`] keeps of a matrix, row by row, as a tensor
    /// `[2, n]` of `i32` (or the given type).
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let at = Tensor::tril_indices(2, 2, 0, &dev);
    /// assert_eq!(at.to_vec::<i32>()?, [0, 1, 1, 0, 0, 1]); // (0, 0), (1, 0), (1, 1)
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tril_indices(
        rows: usize,
        columns: usize,
        diagonal: isize,
        target: impl Target,
    ) -> Tensor {
        let kept =
            |row: isize, n: isize| 0..row.saturating_add(diagonal).saturating_add(1).clamp(0, n);
        indices(
            "tril_indices",
            [rows, columns],
            kept,
            target,
            Place::caller(),
        )
    }

    /// Rows and columns of the elements that [`Tensor::triu`] keeps of a matrix.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let at = Tensor::triu_indices(2, 2, 0, &dev);
    /// assert_eq!(at.to_vec::<i32>()?, [0, 0, 1, 0, 1, 1]); // (0, 0), (0, 1), (1, 1)
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn triu_indices(
        rows: usize,
        columns: usize,
        diagonal: isize,
        target: impl Target,
    ) -> Tensor {
        let kept = |row: isize, n: isize| row.saturating_add(diagonal).clamp(0, n)..n;
        indices(
            "triu_indices",
            [rows, columns],
            kept,
            target,
            Place::caller(),
        )
    }

    /// Of a vector the square matrix with it on diagonal `diagonal`, of a matrix that diagonal. `torch.diag`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev);
    /// assert_eq!(x.diag(0).to_vec::<i32>()?, [1, 4]);
    /// assert_eq!(Tensor::new([1, 2], &dev).diag(0).to_vec::<i32>()?, [1, 0, 0, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn diag(&self, diagonal: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| match x.shape().rank() {
            1 => Ok(place.within(|| x.into_tensor().diag_embed(diagonal, 0, 1))),
            2 => Ok(place.within(|| x.into_tensor().diagonal(diagonal, 0, 1))),
            _ => {
                let problem = format!("shape {} is no vector and no matrix", x.shape());
                Err(Error::shape("diag", place, problem))
            }
        })
    }

    /// Diagonal `diagonal` of the matrices of dimensions `a` (rows) and `b` (columns), as the last dimension. A
    /// view. `torch.diagonal`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2, 3], [4, 5, 6]], &dev);
    /// assert_eq!(x.diagonal(0, 0, 1).to_vec::<i32>()?, [1, 5]);
    /// assert_eq!(x.diagonal(1, 0, 1).to_vec::<i32>()?, [2, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn diagonal(&self, diagonal: isize, a: isize, b: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let [a, b] = two_dims("diagonal", x.shape(), [a, b], place)?;
            let (rows, columns) = (x.shape()[a], x.shape()[b]);
            let (row, column) = start(diagonal);
            let length = rows.saturating_sub(row).min(columns.saturating_sub(column));
            let layout = x.layout();
            let (mut dims, mut strides) = (Dims::new(), SmallVec::new());
            for d in (0..x.shape().rank()).filter(|&d| d != a && d != b) {
                dims.push(x.shape()[d]);
                strides.push(layout.strides[d]);
            }
            dims.push(length);
            strides.push(layout.strides[a].wrapping_add(layout.strides[b]));
            let shape = Shape::from(dims);
            let offset = match shape.contains(&0) {
                true => layout.offset,
                false => {
                    let at = row as isize * layout.strides[a] + column as isize * layout.strides[b];
                    (layout.offset as isize + at) as usize
                }
            };
            let layout = Layout {
                shape,
                strides,
                offset,
            };
            Ok(view("diagonal", &x, layout, place, move |g| {
                embed(g, diagonal, [rows, columns]).movedim([-2, -1], [a as isize, b as isize])
            }))
        })
    }

    /// Matrices of zeros with the last dimension on diagonal `diagonal`: rows become dimension `a` of the
    /// result and columns `b`. `torch.diag_embed`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2], [3, 4]], &dev).diag_embed(0, -2, -1);
    /// assert_eq!(x.shape()?, [2, 2, 2]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 0, 0, 2, 3, 0, 0, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn diag_embed(&self, diagonal: isize, a: isize, b: isize) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            let shape = x.shape().clone();
            let Some(&length) = shape.last() else {
                let problem = "a tensor without dimensions has no diagonal".to_string();
                return Err(Error::shape("diag_embed", place, problem));
            };
            let Some(size) = length.checked_add(diagonal.unsigned_abs()) else {
                let problem = format!("diagonal {diagonal} is too far away");
                return Err(Error::value("diag_embed", place, problem));
            };
            let mut to = Dims::from_slice(&shape);
            to.push(size);
            let [a, b] = two_dims("diag_embed", &Shape::from(to), [a, b], place)?;
            place.within(|| {
                let matrix = embed(&x.into_tensor(), diagonal, [size, size]);
                matrix.movedim([-2, -1], [a as isize, b as isize]).checked()
            })
        })
    }

    /// Tensors of at most two dimensions along the diagonal of a matrix of zeros. `torch.block_diag`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([[1, 2]], &dev), Tensor::new([[3], [4]], &dev));
    /// let y = Tensor::block_diag(&[a, b]);
    /// assert_eq!(y.shape()?, [3, 3]);
    /// assert_eq!(y.to_vec::<i32>()?, [1, 2, 0, 0, 0, 3, 0, 0, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn block_diag(tensors: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        let widened = |x: &Tensor| {
            x.then(|x| {
                let rank = x.shape().rank();
                if rank > 2 {
                    let problem = format!("shape {} has more than two dimensions", x.shape());
                    return Err(Error::shape("block_diag", place, problem));
                }
                let x = x.into_tensor();
                Ok(place.within(|| (rank..2).fold(x, |x, _| x.unsqueeze(0))))
            })
        };
        let blocks: Vec<Tensor> = tensors.iter().map(|x| widened(x.as_ref())).collect();
        let joined = || -> Result<Tensor> {
            let mut columns = Vec::with_capacity(blocks.len());
            for block in &blocks {
                columns.push(block.dims::<2>()?[1]);
            }
            let width: usize = columns.iter().sum();
            let mut start = 0;
            let mut strips = Vec::with_capacity(blocks.len());
            for (block, &n) in blocks.iter().zip(&columns) {
                let strip = Shape::from([block.dims::<2>()?[0], width]);
                strips.push(lay(block, &strip, &[0, start], &[1, 1]));
                start += n;
            }
            Tensor::cat(&strips, 0).checked()
        };
        match blocks.first() {
            Some(first) => Tensor::or_fail(first.device(), place.within(joined)),
            None => place.within(|| Tensor::cat(tensors, 0)),
        }
    }
}

/// Two dimensions of `shape`, which must differ.
fn two_dims(op: &'static str, shape: &Shape, dims: [isize; 2], place: Place) -> Result<[usize; 2]> {
    let a = dim_of(op, shape, dims[0], place)?;
    let b = dim_of(op, shape, dims[1], place)?;
    if a == b {
        let problem = format!("dimensions {} and {} are the same", dims[0], dims[1]);
        return Err(Error::value(op, place, problem));
    }
    Ok([a, b])
}

/// Where a diagonal starts: row and column.
fn start(diagonal: isize) -> (usize, usize) {
    let far = diagonal.unsigned_abs();
    if diagonal < 0 { (far, 0) } else { (0, far) }
}

/// How far each element of a matrix lies above the main diagonal.
fn above(x: &Tensor, [rows, columns]: [usize; 2]) -> Tensor {
    let target = (DType::I32, x.device());
    Tensor::arange(columns, target) - Tensor::arange(rows, target).unsqueeze(1)
}

fn triangle(
    name: &'static str,
    x: &Tensor,
    kept: impl FnOnce(Tensor) -> Tensor,
    place: Place,
) -> Tensor {
    x.then(|x| {
        let shape = x.shape().clone();
        let [.., rows, columns] = shape[..] else {
            let problem = format!("shape {shape} has fewer than two dimensions");
            return Err(Error::shape(name, place, problem));
        };
        let x = x.into_tensor();
        let zero = || Tensor::zeros((), (x.dtype()?, x.device())).checked();
        let zero = zero()?;
        Ok(place.within(|| kept(above(&x, [rows, columns])).where_cond(&x, &zero)))
    })
}

/// The last dimension of `x` on a diagonal of matrices of `size`, the new last two dimensions.
fn embed(x: &Tensor, diagonal: isize, size: [usize; 2]) -> Tensor {
    x.then(|x| {
        let (row, _) = start(diagonal);
        let mut rows = Dims::from_slice(x.shape());
        let rank = rows.len();
        rows[rank - 1] = size[0];
        let mut begin = vec![0; rank];
        begin[rank - 1] = row;
        let x = x.into_tensor();
        let zero = Tensor::zeros((), (x.dtype()?, x.device()));
        let along = lay(&x, &Shape::from(rows), &begin, &vec![1; rank]).unsqueeze(-1);
        Ok(above(&x, size).eq(diagonal as i64).where_cond(along, zero))
    })
}

/// The positions that `kept` leaves of each row, which it gets with the number of columns.
fn indices(
    name: &'static str,
    [rows, columns]: [usize; 2],
    kept: impl Fn(isize, isize) -> std::ops::Range<isize>,
    target: impl Target,
    place: Place,
) -> Tensor {
    let device = target.device();
    let dtype = target.dtype().unwrap_or(DType::I32);
    let positions = || -> Result<Tensor> {
        if !dtype.is_integer() {
            let problem = format!("positions are integers, not {dtype}");
            return Err(Error::dtype(name, place, problem));
        }
        if rows.max(columns) > i32::MAX as usize {
            let problem = format!("positions of [{rows}, {columns}] do not fit i32");
            return Err(Error::value(name, place, problem));
        }
        let kept = |row: usize| kept(row as isize, columns as isize);
        let n = (0..rows).map(|row| kept(row).len()).sum();
        check_size(name, device, &Shape::from([2, n]), dtype, place)?;
        let pairs = (0..rows).flat_map(|row| kept(row).map(move |column| (row, column)));
        let (mut numbers, columns): (Vec<i64>, Vec<i64>) = pairs
            .map(|(row, column)| (row as i64, column as i64))
            .unzip();
        numbers.extend(columns);
        Ok(place.within(|| Tensor::new(&numbers, (dtype, device)).reshape([2, n])))
    };
    Tensor::or_fail(device, positions())
}
