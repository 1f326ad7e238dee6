//! Dropout: noise in training, the identity otherwise.

use std::fmt;

use wgrad_core::{Result, Tensor};
use wgrad_derive::Module;

use crate::forward::Forward;
use crate::hooks;
use crate::part::Training;

macro_rules! dropouts {
    ($($(#[$doc:meta])* $layer:ident $call:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Debug)]
        #[module(crate = crate, display)]
        pub struct $layer {
            #[module(skip)]
            p: f64,
            training: Training,
        }

        impl $layer {
            /// Dropout with probability `p`; `forward` is an error if `p` is not within 0 and 1.
            pub fn new(p: f64) -> $layer {
                let training = Training::default();
                $layer { p, training }
            }

            /// The probability.
            pub fn p(&self) -> f64 {
                self.p
            }
        }

        /// PyTorch's probability of 0.5.
        impl Default for $layer {
            fn default() -> $layer {
                $layer::new(0.5)
            }
        }

        impl fmt::Display for $layer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(p={:?})", stringify!($layer), self.p)
            }
        }

        impl Forward for $layer {
            #[track_caller]
            fn forward(&self, x: &Tensor) -> Result<Tensor> {
                hooks::layer(self, x, |x| x.$call(self.p, self.training.get()).checked())
            }
        }
    )* };
}
dropouts! {
    /// In training, sets each element to zero with probability `p` and scales the others by
    /// `1 / (1 - p)`; otherwise the identity
    /// ([Hinton et al. 2012](https://arxiv.org/abs/1207.0580)). `torch.nn.Dropout`.
    ///
    /// The mask comes from the device's random stream and is an elementwise operation like any
    /// other, so it joins the kernel of its neighbours.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let dropout = nn::Dropout::new(0.5);
    /// let x = Tensor::ones([8], &dev);
    /// assert!(dropout.forward(&x)?.to_vec::<f32>()?.iter().all(|&v| v == 0.0 || v == 2.0));
    /// dropout.eval();
    /// assert_eq!(dropout.forward(&x)?.to_vec::<f32>()?, [1.0; 8]);
    /// # Ok::<(), Error>(())
    /// ```
    Dropout dropout;
    /// [`Dropout`] of whole channels of `[n, c, s]` or `[c, s]`, as `torch.nn.Dropout1d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Dropout1d::new(0.5).forward(&Tensor::ones([4, 6, 5], &dev))?;
    /// let spread = y.max_dims([2], false) - y.min_dims([2], false);
    /// assert_eq!(spread.max().item::<f32>()?, 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    Dropout1d dropout1d;
    /// [`Dropout`] of whole channels of `[n, c, h, w]`, as `torch.nn.Dropout2d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Dropout2d::new(0.5).forward(&Tensor::ones([4, 6, 5, 2], &dev))?;
    /// let spread = y.max_dims([2, 3], false) - y.min_dims([2, 3], false);
    /// assert_eq!(spread.max().item::<f32>()?, 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    Dropout2d dropout2d;
    /// [`Dropout`] of whole channels of `[n, c, d, h, w]`, as `torch.nn.Dropout3d`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::Dropout3d::new(1.0).forward(&Tensor::ones([1, 2, 2, 2, 2], &dev))?;
    /// assert_eq!(y.sum().item::<f32>()?, 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    Dropout3d dropout3d;
    /// Sets elements to the negative saturation of [`Selu`](crate::Selu) with probability `p`, and
    /// keeps mean 0 and variance 1 ([Klambauer et al. 2017](https://arxiv.org/abs/1706.02515)).
    /// `torch.nn.AlphaDropout`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::AlphaDropout::new(0.3).forward(&Tensor::randn([10_000], &dev))?;
    /// assert!((y.std().item::<f32>()? - 1.0).abs() < 0.1);
    /// # Ok::<(), Error>(())
    /// ```
    AlphaDropout alpha_dropout;
    /// [`AlphaDropout`] of whole channels of `[n, c, ..]`, as `torch.nn.FeatureAlphaDropout`.
    ///
    /// ```
    /// # use wgrad::prelude::*;
    /// # let dev = wgrad::cpu();
    /// let y = nn::FeatureAlphaDropout::new(0.5).forward(&Tensor::ones([9, 5, 2], &dev))?;
    /// let spread = y.max_dims([2], false) - y.min_dims([2], false);
    /// assert_eq!(spread.max().item::<f32>()?, 0.0);
    /// # Ok::<(), Error>(())
    /// ```
    FeatureAlphaDropout feature_alpha_dropout;
}
