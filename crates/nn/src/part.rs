//! What modules are made of, and the walk over it.

use std::sync::atomic::{AtomicBool, Ordering};

use wgrad_core::Tensor;

use crate::module::Module;

/// What a field of a module may be: a [`Tensor`] (a parameter), a [`Module`], or an option, a
/// vector, an array, a box or a tuple of such.
///
/// Implement [`Module`], never this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a tensor nor a module",
    label = "not a part of a module",
    note = "derive `Module` for `{Self}`, or mark the field with `#[module(skip)]`"
)]
pub trait Part {
    /// Visits the leaves, each under the visitor's current path.
    fn visit_part(&self, visitor: &mut Visitor<'_>);
    /// As `visit_part`, to replace the leaves.
    fn visit_part_mut(&mut self, visitor: &mut VisitorMut<'_>);
}

/// Something a module holds that is no module itself.
#[derive(Clone, Copy)]
pub enum Leaf<'a> {
    /// A tensor that is trained.
    Parameter(&'a Tensor),
    /// A tensor that is saved and moved, but not trained.
    Buffer(&'a Tensor),
    /// Whether the module is in training.
    Training(&'a Training),
}

/// A [`Leaf`] that may be replaced.
pub enum LeafMut<'a> {
    /// A tensor that is trained.
    Parameter(&'a mut Tensor),
    /// A tensor that is saved and moved, but not trained.
    Buffer(&'a mut Tensor),
}

/// The path from the module at which a walk began.
#[derive(Default)]
struct Walk {
    path: String,
    /// Whether tensors here are buffers.
    buffers: bool,
}

impl Walk {
    /// Appends a name; the returned length undoes it.
    fn enter(&mut self, name: &str) -> usize {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        length
    }
}

/// Walks over a module's leaves with their dotted names.
pub struct Visitor<'a> {
    walk: Walk,
    each: &'a mut dyn FnMut(&str, Leaf<'_>),
}

/// Walks over a module's tensors to replace them.
pub struct VisitorMut<'a> {
    walk: Walk,
    each: &'a mut dyn FnMut(&str, LeafMut<'_>),
}

impl<'a> Visitor<'a> {
    /// A walk that gives each leaf to `each`.
    pub fn new(each: &'a mut dyn FnMut(&str, Leaf<'_>)) -> Visitor<'a> {
        let walk = Walk::default();
        Visitor { walk, each }
    }

    /// Visits a part under a name.
    pub fn part<P: Part + ?Sized>(&mut self, name: &str, part: &P) {
        let length = self.walk.enter(name);
        part.visit_part(self);
        self.walk.path.truncate(length);
    }

    /// Visits a part whose tensors are buffers.
    pub fn buffer<P: Part + ?Sized>(&mut self, name: &str, part: &P) {
        let outer = std::mem::replace(&mut self.walk.buffers, true);
        self.part(name, part);
        self.walk.buffers = outer;
    }
}

impl<'a> VisitorMut<'a> {
    /// A walk that gives each tensor to `each`.
    pub fn new(each: &'a mut dyn FnMut(&str, LeafMut<'_>)) -> VisitorMut<'a> {
        let walk = Walk::default();
        VisitorMut { walk, each }
    }

    /// Visits a part under a name.
    pub fn part<P: Part + ?Sized>(&mut self, name: &str, part: &mut P) {
        let length = self.walk.enter(name);
        part.visit_part_mut(self);
        self.walk.path.truncate(length);
    }

    /// Visits a part whose tensors are buffers.
    pub fn buffer<P: Part + ?Sized>(&mut self, name: &str, part: &mut P) {
        let outer = std::mem::replace(&mut self.walk.buffers, true);
        self.part(name, part);
        self.walk.buffers = outer;
    }
}

/// Whether a module is in training: a flag that [`Module::train`] and [`Module::eval`] switch
/// through a shared reference. A field of a layer that behaves differently in both.
#[derive(Debug)]
pub struct Training(AtomicBool);

impl Training {
    /// Whether the module is in training.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Switches.
    pub fn set(&self, training: bool) {
        self.0.store(training, Ordering::Relaxed);
    }
}

/// Modules begin in training, as in PyTorch.
impl Default for Training {
    fn default() -> Training {
        Training(AtomicBool::new(true))
    }
}

impl Clone for Training {
    fn clone(&self) -> Training {
        Training(AtomicBool::new(self.get()))
    }
}

impl Part for Training {
    fn visit_part(&self, visitor: &mut Visitor<'_>) {
        (visitor.each)(&visitor.walk.path, Leaf::Training(self));
    }

    fn visit_part_mut(&mut self, _: &mut VisitorMut<'_>) {}
}

impl Part for Tensor {
    fn visit_part(&self, visitor: &mut Visitor<'_>) {
        let leaf = if visitor.walk.buffers {
            Leaf::Buffer(self)
        } else {
            Leaf::Parameter(self)
        };
        (visitor.each)(&visitor.walk.path, leaf);
    }

    fn visit_part_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        let leaf = if visitor.walk.buffers {
            LeafMut::Buffer(self)
        } else {
            LeafMut::Parameter(self)
        };
        (visitor.each)(&visitor.walk.path, leaf);
    }
}

impl<M: Module + ?Sized> Part for M {
    fn visit_part(&self, visitor: &mut Visitor<'_>) {
        self.visit(visitor);
    }

    fn visit_part_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        self.visit_mut(visitor);
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        (**self).visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        (**self).visit_mut(visitor);
    }

    fn description(&self) -> String {
        (**self).description()
    }
}

impl<P: Part> Module for Option<P> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        if let Some(part) = self {
            part.visit_part(visitor);
        }
    }

    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        if let Some(part) = self {
            part.visit_part_mut(visitor);
        }
    }
}

macro_rules! rows_of_parts {
    ($([$($generic:tt)*] $t:ty;)*) => { $(
        impl<$($generic)*> Module for $t {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                for (i, part) in self.iter().enumerate() {
                    visitor.part(&i.to_string(), part);
                }
            }

            fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
                for (i, part) in self.iter_mut().enumerate() {
                    visitor.part(&i.to_string(), part);
                }
            }
        }
    )* };
}
rows_of_parts! {
    [P: Part] Vec<P>;
    [P: Part, const N: usize] [P; N];
}

macro_rules! tuples_of_parts {
    ($(($($p:ident $i:tt),+);)*) => { $(
        impl<$($p: Part),+> Module for ($($p,)+) {
            fn visit(&self, visitor: &mut Visitor<'_>) {
                $(visitor.part(stringify!($i), &self.$i);)+
            }

            fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
                $(visitor.part(stringify!($i), &mut self.$i);)+
            }
        }
    )* };
}
tuples_of_parts! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
}
