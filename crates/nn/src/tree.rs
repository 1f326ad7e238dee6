//! Modules in modules, to look at.

use std::fmt;

use crate::module::Module;
use crate::part::Visitor;

/// What a module is and what it holds; [`Module::tree`] makes it. It prints nested, as PyTorch
/// prints modules, and equal neighbours of a list as one: `(0-5): 6 x ..`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    /// [`Module::description`].
    pub description: String,
    /// The modules in it, with their names.
    pub children: Vec<(String, Tree)>,
}

impl Tree {
    /// A module's tree.
    pub(crate) fn of<M: Module + ?Sized>(module: &M) -> Tree {
        // The modules on the way to the last one, with their paths.
        let mut way: Vec<(String, Tree)> = Vec::new();
        module.visit_whole(&mut Visitor::of_modules(&mut |path, begun| {
            close(&mut way, begun.depth.max(1));
            let children = Vec::new();
            let description = begun.description();
            let tree = Tree {
                description,
                children,
            };
            way.push((path.to_string(), tree));
        }));
        close(&mut way, 1);
        match way.pop() {
            Some((_, tree)) => tree,
            // An option without a module is none.
            None => Tree {
                description: module.description(),
                children: Vec::new(),
            },
        }
    }

    fn is_list(&self) -> bool {
        self.description == "ModuleList"
    }
}

/// Puts the modules from `depth` on into those that hold them.
fn close(way: &mut Vec<(String, Tree)>, depth: usize) {
    while way.len() > depth
        && let Some((path, tree)) = way.pop()
        && let Some((outer, parent)) = way.last_mut()
    {
        let name = path[outer.len()..].trim_start_matches('.').to_string();
        parent.children.push((name, tree));
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, 0)
    }
}

impl Tree {
    fn print(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        if self.children.is_empty() {
            return f.write_str(&self.description);
        }
        let inner = indent + 2;
        match self.description.split_once('(') {
            Some((name, options)) => {
                let options = options.strip_suffix(')').unwrap_or(options);
                write!(f, "{name}(\n{:inner$}{options}\n", "")?;
            }
            None => writeln!(f, "{}(", self.description)?,
        }
        let mut at = 0;
        while let Some((name, child)) = self.children.get(at) {
            let same = |other: &&(String, Tree)| self.is_list() && other.1 == *child;
            let count = self.children[at..].iter().take_while(same).count().max(1);
            match self.children.get(at + count - 1) {
                Some((last, _)) if count > 1 => {
                    write!(f, "{:inner$}({name}-{last}): {count} x ", "")?;
                }
                _ => write!(f, "{:inner$}({name}): ", "")?,
            }
            child.print(f, inner)?;
            writeln!(f)?;
            at += count;
        }
        write!(f, "{:indent$})", "")
    }
}
