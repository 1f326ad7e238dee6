//! The layers over sequences: recurrence, attention, transformers.

use wgrad::nn::*;
use wgrad::prelude::*;

use super::layers::Given;

/// Runs a layer with one state: from zeros, or from what is given.
macro_rules! one_state {
    ($given:ident $layer:expr) => {
        $given.run($layer, |layer, x| {
            let (y, h) = match x.get(1) {
                None => layer.forward(&x[0])?,
                Some(h) => layer.forward_from(&x[0], h)?,
            };
            Ok(vec![y, h])
        })
    };
}

pub fn recurrent(op: &str, given: &Given<'_>) -> Option<Vec<Tensor>> {
    let (args, dev) = (given.args, given.dev());
    if !["Rnn", "Gru", "Lstm"].contains(&op.trim_end_matches("Cell")) {
        return None;
    }
    let (input, hidden) = (given.usize("input_size"), given.usize("hidden_size"));
    let nonlinearity = match args.opt_str("nonlinearity") {
        Some("relu") => Nonlinearity::Relu,
        _ => Nonlinearity::Tanh,
    };
    macro_rules! options {
        ($options:ident { $($more:tt)* }) => {
            $options {
                num_layers: given.usize("num_layers"),
                bias: args.bool("bias"),
                batch_first: args.bool("batch_first"),
                dropout: args.f64("dropout"),
                bidirectional: args.bool("bidirectional"),
                $($more)*
            }
        };
    }
    macro_rules! cell {
        ($cell:ident) => {
            match args.bool("bias") {
                true => $cell::new(input, hidden, dev),
                false => $cell::without_bias(input, hidden, dev),
            }
        };
    }
    Some(match op {
        "Rnn" => {
            one_state!(given Rnn::with(input, hidden, options!(RnnOptions { nonlinearity }), dev))
        }
        "Gru" => one_state!(given Gru::with(input, hidden, options!(GruOptions {}), dev)),
        "Lstm" => {
            let proj_size = if args.has("proj_size") {
                given.usize("proj_size")
            } else {
                0
            };
            let options = options!(LstmOptions { proj_size });
            given.run(Lstm::with(input, hidden, options, dev), |layer, x| {
                let (y, (h, c)) = match x {
                    [x, h, c] => layer.forward_from(x, (h, c))?,
                    _ => layer.forward(&x[0])?,
                };
                Ok(vec![y, h, c])
            })
        }
        "RnnCell" => {
            let cell = RnnCell::with(input, hidden, args.bool("bias"), nonlinearity, dev);
            given.run(cell, |cell, x| {
                Ok(vec![match x.get(1) {
                    None => cell.forward(&x[0])?,
                    Some(h) => cell.forward_from(&x[0], h)?,
                }])
            })
        }
        "GruCell" => given.run(cell!(GruCell), |cell, x| {
            Ok(vec![match x.get(1) {
                None => cell.forward(&x[0])?,
                Some(h) => cell.forward_from(&x[0], h)?,
            }])
        }),
        _ => given.run(cell!(LstmCell), |cell, x| {
            let (h, c) = match x {
                [x, h, c] => cell.forward_from(x, (h, c))?,
                _ => cell.forward(&x[0])?,
            };
            Ok(vec![h, c])
        }),
    })
}

pub fn transformers(op: &str, given: &Given<'_>) -> Option<Vec<Tensor>> {
    let (args, dev) = (given.args, given.dev());
    if op == "MultiheadAttention" {
        return Some(attention(given));
    }
    if !op.starts_with("Transformer") {
        return None;
    }
    let options = TransformerLayerOptions {
        dim_feedforward: given.usize("dim_feedforward"),
        // torch's cases are without, which in training is the same as none.
        dropout: 0.0,
        activation: match args.str("activation") {
            "gelu" => Activation::Gelu,
            _ => Activation::Relu,
        },
        layer_norm_eps: args.f64("layer_norm_eps"),
        batch_first: args.bool("batch_first"),
        norm_first: args.bool("norm_first"),
        bias: args.bool("bias"),
    };
    let (size, heads) = (given.usize("d_model"), given.usize("nhead"));
    let causal = args.has("causal") && args.bool("causal");
    let masks = if causal {
        Masks::causal()
    } else {
        Masks::default()
    };
    let norm = || args.bool("norm").then(|| LayerNorm::new(size, dev));
    let decoder_layer = || TransformerDecoderLayer::with(size, heads, options, dev);
    let encoder_layer = || TransformerEncoderLayer::with(size, heads, options, dev);
    Some(match op {
        "TransformerEncoderLayer" => given.run(encoder_layer(), |layer, x| {
            Ok(vec![layer.forward_masked(&x[0], &masks)?])
        }),
        "TransformerDecoderLayer" => given.run(decoder_layer(), |layer, x| {
            Ok(vec![layer.forward_masked(
                &x[0],
                &x[1],
                &masks,
                &Masks::default(),
            )?])
        }),
        "TransformerEncoder" => {
            let layers = (0..given.usize("num_layers"))
                .map(|_| encoder_layer())
                .collect();
            given.forward(TransformerEncoder {
                layers,
                norm: norm(),
            })
        }
        "TransformerDecoder" => {
            let layers = (0..given.usize("num_layers"))
                .map(|_| decoder_layer())
                .collect();
            let decoder = TransformerDecoder {
                layers,
                norm: norm(),
            };
            given.run(decoder, |layer, x| Ok(vec![layer.forward(&x[0], &x[1])?]))
        }
        "Transformer" => {
            let layers = ["num_encoder_layers", "num_decoder_layers"].map(|n| given.usize(n));
            let model = Transformer::with(size, heads, layers, options, dev);
            given.run(model, |layer, x| Ok(vec![layer.forward(&x[0], &x[1])?]))
        }
        _ => return None,
    })
}

fn attention(given: &Given<'_>) -> Vec<Tensor> {
    let args = given.args;
    let options = MultiheadAttentionOptions {
        dropout: args.f64("dropout"),
        bias: args.bool("bias"),
        kdim: args.opt_isize("kdim").map(|n| n as usize),
        vdim: args.opt_isize("vdim").map(|n| n as usize),
        batch_first: args.bool("batch_first"),
        add_bias_kv: args.has("add_bias_kv"),
        add_zero_attn: args.has("add_zero_attn"),
        alibi: false,
    };
    let (size, heads) = (given.usize("embed_dim"), given.usize("num_heads"));
    let layer = MultiheadAttention::with(size, heads, options, given.dev());
    let weights = args.bool("weights");
    given.run(layer, |layer, x| {
        let mut masks = Masks {
            is_causal: args.bool("causal"),
            ..Masks::default()
        };
        for (name, mask) in args.values("masks").iter().zip(&x[3..]) {
            match name.as_str() {
                Some("attn_mask") => masks.attn_mask = Some(mask.clone()),
                _ => masks.key_padding_mask = Some(mask.clone()),
            }
        }
        if !weights {
            return Ok(vec![layer.forward_masked(&x[0], &x[1], &x[2], &masks)?]);
        }
        let average = args.bool("average");
        let (y, weights) = layer.forward_with_weights(&x[0], &x[1], &x[2], &masks, average)?;
        Ok(vec![y, weights])
    })
}
