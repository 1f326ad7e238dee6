//! L-BFGS.

mod line_search;

use wgrad_core::{DType, Error, Place, Result, Tensor, no_grad};

use self::line_search::{Point, strong_wolfe};
use super::OptimizerState;
use super::options::{finite, not_negative};

/// How far an [`Lbfgs`] goes along a direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineSearch {
    /// `lr` times the direction.
    Fixed,
    /// To a point that fulfils the strong Wolfe conditions with 1e-4 and 0.9 (Nocedal and Wright, Numerical
    /// Optimization, algorithm 3.5), beginning with `lr` times the direction.
    StrongWolfe,
}

/// Hyperparameters of [`Lbfgs`], by default PyTorch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LbfgsOptions {
    /// The length of a step, or the first that is tried.
    pub lr: f64,
    /// Most iterations of a call of [`Lbfgs::step`].
    pub max_iter: usize,
    /// Most evaluations of a call of [`Lbfgs::step`]; by default `max_iter * 5 / 4`.
    pub max_eval: Option<usize>,
    /// A largest element of the gradient up to this is a minimum.
    pub tolerance_grad: f64,
    /// A change of loss or parameters up to this is the end of the call.
    pub tolerance_change: f64,
    /// How many steps the inverse Hessian is made of.
    pub history_size: usize,
    /// How far to go.
    pub line_search: LineSearch,
}

impl Default for LbfgsOptions {
    fn default() -> LbfgsOptions {
        LbfgsOptions {
            lr: 1.0,
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search: LineSearch::Fixed,
        }
    }
}

/// L-BFGS, Newton's method with an inverse Hessian from the last steps
/// ([Liu and Nocedal 1989](https://doi.org/10.1007/BF01589116)), as `torch.optim.LBFGS`: for small problems and full
/// batches. A step evaluates the loss several times, so that it takes a closure that forgets the gradients,
/// computes the loss and its gradients, and returns the loss. So it is no [`Optimizer`](super::Optimizer), whose steps need
/// none, and no `GradScaler` takes it (as in torch). Vectors stay on the device; each evaluation reads
/// a few numbers.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// # use wgrad_core::Tensor;
/// use wgrad_nn::optim::{Lbfgs, LbfgsOptions, LineSearch};
///
/// // Rosenbrock's function, whose minimum is at (1, 1).
/// let w = Tensor::new([-1.2, 1.0], &dev).requires_grad();
/// let options = LbfgsOptions { line_search: LineSearch::StrongWolfe, ..Default::default() };
/// let mut lbfgs = Lbfgs::new(vec![w.clone()], options);
/// for _ in 0..4 {
///     lbfgs.step(|| {
///         w.zero_grad();
///         let (x, y) = (w.slice(0..1), w.slice(1..2));
///         let loss = ((&x - 1.0).sqr() + (y - x.sqr()).sqr() * 100.0).sum();
///         loss.backward()?;
///         Ok(loss)
///     })?;
/// }
/// assert!((w.to_vec::<f32>()?[1] - 1.0).abs() < 1e-3);
/// # Ok(())
/// # }
/// ```
pub struct Lbfgs {
    params: Vec<Tensor>,
    options: LbfgsOptions,
    memory: Memory,
}

/// What is kept from step to step.
#[derive(Clone, Default)]
struct Memory {
    iterations: u64,
    evaluations: u64,
    /// The last direction, how far it was followed, and the gradient before.
    direction: Option<Tensor>,
    length: f64,
    gradient: Option<Tensor>,
    /// Changes of the gradient, changes of the parameters, and one over their products; oldest first.
    pairs: Vec<(Tensor, Tensor, f64)>,
    /// The scale of the first guess of the inverse Hessian.
    scale: f64,
}

impl Memory {
    /// Takes in the step that led to `gradient`, and gives the next direction.
    fn direction(&mut self, gradient: &Tensor, history: usize) -> Result<Tensor> {
        let (Some(direction), Some(before)) = (&self.direction, &self.gradient) else {
            self.scale = 1.0;
            return Ok(-gradient);
        };
        let y = gradient - before;
        let s = direction * self.length;
        let ys = dot(&y, &s)?;
        if ys > 1e-10 {
            self.scale = ys / dot(&y, &y)?;
            if self.pairs.len() >= history {
                let _ = self.pairs.remove(0);
            }
            if history > 0 {
                self.pairs.push((y, s, 1.0 / ys));
            }
        }
        // The two loops (Nocedal and Wright, algorithm 7.4), whose factors stay on the device.
        let mut q = -gradient;
        let mut factors = Vec::with_capacity(self.pairs.len());
        for (y, s, rho) in self.pairs.iter().rev() {
            let factor = (s * &q).sum() * *rho;
            q = q - y * &factor;
            factors.push(factor);
        }
        let mut r = q * self.scale;
        for ((y, s, rho), factor) in self.pairs.iter().zip(factors.iter().rev()) {
            let back = (y * &r).sum() * *rho;
            r = r + s * (factor - back);
        }
        Ok(r)
    }
}

impl Lbfgs {
    /// An optimizer of `params`, usually a module's `parameters()`.
    pub fn new(params: Vec<Tensor>, options: LbfgsOptions) -> Lbfgs {
        Lbfgs {
            params,
            options,
            memory: Memory::default(),
        }
    }

    /// The options.
    pub fn options(&self) -> &LbfgsOptions {
        &self.options
    }

    /// The options, to change.
    pub fn options_mut(&mut self) -> &mut LbfgsOptions {
        &mut self.options
    }

    /// The parameters.
    pub fn parameters(&self) -> &[Tensor] {
        &self.params
    }

    /// How often the loss has been evaluated.
    pub fn evaluations(&self) -> u64 {
        self.memory.evaluations
    }

    /// Forgets the gradients of all parameters.
    pub fn zero_grad(&self) {
        for param in &self.params {
            param.zero_grad();
        }
    }

    fn check(&self) -> Result<(), String> {
        let o = &self.options;
        not_negative(&[
            ("lr", o.lr),
            ("tolerance_grad", o.tolerance_grad),
            ("tolerance_change", o.tolerance_change),
        ])?;
        let dtypes = self.params.iter().map(|p| p.dtype().ok());
        if dtypes.clone().zip(dtypes.skip(1)).any(|(a, b)| a != b) {
            return Err("the parameters must be of one type".into());
        }
        Ok(())
    }

    /// Some iterations; the loss before them.
    ///
    /// # Errors
    /// [`Error::Value`] for an option out of range or parameters of several types, and what the closure fails
    /// with; then the parameters are those of before the iteration that failed.
    #[track_caller]
    pub fn step(&mut self, mut closure: impl FnMut() -> Result<Tensor>) -> Result<f64> {
        let place = Place::caller();
        self.check().map_err(|problem| Error::Value {
            op: "step",
            problem,
            place,
        })?;
        if self.params.is_empty() {
            return number(&closure()?);
        }
        place.hold(|| self.iterate(&mut closure))
    }

    fn iterate(&mut self, closure: &mut dyn FnMut() -> Result<Tensor>) -> Result<f64> {
        let options = self.options;
        let most = options.max_eval.unwrap_or(options.max_iter * 5 / 4);
        let mut here = self.evaluate(closure)?;
        let first = here.loss;
        let mut evaluations = 1;
        if largest(&here.gradient)? <= options.tolerance_grad {
            return Ok(first);
        }
        for iteration in 1..=options.max_iter {
            self.memory.iterations += 1;
            let direction =
                no_grad(|| self.memory.direction(&here.gradient, options.history_size))?;
            let (gradient, before) = (here.gradient.clone(), here.loss);
            let start = if self.memory.iterations == 1 {
                let size = number(&no_grad(|| gradient.abs().sum()))?;
                (1.0 / size).min(1.0) * options.lr
            } else {
                options.lr
            };
            self.memory.direction = Some(direction.clone().checked()?);
            self.memory.gradient = Some(gradient.clone());
            self.memory.length = start;
            let slope = dot(&gradient, &direction)?;
            if slope > -options.tolerance_change {
                break;
            }
            here.slope = slope;
            let origin: Vec<Tensor> = self.params.iter().map(Tensor::detach).collect();
            let mut used = 0;
            match options.line_search {
                LineSearch::Fixed => {
                    self.memory.length = start;
                    self.place(&origin, &direction, start)?;
                    if iteration != options.max_iter {
                        here = self.from(&origin, closure)?;
                        used = 1;
                    }
                }
                LineSearch::StrongWolfe => {
                    let budget = most.saturating_sub(evaluations);
                    let widest = largest(&direction)?;
                    let mut at = |length: f64| {
                        self.place(&origin, &direction, length)?;
                        let mut point = self.from(&origin, closure)?;
                        point.slope = dot(&point.gradient, &direction)?;
                        point.length = length;
                        used += 1;
                        Ok(point)
                    };
                    let change = options.tolerance_change;
                    let found = strong_wolfe(&mut at, &here, start, widest, change, budget)?;
                    self.place(&origin, &direction, found.length)?;
                    self.memory.length = found.length;
                    here = found;
                }
            }
            evaluations += used;
            let flat = largest(&here.gradient)? <= options.tolerance_grad;
            let moved = largest(&direction)? * self.memory.length.abs();
            if evaluations >= most
                || flat
                || moved <= options.tolerance_change
                || (here.loss - before).abs() < options.tolerance_change
            {
                break;
            }
        }
        Ok(first)
    }

    /// Loss and gradient where the parameters are.
    fn evaluate(&mut self, closure: &mut dyn FnMut() -> Result<Tensor>) -> Result<Point> {
        let loss = closure()?;
        self.memory.evaluations += 1;
        let gradient = no_grad(|| {
            let flat = self.params.iter().map(|param| match param.grad() {
                Ok(grad) => grad.detach().reshape([-1]),
                Err(_) => param.zeros_like().detach().reshape([-1]),
            });
            let flat: Vec<Tensor> = flat.collect();
            Tensor::cat(&flat, 0)
        });
        Ok(Point {
            length: 0.0,
            loss: number(&loss)?,
            gradient: gradient.checked()?,
            slope: 0.0,
        })
    }

    /// The same; where it fails, the parameters go back to `origin`.
    fn from(
        &mut self,
        origin: &[Tensor],
        closure: &mut dyn FnMut() -> Result<Tensor>,
    ) -> Result<Point> {
        self.evaluate(closure).inspect_err(|_| {
            for (param, value) in self.params.iter().zip(origin) {
                // They were the parameter's own values.
                let _ = param.assign(value);
            }
        })
    }

    /// Puts the parameters where `length` times the direction leads.
    fn place(&self, origin: &[Tensor], direction: &Tensor, length: f64) -> Result<()> {
        let mut at = 0;
        for (param, value) in self.params.iter().zip(origin) {
            let count = value.numel()?;
            let part = direction.slice(at..at + count).reshape(value.shape()?);
            at += count;
            param.assign(&no_grad(|| value + part * length))?;
        }
        Ok(())
    }

    /// The memory of this moment: vectors over all parameters, and numbers.
    ///
    /// # Errors
    /// None of the optimizer's own.
    pub fn state_dict(&self) -> Result<OptimizerState> {
        let memory = &self.memory;
        let mut state = OptimizerState::default();
        let mut vector = |name: String, value: &Tensor| state.tensors.insert(name, value.clone());
        if let (Some(direction), Some(gradient)) = (&memory.direction, &memory.gradient) {
            vector("d".into(), direction);
            vector("prev_flat_grad".into(), gradient);
        }
        for (i, (y, s, rho)) in memory.pairs.iter().enumerate() {
            vector(format!("old_dirs.{i}"), y);
            vector(format!("old_stps.{i}"), s);
            state.numbers.insert(format!("ro.{i}"), *rho);
        }
        for (name, value) in [
            ("n_iter", memory.iterations as f64),
            ("func_evals", memory.evaluations as f64),
            ("t", memory.length),
            ("H_diag", memory.scale),
        ] {
            state.numbers.insert(name.into(), value);
        }
        Ok(state)
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// [`Error::Load`] where something is missing or does not fit; then nothing has changed.
    pub fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()> {
        let number = |name: &str| match state.numbers.get(name) {
            Some(&value) => finite(&[(name, value)])
                .map(|()| value)
                .map_err(Error::Load),
            None => Err(Error::Load(format!("missing: {name}"))),
        };
        let length: usize = self
            .params
            .iter()
            .map(Tensor::numel)
            .sum::<Result<usize>>()?;
        let vector = |name: &str| match (state.tensors.get(name), self.params.first()) {
            (Some(value), Some(param)) if *value.shape()? == [length] => {
                super::descent::on_device_of(value, param)
            }
            (Some(value), _) => Err(Error::Load(format!(
                "{name} has shape {}, not [{length}]",
                value.shape()?
            ))),
            (None, _) => Err(Error::Load(format!("missing: {name}"))),
        };
        let mut memory = Memory {
            iterations: number("n_iter")? as u64,
            evaluations: number("func_evals")? as u64,
            length: number("t")?,
            scale: number("H_diag")?,
            ..Memory::default()
        };
        if memory.iterations > 0 {
            memory.direction = Some(vector("d")?);
            memory.gradient = Some(vector("prev_flat_grad")?);
        }
        let pairs = (0..).take_while(|i| state.numbers.contains_key(&format!("ro.{i}")));
        for i in pairs {
            let y = vector(&format!("old_dirs.{i}"))?;
            let s = vector(&format!("old_stps.{i}"))?;
            memory.pairs.push((y, s, number(&format!("ro.{i}"))?));
        }
        self.memory = memory;
        Ok(())
    }
}

fn number(x: &Tensor) -> Result<f64> {
    match x.dtype()? {
        DType::F64 => x.item::<f64>(),
        _ => Ok(f64::from(x.to_dtype(DType::F32).item::<f32>()?)),
    }
}

fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    number(&no_grad(|| (a * b).sum()))
}

fn largest(x: &Tensor) -> Result<f64> {
    if x.numel()? == 0 {
        return Ok(0.0);
    }
    number(&no_grad(|| x.abs().max()))
}
