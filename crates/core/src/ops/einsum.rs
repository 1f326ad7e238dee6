//! Sums of products by Einstein's convention.

use crate::ops::contraction::{Names, product};
use crate::tensor::Tensor;
use crate::types::error::{Error, Place, Result};
use crate::types::shape::{Dims, Shape};

impl Tensor {
    /// The sum of products that `equation` says, as `torch.einsum`: letters name the dimensions of each operand,
    /// behind `->` those of the result; over the others is summed. `...` stands for dimensions that broadcast.
    /// Without `->` the result has the letters that occur once, in alphabetical order. A letter twice in an operand
    /// takes its diagonal.
    ///
    /// Operands are multiplied pair by pair, the pair with the smallest result first, by matrix products where
    /// there is something to sum.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let (a, b) = (Tensor::ones([2, 3], &dev), Tensor::ones([3, 4], &dev));
    /// let product = Tensor::einsum("ij,jk->ik", &[&a, &b]); // the matrix product
    /// assert_eq!(product.to_vec::<f32>()?, [3.0; 8]);
    /// let traces = Tensor::einsum("...ii", &[&Tensor::ones([5, 3, 3], &dev)]);
    /// assert_eq!(traces.to_vec::<f32>()?, [3.0; 5]);
    /// let (q, k) = (Tensor::ones([2, 7, 4, 8], &dev), Tensor::ones([2, 9, 4, 8], &dev));
    /// let scores = Tensor::einsum("bqhd,bkhd->bhqk", &[&q, &k]); // of attention
    /// assert_eq!(scores.shape()?, [2, 4, 7, 9]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// An equation that cannot be read, or that does not fit the operands, gives a failed tensor.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[impl AsRef<Tensor>]) -> Tensor {
        let place = Place::caller();
        let operands: Vec<Tensor> = operands
            .iter()
            .map(|x| x.as_ref().narrowed(place))
            .collect();
        let Some(first) = operands.first() else {
            return place.within(|| Tensor::cat(&operands, 0));
        };
        Tensor::or_fail(
            first.device(),
            place.within(|| einsum(equation, &operands, place)),
        )
    }
}

/// A letter, or a dimension of an ellipsis, counted from the last: the order of the result's where none is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Dots(std::cmp::Reverse<usize>),
    Letter(char),
}

/// What stands for an operand or the result: labels before and behind an ellipsis.
struct Term {
    before: Vec<Label>,
    behind: Option<Vec<Label>>,
}

impl Term {
    fn parse(text: &str) -> Result<Term, String> {
        let letters = |text: &str| -> Result<Vec<Label>, String> {
            let letter = |c: char| match c.is_ascii_alphabetic() {
                true => Ok(Label::Letter(c)),
                false => Err(format!("{c:?} is no letter")),
            };
            text.chars()
                .filter(|c| !c.is_whitespace())
                .map(letter)
                .collect()
        };
        Ok(match text.split_once("...") {
            None => Term {
                before: letters(text)?,
                behind: None,
            },
            Some((before, behind)) => Term {
                before: letters(before)?,
                behind: Some(letters(behind)?),
            },
        })
    }

    fn letters(&self) -> usize {
        self.before.len() + self.behind.as_ref().map_or(0, Vec::len)
    }

    /// The labels where the ellipsis stands for `dots` dimensions.
    fn labels(&self, dots: usize) -> Vec<Label> {
        let mut labels = self.before.clone();
        if let Some(behind) = &self.behind {
            labels.extend((0..dots).rev().map(|d| Label::Dots(std::cmp::Reverse(d))));
            labels.extend_from_slice(behind);
        }
        labels
    }
}

/// An operand, or a product of some: its dimensions are named once each.
#[derive(Clone)]
struct Factor {
    x: Tensor,
    labels: Vec<Label>,
}

fn einsum(equation: &str, operands: &[Tensor], place: Place) -> Result<Tensor> {
    let wrong = |problem: String| {
        let problem = format!("{problem} in {equation:?}");
        Error::value("einsum", place, problem)
    };
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(Term::parse(output).map_err(wrong)?)),
        None => (equation, None),
    };
    let terms: Vec<Term> = inputs
        .split(',')
        .map(|text| Term::parse(text).map_err(wrong))
        .collect::<Result<_>>()?;
    if terms.len() != operands.len() {
        let problem = format!("{} terms for {} operands", terms.len(), operands.len());
        return Err(wrong(problem));
    }
    let mut factors = Vec::with_capacity(operands.len());
    let mut most_dots = 0;
    for (term, x) in terms.iter().zip(operands) {
        let shape = x.shape()?;
        let dots = match (shape.rank().checked_sub(term.letters()), &term.behind) {
            (Some(0), None) => 0,
            (Some(dots), Some(_)) => dots,
            _ => {
                let problem = format!("{} letters for shape {shape}", term.letters());
                return Err(Error::shape("einsum", place, problem));
            }
        };
        most_dots = most_dots.max(dots);
        factors.push(Factor {
            x: x.clone(),
            labels: term.labels(dots),
        });
    }
    let result = match &output {
        Some(term) => term.labels(most_dots),
        None => {
            let all: Vec<Label> = factors.iter().flat_map(|f| f.labels.clone()).collect();
            let once = |label: &&Label| {
                let dots = matches!(label, Label::Dots(_));
                dots || all.iter().filter(|other| other == label).count() == 1
            };
            let mut once: Vec<Label> = all.iter().filter(once).copied().collect();
            once.sort_unstable();
            once.dedup();
            once
        }
    };
    for (i, label) in result.iter().enumerate() {
        if result[..i].contains(label) {
            return Err(wrong(format!(
                "{} stands twice in the result",
                name(*label)
            )));
        }
        if !factors.iter().any(|f| f.labels.contains(label)) {
            return Err(wrong(format!("{} stands in no operand", name(*label))));
        }
    }
    for factor in &mut factors {
        factor.take_diagonals(place)?;
    }
    squeeze_repeated(&mut factors, place)?;
    let needed = |others: &[Factor], label: &Label| {
        result.contains(label) || others.iter().any(|f| f.labels.contains(label))
    };
    for i in 0..factors.len() {
        let mut factor = factors[i].clone();
        let (before, behind) = (&factors[..i], &factors[i + 1..]);
        factor.sum_out(|label| needed(before, label) || needed(behind, label));
        factors[i] = factor;
    }
    while factors.len() > 1 {
        let (i, j) = smallest_pair(&factors, &result)?;
        let b = factors.swap_remove(j);
        let a = factors.swap_remove(i);
        let product = multiply(&a, &b, |label| needed(&factors, label), place)?;
        factors.push(product);
    }
    let Some(whole) = factors.pop() else {
        return Err(wrong("no operands".into()));
    };
    let order: Vec<isize> = result
        .iter()
        .map(|&label| whole.at(label) as isize)
        .collect();
    whole.x.permute(order).checked()
}

/// For a person.
fn name(label: Label) -> String {
    match label {
        Label::Letter(c) => c.to_string(),
        Label::Dots(_) => "an ellipsis".into(),
    }
}

impl Factor {
    /// The dimension of a label that is there.
    fn at(&self, label: Label) -> usize {
        self.labels.iter().position(|&l| l == label).unwrap_or(0)
    }

    fn size(&self, label: Label) -> Result<usize> {
        Ok(self.x.shape()?.get(self.at(label)).copied().unwrap_or(1))
    }

    /// Labels that stand twice: the diagonal of their dimensions.
    fn take_diagonals(&mut self, place: Place) -> Result<()> {
        let twice = |labels: &[Label]| {
            let pairs = (0..labels.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
            pairs.into_iter().find(|&(i, j)| labels[i] == labels[j])
        };
        while let Some((i, j)) = twice(&self.labels) {
            let shape = self.x.shape()?;
            if shape[i] != shape[j] {
                let label = name(self.labels[i]);
                let problem = format!("{label} names sizes {} and {}", shape[i], shape[j]);
                return Err(Error::shape("einsum", place, problem));
            }
            self.x = self.x.diagonal(0, i as isize, j as isize);
            let label = self.labels.remove(j);
            self.labels.remove(i);
            self.labels.push(label);
        }
        Ok(())
    }

    /// Sums over the dimensions that nothing needs.
    fn sum_out(&mut self, needed: impl Fn(&Label) -> bool) {
        let labels = self.labels.iter().enumerate();
        let gone: Vec<isize> = labels
            .filter(|(_, label)| !needed(label))
            .map(|(d, _)| d as isize)
            .collect();
        if !gone.is_empty() {
            self.x = self.x.sum_dims(gone, false);
            self.labels.retain(|label| needed(label));
        }
    }

    /// The dimensions of these labels in this order; of those that are not there of size 1.
    fn arranged(&self, labels: &[Label]) -> Result<Tensor> {
        let shape = self.x.shape()?;
        let there = labels.iter().filter(|label| self.labels.contains(label));
        let order: Vec<isize> = there.map(|&label| self.at(label) as isize).collect();
        let size = |label: &Label| match self.labels.contains(label) {
            true => shape[self.at(*label)],
            false => 1,
        };
        let to: Dims = labels.iter().map(size).collect();
        self.x.permute(order).reshape(Shape::from(to)).checked()
    }
}

/// Drops dimensions of size 1 whose label has a larger size elsewhere; sizes must agree otherwise.
fn squeeze_repeated(factors: &mut [Factor], place: Place) -> Result<()> {
    let mut sizes: Vec<(Label, usize)> = Vec::new();
    for factor in factors.iter() {
        for (&label, &size) in factor.labels.iter().zip(factor.x.shape()?.iter()) {
            match sizes.iter_mut().find(|(known, _)| *known == label) {
                None => sizes.push((label, size)),
                Some((_, known)) if *known == 1 => *known = size,
                Some((_, known)) if *known != size && size != 1 => {
                    let problem = format!("{} names sizes {known} and {size}", name(label));
                    return Err(Error::shape("einsum", place, problem));
                }
                Some(_) => {}
            }
        }
    }
    for factor in factors {
        for (label, size) in &sizes {
            if *size != 1 && factor.labels.contains(label) && factor.size(*label)? == 1 {
                let d = factor.at(*label);
                factor.x = factor.x.squeeze(d as isize);
                factor.labels.remove(d);
            }
        }
    }
    Ok(())
}

/// The pair whose product has the fewest elements; of equal ones the first.
fn smallest_pair(factors: &[Factor], result: &[Label]) -> Result<(usize, usize)> {
    let mut best = (f64::INFINITY, (0, 1));
    for j in 1..factors.len() {
        for i in 0..j {
            let (a, b) = (&factors[i], &factors[j]);
            let others = factors
                .iter()
                .enumerate()
                .filter(|(k, _)| *k != i && *k != j);
            let others: Vec<&Factor> = others.map(|(_, f)| f).collect();
            let mut size = 1.0;
            let second = b.labels.iter().filter(|label| !a.labels.contains(label));
            for (factor, label) in a
                .labels
                .iter()
                .map(|l| (a, l))
                .chain(second.map(|l| (b, l)))
            {
                let kept =
                    result.contains(label) || others.iter().any(|f| f.labels.contains(label));
                size *= if kept {
                    factor.size(*label)? as f64
                } else {
                    1.0
                };
            }
            if size < best.0 {
                best = (size, (i, j));
            }
        }
    }
    Ok(best.1)
}

/// The product of two, summed over what both have and nothing needs.
fn multiply(
    a: &Factor,
    b: &Factor,
    needed: impl Fn(&Label) -> bool,
    place: Place,
) -> Result<Factor> {
    let shared = |label: &&Label| b.labels.contains(label);
    let both = a.labels.iter().filter(shared).copied();
    let (batch, summed): (Vec<Label>, Vec<Label>) = both.partition(|label| needed(label));
    let own = |x: &Factor, other: &Factor| -> Vec<Label> {
        let own = x
            .labels
            .iter()
            .filter(|label| !other.labels.contains(label));
        own.copied().collect()
    };
    let (left, right) = (own(a, b), own(b, a));
    let labels: Vec<Label> = batch.iter().chain(&left).chain(&right).copied().collect();
    if summed.is_empty() {
        let x = (a.arranged(&labels)? * b.arranged(&labels)?).checked()?;
        return Ok(Factor { x, labels });
    }
    let mut known = labels.clone();
    known.extend(&summed);
    let numbers = |labels: &[Label]| -> Names {
        let number = |label: &Label| known.iter().position(|l| l == label).map(|at| at as u8);
        labels.iter().filter_map(number).collect()
    };
    let (left, right) = (a.x.capture()?, b.x.capture()?);
    let names = [&a.labels, &b.labels, &labels].map(|labels| numbers(labels));
    let [of_a, of_b, to] = &names;
    let x = product("einsum", (&left, of_a), (&right, of_b), to, place)?;
    Ok(Factor { x, labels })
}
