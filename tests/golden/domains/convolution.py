"""Convolutions and their transposes, in one to three dimensions."""

import torch
import torch.nn.functional as F

from cases import FLOATS, Input, laid, numbers

SUMS = "sums of many products, in another order"
NARROW = "sums of 16-bit products are rounded once here, and by torch's CPU where its kernels store them"


def tolerance(dtype):
    if dtype == "f32":
        return {"rtol": 1e-5, "atol": 5e-5, "reason": SUMS}
    if dtype in ("f16", "bf16"):
        return {"rtol": {"f16": 2e-3, "bf16": 1.6e-2}[dtype], "atol": {"f16": 1e-2, "bf16": 8e-2}[dtype], "reason": NARROW}
    return {}


def conv(x, w, b=None, **args):
    if args.get("padding") in ("same", "valid"):
        args["padding"] = args["padding"]
    return [F.conv1d, F.conv2d, F.conv3d][w.dim() - 3](x, w, b, **args)


def transposed(x, w, b=None, **args):
    return [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][w.dim() - 3](x, w, b, **args)


def operands(x, w, out, dtype, bias):
    tensors = [numbers(x, 1, -2, 2, dtype), numbers(w, 2, -1, 1, dtype)]
    return [*tensors, numbers((out,), 3, -1, 1, dtype)] if bias else tensors


def cases(d):
    # x, w, arguments: channels, and then places.
    forms = {
        1: [
            ((2, 3, 9), (4, 3, 3), {}),
            ((3, 9), (4, 3, 2), {"stride": [2]}),
            ((1, 4, 12), (6, 2, 3), {"padding": [2], "dilation": [2], "groups": 2}),
            ((2, 2, 7), (3, 2, 4), {"padding": "same"}),
            ((1, 3, 8), (3, 1, 5), {"stride": [3], "padding": [1], "groups": 3}),
            ((0, 2, 7), (3, 2, 4), {}),
            ((1, 1, 1), (1, 1, 1), {}),
        ],
        2: [
            ((2, 3, 6, 7), (4, 3, 3, 2), {}),
            ((3, 6, 7), (4, 3, 3, 3), {"padding": [1, 1]}),
            ((1, 2, 8, 7), (4, 2, 3, 3), {"stride": [2, 1], "padding": [1, 2], "dilation": [1, 2]}),
            ((2, 4, 5, 5), (8, 1, 3, 3), {"padding": [1, 1], "groups": 4}),
            ((1, 4, 6, 6), (2, 2, 1, 1), {"stride": [2, 2], "groups": 2}),
            ((1, 2, 6, 6), (2, 2, 2, 3), {"padding": "same", "dilation": [2, 1]}),
            ((1, 2, 9, 9), (3, 2, 4, 4), {"stride": [3, 2], "dilation": [2, 2], "padding": [3, 0]}),
            ((2, 17, 9, 9), (20, 17, 3, 3), {"padding": [1, 1]}),
        ],
        3: [
            ((1, 2, 4, 5, 4), (3, 2, 2, 3, 2), {}),
            ((2, 2, 3, 4, 5), (2, 1, 3, 3, 3), {"padding": [1, 1, 1], "groups": 2, "stride": [1, 2, 2]}),
        ],
    }
    for n, all_forms in forms.items():
        for i, (x, w, args) in enumerate(all_forms):
            op = f"conv{n}d_with" if args else f"conv{n}d"
            small = len(x) and max(x) < 17
            for dtype in FLOATS if i < 3 else ["f32"]:
                for bias in [False, True] if i < 3 and dtype == "f32" else [i % 2 == 0]:
                    d.case(op, conv, operands(x, w, w[0], dtype, bias), args, second=small and i < 4, **tolerance(dtype))
        x, w, args = all_forms[0]
        for a, b in zip(laid(numbers(x, 1, -2, 2)), laid(numbers(w, 2, -1, 1))):
            d.case(f"conv{n}d", conv, [a, b], **tolerance("f32"))
    # Windows of a view that is repeated.
    d.case("conv2d", conv, [Input(numbers((1, 2, 6, 1), 1, -2, 2)).expand(2, 2, 6, 5), numbers((3, 2, 2, 2), 2, -1, 1)], **tolerance("f32"))
    transposes = {
        1: [
            ((2, 3, 5), (3, 4, 3), {}),
            ((3, 5), (3, 4, 4), {"stride": [2], "padding": [1]}),
            ((1, 4, 4), (4, 2, 3), {"stride": [3], "output_padding": [2], "groups": 2, "dilation": [2]}),
            # Room for more windows than there are elements.
            ((2, 1, 2), (1, 1, 2), {"dilation": [2], "output_padding": [1]}),
            ((2, 4, 5), (4, 2, 2), {"stride": [2], "dilation": [4], "output_padding": [3], "groups": 2, "padding": [1]}),
        ],
        2: [
            ((2, 3, 4, 3), (3, 4, 2, 3), {}),
            ((1, 3, 4, 4), (3, 2, 4, 4), {"stride": [2, 2], "padding": [1, 1]}),
            ((1, 4, 3, 4), (4, 1, 3, 3), {"stride": [2, 3], "groups": 4, "output_padding": [1, 0], "padding": [0, 1]}),
            ((1, 2, 3, 3), (2, 3, 1, 1), {"stride": [2, 2]}),
            ((1, 2, 3, 3), (2, 2, 3, 2), {"dilation": [2, 3], "stride": [2, 2]}),
            ((2, 2, 3, 4), (2, 3, 2, 3), {"dilation": [3, 2], "stride": [1, 2], "output_padding": [2, 1]}),
        ],
        3: [
            ((1, 2, 3, 2, 3), (2, 2, 2, 2, 2), {}),
            ((1, 2, 2, 3, 2), (2, 1, 3, 2, 3), {"stride": [2, 1, 2], "padding": [1, 0, 1], "groups": 2}),
            ((2, 2, 2, 3, 2), (2, 1, 2, 2, 2), {"dilation": [2, 2, 2], "output_padding": [1, 0, 1], "groups": 2}),
        ],
    }
    for n, all_forms in transposes.items():
        for i, (x, w, args) in enumerate(all_forms):
            op = f"conv_transpose{n}d_with" if args else f"conv_transpose{n}d"
            out = w[1] * args.get("groups", 1)
            for dtype in FLOATS if i < 2 else ["f32"]:
                d.case(op, transposed, operands(x, w, out, dtype, i % 2 == 0), args, second=i < 2, **tolerance(dtype))
    # Of few elements, for differences.
    for n, x, w, args in [
        (3, (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), {}),
        (3, (1, 1, 3, 3, 3), (2, 1, 2, 2, 2), {"stride": [2, 1, 2], "padding": [1, 0, 1]}),
        (2, (1, 2, 4, 4), (2, 2, 2, 2), {"stride": [2, 1], "padding": [1, 1]}),
    ]:
        d.case(f"conv{n}d_with" if args else f"conv{n}d", conv, operands(x, w, w[0], "f64", True), args)
    for n, x, w, args in [(2, (1, 2, 3, 3), (2, 2, 2, 2), {}), (2, (1, 2, 2, 3), (2, 2, 3, 2), {"stride": [2, 1], "padding": [1, 0]}), (3, (1, 1, 2, 2, 2), (1, 2, 2, 2, 2), {})]:
        d.case(f"conv_transpose{n}d_with" if args else f"conv_transpose{n}d", transposed, operands(x, w, w[1], "f64", True), args)
