//! The trainer: what to train, and how.

mod epoch;
mod evaluate;
mod fit;
mod locate;
mod step;

use std::path::PathBuf;

use wgrad_core::{DType, Error, Place, Result, Tensor};
use wgrad_data::Batch;
use wgrad_nn::amp::{GradScaler, autocast};
use wgrad_nn::optim::Optimizer;
use wgrad_nn::optim::schedule::{ReduceLrOnPlateau, Schedule, Scheduler};
use wgrad_nn::{Forward, Module};

use crate::callback::{Callback, EarlyStopping};
use crate::checkpoint::{Checkpoints, Keep};
use crate::metric::{Meter, Metric};
use crate::snapshot::{Position, Snapshot};
pub use step::Outcome;

type Step<M, B> = Box<dyn Fn(&M, &B) -> Result<Outcome>>;

/// Trains a model: epochs, metrics, validation, checkpoints, schedules, and whatever [callbacks](Callback) do.
///
/// ```
/// # use wgrad::prelude::*;
/// use wgrad::data::Batch;
/// use wgrad::train::{Accuracy, Epochs, Trainer};
///
/// # let dev = wgrad::cpu();
/// # dev.seed(1);
/// let x = Tensor::randn([64, 4], &dev);
/// let y = x.sum_dims([1], false).gt(0.0).to_dtype(DType::I32);
/// let train = vec![Batch { x: x.clone(), y: y.clone() }; 20];
/// let valid = vec![Batch { x, y }];
///
/// let model = nn::Linear::new(4, 2, &dev);
/// let adam = Adam::new(model.parameters(), AdamOptions { lr: 1e-2, ..Default::default() });
/// let mut trainer = Trainer::new(model, adam)
///     .loss(|model, batch| {
///         let logits = model.forward(&batch.x)?;
///         Ok((logits.cross_entropy(&batch.y), logits))
///     })
///     .metric(Accuracy::new());
/// let fit = trainer.fit(&train, &valid, Epochs(5))?;
///
/// let valid = fit.last().and_then(|epoch| epoch.valid.as_ref()).unwrap();
/// assert!(valid.get("accuracy") > Some(0.9));
/// trainer.model().save_safetensors(std::env::temp_dir().join("linear.safetensors"))?;
/// # Ok::<(), Error>(())
/// ```
///
/// Losses and metrics stay on the device and are read together once per [`log_every`](Trainer::log_every) steps, at the
/// ends of epochs, and for checkpoints.
///
/// With [`checkpoints`](Trainer::checkpoints) a training that was ended (by Ctrl-C, by a crash, at any moment) goes on
/// when the program is run again, to the same numbers that it would have had without: model, optimizer, schedules,
/// metrics, random numbers and the place in the data are part of a checkpoint.
///
/// A loss that is NaN ends the training with an error that names the step, the operation where NaN arose, and its
/// line.
pub struct Trainer<M, O, B = NoLoss> {
    model: M,
    optimizer: O,
    step: Step<M, B>,
    meters: Vec<Meter>,
    schedule: Option<Box<dyn Schedule>>,
    pace: Pace,
    plateau: Option<ReduceLrOnPlateau>,
    callbacks: Vec<Box<dyn Callback>>,
    early: Option<EarlyStopping>,
    monitor: String,
    clip: Option<Clip>,
    /// The type of operations that autocast lists.
    narrow: Option<DType>,
    accumulate: u64,
    log_every: u64,
    checkpoints: Option<Checkpoints>,
    checkpoint_every: Option<u64>,
    /// What is wrong with the settings, told by [`fit`](Trainer::fit).
    problem: Option<Error>,
    state: State,
}

/// A trainer without a loss cannot train: call [`Trainer::loss`], [`Trainer::loss_with`] or [`Trainer::criterion`].
pub enum NoLoss {}

/// What changes while a trainer trains.
#[derive(Default)]
struct State {
    progress: Position,
    scheduler: Option<Scheduler<Box<dyn Schedule>>>,
    /// With `f16` only.
    scaler: Option<GradScaler>,
    /// The user's line, for errors that are none of an operation.
    place: Option<Place>,
    /// Whether schedule and checkpoints have been looked at.
    begun: bool,
    /// Where the search for NaN begins.
    snapshot: Option<Snapshot>,
    /// Losses that have not been read, with their batches' examples.
    losses: Vec<(Tensor, f64)>,
    /// Batches whose gradients wait for a step of the optimizer.
    gathered: u64,
}

/// When a schedule counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pace {
    Step,
    Epoch,
}

/// How gradients are kept small.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Clip {
    Norm(f64),
    Value(f64),
}

impl<M: Module, O: Optimizer> Trainer<M, O, NoLoss> {
    /// A trainer of a model by an optimizer of (some of) its parameters.
    pub fn new(model: M, optimizer: O) -> Trainer<M, O, NoLoss> {
        Trainer {
            model,
            optimizer,
            step: Box::new(|_, batch: &NoLoss| match *batch {}),
            meters: Vec::new(),
            schedule: None,
            pace: Pace::Step,
            plateau: None,
            callbacks: Vec::new(),
            early: None,
            monitor: "loss".into(),
            clip: None,
            narrow: None,
            accumulate: 1,
            log_every: 50,
            checkpoints: None,
            checkpoint_every: None,
            problem: None,
            state: State::default(),
        }
    }

    /// What a step computes of a [`Batch`]: the loss, the mean of the batch's examples. For metrics also the
    /// predictions: `Ok((loss, predictions))`, which are compared with the batch's `y`, or `Ok((loss, predictions,
    /// targets))`.
    pub fn loss<R: Into<Outcome>>(
        self,
        step: impl Fn(&M, &Batch) -> Result<R> + 'static,
    ) -> Trainer<M, O, Batch> {
        self.with_step(Box::new(move |model, batch: &Batch| {
            let outcome: Outcome = step(model, batch)?.into();
            Ok(outcome.of_batch(batch))
        }))
    }

    /// [`loss`](Trainer::loss) of batches of another type, which is what the loader gives. Metrics need `Ok((loss,
    /// predictions, targets))`. Losses of batches count alike where they give no targets.
    pub fn loss_with<B: 'static, R: Into<Outcome>>(
        self,
        step: impl Fn(&M, &B) -> Result<R> + 'static,
    ) -> Trainer<M, O, B> {
        self.with_step(Box::new(move |model, batch: &B| {
            Ok(step(model, batch)?.into())
        }))
    }

    /// The usual case of [`loss`](Trainer::loss): the model maps `x` to predictions, and the loss compares these with
    /// `y`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # use wgrad::{data::Batch, train::{Epochs, Trainer}};
    /// # let dev = wgrad::cpu();
    /// # let batches = vec![Batch { x: Tensor::ones([4, 2], &dev), y: Tensor::ones([4, 1], &dev) }];
    /// let model = nn::Linear::new(2, 1, &dev);
    /// let sgd = Sgd::new(model.parameters(), SgdOptions::default());
    /// let mut trainer = Trainer::new(model, sgd).criterion(loss::mse_loss);
    /// let fit = trainer.fit_without_validation(&batches, Epochs(2))?;
    /// assert_eq!(fit.history.len(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn criterion(
        self,
        criterion: impl Fn(&Tensor, &Tensor) -> Tensor + 'static,
    ) -> Trainer<M, O, Batch>
    where
        M: Forward,
    {
        self.loss(move |model, batch| {
            let prediction = model.forward(&batch.x)?;
            Ok((criterion(&prediction, &batch.y), prediction))
        })
    }

    fn with_step<B>(self, step: Step<M, B>) -> Trainer<M, O, B> {
        Trainer {
            step,
            model: self.model,
            optimizer: self.optimizer,
            meters: self.meters,
            schedule: self.schedule,
            pace: self.pace,
            plateau: self.plateau,
            callbacks: self.callbacks,
            early: self.early,
            monitor: self.monitor,
            clip: self.clip,
            narrow: self.narrow,
            accumulate: self.accumulate,
            log_every: self.log_every,
            checkpoints: self.checkpoints,
            checkpoint_every: self.checkpoint_every,
            problem: self.problem,
            state: self.state,
        }
    }
}

impl<M, O, B> Trainer<M, O, B> {
    /// Adds a metric, of training and validation.
    pub fn metric(mut self, metric: impl Metric + 'static) -> Self {
        self.meters.push(Meter::new(metric));
        self
    }

    /// Learning rates by a schedule that counts steps.
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some(Box::new(schedule));
        self.pace = Pace::Step;
        self
    }

    /// Learning rates by a schedule that counts epochs.
    pub fn schedule_epochs(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some(Box::new(schedule));
        self.pace = Pace::Epoch;
        self
    }

    /// Learning rates that fall where what is [monitored](Trainer::monitor) does not get better; looked at after each
    /// epoch. Its `maximize` is as the monitored metric says.
    pub fn plateau(mut self, plateau: ReduceLrOnPlateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Scales gradients down to a global norm of at most `max`, as
    /// [`clip_grad_norm`](wgrad_nn::optim::clip_grad_norm).
    pub fn clip_norm(mut self, max: f64) -> Self {
        self.clip = Some(Clip::Norm(max));
        self
    }

    /// Keeps every gradient in `[-max, max]`, as [`clip_grad_value`](wgrad_nn::optim::clip_grad_value).
    pub fn clip_value(mut self, max: f64) -> Self {
        self.clip = Some(Clip::Value(max));
        self
    }

    /// Mixed precision: products, convolutions and what else [`autocast`](wgrad_nn::amp::autocast) lists compute with
    /// `f16` or `bf16`, parameters stay `f32`. With `f16` losses are scaled, so that small gradients do not vanish, and steps
    /// whose gradients overflow are left out, as a [`GradScaler`] does; the device decides that, nothing waits for it.
    #[track_caller]
    pub fn mixed_precision(mut self, dtype: DType) -> Self {
        if !matches!(dtype, DType::F16 | DType::BF16) {
            self.problem = Some(Error::Value {
                op: "mixed_precision",
                problem: format!("f16 or bf16, not {dtype}"),
                place: Place::caller(),
            });
        }
        self.narrow = Some(dtype);
        self
    }

    /// A step of the optimizer after so many batches, by the mean of their gradients: a larger batch than memory
    /// holds. At the end of an epoch the rest makes a step of its own, in which each batch has the same weight as in
    /// others. Default 1.
    #[track_caller]
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = self.positive("accumulate", batches);
        self
    }

    /// After how many steps losses and metrics are read and recorded. Default 50; the fewer, the more often the host
    /// waits for the device.
    #[track_caller]
    pub fn log_every(mut self, steps: usize) -> Self {
        self.log_every = self.positive("log_every", steps);
        self
    }

    /// What the best checkpoint, early stopping and the plateau look at: `loss` (the default) or a metric's name. Of the
    /// validation where there is one, else of the training.
    pub fn monitor(mut self, name: impl Into<String>) -> Self {
        self.monitor = name.into();
        self
    }

    /// Writes a checkpoint into a directory after each epoch, and goes on from the last one that is there. While it
    /// trains, Ctrl-C saves and stops; a second one ends the process.
    ///
    /// A checkpoint is a directory `step-000001200` with `model.safetensors` (what
    /// [`load_safetensors`](Module::load_safetensors) reads, PyTorch too), `optimizer.safetensors` and `trainer.json`.
    /// It appears whole or not at all.
    pub fn checkpoints(mut self, directory: impl Into<PathBuf>, keep: Keep) -> Self {
        self.checkpoints = Some(Checkpoints::new(directory.into(), keep));
        self
    }

    /// A checkpoint also after each so many steps.
    #[track_caller]
    pub fn checkpoint_every(mut self, steps: usize) -> Self {
        self.checkpoint_every = Some(self.positive("checkpoint_every", steps));
        self
    }

    /// Ends the training when it does not get better.
    pub fn early_stopping(mut self, stopping: EarlyStopping) -> Self {
        self.early = Some(stopping);
        self
    }

    /// Shows how far it is on the terminal, and a row per epoch: [`Progress`](crate::Progress).
    pub fn progress(self) -> Self {
        self.callback(crate::Progress::new())
    }

    /// Writes a log of JSON lines: [`JsonLines`](crate::JsonLines).
    pub fn json_lines(self, path: impl Into<PathBuf>) -> Self {
        self.callback(crate::JsonLines::new(path))
    }

    /// Writes event files for TensorBoard: [`TensorBoard`](crate::TensorBoard).
    pub fn tensorboard(self, directory: impl Into<PathBuf>) -> Self {
        self.callback(crate::TensorBoard::new(directory))
    }

    /// Draws curves as PNG files into a directory: [`Curves`](crate::Curves).
    pub fn curves(self, directory: impl Into<PathBuf>) -> Self {
        self.callback(crate::Curves::new(directory))
    }

    /// Writes a page about the training: [`Report`](crate::Report).
    pub fn report(self, path: impl Into<PathBuf>) -> Self {
        self.callback(crate::Report::new(path))
    }

    /// Adds a callback.
    pub fn callback(mut self, callback: impl Callback + 'static) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    /// The model and the optimizer.
    pub fn into_parts(self) -> (M, O) {
        (self.model, self.optimizer)
    }

    /// How many steps of the optimizer there have been, those before a resumption too.
    pub fn steps(&self) -> u64 {
        self.state.progress.step
    }

    #[track_caller]
    fn positive(&mut self, name: &'static str, count: usize) -> u64 {
        if count == 0 {
            self.problem = Some(Error::Value {
                op: name,
                problem: "must be at least 1, not 0".into(),
                place: Place::caller(),
            });
        }
        count.max(1) as u64
    }

    /// What a batch gives, with the types that are asked for.
    fn outcome(&self, batch: &B) -> Result<Outcome> {
        match self.narrow {
            Some(dtype) => autocast(dtype, || (self.step)(&self.model, batch)),
            None => (self.step)(&self.model, batch),
        }
    }

    /// Whether a larger value of what is monitored is the better one.
    fn higher_is_better(&self) -> bool {
        let mut metrics = self.meters.iter().map(Meter::metric);
        let metric = metrics.find(|metric| metric.name() == self.monitor);
        metric.is_some_and(Metric::higher_is_better)
    }
}
