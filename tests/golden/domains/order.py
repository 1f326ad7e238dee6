"""Sorting, searching, and what is different."""

import torch

from cases import FLOATS, INF, INTEGERS, NAN, Input, laid, numbers, pairs, special

NUMBERS = (*FLOATS, *INTEGERS, "i16", "i8")
EVERYTHING = (*NUMBERS, "bool")
ODD = torch.tensor([[1.0, NAN, -INF, 0.0, INF, NAN, -0.0, 1.0], [0.0, -0.0, 0.0, 2.0, -1.0, -1.0, 3.0, -0.0]])


def cases(d):
    sorts(d)
    firsts(d)
    searches(d)
    sets(d)


def ties(shape, seed, dtype):
    """Few different numbers."""
    lo = 0 if dtype[0] in "ub" else -3
    return numbers(shape, seed, lo, 4, dtype).round() if dtype in FLOATS else numbers(shape, seed, lo, 4, dtype)


def forms(dtypes=EVERYTHING):
    for dtype in dtypes:
        yield numbers((3, 5), 1, 0 if dtype[0] in "ub" else -9, 9, dtype)
        yield ties((3, 9), 2, dtype)
        yield special(dtype).reshape(1, -1)
    for x in laid(numbers((4, 5), 3)) + laid(ties((4, 5), 3, "i32")):
        yield x
    yield Input(numbers((4, 1), 4)).expand(4, 5)
    yield Input(numbers((2, 3, 4), 5)).transpose(0, 2)
    for shape in [(2, 3, 4), (1, 1), (3, 0), (0, 3), (2, 70), (1, 1100), (70, 2)]:
        yield numbers(shape, 6)
    yield ODD
    yield ODD.to(torch.float16)


def smooth(x):
    """Whether torch's derivatives have no NaN times 0."""
    base = x.base if isinstance(x, Input) else x
    return bool(base.isfinite().all())


def sorts(d):
    for descending in [False, True]:

        def both(x, dim, descending):
            values, positions = torch.sort(x, dim=dim, descending=descending, stable=True)
            return values, positions.to(torch.int32)

        for x in forms():
            for dim in [0, -1]:
                d.case("sort", both, [x], {"dim": dim, "descending": descending}, grad=smooth(x))
        place = lambda x, dim, descending: both(x, dim, descending)[1]
        for x in [*forms(["f32", "i32"]), numbers((), 7), numbers((1,), 7)]:
            d.case("argsort", place, [x], {"dim": -1, "descending": descending}, grad=False)
        d.case("sort", both, [numbers((), 7)], {"dim": 0, "descending": descending})
        d.case("sort", both, [numbers((2, 3, 4), 8)], {"dim": 1, "descending": descending})
        d.case("sort", both, [numbers((2, 3, 4), 8)], {"dim": -3, "descending": descending})
    for x in [*forms(), numbers((), 7)]:
        d.case("msort", lambda x: torch.sort(x, dim=0, stable=True)[0] if x.dim() else x.msort(), [x], grad=smooth(x))


def firsts(d):
    for largest in [False, True]:

        def top(x, k, dim, largest):
            """The first k of the stable order: torch.topk leaves open which of equal elements it names."""
            if x.dim() == 0:
                values, positions = x.topk(k, dim, largest)
                return values, positions.to(torch.int32)
            values, positions = torch.sort(x, dim=dim, descending=largest, stable=True)
            return values.narrow(dim, 0, k), positions.narrow(dim, 0, k).to(torch.int32)

        for x in forms():
            for dim in [0, -1]:
                size = x.of(x.base).size(dim) if isinstance(x, Input) else x.size(dim)
                for k in sorted({0, min(1, size), min(2, size), size // 2, size}):
                    d.case("topk", top, [x], {"k": k, "dim": dim, "largest": largest}, grad=smooth(x) and k > 0)
        d.case("topk", top, [numbers((), 7)], {"k": 1, "dim": 0, "largest": largest})
        # And torch's own, where there are no ties.
        own = lambda x, k, dim, largest: (lambda y: (y[0], y[1].to(torch.int32)))(x.topk(k, dim, largest))
        d.case("topk", own, [numbers((3, 50), 9)], {"k": 7, "dim": 1, "largest": largest})

    def kth(x, k, dim, keepdim):
        if x.dim() == 0 or x.numel() == 0:
            values, positions = x.kthvalue(k, dim, keepdim)
            return values, positions.to(torch.int32)
        values, positions = torch.sort(x, dim=dim, stable=True)
        pick = lambda t: t.narrow(dim, k - 1, 1) if keepdim else t.select(dim, k - 1)
        return pick(values), pick(positions).to(torch.int32)

    for x in forms(NUMBERS):
        for dim in [0, -1]:
            size = x.of(x.base).size(dim) if isinstance(x, Input) else x.size(dim)
            for k in sorted({1, (size + 1) // 2, size} - {0}):
                if size > 0:
                    keep = {"k": k, "dim": dim, "keepdim": dim == 0}
                    d.case("kthvalue", kth, [x], keep, grad=smooth(x))
    d.case("kthvalue", kth, [numbers((), 7)], {"k": 1, "dim": 0, "keepdim": True})
    own = lambda x, k, dim, keepdim: (lambda y: (y[0], y[1].to(torch.int32)))(x.kthvalue(k, dim, keepdim))
    for k in [1, 20, 50]:
        d.case("kthvalue", own, [numbers((3, 50), 9)], {"k": k, "dim": 1, "keepdim": False})


def searches(d):
    for right in [False, True]:
        search = lambda s, v, right: torch.searchsorted(s, v, right=right).to(torch.int32)
        bucket = lambda v, b, right: torch.bucketize(v, b, right=right).to(torch.int32)
        args = {"right": right}
        both = lambda s, v: (
            d.case("searchsorted", search, [s, v], args, grad=False),
            d.case("bucketize", bucket, [v, s], args, grad=False),
        )
        for dtype in NUMBERS:
            sorted_ = ties((30,), 1, dtype).sort()[0]
            both(sorted_, ties((3, 5), 2, dtype))
        sorted_ = numbers((17,), 3).sort()[0]
        for v in [*laid(numbers((4, 5), 4)), numbers((), 5), numbers((0,), 5), numbers((2, 0), 5), numbers((300,), 5)]:
            both(sorted_, v)
        for s in laid(sorted_):
            both(s, numbers((3, 4), 6))
        both(sorted_[:1], numbers((7,), 6))
        both(sorted_[:0], numbers((7,), 6))
        both(torch.tensor([-INF, -1.0, 0.0, 0.0, 2.0, INF]), torch.tensor([NAN, INF, -INF, 0.0, -0.0, 3.0]))
        both(numbers((9,), 7, -5, 5, "i32").sort()[0], numbers((6,), 8))
        both(numbers((9,), 7, -5, 5).sort()[0], numbers((6,), 8, -5, 5, "i32"))
        # A row for each row.
        rows = numbers((2, 3, 11), 9).sort(-1)[0]
        d.case("searchsorted", search, [rows, numbers((2, 3, 4), 10)], args, grad=False)
        turned = Input(rows.transpose(0, 2)).transpose(0, 2)
        d.case("searchsorted", search, [turned, *laid(numbers((2, 3, 4), 10))[:1]], args, grad=False)
        d.case("searchsorted", search, [numbers((3, 0), 11), numbers((3, 2), 11)], args, grad=False)


def sets(d):
    def unique(x):
        values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
        return values, inverse.to(torch.int32), counts.to(torch.int32)

    def runs(x):
        values, inverse, counts = torch.unique_consecutive(x, return_inverse=True, return_counts=True)
        return values, inverse.to(torch.int32), counts.to(torch.int32)

    inputs = [ties((4, 6), 1, dtype) for dtype in EVERYTHING]
    inputs += [numbers((10,), 2), *laid(ties((4, 5), 3, "f32")), Input(ties((3, 1), 4, "i32")).expand(3, 4)]
    inputs += [ties((), 5, "f32"), ties((1,), 5, "i32"), ties((0,), 5, "f32"), ties((2, 0), 5, "f32"), numbers((3000,), 6, 0, 90, "i32")]
    inputs += [torch.full((40,), 3), torch.tensor([2.0, INF, 1.0, INF, -INF, 2.0])]
    for x in inputs:
        d.case("unique", unique, [x], grad=False)
        d.case("unique_consecutive", runs, [x], grad=False)
    # Each NaN is different.
    d.case("unique_consecutive", runs, [torch.tensor([1.0, NAN, NAN, 1.0, 1.0])], grad=False)
    counted = lambda y: (y[0], y[1].to(torch.int32), y[2].to(torch.int32))
    few = lambda shape, seed, dtype: ties(shape, seed, dtype).clamp(0, 1) if dtype != "bool" else ties(shape, seed, dtype)
    slices = [few((9, 3), 1, dtype) for dtype in EVERYTHING]
    slices += [few((7, 2, 2), 2, "i32"), few((4, 1), 3, "f32"), few((6,), 4, "i32"), numbers((4, 5), 5), few((40, 5), 6, "f32")]
    slices += [*laid(few((3, 9), 7, "f32")), Input(few((3, 1), 7, "i32")).expand(3, 4), few((1, 4), 8, "f32")]
    for x in slices:
        for dim in [0, -1]:
            if isinstance(x, Input) or x.size(dim) > 0:
                along = lambda x, dim: counted(x.unique(dim=dim, return_inverse=True, return_counts=True))
                again = lambda x, dim: counted(x.unique_consecutive(dim=dim, return_inverse=True, return_counts=True))
                d.case("unique_along", along, [x], {"dim": dim}, grad=False)
                d.case("unique_consecutive_along", again, [x], {"dim": dim}, grad=False)
    isin = lambda x, others: torch.isin(x, others)
    for dtype in NUMBERS:
        d.case("isin", isin, [ties((4, 5), 1, dtype), ties((3,), 2, dtype)], grad=False)
        d.case("isin", isin, [ties((4, 5), 1, dtype), ties((30,), 2, dtype)], grad=False)
    for x in [*laid(ties((4, 5), 3, "f32")), ties((), 4, "f32"), ties((0,), 4, "f32"), ties((2, 0), 4, "f32")]:
        d.case("isin", isin, [x, ties((2, 3), 5, "f32")], grad=False)
        d.case("isin", isin, [x, ties((0,), 5, "f32")], grad=False)
    d.case("isin", isin, [*pairs("f32")], grad=False)
    d.case("isin", isin, [ties((5,), 6, "f32"), ties((5,), 7, "i32")], grad=False)
    d.case("isin", isin, [numbers((500,), 8, 0, 1000, "i32"), numbers((300,), 9, 0, 1000, "i32")], grad=False)
