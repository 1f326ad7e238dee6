//! The modules in a module, one after the other, with what is theirs.

use wgrad_core::{Result, Tensor};

use crate::module::Module;
use crate::part::{Leaf, Visitor};

/// A module that [`Module::apply`] comes to, with the tensors that it holds itself.
pub struct Visited {
    name: String,
    description: String,
    parameters: Vec<(String, Tensor)>,
    buffers: Vec<(String, Tensor)>,
}

impl Visited {
    /// Its dotted name; empty for the module at which the walk began.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, in one word: `Linear`, `Conv2d`, a type of your own.
    pub fn kind(&self) -> &str {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let end = self.description.find(|c| !word(c));
        &self.description[..end.unwrap_or(self.description.len())]
    }

    /// What it is, in one line: [`Module::description`].
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its own parameters, by name: not those of modules in it.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Its own buffers, by name.
    pub fn buffers(&self) -> &[(String, Tensor)] {
        &self.buffers
    }

    /// The parameter of a name, if it has one of its own.
    pub fn parameter(&self, name: &str) -> Option<&Tensor> {
        named(&self.parameters, name)
    }

    /// The buffer of a name, if it has one of its own.
    pub fn buffer(&self, name: &str) -> Option<&Tensor> {
        named(&self.buffers, name)
    }
}

fn named<'a>(of: &'a [(String, Tensor)], name: &str) -> Option<&'a Tensor> {
    of.iter()
        .find(|(own, _)| own == name)
        .map(|(_, tensor)| tensor)
}

/// The name within the module called `module`, if it is of that module or of one in it.
fn within<'a>(name: &'a str, module: &str) -> Option<&'a str> {
    match module {
        "" => Some(name),
        _ => name.strip_prefix(module)?.strip_prefix('.'),
    }
}

/// The modules, those in a module before it.
pub(crate) fn visited<M: Module + ?Sized>(module: &M) -> Vec<Visited> {
    let mut found: Vec<(usize, Visited)> = Vec::new();
    module.visit_whole(&mut Visitor::of_modules(&mut |name, begun| {
        let visited = Visited {
            name: name.to_string(),
            description: begun.description(),
            parameters: Vec::new(),
            buffers: Vec::new(),
        };
        found.push((begun.depth, visited));
    }));
    let mut each = |name: &str, leaf: Leaf<'_>| {
        let (tensor, is_parameter) = match leaf {
            Leaf::Parameter(tensor) => (tensor, true),
            Leaf::Buffer(tensor) => (tensor, false),
            Leaf::Training(_) => return,
        };
        // Of the modules that it lies in the innermost.
        let holders = found.iter_mut().filter_map(|(_, visited)| {
            let own = within(name, &visited.name)?.to_string();
            Some((own, visited))
        });
        if let Some((own, visited)) = holders.min_by_key(|(own, _)| own.len()) {
            let list = match is_parameter {
                true => &mut visited.parameters,
                false => &mut visited.buffers,
            };
            list.push((own, tensor.clone()));
        }
    };
    module.visit(&mut Visitor::new(&mut each));
    // From the order of beginnings to that of ends.
    let (mut ended, mut open): (Vec<Visited>, Vec<(usize, Visited)>) = Default::default();
    for (depth, visited) in found {
        while open.last().is_some_and(|(other, _)| *other >= depth) {
            ended.extend(open.pop().map(|(_, visited)| visited));
        }
        open.push((depth, visited));
    }
    ended.extend(open.into_iter().rev().map(|(_, visited)| visited));
    ended
}

/// Calls `f` with each of them.
pub(crate) fn apply<M: Module + ?Sized>(
    module: &M,
    f: &mut dyn FnMut(&Visited) -> Result<()>,
) -> Result<()> {
    visited(module).iter().try_for_each(f)
}
