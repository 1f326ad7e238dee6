"""What is done to pictures and their channels."""

import torch
import torch.nn.functional as F

from cases import FLOATS, Input, coarse, laid, numbers, special

TYPES = [*FLOATS, "i64", "i32", "u8", "bool"]


def cases(d):
    padding(d)
    channels(d)
    dropouts(d)
    sizes(d)
    grids(d)
    antialiased(d)


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


LINES = {1: "linear", 2: "bilinear", 3: "trilinear"}
NEAR = dict(rtol=1e-5, atol=1e-5, reason="positions are rounded in f32")


def resize(x, mode, size=None, scale_factor=None, align_corners=False, recompute=False, antialias=False):
    lines = mode in ("linear", "bicubic")
    mode = LINES[x.dim() - 2] if mode == "linear" else mode
    align_corners = align_corners if lines else None
    return F.interpolate(x, size, scale_factor, mode, align_corners, recompute or None, antialias)


def sizes(d):
    modes = ["nearest", "nearest-exact", "linear", "bicubic", "area"]
    for mode in modes:
        base = (2, 1, 3, 5) if mode == "bicubic" else (2, 3, 5)
        ranks = [(2, 1, 4, 5)] if mode == "bicubic" else [(2, 3, 5), (2, 1, 4, 5), (1, 2, 2, 3, 4)]
        for dtype in FLOATS:
            x = numbers(base, 1, -3, 3, dtype)
            rough = coarse(dtype, {"coarse": True}) or (NEAR if dtype == "f32" else {})
            d.case("interpolate", resize, [x], {"mode": mode, "size": [7] * (len(base) - 2)}, **rough)
        for shape in ranks:
            n = len(shape) - 2
            forms = [numbers(shape, 2), *laid(numbers(shape, 2))]
            for form in forms:
                d.case("interpolate", resize, [form], {"mode": mode, "size": [6, 3, 5][:n]}, **NEAR)
            for size in [[1, 1, 1], [2, 9, 4], [4, 10, 8], list(shape[2:])]:
                d.case("interpolate", resize, [forms[0]], {"mode": mode, "size": size[:n]}, **NEAR)
                if mode in ("linear", "bicubic"):
                    args = {"mode": mode, "size": size[:n], "align_corners": True}
                    d.case("interpolate_with", resize, [forms[0]], args, **NEAR)
            for factor in [[2.0, 1.5, 0.7], [0.5, 2.4, 1.0], [1.1, 1.0, 2.0]]:
                for recompute in [False, True]:
                    if mode in ("nearest", "bicubic") and factor[0] == 1.1:
                        continue  # torch's derivatives ignore the factor where the size stays, or is twice as large
                    args = {"mode": mode, "scale_factor": factor[:n], "recompute": recompute}
                    d.case("interpolate_with", resize, [forms[0]], args, **NEAR)
        d.case("interpolate", resize, [numbers((0, *base[1:]), 3)], {"mode": mode, "size": [4] * (len(base) - 2)})
    x = numbers((1, 1, 5), 4)
    x[0, 0, 1], x[0, 0, 4] = float("nan"), float("inf")
    for mode in ["nearest", "nearest-exact", "linear", "area"]:
        d.case("interpolate", resize, [x], {"mode": mode, "size": [3]}, second=False, grad=False)
    d.case("interpolate", resize, [numbers((1, 2, 5), 5, 0, 9, "u8")], {"mode": "nearest", "size": [8]})
    d.case("interpolate", resize, [numbers((1, 1, 37), 6)], {"mode": "area", "size": [11]}, **NEAR)


def antialiased(d):
    for mode in ["linear", "bicubic"]:
        def case(x, size=None, scale_factor=None, **options):
            args = {"mode": mode, "size": size, "scale_factor": scale_factor, "antialias": True}
            more = {name: options.pop(name) for name in ["align_corners", "recompute"] if name in options}
            args = {name: value for name, value in (args | more).items() if value is not None}
            d.case("interpolate_with", resize, [x], args, **(NEAR | options))

        # torch has no halves of it on the CPU.
        for dtype in ["f64", "f32"]:
            case(numbers((2, 1, 7, 9), 7, -3, 3, dtype), [3, 4])
        x = numbers((1, 2, 7, 13), 8)
        for form in [x, *laid(x)]:
            case(form, [3, 5])
        for size in [[1, 1], [7, 4], [5, 13], [2, 30], [20, 3], [7, 13]]:
            for align_corners in [False, True]:
                case(x, size, align_corners=align_corners)
        for factor in [[0.5, 0.3], [0.7, 1.4], [2.0, 0.21]]:
            for recompute in [False, True]:
                case(x, scale_factor=factor, recompute=recompute)
        case(numbers((1, 1, 3, 301), 9), [2, 4])
        case(numbers((0, 1, 5, 5), 3), [2, 3])
        x = numbers((1, 1, 2, 9), 4)
        x[0, 0, 0, 3], x[0, 0, 1, 8] = float("nan"), float("inf")
        case(x, [2, 4], second=False, grad=False)


def grids(d):
    def sample(x, grid, mode="bilinear", padding="zeros", align_corners=False):
        return F.grid_sample(x, grid, mode, padding, align_corners)

    for mode in ["bilinear", "nearest", "bicubic"]:
        for padding in ["zeros", "border", "reflection"]:
            for align in [False, True]:
                args = {"mode": mode, "padding": padding, "align_corners": align}
                # torch has no second derivative of cubic curves by places, and that of the pictures alone is the sum.
                twice = dict(second=mode != "bicubic")
                for dtype in ["f64", "f32"]:
                    two = [numbers((2, 2, 3, 4), 7, -3, 3, dtype), numbers((2, 2, 3, 2), 8, -1.8, 1.8, dtype)]
                    d.case("grid_sample", sample, two, args, **(NEAR if dtype == "f32" else {}), **twice)
                if mode != "bicubic":
                    d.case("grid_sample", sample, [numbers((1, 2, 2, 3, 4), 9), numbers((1, 2, 1, 2, 3), 10, -1.5, 1.5)], args, **NEAR, **twice)
                d.case("grid_sample", sample, [numbers((1, 1, 1, 1), 11), numbers((1, 1, 4, 2), 12, -3, 3)], args, **NEAR, **twice)
    for dtype in ["f16", "bf16"]:
        two = [numbers((1, 2, 3, 4), 7, -3, 3, dtype), numbers((1, 2, 3, 2), 8, -1, 1, dtype)]
        wide = lambda x, grid: F.grid_sample(x.float(), grid.float(), align_corners=False).to(x.dtype)
        d.case("grid_sample", wide, two, {}, **coarse(dtype, {"coarse": True}))
    for x in laid(numbers((2, 2, 3, 4), 13)):
        for grid in laid(numbers((2, 2, 3, 2), 14, -1.2, 1.2)):
            d.case("grid_sample", sample, [x, grid], {}, **NEAR)
    # Places that are none.
    nowhere = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.2, float("nan"), -0.4]).reshape(1, 1, 3, 2)
    d.case("grid_sample", sample, [numbers((1, 2, 3, 4), 7), nowhere], second=False, grad=False, **NEAR)
    d.case("grid_sample", sample, [numbers((0, 2, 3, 4), 7), numbers((0, 2, 3, 2), 8)])
    turned = lambda theta, size, align_corners: F.affine_grid(theta, size, align_corners)
    for align in [False, True]:
        for dtype in FLOATS:
            rough = coarse(dtype, {"coarse": True}) or (NEAR if dtype == "f32" else {})
            args = {"size": [2, 1, 3, 4], "align_corners": align}
            d.case("affine_grid", turned, [numbers((2, 2, 3), 15, -2, 2, dtype)], args, **rough)
        args = {"size": [1, 1, 2, 1, 3], "align_corners": align}
        d.case("affine_grid", turned, [numbers((1, 3, 4), 16, -2, 2)], args, **NEAR)
