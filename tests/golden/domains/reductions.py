"""Sums, means, products, moments, norms, extremes, medians, quantiles, counts, running combinations, differences."""

import torch

from cases import DTYPES, FLOATS, INF, INTEGERS, NAN, Input, laid, numbers

NUMBERS = (*FLOATS, *INTEGERS, "i16", "i8")
EVERYTHING = (*NUMBERS, "bool")

# Rows that are special: NaN, infinities of one and of both signs, zeros, ties.
ODD = torch.tensor(
    [
        [1.0, NAN, 3.0, 0.0],
        [INF, 2.0, 3.0, 0.0],
        [-INF, 2.0, INF, 1.0],
        [-INF, -INF, -INF, -INF],
        [0.0, -0.0, 0.0, -0.0],
        [1.0, 2.0, 2.0, 1.0],
        [NAN, NAN, 1.0, NAN],
        [-3.0, -INF, 1e30, 5.0],
    ]
)


def cases(d):
    totals(d)
    truths(d)
    extremes(d)
    along(d)
    moments(d)
    norms(d)
    counts(d)
    medians(d)
    quantiles(d)
    modes(d)
    softmaxes(d)
    running(d)
    differences(d)
    histograms(d)


def draw(shape, seed, dtype, lo=-3.0, hi=3.0):
    if dtype not in FLOATS:
        lo, hi = (0 if dtype[0] == "u" else lo), max(hi, 4)
    return numbers(shape, seed, lo, hi, dtype)


def whole(d, op, f, dtypes=EVERYTHING, lo=-3.0, hi=3.0, empty=True, odd=True, long=None, **options):
    """A reduction of all elements."""
    one = lambda x, **more: d.case(op, f, [x], **{**options, **more})
    for dtype in dtypes:
        one(draw((3, 5), 1, dtype, lo, hi))
    x = draw((2, 3, 4), 2, "f32", lo, hi)
    for form in [*laid(x), Input(draw((3, 1), 3, "f32", lo, hi)).expand(3, 4)]:
        one(form)
    one(draw((5, 300), 4, "f32", lo, hi), **(long or {}))
    for shape in [(), (1,), (1, 1), (67,)] + ([(0,), (2, 0, 3)] if empty else []):
        one(draw(shape, 4, "f32", lo, hi))
    if odd:
        for row in ODD:
            one(row, grad=False)


def over(d, op, f, dtypes=EVERYTHING, lo=-3.0, hi=3.0, args=None, empty=True, odd=True, keepdim=True, single=False, long=None, **options):
    """A reduction over `dims`, or over one `dim` where it is a `single` one."""
    name = "dim" if single else "dims"
    args = args or {}

    def one(x, dims, keep=False, **more):
        dims = dims[0] if single else dims
        d.case(op, f, [x], {name: dims, **({"keepdim": keep} if keepdim else {}), **args}, **{**options, **more})

    lists = [[0], [1], [2], [-1], [-3]] + ([] if single else [[0, 2], [-1, -2], [0, 1, 2]])
    for dims in lists:
        for keep in [False, True] if keepdim else [False]:
            one(draw((2, 3, 4), 1, "f32", lo, hi), dims, keep)
    for dtype in dtypes:
        one(draw((3, 5), 2, dtype, lo, hi), [1], True)
        one(draw((3, 5), 2, dtype, lo, hi), [0])
    for x in [*laid(draw((4, 5), 3, "f32", lo, hi)), Input(draw((4, 1), 3, "f32", lo, hi)).expand(4, 5)]:
        one(x, [0])
        one(x, [-1])
    one(Input(draw((2, 3, 1, 4), 4, "f32", lo, hi)).transpose(1, 3), [2] if single else [1, 2])
    one(draw((), 5, "f32", lo, hi), [0])
    one(draw((), 5, "f32", lo, hi), [-1], True)
    one(draw((1, 5), 6, "f32", lo, hi), [0])
    for shape, dim in [((3, 130), 1), ((2, 1100), -1), ((300, 3), 0)]:
        one(draw(shape, 7, "f32", lo, hi), [dim], **(long or {}))
    one(draw((0, 3), 10, "f32", lo, hi), [1])
    if empty:
        one(draw((0, 3), 10, "f32", lo, hi), [0])
        one(draw((2, 0), 10, "f32", lo, hi), [-1], True)
    if odd:
        one(ODD, [1], grad=False)
        one(ODD.to(torch.float16), [-1], grad=False)
        one(ODD, [0], grad=False)


# Derivatives that are sums of many products: their errors are measured by the sum of absolute values.
LONG = {"rtol": 5e-5, "atol": 1e-3, "reason": "sums of hundreds of terms of both signs, many of which cancel"}


def totals(d):
    whole(d, "sum", torch.sum)
    whole(d, "mean", lambda x: x.mean() if x.is_floating_point() else x.float().mean())
    over(d, "sum_dims", lambda x, dims, keepdim: x.sum(dims, keepdim))
    mean = lambda x, dims, keepdim: (x if x.is_floating_point() else x.float()).mean(dims, keepdim)
    over(d, "mean_dims", mean)
    for op, f in [("sum_dims", torch.sum), ("mean_dims", torch.mean)]:
        d.case(op, lambda x, dims, keepdim: f(x, dims, keepdim), [numbers((2, 3), 1)], {"dims": [], "keepdim": True})

    # Torch rounds after each factor, in f64 as little as wgrad.
    wide = lambda x: x.double() if x.is_floating_point() else x
    narrow = lambda y, x: y.to(x.dtype) if x.is_floating_point() else y

    def product(x, dims, keepdim):
        return narrow(products(wide(x), dims, keepdim), x)

    def products(x, dims, keepdim):
        for dim in sorted((dim % max(x.dim(), 1) for dim in dims), reverse=True):
            x = x.prod(dim, keepdim)
        return x

    near_one = {"lo": 0.9, "hi": 1.1, "long": LONG}
    for dtype in EVERYTHING:
        d.case("prod", lambda x: narrow(wide(x).prod(), x), [draw((3, 5), 11, dtype)])
        d.case("prod_dims", product, [draw((3, 5), 11, dtype)], {"dims": [1], "keepdim": False})
    whole(d, "prod", lambda x: narrow(wide(x).prod(), x), **near_one)
    over(d, "prod_dims", product, **near_one)
    # The gradient where elements are 0: none of them, one, two.
    for row in [[1.0, 2.0, 3.0], [1.0, 0.0, 3.0, -2.0], [0.0, 2.0, 0.0, 1.0], [0.0]]:
        d.case("prod", torch.prod, [torch.tensor(row)])
    zeros = torch.tensor([[1.0, 0.0, 3.0], [2.0, 4.0, 5.0], [0.0, 0.0, 1.0]])
    for dims in [[0], [1]]:
        d.case("prod_dims", product, [zeros], {"dims": dims, "keepdim": False})
    for x in [zeros, numbers((3, 4), 5)]:
        over_all = lambda x, dims, keepdim: x.nansum(dims, keepdim)
        d.case("nansum", over_all, [x], {"dims": [0, 1], "keepdim": True})
    over(d, "nansum", lambda x, dims, keepdim: x.nansum(dims, keepdim))
    over(d, "nanmean", lambda x, dims, keepdim: x.nanmean(dims, keepdim), dtypes=FLOATS)
    for op, f in [("nansum", torch.nansum), ("nanmean", torch.nanmean)]:
        reduce = lambda x, dims, keepdim: f(x, dims, keepdim)
        # Finite, so that the gradients are.
        gaps = torch.tensor([[1.0, NAN, 3.0], [2.0, 4.0, NAN], [5.0, 6.0, 7.0]])
        for dims in [[0], [1], [0, 1]]:
            d.case(op, reduce, [gaps], {"dims": dims, "keepdim": False})


def truths(d):
    for op, f in [("any", torch.any), ("all", torch.all)]:
        for dtype in [*EVERYTHING, "u32"]:
            for lo in [0, 1]:
                x = numbers((2, 3), 1, lo, 2, dtype)
                d.case(op, lambda x: f(x.bool()), [x])
        for shape in [(), (0,), (2, 0), (1, 3)]:
            d.case(op, f, [numbers(shape, 2, dtype="bool")])
        d.case(op, f, [torch.tensor([0.0, NAN, -0.0])])
        reduce = lambda x, dims, keepdim: f(x.bool(), dims, keepdim)
        for dims in [[0], [-1], [0, 2], [0, 1, 2]]:
            for keepdim in [False, True]:
                d.case(f"{op}_dims", reduce, [numbers((2, 3, 4), 3, dtype="bool")], {"dims": dims, "keepdim": keepdim})
        for dtype in EVERYTHING:
            for x in laid(numbers((4, 5), 4, 0, 2, dtype)):
                d.case(f"{op}_dims", reduce, [x], {"dims": [1], "keepdim": False})
        for shape, dims in [((0, 3), [0]), ((0, 3), [1]), ((3, 1), [0])]:
            d.case(f"{op}_dims", reduce, [numbers(shape, 5, dtype="bool")], {"dims": dims, "keepdim": False})


def extremes(d):
    ties = torch.tensor([[1.0, 3.0, 3.0], [3.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    for which, f in [("max", torch.amax), ("min", torch.amin)]:
        # wgrad's is torch's amax: ties share.
        whole(d, which, f, empty=False)
        d.case(which, f, [ties])
        reduce = lambda x, dims, keepdim: f(x, dims, keepdim)
        for op in [f"{which}_dims", f"a{which}"]:
            over(d, op, reduce, empty=False)
            for dims in [[0], [1], [0, 1]]:
                d.case(op, reduce, [ties], {"dims": dims, "keepdim": False})
    both = lambda x, dims, keepdim: (x.amin(dims, keepdim), x.amax(dims, keepdim))
    over(d, "aminmax", both, empty=False)


def positioned(pair):
    """Values and positions; these as wgrad has them."""
    values, positions = pair
    return values, positions.to(torch.int32)


def along(d):
    """Extremes along a dimension, with their positions."""
    for which, f, arg in [("max", torch.max, torch.argmax), ("min", torch.min, torch.argmin)]:
        pair = lambda x, dim, keepdim: positioned(f(x, dim, keepdim))
        over(d, f"{which}_along", pair, single=True, empty=False)
        ties = torch.tensor([[1.0, 3.0, 3.0], [3.0, 2.0, 2.0], [0.0, -0.0, 0.0], [NAN, 1.0, NAN]])
        for dim in [0, 1]:
            d.case(f"{which}_along", pair, [ties], {"dim": dim, "keepdim": False})
        position = lambda x, dim, keepdim: arg(x if x.dtype != torch.bool else x.int(), dim, keepdim).to(torch.int32)
        over(d, f"arg{which}", position, single=True, empty=False)
        whole_position = lambda x: arg(x).to(torch.int32)
        for x in [ties, *laid(numbers((3, 4), 2)), numbers((2, 3, 4), 3, -3, 3, "i32")]:
            d.case(f"arg{which}", whole_position, [x])


def moments(d):
    for correction in [1.0, 0.0, 2.0, 7.0]:
        args = {"correction": correction}
        few = {"odd": correction < 7, "empty": correction < 7}
        if correction > 1:
            x = numbers((4, 5), 1)
            for op, f in [("var_dims", torch.var), ("std_dims", torch.std)]:
                reduce = lambda x, dims, keepdim, correction: f(x, dims, correction=correction, keepdim=keepdim)
                for dims in [[0], [1], [0, 1]]:
                    for keepdim in [False, True]:
                        smooth = correction < 4
                        d.case(op, reduce, [x], {"dims": dims, "keepdim": keepdim, **args}, grad=smooth)
            continue
        for op, f in [("var_dims", torch.var), ("std_dims", torch.std)]:
            reduce = lambda x, dims, keepdim, correction: f(x, dims, correction=correction, keepdim=keepdim)
            # Of one element torch's second derivative is noise.
            over(d, op, reduce, dtypes=FLOATS, args=args, second=False, **few)
            for dims in [[0], [1], [0, 2]]:
                d.case(op, reduce, [numbers((3, 4, 5), 6)], {"dims": dims, "keepdim": False, **args})
        for op, f in [("var_mean", torch.var), ("std_mean", torch.std)]:
            # Not torch's own mean, which is NaN beside an infinity.
            reduce = lambda x, dims, keepdim, correction: (
                f(x, dims, correction=correction, keepdim=keepdim),
                x.mean(dims, keepdim),
            )
            over(d, op, reduce, dtypes=FLOATS, args=args, second=False, **few)
    for op, f in [("var", torch.var), ("std", torch.std)]:
        whole(d, op, lambda x: f(x), dtypes=FLOATS, second=False)
        d.case(op, lambda x: f(x), [numbers((4, 5), 7)])
        d.case(op, lambda x: f(x), [torch.full((5,), 2.5)], second=False)
        # A mean that is large beside the deviation: the sum of squares alone would lose it.
        d.case(op, lambda x: f(x), [numbers((50,), 8, 1000.0, 1001.0)], second=False)


def norms(d):
    for p in [2.0, 1.0, 0.0, 3.0, 0.5, 1.5, INF, -INF, -1.0, -2.5]:
        args = {"p": p}
        norm = lambda x, p: torch.linalg.vector_norm(x, p)
        over_dims = lambda x, dims, keepdim, p: torch.linalg.vector_norm(x, p, dims, keepdim)
        has_empty = 0 <= p < INF
        smooth = p not in (0.0, 1.0, INF, -INF)
        for dtype in FLOATS:
            d.case("norm", norm, [numbers((3, 5), 1, 0.3, 3.0, dtype)], args, second=smooth)
            d.case("norm", norm, [numbers((3, 5), 2, -3.0, 3.0, dtype)], args, second=False)
        for x in [*laid(numbers((3, 4), 3)), numbers((), 4), numbers((1,), 5), numbers((70,), 6), Input(numbers((3, 1), 7)).expand(3, 4)]:
            d.case("norm", norm, [x], args, second=False)
        for row in [[3.0, -4.0, 0.0, 4.0], [0.0, 0.0, -0.0], [1.0, 1.0]]:
            d.case("norm", norm, [torch.tensor(row)], args, second=False)
        for row in ODD:
            d.case("norm", norm, [row], args, grad=False)
        if has_empty:
            d.case("norm", norm, [numbers((0,), 8)], args)
        if p in (2.0, INF, 3.0):
            over(d, "vector_norm", over_dims, dtypes=FLOATS, args=args, empty=has_empty, second=False)
        else:
            for dims in [[0], [-1], [0, 2], []]:
                for keepdim in [False, True]:
                    d.case("vector_norm", over_dims, [numbers((2, 3, 4), 9)], {"dims": dims, "keepdim": keepdim, **args}, second=False)


def counts(d):
    count = lambda x, dims: torch.count_nonzero(x, dims).to(torch.int32)
    over(d, "count_nonzero", count, dtypes=[*EVERYTHING, "u32"], lo=0, hi=2, keepdim=False)
    d.case("count_nonzero", count, [numbers((2, 3), 1, -1, 2, "i32")], {"dims": []})
    for op, f in [("bincount", torch.bincount)]:
        for dtype in INTEGERS:
            x = numbers((40,), 1, 0, 9, dtype)
            for minlength in [0, 5, 20]:
                plain = lambda x, minlength: torch.bincount(x, minlength=minlength).to(torch.int32)
                d.case(op, plain, [x], {"minlength": minlength})
                weighed = lambda x, w, minlength: torch.bincount(x, w.detach(), minlength).to(w.dtype)
                d.case(op, weighed, [x, numbers((40,), 2)], {"minlength": minlength}, grad=False)
        x = numbers((40,), 3, 0, 9, "i32")
        weighed = lambda x, w, minlength: torch.bincount(x, w, minlength).to(w.dtype if w.is_floating_point() else torch.float32)
        for dtype in ["f64", "f16", "i32"]:
            d.case(op, weighed, [x, numbers((40,), 4, 0, 4, dtype)], {"minlength": 0}, grad=False)
        for form in laid(x):
            d.case(op, plain, [form], {"minlength": 0})
        for n in [0, 1]:
            for minlength in [0, 3]:
                d.case(op, plain, [numbers((n,), 5, 0, 4, "i32")], {"minlength": minlength})
        d.case(op, plain, [numbers((5000,), 6, 0, 700, "i32")], {"minlength": 0})


def place(x, dim, k, keepdim):
    """What stands at place `k` of the sorted elements along `dim`, equal ones in the order in which they stand."""
    values, positions = x.sort(dim=dim, stable=True)
    if x.dim() > 0:
        values, positions = (t.select(dim, k) for t in (values, positions))
        if keepdim:
            values, positions = values.unsqueeze(dim), positions.unsqueeze(dim)
    return values, positions.to(torch.int32)


def medians(d):
    def stable(x, dim, keepdim):
        """torch.median, which leaves open which of equal elements it names."""
        n = x.size(dim) if x.dim() else 1
        if n == 0 or x.numel() == 0 or x.isnan().any():
            return positioned(x.median(dim, keepdim))
        return place(x, dim, (n - 1) // 2, keepdim)

    over(d, "median_along", stable, dtypes=NUMBERS, single=True, empty=False, odd=False)
    d.case("median_along", lambda x, dim, keepdim: positioned(x.median(dim, keepdim)), [numbers((4, 6), 3)], {"dim": 1, "keepdim": False})
    distinct = torch.tensor([[3.0, NAN, 1.0, NAN], [NAN, 2.0, NAN, 1.0], [4.0, INF, -INF, 1.0], [NAN, NAN, NAN, NAN]])
    for dim in [0, 1]:
        for op, f in [("median_along", torch.median), ("nanmedian_along", torch.nanmedian)]:
            d.case(op, lambda x, dim, keepdim: positioned(f(x, dim, keepdim)), [distinct[:3]], {"dim": dim, "keepdim": True})
    d.case("median_along", lambda x, dim, keepdim: positioned(x.median(dim, keepdim)), [distinct], {"dim": 1, "keepdim": True})
    over(d, "nanmedian_along", stable, dtypes=NUMBERS, single=True, empty=False, odd=False)
    for op, f in [("median", torch.median), ("nanmedian", torch.nanmedian)]:
        whole(d, op, lambda x: f(x), dtypes=NUMBERS)
        for row in [[2.0, 2.0, 2.0, 3.0], [1.0, 1.0, 2.0, 3.0], [5.0], [NAN, 1.0, 2.0, 3.0]]:
            if not (op == "nanmedian" and row[0] != row[0]):
                d.case(op, lambda x: f(x), [torch.tensor(row)])
    # Torch's gradient goes to all elements that are equal to the median, here one.
    d.case("nanmedian", torch.nanmedian, [torch.tensor([NAN, 1.0, 2.0, 3.0])])


def quantiles(d):
    for op, f in [("quantile", torch.quantile), ("nanquantile", torch.nanquantile)]:

        def reduce(x, q, dims, keepdim, interpolation):
            wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
            # Torch takes one dimension.
            if len(dims) == wide.dim():
                y = f(wide, q, keepdim=keepdim, interpolation=interpolation)
            else:
                y = f(wide, q, dims[0], keepdim, interpolation=interpolation)
            return y.to(x.dtype)

        def case(x, q, dims, keepdim=False, interpolation="linear", **options):
            args = {"dims": dims, "keepdim": keepdim, "interpolation": interpolation}
            if isinstance(q, float):
                d.case(op, reduce, [x], {"q": q, **args}, **options)
            else:
                by = lambda x, q, dims, keepdim, interpolation: reduce(x, q, dims, keepdim, interpolation)
                d.case(op, by, [x, q], args, **options)

        for interpolation in ["linear", "lower", "higher", "midpoint", "nearest"]:
            for q in [0.0, 0.25, 0.4, 0.5, 0.9, 1.0]:
                case(numbers((3, 7), 1), q, [1], interpolation=interpolation)
                case(numbers((5,), 1), q, [0], interpolation=interpolation)
            for q in [torch.tensor([0.0, 0.3, 1.0]), torch.tensor(0.55), torch.tensor([0.125, 0.375, 0.625])]:
                case(numbers((2, 5, 3), 2), q, [1], interpolation=interpolation, grad=interpolation != "linear")
                case(numbers((2, 5, 3), 2), q, [-1], True, interpolation, grad=interpolation != "linear")
                case(numbers((2, 3), 2), q, [0, 1], True, interpolation, grad=interpolation != "linear")
        for dtype in FLOATS:
            q = torch.tensor([0.2, 0.7], dtype=DTYPES["f64" if dtype == "f64" else "f32"])
            case(numbers((3, 6), 3, dtype=dtype), 0.3, [0])
            case(numbers((3, 6), 3, dtype=dtype), q, [1], grad=False)
        for x in [*laid(numbers((4, 5), 4)), Input(numbers((4, 1), 4)).expand(4, 5)]:
            case(x, 0.35, [0])
            case(x, 0.35, [1], grad=not x.views[0][0] == "expand")
        case(numbers((), 5), 0.5, [])
        case(numbers((1,), 5), 0.5, [0])
        case(numbers((1000,), 6), torch.tensor([0.01, 0.5, 0.99]), [0])
        gaps = torch.tensor([[1.0, NAN, 3.0, 2.0], [5.0, 4.0, 7.0, 6.0], [NAN, NAN, NAN, NAN], [NAN, 1.0, NAN, NAN]])
        for interpolation in ["linear", "lower", "nearest"]:
            case(gaps, 0.4, [1], interpolation=interpolation, grad=False)
            case(gaps, 0.4, [0], interpolation=interpolation, grad=False)
        case(torch.tensor([1.0, NAN, 3.0, 2.0]), 0.4, [0], grad=op == "nanquantile", second=False)
        case(torch.tensor([2.0, 1.0, 2.0, 2.0, 3.0]), 0.5, [0], grad=False)


def modes(d):
    def last(x, dim, keepdim):
        """torch.mode, at the last of equal elements: torch's own place, where the row is short."""
        values, positions = x.mode(dim, keepdim)
        if x.dim() and x.numel():
            same = x == (values if keepdim else values.unsqueeze(dim))
            numbers = torch.arange(x.size(dim)).reshape([-1 if i == dim % x.dim() else 1 for i in range(x.dim())])
            positions = torch.where(same, numbers, -1).amax(dim, True)
            values = x.gather(dim, positions)
            values, positions = (values, positions) if keepdim else (values.squeeze(dim), positions.squeeze(dim))
        return values, positions.to(torch.int32)

    few = lambda shape, seed, dtype: numbers(shape, seed, 0, 4, dtype).floor() if dtype in FLOATS else numbers(shape, seed, 0, 4, dtype)
    for dtype in [*NUMBERS, "bool"]:
        for shape in [(3, 9), (7, 2)]:
            for dim in [0, 1]:
                for keepdim in [False, True]:
                    d.case("mode", last, [few(shape, 1, dtype)], {"dim": dim, "keepdim": keepdim})
    for x in [*laid(few((4, 9), 2, "f32")), few((), 3, "f32"), few((1,), 3, "i32"), few((2, 100), 4, "f32"), numbers((3, 5), 5)]:
        d.case("mode", last, [x], {"dim": -1, "keepdim": False})
    d.case("mode", last, [few((0, 3), 5, "f32")], {"dim": 1, "keepdim": False})
    d.case("mode", last, [torch.tensor([[INF, 1.0, INF], [-INF, 2.0, 1.0], [0.0, -0.0, 1.0]])], {"dim": 1, "keepdim": True})


def softmaxes(d):
    for op, f in [("softmax", torch.softmax), ("log_softmax", torch.log_softmax)]:
        over(d, op, lambda x, dim: f(x, dim), dtypes=FLOATS, single=True, keepdim=False)
    # Of ints torch's has floats, too.
    over(d, "logsumexp", lambda x, dim, keepdim: x.logsumexp(dim, keepdim), dtypes=[*FLOATS, "i32"], single=True, empty=True)


def running(d):
    totals = [("cumsum", torch.cumsum, EVERYTHING), ("cumprod", torch.cumprod, EVERYTHING)]
    wide = lambda f: lambda x, dim: f(x.double(), dim).to(x.dtype) if x.is_floating_point() else f(x, dim)
    for op, f, dtypes in totals:
        span = {"lo": 0.9, "hi": 1.1, "long": LONG} if op == "cumprod" else {}
        over(d, op, wide(f), dtypes=dtypes, single=True, keepdim=False, **span)
        for dtype in dtypes:
            d.case(op, wide(f), [draw((3, 5), 12, dtype)], {"dim": 1})
    for x in [torch.tensor([2.0, 0.0, 3.0, 0.0, 5.0]), torch.tensor([2.0, 1.5, 0.0, 4.0]), torch.tensor([0.0, 2.0, 3.0])]:
        d.case("cumprod", lambda x, dim: x.cumprod(dim), [x], {"dim": 0})
    zeros = numbers((3, 4), 3).round()
    for dim in [0, 1]:
        d.case("cumprod", lambda x, dim: x.cumprod(dim), [zeros], {"dim": dim})
    over(d, "logcumsumexp", wide(torch.logcumsumexp), dtypes=FLOATS, single=True, keepdim=False)
    # Far apart, and large.
    for x in [torch.tensor([-100.0, 100.0, 50.0, 101.0]), numbers((20,), 4, -80.0, 80.0), numbers((20,), 5, 1000.0, 1010.0)]:
        reason = "numbers of 1000 have six places before the differences"
        d.case("logcumsumexp", wide(torch.logcumsumexp), [x], {"dim": -1}, rtol=1e-4, atol=1e-4, reason=reason)
    masked = torch.tensor([-INF, 1.0, -INF, 2.0])

    def none(part, want, x):
        return want.nan_to_num(0.0) if part == "grad" else want

    reason = "an element of minus infinity has no part in any sum: docs/guide/differences.md, Derivatives"
    d.case("logcumsumexp", lambda x, dim: x.logcumsumexp(dim), [masked], {"dim": 0}, second=False, differs=none, reason=reason)
    for op, f in [("cummax", torch.cummax), ("cummin", torch.cummin)]:
        pair = lambda x, dim: positioned(f(x, dim))
        over(d, op, pair, dtypes=EVERYTHING, single=True, keepdim=False)
        ties = torch.tensor([[1.0, 3.0, 3.0, 2.0, 3.0], [0.0, -0.0, 0.0, 0.0, 1.0], [NAN, 1.0, NAN, 2.0, 0.0], [5.0, 4.0, 4.0, 3.0, 3.0]])
        for dim in [0, 1]:
            d.case(op, pair, [ties], {"dim": dim}, grad=dim == 1)


def differences(d):
    for n in [0, 1, 2, 3]:
        for dim in [0, -1]:
            f = lambda x, n, dim: x.diff(n, dim)
            for dtype in EVERYTHING:
                d.case("diff", f, [draw((3, 5), 1, dtype)], {"n": n, "dim": dim})
            for x in [*laid(numbers((4, 5), 2)), numbers((1,), 3), numbers((0, 2), 3), numbers((2, 3, 4), 4)]:
                d.case("diff", f, [x], {"n": n, "dim": dim})
    for op, f in [("trapezoid", torch.trapezoid), ("cumulative_trapezoid", torch.cumulative_trapezoid)]:
        for dx in [1.0, 0.5]:
            by = lambda y, dx, dim: f(y, dx=dx, dim=dim)
            for dim in [0, -1, 1]:
                for y in [numbers((3, 5), 1), *laid(numbers((3, 5), 2)), numbers((2, 3, 4), 3), numbers((3, 1), 4)]:
                    d.case(op, by, [y], {"dx": dx, "dim": dim})
            for dtype in [*FLOATS, "i32", "u8"]:
                wide = lambda y, dx, dim: f(y if y.is_floating_point() else y.float(), dx=dx, dim=dim)
                d.case(op, wide, [draw((3, 5), 5, dtype)], {"dx": dx, "dim": 1})
            for y in [numbers((1,), 6), numbers((0,), 6), numbers((0, 3), 6)]:
                d.case(op, by, [y], {"dx": dx, "dim": 0})
        at = lambda y, x, dim: f(y, x, dim=dim)
        d.case(op, at, [numbers((3, 5), 7), numbers((5,), 8)], {"dim": 1})
        d.case(op, at, [numbers((3, 5), 7), numbers((3,), 8)], {"dim": 0})
        d.case(op, at, [numbers((3, 5), 7), numbers((3, 5), 8)], {"dim": -1})
        d.case(op, at, [numbers((2, 3, 5), 7), numbers((3, 1), 8)], {"dim": 1})
        d.case(op, at, [Input(numbers((5, 3), 7)).transpose(0, 1), numbers((5,), 8)], {"dim": -1})


def histograms(d):
    f = lambda x, bins, min, max: x.histc(bins, min, max)
    for dtype in ["f32", "f64"]:
        x = numbers((60,), 1, -2.0, 6.0, dtype)
        for bins, low, high in [(4, 0.0, 3.0), (7, -2.0, 6.0), (1, 0.0, 1.0), (100, -1.0, 5.5), (5, 0.0, 0.0), (3, 2.0, 2.0)]:
            d.case("histc", f, [x], {"bins": bins, "min": low, "max": high}, grad=False)
    edges = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, -1.0, 5.0, NAN, INF, -INF, 0.5, -0.0])
    d.case("histc", f, [edges], {"bins": 4, "min": 0.0, "max": 4.0}, grad=False)
    for x in [*laid(numbers((5, 6), 2)), numbers((), 3), numbers((0,), 3), torch.full((7,), 2.0), numbers((3000,), 4)]:
        d.case("histc", f, [x], {"bins": 6, "min": 0.0, "max": 0.0}, grad=False)
    d.case("histc", f, [numbers((40,), 5, 0.0, 4.0, "f16")], {"bins": 4, "min": 0.0, "max": 4.0}, grad=False)
