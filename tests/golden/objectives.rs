//! The calls of losses other than cross-entropies.

use wgrad::nn::loss::{self, *};
use wgrad::prelude::*;

use super::manifest::Args;

fn reduction(args: &Args<'_>) -> Reduction {
    match args.opt_str("reduction") {
        Some("sum") => Reduction::Sum,
        Some("none") => Reduction::None,
        _ => Reduction::Mean,
    }
}

fn kl_reduction(args: &Args<'_>) -> KlReduction {
    match args.opt_str("reduction") {
        Some("sum") => KlReduction::Sum,
        Some("none") => KlReduction::None,
        Some("batchmean") => KlReduction::BatchMean,
        _ => KlReduction::Mean,
    }
}

/// Operands without a derivative, as some of torch's losses have none by their targets.
pub fn is_constant(op: &str, operand: usize) -> bool {
    match op {
        "binary_cross_entropy"
        | "binary_cross_entropy_with_logits"
        | "hinge_loss"
        | "squared_hinge_loss"
        | "exponential_loss"
        | "soft_margin_loss"
        | "hinge_embedding_loss"
        | "multi_margin_loss"
        | "multilabel_soft_margin_loss"
        | "poisson_nll_loss" => operand > 0,
        "margin_ranking_loss" => operand > 1,
        _ => false,
    }
}

pub fn apply(op: &str, operands: &[Tensor], args: &Args<'_>) -> Option<Vec<Tensor>> {
    let constant = |(i, x): (usize, &Tensor)| match is_constant(op, i) {
        true => x.detach(),
        false => x.clone(),
    };
    let x: Vec<Tensor> = operands.iter().enumerate().map(constant).collect();
    let weight = |i: usize| x.get(i).cloned();
    let reduction = reduction(args);
    let number = |name: &str, default: f64| args.opt_f64(name).unwrap_or(default);
    let flag = |name: &str| args.has(name) && args.bool(name);
    let y = match op {
        "mse_loss" => mse_loss_with(&x[0], &x[1], reduction),
        "l1_loss" => l1_loss_with(&x[0], &x[1], reduction),
        "rmse_loss" => rmse_loss(&x[0], &x[1]),
        "log_cosh_loss" => log_cosh_loss_with(&x[0], &x[1], reduction),
        "huber_loss" => {
            let delta = number("delta", 1.0);
            huber_loss_with(&x[0], &x[1], HuberOptions { delta, reduction })
        }
        "smooth_l1_loss" => {
            let beta = number("beta", 1.0);
            smooth_l1_loss_with(&x[0], &x[1], SmoothL1Options { beta, reduction })
        }
        "binary_cross_entropy" => {
            let weight = weight(2);
            binary_cross_entropy_with(&x[0], &x[1], BceOptions { weight, reduction })
        }
        "binary_cross_entropy_with_logits" => {
            let options = BceLogitsOptions {
                weight: weight(2),
                pos_weight: weight(3),
                reduction,
            };
            binary_cross_entropy_with_logits_with(&x[0], &x[1], options)
        }
        "focal_loss" => {
            let options = FocalOptions {
                alpha: Some(number("alpha", 0.25)).filter(|alpha| *alpha >= 0.0),
                gamma: number("gamma", 2.0),
                reduction,
            };
            focal_loss_with(&x[0], &x[1], options)
        }
        "dice_loss" => dice_loss_with(&x[0], &x[1], number("smooth", 1.0), reduction),
        "hinge_loss" => hinge_loss_with(&x[0], &x[1], reduction),
        "squared_hinge_loss" => squared_hinge_loss_with(&x[0], &x[1], reduction),
        "exponential_loss" => exponential_loss_with(&x[0], &x[1], reduction),
        "soft_margin_loss" => soft_margin_loss_with(&x[0], &x[1], reduction),
        "hinge_embedding_loss" => {
            let margin = number("margin", 1.0);
            let options = HingeEmbeddingOptions { margin, reduction };
            hinge_embedding_loss_with(&x[0], &x[1], options)
        }
        "margin_ranking_loss" => {
            let margin = number("margin", 0.0);
            let options = MarginRankingOptions { margin, reduction };
            margin_ranking_loss_with(&x[0], &x[1], &x[2], options)
        }
        "multi_margin_loss" => {
            let options = MultiMarginOptions {
                p: number("p", 1.0) as u8,
                margin: number("margin", 1.0),
                weight: weight(2),
                reduction,
            };
            multi_margin_loss_with(&x[0], &x[1], options)
        }
        "multilabel_margin_loss" => multilabel_margin_loss_with(&x[0], &x[1], reduction),
        "multilabel_soft_margin_loss" => {
            let weight = weight(2);
            let options = MultilabelOptions { weight, reduction };
            multilabel_soft_margin_loss_with(&x[0], &x[1], options)
        }
        "kl_div" => {
            let options = KlDivOptions {
                log_target: flag("log_target"),
                reduction: kl_reduction(args),
            };
            kl_div_with(&x[0], &x[1], options)
        }
        "poisson_nll_loss" => {
            let options = PoissonNllOptions {
                log_input: !args.has("log_input") || args.bool("log_input"),
                full: flag("full"),
                eps: number("eps", 1e-8),
                reduction,
            };
            poisson_nll_loss_with(&x[0], &x[1], options)
        }
        "gaussian_nll_loss" => {
            let options = GaussianNllOptions {
                full: flag("full"),
                eps: number("eps", 1e-6),
                reduction,
            };
            gaussian_nll_loss_with(&x[0], &x[1], &x[2], options)
        }
        "cosine_embedding_loss" => {
            let margin = number("margin", 0.0);
            let options = CosineEmbeddingOptions { margin, reduction };
            cosine_embedding_loss_with(&x[0], &x[1], &x[2], options)
        }
        "triplet_margin_loss" => {
            let options = TripletMarginOptions {
                margin: number("margin", 1.0),
                p: number("p_norm", 2.0),
                swap: flag("swap"),
                reduction,
                ..TripletMarginOptions::default()
            };
            triplet_margin_loss_with(&x[0], &x[1], &x[2], options)
        }
        "info_nce" => info_nce(&x[0], &x[1], number("temperature", 0.07)),
        "gini_impurity" => gini_impurity(&x[0]),
        "entropy" => loss::entropy(&x[0]),
        "information_gain" => information_gain(&x[0]),
        "within_cluster_sum_of_squares" => within_cluster_sum_of_squares(&x[0], &x[1], &x[2]),
        _ => return None,
    };
    Some(vec![y])
}
