//! Layers that put something around a tensor.

use std::fmt;

use wgrad_core::{PadMode, Result, Scalar, Tensor};
use wgrad_derive::Module;

use crate::extent::tuple;
use crate::forward::Forward;
use crate::hooks;

/// How many elements stand before and behind each of the last `D` dimensions, the last one first, as
/// in PyTorch: one number for all sides, or `[left, right]`, `[left, right, top, bottom]`,
/// `[left, right, top, bottom, front, back]`. Negative numbers take elements away.
///
/// ```
/// use wgrad::nn::Padding;
/// assert_eq!(Padding::<2>::from(1), Padding::from([1, 1, 1, 1]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Padding<const D: usize>(pub [[isize; 2]; D]);

impl<const D: usize> From<isize> for Padding<D> {
    fn from(all: isize) -> Padding<D> {
        Padding([[all; 2]; D])
    }
}

impl From<[isize; 2]> for Padding<1> {
    fn from(sides: [isize; 2]) -> Padding<1> {
        Padding([sides])
    }
}

impl From<[isize; 4]> for Padding<2> {
    fn from([left, right, top, bottom]: [isize; 4]) -> Padding<2> {
        Padding([[left, right], [top, bottom]])
    }
}

impl From<[isize; 6]> for Padding<3> {
    fn from([left, right, top, bottom, front, back]: [isize; 6]) -> Padding<3> {
        Padding([[left, right], [top, bottom], [front, back]])
    }
}

impl<const D: usize> Padding<D> {
    fn sides(&self) -> Vec<isize> {
        self.0.concat()
    }
}

impl<const D: usize> fmt::Display for Padding<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tuple(f, &self.sides())
    }
}

macro_rules! pads {
    ($($(#[$doc:meta])* $pad:ident $mode:expr, $one:ident $two:ident $three:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, PartialEq, Eq, Debug)]
        #[module(crate = crate, display)]
        pub struct $pad<const D: usize> {
            /// How many elements stand on each side.
            #[module(skip)]
            pub padding: Padding<D>,
        }

        impl<const D: usize> $pad<D> {
            /// So many elements on each side.
            pub fn new(padding: impl Into<Padding<D>>) -> $pad<D> {
                let padding = padding.into();
                $pad { padding }
            }
        }

        impl<const D: usize> fmt::Display for $pad<D> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{D}d({})", stringify!($pad), self.padding)
            }
        }

        impl<const D: usize> Forward for $pad<D> {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.pad(&self.padding.sides(), $mode).checked())
            }
        }

        #[doc = concat!("[`", stringify!($pad), "`] around the last dimension.")]
        pub type $one = $pad<1>;
        #[doc = concat!("[`", stringify!($pad), "`] around the last two dimensions.")]
        pub type $two = $pad<2>;
        #[doc = concat!("[`", stringify!($pad), "`] around the last three dimensions.")]
        pub type $three = $pad<3>;
    )* };
}
pads! {
    /// Zeros around the last `D` dimensions, as `torch.nn.ZeroPad1d` to `ZeroPad3d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::ZeroPad1d::new([1, 2]).forward(&Tensor::new([[5.0]], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 5.0, 0.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ZeroPad PadMode::ZERO, ZeroPad1d ZeroPad2d ZeroPad3d;
    /// The elements mirrored at the first and last ones, as `torch.nn.ReflectionPad1d` to
    /// `ReflectionPad3d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::ReflectionPad1d::new(2).forward(&Tensor::new([[1.0, 2.0, 3.0]], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ReflectionPad PadMode::Reflect, ReflectionPad1d ReflectionPad2d ReflectionPad3d;
    /// The first and last elements, as `torch.nn.ReplicationPad1d` to `ReplicationPad3d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::ReplicationPad1d::new(2).forward(&Tensor::new([[1.0, 2.0]], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ReplicationPad PadMode::Replicate, ReplicationPad1d ReplicationPad2d ReplicationPad3d;
    /// The elements of the other end, as `torch.nn.CircularPad1d` to `CircularPad3d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::CircularPad1d::new([1, 0]).forward(&Tensor::new([[1.0, 2.0, 3.0]], &dev))?;
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 1.0, 2.0, 3.0]);
    /// # Ok::<(), Error>(())
    /// ```
    CircularPad PadMode::Circular, CircularPad1d CircularPad2d CircularPad3d;
}

/// A number around the last `D` dimensions, as `torch.nn.ConstantPad1d` to `ConstantPad3d`.
///
/// ```
/// # use wgrad::prelude::*;
/// # let dev = wgrad::cpu();
/// let y = nn::ConstantPad2d::new([0, 1, 1, 0], 7.0).forward(&Tensor::new([[5.0]], &dev))?;
/// assert_eq!(y.to_vec::<f32>()?, [7.0, 7.0, 5.0, 7.0]);
/// # Ok::<(), Error>(())
/// ```
#[derive(Module, Clone, Copy, Debug)]
#[module(crate = crate, display)]
pub struct ConstantPad<const D: usize> {
    /// How many elements stand on each side.
    #[module(skip)]
    pub padding: Padding<D>,
    /// What they are.
    #[module(skip)]
    pub value: Scalar,
}

/// [`ConstantPad`] around the last dimension.
pub type ConstantPad1d = ConstantPad<1>;
/// [`ConstantPad`] around the last two dimensions.
pub type ConstantPad2d = ConstantPad<2>;
/// [`ConstantPad`] around the last three dimensions.
pub type ConstantPad3d = ConstantPad<3>;

impl<const D: usize> ConstantPad<D> {
    /// So many elements on each side.
    pub fn new(padding: impl Into<Padding<D>>, value: impl Into<Scalar>) -> ConstantPad<D> {
        ConstantPad {
            padding: padding.into(),
            value: value.into(),
        }
    }
}

impl<const D: usize> fmt::Display for ConstantPad<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConstantPad{D}d(padding={}, value=", self.padding)?;
        match self.value {
            Scalar::Float(value) => write!(f, "{value:?})"),
            Scalar::Integer(value) => write!(f, "{value})"),
            Scalar::Bool(value) => write!(f, "{value})"),
        }
    }
}

impl<const D: usize> Forward for ConstantPad<D> {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let with = PadMode::Constant(self.value);
        hooks::layer(self, x, |x| x.pad(&self.padding.sides(), with).checked())
    }
}
