//! Layers one after the other.

use std::fmt;

use wgrad_core::{Result, Tensor};

use crate::forward::{Forward, Within};
use crate::hooks;
use crate::module::Module;
use crate::part::{Visitor, VisitorMut};

/// A layer of a [`Sequential`].
pub type Layer = Box<dyn Forward + Send + Sync>;

/// Layers that each take the result of the one before. The parameters' names begin with the
/// layer's position, as in PyTorch: `0.weight`.
///
/// ```
/// # fn main() -> wgrad_core::Result<()> {
/// # let dev = wgrad_core::Device::new(
/// #     wgrad_cpu_backend::CpuBackend::new(wgrad_cpu_backend::CpuOptions::default()), true);
/// use wgrad_core::Tensor;
/// use wgrad_nn::{Forward, Linear, Relu, Sequential};
///
/// let model = Sequential::new().add(Linear::new(8, 4, &dev)).add(Relu);
/// assert_eq!(model.forward(&Tensor::zeros([2, 8], &dev))?.shape()?, [2, 4]);
///
/// let error = model.forward(&Tensor::zeros([2, 3], &dev)).unwrap_err();
/// assert!(error.to_string().starts_with("0: Linear(8, 4): linear: shapes [2, 3] and [8, 4]"));
///
/// // The same model from a tuple:
/// let model = Sequential::from((Linear::new(8, 4, &dev), Relu));
/// # let _ = model;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Layer>,
}

impl Sequential {
    /// No layers yet: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// Appends a layer.
    #[allow(clippy::should_implement_trait)] // no sum of networks is meant, nor taken for one
    pub fn add(mut self, layer: impl Forward + Send + Sync + 'static) -> Sequential {
        self.push(layer);
        self
    }

    /// Appends a layer in place.
    pub fn push(&mut self, layer: impl Forward + Send + Sync + 'static) {
        self.layers.push(Box::new(layer));
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// How many layers there are.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Module for Sequential {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        self.layers.visit(visitor);
    }

    fn visit_mut(&mut self, visitor: &mut VisitorMut<'_>) {
        self.layers.visit_mut(visitor);
    }
}

impl Forward for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        hooks::sequence(self, x, |place, x| {
            let mut x = x.clone();
            for (i, layer) in self.layers.iter().enumerate() {
                let y = hooks::at(self, i, &**layer, place, |layer| layer.forward(&x));
                x = y.within(&i.to_string(), layer)?;
            }
            x.checked()
        })
    }
}

impl FromIterator<Layer> for Sequential {
    fn from_iter<I: IntoIterator<Item = Layer>>(layers: I) -> Sequential {
        Sequential {
            layers: layers.into_iter().collect(),
        }
    }
}

impl Extend<Layer> for Sequential {
    fn extend<I: IntoIterator<Item = Layer>>(&mut self, layers: I) {
        self.layers.extend(layers);
    }
}

/// Lists the layers with their positions, as PyTorch does: [`Module::tree`].
impl fmt::Display for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.tree(), f)
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! from_tuples {
    ($(($($t:ident $i:tt),+);)*) => { $(
        impl<$($t: Forward + Send + Sync + 'static),+> From<($($t,)+)> for Sequential {
            fn from(layers: ($($t,)+)) -> Sequential {
                Sequential { layers: vec![$(Box::new(layers.$i)),+] }
            }
        }
    )* };
}
from_tuples! {
    (A 0);
    (A 0, B 1);
    (A 0, B 1, C 2);
    (A 0, B 1, C 2, D 3);
    (A 0, B 1, C 2, D 3, E 4);
    (A 0, B 1, C 2, D 3, E 4, F 5);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
}
