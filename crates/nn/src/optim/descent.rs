//! What all optimizers share: groups, step counts, saving and loading.

use wgrad_core::{Coefficients, Error, Place, Result, Tensor, UpdateRule, Updater};

use super::{Optimizer, OptimizerState};

/// Parameters with hyperparameters of their own.
#[derive(Clone)]
pub struct Group<O> {
    /// The parameters.
    pub params: Vec<Tensor>,
    /// Their hyperparameters.
    pub options: O,
}

/// The hyperparameters of a kind of optimizer: the options structs implement this.
pub trait Hyperparameters: Clone {
    /// The names of the moments in saved states, in the updater's order.
    #[doc(hidden)]
    fn moments(rule: UpdateRule) -> &'static [&'static str];
    /// The rule, if every number is in range; otherwise what is wrong.
    #[doc(hidden)]
    fn rule(&self) -> Result<UpdateRule, String>;
    /// Whether a group of this rule can be updated by an updater of that one.
    #[doc(hidden)]
    fn fits(own: UpdateRule, updater: UpdateRule) -> bool {
        own == updater
    }
    /// The kernel's numbers for a parameter's update number `step`, from 1.
    #[doc(hidden)]
    fn coefficients(&self, step: u64) -> Coefficients;
    /// The learning rate.
    #[doc(hidden)]
    fn lr(&mut self) -> &mut f64;
    /// Every hyperparameter by name, for saved states.
    #[doc(hidden)]
    fn numbers(&self) -> Vec<(&'static str, f64)>;
    /// Sets a hyperparameter by name. False if there is none of that name.
    #[doc(hidden)]
    fn set_number(&mut self, name: &str, value: f64) -> bool;
}

/// An optimizer over groups of parameters: [`Adam`](super::Adam), [`AdamW`](super::AdamW) and
/// [`Sgd`](super::Sgd) are this with their options.
///
/// Making one never fails; [`step`](Optimizer::step) tells what is wrong with the options.
pub struct Descent<O> {
    updater: Updater,
    /// The options of each group.
    groups: Vec<O>,
    /// The group of each parameter.
    group_of: Vec<usize>,
    /// How often each parameter has been updated.
    steps: Vec<u64>,
    /// What the updater was made for.
    rule: Result<UpdateRule, String>,
}

impl<O: Hyperparameters> Descent<O> {
    /// An optimizer of `params`, usually a module's `parameters()`.
    pub fn new(params: Vec<Tensor>, options: O) -> Descent<O> {
        Descent::with_groups(vec![Group { params, options }])
    }

    /// An optimizer of several groups with their own hyperparameters, updated by one kernel. What
    /// the kernel's form depends on (`nesterov`, `amsgrad`, `maximize`) must be the same in all
    /// groups.
    pub fn with_groups(groups: Vec<Group<O>>) -> Descent<O> {
        let mut params: Vec<Tensor> = Vec::new();
        let (mut options, mut group_of) = (Vec::new(), Vec::new());
        let mut twice = false;
        for (i, group) in groups.into_iter().enumerate() {
            for param in group.params {
                twice |= params.iter().any(|p| p.is_same(&param));
                params.push(param);
                group_of.push(i);
            }
            options.push(group.options);
        }
        let rule = if twice {
            Err("a parameter is given twice".into())
        } else {
            common_rule(&options)
        };
        let mut optimizer = Descent {
            updater: Updater::new(NO_RULE, Vec::new()),
            steps: vec![0; params.len()],
            groups: options,
            group_of,
            rule,
        };
        optimizer.renew(params);
        optimizer
    }

    /// The hyperparameters of each group.
    pub fn groups(&self) -> &[O] {
        &self.groups
    }

    /// The hyperparameters of each group, to change.
    pub fn groups_mut(&mut self) -> &mut [O] {
        &mut self.groups
    }

    /// How often each parameter has been updated.
    pub fn steps(&self) -> &[u64] {
        &self.steps
    }

    /// A new updater of the same rule, without moments.
    fn renew(&mut self, params: Vec<Tensor>) {
        let rule = *self.rule.as_ref().unwrap_or(&NO_RULE);
        self.updater = Updater::new(rule, params);
    }

    /// The rule, if all options are valid and still fit it.
    fn checked_rule(&mut self) -> Result<UpdateRule, String> {
        if self.rule.is_err() && self.steps.iter().all(|&n| n == 0) && !self.has_duplicates() {
            // Options that were wrong at first may have been mended.
            self.rule = common_rule(&self.groups);
            self.renew(self.updater.params().to_vec());
        }
        let rule = self.rule.clone()?;
        for options in &self.groups {
            if !O::fits(options.rule()?, rule) {
                return Err(
                    "momentum, nesterov, amsgrad and maximize must be the same in all groups and \
                     cannot be switched on later; make a new optimizer"
                        .into(),
                );
            }
        }
        Ok(rule)
    }

    fn has_duplicates(&self) -> bool {
        let params = self.updater.params();
        (1..params.len()).any(|i| params[..i].iter().any(|p| p.is_same(&params[i])))
    }
}

/// Stands in where the options are wrong; never applied.
const NO_RULE: UpdateRule = UpdateRule::Sgd {
    momentum: false,
    nesterov: false,
    maximize: false,
};

/// The one rule that updates all groups.
fn common_rule<O: Hyperparameters>(groups: &[O]) -> Result<UpdateRule, String> {
    let mut rules = Vec::with_capacity(groups.len());
    for options in groups {
        rules.push(options.rule()?);
    }
    let all_fit = |rule: &&UpdateRule| rules.iter().all(|own| O::fits(*own, **rule));
    match rules.iter().find(all_fit) {
        Some(rule) => Ok(*rule),
        None if rules.is_empty() => Ok(NO_RULE),
        None => Err("nesterov, amsgrad and maximize must be the same in all groups".into()),
    }
}

impl<O: Hyperparameters> Optimizer for Descent<O> {
    #[track_caller]
    fn step(&mut self) -> Result<()> {
        let place = Place::caller();
        self.checked_rule().map_err(|problem| Error::Value {
            op: "step",
            problem,
            place,
        })?;
        let params = self.updater.params().iter();
        let updated: Vec<bool> = params.map(|p| p.grad().is_ok()).collect();
        let (groups, group_of, steps) = (&self.groups, &self.group_of, &self.steps);
        let updater = &mut self.updater;
        place.hold(|| updater.step(|i| groups[group_of[i]].coefficients(steps[i] + 1)))?;
        for (count, _) in self.steps.iter_mut().zip(updated).filter(|(_, done)| *done) {
            *count += 1;
        }
        Ok(())
    }

    fn zero_grad(&self) {
        for param in self.updater.params() {
            param.zero_grad();
        }
    }

    fn parameters(&self) -> &[Tensor] {
        self.updater.params()
    }

    fn lr(&self) -> f64 {
        self.groups.first().map_or(0.0, |o| *o.clone().lr())
    }

    fn set_lr(&mut self, lr: f64) {
        for options in &mut self.groups {
            *options.lr() = lr;
        }
    }

    fn state_dict(&self) -> Result<OptimizerState> {
        let mut state = OptimizerState::default();
        for (g, options) in self.groups.iter().enumerate() {
            for (name, value) in options.numbers() {
                state.numbers.insert(format!("groups.{g}.{name}"), value);
            }
        }
        let names = self.rule.as_ref().map_or(&[][..], |&rule| O::moments(rule));
        for (i, &steps) in self.steps.iter().enumerate().filter(|(_, n)| **n > 0) {
            state.numbers.insert(format!("{i}.step"), steps as f64);
            let moments = self.updater.states(i)?.unwrap_or_default();
            for (name, moment) in names.iter().zip(moments) {
                state.tensors.insert(format!("{i}.{name}"), moment);
            }
        }
        Ok(state)
    }

    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<()> {
        let (groups, steps) = self.saved_numbers(state)?;
        let rule = common_rule(&groups).map_err(Error::Load)?;
        let names = O::moments(rule);
        let mut updater = Updater::new(rule, self.updater.params().to_vec());
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
        self.rule = Ok(rule);
        self.groups = groups;
        self.steps = steps;
        Ok(())
    }
}

impl<O: Hyperparameters> Descent<O> {
    /// The groups and step counts of a saved state.
    fn saved_numbers(&self, state: &OptimizerState) -> Result<(Vec<O>, Vec<u64>)> {
        let mut groups = self.groups.clone();
        let mut steps = vec![0; self.steps.len()];
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
        Ok((groups, steps))
    }
}

/// A moment where its parameter is.
fn on_device_of(moment: &Tensor, param: &Tensor) -> Result<Tensor> {
    #[cfg(not(target_arch = "wasm32"))]
    if moment.device() != param.device() {
        return moment.to_device(param.device());
    }
    let _ = param;
    moment.clone().checked()
}

/// What is wrong with a number that must be finite and at least 0.
pub(super) fn not_negative(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(format!("{name} must be finite and at least 0, not {value}"))
    }
}
