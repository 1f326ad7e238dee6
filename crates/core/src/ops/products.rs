//! Products of vectors, matrices and batches of them, by torch's names.

use crate::ops::contraction::{Names, product};
use crate::ops::matmul::matmul;
use crate::tensor::views::{dim_of, dims_of};
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{DimList, Dims, Shape};

impl Tensor {
    /// The product of two matrices; nothing broadcasts. `torch.mm`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([[1.0, 2.0]], &dev), Tensor::new([[3.0], [4.0]], &dev));
    /// assert_eq!(a.mm(&b).to_vec::<f32>()?, [11.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Tensor {
        of_ranks("mm", self, other, [2, 2], Place::caller())
    }

    /// The product of a matrix and a vector. `torch.mv`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
    /// assert_eq!(x.mv(&Tensor::new([1.0, -1.0], &dev)).to_vec::<f32>()?, [-1.0, -1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn mv(&self, vector: &Tensor) -> Tensor {
        of_ranks("mv", self, vector, [2, 1], Place::caller())
    }

    /// The product of two vectors of one size, a number. `torch.dot`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1.0, 2.0], &dev);
    /// assert_eq!(x.dot(&Tensor::new([3.0, 4.0], &dev)).item::<f32>()?, 11.0);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        let place = Place::caller();
        // As torch's it is no product of matrices to autocast.
        place.within(|| of_ranks("dot", self, other, [1, 1], place))
    }

    /// The products of the matrices of two batches, `[b, n, k]` and `[b, k, m]`; nothing broadcasts.
    /// `torch.bmm`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let a = Tensor::new([[[1.0, 2.0]], [[3.0, 4.0]]], &dev);
    /// let b = Tensor::new([[[1.0], [1.0]], [[2.0], [2.0]]], &dev);
    /// assert_eq!(a.bmm(&b).to_vec::<f32>()?, [3.0, 14.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let (left, right) = (a.shape().clone(), other.shape()?);
            if left.first() != right.first() {
                let problem = format!("batches of shapes {left} and {right} differ");
                return Err(Error::shape("bmm", place, problem));
            }
            of_ranks("bmm", &a.into_tensor(), other, [3, 3], place).checked()
        })
    }

    /// `beta * self + alpha * (a b)` of matrices; this tensor broadcasts to the product. With `beta` 0 this tensor
    /// is left out, NaN included. `torch.addmm`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([[1.0, 2.0]], &dev), Tensor::new([[3.0], [4.0]], &dev));
    /// let y = Tensor::new([10.0], &dev).addmm(&a, &b, 1.0, 2.0);
    /// assert_eq!(y.to_vec::<f32>()?, [32.0]); // 10 + 2 (1 * 3 + 2 * 4)
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn addmm(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        let place = Place::caller();
        added("addmm", self, a, b, [2, 2], (beta, alpha), place)
    }

    /// `beta * self + alpha * (a v)` of a matrix and a vector. `torch.addmv`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, v) = (Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev), Tensor::new([1.0, -1.0], &dev));
    /// let y = Tensor::new([10.0, 20.0], &dev).addmv(&a, &v, 0.5, 1.0);
    /// assert_eq!(y.to_vec::<f32>()?, [4.0, 9.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn addmv(&self, a: &Tensor, v: &Tensor, beta: f64, alpha: f64) -> Tensor {
        let place = Place::caller();
        added("addmv", self, a, v, [2, 1], (beta, alpha), place)
    }

    /// `beta * self + alpha * (a b)` of batches of matrices. `torch.baddbmm`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::new([[[1.0, 2.0]]], &dev), Tensor::new([[[3.0], [4.0]]], &dev));
    /// let y = Tensor::new([[[1.0]]], &dev).baddbmm(&a, &b, 2.0, 1.0);
    /// assert_eq!(y.to_vec::<f32>()?, [13.0]); // 2 * 1 + (1 * 3 + 2 * 4)
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn baddbmm(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        let place = Place::caller();
        added("baddbmm", self, a, b, [3, 3], (beta, alpha), place)
    }

    /// All products of an element of this vector and one of the other: `[n, m]`. `torch.outer`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([1, 2], &dev).outer(&Tensor::new([3, 4], &dev));
    /// assert_eq!(x.to_vec::<i32>()?, [3, 4, 6, 8]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let (left, right) = (a.shape().clone(), other.shape()?);
            if left.rank() != 1 || right.rank() != 1 {
                let problem = format!("shapes {left} and {right} are no vectors");
                return Err(Error::shape("outer", place, problem));
            }
            Ok(place.within(|| a.into_tensor().unsqueeze(1) * other.unsqueeze(0)))
        })
    }

    /// The products of all rows (the last dimensions) of one with all of the other, summed; of numbers without
    /// dimensions the plain product. `torch.inner`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &dev);
    /// assert_eq!(x.inner(&Tensor::new([1.0, -1.0], &dev)).to_vec::<f32>()?, [-1.0, -1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn inner(&self, other: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let a = a.into_tensor();
            if a.rank()? == 0 || other.rank()? == 0 {
                return Ok(place.within(|| a * other));
            }
            place.within(|| tensordot("inner", &a, other, &[-1], &[-1], place))
        })
    }

    /// The product summed over dimensions `ours` of this tensor and `theirs` of the other, pair by pair; what
    /// is left of this tensor stands first. `torch.tensordot`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::ones([2, 3], &dev), Tensor::ones([3, 4], &dev));
    /// let y = a.tensordot(&b, [-1], [0]); // the matrix product
    /// assert_eq!(y.to_vec::<f32>()?, [3.0; 8]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tensordot(&self, other: &Tensor, ours: impl DimList, theirs: impl DimList) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let all = |rank: usize| (0..rank as isize).collect();
            let ours = ours.list().unwrap_or_else(|| all(a.shape().rank()));
            let theirs = theirs
                .list()
                .unwrap_or_else(|| all(other.rank().unwrap_or(0)));
            let a = a.into_tensor();
            place.within(|| tensordot("tensordot", &a, other, &ours, &theirs, place))
        })
    }

    /// Blocks of the other tensor, each times an element of this one. `torch.kron`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1, 2]], &dev).kron(&Tensor::new([[1], [3]], &dev));
    /// assert_eq!(x.shape()?, [2, 2]);
    /// assert_eq!(x.to_vec::<i32>()?, [1, 2, 3, 6]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn kron(&self, other: &Tensor) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let (left, right) = (a.shape().clone(), other.shape()?);
            let rank = left.rank().max(right.rank());
            let padded = |shape: &Shape| {
                let mut dims = Dims::from_elem(1, rank - shape.rank());
                dims.extend_from_slice(shape);
                dims
            };
            let (left, right) = (padded(&left), padded(&right));
            let apart = |d: &[usize], first: bool| -> Shape {
                let pairs = d.iter().flat_map(|&n| if first { [n, 1] } else { [1, n] });
                pairs.collect()
            };
            let sizes = left.iter().zip(&right).map(|(&a, &b)| a.checked_mul(b));
            let to: Option<Shape> = sizes.collect::<Option<Vec<_>>>().map(Shape::from);
            let too_large = || Error::shape("kron", place, "the result is too large".to_string());
            let to = to.ok_or_else(too_large)?;
            place.within(|| {
                let product = a.into_tensor().reshape(apart(&left, true))
                    * other.reshape(apart(&right, false));
                product.reshape(to).checked()
            })
        })
    }

    /// The product of matrices (the first may be a row and the last a column), in the order with the fewest
    /// multiplications. `torch.linalg.multi_dot`, once `torch.chain_matmul`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::ones([2, 3], &dev), Tensor::ones([3, 4], &dev));
    /// let y = Tensor::chain_matmul(&[a, b, Tensor::ones([4, 1], &dev)]);
    /// assert_eq!(y.shape()?, [2, 1]);
    /// assert_eq!(y.to_vec::<f32>()?, [12.0, 12.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn chain_matmul(matrices: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        let matrices: Vec<Tensor> = matrices
            .iter()
            .map(|m| m.as_ref().narrowed(place))
            .collect();
        let Some(first) = matrices.first() else {
            return place.within(|| Tensor::cat(&matrices, 0));
        };
        Tensor::or_fail(first.device(), place.within(|| chain(&matrices, place)))
    }

    /// The square matrices of the last two dimensions multiplied `n` times; the identity for 0. `n` is not
    /// negative: there is no inverse yet. `torch.linalg.matrix_power`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let x = Tensor::new([[1.0, 1.0], [0.0, 1.0]], &dev);
    /// assert_eq!(x.matrix_power(5).to_vec::<f32>()?, [1.0, 5.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn matrix_power(&self, n: u32) -> Tensor {
        let place = Place::caller();
        self.narrowed(place).then(|x| {
            let shape = x.shape().clone();
            let [.., rows, columns] = shape[..] else {
                let problem = format!("shape {shape} has fewer than two dimensions");
                return Err(Error::shape("matrix_power", place, problem));
            };
            if rows != columns {
                let problem = format!("matrices of shape {shape} are not square");
                return Err(Error::shape("matrix_power", place, problem));
            }
            let dtype = x.dtype();
            let x = x.into_tensor();
            place.within(|| {
                let mut square = x.clone();
                let mut power: Option<Tensor> = None;
                let mut left = n;
                while left > 0 {
                    if left & 1 == 1 {
                        power = Some(match power {
                            None => square.clone(),
                            Some(power) => power.matmul(&square),
                        });
                    }
                    left >>= 1;
                    if left > 0 {
                        square = square.matmul(&square);
                    }
                }
                let power = power.unwrap_or_else(|| {
                    let one = Tensor::eye(rows, (dtype, x.device()));
                    // Of x all the same, which has a derivative: 0.
                    Tensor::zeros(&shape, (DType::Bool, x.device())).where_cond(&x, one)
                });
                power.checked()
            })
        })
    }

    /// The sum of the diagonal of a matrix. `torch.trace`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// assert_eq!(Tensor::new([[1, 2], [3, 4]], &dev).trace().item::<i32>()?, 5);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        let place = Place::caller();
        self.then(|x| {
            if x.shape().rank() != 2 {
                let problem = format!("shape {} is no matrix", x.shape());
                return Err(Error::shape("trace", place, problem));
            }
            Ok(place.within(|| x.into_tensor().diagonal(0, 0, 1).sum()))
        })
    }

    /// The cross product of the vectors of three along `dim`; both broadcast. `torch.linalg.cross`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (x, y) = (Tensor::new([1.0, 0.0, 0.0], &dev), Tensor::new([0.0, 1.0, 0.0], &dev));
    /// assert_eq!(x.cross(&y, 0).to_vec::<f32>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cross(&self, other: &Tensor, dim: isize) -> Tensor {
        let place = Place::caller();
        self.then(|a| {
            let (left, right) = (a.shape().clone(), other.shape()?);
            let (op, ranks) = ("cross", (left.rank(), right.rank()));
            let broadcast = left.broadcast(&right).filter(|_| ranks.0 == ranks.1);
            let Some(both) = broadcast else {
                return Err(Error::Broadcast {
                    op,
                    left,
                    right,
                    place,
                });
            };
            let d = dim_of(op, &both, dim, place)?;
            if left[d] != 3 || right[d] != 3 {
                let problem = format!("dimension {d} of shapes {left} and {right} is not 3");
                return Err(Error::shape(op, place, problem));
            }
            let (a, d) = (a.into_tensor(), d as isize);
            Ok(place.within(|| {
                let turned = |x: &Tensor, by: isize| x.roll(&[by], d);
                turned(&a, -1) * turned(other, -2) - turned(&a, -2) * turned(other, -1)
            }))
        })
    }

    /// The distances of all pairs of rows of `[.., n, k]` and `[.., m, k]`: `[.., n, m]`, by the norm
    /// `(sum |a - b|^p)^(1 / p)`; `p` of 0 counts what differs, infinity takes the largest difference. The
    /// derivative where both are the same is 0. The differences are never stored. `torch.cdist`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let a = Tensor::new([[0.0, 0.0], [3.0, 4.0]], &dev);
    /// let b = Tensor::new([[0.0, 0.0]], &dev);
    /// assert_eq!(a.cdist(&b, 2.0).to_vec::<f32>()?, [0.0, 5.0]);
    /// assert_eq!(a.cdist(&b, 1.0).to_vec::<f32>()?, [0.0, 7.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Tensor {
        let place = Place::caller();
        let other = &other.widened();
        self.widened().then(|a| {
            let (left, right) = (a.shape().clone(), other.shape()?);
            let fits = left.rank() > 1 && right.rank() > 1 && left.last() == right.last();
            if !fits {
                let problem = format!("rows of shapes {left} and {right} have no distances");
                return Err(Error::shape("cdist", place, problem));
            }
            if p.is_nan() || p < 0.0 || !a.dtype().is_float() {
                let problem = format!("norm {p} of {}", a.dtype());
                return Err(Error::value("cdist", place, problem));
            }
            let a = a.into_tensor();
            place.within(|| {
                let apart = a.unsqueeze(-2) - other.unsqueeze(-3);
                if left.last() == Some(&0) {
                    return apart.sum_dims([-1], false).checked();
                }
                let far = apart.abs();
                // The root's slope at 0 is infinite; the distance's is taken as 0.
                let root = |sum: Tensor, of: &dyn Fn(&Tensor) -> Tensor| {
                    let same = sum.eq(0.0);
                    same.where_cond(0.0, of(&same.where_cond(1.0, &sum)))
                };
                let distance = if p == 0.0 {
                    far.sign().sum_dims([-1], false)
                } else if p == 1.0 {
                    far.sum_dims([-1], false)
                } else if p == 2.0 {
                    root(apart.sqr().sum_dims([-1], false), &|sum| sum.sqrt())
                } else if p == f64::INFINITY {
                    far.max_dims([-1], false)
                } else {
                    // Below 1 the slope of a power at 0 is infinite, too.
                    let none = far.eq(0.0);
                    let power = none.where_cond(1.0, &far).pow(p);
                    let sum = none.where_cond(0.0, power).sum_dims([-1], false);
                    root(sum, &|sum| sum.pow(1.0 / p))
                };
                distance.checked()
            })
        })
    }
}

/// The product of tensors of exactly these ranks.
fn of_ranks(name: &'static str, a: &Tensor, b: &Tensor, ranks: [usize; 2], place: Place) -> Tensor {
    a.then(|a| {
        let b: Value = b.capture()?;
        if [a.shape().rank(), b.shape().rank()] != ranks {
            let (left, right) = (a.shape(), b.shape());
            let problem = format!("shapes {left} and {right} instead of {ranks:?} dimensions");
            return Err(Error::shape(name, place, problem));
        }
        matmul(name, &a, &b, place)
    })
}

fn added(
    name: &'static str,
    x: &Tensor,
    a: &Tensor,
    b: &Tensor,
    ranks: [usize; 2],
    (beta, alpha): (f64, f64),
    place: Place,
) -> Tensor {
    let [x, a, b] = [x, a, b].map(|x| x.narrowed(place));
    x.then(|x| {
        let dtype = x.dtype();
        let product = match ranks {
            [3, 3] => place.within(|| a.bmm(&b)),
            _ => of_ranks(name, &a, &b, ranks, place),
        };
        let shape = product.shape()?;
        if shape.broadcast(x.shape()).as_ref() != Some(&shape) {
            let problem = format!("shape {} for a product of shape {shape}", x.shape());
            return Err(Error::shape(name, place, problem));
        }
        if product.dtype()? != dtype {
            let problem = format!("a product of {} added to {dtype}", product.dtype()?);
            return Err(Error::dtype(name, place, problem));
        }
        let scaled = |x: Tensor, by: f64| match by {
            1.0 => x,
            by if dtype.is_float() => x * by,
            by => x.mul(by as i64),
        };
        if !dtype.is_float() && (alpha.fract() != 0.0 || beta.fract() != 0.0) {
            let problem = format!("{dtype} times {beta} and {alpha}");
            return Err(Error::dtype(name, place, problem));
        }
        Ok(place.within(|| {
            let product = scaled(product, alpha);
            match beta {
                0.0 => product,
                _ => scaled(x.into_tensor(), beta) + product,
            }
        }))
    })
}

fn tensordot(
    name: &'static str,
    a: &Tensor,
    b: &Tensor,
    ours: &[isize],
    theirs: &[isize],
    place: Place,
) -> Result<Tensor> {
    let (left, right) = (a.shape()?, b.shape()?);
    // Each named once.
    dims_of(name, &left, &ours, place)?;
    dims_of(name, &right, &theirs, place)?;
    let of = |shape: &Shape, dims: &[isize]| -> Result<Vec<usize>> {
        dims.iter()
            .map(|&d| dim_of(name, shape, d, place))
            .collect()
    };
    let (ours, theirs) = (of(&left, ours)?, of(&right, theirs)?);
    let sizes =
        |shape: &Shape, dims: &[usize]| -> Vec<usize> { dims.iter().map(|&d| shape[d]).collect() };
    if sizes(&left, &ours) != sizes(&right, &theirs) {
        let problem = format!("dimensions {ours:?} of {left} and {theirs:?} of {right} differ");
        return Err(Error::shape(name, place, problem));
    }
    let rest = |shape: &Shape, named: &[usize]| -> Vec<usize> {
        (0..shape.rank()).filter(|d| !named.contains(d)).collect()
    };
    let (rows, columns) = (rest(&left, &ours), rest(&right, &theirs));
    // The summed dimensions come first among the names.
    let named = |rank: usize, summed: &[usize], own: &[usize], first: usize| -> Names {
        let at = |d: usize, dims: &[usize]| dims.iter().position(|&other| other == d);
        let name = |d| at(d, summed).or_else(|| at(d, own).map(|at| first + at));
        (0..rank).filter_map(name).map(|n| n as u8).collect()
    };
    let (summed, all) = (ours.len(), ours.len() + rows.len() + columns.len());
    let of_a = named(left.rank(), &ours, &rows, summed);
    let of_b = named(right.rank(), &theirs, &columns, summed + rows.len());
    let to: Names = (summed..all).map(|n| n as u8).collect();
    let (a, b) = (a.capture()?, b.capture()?);
    product(name, (&a, &of_a), (&b, &of_b), &to, place)
}

/// The product in the best order: by the costs of all parts, shorter ones first (Cormen et al., Introduction to
/// Algorithms, section 15.2).
fn chain(matrices: &[Tensor], place: Place) -> Result<Tensor> {
    let mut parts = matrices.to_vec();
    let n = parts.len();
    let (row, column) = (parts[0].rank()? == 1, n > 1 && parts[n - 1].rank()? == 1);
    if row {
        parts[0] = parts[0].unsqueeze(0);
    }
    if column {
        parts[n - 1] = parts[n - 1].unsqueeze(1);
    }
    let mut sizes = Vec::with_capacity(n + 1);
    for part in &parts {
        let [rows, columns] = part.dims::<2>()?;
        match sizes.last() {
            None => sizes.push(rows),
            Some(&before) if before != rows => {
                let problem = format!("{before} columns before {rows} rows");
                return Err(Error::shape("chain_matmul", place, problem));
            }
            Some(_) => {}
        }
        sizes.push(columns);
    }
    let mut cost = vec![vec![0.0f64; n]; n];
    let mut cut = vec![vec![0usize; n]; n];
    for length in 1..n {
        for first in 0..n - length {
            let last = first + length;
            let of = |at: usize| {
                let size = sizes[first] as f64 * sizes[at + 1] as f64 * sizes[last + 1] as f64;
                cost[first][at] + cost[at + 1][last] + size
            };
            let best = (first..last).min_by(|&a, &b| of(a).total_cmp(&of(b)));
            cut[first][last] = best.unwrap_or(first);
            cost[first][last] = of(cut[first][last]);
        }
    }
    fn product(parts: &[Tensor], cut: &[Vec<usize>], first: usize, last: usize) -> Tensor {
        if first == last {
            return parts[first].clone();
        }
        let at = cut[first][last];
        product(parts, cut, first, at).matmul(&product(parts, cut, at + 1, last))
    }
    let mut y = product(&parts, &cut, 0, n - 1);
    if column {
        y = y.squeeze(-1);
    }
    if row && n > 1 {
        y = y.squeeze(0);
    }
    y.checked()
}
