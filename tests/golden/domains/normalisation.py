"""Normalisations."""

import torch
import torch.nn.functional as F

from cases import FLOATS, Input, coarse, laid, numbers

ROUGH = {"coarse": True}
# Second derivatives of f32 cancel in torch's steps and ours alike.
CANCELS = dict(rtol=2e-5, atol=2e-5, reason="sums of terms that cancel, in another order")


def cases(d):
    def layer(x, w=None, b=None, n=1, eps=1e-5):
        return F.layer_norm(x, x.shape[-n:], w, b, eps)

    def rms(x, w=None, n=1, eps=None):
        return F.rms_norm(x, x.shape[-n:], w, eps)

    def group(x, w=None, b=None, groups=2, eps=1e-5):
        return F.group_norm(x, groups, w, b, eps)

    def statistics(of):
        def f(x, *rest, running=False, weight=False, bias=False, training=True, momentum=0.1, eps=1e-5):
            rest = list(rest)
            mean, variance = [rest.pop(0).detach().clone(), rest.pop(0).detach().clone()] if running else [None, None]
            w, b = rest.pop(0) if weight else None, rest.pop(0) if bias else None
            y = of(x, mean, variance, w, b, training, momentum, eps)
            return [y, mean, variance] if running else y

        return f

    batch, instance = statistics(F.batch_norm), statistics(F.instance_norm)
    vector = lambda n, seed, dtype="f32": numbers((n,), seed, 0.3, 2, dtype)

    for dtype in FLOATS:
        rough = coarse(dtype, ROUGH)
        near = rough or (CANCELS if dtype == "f32" else {})
        x, w, b = numbers((3, 5), 1, -3, 3, dtype), vector(5, 2, dtype), vector(5, 3, dtype)
        d.case("layer_norm", layer, [x, w, b], **near)
        d.case("layer_norm", layer, [x], **near)
        d.case("rms_norm", rms, [x, w], **near)
        d.case("rms_norm", rms, [x], {"eps": 0.5}, **near)
        x, w, b = numbers((2, 4, 3), 4, -3, 3, dtype), vector(4, 5, dtype), vector(4, 6, dtype)
        d.case("group_norm", group, [x, w, b], **near)
        d.case("batch_norm", batch, [x, w, b], {"weight": True, "bias": True}, **near)
        d.case("instance_norm", instance, [x, w, b], {"weight": True, "bias": True}, **near)
        d.case("local_response_norm", F.local_response_norm, [x], {"size": 3, "alpha": 0.5, "beta": 0.75, "k": 1.0}, **near)
        d.case("normalize", F.normalize, [x], {"p": 2.0, "dim": [1], "eps": 1e-12}, **near)
        y = numbers((2, 4, 3), 7, -3, 3, dtype)
        d.case("cosine_similarity", F.cosine_similarity, [x, y], {"dim": 1, "eps": 1e-8}, **near)
        d.case("pairwise_distance", F.pairwise_distance, [x, y], {"p": 2.0, "eps": 1e-6, "keepdim": False}, **near)
        v, g = numbers((3, 2, 2), 8, -3, 3, dtype), numbers((3, 1, 1), 9, 0.3, 2, dtype)
        # torch's fused second derivative is wrong: its differences say so.
        weight_norm = lambda v, g, dim=-1: v * (g / torch.norm_except_dim(v, 2, dim))
        d.case("weight_norm", weight_norm, [v, g], {"dim": 0}, **near)
    for dtype in ["f16", "bf16"]:
        rough = coarse(dtype, ROUGH)
        x = numbers((3, 4), 1, -3, 3, dtype)
        d.case("layer_norm", layer, [x, vector(4, 2), vector(4, 3)], **rough)
        both = {"weight": True, "bias": True, "running": True}
        d.case("batch_norm", batch, [x, vector(4, 4), vector(4, 5), vector(4, 2), vector(4, 3)], both, **rough)

    x = numbers((3, 5), 10)
    forms = [*laid(x), numbers((0, 5), 1), numbers((2, 3, 67), 12)]
    for form in forms:
        n = 67 if not isinstance(form, Input) and form.shape[-1] == 67 else 5
        d.case("layer_norm", layer, [form, vector(n, 2), vector(n, 3)], **CANCELS)
        d.case("rms_norm", rms, [form, vector(n, 2)], **CANCELS)
    same = Input(numbers((3, 1), 11, -3, 3, "f64")).expand(3, 5)
    d.case("layer_norm", layer, [same, vector(5, 2, "f64"), vector(5, 3, "f64")])
    d.case("rms_norm", rms, [same, vector(5, 2, "f64")])
    d.case("layer_norm", layer, [numbers((2, 3, 4), 13), numbers((3, 4), 14), numbers((3, 4), 15)], {"n": 2, "eps": 0.1}, **CANCELS)
    d.case("layer_norm", layer, [numbers((6,), 13)], {"n": 1, "eps": 0.1}, **CANCELS)
    d.case("layer_norm", layer, [numbers((3, 1), 13, -3, 3, "f64"), numbers((1,), 14, -3, 3, "f64")])
    d.case("rms_norm", rms, [numbers((2, 3, 4), 16), numbers((3, 4), 17)], {"n": 2}, **CANCELS)
    d.case("rms_norm", rms, [torch.zeros(2, 3)], second=False)
    # A large mean does not cancel.
    d.case("layer_norm", layer, [numbers((3, 64), 18, 1000, 1001, "f64")])
    for form in [*laid(numbers((2, 6), 19)), numbers((3, 6, 2, 2), 20), numbers((0, 6), 1)]:
        for groups in [1, 3]:
            d.case("group_norm", group, [form, vector(6, 21), vector(6, 22)], {"groups": groups}, **CANCELS)
    d.case("group_norm", group, [numbers((2, 2, 1, 2), 20)], {"groups": 2, "eps": 0.1}, **CANCELS)
    for form in [*laid(numbers((4, 3), 23)), numbers((2, 3, 2, 2), 24), numbers((2, 3, 5), 25), Input(numbers((2, 4, 3), 26)).transpose(1, 2)]:
        for training in [True, False]:
            flags = {"running": True, "weight": True, "bias": True, "training": training, "momentum": 0.3, "eps": 0.01}
            d.case("batch_norm", batch, [form, vector(3, 27), vector(3, 28), vector(3, 29), vector(3, 30)], flags, **CANCELS)
        d.case("batch_norm", batch, [form, vector(3, 27), vector(3, 28)], {"running": True, "momentum": 1.0}, **CANCELS)
    d.case("batch_norm", batch, [numbers((0, 3), 1)])
    d.case("batch_norm", batch, [numbers((1, 3), 1), vector(3, 27), vector(3, 28)], {"running": True, "training": False}, **CANCELS)
    for form in [numbers((2, 3, 5), 31), numbers((2, 3, 2, 2), 32), Input(numbers((2, 4, 3), 33)).transpose(1, 2)]:
        for training in [True, False]:
            flags = {"running": True, "weight": True, "training": training}
            d.case("instance_norm", instance, [form, vector(3, 27), vector(3, 28), vector(3, 29)], flags, **CANCELS)
        d.case("instance_norm", instance, [form], {"eps": 0.1}, **CANCELS)
    for shape in [(2, 5, 3), (1, 2, 2, 2), (2, 3, 1, 2, 2), (2, 0, 3)]:
        for size in [1, 2, 3, 4, 12]:
            args = {"size": size, "alpha": 0.7, "beta": 0.6, "k": 1.5}
            d.case("local_response_norm", F.local_response_norm, [numbers(shape, 34)], args, **CANCELS)
    for v in [numbers((2, 3), 35), Input(numbers((3, 2), 36)).transpose(0, 1)]:
        d.case("weight_norm", weight_norm, [v, numbers((1, 3), 37)], {"dim": 1}, **CANCELS)
        d.case("weight_norm", weight_norm, [v, numbers((), 38)], **CANCELS)
    for p in [1.0, 2.0, 3.0, float("inf")]:
        x = torch.cat([numbers((3, 4), 39), torch.zeros(1, 4)])
        d.case("normalize", F.normalize, [x], {"p": p, "dim": [-1], "eps": 1e-12}, second=False)
        d.case("normalize", F.normalize, [numbers((3, 4), 40)], {"p": p, "dim": [0], "eps": 1e-12}, **CANCELS)
        two = [numbers((3, 4), 41), numbers((4,), 42)]
        for keepdim in [False, True]:
            d.case("pairwise_distance", F.pairwise_distance, two, {"p": p, "eps": 1e-6, "keepdim": keepdim}, **CANCELS)
    d.case("normalize", F.normalize, [numbers((2, 3, 2), 43)], {"p": 2.0, "dim": [0, 2], "eps": 3.0}, **CANCELS)
    for form in laid(numbers((3, 4), 44)):
        d.case("cosine_similarity", F.cosine_similarity, [form, numbers((4,), 45)], {"dim": 1, "eps": 1e-8}, **CANCELS)
        d.case("cosine_similarity", F.cosine_similarity, [form, numbers((3, 1), 45)], {"dim": 0, "eps": 1e-8}, **CANCELS)
    near_zero = torch.stack([torch.zeros(4), numbers((4,), 46, -1e-3, 1e-3), numbers((4,), 47)])
    d.case("cosine_similarity", F.cosine_similarity, [near_zero, numbers((3, 4), 48)], {"dim": 1, "eps": 0.1}, second=False)
