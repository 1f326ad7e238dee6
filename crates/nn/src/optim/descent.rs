//! What all optimizers share: groups, step counts, saving and loading.

use wgrad_core::{
    Coefficients, Error, Formula, Number, Place, Result, Tensor, UpdateRule, Updater,
};

use super::clock::Clocks;
use super::options::Named;
use super::quantity::Quantity;
use super::{Optimizer, OptimizerState};

/// Parameters with hyperparameters of their own.
#[derive(Clone)]
pub struct Group<O> {
    /// The parameters.
    pub params: Vec<Tensor>,
    /// Their hyperparameters.
    pub options: O,
}

/// A kind of elementwise optimizer: its options implement this, and [`Descent`] does the rest. What an
/// optimizer of your own needs is a struct of options, its formula and the numbers of a step:
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::{Coefficients, Formula, Number, Tensor, UpdateRule};
/// use wgrad_nn::optim::{Descent, Hyperparameters, Named, Optimizer, Quantity};
///
/// /// p = p - lr sign(grad)
/// #[derive(Clone, Copy)]
/// struct Sign;
/// impl Formula<0, 1> for Sign {
///     fn apply<X: Number>(self, p: X, g: X, []: [X; 0], [lr]: [X; 1]) -> (X, [X; 0]) {
///         (p - lr * g.sign(), [])
///     }
/// }
///
/// #[derive(Clone)]
/// struct SignOptions { lr: f64 }
///
/// impl Named for SignOptions {
///     fn numbers(&self, each: &mut dyn FnMut(&str, f64)) { each("lr", self.lr) }
///     fn set_number(&mut self, name: &str, value: f64) -> bool {
///         if name == "lr" { self.lr = value; }
///         name == "lr"
///     }
/// }
/// impl Hyperparameters for SignOptions {
///     type Form = ();
///     fn check(&self) -> Result<(), String> { Ok(()) }
///     fn form(&self) {}
///     fn rule(_: ()) -> UpdateRule { UpdateRule::new("sign", [], Sign) }
///     fn coefficients<X: Quantity>(&self, step: X, _kept: &mut [X]) -> Coefficients<X> {
///         Coefficients::from_iter([step.constant(self.lr)])
///     }
/// }
///
/// let w = Tensor::new([1.0, 2.0], &dev).requires_grad();
/// let mut sign = Descent::new(vec![w.clone()], SignOptions { lr: 0.5 });
/// (&w * Tensor::new([3.0, -4.0], &dev)).sum().backward()?;
/// sign.step()?;
/// assert_eq!(w.to_vec::<f32>()?, [0.5, 2.5]);
/// # Ok(())
/// # }
/// ```
pub trait Hyperparameters: Named + Clone {
    /// What the formula depends on besides numbers (`nesterov`, `amsgrad`).
    type Form: Copy + PartialEq;

    /// Numbers that are kept for each parameter besides its states: their names in saved states, and what they
    /// are before the first step.
    const KEPT: &'static [(&'static str, f64)] = &[];

    /// What is wrong with the numbers, naming the option, if anything is.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<(), String>;

    /// What the formula depends on.
    fn form(&self) -> Self::Form;

    /// Whether a group of this form can be updated by the rule of that one.
    fn fits(own: Self::Form, common: Self::Form) -> bool {
        own == common
    }

    /// The formula.
    fn rule(form: Self::Form) -> UpdateRule;

    /// The formula's numbers for a parameter's update number `step`, from 1. `kept` are those of
    /// [`KEPT`](Hyperparameters::KEPT), which become the next step's.
    fn coefficients<X: Quantity>(&self, step: X, kept: &mut [X]) -> Coefficients<X>;
}

/// What gradients are multiplied by to ascend, or to descend.
pub(super) fn sign(maximize: bool) -> f64 {
    if maximize { -1.0 } else { 1.0 }
}

/// An elementwise optimizer over groups of parameters: [`Adam`](super::Adam), [`Sgd`](super::Sgd) and most
/// others are this with their options.
///
/// Making one never fails; [`step`](Optimizer::step) tells what is wrong with the options.
pub struct Descent<O: Hyperparameters> {
    updater: Updater,
    /// The options of each group.
    groups: Vec<O>,
    /// The group of each parameter.
    group_of: Vec<usize>,
    /// How often each parameter has been updated.
    steps: Vec<u64>,
    /// The numbers that are kept, parameter after parameter.
    kept: Vec<f64>,
    /// Both, where only the device knows them since the last step that it decided on.
    clocks: Option<Clocks>,
    /// What the updater was made for.
    form: Result<O::Form, String>,
    /// Whether a parameter is given twice.
    twice: bool,
}

impl<O: Hyperparameters> Descent<O> {
    /// An optimizer of `params`, usually a module's `parameters()`.
    pub fn new(params: Vec<Tensor>, options: O) -> Descent<O> {
        Descent::with_groups(vec![Group { params, options }])
    }

    /// An optimizer of several groups with their own hyperparameters, updated by one kernel. What
    /// the kernel's form depends on (`nesterov`, `amsgrad`) must be the same in all groups.
    pub fn with_groups(groups: Vec<Group<O>>) -> Descent<O> {
        let mut optimizer = Descent {
            updater: Updater::new(no_rule(), Vec::new()),
            groups: Vec::new(),
            group_of: Vec::new(),
            steps: Vec::new(),
            kept: Vec::new(),
            clocks: None,
            form: Err(String::new()),
            twice: false,
        };
        let mut params = Vec::new();
        for group in groups {
            optimizer.take(group, &mut params);
        }
        optimizer.renew(params);
        optimizer
    }

    /// Adds parameters that begin to be updated now, with step counts of their own. The states of the others stay.
    ///
    /// ```
    /// # fn main() -> wgrad_core::Result<()> {
    /// # let dev = wgrad_core::Device::new(
    /// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
    /// use wgrad_core::Tensor;
    /// use wgrad_nn::optim::{Group, Optimizer, Sgd, SgdOptions};
    ///
    /// let head = Tensor::scalar(1.0, &dev).requires_grad();
    /// let mut sgd = Sgd::new(vec![head.clone()], SgdOptions { lr: 0.1, ..Default::default() });
    /// // Later the body thaws.
    /// let body = Tensor::scalar(2.0, &dev).requires_grad();
    /// let options = SgdOptions { lr: 0.01, ..Default::default() };
    /// sgd.add_group(Group { params: vec![body.clone()], options })?;
    /// (&head * &body).backward()?;
    /// sgd.step()?;
    /// assert_eq!((head.item::<f32>()?, body.item::<f32>()?), (0.8, 1.99));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What copying the states can fail with; then nothing has changed. What is wrong with the group is told by
    /// [`step`](Optimizer::step).
    pub fn add_group(&mut self, group: Group<O>) -> Result<()> {
        self.updater.extend(group.params.clone())?;
        let mut known = self.updater.params()[..self.steps.len()].to_vec();
        self.take(group, &mut known);
        if self.form.is_err() {
            self.renew(known);
        }
        Ok(())
    }

    /// Notes a group; its parameters go behind `params`.
    fn take(&mut self, group: Group<O>, params: &mut Vec<Tensor>) {
        self.group_of
            .extend(group.params.iter().map(|_| self.groups.len()));
        self.groups.push(group.options);
        self.steps.resize(self.group_of.len(), 0);
        let fresh = || O::KEPT.iter().map(|(_, initial)| *initial);
        self.kept.extend(group.params.iter().flat_map(|_| fresh()));
        if let Some(clocks) = &mut self.clocks {
            let kept: Vec<f64> = fresh().collect();
            group
                .params
                .iter()
                .for_each(|param| clocks.add(param.device(), &kept));
        }
        for param in group.params {
            self.twice |= params.iter().any(|known| known.is_same(&param));
            params.push(param);
        }
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
        Ok(self.counts()?.0)
    }

    /// The step counts and the kept numbers of all parameters.
    fn counts(&self) -> Result<(Vec<u64>, Vec<f64>)> {
        match &self.clocks {
            Some(clocks) => clocks.read(),
            None => Ok((self.steps.clone(), self.kept.clone())),
        }
    }

    /// Reads the counts that only the device knows.
    fn settle(&mut self) -> Result<()> {
        (self.steps, self.kept) = self.counts()?;
        self.clocks = None;
        Ok(())
    }

    /// Whether a step can be made, and which parameters have gradients; `None` without any group.
    fn begin(&mut self, place: Place) -> Result<Option<Vec<bool>>> {
        if self.groups.is_empty() {
            return Ok(None);
        }
        self.check().map_err(|problem| Error::Value {
            op: "step",
            problem,
            place,
        })?;
        let params = self.updater.params().iter();
        Ok(Some(params.map(|p| p.grad().is_ok()).collect()))
    }

    /// A new updater for what the options say, without states.
    fn renew(&mut self, params: Vec<Tensor>) {
        self.form = common_form(&self.groups);
        let rule = self
            .form
            .as_ref()
            .map_or_else(|_| no_rule(), |&form| O::rule(form));
        self.updater = Updater::new(rule, params);
    }

    /// Whether all options are valid and fit the updater.
    fn check(&mut self) -> Result<(), String> {
        if self.twice {
            return Err("a parameter is given twice".into());
        }
        if self.form.is_err() && self.steps.iter().all(|&n| n == 0) {
            // Options that were wrong at first may have been mended.
            self.renew(self.updater.params().to_vec());
        }
        let form = self.form.clone()?;
        for options in &self.groups {
            options.check()?;
            if !O::fits(options.form(), form) {
                return Err(
                    "momentum, nesterov, amsgrad and the like must be the same in all groups \
                     and cannot be switched on later; make a new optimizer"
                        .into(),
                );
            }
        }
        Ok(())
    }
}

/// Stands in where the options are wrong; never applied.
fn no_rule() -> UpdateRule {
    UpdateRule::new("none", [], Nothing)
}

#[derive(Clone, Copy)]
struct Nothing;

impl Formula<0, 0> for Nothing {
    fn apply<X: Number>(self, p: X, _: X, []: [X; 0], []: [X; 0]) -> (X, [X; 0]) {
        (p, [])
    }
}

/// The one form that updates all groups.
fn common_form<O: Hyperparameters>(groups: &[O]) -> Result<O::Form, String> {
    for options in groups {
        options.check()?;
    }
    let forms: Vec<O::Form> = groups.iter().map(O::form).collect();
    let all_fit = |form: &&O::Form| forms.iter().all(|&own| O::fits(own, **form));
    match forms.iter().find(all_fit) {
        Some(form) => Ok(*form),
        None if forms.is_empty() => Err("there are no groups".into()),
        None => Err("nesterov, amsgrad and the like must be the same in all groups".into()),
    }
}

impl<O: Hyperparameters> Optimizer for Descent<O> {
    #[track_caller]
    fn step(&mut self) -> Result<()> {
        let place = Place::caller();
        let Some(updated) = self.begin(place)? else {
            return Ok(());
        };
        self.settle()?;
        let (groups, group_of, steps) = (&self.groups, &self.group_of, &self.steps);
        let (updater, each) = (&mut self.updater, O::KEPT.len());
        let mut kept = self.kept.clone();
        place.hold(|| {
            updater.step(|i| {
                let kept = &mut kept[i * each..(i + 1) * each];
                groups[group_of[i]].coefficients((steps[i] + 1) as f64, kept)
            })
        })?;
        self.kept = kept;
        for (count, _) in self.steps.iter_mut().zip(updated).filter(|(_, done)| *done) {
            *count += 1;
        }
        Ok(())
    }

    #[track_caller]
    fn step_unless(&mut self, skip: &Tensor) -> Result<()> {
        let place = Place::caller();
        let Some(updated) = self.begin(place)? else {
            return Ok(());
        };
        let Some(device) = self.updater.params().first().map(|p| p.device().clone()) else {
            return Ok(());
        };
        let (groups, group_of) = (&self.groups, &self.group_of);
        let known = || Clocks::new(&device, &self.steps, &self.kept, O::KEPT.len());
        let clocks = self.clocks.take().unwrap_or_else(known);
        let updater = &mut self.updater;
        let after = place.hold(|| {
            let tick = clocks.tick(skip, group_of, &updated, |group, step, kept| {
                groups[group].coefficients(step, kept).into_vec()
            })?;
            updater.step_unless(skip, &tick.sets, |i| tick.set_of[i])?;
            Ok(tick.after)
        });
        match after {
            Ok(after) => {
                self.clocks = Some(after);
                Ok(())
            }
            Err(error) => {
                self.clocks = Some(clocks);
                Err(error)
            }
        }
    }

    fn zero_grad(&self) {
        for param in self.updater.params() {
            param.zero_grad();
        }
    }

    fn parameters(&self) -> &[Tensor] {
        self.updater.params()
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
        let rule = self.updater.rule().clone();
        let (steps, kept) = self.counts()?;
        for (i, &steps) in steps.iter().enumerate().filter(|(_, n)| **n > 0) {
            state.numbers.insert(format!("{i}.step"), steps as f64);
            let kept = &kept[i * O::KEPT.len()..];
            for ((name, _), value) in O::KEPT.iter().zip(kept) {
                state.numbers.insert(format!("{i}.{name}"), *value);
            }
            let moments = self.updater.states(i)?.unwrap_or_default();
            for (name, moment) in rule.states().iter().zip(moments) {
                state.tensors.insert(format!("{i}.{name}"), moment);
            }
        }
        Ok(state)
    }

    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()> {
        let Saved {
            groups,
            steps,
            kept,
        } = self.saved_numbers(state)?;
        let form = common_form(&groups).map_err(Error::Load)?;
        let rule = O::rule(form);
        let names = rule.states();
        let mut updater = Updater::new(rule.clone(), self.updater.params().to_vec());
        let mut used = 0;
        for (i, _) in steps.iter().enumerate().filter(|(_, n)| **n > 0) {
            let param = &self.updater.params()[i];
            let mut moments = Vec::with_capacity(names.len());
            for name in names {
                let full = format!("{i}.{name}");
                let Some(moment) = state.tensors.get(&full) else {
                    return Err(Error::Load(format!("missing: {full}")));
                };
                moments.push(on_device_of(moment, param)?);
            }
            used += moments.len();
            let in_parameter = |e| Error::Load(format!("parameter {i}: {e}"));
            updater.set_states(i, moments).map_err(in_parameter)?;
        }
        if used != state.tensors.len() {
            let known = |name: &str| {
                names.iter().any(|moment| {
                    let position = name.strip_suffix(moment).and_then(|p| p.strip_suffix('.'));
                    let position = position.and_then(|p| p.parse::<usize>().ok());
                    position.is_some_and(|i| steps.get(i).is_some_and(|&n| n > 0))
                })
            };
            let unknown: Vec<&str> = state.tensors.keys().map(String::as_str).collect();
            let unknown: Vec<&str> = unknown.into_iter().filter(|name| !known(name)).collect();
            return Err(Error::Load(format!("unexpected: {}", unknown.join(", "))));
        }
        self.updater = updater;
        self.form = Ok(form);
        self.groups = groups;
        self.steps = steps;
        self.kept = kept;
        self.clocks = None;
        Ok(())
    }
}

impl<O: Hyperparameters> Descent<O> {
    /// The groups and step counts of a saved state.
    fn saved_numbers(&self, state: &OptimizerState) -> Result<Saved<O>> {
        let mut groups = self.groups.clone();
        let mut steps = vec![0; self.steps.len()];
        let fresh = || O::KEPT.iter().map(|(_, initial)| *initial);
        let mut kept: Vec<f64> = steps.iter().flat_map(|_| fresh()).collect();
        for (name, &value) in &state.numbers {
            let mut parts = name.split('.');
            let known = match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("groups"), Some(g), Some(option), None) => {
                    let group = g.parse().ok().and_then(|g: usize| groups.get_mut(g));
                    group.is_some_and(|group| group.set_number(option, value))
                }
                (Some(i), Some("step"), None, None) => {
                    let step = i.parse().ok().and_then(|i: usize| steps.get_mut(i));
                    let whole = value >= 0.0 && value.fract() == 0.0 && value <= 2f64.powi(53);
                    step.filter(|_| whole)
                        .map(|step| *step = value as u64)
                        .is_some()
                }
                (Some(i), Some(name), None, None) => {
                    let of = O::KEPT.iter().position(|(own, _)| *own == name);
                    let i = i.parse().ok().filter(|i: &usize| *i < steps.len());
                    let at = of.zip(i).map(|(of, i)| i * O::KEPT.len() + of);
                    at.map(|at| kept[at] = value).is_some()
                }
                _ => false,
            };
            if !known {
                return Err(Error::Load(format!(
                    "unexpected: {name} = {value}, for {} groups and {} parameters",
                    groups.len(),
                    steps.len()
                )));
            }
        }
        Ok(Saved {
            groups,
            steps,
            kept,
        })
    }
}

/// The numbers of a saved state.
struct Saved<O> {
    groups: Vec<O>,
    steps: Vec<u64>,
    kept: Vec<f64>,
}

/// A moment where its parameter is.
pub(super) fn on_device_of(moment: &Tensor, param: &Tensor) -> Result<Tensor> {
    #[cfg(not(target_arch = "wasm32"))]
    if moment.device() != param.device() {
        return moment.to_device(param.device());
    }
    let _ = param;
    moment.clone().checked()
}
