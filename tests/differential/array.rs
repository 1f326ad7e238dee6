//! Arrays of what the interpreter knows, and shapes.

use std::fmt;

use wgrad::DType;

use super::number::{Num, Rules};

#[derive(Clone, Debug)]
pub struct Array {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// Row-major; floats before they are rounded to a 16-bit type.
    pub data: Vec<Num>,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// wgrad must make a failed tensor.
    Refused,
    /// The rules do not say: not to be generated.
    Unspecified,
}
pub type Outcome<T = Array> = Result<T, Fault>;

/// All positions of a shape, row-major.
pub fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |all, &size| {
        all.iter()
            .flat_map(|c| (0..size).map(move |i| [&c[..], &[i]].concat()))
            .collect()
    })
}

pub fn flat(shape: &[usize], position: &[usize]) -> usize {
    shape
        .iter()
        .zip(position)
        .fold(0, |at, (&size, &i)| at * size + i)
}

pub fn dim(d: isize, rank: usize) -> Outcome<usize> {
    let at = if d < 0 { d + rank as isize } else { d };
    if (0..rank as isize).contains(&at) {
        Ok(at as usize)
    } else {
        Err(Fault::Refused)
    }
}

pub fn broadcast(a: &[usize], b: &[usize]) -> Outcome<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], d: usize| (d + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank)
        .map(|d| match (size(a, d), size(b, d)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(Fault::Refused),
        })
        .collect()
}

impl Array {
    pub fn build(dtype: DType, shape: &[usize], f: impl FnMut(&[usize]) -> Num) -> Array {
        let mut f = f;
        let data = positions(shape).iter().map(|c| f(c)).collect();
        Array {
            dtype,
            shape: shape.to_vec(),
            data,
        }
    }

    /// The element at a position of a shape that this one broadcasts to.
    pub fn at(&self, position: &[usize]) -> Num {
        let position = &position[position.len() - self.shape.len()..];
        let own: Vec<usize> = position
            .iter()
            .zip(&self.shape)
            .map(|(&i, &n)| if n == 1 { 0 } else { i })
            .collect();
        self.data[flat(&self.shape, &own)]
    }

    pub fn map(&self, dtype: DType, f: impl FnMut(Num) -> Num) -> Array {
        Array {
            dtype,
            shape: self.shape.clone(),
            data: self.data.iter().copied().map(f).collect(),
        }
    }

    pub fn cast(&self, to: DType, rules: Rules) -> Array {
        if to == self.dtype {
            return self.clone();
        }
        self.map(to, |v| v.load(self.dtype, rules).convert(to))
    }

    /// Loaded elements: what arithmetic sees.
    pub fn loaded(&self, rules: Rules) -> Array {
        self.map(self.dtype, |v| v.load(self.dtype, rules))
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let data: Vec<String> = self.data.iter().map(Num::to_string).collect();
        write!(f, "{}{:?} [{}]", self.dtype, self.shape, data.join(", "))
    }
}
