//! Optimizers that look at a parameter as a whole: its norm, its rows and columns.

use wgrad_core::{Error, Place, Result, Tensor, no_grad};

use super::clock::Clocks;
use super::descent::Group;
use super::options::Named;
use super::quantity::Quantity;
use super::{Optimizer, OptimizerState};

/// A kind of optimizer whose step of a parameter is written in tensor operations: its options implement this, and
/// [`Layerwise`] does the rest. Fusion makes few kernels of the operations.
pub trait LayerwiseRule: Named + Clone {
    /// What is wrong with the numbers, naming the option, if anything is.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<(), String>;

    /// What is wrong with a parameter of this shape, if anything is.
    ///
    /// # Errors
    /// What is wrong.
    fn takes(&self, _shape: &[usize]) -> Result<(), String> {
        Ok(())
    }

    /// Names and shapes of what is kept for a parameter of this shape; zero before the first step.
    fn states(&self, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)>;

    /// Update number `step`, from 1: the new parameter and the new states.
    fn update<X: Quantity>(
        &self,
        step: X,
        p: &Tensor,
        g: &Tensor,
        states: &[Tensor],
    ) -> (Tensor, Vec<Tensor>);
}

/// An optimizer over groups of parameters that updates each as a whole: [`Lamb`](super::Lamb),
/// [`Muon`](super::Muon) and [`Adafactor`](super::Adafactor) are this with their options.
///
/// Making one never fails; [`step`](Optimizer::step) tells what is wrong with the options.
pub struct Layerwise<O> {
    params: Vec<Tensor>,
    groups: Vec<O>,
    group_of: Vec<usize>,
    steps: Vec<u64>,
    /// The same, where only the device knows since the last step that it decided on.
    clocks: Option<Clocks>,
    /// Empty before a parameter's first step.
    states: Vec<Vec<Tensor>>,
    /// Whether a parameter is given twice.
    twice: bool,
}

impl<O: LayerwiseRule> Layerwise<O> {
    /// An optimizer of `params`, usually a module's `parameters()`.
    pub fn new(params: Vec<Tensor>, options: O) -> Layerwise<O> {
        Layerwise::with_groups(vec![Group { params, options }])
    }

    /// An optimizer of several groups with their own hyperparameters.
    pub fn with_groups(groups: Vec<Group<O>>) -> Layerwise<O> {
        let mut optimizer = Layerwise {
            params: Vec::new(),
            groups: Vec::new(),
            group_of: Vec::new(),
            steps: Vec::new(),
            clocks: None,
            states: Vec::new(),
            twice: false,
        };
        for group in groups {
            optimizer.add_group(group);
        }
        optimizer
    }

    /// Adds parameters that begin to be updated now.
    pub fn add_group(&mut self, group: Group<O>) {
        for param in group.params {
            let param_device = &param.device().clone();
            self.twice |= self.params.iter().any(|known| known.is_same(&param));
            self.params.push(param);
            self.group_of.push(self.groups.len());
            self.steps.push(0);
            self.states.push(Vec::new());
            if let Some(clocks) = &mut self.clocks {
                clocks.add(param_device, &[]);
            }
        }
        self.groups.push(group.options);
    }

    /// The hyperparameters of each group.
    pub fn groups(&self) -> &[O] {
        &self.groups
    }

    /// The hyperparameters of each group, to change.
    pub fn groups_mut(&mut self) -> &mut [O] {
        &mut self.groups
    }

    /// How often each parameter has been updated. After [`step_unless`](Optimizer::step_unless) the device is asked.
    ///
    /// # Errors
    /// What a read can fail with.
    pub fn steps(&self) -> Result<Vec<u64>> {
        match &self.clocks {
            Some(clocks) => Ok(clocks.read()?.0),
            None => Ok(self.steps.clone()),
        }
    }

    /// Reads the counts that only the device knows.
    fn settle(&mut self) -> Result<()> {
        self.steps = self.steps()?;
        self.clocks = None;
        Ok(())
    }

    /// What is wrong with options and parameters.
    fn check(&self) -> Result<(), String> {
        for options in &self.groups {
            options.check()?;
        }
        if self.twice {
            return Err("a parameter is given twice".into());
        }
        for (i, param) in self.params.iter().enumerate() {
            if let Ok(shape) = param.shape() {
                let wrong = |problem| format!("parameter {i}: {problem}");
                self.groups[self.group_of[i]].takes(&shape).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// The states of a parameter: those of the last step, or zeros.
    fn states_of(&self, i: usize) -> Result<Vec<Tensor>> {
        if !self.states[i].is_empty() {
            return Ok(self.states[i].clone());
        }
        let param = &self.params[i];
        let (shape, target) = (param.shape()?, (param.dtype()?, param.device()));
        let states = self.groups[self.group_of[i]].states(&shape);
        let zeros = |(_, shape): (&str, Vec<usize>)| Tensor::zeros(shape, target);
        Ok(states.into_iter().map(zeros).collect())
    }
}

impl<O: LayerwiseRule> Layerwise<O> {
    /// Gives the parameters with gradients and their states new values: `update` makes them of options, position,
    /// parameter, gradient and states. Returns the positions.
    fn advance(
        &mut self,
        place: Place,
        update: impl Fn(&O, usize, &Tensor, &Tensor, &[Tensor]) -> (Tensor, Vec<Tensor>),
    ) -> Result<Vec<usize>> {
        self.check().map_err(|problem| Error::Value {
            op: "step",
            problem,
            place,
        })?;
        let Some(device) = self.params.first().map(|p| p.device().clone()) else {
            return Ok(Vec::new());
        };
        let mut results = Vec::new();
        place.hold(|| {
            no_grad(|| {
                for (i, param) in self.params.iter().enumerate() {
                    let Ok(grad) = param.grad() else {
                        // A variable takes its own value; what has failed, or is none, does not.
                        param.assign(&param.detach())?;
                        continue;
                    };
                    let options = &self.groups[self.group_of[i]];
                    let states = self.states_of(i)?;
                    let (p, states) = update(options, i, &param.detach(), &grad.detach(), &states);
                    let states = states.into_iter().map(Tensor::checked);
                    results.push((i, p.checked()?, states.collect::<Result<Vec<_>>>()?));
                }
                Ok(())
            })
        })?;
        // Runs all of it, so that what fails does so before the first parameter changes.
        device.flush()?;
        let mut updated = Vec::with_capacity(results.len());
        for (i, p, states) in results {
            self.params[i].assign(&p)?;
            self.states[i] = states;
            updated.push(i);
        }
        Ok(updated)
    }
}

impl<O: LayerwiseRule> Optimizer for Layerwise<O> {
    #[track_caller]
    fn step(&mut self) -> Result<()> {
        let place = Place::caller();
        self.settle()?;
        let steps = self.steps.clone();
        let updated = self.advance(place, |options, i, p, g, states| {
            options.update((steps[i] + 1) as f64, p, g, states)
        })?;
        for i in updated {
            self.steps[i] += 1;
        }
        Ok(())
    }

    #[track_caller]
    fn step_unless(&mut self, skip: &Tensor) -> Result<()> {
        let place = Place::caller();
        let Some(device) = self.params.first().map(|p| p.device().clone()) else {
            return Ok(());
        };
        let updated: Vec<bool> = self.params.iter().map(|p| p.grad().is_ok()).collect();
        let known = || Clocks::new(&device, &self.steps, &[], 0);
        let clocks = self.clocks.take().unwrap_or_else(known);
        let after =
            place.hold(|| clocks.tick(skip, &self.group_of, &updated, |_, _, _| Vec::new()));
        let stay = skip.ne(0).reshape(());
        let made = after.and_then(|tick| {
            self.advance(place, |options, i, p, g, states| {
                let step = clocks.steps_of(i) + 1;
                let (new, kept) = options.update(step, p, g, states);
                let kept = states
                    .iter()
                    .zip(&kept)
                    .map(|(old, new)| stay.where_cond(old, new));
                (stay.where_cond(p, new), kept.collect())
            })?;
            Ok(tick.after)
        });
        let (clocks, result) = match made {
            Ok(after) => (after, Ok(())),
            Err(error) => (clocks, Err(error)),
        };
        self.clocks = Some(clocks);
        result
    }

    fn zero_grad(&self) {
        for param in &self.params {
            param.zero_grad();
        }
    }

    fn parameters(&self) -> &[Tensor] {
        &self.params
    }

    fn group_count(&self) -> usize {
        self.groups.len()
    }

    fn hyperparameter(&self, group: usize, name: &str) -> Option<f64> {
        self.groups.get(group)?.number(name)
    }

    fn set_hyperparameter(&mut self, group: usize, name: &str, value: f64) -> bool {
        let options = self.groups.get_mut(group);
        options.is_some_and(|options| options.set_number(name, value))
    }

    fn state_dict(&self) -> Result<OptimizerState> {
        let mut state = OptimizerState::default();
        for (g, options) in self.groups.iter().enumerate() {
            options.numbers(&mut |name, value| {
                state.numbers.insert(format!("groups.{g}.{name}"), value);
            });
        }
        for (i, &steps) in self.steps()?.iter().enumerate().filter(|(_, n)| **n > 0) {
            state.numbers.insert(format!("{i}.step"), steps as f64);
            let options = &self.groups[self.group_of[i]];
            let names = options.states(&self.params[i].shape()?);
            for ((name, _), kept) in names.iter().zip(&self.states[i]) {
                state.tensors.insert(format!("{i}.{name}"), kept.clone());
            }
        }
        Ok(state)
    }

    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()> {
        let mut numbers = state.numbers.clone();
        let mut groups = self.groups.clone();
        for (g, options) in groups.iter_mut().enumerate() {
            let mut names = Vec::new();
            options.numbers(&mut |name, _| names.push(name.to_string()));
            for name in names {
                if let Some(value) = numbers.remove(&format!("groups.{g}.{name}")) {
                    options.set_number(&name, value);
                }
            }
            options.check().map_err(Error::Load)?;
        }
        let mut steps = vec![0; self.steps.len()];
        let mut states = vec![Vec::new(); self.steps.len()];
        let mut tensors = state.tensors.clone();
        for (i, param) in self.params.iter().enumerate() {
            let Some(step) = numbers.remove(&format!("{i}.step")) else {
                continue;
            };
            if !(step >= 1.0 && step.fract() == 0.0 && step <= 2f64.powi(53)) {
                return Err(Error::Load(format!("{i}.step is {step}")));
            }
            steps[i] = step as u64;
            for (name, shape) in groups[self.group_of[i]].states(&param.shape()?) {
                let full = format!("{i}.{name}");
                let Some(kept) = tensors.remove(&full) else {
                    return Err(Error::Load(format!("missing: {full}")));
                };
                if *kept.shape()? != *shape || kept.dtype()? != param.dtype()? {
                    let found = kept.shape()?;
                    let problem = format!("{full} has shape {found}, not {shape:?}");
                    return Err(Error::Load(problem));
                }
                states[i].push(super::descent::on_device_of(&kept, param)?);
            }
        }
        let left = numbers.keys().chain(tensors.keys()).next();
        if let Some(name) = left {
            return Err(Error::Load(format!("unexpected: {name}")));
        }
        self.groups = groups;
        self.steps = steps;
        self.clocks = None;
        self.states = states;
        Ok(())
    }
}
