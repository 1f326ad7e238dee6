//! Automatic mixed precision: which types operations get their operands in, inside of [`autocast`].
//!
//! An operation asks here for its operands: [`narrow`] for those that are as good in 16 bits (products), [`wide`] for
//! those that are not (exponentials, sums, norms, losses). All others take what they are given, and promote. What an
//! operation is composed of asks for nothing: [`Place::within`](crate::Place) turns the scope off inside.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use crate::autograd::{History, is_grad_enabled};
use crate::ops::elementwise::cast;
use crate::record::node::Node;
use crate::tensor::{Tensor, Value};
use crate::types::dtype::DType;
use crate::types::error::{Place, Result};

thread_local! {
    static SCOPE: Cell<Option<DType>> = const { Cell::new(None) };
    /// Scopes around the current place, suspended or not: the casts live as long as the outermost.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static CASTS: RefCell<Vec<Cast>> = const { RefCell::new(Vec::new()) };
}

/// A parameter's value of one moment in the scope's type.
struct Cast {
    of: Weak<Node>,
    to: DType,
    tracked: bool,
    made: Value,
}

/// Puts the scope back, panics included.
struct Restore(Option<DType>);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0);
    }
}

/// As [`Restore`], and drops the casts at the end of the outermost scope.
struct Leave {
    _scope: Restore,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            drop(CASTS.take());
        }
    }
}

/// Runs `f` with every operation in it computing in the type that suits it, as `torch.autocast`: `dtype`, which is
/// [`F16`](DType::F16) or [`BF16`](DType::BF16), for those that are as good in 16 bits, and `f32` for those that are
/// not. Operands are converted as needed; what is `f64`, an integer or a bool stays as it is.
///
/// | operands become | operations |
/// |---|---|
/// | `dtype` | `matmul` and its kin (`mm`, `bmm`, `mv`, `dot`, `outer`, `addmm`, `einsum`, ..), `linear`, convolutions and transposed ones, `scaled_dot_product_attention`, recurrent layers and cells, `prelu` |
/// | `f32` | `exp`, `log` and their kin, `pow`, `recip`, `rsqrt`, `tan`, `acos`, `asin`, `sinh`, `cosh`, `erfinv`, `softplus`; `sum`, `prod`, `cumsum`, `cumprod`, `norm`, `dist`, `cdist`, `renorm`; `softmax`, `log_softmax`, `logsumexp`, layer, group and RMS normalisation, `normalize`, `cosine_similarity`; losses |
/// | what they promote to | all others; where `f16` meets `f32`, `f32` |
///
/// Parameters stay `f32` and so do their gradients; a parameter is converted once in the outermost scope, whatever
/// uses it. Derivatives are computed in the types of the operations that they belong to, wherever `backward` is
/// called; call it outside. The scope is the thread's, scopes nest, and [`autocast_disabled`] suspends them. With
/// another `dtype` nothing is converted.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::ones([4, 3], &dev);
/// let w = Tensor::ones([2, 3], &dev).requires_grad();
/// let (y, p) = wgrad::autocast(DType::F16, || {
///     let y = x.linear(&w, None);
///     (y.clone(), y.softmax(-1))
/// });
/// assert_eq!((y.dtype()?, p.dtype()?), (DType::F16, DType::F32));
/// y.sum().backward()?;
/// assert_eq!(w.grad()?.dtype()?, DType::F32);
/// # Ok::<(), Error>(())
/// ```
pub fn autocast<R>(dtype: DType, f: impl FnOnce() -> R) -> R {
    let narrow = matches!(dtype, DType::F16 | DType::BF16);
    enter(narrow.then_some(dtype), f)
}

/// Runs `f` with operands as they are, inside of [`autocast`].
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::ones([2, 2], &dev);
/// let y = wgrad::autocast(DType::BF16, || wgrad::autocast_disabled(|| x.matmul(&x)));
/// assert_eq!(y.dtype()?, DType::F32);
/// # Ok::<(), Error>(())
/// ```
pub fn autocast_disabled<R>(f: impl FnOnce() -> R) -> R {
    enter(None, f)
}

/// The type of the innermost [`autocast`]; `None` outside and where it is disabled.
///
/// ```
/// # use wgrad::prelude::*;
/// assert_eq!(wgrad::autocast_dtype(), None);
/// assert_eq!(wgrad::autocast(DType::F16, wgrad::autocast_dtype), Some(DType::F16));
/// ```
pub fn autocast_dtype() -> Option<DType> {
    SCOPE.get()
}

/// Runs `f` in the given scope, none for `None`.
pub(crate) fn enter<R>(scope: Option<DType>, f: impl FnOnce() -> R) -> R {
    DEPTH.set(DEPTH.get() + 1);
    let _leave = Leave {
        _scope: Restore(SCOPE.replace(scope)),
    };
    f()
}

/// Runs `f`, which belongs to an operation, with operands as they are.
pub(crate) fn suspended<R>(f: impl FnOnce() -> R) -> R {
    let _restore = Restore(SCOPE.replace(None));
    f()
}

/// The operand of an operation that is as good in 16 bits.
pub(crate) fn narrow(x: &Value, place: Place) -> Result<Value> {
    let Some(dtype) = SCOPE.get().filter(|&to| to != x.dtype()) else {
        return Ok(x.clone());
    };
    match x.dtype() {
        DType::F32 | DType::F16 | DType::BF16 => {}
        _ => return Ok(x.clone()),
    }
    // A parameter, all of it as it lies: what several operations may use.
    let is_parameter = matches!(x.history, Some(History::Variable(_)));
    if !is_parameter || !x.view.is_whole() {
        return cast(x, dtype, place);
    }
    let tracked = is_grad_enabled();
    let known = CASTS.with_borrow(|casts| {
        let mut casts = casts.iter();
        let found = casts.find(|cast| {
            std::ptr::eq(cast.of.as_ptr(), Arc::as_ptr(&x.node))
                && (cast.to, cast.tracked) == (dtype, tracked)
        });
        found.map(|cast| cast.made.clone())
    });
    if let Some(made) = known {
        return Ok(made);
    }
    let made = cast(x, dtype, place)?;
    let cast = Cast {
        of: Arc::downgrade(&x.node),
        to: dtype,
        tracked,
        made: made.clone(),
    };
    CASTS.with_borrow_mut(|casts| casts.push(cast));
    Ok(made)
}

/// The operand of an operation that needs `f32`.
pub(crate) fn wide(x: &Value, place: Place) -> Result<Value> {
    match (SCOPE.get(), x.dtype()) {
        (Some(_), DType::F16 | DType::BF16) => cast(x, DType::F32, place),
        _ => Ok(x.clone()),
    }
}

impl Tensor {
    /// The tensor as [`narrow`] has it.
    pub(crate) fn narrowed(&self, place: Place) -> Tensor {
        match SCOPE.get() {
            Some(_) => self.then(|x| Ok(narrow(&x, place)?.into_tensor())),
            None => self.clone(),
        }
    }

    /// The tensor as [`wide`] has it.
    #[track_caller]
    pub(crate) fn widened(&self) -> Tensor {
        let place = Place::caller();
        match SCOPE.get() {
            Some(_) => self.then(|x| Ok(wide(&x, place)?.into_tensor())),
            None => self.clone(),
        }
    }
}

/// The tensor as operations that need `f32` take it inside of [`autocast`]: 16-bit floats become `f32` there, and
/// nothing changes outside. For losses and the like that are put together from operations.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let x = Tensor::ones([2], (DType::F16, &dev));
/// assert_eq!(wgrad::autocast_wide(&x).dtype()?, DType::F16);
/// let inside = wgrad::autocast(DType::F16, || wgrad::autocast_wide(&x));
/// assert_eq!(inside.dtype()?, DType::F32);
/// # Ok::<(), Error>(())
/// ```
#[track_caller]
pub fn autocast_wide(x: &Tensor) -> Tensor {
    x.widened()
}
