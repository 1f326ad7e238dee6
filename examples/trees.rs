//! Trees: by Gini's impurity, by information gain, of regression; random forests, AdaBoost, gradient boosting.
//!
//! ```text
//! cargo run --release --example trees
//! ```
//!
//! A split is chosen among all thresholds of all columns at once: what both sides hold are running sums of the sorted
//! examples, and the criterion is a tensor operation over them. Boosting fits trees to derivatives of a loss, which come
//! from autograd, so that any loss of `wgrad::nn::loss` will do. Accuracies are compared with scikit-learn's
//! (`examples/reference/classical.py`). Trees are small and branch, so this runs on the CPU.

#[path = "place/mod.rs"]
mod place;

use place::divided;
use wgrad::data::{Random, Set, sets};
use wgrad::nn::loss::{
    HuberOptions, exponential_loss_with, gini_impurity, huber_loss_with, information_gain,
    mse_loss_with,
};
use wgrad::prelude::*;

/// Examples as trees see them: columns of numbers, what is to be predicted (a row for each example: a share of each
/// class, or one number), and how much each counts.
#[derive(Clone)]
struct Examples {
    x: Tensor,
    y: Tensor,
    weight: Tensor,
}

/// How good a split is, of what both sides hold: `[.., 2, 1 + targets + 1]`, the weight, the weighted targets, and the
/// weighted squares. Larger is better.
type Criterion = fn(&Tensor) -> Tensor;

/// The fall of Gini's impurity.
fn gini(parts: &Tensor) -> Tensor {
    let targets = parts.shape().map_or(0, |shape| shape[shape.rank() - 1]) - 2;
    let counts = parts.narrow(-1, 1, targets);
    -(gini_impurity(&counts) * parts.select(-1, 0)).sum_dims([-1], false)
}

/// The information gained.
fn gain(parts: &Tensor) -> Tensor {
    let targets = parts.shape().map_or(0, |shape| shape[shape.rank() - 1]) - 2;
    information_gain(&parts.narrow(-1, 1, targets))
}

/// The fall of the squared error around the means.
fn squares(parts: &Tensor) -> Tensor {
    let (n, sum, of_squares) = (
        parts.select(-1, 0),
        parts.select(-1, 1),
        parts.select(-1, 2),
    );
    -(of_squares - sum.sqr() / n).sum_dims([-1], false)
}

enum Tree {
    Leaf(Vec<f64>),
    Split {
        column: usize,
        limit: f64,
        below: Box<Tree>,
        above: Box<Tree>,
    },
}

/// How trees grow.
struct Growth<'a> {
    criterion: Criterion,
    depth: usize,
    /// The columns that a split may choose from.
    columns: &'a mut dyn FnMut(usize) -> Vec<usize>,
}

impl Examples {
    fn select(&self, rows: &[i32]) -> Examples {
        let at = Tensor::from_slice(rows, [rows.len()], self.x.device());
        Examples {
            x: self.x.index_select(0, &at),
            y: self.y.index_select(0, &at),
            weight: self.weight.index_select(0, &at),
        }
    }

    /// The weighted mean of what is to be predicted.
    fn mean(&self) -> Result<Vec<f64>> {
        let mean = (&self.y * self.weight.unsqueeze(1)).sum_dims([0], false) / self.weight.sum();
        mean.to_vec::<f64>()
    }

    /// The best threshold of the given columns, if there is any: the column and the limit.
    fn best_split(&self, criterion: Criterion, columns: &[usize]) -> Result<Option<(usize, f64)>> {
        let n = self.weight.numel()?;
        let at: Vec<i32> = columns.iter().map(|&c| c as i32).collect();
        let x = self
            .x
            .index_select(1, &Tensor::from_slice(&at, [at.len()], self.x.device()));
        let (sorted, order) = x.sort(0, false);
        let w = self.weight.unsqueeze(1);
        let sums = Tensor::cat(
            &[
                w.clone(),
                &self.y * &w,
                self.y.sqr().sum_dims([1], true) * &w,
            ],
            1,
        );
        // What lies below each example and with it, [n, columns, ..]; and what is left above.
        let width = sums.dims::<2>()?[1];
        let rows = sums
            .index_select(0, &order.flatten(0, -1))
            .reshape([n, columns.len(), width]);
        let below = rows.cumsum(0);
        let above = below.narrow(0, n - 1, 1) - &below;
        let parts = Tensor::stack(&[below, above], -2).narrow(0, 0, n - 1);
        let (low, high) = (sorted.narrow(0, 0, n - 1), sorted.narrow(0, 1, n - 1));
        let score = high
            .gt(&low)
            .where_cond(criterion(&parts), f64::NEG_INFINITY);
        // Of equal ones the first column's, as it stands.
        let score = score.t().flatten(0, -1);
        if score.max().item::<f64>()? == f64::NEG_INFINITY {
            return Ok(None);
        }
        let best = score.argmax(.., false).item::<i32>()? as usize;
        let (column, row) = (best / (n - 1), (best % (n - 1)) as isize);
        let value = |x: &Tensor| x.select(0, row).select(0, column as isize).item::<f64>();
        Ok(Some((
            columns[column],
            (value(&low)? + value(&high)?) / 2.0,
        )))
    }

    fn grow(&self, growth: &mut Growth<'_>, depth: usize) -> Result<Tree> {
        let (n, columns) = (self.weight.numel()?, self.x.dims::<2>()?[1]);
        let mean = self.mean()?;
        let pure = (&self.y - self.y.narrow(0, 0, 1))
            .abs()
            .max()
            .item::<f64>()?
            == 0.0;
        if depth == growth.depth || n < 2 || pure {
            return Ok(Tree::Leaf(mean));
        }
        let chosen = (growth.columns)(columns);
        let Some((column, limit)) = self.best_split(growth.criterion, &chosen)? else {
            return Ok(Tree::Leaf(mean));
        };
        let values = self.x.select(1, column as isize).to_vec::<f64>()?;
        let side = |above: bool| -> Vec<i32> {
            let rows = (0..n as i32).zip(&values);
            rows.filter(|(_, v)| (**v > limit) == above)
                .map(|(i, _)| i)
                .collect()
        };
        let mut grow =
            |above| Ok::<_, Error>(Box::new(self.select(&side(above)).grow(growth, depth + 1)?));
        let (below, above) = (grow(false)?, grow(true)?);
        Ok(Tree::Split {
            column,
            limit,
            below,
            above,
        })
    }

    /// A tree that may choose from all columns.
    fn tree(&self, criterion: Criterion, depth: usize) -> Result<Tree> {
        let columns = &mut |n: usize| (0..n).collect();
        self.grow(
            &mut Growth {
                criterion,
                depth,
                columns,
            },
            0,
        )
    }
}

impl Tree {
    fn leaf(&self, row: &[f32]) -> &[f64] {
        match self {
            Tree::Leaf(value) => value,
            Tree::Split {
                column,
                limit,
                below,
                above,
            } => match f64::from(row[*column]) > *limit {
                true => above.leaf(row),
                false => below.leaf(row),
            },
        }
    }

    /// What the tree says of every example, `[n, targets]`.
    fn predict<Y: wgrad::Element>(&self, set: &Set<Y>, dev: &Device) -> Tensor {
        let columns = set.feature_names.len();
        let rows = set.x.values().chunks(columns);
        let leaves: Vec<f64> = rows.flat_map(|row| self.leaf(row).to_vec()).collect();
        let targets = leaves.len() / set.len();
        Tensor::from_vec(leaves, [set.len(), targets], dev)
    }
}

/// The examples of a set, all alike.
fn examples<Y: wgrad::Element>(set: &Set<Y>, y: Tensor) -> Examples {
    let x = set.x.to_tensor(y.device()).to_dtype(DType::F64);
    let weight = Tensor::ones([set.len()], (DType::F64, y.device()));
    Examples { x, y, weight }
}

/// The share of classes that are right, of shares of each class.
fn score(shares: &Tensor, set: &Set) -> Result<f64> {
    let classes = Tensor::from_slice(&set.y, [set.len()], shares.device());
    shares
        .argmax([1], false)
        .eq(classes)
        .to_dtype(DType::F64)
        .mean()
        .item::<f64>()
}

/// The share of the variance that is explained.
fn r2(predicted: &Tensor, y: &Tensor) -> Result<f64> {
    let explained = 1.0 - (predicted - y).sqr().sum() / (y - y.mean()).sqr().sum();
    explained.item::<f64>()
}

#[track_caller]
fn check(what: &str, found: [f64; 2], wanted: [f64; 2], tolerance: f64) {
    println!(
        "{what}: {:.4} of the training examples, {:.4} of the others",
        found[0], found[1]
    );
    for (found, wanted) in found.into_iter().zip(wanted) {
        assert!((found - wanted).abs() <= tolerance, "{found}, not {wanted}");
    }
}

fn classification(dev: &Device) -> Result<()> {
    let (train, test) = divided(&sets::wine())?;
    let one_hot = |set: &Set| {
        Tensor::from_slice(&set.y, [set.len()], dev)
            .one_hot(3)
            .to_dtype(DType::F64)
    };
    let all = examples(&train, one_hot(&train));
    for (what, criterion, wanted) in [
        (
            "wine, by Gini's impurity",
            gini as Criterion,
            [0.983193, 0.898305],
        ),
        (
            "wine, by information gain",
            gain as Criterion,
            [0.991597, 0.898305],
        ),
    ] {
        let tree = all.tree(criterion, 3)?;
        let found = [
            score(&tree.predict(&train, dev), &train)?,
            score(&tree.predict(&test, dev), &test)?,
        ];
        // Equal splits may be chosen otherwise.
        check(what, found, wanted, 0.035);
    }

    // A forest: each tree sees examples that are drawn with replacement, and each split some columns.
    let mut random = Random::new(7);
    let mut votes = Tensor::zeros([test.len(), 3], (DType::F64, dev));
    for _ in 0..50 {
        let rows: Vec<i32> = (0..train.len())
            .map(|_| random.below(train.len()) as i32)
            .collect();
        let columns = &mut |n: usize| {
            let mut columns: Vec<usize> = (0..n).collect();
            random.shuffle(&mut columns);
            columns.truncate((n as f64).sqrt() as usize);
            columns
        };
        let tree = all.select(&rows).grow(
            &mut Growth {
                criterion: gini,
                depth: 4,
                columns,
            },
            0,
        )?;
        votes = votes + tree.predict(&test, dev);
    }
    let right = score(&votes, &test)?;
    println!("wine, a forest of 50: {right:.4} of the others");
    assert!((right - 0.983051).abs() < 0.035, "{right}");
    Ok(())
}

/// AdaBoost: stumps, each fitted to examples that weigh as the derivative of the exponential loss of those before.
fn ada_boost(dev: &Device) -> Result<()> {
    let (train, test) = divided(&sets::breast_cancer())?;
    let signs = |set: &Set| {
        let y = Tensor::from_slice(&set.y, [set.len()], dev);
        y.to_dtype(DType::F64) * 2.0 - 1.0
    };
    let (t, t_test) = (signs(&train), signs(&test));
    let one_hot = Tensor::from_slice(&train.y, [train.len()], dev)
        .one_hot(2)
        .to_dtype(DType::F64);
    let mut all = examples(&train, one_hot);
    let (mut scores, mut scores_test) = (t.zeros_like(), t_test.zeros_like());
    for _ in 0..30 {
        // The weight of an example is the slope of its loss: |d e^(-t f) / d f|.
        let f = scores.detach().requires_grad();
        exponential_loss_with(&f, &t, Reduction::Sum).backward()?;
        let slope = f.grad()?.abs();
        all.weight = &slope / slope.sum();
        let stump = all.tree(gini, 1)?;
        let vote = |set: &Set| {
            let shares = stump.predict(set, dev);
            (shares.select(1, 1) - shares.select(1, 0)).sign()
        };
        let said = vote(&train);
        let wrong = (said.ne(&t).to_dtype(DType::F64) * &all.weight)
            .sum()
            .item::<f64>()?;
        let trust = 0.5 * ((1.0 - wrong) / wrong.max(1e-12)).ln();
        scores = scores + said * trust;
        scores_test = scores_test + vote(&test) * trust;
    }
    let right = |scores: &Tensor, t: &Tensor| {
        scores
            .sign()
            .eq(t)
            .to_dtype(DType::F64)
            .mean()
            .item::<f64>()
    };
    let found = [right(&scores, &t)?, right(&scores_test, &t_test)?];
    check(
        "breast masses, AdaBoost of 30 stumps",
        found,
        [1.0, 0.957672],
        0.011,
    );
    Ok(())
}

/// A loss of each prediction against its target.
type Loss = fn(&Tensor, &Tensor) -> Tensor;

/// Gradient boosting: each tree is fitted to the pseudo-residuals, the loss's derivative by the predictions, downwards.
fn boost(loss: Loss, train: &Set<f32>, test: &Set<f32>, dev: &Device) -> Result<[f64; 2]> {
    let target = |set: &Set<f32>| Tensor::from_slice(&set.y, [set.len()], dev).to_dtype(DType::F64);
    let (y, y_test) = (target(train), target(test));
    let mut all = examples(train, y.unsqueeze(1));
    let start = y.mean();
    let (mut f, mut f_test) = (y.zeros_like() + &start, y_test.zeros_like() + &start);
    for _ in 0..50 {
        let at = f.detach().requires_grad();
        loss(&at, &y).sum().backward()?;
        all.y = -at.grad()?.unsqueeze(1);
        let tree = all.tree(squares, 2)?;
        f = f + tree.predict(train, dev).squeeze(1) * 0.1;
        f_test = f_test + tree.predict(test, dev).squeeze(1) * 0.1;
    }
    Ok([r2(&f, &y)?, r2(&f_test, &y_test)?])
}

fn regression(dev: &Device) -> Result<()> {
    let (train, test) = divided(&sets::diabetes())?;
    let target = |set: &Set<f32>| Tensor::from_slice(&set.y, [set.len()], dev).to_dtype(DType::F64);
    let (y, y_test) = (target(&train), target(&test));
    let tree = examples(&train, y.unsqueeze(1)).tree(squares, 3)?;
    let said = |set: &Set<f32>| tree.predict(set, dev).squeeze(1);
    let found = [r2(&said(&train), &y)?, r2(&said(&test), &y_test)?];
    check(
        "diabetes, a regression tree",
        found,
        [0.519006, 0.344155],
        2e-3,
    );

    let halves: Loss = |f, y| mse_loss_with(f, y, Reduction::None) * 0.5;
    let found = boost(halves, &train, &test, dev)?;
    check(
        "diabetes, boosting by squared errors",
        found,
        [0.665039, 0.484367],
        5e-3,
    );

    // Any other loss is a line. (scikit-learn also fits the leaves of such trees by the loss; here they are means of
    // residuals, so that the figures are near but not the same.)
    let huber: Loss = |f, y| {
        huber_loss_with(
            f,
            y,
            HuberOptions {
                delta: 80.0,
                reduction: Reduction::None,
            },
        )
    };
    let found = boost(huber, &train, &test, dev)?;
    check(
        "diabetes, boosting by Huber's loss",
        found,
        [0.659663, 0.477555],
        0.03,
    );
    Ok(())
}

fn main() -> Result<()> {
    let dev = wgrad::cpu();
    classification(&dev)?;
    ada_boost(&dev)?;
    regression(&dev)
}
