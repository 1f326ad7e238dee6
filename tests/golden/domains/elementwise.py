"""Operations element by element."""

import torch
import torch.nn.functional as F

from cases import DTYPES, FLOATS, INF, INTEGERS, NAN, Input, binary, laid, numbers, pairs, special, unary

NUMBERS = (*FLOATS, *INTEGERS)
HALVES = [x / 2 for x in range(-9, 10)]


def cases(d):
    arithmetic(d)
    functions(d)
    activations(d)
    rounding(d)
    comparisons(d)
    choices(d)


def arithmetic(d):
    for name, f in [("neg", torch.neg), ("abs", torch.abs), ("sqr", torch.square)]:
        unary(d, name, f, dtypes=NUMBERS, ties=HALVES)
    unary(d, "sign", torch.sign, dtypes=NUMBERS, specials=False, ties=HALVES)
    unary(d, "recip", torch.reciprocal, 0.3, 3.0)
    for name, f in [("add", torch.add), ("sub", torch.sub), ("mul", torch.mul)]:
        binary(d, name, f, dtypes=(*NUMBERS, "u32"))
        with_numbers(d, name, f)
    binary(d, "div", torch.div, b=(0.3, 3.0))
    with_numbers(d, "div", torch.div)
    binary(d, "pow", torch.pow, a=(0.3, 3.0), dtypes=FLOATS)
    for dtype in INTEGERS:
        d.case("pow", torch.pow, [numbers((3, 5), 1, 0, 5, dtype), numbers((3, 5), 2, 0, 4, dtype)])
    for n in [-3, -2, -1, 0, 1, 2, 3, 5]:
        unary(d, "powi", lambda x, n: x**n, 0.3, 3.0, args={"n": n}, dtypes=FLOATS)
    for p in [0.5, -0.5, 1.5, 2.0]:
        # tests/special_values.rs knows what torch's scalar code makes of roots at -infinity.
        unary(d, "powf", lambda x, p: x**p, 0.3, 3.0, args={"p": p}, dtypes=FLOATS, specials=p == 2.0)
    for name, f in [("minimum", torch.minimum), ("maximum", torch.maximum)]:
        binary(d, name, f)
        x = numbers((4, 4), 1, -2, 2).round()
        d.case(name, f, [x, x.t().contiguous()])


def with_numbers(d, name, f):
    """The second operand a number."""
    for other in [2, -0.5, 1e5]:
        for dtype in ["f32", "f16", "i32"]:
            d.case(name, f, [numbers((3, 5), 1, -3, 3, dtype)], {"other": other})


def functions(d):
    for name, f, lo, hi in [
        ("sqrt", torch.sqrt, 0.2, 4.0),
        ("rsqrt", torch.rsqrt, 0.2, 4.0),
        ("exp", torch.exp, -3.0, 3.0),
        ("expm1", torch.expm1, -3.0, 3.0),
        ("ln", torch.log, 0.1, 5.0),
        ("log1p", torch.log1p, -0.8, 5.0),
        ("sin", torch.sin, -8.0, 8.0),
        ("cos", torch.cos, -8.0, 8.0),
        ("tan", torch.tan, -1.2, 1.2),
        ("tanh", torch.tanh, -3.0, 3.0),
        ("sigmoid", torch.sigmoid, -4.0, 4.0),
        ("erf", torch.erf, -2.5, 2.5),
    ]:
        unary(d, name, f, lo, hi)


def activations(d):
    unary(d, "relu", torch.relu, dtypes=NUMBERS, ties=HALVES)

    def limit(part, want, x):
        return torch.where(x == -INF, -0.0, want) if part == "output" else want

    reason = "the limit at -infinity: docs/guide/differences.md, Values"
    for name, f in [("gelu", F.gelu), ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"))]:
        unary(d, name, f, -4.0, 4.0, dtypes=FLOATS, ties=HALVES, differs=limit, reason=reason)
    for name, f in [("silu", F.silu), ("softplus", F.softplus)]:
        unary(d, name, f, -4.0, 4.0, dtypes=FLOATS, ties=HALVES)


def rounding(d):
    for name, f in [("floor", torch.floor), ("ceil", torch.ceil), ("round", torch.round)]:
        unary(d, name, f, -5.0, 5.0, dtypes=NUMBERS, ties=HALVES)


def comparisons(d):
    everything = (*NUMBERS, "u32", "bool")
    for name in ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"]:
        binary(d, name, getattr(torch, name), dtypes=everything)
    for other in [1, 0.5]:
        for name in ["eq", "ne", "lt", "le", "gt", "ge"]:
            for dtype in ["f32", "bf16", "i32", "u8"]:
                d.case(name, getattr(torch, name), [numbers((3, 5), 1, 0, 3, dtype)], {"other": other})
    unary(d, "logical_not", torch.logical_not, dtypes=everything)


def choices(d):
    for dtype in [*NUMBERS, "bool"]:
        condition = numbers((3, 5), 1, dtype="bool")
        d.case("where_cond", torch.where, [condition, numbers((3, 5), 2, 0, 5, dtype), numbers((3, 5), 3, 0, 5, dtype)])
    for condition in laid(numbers((3, 5), 1, dtype="bool")):
        for x in laid(numbers((3, 5), 2)):
            d.case("where_cond", torch.where, [condition, x, numbers((5,), 3)])
    d.case("where_cond", torch.where, [numbers((3, 1), 1, dtype="bool"), numbers((4,), 2), numbers((2, 1, 1), 3)])
    d.case("where_cond", torch.where, [numbers((3, 0), 1, dtype="bool"), numbers((1,), 2), numbers((), 3)])
    d.case("where_cond", torch.where, [numbers((7,), 1, dtype="bool"), special("f32")[:7], special("f32")[-7:]])
    # An infinite bound is none.
    bounded = lambda x, lo, hi: x.clamp(None if lo == -INF else lo, None if hi == INF else hi)
    for lo, hi in [(-1.0, 1.0), (-1.0, INF), (-INF, 0.5), (1.5, -1.5)]:
        bounds = {"lo": lo, "hi": hi}
        unary(d, "clamp", bounded, args=bounds, dtypes=FLOATS, specials=lo == -1.0)
    for dtype in INTEGERS:
        d.case("clamp", lambda x, lo, hi: x.clamp(lo, hi), [special(dtype)], {"lo": 1, "hi": 5})
    unary(d, "nan_to_zero", lambda x: x.nan_to_num(0.0, INF, -INF), dtypes=NUMBERS, specials=False)
    for to in DTYPES:
        for dtype in DTYPES:
            lo, hi = (0, 5) if "u" in to + dtype else (-5, 5)
            d.case("to_dtype", lambda x, dtype: x.to(DTYPES[dtype]), [numbers((3, 5), 1, lo, hi, dtype)], {"dtype": to})
    for to in FLOATS:
        for dtype in FLOATS:
            d.case("to_dtype", lambda x, dtype: x.to(DTYPES[dtype]), [special(dtype)], {"dtype": to}, second=False)
