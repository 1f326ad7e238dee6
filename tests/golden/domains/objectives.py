"""Losses of nn::loss but for cross-entropies: torch's where it has them, formulas elsewhere."""

import math

import torch
import torch.nn.functional as F

from cases import FLOATS, coarse, laid, numbers

REDUCTIONS = ["mean", "sum", "none"]


def reduced(y, reduction):
    return {"mean": torch.mean, "sum": torch.sum, "none": lambda x: x}[reduction](y)


def signs(shape, seed, dtype="f32"):
    return torch.where(numbers(shape, seed, 0, 1) < 0.5, -1.0, 1.0).to(numbers(shape, 1, dtype=dtype).dtype)


def cases(d):
    regression(d)
    binary(d)
    margins(d)
    divergences(d)
    embeddings(d)
    impurities(d)


def constant(f):
    """Of the targets no derivative is asked: several of torch's losses have none."""
    return lambda x, t, *more, **args: f(x, t.detach(), *more, **args)


def regression(d):
    x, t = numbers((4, 5), 1), numbers((4, 5), 2)
    plain = {
        "huber_loss": lambda x, t, reduction="mean", delta=1.0: F.huber_loss(x, t, reduction, delta),
        "smooth_l1_loss": lambda x, t, reduction="mean", beta=1.0: F.smooth_l1_loss(x, t, reduction=reduction, beta=beta),
        "log_cosh_loss": lambda x, t, reduction="mean": reduced((x - t) + F.softplus(-2 * (x - t)) - math.log(2), reduction),
        "mse_loss": lambda x, t, reduction="mean": F.mse_loss(x, t, reduction=reduction),
        "l1_loss": lambda x, t, reduction="mean": F.l1_loss(x, t, reduction=reduction),
    }
    for op, f in plain.items():
        for dtype in FLOATS:
            rough = coarse(dtype, {"coarse": True})
            d.case(op, f, [numbers((4, 5), 1, dtype=dtype), numbers((4, 5), 2, dtype=dtype)], second=False, **rough)
        for reduction in REDUCTIONS:
            d.case(op, f, [x, t], {"reduction": reduction}, second=False)
        for form in laid(x):
            d.case(op, f, [form, t], second=False)
        d.case(op, f, [numbers((), 3), numbers((), 4)], second=False)
        d.case(op, f, [numbers((1000,), 3), numbers((1000,), 4)], second=False)
    for delta in [0.5, 2.0]:
        d.case("huber_loss", plain["huber_loss"], [x, t], {"delta": delta})
        d.case("smooth_l1_loss", plain["smooth_l1_loss"], [x, t], {"beta": delta})
    d.case("smooth_l1_loss", plain["smooth_l1_loss"], [x, t], {"beta": 0.0}, second=False)
    d.case("rmse_loss", lambda x, t: F.mse_loss(x, t).sqrt(), [x, t])


def binary(d):
    def bce(p, t, weight=None, reduction="mean"):
        return F.binary_cross_entropy(p, t.detach(), None if weight is None else weight.detach(), reduction=reduction)

    def logits(x, t, weight=None, pos=None, reduction="mean"):
        own = lambda w: None if w is None else w.detach()
        return F.binary_cross_entropy_with_logits(x, t.detach(), own(weight), reduction=reduction, pos_weight=own(pos))

    def focal(x, t, reduction="mean", alpha=0.25, gamma=2.0):
        # torchvision.ops.sigmoid_focal_loss.
        p = torch.sigmoid(x)
        ce = F.binary_cross_entropy_with_logits(x, t, reduction="none")
        loss = ce * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
        if alpha >= 0:
            loss = (alpha * t + (1 - alpha) * (1 - t)) * loss
        return reduced(loss, reduction)

    def dice(p, t, reduction="mean", smooth=1.0):
        p, t = p.flatten(1), t.flatten(1)
        return reduced(1 - (2 * (p * t).sum(1) + smooth) / (p.sum(1) + t.sum(1) + smooth), reduction)

    x, p = numbers((4, 5), 1), numbers((4, 5), 2, 0.05, 0.95)
    t = numbers((4, 5), 3, 0, 1)
    weight, pos = numbers((5,), 4, 0.3, 2), numbers((5,), 5, 0.3, 2)
    full = numbers((4, 5), 6, 0.3, 2)
    for reduction in REDUCTIONS:
        args = {"reduction": reduction}
        for w in [[], [weight], [full]]:
            d.case("binary_cross_entropy", bce, [p, t, *w], args, second=False)
            d.case("binary_cross_entropy_with_logits", logits, [x, t, *w], args, second=False)
        d.case("binary_cross_entropy_with_logits", logits, [x, t, weight, pos], args, second=False)
        d.case("focal_loss", focal, [x, t], args, second=False)
        d.case("dice_loss", dice, [p, t], args)
    for alpha, gamma in [(0.7, 1.5), (-1.0, 3.0), (0.25, 0.0)]:
        d.case("focal_loss", focal, [x, t.round()], {"alpha": alpha, "gamma": gamma}, second=False)
    for dtype in FLOATS:
        rough = coarse(dtype, {"coarse": True})
        x16, t16 = numbers((4, 5), 1, dtype=dtype), numbers((4, 5), 3, 0, 1, dtype)
        d.case("binary_cross_entropy_with_logits", logits, [x16, t16], second=False, **rough)
        d.case("focal_loss", focal, [x16, t16], second=False, **rough)
        d.case("dice_loss", dice, [t16, t16.flip(0)], second=False, **rough)
    d.case("dice_loss", dice, [numbers((2, 3, 4), 7, 0, 1), numbers((2, 3, 4), 8, 0, 1)], {"smooth": 0.5})
    for form in laid(x):
        d.case("focal_loss", focal, [form, t], second=False)


def margins(d):
    x = numbers((4, 5), 1)
    pairs = {
        "hinge_loss": lambda x, t, reduction="mean": reduced((1 - t * x).relu(), reduction),
        "squared_hinge_loss": lambda x, t, reduction="mean": reduced((1 - t * x).relu() ** 2, reduction),
        "exponential_loss": lambda x, t, reduction="mean": reduced((-t * x).exp(), reduction),
        "soft_margin_loss": constant(lambda x, t, reduction="mean": F.soft_margin_loss(x, t, reduction=reduction)),
        "hinge_embedding_loss": constant(lambda x, t, reduction="mean", margin=1.0: F.hinge_embedding_loss(x, t, margin, reduction=reduction)),
    }
    for op, f in pairs.items():
        f = constant(f)
        for reduction in REDUCTIONS:
            d.case(op, f, [x, signs((4, 5), 2)], {"reduction": reduction}, second=False)
        for dtype in FLOATS:
            rough = coarse(dtype, {"coarse": True})
            d.case(op, f, [numbers((4, 5), 1, dtype=dtype), signs((4, 5), 2, dtype)], second=False, **rough)
        for form in laid(x):
            d.case(op, f, [form, signs((4, 5), 2)], second=False)
    d.case("hinge_embedding_loss", constant(pairs["hinge_embedding_loss"]), [x, signs((4, 5), 2)], {"margin": 0.3}, second=False)

    def ranking(a, b, t, reduction="mean", margin=0.0):
        return F.margin_ranking_loss(a, b, t.detach(), margin, reduction=reduction)

    def multi(x, t, weight=None, reduction="mean", p=1, margin=1.0):
        weight = None if weight is None else weight.detach()
        return F.multi_margin_loss(x, t.long(), p, margin, weight, reduction=reduction)

    def multilabel(x, t, reduction="mean"):
        return F.multilabel_margin_loss(x, t.long(), reduction=reduction)

    def multilabel_soft(x, t, weight=None, reduction="mean"):
        weight = None if weight is None else weight.detach()
        return F.multilabel_soft_margin_loss(x, t.detach(), weight, reduction=reduction)

    t = numbers((4,), 3, 0, 5, "i32")
    labels = torch.tensor([[3, 0, -1, 1, 2], [1, 2, 3, 4, 0], [-1, 0, 1, 2, 3], [2, -1, -1, 0, 0]], dtype=torch.int32)
    weight = numbers((5,), 4, 0.3, 2)
    for reduction in REDUCTIONS:
        args = {"reduction": reduction}
        d.case("margin_ranking_loss", ranking, [numbers((6,), 5), numbers((6,), 6), signs((6,), 7)], {**args, "margin": 0.5}, second=False)
        for p in [1, 2]:
            more = {**args, "p": p}
            d.case("multi_margin_loss", multi, [x, t], more, second=False)
            d.case("multi_margin_loss", multi, [x, t, weight], {**more, "margin": 0.4}, second=False)
        d.case("multilabel_margin_loss", multilabel, [x, labels], args, second=False)
        d.case("multilabel_soft_margin_loss", multilabel_soft, [x, numbers((4, 5), 8, 0, 1).round()], args, second=False)
        d.case("multilabel_soft_margin_loss", multilabel_soft, [x, numbers((4, 5), 8, 0, 1).round(), weight], args, second=False)
    d.case("margin_ranking_loss", ranking, [numbers((6,), 5), numbers((6,), 6), signs((6,), 7)], second=False)
    d.case("multi_margin_loss", multi, [x[0], t[0]], second=False)
    d.case("multilabel_margin_loss", multilabel, [x[0], labels[0]], second=False)
    for form in laid(x):
        d.case("multi_margin_loss", multi, [form, t.long()], second=False)
        d.case("multilabel_margin_loss", multilabel, [form, labels.long()], second=False)
    d.case("multi_margin_loss", multi, [x.double(), t], second=False)


def divergences(d):
    def kl(x, t, reduction="mean", log_target=False):
        return F.kl_div(x, t, reduction=reduction, log_target=log_target)

    def poisson(x, t, reduction="mean", log_input=True, full=False, eps=1e-8):
        return F.poisson_nll_loss(x, t.detach(), log_input, full, eps=eps, reduction=reduction)

    def gaussian(x, t, v, reduction="mean", full=False, eps=1e-6):
        return F.gaussian_nll_loss(x, t, v, full, eps, reduction)

    x, p = torch.log_softmax(numbers((4, 5), 1), 1), torch.softmax(numbers((4, 5), 2), 1)
    zero = p.clone()
    zero[0, 0] = 0
    t = numbers((4, 5), 3, 0, 6).floor()
    positive, v = numbers((4, 5), 4, 0.2, 4), numbers((4, 5), 5, 0.2, 2)
    for reduction in [*REDUCTIONS, "batchmean"]:
        d.case("kl_div", kl, [x, p], {"reduction": reduction}, second=False)
        d.case("kl_div", kl, [x, p.log()], {"reduction": reduction, "log_target": True}, second=False)
    d.case("kl_div", kl, [x, zero], grad=False)
    for reduction in REDUCTIONS:
        args = {"reduction": reduction}
        d.case("poisson_nll_loss", poisson, [numbers((4, 5), 6), t], args, second=False)
        d.case("poisson_nll_loss", poisson, [positive, t], {**args, "log_input": False, "eps": 1e-3}, second=False)
        d.case("poisson_nll_loss", poisson, [numbers((4, 5), 6), t], {**args, "full": True}, second=False)
        d.case("gaussian_nll_loss", gaussian, [numbers((4, 5), 7), numbers((4, 5), 8), v], args, second=False)
        d.case("gaussian_nll_loss", gaussian, [numbers((4, 5), 7), numbers((4, 5), 8), v], {**args, "full": True}, second=False)
        d.case("gaussian_nll_loss", gaussian, [numbers((4, 5), 7), numbers((4, 5), 8), v[:, :1]], args, second=False)
    # The derivative passes the least variance, and so is not the limit of differences: too many elements for these.
    many = [numbers((9, 10), 7), numbers((9, 10), 8), numbers((9, 10), 5, 0.2, 2)]
    d.case("gaussian_nll_loss", gaussian, many, {"eps": 0.7}, second=False)
    for form in laid(x):
        d.case("kl_div", kl, [form, p], second=False)
    for dtype in ["f64", "f32"]:
        d.case("gaussian_nll_loss", gaussian, [numbers((3,), 7, dtype=dtype), numbers((3,), 8, dtype=dtype), numbers((3,), 9, 0.5, 2, dtype)])


def embeddings(d):
    def cosine(a, b, t, reduction="mean", margin=0.0):
        return F.cosine_embedding_loss(a, b, t, margin, reduction=reduction)

    def triplet(a, p, n, reduction="mean", margin=1.0, p_norm=2.0, swap=False):
        return F.triplet_margin_loss(a, p, n, margin, p_norm, swap=swap, reduction=reduction)

    def nce(q, k, temperature=0.07):
        q, k = F.normalize(q, dim=1, eps=1e-12), F.normalize(k, dim=1, eps=1e-12)
        return F.cross_entropy(q @ k.T / temperature, torch.arange(q.shape[0]))

    a, b, c = (numbers((6, 4), seed) for seed in (1, 2, 3))
    t = signs((6,), 4).int()
    for reduction in REDUCTIONS:
        args = {"reduction": reduction}
        d.case("cosine_embedding_loss", cosine, [a, b, t], args, second=False)
        d.case("cosine_embedding_loss", cosine, [a, b, t], {**args, "margin": 0.3}, second=False)
        d.case("triplet_margin_loss", triplet, [a, b, c], args, second=False)
        d.case("triplet_margin_loss", triplet, [a, b, c], {**args, "margin": 0.5, "swap": True}, second=False)
    d.case("cosine_embedding_loss", cosine, [a[0], b[0], torch.tensor(-1, dtype=torch.int32)], second=False)
    for p in [1.0, 3.0]:
        d.case("triplet_margin_loss", triplet, [a, b, c], {"p_norm": p, "margin": 2.0}, second=False)
    d.case("info_nce", nce, [a, b])
    d.case("info_nce", nce, [a, b], {"temperature": 0.5})
    for form in laid(a):
        d.case("cosine_embedding_loss", cosine, [form, b, t], second=False)
        d.case("triplet_margin_loss", triplet, [form, b, c], second=False)
        d.case("info_nce", nce, [form, b])


def impurities(d):
    def shares(n):
        return n / n.sum(-1, keepdim=True)

    def entropy(n):
        p = shares(n)
        return -torch.xlogy(p, p).sum(-1) / math.log(2)

    def gain(n):
        sizes = n.sum(-1)
        return entropy(n.sum(-2)) - (entropy(n) * sizes).sum(-1) / sizes.sum(-1)

    n = numbers((3, 4, 5), 1, 0.5, 20)
    d.case("gini_impurity", lambda n: 1 - (shares(n) ** 2).sum(-1), [n], second=False)
    d.case("entropy", entropy, [n], second=False)
    d.case("information_gain", gain, [n], second=False)
    for form in laid(n):
        d.case("entropy", entropy, [form], second=False)
    d.case("within_cluster_sum_of_squares", lambda x, c, t: ((x - c[t.long()]) ** 2).sum(), [numbers((7, 3), 2), numbers((4, 3), 3), numbers((7,), 4, 0, 4, "i32")])
