//! The loss of sequences whose labels are not aligned in time.

use crate::ops::compaction::read_size;
use crate::ops::cross_entropy::Reduction;
use crate::ops::index::{gather_along, index_select};
use crate::tensor::{Tensor, Value, same_device};
use crate::types::dtype::DType;
use crate::types::error::{Error, Place, Result};

/// Options of [`Tensor::ctc_loss`].
#[derive(Clone, Copy, Default, Debug)]
pub struct CtcOptions {
    /// The class that stands for no label.
    pub blank: usize,
    /// What becomes of the sequences' losses. The mean is that of the losses divided by their targets' lengths.
    pub reduction: Reduction,
    /// Whether losses of targets that do not fit into their inputs are 0, and not infinite. Their gradients are 0 in
    /// any case.
    pub zero_infinity: bool,
}

impl Tensor {
    /// Connectionist temporal classification: the negative logarithm of the probability of a target, summed over all
    /// ways to spread it in time with blanks and repetitions between
    /// ([Graves et al. 2006](https://www.cs.toronto.edu/~graves/icml_2006.pdf)).
    /// `torch.nn.functional.ctc_loss`.
    ///
    /// This tensor has the logarithms of probabilities, `[time, n, classes]` or `[time, classes]`, `f32` or `f64`.
    /// Targets are integers `[n, length]`, of which the first `target_lengths[i]` count, or all of them one after the
    /// other in a vector (then their lengths' largest and their sum are read back). `input_lengths` and `target_lengths`
    /// are `[n]`.
    ///
    /// With `l` the target with blanks around each label, and `a_0 = ln p_0` at its first two places, the recursion is
    /// `a_t[s] = ln p_t[l_s] + ln(e^a[s] + e^a[s - 1] + e^a[s - 2])`, where the last term is left out if `l_s` is a
    /// blank or the same as `l_(s - 2)`. The gradient is that of this formula by the logarithms.
    ///
    /// ```
    /// # use wgrad::{CtcOptions, prelude::*};
    /// # let dev = wgrad::cpu();
    /// // Two steps, blank or label with a half each: 3 of 4 ways show the label once.
    /// let log_p = Tensor::full([2, 1, 2], 0.5_f64.ln(), &dev);
    /// let (targets, one) = (Tensor::new([[1]], &dev), Tensor::new([1], &dev));
    /// let loss = log_p.ctc_loss(&targets, &Tensor::new([2], &dev), &one, CtcOptions::default());
    /// assert!((loss.item::<f32>()? + 0.75_f32.ln()).abs() < 1e-6);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// A length that is negative or beyond the time or the targets gives a loss of NaN, and
    /// [`Error::IndexOutOfRange`] at this thread's next read, as a target that is no class does. Targets in a vector that
    /// are more or fewer than their lengths give a failed tensor.
    #[track_caller]
    pub fn ctc_loss(
        &self,
        targets: &Tensor,
        input_lengths: &Tensor,
        target_lengths: &Tensor,
        options: CtcOptions,
    ) -> Tensor {
        let place = Place::caller();
        self.widened().then(|x| {
            place.within(|| {
                let (inputs, lengths) = (input_lengths.capture()?, target_lengths.capture()?);
                ctc(&x, &targets.capture()?, &inputs, &lengths, options, place)
            })
        })
    }
}

fn ctc(
    x: &Value,
    targets: &Value,
    inputs: &Value,
    lengths: &Value,
    options: CtcOptions,
    place: Place,
) -> Result<Tensor> {
    let name = "ctc_loss";
    let dtype = x.dtype();
    if !matches!(dtype, DType::F32 | DType::F64) {
        let problem = format!("takes f32 or f64, not {dtype}; convert it with to_dtype");
        return Err(Error::dtype(name, place, problem));
    }
    for operand in [targets, inputs, lengths] {
        same_device(name, x, operand, place)?;
        if !operand.dtype().is_integer() {
            let problem = format!(
                "targets and lengths must be integers, not {}",
                operand.dtype()
            );
            return Err(Error::dtype(name, place, problem));
        }
    }
    let single = x.shape().rank() == 2;
    let log_p = match single {
        true => x.clone().into_tensor().unsqueeze(1),
        false => x.clone().into_tensor(),
    };
    let shape = log_p.shape()?;
    let (of, own) = (targets.shape(), x.shape());
    let n = shape.get(1).copied().unwrap_or(0);
    let fits = shape.rank() == 3
        && (of.rank() == 1 || of.rank() == 2 && of[0] == n)
        && [inputs, lengths]
            .iter()
            .all(|v| v.shape().numel() == n && v.shape().rank() <= 1)
        && options.blank < shape[2]
        && shape[0] > 0
        && n > 0;
    if !fits {
        let problem = format!(
            "targets of shape {of} with lengths of shapes {} and {} and the blank {} for shape {own}: that must be \
             [time, n, classes] or [time, classes], with a time and a sequence or more, the targets [n, length] or [labels], the lengths [n], and the blank a \
             class",
            inputs.shape(),
            lengths.shape(),
            options.blank
        );
        return Err(Error::shape(name, place, problem));
    }
    let most = of.last().copied().unwrap_or(0);
    let inputs = Lengths::new("ctc_loss with input_lengths", inputs, shape[0], place);
    let lengths = Lengths::new("ctc_loss with target_lengths", lengths, most, place);
    let targets = targets.clone().into_tensor().to_dtype(DType::I32);
    let labels = padded(&targets, &lengths.numbers, n, options.blank, place)?;
    let lattice = Lattice::new(log_p, &labels, options.blank)?;
    let losses = lattice.losses(&inputs.numbers, &lengths.numbers)?;
    let valid = inputs.valid.logical_and(&lengths.valid).squeeze(1);
    let lengths = lengths.numbers;
    let losses = valid.where_cond(losses, f64::NAN);
    let losses = match options.zero_infinity {
        true => losses.eq(f64::INFINITY).where_cond(0.0, losses),
        false => losses,
    };
    match options.reduction {
        Reduction::Mean => (losses / lengths.squeeze(1).clamp_min(1)).mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None if single => losses.squeeze(0),
        Reduction::None => losses,
    }
    .checked()
}

/// Lengths of sequences, `[n, 1]`.
struct Lengths {
    /// As `i32`, and 0 where they are none.
    numbers: Tensor,
    /// Whether they are.
    valid: Tensor,
}

impl Lengths {
    /// From 0 to `most`; others are reported as indices of a table that has so many, and one more.
    fn new(name: &'static str, lengths: &Value, most: usize, place: Place) -> Lengths {
        let lengths = lengths.clone().into_tensor().reshape([-1isize]);
        let table = Tensor::arange(most + 1, (DType::I32, lengths.device()));
        let numbers = index_select(name, &table, 0, &lengths, place);
        Lengths {
            valid: numbers.eq(&lengths).unsqueeze(1),
            numbers: numbers.unsqueeze(1),
        }
    }
}

/// Targets as `[n, length]`, with blanks behind the lengths.
fn padded(
    targets: &Tensor,
    lengths: &Tensor,
    n: usize,
    blank: usize,
    place: Place,
) -> Result<Tensor> {
    let int = (DType::I32, targets.device());
    let of = targets.shape()?;
    let labels = match of.rank() {
        2 => targets.clone(),
        _ if n == 0 || of[0] == 0 => Tensor::zeros([n, 0], int),
        _ => {
            let most = read_size(&lengths.max().reshape([1]), place)?;
            let all = read_size(&lengths.sum().reshape([1]), place)?;
            if all != of[0] {
                let problem = format!(
                    "targets of shape {of} with target_lengths that sum to {all}: in a vector, targets must be as many"
                );
                return Err(Error::shape("ctc_loss", place, problem));
            }
            let starts = lengths.cumsum(0) - lengths;
            let at = starts + Tensor::arange(most, int);
            let at = at.clamp(0, of[0] - 1).reshape([n * most]);
            targets.index_select(0, &at).reshape([n, most])
        }
    };
    let at = Tensor::arange(labels.shape()?[1], int);
    Ok(at.lt(lengths).where_cond(labels, blank))
}

/// The places of the labels with blanks around them, and what each step of time gives them.
struct Lattice {
    /// `[time, n, places]`.
    emitted: Tensor,
    /// Where a place may be reached over the blank before it: `[n, places]`.
    skips: Tensor,
    n: usize,
    places: usize,
    time: usize,
}

impl Lattice {
    fn new(log_p: Tensor, labels: &Tensor, blank: usize) -> Result<Lattice> {
        let shape = log_p.shape()?;
        let (time, n, length) = (shape[0], shape[1], labels.shape()?[1]);
        let places = 2 * length + 1;
        let blanks = labels.full_like(blank);
        // b l b l .. b
        let pairs = Tensor::stack(&[&blanks, labels], 2).reshape([n, 2 * length]);
        let end = Tensor::full([n, 1], blank, (DType::I32, labels.device()));
        let spread = Tensor::cat(&[&pairs, &end], 1);
        let blanks = Tensor::full([n, 2], blank, (DType::I32, labels.device()));
        let back = Tensor::cat(&[&blanks, &spread], 1).narrow(1, 0, places);
        let skips = spread.ne(blank).logical_and(spread.ne(back));
        let index = spread.unsqueeze(0).expand([time, n, places]);
        Ok(Lattice {
            emitted: gather_along("ctc_loss with targets", &log_p, 2, &index, Place::caller()),
            skips,
            n,
            places,
            time,
        })
    }

    /// The losses `[n]`.
    fn losses(&self, inputs: &Tensor, lengths: &Tensor) -> Result<Tensor> {
        let dtype = (self.emitted.dtype()?, self.emitted.device());
        let never = |size: usize| Tensor::full([self.n, size], f64::NEG_INFINITY, dtype);
        let edge = never(2);
        // Before the first step, all is at the first place.
        let start = Tensor::zeros([self.n, 1], dtype);
        let mut alpha = Tensor::cat(&[&start, &never(self.places - 1)], 1);
        for t in 0..self.time {
            let wide = Tensor::cat(&[&edge, &alpha], 1);
            let from = |offset: usize| wide.narrow(1, offset, self.places);
            let over = self.skips.where_cond(from(0), f64::NEG_INFINITY);
            let next = log_sum(&[from(2), from(1), over]) + self.emitted.select(0, t as isize);
            // Behind its input, a sequence stays as it is.
            alpha = inputs.gt(t).where_cond(next, alpha);
        }
        let at = |place: Tensor| alpha.gather(1, &place.clamp(0, self.places - 1));
        let last = lengths.mul(2);
        let label = lengths.gt(0).where_cond(at(&last - 1), f64::NEG_INFINITY);
        Ok(log_sum(&[at(last), label]).neg().squeeze(1))
    }
}

/// `ln(sum(e^x))` of several tensors, element by element; minus infinity of nothing but that, with the derivative 0.
fn log_sum(of: &[Tensor]) -> Tensor {
    let top = of.iter().map(Tensor::detach).reduce(|a, b| a.maximum(b));
    let top = top.unwrap_or_else(|| of[0].clone());
    let top = top.eq(f64::NEG_INFINITY).where_cond(0.0, &top);
    let sum = of.iter().map(|x| (x - &top).exp()).reduce(|a, b| a + b);
    let sum = sum.unwrap_or_else(|| of[0].clone());
    let none = sum.eq(0.0);
    none.where_cond(f64::NEG_INFINITY, none.where_cond(1.0, &sum).ln() + top)
}
