"""Windows as views, and pools."""

import torch
import torch.nn.functional as F

from cases import FLOATS, Input, laid, numbers, special

ROUNDED = "torch rounds 16-bit floats after each step"


def cases(d):
    unfolds(d)
    maxima(d)
    means(d)
    adaptive(d)
    small(d)
    columns(d)
    fractional(d)


def narrow(dtype, atol=None):
    if dtype not in ("f16", "bf16"):
        return {}
    return {"rtol": {"f16": 2e-3, "bf16": 1.6e-2}[dtype], "atol": {"f16": 4e-3, "bf16": 3.2e-2}[dtype], "reason": ROUNDED}


def unfolds(d):
    f = lambda x, dim, size, step: x.unfold(dim, size, step)
    for shape, dim, size, step in [((7,), 0, 3, 1), ((3, 8), -1, 2, 3), ((5, 4), 0, 2, 1), ((2, 6, 3), 1, 4, 2), ((4,), 0, 4, 9), ((), 0, 1, 1), ((3, 0), 1, 0, 1)]:
        for dtype in [*FLOATS, "i64", "bool"] if shape else ["f32"]:
            d.case("unfold", f, [numbers(shape, 1, -3, 3, dtype)], {"dim": dim, "size": size, "step": step}, **narrow(dtype))
        for x in laid(numbers(shape, 1)):
            d.case("unfold", f, [x], {"dim": dim, "size": size, "step": step})


def shapes(n):
    return {1: [(2, 3, 9), (3, 8)], 2: [(2, 2, 7, 8), (2, 6, 6)], 3: [(1, 2, 5, 4, 6), (2, 4, 4, 5)]}[n]


def inputs(n, dtype="f32"):
    return [numbers(shape, 5 + i, -3, 3, dtype) for i, shape in enumerate(shapes(n))]


def maxima(d):
    for n in (1, 2, 3):
        pool = [F.max_pool1d, F.max_pool2d, F.max_pool3d][n - 1]
        unpool = [F.max_unpool1d, F.max_unpool2d, F.max_unpool3d][n - 1]
        plain = lambda x, kernel, pool=pool: pool(x, kernel)
        given = lambda x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, pool=pool: pool(x, kernel, stride, padding, dilation, ceil_mode)
        both = lambda x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False, pool=pool: to_i32(pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True))
        forms = [
            {"kernel": [3] * n, "stride": [2] * n},
            {"kernel": [3] * n, "stride": [2] * n, "padding": [1] * n},
            {"kernel": [2] * n, "stride": [1] * n, "dilation": [2] * n},
            {"kernel": [3] * n, "stride": [2] * n, "ceil_mode": True},
            {"kernel": [2] * n, "stride": [3] * n, "padding": [1] * n, "ceil_mode": True},
            {"kernel": [1] * n},
        ]
        for dtype in FLOATS:
            for x in inputs(n, dtype):
                d.case(f"max_pool{n}d", plain, [x], {"kernel": [2] * n})
                d.case(f"max_pool{n}d_with", given, [x], forms[1], **narrow(dtype))
        for x in inputs(n):
            for form in forms:
                d.case(f"max_pool{n}d_with", given, [x], form)
                d.case(f"max_pool{n}d_with_indices", both, [x], form)
        # No window is whole.
        for size, form in [(1, {"kernel": [2] * n, "ceil_mode": True}), (3, {"kernel": [3] * n, "stride": [3] * n, "dilation": [2] * n, "ceil_mode": True})]:
            small = numbers((2, 3) + (size,) * n, 3)
            d.case(f"max_pool{n}d_with", given, [small], form)
            d.case(f"max_pool{n}d_with_indices", both, [small], form)
        ties = torch.zeros(shapes(n)[0])
        d.case(f"max_pool{n}d_with_indices", both, [ties], forms[1])
        low = torch.full(shapes(n)[0], float("-inf"))
        d.case(f"max_pool{n}d_with_indices", both, [low], forms[1])
        odd = numbers(shapes(n)[0], 7)
        odd.view(-1)[::5] = float("nan")
        odd.view(-1)[1::7] = float("inf")
        d.case(f"max_pool{n}d_with_indices", both, [odd], forms[0], second=False)
        for x in laid(inputs(n)[1]):
            d.case(f"max_pool{n}d", plain, [x], {"kernel": [2] * n})
        x, at = pool(inputs(n)[0], 2, return_indices=True)
        d.case(f"max_unpool{n}d", lambda x, at, kernel, f=unpool: f(x, at.long(), kernel), [x, at.int()], {"kernel": [2] * n})
        size = list(inputs(n)[0].shape[-n:])
        d.case(f"max_unpool{n}d_with", lambda x, at, kernel, size, f=unpool: f(x, at.long(), kernel, output_size=size), [x, at.int()], {"kernel": [2] * n, "size": size})
        x, at = pool(inputs(n)[0], 3, 2, 1, return_indices=True)
        first = torch.unique(at.view(*at.shape[: at.dim() - n], -1)) is not None
        if n == 1 and first:
            at = at.clone()
            d.case("max_unpool1d_with", lambda x, at, kernel, stride, f=unpool: f(x, at.long(), kernel, stride), [x[..., ::2], at[..., ::2].int()], {"kernel": [4], "stride": [4]})


def one(*sizes):
    """A number for one dimension: torch multiplies by it."""
    return [size[0] if len(size) == 1 else size for size in sizes]


def to_i32(found):
    return found[0], found[1].int()


def means(d):
    for n in (1, 2, 3):
        pool = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][n - 1]
        power = [F.lp_pool1d, F.lp_pool2d, F.lp_pool3d][n - 1]

        def given(x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor=None, pool=pool, n=n):
            rest = [] if n == 1 else [divisor]
            return pool(x, kernel, stride, padding, ceil_mode, count_include_pad, *rest)

        forms = [
            {"kernel": [3] * n, "stride": [2] * n, "padding": [1] * n},
            {"kernel": [3] * n, "stride": [2] * n, "padding": [1] * n, "count_include_pad": False},
            {"kernel": [3] * n, "stride": [2] * n, "ceil_mode": True},
            {"kernel": [2] * n, "stride": [3] * n, "padding": [1] * n, "ceil_mode": True, "count_include_pad": False},
            {"kernel": [3] * n, "stride": [2] * n, "padding": [1] * n, "ceil_mode": True},
        ]
        if n > 1:
            forms.append({"kernel": [2] * n, "divisor": 3})
        # No window is whole; torch refuses that in three dimensions.
        for count in [True, False] if n < 3 else []:
            d.case(f"avg_pool{n}d_with", given, [numbers((2, 3) + (1, 3, 2)[:n], 3)], {"kernel": [2] * n, "ceil_mode": True, "count_include_pad": count})
        for dtype in FLOATS if n < 3 else ["f64", "f32"]:
            for x in inputs(n, dtype):
                d.case(f"avg_pool{n}d", lambda x, kernel, pool=pool: pool(x, kernel), [x], {"kernel": [2] * n}, **narrow(dtype))
                d.case(f"avg_pool{n}d_with", given, [x], forms[0], **narrow(dtype))
        for x in inputs(n):
            for form in forms:
                d.case(f"avg_pool{n}d_with", given, [x], form)
        for x in laid(inputs(n)[1]):
            d.case(f"avg_pool{n}d", lambda x, kernel, pool=pool: pool(x, kernel), [x], {"kernel": [2] * n})
        positive = numbers(shapes(n)[0], 9, 0.2, 2)
        wide = {"rtol": 1e-5, "atol": 1e-5, "reason": "powers of sums"}
        for p in [1.0, 2.0, 3.0]:
            d.case(f"lp_pool{n}d", lambda x, p, kernel, f=power: f(x, p, *one(kernel)), [positive], {"p": p, "kernel": [2] * n}, **wide)
        d.case(f"lp_pool{n}d_with", lambda x, p, kernel, stride, ceil_mode, f=power: f(x, p, *one(kernel, stride), ceil_mode), [positive], {"p": 2.0, "kernel": [3] * n, "stride": [2] * n, "ceil_mode": True}, **wide)


def adaptive(d):
    for n in (1, 2, 3):
        mean = [F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d][n - 1]
        most = [F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d][n - 1]
        for size in [[1] * n, [2] * n, [3, 5, 2][:n]]:
            for dtype in FLOATS:
                for x in inputs(n, dtype):
                    d.case(f"adaptive_avg_pool{n}d", lambda x, size, f=mean: f(x, size), [x], {"size": size}, **narrow(dtype))
                    d.case(f"adaptive_max_pool{n}d", lambda x, size, f=most: f(x, size), [x], {"size": size}, **narrow(dtype))
            for x in inputs(n):
                d.case(f"adaptive_max_pool{n}d_with_indices", lambda x, size, f=most: to_i32(f(x, size, return_indices=True)), [x], {"size": size})


def small(d):
    """Cases of few elements, for differences."""
    for n in (1, 2, 3):
        x = numbers([(1, 2, 7), (1, 1, 5, 6), (1, 1, 3, 3, 4)][n - 1], 31, 0.3, 1.9, "f64")
        name = lambda kind: getattr(F, f"{kind}_pool{n}d")
        most, mean, power = name("max"), name("avg"), name("lp")
        d.case(f"max_pool{n}d", lambda x, kernel: most(x, kernel), [x], {"kernel": [2] * n})
        form = {"kernel": [3] * n, "stride": [2] * n, "padding": [1] * n}
        d.case(f"max_pool{n}d_with", lambda x, kernel, stride, padding: most(x, kernel, stride, padding), [x], form)
        d.case(f"max_pool{n}d_with_indices", lambda x, kernel, stride, padding: to_i32(most(x, kernel, stride, padding, return_indices=True)), [x], form)
        d.case(f"avg_pool{n}d", lambda x, kernel: mean(x, kernel), [x], {"kernel": [2] * n})
        d.case(f"avg_pool{n}d_with", lambda x, kernel, stride, padding: mean(x, kernel, stride, padding), [x], form)
        for p in [2.0, 3.0]:
            d.case(f"lp_pool{n}d", lambda x, p, kernel: power(x, p, *one(kernel)), [x], {"p": p, "kernel": [2] * n})
            d.case(f"lp_pool{n}d_with", lambda x, p, kernel, stride: power(x, p, *one(kernel, stride)), [x], {"p": p, "kernel": [2] * n, "stride": [1] * n})
        size = [2, 3, 2][:n]
        d.case(f"adaptive_avg_pool{n}d", lambda x, size: getattr(F, f"adaptive_avg_pool{n}d")(x, size), [x], {"size": size})
        largest = getattr(F, f"adaptive_max_pool{n}d")
        d.case(f"adaptive_max_pool{n}d", lambda x, size: largest(x, size), [x], {"size": size})
        d.case(f"adaptive_max_pool{n}d_with_indices", lambda x, size: to_i32(largest(x, size, return_indices=True)), [x], {"size": size})


def columns(d):
    def unfold(x, kernel, **options):
        return F.unfold(x, kernel, **options)

    def fold(x, size, kernel, **options):
        return F.fold(x, size, kernel, **options)

    for shape in [(2, 3, 5, 6), (3, 5, 6), (1, 1, 3, 4)]:
        for kernel, options in [
            ([2, 3], {}),
            ([2, 2], {"stride": [2, 3]}),
            ([3, 2], {"padding": [1, 2], "dilation": [1, 2]}),
            ([1, 1], {"stride": [3, 1]}),
        ]:
            args = {"kernel": kernel, **options}
            for dtype in FLOATS if shape[0] == 2 else ["f32"]:
                x = numbers(shape, 1, -3, 3, dtype)
                y = F.unfold(x, kernel, **options)
                d.case("im2col", unfold, [x], args, **narrow(dtype))
                d.case("col2im", fold, [numbers(y.shape, 2, -3, 3, dtype)], {"size": list(shape[-2:]), **args}, **narrow(dtype))
    for form in laid(numbers((2, 3, 5, 6), 1)):
        d.case("im2col", unfold, [form], {"kernel": [2, 3]})
    for form in laid(numbers((2, 12, 20), 1)):
        d.case("col2im", fold, [form], {"size": [5, 6], "kernel": [2, 2]})


def fractional(d):
    def pool(n):
        f = [F.fractional_max_pool2d, F.fractional_max_pool3d][n - 2]
        return lambda x, u, kernel, size: f(x, kernel, size, _random_samples=u.detach().to(x.dtype))

    def both(n):
        f = [F.fractional_max_pool2d, F.fractional_max_pool3d][n - 2]
        return lambda x, u, kernel, size: to_i32(f(x, kernel, size, return_indices=True, _random_samples=u.detach().to(x.dtype)))

    for n, shape, kernel, size in [
        (2, (2, 3, 8, 9), [2, 3], [5, 4]),
        (2, (2, 3, 8, 9), [3, 1], [1, 9]),
        (2, (3, 7, 6), [2, 2], [6, 5]),
        (3, (2, 2, 5, 6, 7), [2, 1, 3], [3, 5, 4]),
        (3, (2, 5, 5, 7), [2, 2, 2], [2, 3, 5]),
        (3, (1, 1, 4, 4, 5), [2, 2, 2], [2, 2, 3]),
    ]:
        planes = (1, shape[0]) if len(shape) == n + 1 else shape[:2]
        args = {"kernel": kernel, "size": size}
        for seed in [1, 2]:
            inputs = [numbers(shape, seed), numbers((*planes, n), 10 + seed, 0, 1)]
            d.case(f"fractional_max_pool{n}d", pool(n), inputs, args)
            d.case(f"fractional_max_pool{n}d_with_indices", both(n), inputs, args)
    ties = numbers((1, 2, 6, 6), 3, 0, 3).floor()
    d.case("fractional_max_pool2d", pool(2), [ties, numbers((1, 2, 2), 4, 0, 1)], {"kernel": [2, 2], "size": [3, 4]})
