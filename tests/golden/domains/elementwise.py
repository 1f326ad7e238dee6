"""Operations element by element."""

import torch
import torch.nn.functional as F

from cases import DTYPES, ENDS, FLOATS, INF, NAN, Input, binary, coarse, laid, numbers, pairs, special, unary

INTEGERS = ["i64", "i32", "i16", "i8", "u8"]
NUMBERS = (*FLOATS, *INTEGERS)
HALVES = [x / 2 for x in range(-9, 10)]


def cases(d):
    # The largest number times the gradient does not overflow.
    d.swing = 1.0
    arithmetic(d)
    functions(d)
    activations(d)
    rounding(d)
    comparisons(d)
    choices(d)
    transcendental(d)
    division(d)
    integers(d)
    combined(d)
    finite(d)
    parametric(d)


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


def transcendental(d):
    for name, f, lo, hi in [
        ("erfc", torch.erfc, -2.5, 4.0),
        ("erfinv", torch.erfinv, -0.95, 0.95),
        ("exp2", torch.exp2, -8.0, 8.0),
        ("log2", torch.log2, 0.1, 9.0),
        ("log10", torch.log10, 0.1, 20.0),
        ("asin", torch.asin, -0.95, 0.95),
        ("acos", torch.acos, -0.95, 0.95),
        ("atan", torch.atan, -5.0, 5.0),
        ("sinh", torch.sinh, -4.0, 4.0),
        ("cosh", torch.cosh, -4.0, 4.0),
        ("asinh", torch.asinh, -5.0, 5.0),
        ("acosh", torch.acosh, 1.1, 6.0),
        ("atanh", torch.atanh, -0.9, 0.9),
        ("lgamma", torch.lgamma, 0.2, 9.0),
    ]:
        unary(d, name, f, lo, hi)
    unary(d, "logit", torch.logit, 0.05, 0.95, coarse=True)
    for eps in [1e-6, 0.1]:
        f = lambda x, eps: torch.logit(x, eps)
        unary(d, "logit_within", f, -0.1, 1.1, args={"eps": eps}, dtypes=("f64", "f32"), specials=False)
        x = torch.tensor([0.0, eps, 0.5, 1 - eps, 1.0, NAN, 2.0, -INF])
        d.case("logit_within", f, [x], {"eps": eps}, second=False)

    unary(d, "digamma", torch.digamma, 0.2, 9.0, specials=False)
    for dtype in FLOATS:
        d.case("digamma", torch.digamma, [special(dtype)], grad=False)
        # At poles torch's derivative is what rounding leaves of it.
        x = torch.tensor([0.0, -0.0, 1e-4, -1e-4, 0.25, -0.25, -1.5, 20.0, 1e4, INF, NAN], dtype=DTYPES[dtype])
        d.case("digamma", torch.digamma, [x], second=False, grad=dtype in ("f64", "f32"))

    def small(part, want, x):
        return torch.where(x.isfinite() & want.isnan(), 0.0, want)

    # Torch's derivative cancels near 0: that of f32 is computed in f64.
    sinc = lambda x: torch.sinc(x.double()).float() if x.dtype == torch.float32 else torch.sinc(x)
    reason = "torch multiplies by pi, which overflows"
    unary(d, "sinc", sinc, -4.0, 4.0, differs=small, reason=reason)
    for name, f in [("lgamma", torch.lgamma), ("digamma", torch.digamma)]:
        # Between the poles, where f32 derivatives of torch's are off by more than is tolerated.
        for dtype in ["f64", "f32"]:
            x = numbers((40,), 8, 0.1, 0.9, dtype) - torch.arange(40).to(DTYPES[dtype])
            d.case(name, lambda x, f=f: f(x.double()).to(x.dtype), [x], second=dtype == "f64")
    for n in [0, 1, 2, 3, 5]:
        unary(d, "polygamma", lambda x, n: torch.polygamma(n, x), 0.6, 6.0, args={"n": n}, specials=False, dtypes=FLOATS)
    below = numbers((20,), 8, 0.2, 0.8, "f64") - torch.arange(20)
    for n in [1, 2, 3]:
        d.case("polygamma", lambda x, n: torch.polygamma(n, x), [below], {"n": n})
        d.case("polygamma", lambda x, n: torch.polygamma(n, x.double()).float(), [below.float()], {"n": n}, second=False)
    for name, f, a, b in [
        ("atan2", torch.atan2, (-3.0, 3.0), (-3.0, 3.0)),
        ("hypot", torch.hypot, (-3.0, 3.0), (-3.0, 3.0)),
        ("copysign", torch.copysign, (-3.0, 3.0), (-3.0, 3.0)),
        ("xlogy", torch.xlogy, (-3.0, 3.0), (0.2, 3.0)),
        ("logaddexp", torch.logaddexp, (-5.0, 5.0), (-5.0, 5.0)),
        ("logaddexp2", torch.logaddexp2, (-5.0, 5.0), (-5.0, 5.0)),
    ]:
        binary(d, name, f, a, b, dtypes=FLOATS if name in ("hypot", "logaddexp", "logaddexp2") else (*FLOATS, "i32"))


def division(d):
    trunc = lambda a, other: torch.div(a, other, rounding_mode="trunc")

    def exact(part, want, a, b):
        if part != "output" or not want.is_floating_point():
            return want
        lost = want.isnan() & a.isfinite() & b.isfinite() & (b != 0)
        return torch.where(lost, 0.0, want)

    reason = "torch's quotient overflows; the rest is exact, and of the cases' numbers 0"
    for name, f in [
        ("fmod", torch.fmod),
        ("remainder", torch.remainder),
        ("floor_divide", torch.floor_divide),
        ("div_trunc", trunc),
    ]:
        grad = name != "floor_divide"
        binary(d, name, f, (-9.0, 9.0), (0.3, 3.0), dtypes=FLOATS, grad=grad, differs=exact, reason=reason)
        binary(d, name, f, (-9.0, 9.0), (-3.0, -0.3), dtypes=("f32",), mixed=False, specials=False, grad=grad)
        for dtype in [*INTEGERS, "u32"]:
            a = special(dtype)[:, None]
            b = torch.tensor([1, 2, 3, 7, 100] + ([-1, -2, -3] if dtype[0] == "i" else []), dtype=DTYPES[dtype])
            # The smallest by -1 is a trap of the processor.
            a = a if dtype[0] == "u" else torch.where(a == a.min(), a + 1, a)
            d.case(name, f, [a, b])
        for other in [2, -0.75, 1e3]:
            for dtype in ["f32", "bf16", "i32"]:
                d.case(name, f, [numbers((3, 5), 1, -9, 9, dtype)], {"other": other}, grad=grad)
        # Quotients that are whole, and large ones.
        whole = numbers((4, 4), 3, -20, 20).round()
        d.case(name, f, [whole * 0.3, torch.full((4, 1), 0.3)], grad=grad)
        d.case(name, f, [numbers((16,), 4, -1e6, 1e6), numbers((16,), 5, 0.1, 1)], grad=grad)
        if name in ("fmod", "remainder"):
            d.case(name, f, [numbers((16,), 4, -1e30, 1e30), numbers((16,), 5, 0.1, 1e3)], grad=False)
    for rounding in ["trunc", "floor"]:
        by = lambda a, b, rounding: torch.div(a, b, rounding_mode=rounding)
        for dtype in ["f32", "i32"]:
            a, b = numbers((3, 5), 1, -9, 9, dtype), numbers((5,), 2, 1, 4, dtype)
            d.case("div_rounded", by, [a, b], {"rounding": rounding})
    unary(d, "trunc", torch.trunc, -5.0, 5.0, dtypes=NUMBERS, ties=HALVES)
    unary(d, "frac", torch.frac, -5.0, 5.0, dtypes=FLOATS, ties=HALVES)
    for decimals in [0, 1, 2, -1]:
        args = {"decimals": decimals}
        # 16-bit steps are rounded in torch, and not where they are fused.
        for dtype in ["f64", "f32"]:
            d.case("round_decimals", torch.round, [numbers((3, 5), 1, -30, 30, dtype)], args)
            d.case("round_decimals", torch.round, [torch.tensor([0.25, 0.75, -1.5, 125, 15, -0.0, INF, NAN], dtype=DTYPES[dtype])], args)


def integers(d):
    bits = (*INTEGERS, "u32")
    for name in ["bitwise_and", "bitwise_or", "bitwise_xor"]:
        binary(d, name, getattr(torch, name), dtypes=(*bits, "bool"), mixed=False)
        d.case(name, getattr(torch, name), [special("i32")], {"other": 6})
        d.case(name, getattr(torch, name), [numbers((3, 5), 1, 0, 99, "u8").t(), numbers((3,), 2, -9, 9, "i32")])
    for name in ["bitwise_left_shift", "bitwise_right_shift"]:
        for dtype in [*INTEGERS]:
            shifts = [0, 1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 200] + ([-1] if dtype[0] == "i" else [])
            shifts = [n for n in shifts if n <= ENDS[dtype][-1]]
            d.case(name, getattr(torch, name), [special(dtype)[:, None], torch.tensor(shifts, dtype=DTYPES[dtype])])
        d.case(name, getattr(torch, name), [special("i32")], {"other": 3})
    unary(d, "bitwise_not", torch.bitwise_not, dtypes=(*bits, "bool"))
    for name in ["gcd", "lcm"]:
        for dtype in INTEGERS:
            x = torch.tensor([0, 1, 2, 6, 12, 35, 100] + ([-4, -6] if dtype[0] == "i" else []), dtype=DTYPES[dtype])
            d.case(name, getattr(torch, name), [x[:, None], x])
    for form in laid(numbers((3, 5), 1, -50, 50, "i32")):
        d.case("gcd", torch.gcd, [form, numbers((5,), 2, -50, 50, "i32")])


def combined(d):
    for dtype in FLOATS:
        a, b, c = (numbers((3, 5), seed, -3, 3, dtype) for seed in (1, 2, 3))
        w = numbers((3, 5), 4, -0.5, 1.5, dtype)
        why = coarse(dtype, {"coarse": True})
        d.case("lerp", torch.lerp, [a, b, w], **why)
        for weight in [0.0, 0.25, 0.75, 1.0]:
            d.case("lerp", torch.lerp, [a, b], {"weight": weight}, **why)
        for value in [1, 0.5, -2]:
            d.case("addcmul", lambda x, a, b, value: torch.addcmul(x, a, b, value=value), [a, b, c], {"value": value}, **why)
            q = numbers((3, 5), 5, 0.4, 3, dtype)
            d.case("addcdiv", lambda x, a, b, value: torch.addcdiv(x, a, b, value=value), [a, b, q], {"value": value}, **why)
    one, row, column = numbers((), 1), numbers((4,), 2, 0.5, 2), numbers((3, 1), 3)
    d.case("lerp", torch.lerp, [column, row, one])
    d.case("addcmul", lambda x, a, b, value: torch.addcmul(x, a, b, value=value), [column, row, one], {"value": 2})
    d.case("addcdiv", lambda x, a, b, value: torch.addcdiv(x, a, b, value=value), [column, one, row], {"value": 2})
    d.case("addcmul", lambda x, a, b, value: torch.addcmul(x, a, b, value=value), [numbers((3,), i, -5, 5, "i32") for i in (1, 2, 3)], {"value": 3})
    for form in laid(numbers((3, 5), 1)):
        d.case("lerp", torch.lerp, [form, numbers((5,), 2)], {"weight": 0.3})
        d.case("addcmul", lambda x, a, b, value: torch.addcmul(x, a, b, value=value), [form, form, numbers((5,), 2)], {"value": 0.5})
    for name, f in [("deg2rad", torch.deg2rad), ("rad2deg", torch.rad2deg)]:
        unary(d, name, f, -180.0, 180.0, dtypes=(*FLOATS, "i32"))


def finite(d):
    for name in ["isnan", "isinf", "isfinite", "signbit"]:
        for dtype in [*NUMBERS, "bool"]:
            x = special(dtype)
            # NaN's sign is no value.
            x = x[:-1] if name == "signbit" and dtype in FLOATS else x
            d.case(name, getattr(torch, name), [x])
        for form in laid(numbers((3, 5), 1)):
            d.case(name, getattr(torch, name), [form])
        d.case(name, getattr(torch, name), [numbers((0, 3), 1)])
    isclose = lambda a, b, rtol, atol, equal_nan: torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)
    for rtol, atol, equal_nan in [(1e-5, 1e-8, False), (1e-5, 1e-8, True), (0.5, 0.1, True), (0.0, 0.0, True)]:
        args = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan}
        for dtype in ["f64", "f32", "bf16", "i32"]:
            d.case("isclose", isclose, list(pairs(dtype))[::-1] if dtype != "i32" else [numbers((9,), 1, 0, 9, dtype), numbers((9,), 2, 0, 9, dtype)], args)
        d.case("isclose", isclose, [numbers((3, 5), 1, 0, 1), numbers((5,), 2, 0, 1)], args)
    swap = lambda x, nan, posinf, neginf: torch.nan_to_num(x, nan, posinf, neginf)
    for nan, posinf, neginf in [(None, None, None), (1.5, 7.0, -7.0), (None, 3.0, None)]:
        args = {"nan": nan, "posinf": posinf, "neginf": neginf}
        unary(d, "nan_to_num", swap, args=args, dtypes=(*NUMBERS, "bool"))
    for dtype in ["f64", "f32", "f16", "i32", "u8"]:
        x = special(dtype)
        d.case("heaviside", torch.heaviside, [x, numbers(x.shape, 2, 0, 3, dtype)], grad=False)
        d.case("heaviside", torch.heaviside, [x, numbers((), 2, 0, 3, dtype)], grad=False)
    for name, side in [("clamp_min", "min"), ("clamp_max", "max")]:
        f = lambda x, other, side=side: x.clamp(**{side: other})
        binary(d, name, f, mixed=False)
        for other in [0.5, -1, 0]:
            unary(d, name, lambda x, other, f=f: f(x, other), args={"other": other}, dtypes=FLOATS, ties=HALVES)
        for dtype in INTEGERS:
            d.case(name, f, [special(dtype)], {"other": 3})
    bounds = lambda x, lo, hi: x.clamp(lo, hi)
    for dtype in ["f64", "f32", "f16", "i32"]:
        d.case("clamp", bounds, [numbers((3, 5), 1, -3, 3, dtype), numbers((5,), 2, -2, 0, dtype), numbers((3, 1), 3, 0, 2, dtype)])
    halves = torch.tensor(HALVES)
    d.case("clamp", bounds, [halves, halves.round(), halves.abs() + 0.75])
    for form in laid(numbers((3, 5), 1)):
        d.case("clamp", bounds, [form, numbers((5,), 2, -2, 0), numbers((3, 5), 3, -1, 1)])


def parametric(d):
    for name, f, args in [
        ("leaky_relu", lambda x, slope: F.leaky_relu(x, slope), [{"slope": 0.01}, {"slope": 0.3}, {"slope": -0.5}]),
        ("elu", lambda x, alpha: F.elu(x, alpha), [{"alpha": 1.0}, {"alpha": 0.5}]),
        ("selu", F.selu, [{}]),
        ("celu", lambda x, alpha: F.celu(x, alpha), [{"alpha": 1.0}, {"alpha": 0.5}, {"alpha": 2.0}]),
        ("mish", F.mish, [{}]),
        ("hardtanh", lambda x, lo, hi: F.hardtanh(x, lo, hi), [{"lo": -1.0, "hi": 1.0}, {"lo": 0.5, "hi": 2.0}]),
        ("relu6", F.relu6, [{}]),
        ("hardswish", F.hardswish, [{}]),
        ("hardsigmoid", F.hardsigmoid, [{}]),
        ("hardshrink", lambda x, lambd: F.hardshrink(x, lambd), [{"lambd": 0.5}, {"lambd": 1.0}, {"lambd": 0.0}]),
        ("softshrink", lambda x, lambd: F.softshrink(x, lambd), [{"lambd": 0.5}, {"lambd": 1.0}, {"lambd": 0.0}]),
        ("tanhshrink", F.tanhshrink, [{}]),
        ("softsign", F.softsign, [{}]),
        ("logsigmoid", F.logsigmoid, [{}]),
        ("threshold", lambda x, threshold, value: F.threshold(x, threshold, value), [{"threshold": 0.5, "value": 7.0}]),
        ("rrelu", lambda x, lo, hi: F.rrelu(x, lo, hi, False), [{"lo": 0.1, "hi": 0.3}]),
    ]:
        for arg in args:
            # torch has no second derivative of some.
            second = name not in ("hardsigmoid",)
            unary(d, name, f, -4.0, 8.0, args=arg, dtypes=FLOATS, ties=HALVES, second=second, coarse=name == "tanhshrink")
    d.case("relu6", F.relu6, [special("i32")])
    d.case("hardtanh", lambda x, lo, hi: F.hardtanh(x, lo, hi), [special("i32")], {"lo": -1, "hi": 5})
    d.case("threshold", lambda x, threshold, value: F.threshold(x, threshold, value), [special("i32")], {"threshold": 2, "value": 9})
    for dtype in FLOATS:
        d.case("prelu", F.prelu, [numbers((2, 3, 4), 1, -3, 3, dtype), numbers((3,), 2, -1, 1, dtype)])
        d.case("prelu", F.prelu, [numbers((5,), 1, -3, 3, dtype), numbers((1,), 2, -1, 1, dtype)])
    d.case("prelu", F.prelu, [torch.tensor(HALVES), torch.tensor([0.25])], second=False)
    d.case("prelu", F.prelu, [numbers((), 1), numbers((1,), 2)])
    for form in laid(numbers((4, 3), 1)):
        d.case("prelu", F.prelu, [form, numbers((3,), 2)])
    for dim in [0, 1, -1]:
        for x in [numbers((4, 2, 6), 1), *laid(numbers((4, 2, 6), 1)), numbers((4, 2, 6), 1, dtype="bf16"), numbers((2, 0, 4), 1)]:
            d.case("glu", F.glu, [x], {"dim": dim})
