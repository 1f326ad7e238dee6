"""What is done to pictures and their channels."""

import torch
import torch.nn.functional as F

from cases import FLOATS, Input, laid, numbers, special

TYPES = [*FLOATS, "i64", "i32", "u8", "bool"]


def cases(d):
    padding(d)
    channels(d)
    dropouts(d)


def padding(d):
    pad = lambda x, padding, mode, value=0: F.pad(x, padding, mode, value if mode == "constant" else None)
    modes = ["constant", "reflect", "replicate", "circular"]
    for mode in modes:
        for dtype in TYPES:
            if dtype == "bool" and mode != "constant":
                continue
            d.case("pad", pad, [numbers((2, 3, 4), 1, -3, 3, dtype) if dtype[0] != "u" else numbers((2, 3, 4), 1, 0, 9, dtype)], {"padding": [1, 2], "mode": mode})
        for form in [*laid(numbers((2, 3, 4), 2)), Input(numbers((1, 3, 1), 3)).expand(2, 3, 4)]:
            d.case("pad", pad, [form], {"padding": [2, 1], "mode": mode})
        for sides in [[0, 0], [3, 0], [0, 3], [-1, 2], [2, -1], [-1, -2], [1, 1]]:
            d.case("pad", pad, [numbers((2, 4), 4)], {"padding": sides, "mode": mode})
        d.case("pad", pad, [numbers((2, 3, 4, 5), 5)], {"padding": [1, 2, 3, 0], "mode": mode})
        d.case("pad", pad, [numbers((3, 4, 5), 5)], {"padding": [4, 2, -1, 3], "mode": mode})
        d.case("pad", pad, [numbers((1, 2, 2, 3, 4), 6)], {"padding": [1, 1, 2, 0, 1, 1], "mode": mode})
        d.case("pad", pad, [numbers((0, 2, 4), 6)], {"padding": [1, 1], "mode": mode})
        d.case("pad", pad, [numbers((2, 1), 6)], {"padding": [0, 0] if mode == "reflect" else [1, 1], "mode": mode})
    d.case("pad", pad, [numbers((2, 4), 7)], {"padding": [-2, 6], "mode": "replicate"})
    d.case("pad", pad, [numbers((2, 4), 7)], {"padding": [-4, 4], "mode": "replicate"})
    d.case("pad", pad, [numbers((2, 4), 7)], {"padding": [3, -3], "mode": "reflect"})
    for value in [1.5, -2.0, float("nan"), float("inf"), -0.0]:
        for sides in [[1, 2], [0, 1, -1, 2], [-1, 0, 0, 1, 1, 0], []]:
            d.case("pad", pad, [numbers((2, 3, 4), 8)], {"padding": sides, "mode": "constant", "value": value})
    d.case("pad", pad, [numbers((), 8)], {"padding": [], "mode": "constant"})
    d.case("pad", pad, [numbers((0, 0), 8)], {"padding": [1, 1, 1, 0], "mode": "constant", "value": 2})
    d.case("pad", pad, [numbers((3,), 8, dtype="bool")], {"padding": [1, 1], "mode": "constant", "value": True})
    d.case("pad", pad, [special("f32")], {"padding": [1, 1], "mode": "constant"}, second=False)


def channels(d):
    each = {
        "pixel_shuffle": (F.pixel_shuffle, "r", [((4, 2, 3), 2), ((2, 9, 1, 2), 3), ((2, 1, 4, 3, 2), 2), ((4, 0, 3), 2), ((3, 2, 2), 1)]),
        "pixel_unshuffle": (F.pixel_unshuffle, "r", [((1, 4, 6), 2), ((2, 2, 3, 6), 3), ((2, 1, 1, 4, 2), 2)]),
        "channel_shuffle": (F.channel_shuffle, "groups", [((1, 6, 2), 3), ((2, 6, 2, 2), 2), ((2, 4, 1, 2, 2), 4), ((2, 4, 0), 2)]),
    }
    for op, (f, name, shapes) in each.items():
        of = lambda x, **args: f(x, args[name])
        for i, (shape, n) in enumerate(shapes):
            forms = [numbers(shape, 1, dtype=t) for t in (TYPES if i == 0 else ["f32"])] + laid(numbers(shape, 1))
            for form in forms:
                # torch has no derivative where there are no elements.
                d.case(op, of, [form], {name: n}, grad=0 not in shape)


def dropouts(d):
    # What is drawn is in other tests; here is what draws nothing.
    ranks = {"dropout": 1, "feature_dropout": 3, "dropout1d": 3, "dropout2d": 4, "dropout3d": 5, "alpha_dropout": 2, "feature_alpha_dropout": 3}
    for op, rank in ranks.items():
        f = torch.feature_dropout if op == "feature_dropout" else getattr(F, op)
        of = lambda x, p, training: f(x, p, training)
        shape = (2, 3, 2, 1, 2)[:rank]
        d.case(op, of, [numbers(shape, 9)], {"p": 0.5, "training": False})
        d.case(op, of, [numbers(shape, 10)], {"p": 0.0, "training": True})
        d.case(op, of, [numbers(shape, 11, dtype="f16")], {"p": 0.5, "training": False})
