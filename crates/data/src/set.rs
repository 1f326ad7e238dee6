//! Sets of rows of numbers that are small enough for memory.

use wgrad_core::{Device, Element, Place, Result};

use crate::array::out_of_range;
use crate::{Array, Batch, Dataset};

/// Inputs and what they should give, with names: what [`sets`](crate::sets) and [`generate`](crate::generate) make.
///
/// `Y` is `i32` where classes are to be told, `f32` where a number is to be predicted.
///
/// ```
/// use wgrad::data::{Dataset, sets};
///
/// let wine = sets::wine();
/// let (x, class) = wine.example(0)?;
/// assert_eq!((x.dims(), class), (&[13][..], 0));
/// assert_eq!(wine.feature_names[0], "alcohol");
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Set<Y = i32> {
    /// The inputs, one example after the other along the first dimension.
    pub x: Array<f32>,
    /// The targets: classes from 0, or numbers.
    pub y: Vec<Y>,
    /// What the columns of `x` are.
    pub feature_names: Vec<String>,
    /// The classes' names, by number. Empty where a number is predicted.
    pub class_names: Vec<String>,
    /// What is predicted.
    pub target_name: String,
}

impl<Y: Element> Set<Y> {
    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.y.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.y.is_empty()
    }

    /// The examples at these positions.
    ///
    /// ```
    /// use wgrad::data::{sets, split};
    ///
    /// let iris = sets::iris();
    /// let parts = split::stratified(&iris.y, &[0.8, 0.2], 1)?;
    /// let (train, test) = (iris.select(&parts[0])?, iris.select(&parts[1])?);
    /// assert_eq!((train.len(), test.len()), (120, 30));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::IndexOutOfRange`](wgrad_core::Error::IndexOutOfRange).
    #[track_caller]
    pub fn select(&self, positions: &[usize]) -> Result<Set<Y>> {
        let place = Place::caller();
        let target = |&i: &usize| {
            let found = self.y.get(i).copied();
            found.ok_or_else(|| out_of_range("select", i, self.len(), place))
        };
        Ok(Set {
            y: positions.iter().map(target).collect::<Result<_>>()?,
            x: place.hold(|| self.x.select(positions))?,
            feature_names: self.feature_names.clone(),
            class_names: self.class_names.clone(),
            target_name: self.target_name.clone(),
        })
    }

    /// All examples on a device.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let iris = wgrad::data::sets::iris().to_batch(&dev);
    /// assert_eq!(iris.x.dims::<2>()?, [150, 4]);
    /// assert_eq!(iris.y.to_vec::<i32>()?[149], 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn to_batch(&self, device: &Device) -> Batch {
        Batch {
            x: self.x.to_tensor(device),
            y: wgrad_core::Tensor::from_slice(&self.y, [self.y.len()], device),
        }
    }
}

impl<Y: Element> Dataset for Set<Y> {
    type Item = (Array<f32>, Y);

    fn len(&self) -> usize {
        self.y.len()
    }

    fn example(&self, index: usize) -> Result<(Array<f32>, Y)> {
        let x = self.x.row(index)?;
        Ok((x, Dataset::example(&self.y, index)?))
    }
}

/// The mean and the standard deviation of columns, to bring them to mean 0 and deviation 1: computed from the
/// training examples, applied to all.
///
/// ```
/// use wgrad::data::{Standardization, sets};
///
/// let mut wine = sets::wine();
/// let scale = Standardization::of(&wine.x);
/// wine.x = scale.apply(&wine.x)?;
/// let mean = wine.x.values().iter().step_by(13).sum::<f32>() / 178.0;
/// assert!(mean.abs() < 1e-5);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Standardization {
    /// The mean of each column.
    pub mean: Vec<f32>,
    /// The standard deviation of each column, of all values (divided by n, not n - 1). 1 for a column of one value.
    pub std: Vec<f32>,
}

impl Standardization {
    /// Of an array's columns: the values of a row stand in all dimensions but the first.
    pub fn of(rows: &Array<f32>) -> Standardization {
        let columns: usize = rows.dims().iter().skip(1).product();
        let n = rows.num_rows().max(1) as f64;
        let mut mean = vec![0.0f64; columns];
        let mut square = vec![0.0f64; columns];
        for row in rows.values().chunks(columns.max(1)) {
            for (sum, &v) in mean.iter_mut().zip(row) {
                *sum += f64::from(v) / n;
            }
        }
        for row in rows.values().chunks(columns.max(1)) {
            for ((sum, &mean), &v) in square.iter_mut().zip(&mean).zip(row) {
                *sum += (f64::from(v) - mean).powi(2) / n;
            }
        }
        let std = |&s: &f64| if s > 0.0 { s.sqrt() as f32 } else { 1.0 };
        Standardization {
            mean: mean.iter().map(|&m| m as f32).collect(),
            std: square.iter().map(std).collect(),
        }
    }

    /// `(rows - mean) / std`.
    ///
    /// # Errors
    /// [`Error::Shape`](wgrad_core::Error::Shape) where the rows have another number of values.
    #[track_caller]
    pub fn apply(&self, rows: &Array<f32>) -> Result<Array<f32>> {
        let columns: usize = rows.dims().iter().skip(1).product();
        if columns != self.mean.len() {
            return Err(wgrad_core::Error::Shape {
                op: "standardize",
                problem: format!("rows of {columns} values, but {} means", self.mean.len()),
                place: Place::caller(),
            });
        }
        let mut at = 0;
        Ok(rows.map(|v| {
            let column = at % columns;
            at += 1;
            (v - self.mean[column]) / self.std[column]
        }))
    }
}
