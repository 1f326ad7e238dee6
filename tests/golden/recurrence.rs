//! The calls of recurrent cells and layers.

use wgrad::prelude::*;
use wgrad::{CellWeights, RecurrenceOptions};

use super::manifest::Args;

/// The weights of layers, one after the other.
fn layers(x: &[Tensor], args: &Args<'_>) -> Vec<CellWeights> {
    let bias = args.bool("bias");
    let each = x.chunks(if bias { 4 } else { 2 });
    let layer = |w: &[Tensor]| CellWeights {
        w_ih: w[0].clone(),
        w_hh: w[1].clone(),
        b_ih: w.get(2).cloned(),
        b_hh: w.get(3).cloned(),
    };
    each.map(layer).collect()
}

pub fn apply(op: &str, x: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let options = || RecurrenceOptions {
        batch_first: args.bool("batch_first"),
        bidirectional: args.bool("bidirectional"),
        dropout: 0.0,
    };
    let pair = |(y, h): (Tensor, Tensor)| vec![y, h];
    Some(match op {
        "lstm_cell" => pair(x[0].lstm_cell(&x[1], &x[2], &x[3], &x[4], x.get(5), x.get(6))),
        "gru_cell" => vec![x[0].gru_cell(&x[1], &x[2], &x[3], x.get(4), x.get(5))],
        "rnn_tanh_cell" => vec![x[0].rnn_tanh_cell(&x[1], &x[2], &x[3], x.get(4), x.get(5))],
        "rnn_relu_cell" => vec![x[0].rnn_relu_cell(&x[1], &x[2], &x[3], x.get(4), x.get(5))],
        "lstm" => {
            let (y, h, c) = x[0].lstm(&x[1], &x[2], &layers(&x[3..], args), options());
            vec![y, h, c]
        }
        "gru" => pair(x[0].gru(&x[1], &layers(&x[2..], args), options())),
        "rnn_tanh" => pair(x[0].rnn_tanh(&x[1], &layers(&x[2..], args), options())),
        "rnn_relu" => pair(x[0].rnn_relu(&x[1], &layers(&x[2..], args), options())),
        _ => return None,
    })
}
