//! Normalisation by statistics of a batch or of each instance.

use std::cell::Cell;
use std::fmt;

use wgrad_core::{BatchNorm as Normed, DType, Error, Place, Result, Target, Tensor, no_grad};
use wgrad_derive::Module;

use crate::forward::Forward;
use crate::hooks;
use crate::init;
use crate::module::Module;
use crate::part::{Leaf, Training, Visitor};

/// Options of [`BatchNorm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BatchNormOptions {
    /// What is added to the variance, 1e-5 by default.
    pub eps: f64,
    /// The part of a batch's statistics in the running ones after it, 0.1 by default. Without one,
    /// the running ones are the means over all batches.
    pub momentum: Option<f64>,
    /// Whether there are a weight and, with `bias`, a bias for each channel, as by default.
    pub affine: bool,
    /// Whether there is a bias beside the weight, as by default.
    pub bias: bool,
    /// Whether there are running statistics, as by default. Without, a batch's own normalise it in
    /// evaluation, too.
    pub track_running_stats: bool,
}

impl Default for BatchNormOptions {
    fn default() -> BatchNormOptions {
        BatchNormOptions {
            eps: 1e-5,
            momentum: Some(0.1),
            affine: true,
            bias: true,
            track_running_stats: true,
        }
    }
}

/// Options of [`InstanceNorm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct InstanceNormOptions {
    /// What is added to the variance, 1e-5 by default.
    pub eps: f64,
    /// The part of a batch's statistics in the running ones after it, 0.1 by default.
    pub momentum: f64,
    /// Whether there are a weight and, with `bias`, a bias for each channel; none by default.
    pub affine: bool,
    /// Whether there is a bias beside the weight, as by default.
    pub bias: bool,
    /// Whether there are running statistics, which then normalise in evaluation; none by default.
    pub track_running_stats: bool,
}

impl Default for InstanceNormOptions {
    fn default() -> InstanceNormOptions {
        InstanceNormOptions {
            eps: 1e-5,
            momentum: 0.1,
            affine: false,
            bias: true,
            track_running_stats: false,
        }
    }
}

/// A layer of parameters and running statistics of each channel.
macro_rules! norms {
    ($($(#[$doc:meta])* $norm:ident $options:ident $count:literal;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        #[module(crate = crate, display)]
        pub struct $norm<const D: usize> {
            /// `[num_features]`, ones at first.
            pub weight: Option<Tensor>,
            /// `[num_features]`, zeros at first.
            pub bias: Option<Tensor>,
            /// `[num_features]`, zeros at first.
            #[module(buffer)]
            pub running_mean: Option<Tensor>,
            /// `[num_features]`, ones at first.
            #[module(buffer)]
            pub running_var: Option<Tensor>,
            #[doc = $count]
            #[module(buffer)]
            pub num_batches_tracked: Option<Tensor>,
            training: Training,
            #[module(skip)]
            num_features: usize,
            #[module(skip)]
            options: $options,
        }
    )* };
}
norms! {
    /// Each channel with mean 0 and variance 1, then scaled and shifted, as `torch.nn.BatchNorm1d` to
    /// `BatchNorm3d` ([Ioffe and Szegedy 2015](https://arxiv.org/abs/1502.03167)): of `[n, c, ..]`
    ///
    /// ```text
    /// y = (x - mean) / sqrt(variance + eps) * weight + bias
    /// ```
    ///
    /// In training mean and variance are those of the batch, and the running ones move towards them,
    /// on the device; in evaluation they are the running ones. Without momentum, running statistics
    /// are the means over all batches so far.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let norm = nn::BatchNorm1d::new(2, &dev);
    /// let x = Tensor::new([[1.0, 10.0], [3.0, 20.0]], &dev);
    /// let y = norm.forward(&x)?.to_vec::<f32>()?;
    /// assert!((y[0] + 1.0).abs() < 1e-4 && (y[3] - 1.0).abs() < 1e-4);
    /// let names: Vec<String> = norm.named_buffers().into_iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["running_mean", "running_var", "num_batches_tracked"]);
    /// assert_eq!(norm.running_mean.as_ref().unwrap().to_vec::<f32>()?, [0.2, 1.5]);
    ///
    /// norm.eval(); // the running statistics normalise, and stay
    /// norm.forward(&x)?;
    /// assert_eq!(norm.num_batches_tracked.as_ref().unwrap().item::<i32>()?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    BatchNorm BatchNormOptions "How many batches the running statistics have seen (`i32`).";

    /// Each channel of each instance with mean 0 and variance 1, as `torch.nn.InstanceNorm1d` to
    /// `InstanceNorm3d` ([Ulyanov et al. 2016](https://arxiv.org/abs/1607.08022)): of `[n, c, ..]`, with
    /// or without `n`. Otherwise as [`BatchNorm`]; by default without weight, bias and running
    /// statistics.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let norm = nn::InstanceNorm1d::new(2, &dev);
    /// let y = norm.forward(&Tensor::new([[[1.0, 3.0], [20.0, 10.0]]], &dev))?.to_vec::<f32>()?;
    /// assert!((y[0] + 1.0).abs() < 1e-4 && (y[2] - 1.0).abs() < 1e-4);
    /// # Ok::<(), Error>(())
    /// ```
    InstanceNorm InstanceNormOptions "PyTorch's, which stays 0 (`i32`).";
}

/// A [batch norm](BatchNorm) of `[n, c]` or `[n, c, s]`.
pub type BatchNorm1d = BatchNorm<1>;
/// A [batch norm](BatchNorm) of `[n, c, h, w]`.
pub type BatchNorm2d = BatchNorm<2>;
/// A [batch norm](BatchNorm) of `[n, c, d, h, w]`.
pub type BatchNorm3d = BatchNorm<3>;
/// An [instance norm](InstanceNorm) of `[n, c, s]` or `[c, s]`.
pub type InstanceNorm1d = InstanceNorm<1>;
/// An [instance norm](InstanceNorm) of `[n, c, h, w]` or `[c, h, w]`.
pub type InstanceNorm2d = InstanceNorm<2>;
/// An [instance norm](InstanceNorm) of `[n, c, d, h, w]` or `[c, d, h, w]`.
pub type InstanceNorm3d = InstanceNorm<3>;

macro_rules! constructors {
    ($norm:ident $options:ident) => {
        impl<const D: usize> $norm<D> {
            /// A layer with the usual options.
            #[track_caller]
            pub fn new(num_features: usize, target: impl Target) -> $norm<D> {
                $norm::with(num_features, $options::default(), target)
            }

            /// A layer with options. A momentum that is not within 0 and 1 is an error of `forward`.
            #[track_caller]
            pub fn with(num_features: usize, options: $options, target: impl Target) -> $norm<D> {
                let target = (target.dtype().unwrap_or(init::FLOAT), target.device());
                let (affine, tracks) = (options.affine, options.track_running_stats);
                let (zeros, ones) = (
                    || Tensor::zeros([num_features], target),
                    || Tensor::ones([num_features], target),
                );
                let count = || Tensor::zeros((), (DType::I32, target.1));
                $norm {
                    weight: affine.then(|| ones().requires_grad()),
                    bias: (affine && options.bias).then(|| zeros().requires_grad()),
                    running_mean: tracks.then(|| zeros().buffer()),
                    running_var: tracks.then(|| ones().buffer()),
                    num_batches_tracked: tracks.then(|| count().buffer()),
                    training: Training::default(),
                    num_features,
                    options,
                }
            }

            /// The options.
            pub fn options(&self) -> &$options {
                &self.options
            }

            /// What the operation is told.
            fn operation(&self, momentum: f64) -> wgrad_core::BatchNormOptions {
                let running = self.running_mean.clone().zip(self.running_var.clone());
                wgrad_core::BatchNormOptions {
                    training: self.training.get() || running.is_none(),
                    running,
                    weight: self.weight.clone(),
                    bias: self.bias.clone(),
                    momentum,
                    eps: self.options.eps,
                }
            }
        }
    };
}
constructors!(BatchNorm BatchNormOptions);
constructors!(InstanceNorm InstanceNormOptions);

impl<const D: usize> Forward for BatchNorm<D> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let place = Place::caller();
            // A plain vector of features counts as one with a dimension.
            let ranks = if D == 1 { 2..=3 } else { D + 2..=D + 2 };
            if !ranks.contains(&x.rank()?) {
                return Err(rank_error(
                    "batch_norm",
                    &format!("BatchNorm{D}d"),
                    x,
                    place,
                ));
            }
            let momentum = momentum("batch_norm", self.momentum().unwrap_or(1.0), place)?;
            let normed = x.batch_norm(self.operation(momentum));
            let y = normed.output.clone().checked()?;
            if self.training.get() {
                self.track(normed)?;
            }
            Ok(y)
        })
    }
}

thread_local! {
    /// Whether running statistics are the means of all batches, whatever the layers' momenta.
    static CUMULATIVE: Cell<bool> = const { Cell::new(false) };
}

/// Computes the running statistics of a model's batch norms anew, as `torch.optim.swa_utils.update_bn`: for averaged
/// weights ([`AveragedModel`](crate::optim::AveragedModel)) those of the training do not fit. `forward` is the model's,
/// of everything that it is to be trained on; it runs in training, where the statistics begin at 0 and 1 and become
/// the means over the batches. Whether the model's parts were in training stays.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let norm = nn::BatchNorm1d::new(1, &dev);
/// norm.eval();
/// let batches = [[[1.0], [3.0]], [[4.0], [8.0]]].map(|x| Tensor::new(x, &dev));
/// nn::update_bn(&norm, || {
///     batches.iter().try_for_each(|x| norm.forward(x).map(drop))
/// })?;
/// assert_eq!(norm.running_mean.as_ref().unwrap().to_vec::<f32>()?, [4.0]); // of 2 and 6
/// assert_eq!(norm.running_var.as_ref().unwrap().to_vec::<f32>()?, [5.0]); // of 2 and 8
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// Those of `forward`; then the statistics are those of the batches so far.
pub fn update_bn<M: Module + ?Sized>(
    model: &M,
    forward: impl FnOnce() -> Result<()>,
) -> Result<()> {
    struct Cumulative(bool);
    impl Drop for Cumulative {
        fn drop(&mut self) {
            CUMULATIVE.set(self.0);
        }
    }
    model.apply(&mut |layer| {
        if layer.kind().starts_with("BatchNorm") {
            for (name, buffer) in layer.buffers() {
                buffer.assign(&match name.as_str() {
                    "running_var" => buffer.ones_like(),
                    _ => buffer.zeros_like(),
                })?;
            }
        }
        Ok(())
    })?;
    let before = training(model);
    model.train();
    let done = {
        let _cumulative = Cumulative(CUMULATIVE.replace(true));
        no_grad(forward)
    };
    let mut before = before.into_iter();
    let mut each = |_: &str, leaf: Leaf<'_>| {
        if let Leaf::Training(flag) = leaf {
            flag.set(before.next().unwrap_or(true));
        }
    };
    model.visit(&mut Visitor::new(&mut each));
    done
}

/// Which parts of a model are in training, in the order of a walk.
fn training<M: Module + ?Sized>(model: &M) -> Vec<bool> {
    let mut flags = Vec::new();
    let mut each = |_: &str, leaf: Leaf<'_>| {
        if let Leaf::Training(flag) = leaf {
            flags.push(flag.get());
        }
    };
    model.visit(&mut Visitor::new(&mut each));
    flags
}

impl<const D: usize> BatchNorm<D> {
    /// The momentum; none where running statistics are means.
    fn momentum(&self) -> Option<f64> {
        self.options.momentum.filter(|_| !CUMULATIVE.get())
    }

    /// Takes a batch into the running statistics.
    #[track_caller]
    fn track(&self, normed: Normed) -> Result<()> {
        let (Some((new_mean, new_var)), Some(mean), Some(var), Some(count)) = (
            normed.running,
            &self.running_mean,
            &self.running_var,
            &self.num_batches_tracked,
        ) else {
            return Ok(());
        };
        count.assign(&(count.detach() + 1))?;
        // Without momentum, new ones come with a momentum of 1: they are the batch's alone.
        let moved = |old: &Tensor, new: Tensor| -> Result<Tensor> {
            if self.momentum().is_some() {
                return Ok(new);
            }
            let part = count.detach().to_dtype(old.dtype()?).recip();
            let old = old.detach();
            Ok(&old + (new - &old) * part)
        };
        mean.assign(&moved(mean, new_mean)?)?;
        var.assign(&moved(var, new_var)?)
    }
}

impl<const D: usize> Forward for InstanceNorm<D> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::layer(self, x, |x| {
            let place = Place::caller();
            let rank = x.rank()?;
            if rank != D + 1 && rank != D + 2 {
                let layer = format!("InstanceNorm{D}d");
                return Err(rank_error("instance_norm", &layer, x, place));
            }
            let single = rank == D + 1;
            let x = if single { x.unsqueeze(0) } else { x.clone() };
            let momentum = momentum("instance_norm", self.options.momentum, place)?;
            let normed = x.instance_norm(self.operation(momentum));
            let y = normed.output.checked()?;
            if self.training.get()
                && let Some((new_mean, new_var)) = normed.running
                && let (Some(mean), Some(var)) = (&self.running_mean, &self.running_var)
            {
                mean.assign(&new_mean)?;
                var.assign(&new_var)?;
            }
            if single {
                y.squeeze(0).checked()
            } else {
                Ok(y)
            }
        })
    }
}

fn rank_error(op: &'static str, layer: &str, x: &Tensor, place: Place) -> Error {
    let shape = x.shape().unwrap_or_default();
    let problem = format!(
        "{layer} does not take shape {shape} with its {} dimensions",
        shape.rank()
    );
    Error::Shape { op, problem, place }
}

fn momentum(op: &'static str, momentum: f64, place: Place) -> Result<f64> {
    if (0.0..=1.0).contains(&momentum) {
        return Ok(momentum);
    }
    let problem = format!("the momentum must be within 0 and 1, not {momentum}");
    Err(Error::Value { op, problem, place })
}

impl<const D: usize> fmt::Display for BatchNorm<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        let momentum = match options.momentum {
            Some(momentum) => format!("{momentum:?}"),
            None => "none".into(),
        };
        write!(
            f,
            "BatchNorm{D}d({}, eps={:?}, momentum={momentum}, affine={}, bias={}, track_running_stats={})",
            self.num_features,
            options.eps,
            options.affine,
            self.bias.is_some(),
            options.track_running_stats
        )
    }
}

impl<const D: usize> fmt::Display for InstanceNorm<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        write!(
            f,
            "InstanceNorm{D}d({}, eps={:?}, momentum={:?}, affine={}, bias={}, track_running_stats={})",
            self.num_features,
            options.eps,
            options.momentum,
            options.affine,
            self.bias.is_some(),
            options.track_running_stats
        )
    }
}
