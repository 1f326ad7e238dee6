//! Options of optimizers: their definition, their numbers by name, and what may be in them.

/// Hyperparameters by name: what saved states hold and schedules change.
pub trait Named {
    /// Calls `each` with the name and the value of every hyperparameter, truth values as 0 and 1.
    fn numbers(&self, each: &mut dyn FnMut(&str, f64));

    /// Sets a hyperparameter. False if there is none of that name.
    fn set_number(&mut self, name: &str, value: f64) -> bool;

    /// A hyperparameter, if there is one of that name.
    fn number(&self, name: &str) -> Option<f64> {
        let mut found = None;
        self.numbers(&mut |own, value| {
            if own == name {
                found = Some(value);
            }
        });
        found
    }
}

/// A type of hyperparameters.
pub(super) trait Field {
    fn each(&self, name: &str, each: &mut dyn FnMut(&str, f64));
    fn set(&mut self, own: &str, name: &str, value: f64) -> bool;
}

impl Field for f64 {
    fn each(&self, name: &str, each: &mut dyn FnMut(&str, f64)) {
        each(name, *self);
    }
    fn set(&mut self, own: &str, name: &str, value: f64) -> bool {
        if own == name {
            *self = value;
        }
        own == name
    }
}

impl Field for bool {
    fn each(&self, name: &str, each: &mut dyn FnMut(&str, f64)) {
        each(name, f64::from(u8::from(*self)));
    }
    fn set(&mut self, own: &str, name: &str, value: f64) -> bool {
        if own == name {
            *self = value != 0.0;
        }
        own == name
    }
}

impl Field for usize {
    fn each(&self, name: &str, each: &mut dyn FnMut(&str, f64)) {
        each(name, *self as f64);
    }
    fn set(&mut self, own: &str, name: &str, value: f64) -> bool {
        if own == name {
            *self = value as usize;
        }
        own == name
    }
}

/// `betas` are `beta1` and `beta2`.
impl Field for (f64, f64) {
    fn each(&self, name: &str, each: &mut dyn FnMut(&str, f64)) {
        let single = name.trim_end_matches('s');
        each(&format!("{single}1"), self.0);
        each(&format!("{single}2"), self.1);
    }
    fn set(&mut self, own: &str, name: &str, value: f64) -> bool {
        match name.strip_prefix(own.trim_end_matches('s')) {
            Some("1") => self.0 = value,
            Some("2") => self.1 = value,
            _ => return false,
        }
        true
    }
}

/// Defines a struct of hyperparameters with its defaults.
macro_rules! options {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $t:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $t,)*
        }

        /// PyTorch's defaults.
        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::optim::options::Named for $name {
            fn numbers(&self, each: &mut dyn FnMut(&str, f64)) {
                $($crate::optim::options::Field::each(&self.$field, stringify!($field), each);)*
            }
            fn set_number(&mut self, name: &str, value: f64) -> bool {
                $($crate::optim::options::Field::set(&mut self.$field, stringify!($field), name, value))||*
            }
        }
    };
}
pub(super) use options;

/// What is wrong with numbers that must be finite and at least 0.
pub(super) fn not_negative(numbers: &[(&str, f64)]) -> Result<(), String> {
    match numbers.iter().find(|(_, n)| !(n.is_finite() && *n >= 0.0)) {
        None => Ok(()),
        Some((name, value)) => Err(format!("{name} must be finite and at least 0, not {value}")),
    }
}

/// What is wrong with numbers that must be finite.
pub(super) fn finite(numbers: &[(&str, f64)]) -> Result<(), String> {
    match numbers.iter().find(|(_, n)| !n.is_finite()) {
        None => Ok(()),
        Some((name, value)) => Err(format!("{name} must be finite, not {value}")),
    }
}

/// What is wrong with decays, which must be in `[0, 1)`.
pub(super) fn decays(numbers: &[(&str, f64)]) -> Result<(), String> {
    match numbers.iter().find(|(_, n)| !(0.0..1.0).contains(n)) {
        None => Ok(()),
        Some((name, value)) => Err(format!("{name} must be in [0, 1), not {value}")),
    }
}

/// The same of a pair called `betas`.
pub(super) fn betas(pair: (f64, f64)) -> Result<(), String> {
    decays(&[("betas.0", pair.0), ("betas.1", pair.1)])
}
