//! The layers of torch's modules, with their parameters.

use wgrad::nn::{self, *};
use wgrad::prelude::*;
use wgrad::{BagMode, InterpolateOptions, Resampling};

use super::manifest::Args;
use super::sequence_layers;

/// What a layer gives for its operands.
pub type Outcome = Result<Vec<Tensor>>;

/// The operands of a layer and torch's tensors for its parameters and buffers.
pub struct Given<'a> {
    pub args: &'a Args<'a>,
    operands: &'a [Tensor],
    state: StateDict,
    names: Vec<String>,
}

impl<'a> Given<'a> {
    fn new(x: &'a [Tensor], args: &'a Args<'a>) -> Given<'a> {
        let name = |value: &serde_json::Value| value.as_str().expect("a name").to_string();
        let names: Vec<String> = args.values("state").iter().map(name).collect();
        let (operands, state) = x.split_at(x.len() - names.len());
        let state = names.iter().cloned().zip(state.iter().cloned()).collect();
        Given {
            args,
            operands,
            state,
            names,
        }
    }

    pub fn dev(&self) -> &Device {
        self.args.device()
    }

    pub fn usize(&self, name: &str) -> usize {
        self.args.usize(name)
    }

    fn sizes<const D: usize>(&self, name: &str) -> [usize; D] {
        let sizes = self.args.usizes(name);
        sizes.try_into().expect("a size for each dimension")
    }

    /// Loads torch's state into a layer, and gives what `call` gives, and then the buffers.
    pub fn run<M: Module>(
        &self,
        mut layer: M,
        call: impl FnOnce(&M, &[Tensor]) -> Outcome,
    ) -> Vec<Tensor> {
        if let Some(repr) = self.args.opt_str("repr") {
            assert_eq!(layer.description(), repr);
        }
        let result = || -> Outcome {
            layer.load_state_dict(&self.state, Strict)?;
            // The case's own tensors, whose gradients it compares.
            layer.visit_mut(&mut VisitorMut::new(&mut |name, leaf| {
                if let LeafMut::Parameter(tensor) = leaf {
                    *tensor = self.state[name].clone();
                }
            }));
            layer.set_training(self.args.bool("train"));
            let mut results = call(&layer, self.operands)?;
            let buffers: StateDict = layer.named_buffers().into_iter().collect();
            let after = self.names.iter().filter_map(|name| buffers.get(name));
            results.extend(after.map(Tensor::detach));
            Ok(results)
        };
        result().unwrap_or_else(|error| vec![Tensor::zeros((), &Device::failed(error))])
    }

    /// A layer of one tensor.
    pub fn forward<M: Forward>(&self, layer: M) -> Vec<Tensor> {
        self.run(layer, |layer, x| Ok(vec![layer.forward(&x[0])?]))
    }
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let given = Given::new(x, args);
    let ranked = |name: &str| -> Option<Vec<Tensor>> {
        match op.strip_prefix(name)? {
            "1d" => spatial::<1>(name, &given).or_else(|| one_way::one(name, &given)),
            "2d" => spatial::<2>(name, &given).or_else(|| one_way::two(name, &given)),
            "3d" => spatial::<3>(name, &given).or_else(|| one_way::three(name, &given)),
            _ => None,
        }
    };
    let spatial = op.get(..op.len().saturating_sub(2)).and_then(ranked);
    spatial
        .or_else(|| plain(op, &given))
        .or_else(|| activation(op, &given))
        .or_else(|| sequence_layers::recurrent(op, &given))
        .or_else(|| sequence_layers::transformers(op, &given))
}

/// Layers of any number of dimensions.
fn spatial<const D: usize>(name: &str, given: &Given<'_>) -> Option<Vec<Tensor>> {
    let (args, dev) = (given.args, given.dev());
    Some(match name {
        "BatchNorm" => {
            let options = nn::BatchNormOptions {
                eps: args.f64("eps"),
                momentum: args.opt_f64("momentum"),
                affine: args.bool("affine"),
                bias: args.bool("bias"),
                track_running_stats: args.bool("track_running_stats"),
            };
            given.forward(BatchNorm::<D>::with(
                given.usize("num_features"),
                options,
                dev,
            ))
        }
        "InstanceNorm" => {
            let options = InstanceNormOptions {
                eps: args.f64("eps"),
                momentum: args.f64("momentum"),
                affine: args.bool("affine"),
                bias: args.bool("bias"),
                track_running_stats: args.bool("track_running_stats"),
            };
            given.forward(InstanceNorm::<D>::with(
                given.usize("num_features"),
                options,
                dev,
            ))
        }
        "ZeroPad" => given.forward(ZeroPad::new(sides::<D>(args))),
        "ReflectionPad" => given.forward(ReflectionPad::new(sides::<D>(args))),
        "ReplicationPad" => given.forward(ReplicationPad::new(sides::<D>(args))),
        "CircularPad" => given.forward(CircularPad::new(sides::<D>(args))),
        "ConstantPad" => given.forward(ConstantPad::new(sides::<D>(args), args.f64("value"))),
        _ => return None,
    })
}

fn sides<const D: usize>(args: &Args<'_>) -> Padding<D> {
    let sides = args.isizes("padding");
    Padding(std::array::from_fn(|i| [sides[2 * i], sides[2 * i + 1]]))
}

/// Layers that implement `Forward` for each number of dimensions by itself.
mod one_way {
    use super::*;

    macro_rules! ranks {
        ($($name:ident $rank:literal;)*) => { $(
            pub fn $name(name: &str, given: &Given<'_>) -> Option<Vec<Tensor>> {
                const D: usize = $rank;
                let args = given.args;
                let stride = || Some(given.sizes::<D>("stride"));
                Some(match name {
                    "Conv" => given.forward(conv::<D>(given)),
                    "ConvTranspose" => given.forward(conv_transpose::<D>(given)),
                    "MaxPool" => {
                        let options = MaxPoolOptions {
                            stride: stride(),
                            padding: given.sizes::<D>("padding"),
                            dilation: given.sizes::<D>("dilation"),
                            ceil_mode: args.bool("ceil_mode"),
                        };
                        given.forward(MaxPool::with(given.sizes::<D>("kernel_size"), options))
                    }
                    "MaxUnpool" => {
                        let options = UnpoolOptions {
                            stride: stride(),
                            padding: given.sizes::<D>("padding"),
                            size: None,
                        };
                        let layer = MaxUnpool::with(given.sizes::<D>("kernel_size"), options);
                        given.run(layer, |layer, x| Ok(vec![layer.forward(&x[0], &x[1])?]))
                    }
                    "AvgPool" => {
                        let options = AvgPoolOptions {
                            stride: stride(),
                            padding: given.sizes::<D>("padding"),
                            ceil_mode: args.bool("ceil_mode"),
                            count_include_pad: args.bool("count_include_pad"),
                            divisor: None,
                        };
                        given.forward(AvgPool::with(given.sizes::<D>("kernel_size"), options))
                    }
                    "LpPool" => {
                        let options = LpPoolOptions {
                            stride: stride(),
                            ceil_mode: args.bool("ceil_mode"),
                        };
                        let kernel = given.sizes::<D>("kernel_size");
                        given.forward(LpPool::with(args.f64("norm_type"), kernel, options))
                    }
                    "AdaptiveAvgPool" => {
                        given.forward(AdaptiveAvgPool::new(given.sizes::<D>("output_size")))
                    }
                    "AdaptiveMaxPool" => {
                        given.forward(AdaptiveMaxPool::new(given.sizes::<D>("output_size")))
                    }
                    "Dropout" => given.forward(dropout!($name given)),
                    _ => return None,
                })
            }
        )* };
    }
    macro_rules! dropout {
        (one $given:ident) => {
            Dropout1d::new($given.args.f64("p"))
        };
        (two $given:ident) => {
            Dropout2d::new($given.args.f64("p"))
        };
        (three $given:ident) => {
            Dropout3d::new($given.args.f64("p"))
        };
    }
    ranks! {
        one 1;
        two 2;
        three 3;
    }
}

fn conv<const D: usize>(given: &Given<'_>) -> Conv<D> {
    let args = given.args;
    let options = nn::ConvOptions {
        stride: given.sizes("stride"),
        padding: match args.opt_str("padding") {
            Some("same") => ConvPadding::Same,
            Some(_) => ConvPadding::Valid,
            None => ConvPadding::Zeros(given.sizes("padding")),
        },
        dilation: given.sizes("dilation"),
        groups: given.usize("groups"),
        bias: args.bool("bias"),
        padding_mode: match args.str("padding_mode") {
            "reflect" => PaddingMode::Reflect,
            "replicate" => PaddingMode::Replicate,
            "circular" => PaddingMode::Circular,
            _ => PaddingMode::Zeros,
        },
    };
    let (input, output) = (given.usize("in_channels"), given.usize("out_channels"));
    Conv::with(
        input,
        output,
        given.sizes("kernel_size"),
        options,
        given.dev(),
    )
}

fn conv_transpose<const D: usize>(given: &Given<'_>) -> ConvTranspose<D> {
    let options = nn::ConvTransposeOptions {
        stride: given.sizes("stride"),
        padding: given.sizes("padding"),
        output_padding: given.sizes("output_padding"),
        dilation: given.sizes("dilation"),
        groups: given.usize("groups"),
        bias: given.args.bool("bias"),
    };
    let (input, output) = (given.usize("in_channels"), given.usize("out_channels"));
    ConvTranspose::with(
        input,
        output,
        given.sizes("kernel_size"),
        options,
        given.dev(),
    )
}

/// Layers that know no dimensions.
fn plain(op: &str, given: &Given<'_>) -> Option<Vec<Tensor>> {
    let (args, dev) = (given.args, given.dev());
    let affine = || args.bool("elementwise_affine");
    Some(match op {
        "Linear" => {
            let (input, output) = (given.usize("in_features"), given.usize("out_features"));
            given.forward(match args.bool("bias") {
                true => Linear::new(input, output, dev),
                false => Linear::without_bias(input, output, dev),
            })
        }
        "Bilinear" => {
            let [a, b, out] =
                ["in1_features", "in2_features", "out_features"].map(|n| given.usize(n));
            let layer = match args.bool("bias") {
                true => Bilinear::new(a, b, out, dev),
                false => Bilinear::without_bias(a, b, out, dev),
            };
            given.run(layer, |layer, x| Ok(vec![layer.forward(&x[0], &x[1])?]))
        }
        "LayerNorm" => {
            let options = LayerNormOptions {
                eps: args.f64("eps"),
                elementwise_affine: affine(),
                bias: args.bool("bias"),
            };
            given.forward(LayerNorm::with(
                args.usizes("normalized_shape"),
                options,
                dev,
            ))
        }
        "RmsNorm" => {
            let options = RmsNormOptions {
                eps: args.opt_f64("eps"),
                elementwise_affine: affine(),
            };
            given.forward(RmsNorm::with(args.usizes("normalized_shape"), options, dev))
        }
        "GroupNorm" => {
            let options = GroupNormOptions {
                eps: args.f64("eps"),
                affine: args.bool("affine"),
                bias: args.bool("bias"),
            };
            let (groups, channels) = (given.usize("num_groups"), given.usize("num_channels"));
            given.forward(GroupNorm::with(groups, channels, options, dev))
        }
        "LocalResponseNorm" => given.forward(LocalResponseNorm {
            size: given.usize("size"),
            alpha: args.f64("alpha"),
            beta: args.f64("beta"),
            k: args.f64("k"),
        }),
        "CrossMapLrn2d" => given.forward(CrossMapLrn2d {
            size: given.usize("size"),
            alpha: args.f64("alpha"),
            beta: args.f64("beta"),
            k: args.f64("k"),
        }),
        "FractionalMaxPool2d" => {
            let [height, width] = given.sizes("output_size");
            given.forward(FractionalMaxPool2d::new(
                given.usize("kernel_size"),
                [height, width],
            ))
        }
        "FractionalMaxPool3d" => {
            let output: [usize; 3] = given.sizes("output_size");
            given.forward(FractionalMaxPool3d::new(given.usize("kernel_size"), output))
        }
        "Unfold" | "Fold" => {
            let options = wgrad::ColumnOptions {
                dilation: given.sizes("dilation"),
                padding: given.sizes("padding"),
                stride: given.sizes("stride"),
            };
            let kernel = given.sizes("kernel_size");
            match op {
                "Unfold" => given.forward(Unfold::with(kernel, options)),
                _ => given.forward(Fold::with(given.sizes("output_size"), kernel, options)),
            }
        }
        "Dropout" => given.forward(Dropout::new(args.f64("p"))),
        "AlphaDropout" => given.forward(AlphaDropout::new(args.f64("p"))),
        "FeatureAlphaDropout" => given.forward(FeatureAlphaDropout::new(args.f64("p"))),
        "Identity" => given.forward(Identity),
        "Flatten" => given.forward(Flatten {
            start: args.isize("start_dim"),
            end: args.isize("end_dim"),
        }),
        "Unflatten" => {
            let sizes = args.isizes("unflattened_size");
            given.forward(Unflatten::new(args.isize("dim"), sizes))
        }
        "PixelShuffle" => given.forward(PixelShuffle::new(given.usize("upscale_factor"))),
        "PixelUnshuffle" => given.forward(PixelUnshuffle::new(given.usize("downscale_factor"))),
        "ChannelShuffle" => given.forward(ChannelShuffle::new(given.usize("groups"))),
        "Upsample" => given.forward(upsample(args)),
        "Embedding" => {
            let options = EmbeddingOptions {
                padding_idx: args.opt_isize("padding_idx"),
                scale_grad_by_freq: args.has("scale_grad_by_freq"),
                ..Default::default()
            };
            let (rows, size) = (given.usize("num_embeddings"), given.usize("embedding_dim"));
            given.forward(Embedding::with(rows, size, options, dev))
        }
        "EmbeddingBag" => {
            let options = nn::EmbeddingBagOptions {
                mode: match args.str("mode") {
                    "sum" => BagMode::Sum,
                    "mean" => BagMode::Mean,
                    _ => BagMode::Max,
                },
                padding_idx: args.opt_isize("padding_idx"),
                ..Default::default()
            };
            let (rows, size) = (given.usize("num_embeddings"), given.usize("embedding_dim"));
            let layer = EmbeddingBag::with(rows, size, options, dev);
            given.run(layer, |layer, x| {
                Ok(vec![layer.forward_with(&x[0], x.get(1), x.get(2))?])
            })
        }
        "CosineSimilarity" => {
            let (dim, eps) = (args.isize("dim"), args.f64("eps"));
            let layer = CosineSimilarity { dim, eps };
            given.run(layer, |layer, x| Ok(vec![layer.forward(&x[0], &x[1])?]))
        }
        "PairwiseDistance" => {
            let layer = PairwiseDistance {
                p: args.f64("p"),
                eps: args.f64("eps"),
                keepdim: args.bool("keepdim"),
            };
            given.run(layer, |layer, x| Ok(vec![layer.forward(&x[0], &x[1])?]))
        }
        "SinusoidalEncoding" => {
            let base = args.f64("base");
            given.forward(SinusoidalEncoding { base })
        }
        "RotaryEmbedding" => given.forward(RotaryEmbedding {
            base: args.f64("base"),
            interleaved: args.bool("interleaved"),
        }),
        _ => return None,
    })
}

fn upsample(args: &Args<'_>) -> Upsample {
    Upsample::with(InterpolateOptions {
        size: args.has("size").then(|| args.usizes("size")),
        scale_factor: args.opt_f64("scale_factor").map(|factor| vec![factor]),
        mode: match args.str("mode") {
            "nearest" => Resampling::Nearest,
            "nearest-exact" => Resampling::NearestExact,
            "bilinear" => Resampling::Linear,
            "bicubic" => Resampling::Bicubic,
            _ => Resampling::Area,
        },
        align_corners: args.bool("corners"),
        ..Default::default()
    })
}

fn activation(op: &str, given: &Given<'_>) -> Option<Vec<Tensor>> {
    let args = given.args;
    let dim = || args.isize("dim");
    Some(match op {
        "Relu" => given.forward(Relu),
        "Relu6" => given.forward(Relu6),
        "Gelu" => given.forward(Gelu),
        "GeluTanh" => given.forward(GeluTanh),
        "Silu" => given.forward(Silu),
        "Tanh" => given.forward(Tanh),
        "Sigmoid" => given.forward(Sigmoid),
        "LogSigmoid" => given.forward(LogSigmoid),
        "Hardswish" => given.forward(Hardswish),
        "Hardsigmoid" => given.forward(Hardsigmoid),
        "Mish" => given.forward(Mish),
        "Selu" => given.forward(Selu),
        "Softsign" => given.forward(Softsign),
        "Tanhshrink" => given.forward(Tanhshrink),
        "LeakyRelu" => given.forward(LeakyRelu {
            negative_slope: args.f64("negative_slope"),
        }),
        "Elu" => given.forward(Elu {
            alpha: args.f64("alpha"),
        }),
        "Celu" => given.forward(Celu {
            alpha: args.f64("alpha"),
        }),
        "Hardtanh" => given.forward(Hardtanh {
            min_val: args.f64("min_val"),
            max_val: args.f64("max_val"),
        }),
        "Softplus" => given.forward(Softplus {
            beta: args.f64("beta"),
            threshold: args.f64("threshold"),
        }),
        "Softshrink" => given.forward(Softshrink {
            lambda: args.f64("lambd"),
        }),
        "Hardshrink" => given.forward(Hardshrink {
            lambda: args.f64("lambd"),
        }),
        "Threshold" => given.forward(Threshold {
            threshold: args.f64("threshold"),
            value: args.f64("value"),
        }),
        "Softmax" => given.forward(Softmax { dim: dim() }),
        "LogSoftmax" => given.forward(LogSoftmax { dim: dim() }),
        "Softmin" => given.forward(Softmin { dim: dim() }),
        "Glu" => given.forward(Glu { dim: dim() }),
        "Rrelu" => given.forward(Rrelu::new(args.f64("lower"), args.f64("upper"))),
        "Prelu" => given.forward(Prelu::new(given.usize("num_parameters"), given.dev())),
        _ => return None,
    })
}
