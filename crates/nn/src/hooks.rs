//! Watching layers at work: functions that are called before and after each layer of a model.
//!
//! Every layer of this crate tells of its calls, also those in modules of your own. Such a module
//! itself does so where its `forward` goes through [`call`]. Layers are told apart by where they
//! lie: one without any size, such as [`Relu`](crate::Relu), is seen in a
//! [`Sequential`](crate::Sequential) and as a field, but not in a box of your own.
//!
//! ```
//! # fn main() -> wgrad_core::Result<()> {
//! # let dev = wgrad_core::Device::new(
//! #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
//! use std::{cell::RefCell, rc::Rc};
//! use wgrad_core::Tensor;
//! use wgrad_nn::{Forward, Linear, Relu, Sequential, hooks};
//!
//! let model = Sequential::from((Linear::new(4, 3, &dev), Relu, Linear::new(3, 2, &dev)));
//! let shapes = Rc::new(RefCell::new(Vec::new()));
//! let seen = shapes.clone();
//! let hook = hooks::after(&model, move |call, y| {
//!     seen.borrow_mut().push(format!("{}: {}", call.path, y.shape().unwrap_or_default()));
//!     None // or another result
//! });
//! model.forward(&Tensor::zeros([5, 4], &dev))?;
//! assert_eq!(shapes.borrow()[..], ["0: [5, 3]", "1: [5, 3]", "2: [5, 2]", ": [5, 2]"]);
//!
//! drop(hook); // no longer
//! model.forward(&Tensor::zeros([5, 4], &dev))?;
//! assert_eq!(shapes.borrow().len(), 4);
//! # Ok(())
//! # }
//! ```

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;

use wgrad_core::{Place, Result, Shape, Tensor};

use crate::module::Module;
use crate::part::{Visitor, address};

/// A layer's call, as hooks see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The layer's name in the model that is watched: `head.0`, and empty for the model itself.
    pub path: &'a str,
    /// [`Module::description`].
    pub description: &'a str,
    /// How many multiplications with an addition the layer itself does, which is known behind it.
    pub multiply_adds: usize,
}

type Hook = dyn FnMut(&Call<'_>, &Tensor) -> Option<Tensor>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// A hook, and the modules that it watches.
struct Watch {
    when: When,
    hook: RefCell<Box<Hook>>,
    /// Paths by where modules lie and what they are. Several where modules without any size lie
    /// at one place.
    paths: HashMap<(usize, String), Vec<String>>,
    /// How often each of them was called.
    calls: RefCell<HashMap<String, usize>>,
}

thread_local! {
    static WATCHES: RefCell<Vec<Rc<Watch>>> = const { RefCell::new(Vec::new()) };
    /// Whether a hook runs: what it calls is not watched.
    static BUSY: Cell<bool> = const { Cell::new(false) };
    /// Which layer of which sequence is called next.
    static POSITION: Cell<Option<Position>> = const { Cell::new(None) };
}

/// A layer that is called through a pointer.
#[derive(Clone, Copy)]
struct Position {
    layer: usize,
    /// The sequence that calls it, and its position in there.
    sequence: Option<(usize, usize)>,
    /// Where the caller was called: through a pointer, a layer does not see that.
    place: Place,
}

/// Calls a hook as long as this lives.
#[must_use = "the hook is removed when this is dropped"]
pub struct Watching<'a> {
    watch: Rc<Watch>,
    // Modules that move would no longer be found.
    model: PhantomData<&'a ()>,
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        WATCHES.with_borrow_mut(|all| all.retain(|watch| !Rc::ptr_eq(watch, &self.watch)));
    }
}

/// Calls `hook` with the input of each layer of `model` before the layer works, on this thread.
/// What it returns takes the input's place. As `torch.nn.Module.register_forward_pre_hook` on the
/// model and all modules in it.
pub fn before<M: Module + ?Sized>(
    model: &M,
    hook: impl FnMut(&Call<'_>, &Tensor) -> Option<Tensor> + 'static,
) -> Watching<'_> {
    watch(model, When::Before, Box::new(hook))
}

/// Calls `hook` with the result of each layer of `model` (of several results the first), on this
/// thread. What it returns takes the result's place. As
/// `torch.nn.Module.register_forward_hook` on the model and all modules in it.
pub fn after<M: Module + ?Sized>(
    model: &M,
    hook: impl FnMut(&Call<'_>, &Tensor) -> Option<Tensor> + 'static,
) -> Watching<'_> {
    watch(model, When::After, Box::new(hook))
}

fn watch<'a, M: Module + ?Sized>(model: &'a M, when: When, hook: Box<Hook>) -> Watching<'a> {
    let mut paths: HashMap<_, Vec<String>> = HashMap::new();
    model.visit_whole(&mut Visitor::of_modules(&mut |path, begun| {
        let key = (begun.address, begun.description());
        paths.entry(key).or_default().push(path.to_string());
    }));
    let watch = Rc::new(Watch {
        when,
        hook: RefCell::new(hook),
        paths,
        calls: RefCell::default(),
    });
    WATCHES.with_borrow_mut(|all| all.push(watch.clone()));
    Watching {
        watch,
        model: PhantomData,
    }
}

impl Watch {
    /// The path of a module that is called, and that it was.
    fn called(&self, at: usize, description: &str, position: Option<Position>) -> Option<String> {
        let candidates = self.paths.get(&(at, description.to_string()))?;
        let named = position.and_then(|position| {
            let (sequence, i) = position.sequence?;
            let sequences = self.paths.get(&(sequence, "Sequential".to_string()))?;
            let mut paths = sequences.iter().map(|path| match path.is_empty() {
                true => i.to_string(),
                false => format!("{path}.{i}"),
            });
            paths.find(|path| candidates.contains(path))
        });
        if named.is_none() && at == 0 {
            // It may be of another model.
            return None;
        }
        let mut calls = self.calls.borrow_mut();
        let count = |path: &String| calls.get(path).copied().unwrap_or(0);
        let path = named.or_else(|| candidates.iter().min_by_key(|path| count(path)).cloned())?;
        *calls.entry(path.clone()).or_default() += 1;
        Some(path)
    }

    /// What the hook gives for a call.
    fn call(&self, call: &Call<'_>, x: &Tensor) -> Option<Tensor> {
        struct Idle;
        impl Drop for Idle {
            fn drop(&mut self) {
                BUSY.set(false);
            }
        }
        BUSY.set(true);
        let _idle = Idle;
        (self.hook.borrow_mut())(call, x)
    }
}

/// What a layer returns: one tensor, or several of which hooks see the first.
pub trait Outcome {
    /// The tensor that hooks see.
    fn main(&mut self) -> &mut Tensor;
}

impl Outcome for Tensor {
    fn main(&mut self) -> &mut Tensor {
        self
    }
}

impl<T> Outcome for (Tensor, T) {
    fn main(&mut self) -> &mut Tensor {
        &mut self.0
    }
}

/// Calls `f`, what `module` does with `x`, between the hooks that watch the module.
///
/// ```
/// # use wgrad_core::{Result, Tensor};
/// use wgrad_nn::{Forward, Linear, Module, hooks};
///
/// #[derive(Module)]
/// #[module(crate = wgrad_nn)]
/// struct Residual {
///     inner: Linear,
/// }
///
/// impl Forward for Residual {
///     fn forward(&self, x: &Tensor) -> Result<Tensor> {
///         hooks::call(self, x, |x| (x + self.inner.forward(x)?).checked())
///     }
/// }
/// ```
///
/// # Errors
/// Those of `f`.
#[track_caller]
pub fn call<M: Module + ?Sized, T: Outcome>(
    module: &M,
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<T>,
) -> Result<T> {
    watched(module, x, |_, _| 0, |_, x| f(x))
}

/// [`call`] of a layer of this crate: errors name its caller's line.
#[track_caller]
pub(crate) fn layer<M: Module + ?Sized, T: Outcome>(
    module: &M,
    x: &Tensor,
    f: impl FnOnce(&Tensor) -> Result<T>,
) -> Result<T> {
    counted(module, x, |_, _| 0, f)
}

/// [`layer`] that says how many multiply-adds it does, from the shapes of input and result.
#[track_caller]
pub(crate) fn counted<M: Module + ?Sized, T: Outcome>(
    module: &M,
    x: &Tensor,
    count: impl FnOnce(&Shape, &Shape) -> usize,
    f: impl FnOnce(&Tensor) -> Result<T>,
) -> Result<T> {
    watched(module, x, count, |place, x| place.hold(|| f(x)))
}

/// [`call`] of a sequence, whose layers learn at which line it was called.
#[track_caller]
pub(crate) fn sequence<M: Module + ?Sized, T: Outcome>(
    module: &M,
    x: &Tensor,
    f: impl FnOnce(Place, &Tensor) -> Result<T>,
) -> Result<T> {
    watched(module, x, |_, _| 0, f)
}

/// Calls the layer at position `index` of a sequence that was called at `place`.
pub(crate) fn at<M: Module + ?Sized, L: Module + ?Sized, T>(
    sequence: &M,
    index: usize,
    layer: &L,
    place: Place,
    call: impl FnOnce(&L) -> T,
) -> T {
    let sequence = Some((address(sequence), index));
    placed(sequence, layer, place, call)
}

/// Calls a layer through a pointer, which hides the place where that happens.
#[track_caller]
pub(crate) fn through<L: Module + ?Sized, T>(layer: &L, call: impl FnOnce(&L) -> T) -> T {
    // In a sequence, the place of the sequence.
    let known = POSITION
        .take()
        .filter(|known| known.layer == address(layer));
    let here = Place::caller();
    let place = known.map_or(here, |known| known.place);
    placed(known.and_then(|known| known.sequence), layer, place, call)
}

fn placed<L: Module + ?Sized, T>(
    sequence: Option<(usize, usize)>,
    layer: &L,
    place: Place,
    call: impl FnOnce(&L) -> T,
) -> T {
    POSITION.set(Some(Position {
        sequence,
        layer: address(layer),
        place,
    }));
    let result = call(layer);
    POSITION.set(None);
    result
}

#[track_caller]
fn watched<M: Module + ?Sized, T: Outcome>(
    module: &M,
    x: &Tensor,
    count: impl FnOnce(&Shape, &Shape) -> usize,
    f: impl FnOnce(Place, &Tensor) -> Result<T>,
) -> Result<T> {
    let at = address(module);
    let position = POSITION.take().filter(|position| position.layer == at);
    let here = Place::caller();
    let place = position.map_or(here, |position| position.place);
    let watches = match BUSY.get() {
        true => Vec::new(),
        false => WATCHES.with_borrow(Clone::clone),
    };
    if watches.is_empty() {
        return f(place, x);
    }
    let description = module.description();
    let watches: Vec<(Rc<Watch>, String)> = watches
        .into_iter()
        .filter_map(|watch| {
            let path = watch.called(at, &description, position)?;
            Some((watch, path))
        })
        .collect();
    let tell = |when: When, multiply_adds: usize, tensor: &mut Tensor| {
        for (watch, path) in watches.iter().filter(|(watch, _)| watch.when == when) {
            let call = Call {
                path,
                description: &description,
                multiply_adds,
            };
            if let Some(other) = watch.call(&call, tensor) {
                *tensor = other;
            }
        }
    };
    let mut x = x.clone();
    tell(When::Before, 0, &mut x);
    let mut result = f(place, &x)?;
    let y = result.main();
    let multiply_adds = count(&x.shape()?, &y.shape()?);
    tell(When::After, multiply_adds, y);
    if let Some(error) = y.error() {
        return Err(error);
    }
    Ok(result)
}
