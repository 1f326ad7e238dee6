//! What modules are made of, and the walk over it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad_core::Tensor;

use crate::module::Module;

/// What a field of a module may be: a [`Tensor`] (a parameter), a [`Module`], or an option, a
/// vector, an array, a box, a map or a tuple of such.
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

/// A module that a walk comes to.
#[derive(Clone, Copy)]
pub struct Begun<'a> {
    /// How many modules it lies in, 0 for the one at which the walk began.
    pub depth: usize,
    /// Where it lies in memory: which module this is, among those of one description. 0 where it
    /// lies nowhere, in a box without any size.
    pub(crate) address: usize,
    describe: &'a dyn Fn() -> String,
}

/// [`Begun::address`] of a module.
pub(crate) fn address<M: Module + ?Sized>(module: &M) -> usize {
    let at = std::ptr::from_ref(module).cast::<()>() as usize;
    let nowhere = size_of_val(module) == 0 && at == align_of_val(module);
    if nowhere { 0 } else { at }
}

impl Begun<'_> {
    /// [`Module::description`].
    pub fn description(&self) -> String {
        (self.describe)()
    }
}

impl fmt::Debug for Begun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.description(), self.depth)
    }
}

/// The path from the module at which a walk began.
#[derive(Default)]
struct Walk {
    path: String,
    /// Whether tensors here are buffers.
    buffers: bool,
    /// How many modules it is in.
    depth: usize,
}

/// What a walk tells of.
enum Each<'a> {
    Leaves(&'a mut dyn FnMut(&str, Leaf<'_>)),
    Modules(&'a mut dyn FnMut(&str, Begun<'_>)),
}

impl Each<'_> {
    fn leaf(&mut self, path: &str, leaf: Leaf<'_>) {
        if let Each::Leaves(each) = self {
            each(path, leaf);
        }
    }
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

/// Walks over a module's leaves, or over the modules in it, with their dotted names.
pub struct Visitor<'a> {
    walk: Walk,
    each: Each<'a>,
}

/// Walks over a module's tensors to replace them.
pub struct VisitorMut<'a> {
    walk: Walk,
    each: &'a mut dyn FnMut(&str, LeafMut<'_>),
}

impl<'a> Visitor<'a> {
    /// A walk that gives each leaf to `each`.
    pub fn new(each: &'a mut dyn FnMut(&str, Leaf<'_>)) -> Visitor<'a> {
        let (walk, each) = (Walk::default(), Each::Leaves(each));
        Visitor { walk, each }
    }

    /// A walk that gives each module to `each`, before what it holds.
    pub fn of_modules(each: &'a mut dyn FnMut(&str, Begun<'_>)) -> Visitor<'a> {
        let (walk, each) = (Walk::default(), Each::Modules(each));
        Visitor { walk, each }
    }

    /// Visits a module under the current path: that it begins here, and then what it holds.
    pub(crate) fn module<M: Module + ?Sized>(&mut self, module: &M) {
        if let Each::Modules(each) = &mut self.each {
            let begun = Begun {
                depth: self.walk.depth,
                address: address(module),
                describe: &|| module.description(),
            };
            each(&self.walk.path, begun);
        }
        self.walk.depth += 1;
        module.visit(self);
        self.walk.depth -= 1;
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
        visitor.each.leaf(&visitor.walk.path, Leaf::Training(self));
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
        visitor.each.leaf(&visitor.walk.path, leaf);
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
        self.visit_whole(visitor);
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

    fn visit_whole(&self, visitor: &mut Visitor<'_>) {
        (**self).visit_whole(visitor);
    }
}

/// What is absent has no parts, and what is there goes by its own description.
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

    fn visit_whole(&self, visitor: &mut Visitor<'_>) {
        self.visit(visitor);
    }
}

/// What a container of such parts is called in PyTorch.
fn container<P: ?Sized>(of_modules: &str, of_tensors: &str) -> String {
    let (part, tensor) = (std::any::type_name::<P>(), std::any::type_name::<Tensor>());
    let name = if part == tensor {
        of_tensors
    } else {
        of_modules
    };
    name.into()
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

            fn description(&self) -> String {
                container::<P>("ModuleList", "ParameterList")
            }
        }
    )* };
}
rows_of_parts! {
    [P: Part] Vec<P>;
    [P: Part, const N: usize] [P; N];
}

/// A `torch.nn.ModuleList`: parts named by their positions. Any vector of modules is one.
///
/// ```
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_nn::{Linear, Module, ModuleList};
///
/// let heads: ModuleList<Linear> = (0..3).map(|_| Linear::new(4, 2, &dev)).collect();
/// assert_eq!(heads.named_parameters()[2].0, "1.weight");
/// ```
pub type ModuleList<M> = Vec<M>;

/// A `torch.nn.ModuleDict`: parts named by their keys, in the order of the keys.
///
/// ```
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_nn::{Linear, Module, ModuleDict};
///
/// let mut heads: ModuleDict<Linear> = ModuleDict::new();
/// heads.insert("value".into(), Linear::new(4, 1, &dev));
/// heads.insert("policy".into(), Linear::new(4, 2, &dev));
/// assert_eq!(heads.named_parameters()[0].0, "policy.weight");
/// ```
pub type ModuleDict<M> = BTreeMap<String, M>;

/// A `torch.nn.ParameterList`: parameters named by their positions.
pub type ParameterList = Vec<Tensor>;

/// A `torch.nn.ParameterDict`: parameters named by their keys, in the order of the keys.
pub type ParameterDict = BTreeMap<String, Tensor>;

/// Parts named by their keys, in the keys' order.
impl<K: fmt::Display, P: Part> Module for BTreeMap<K, P> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        for (key, part) in self {
            visitor.part(&key.to_string(), part);
        }
    }

    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        for (key, part) in self {
            visitor.part(&key.to_string(), part);
        }
    }

    fn description(&self) -> String {
        container::<P>("ModuleDict", "ParameterDict")
    }
}

/// Parts named by their keys, in the order of the names: the same in every run.
impl<K: fmt::Display, P: Part, S> Module for HashMap<K, P, S> {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        let named: BTreeMap<String, &P> = self.iter().map(|(k, p)| (k.to_string(), p)).collect();
        for (name, part) in named {
            visitor.part(&name, part);
        }
    }

    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        let named = self.iter_mut().map(|(k, p)| (k.to_string(), p));
        let named: BTreeMap<String, &mut P> = named.collect();
        for (name, part) in named {
            visitor.part(&name, part);
        }
    }

    fn description(&self) -> String {
        container::<P>("ModuleDict", "ParameterDict")
    }
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

            fn description(&self) -> String {
                "ModuleList".into()
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
