//! Training with 16-bit floats: [`autocast`] chooses the types of operations, and a [`GradScaler`] keeps small
//! gradients above what `f16` can hold. As `torch.amp`.
//!
//! ```
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use wgrad_core::{DType, Tensor};
//! use wgrad_nn::amp::{GradScaler, GradScalerOptions, autocast};
//! use wgrad_nn::optim::{Adam, AdamOptions, Optimizer, clip_grad_norm};
//! use wgrad_nn::{Forward, Linear, Module};
//!
//! let model = Linear::new(4, 2, &dev);
//! let mut adam = Adam::new(model.parameters(), AdamOptions::default());
//! let mut scaler = GradScaler::new(&dev, GradScalerOptions::default());
//! let (x, y) = (Tensor::randn([8, 4], &dev), Tensor::new([0, 1, 0, 1, 1, 0, 1, 0], &dev));
//! for _ in 0..3 {
//!     adam.zero_grad();
//!     let loss = autocast(DType::F16, || Ok(model.forward(&x)?.cross_entropy(&y)))?;
//!     scaler.scale(&loss).backward()?;
//!     scaler.unscale(&adam)?; // only to clip
//!     clip_grad_norm(&model.parameters(), 1.0)?;
//!     scaler.step(&mut adam)?;
//!     scaler.update()?;
//! }
//! # Ok::<(), wgrad_core::Error>(())
//! ```

pub use wgrad_core::{autocast, autocast_disabled, autocast_dtype};

use wgrad_core::{DType, Device, Error, Place, Result, Tensor, no_grad};

use crate::optim::Optimizer;

/// What a [`GradScaler`] begins with, and how its factor changes. The defaults are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradScalerOptions {
    /// The first factor.
    pub init_scale: f64,
    /// What the factor is multiplied by after `growth_interval` steps without an infinite or NaN gradient.
    pub growth_factor: f64,
    /// What it is multiplied by after a step with one.
    pub backoff_factor: f64,
    /// How many good steps in a row let it grow.
    pub growth_interval: u32,
    /// Whether losses are scaled at all; if not, [`step`](GradScaler::step) is the optimizer's.
    pub enabled: bool,
}

impl Default for GradScalerOptions {
    fn default() -> GradScalerOptions {
        GradScalerOptions {
            init_scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            enabled: true,
        }
    }
}

/// What a [`GradScaler`] saves; the names are PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradScalerState {
    /// The factor.
    pub scale: f64,
    /// What it grows by.
    pub growth_factor: f64,
    /// What it shrinks by.
    pub backoff_factor: f64,
    /// After how many good steps it grows.
    pub growth_interval: u32,
    /// Good steps since it last changed.
    pub growth_tracker: u32,
}

/// How far an optimizer has come since the last [`update`](GradScaler::update).
struct Progress {
    /// Which optimizer.
    params: Vec<Tensor>,
    /// Whether a gradient was infinite or NaN.
    found: Tensor,
    stepped: bool,
}

/// Scales losses, so that gradients in `f16` do not vanish, and skips steps whose gradients overflowed: as
/// `torch.amp.GradScaler`. The module's page has a training step.
///
/// ```text
/// scale       loss * s
/// unscale     grad / s, and whether any is infinite or NaN
/// step        the optimizer's step, unless so
/// update      s = s backoff_factor if so, s growth_factor after growth_interval steps without
/// ```
///
/// The factor, the check and the choice stay on the device; nothing waits for them but
/// [`get_scale`](GradScaler::get_scale) and [`state_dict`](GradScaler::state_dict). A skipped step leaves parameters,
/// moments and step counts as they were ([`Optimizer::step_unless`]).
pub struct GradScaler {
    device: Device,
    options: GradScalerOptions,
    scale: Tensor,
    /// Good steps since the factor changed.
    good: Tensor,
    progress: Vec<Progress>,
}

impl GradScaler {
    /// A scaler of losses on `device`.
    pub fn new(device: &Device, options: GradScalerOptions) -> GradScaler {
        GradScaler {
            device: device.clone(),
            options,
            scale: Tensor::scalar(options.init_scale, (DType::F32, device)),
            good: Tensor::scalar(0.0, (DType::F32, device)),
            progress: Vec::new(),
        }
    }

    /// What it was made with; the factors and the interval are those of a loaded state.
    pub fn options(&self) -> &GradScalerOptions {
        &self.options
    }

    /// The loss times the factor; to be differentiated in its place.
    #[track_caller]
    pub fn scale(&self, loss: &Tensor) -> Tensor {
        match self.options.enabled {
            true => Place::caller().hold(|| loss * &self.scale),
            false => loss.clone(),
        }
    }

    /// Divides the gradients of the optimizer's parameters by the factor, to be looked at or clipped before the
    /// [`step`](GradScaler::step), which else does it. Torch's `unscale_`.
    ///
    /// # Errors
    /// [`Error::Value`] if they are divided already, if no parameter has a gradient, or for one in `f16`, and a failed
    /// gradient's error.
    #[track_caller]
    pub fn unscale(&mut self, optimizer: &dyn Optimizer) -> Result<()> {
        let place = Place::caller();
        if !self.options.enabled {
            return Ok(());
        }
        if let Some(progress) = self.progress_of(optimizer) {
            let problem = match progress.stepped {
                true => "is called after step",
                false => "has been called for this optimizer since the last update",
            };
            return Err(refused("unscale", problem, place));
        }
        let params = optimizer.parameters().to_vec();
        let found = place.hold(|| no_grad(|| self.unscale_all(&params, place)))?;
        self.progress.push(Progress {
            params,
            found,
            stepped: false,
        });
        Ok(())
    }

    /// Divides all gradients, and says whether one of them is not finite.
    fn unscale_all(&self, params: &[Tensor], place: Place) -> Result<Tensor> {
        let inverse = self.scale.recip();
        let mut found: Option<Tensor> = None;
        let mut with_grad = Vec::with_capacity(params.len());
        for param in params {
            let Ok(grad) = param.grad() else { continue };
            if grad.dtype()? == DType::F16 {
                let problem =
                    "gradients are f16; parameters must be f32, and autocast makes the rest";
                return Err(refused("unscale", problem, place));
            }
            let bad = grad.isfinite().logical_not().any();
            found = Some(match found {
                Some(found) => found.logical_or(bad),
                None => bad,
            });
            let _ = (&grad * &inverse).checked()?;
            with_grad.push(param);
        }
        let none = || {
            refused(
                "unscale",
                "no parameter of the optimizer has a gradient",
                place,
            )
        };
        let found = found.ok_or_else(none)?.checked()?;
        // All are good: now none is left behind.
        for param in with_grad {
            param.update_grad(|grad| grad * &inverse)?;
        }
        Ok(found)
    }

    /// The optimizer's step, unless a gradient is infinite or NaN; the device decides. Gradients are divided first
    /// where [`unscale`](GradScaler::unscale) has not done so.
    ///
    /// # Errors
    /// [`Error::Value`] for a second step before [`update`](GradScaler::update), and those of
    /// [`unscale`](GradScaler::unscale) and [`Optimizer::step_unless`].
    #[track_caller]
    pub fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<()> {
        let place = Place::caller();
        place.hold(|| {
            if !self.options.enabled {
                return optimizer.step();
            }
            if self.progress_of(optimizer).is_none() {
                self.unscale(optimizer)?;
            }
            let again = || refused("step", "has been called since the last update", place);
            let progress = self.progress_of(optimizer).filter(|p| !p.stepped);
            let progress = progress.ok_or_else(again)?;
            optimizer.step_unless(&progress.found)?;
            progress.stepped = true;
            Ok(())
        })
    }

    /// Lets the factor shrink or grow by what the steps since the last update met.
    ///
    /// # Errors
    /// [`Error::Value`] if there was none.
    #[track_caller]
    pub fn update(&mut self) -> Result<()> {
        let place = Place::caller();
        if !self.options.enabled {
            return Ok(());
        }
        let found = self.progress.drain(..).map(|progress| progress.found);
        let found = found.reduce(|a, b| a.logical_or(b));
        let none = || refused("update", "there was no step since the last", place);
        let found = found.ok_or_else(none)?;
        let options = self.options;
        place.hold(|| {
            no_grad(|| {
                let good = &self.good + 1.0;
                let grown = &self.scale * options.growth_factor;
                let due = good.ge(f64::from(options.growth_interval));
                // An infinite factor would never come back.
                let grows = due.logical_and(grown.isfinite());
                let scale = grows.where_cond(grown, &self.scale);
                let shrunk = &self.scale * options.backoff_factor;
                self.good = found.logical_or(due).where_cond(0.0, good);
                self.scale = found.where_cond(shrunk, scale);
            });
        });
        self.scale.clone().checked().map(drop)
    }

    /// Sets the factor in place of an [`update`](GradScaler::update).
    pub fn update_to(&mut self, scale: f64) {
        self.progress.clear();
        self.scale = Tensor::scalar(scale, (DType::F32, &self.device));
    }

    /// The factor, for which the device is waited for; 1 where it is not enabled.
    ///
    /// # Errors
    /// What a read can fail with.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn get_scale(&self) -> Result<f64> {
        match self.options.enabled {
            true => Ok(self.scale.item::<f32>()?.into()),
            false => Ok(1.0),
        }
    }

    /// What is needed to go on from here.
    ///
    /// # Errors
    /// What a read can fail with.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn state_dict(&self) -> Result<GradScalerState> {
        Ok(GradScalerState {
            scale: self.scale.item::<f32>()?.into(),
            growth_factor: self.options.growth_factor,
            backoff_factor: self.options.backoff_factor,
            growth_interval: self.options.growth_interval,
            growth_tracker: self.good.item::<f32>()? as u32,
        })
    }

    /// Goes on from a saved state.
    pub fn load_state_dict(&mut self, state: &GradScalerState) {
        self.options.growth_factor = state.growth_factor;
        self.options.backoff_factor = state.backoff_factor;
        self.options.growth_interval = state.growth_interval;
        self.good = Tensor::scalar(f64::from(state.growth_tracker), (DType::F32, &self.device));
        self.update_to(state.scale);
    }

    fn progress_of(&mut self, optimizer: &dyn Optimizer) -> Option<&mut Progress> {
        let params = optimizer.parameters();
        self.progress.iter_mut().find(|progress| {
            let pairs = progress.params.iter().zip(params);
            progress.params.len() == params.len() && pairs.into_iter().all(|(a, b)| a.is_same(b))
        })
    }
}

fn refused(op: &'static str, problem: &str, place: Place) -> Error {
    Error::Value {
        op,
        problem: problem.into(),
        place,
    }
}
