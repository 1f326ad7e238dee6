"""Gathering, scattering, selecting by indices and masks."""

import torch

from cases import FLOATS, INTEGERS, Input, coarse, laid, numbers, special

TYPES = [*FLOATS, "i64", "i32", "u8", "bool"]


def cases(d):
    along(d)
    masks(d)
    lists(d)
    scatters(d)
    slices(d)
    bags(d)


def forms(shape, seed=1):
    return [*[numbers(shape, seed, dtype=t) for t in TYPES], *laid(numbers(shape, seed))]


def at(shape, size, seed=1, dtype="i32", lo=0):
    return numbers(shape, seed, lo, size, dtype)


def long(f):
    """torch takes indices of i64 only."""
    return lambda *x, **args: f(*[t.long() if not t.is_floating_point() and t.dtype == torch.int32 and i else t for i, t in enumerate(x)], **args)


def along(d):
    for x in forms((3, 5), 2):
        for kind in ["i32", "i64"]:
            d.case("index_select", long(lambda x, i, dim: x.index_select(dim, i)), [x, at((7,), 5, 1, kind)], {"dim": 1})
        d.case("index_select", long(lambda x, i, dim: x.index_select(dim, i)), [x, at((), 3)], {"dim": -2})
        d.case("index_select", long(lambda x, i, dim: x.index_select(dim, i)), [x, at((0,), 3)], {"dim": 0})
        d.case("gather", long(lambda x, i, dim: x.gather(dim, i)), [x, at((3, 7), 5)], {"dim": 1})
        d.case("gather", long(lambda x, i, dim: x.gather(dim, i)), [x, Input(at((4, 2), 3)).transpose(0, 1)] , {"dim": -2})
        d.case("gather", long(lambda x, i, dim: x.gather(dim, i)), [x, at((0, 2), 3)], {"dim": 0})
        d.case("take", long(lambda x, i: x.take(i)), [x, at((2, 4), 15)])
        d.case("take", long(lambda x, i: x.take(i)), [x, at((6,), 15, 2, lo=-15)])
        d.case("take_along_dim", long(lambda x, i, dim: torch.take_along_dim(x, i, dim)), [x, at((1, 4), 5)], {"dim": 1})
        d.case("take_along_dim", long(lambda x, i, dim: torch.take_along_dim(x, i, dim)), [x, at((2, 1), 3)], {"dim": 0})
        d.case("take_along_dim", long(lambda x, i, dim: torch.take_along_dim(x.contiguous(), i, dim)), [x, at((4,), 15)], {"dim": None})
    one = numbers((), 3)
    d.case("gather", long(lambda x, i, dim: x.gather(dim, i)), [one, at((), 1)], {"dim": 0})
    d.case("gather", long(lambda x, i, dim: x.gather(dim, i)), [one, at((3,), 1)], {"dim": -1})
    d.case("index_select", long(lambda x, i, dim: x.index_select(dim, i)), [one, at((1,), 1)], {"dim": 0})
    d.case("take", long(lambda x, i: x.take(i)), [one, at((2,), 1)])
    for dtype in FLOATS:
        for shape in [(4,), (2, 3), (), (0,), (2, 0)]:
            d.case("embedding", long(lambda w, i: torch.nn.functional.embedding(i, w)), [numbers((6, 3), 1, dtype=dtype), at(shape, 6)])


def masks(d):
    for x in forms((3, 4), 2):
        for mask in [numbers((3, 4), 5, dtype="bool"), numbers((4,), 6, dtype="bool"), numbers((3, 1), 7, dtype="bool"), numbers((), 1, dtype="bool")]:
            d.case("masked_fill", lambda x, m, value: x.masked_fill(m, value), [x, mask], {"value": 1})
            d.case("masked_select", lambda x, m: x.masked_select(m), [x, mask])
            d.case("masked_scatter", lambda x, m, s: x.masked_scatter(m, s), [x, mask, numbers((2, 8), 9).to(x.dtype if not isinstance(x, Input) else x.base.dtype)])
        of = x.base if isinstance(x, Input) else x
        if of.is_floating_point():
            d.case("masked_fill", lambda x, m, v: x.masked_fill(m, v), [x, numbers((3, 4), 5, dtype="bool"), numbers((), 6).to(of.dtype)])
    d.case("masked_select", lambda x, m: x.masked_select(m), [numbers((4,), 1), numbers((3, 1), 7, dtype="bool")])
    d.case("masked_select", lambda x, m: x.masked_select(m), [numbers((0, 3), 1), numbers((3,), 7, dtype="bool")])
    d.case("masked_fill", lambda x, m, value: x.masked_fill(m, value), [numbers((2, 3), 1), numbers((3,), 7, dtype="bool")], {"value": float("-inf")})
    rest = torch.tensor([0.0, -0.0, 1.0, float("nan"), 0.0, -2.0, float("inf")])
    for op, f in [("nonzero", torch.nonzero), ("argwhere", torch.argwhere)]:
        # Positions are i32, which the manifest takes for torch's i64 where no operand is of i64.
        for dtype in [t for t in TYPES if t != "i64"]:
            d.case(op, f, [numbers((3, 4), 5, -1, 2, dtype) if dtype[0] != "u" else numbers((3, 4), 5, 0, 2, dtype)])
        for x in [rest, torch.zeros(3), torch.zeros(0), torch.zeros(2, 0), torch.tensor(2.0), torch.tensor(0.0), *laid(numbers((2, 3, 2), 8, 0, 2, "i32"))]:
            d.case(op, f, [x])
    for shape in [(4,), (2, 3), (), (0,)]:
        for dtype in ["i64", "i32", "u8"]:
            d.case("one_hot", lambda x, classes: torch.nn.functional.one_hot(x.long(), classes).to(torch.int32), [at(shape, 5, dtype=dtype)], {"classes": 5})


def entry(x, index):
    """An index of a list, as the manifest writes it: `t1` is operand 1."""
    if index == "...":
        return Ellipsis
    if index == "new":
        return None
    if isinstance(index, str):
        t = x[int(index[1:])]
        return t if t.dtype == torch.bool else t.long()
    if isinstance(index, list):
        return slice(*index)
    return index


def lists(d):
    read = lambda *x, list: x[0][tuple(entry(x, i) for i in list)]
    basic = [
        [1], [-1], [[1, 3, 1]], ["...", 0], ["...", [0, 4, 2]], [0, "...", -2], ["new", 1], [[0, 2, 1], "new", "..."],
        ["...", "new"], [1, 2, 3], [[-2, -1, 1], 0], [],
    ]
    for x in forms((3, 4, 5), 2):
        for entries in basic:
            d.case("index", read, [x], {"list": entries})
    i, j = at((2, 3), 3, 1, lo=-3), at((3,), 4, 2)
    k = at((3,), 5, 3, "i64", lo=-5)
    m3, m4, m34 = numbers((3,), 4, dtype="bool"), numbers((4,), 5, dtype="bool"), numbers((3, 4), 6, dtype="bool")
    m345 = numbers((3, 4, 5), 7, dtype="bool")
    tensors = [
        ([i], ["t1"]), ([i], ["...", "t1"]), ([i, j], ["t1", "t2"]), ([i, k], ["t1", [0, 4, 1], "t2"]), ([j, k], [[0, 3, 1], "t1", "t2"]),
        ([j, k], [1, "t1", "t2"]), ([i, k], ["t1", 2, "t2"]), ([i, j, k], ["t1", "t2", "t3"]), ([m3], ["t1"]), ([m4], [[0, 3, 1], "t1"]),
        ([m34], ["t1"]), ([m345], ["t1"]), ([m34], ["t1", "new", [1, 4, 1]]), ([i], ["new", "t1"]), ([j], [[1, 3, 1], "t1", [0, 5, 3]]),
        ([at((), 3)], ["t1"]), ([at((0,), 3)], ["t1"]), ([torch.zeros(3, dtype=torch.bool)], ["t1"]), ([m34, at((), 5)], ["t1", "t2"]),
    ]
    for dtype in ["f32", "f64", "f16", "i32", "bool"]:
        x = numbers((3, 4, 5), 2, dtype=dtype)
        for of in [x, *(laid(x) if dtype == "f32" else [])]:
            for t, entries in tensors:
                d.case("index", read, [of, *t], {"list": entries})
    put(d, basic, tensors)


def put(d, basic, tensors):
    def write(*x, list, accumulate):
        y = x[0].clone()
        where = tuple(entry(x, i) for i in list)
        if accumulate:
            y = y.index_put(tuple(positions(x[0], where)), x[1].reshape(-1) if x[1].dim() else x[1], accumulate=True) if not x[1].dim() or x[1].shape == y[where].shape else y
        else:
            y[where] = x[1]
        return y

    def positions(x, where):
        flat = torch.arange(x.numel()).reshape(x.shape)[where].reshape(-1)
        return torch.unravel_index(flat, x.shape)

    unique = [torch.tensor([2, 0], dtype=torch.int32), torch.tensor([[1], [3]], dtype=torch.int32)]
    m34 = numbers((3, 4), 6, dtype="bool")
    for dtype in ["f32", "f64", "bf16", "i32"]:
        x = numbers((3, 4, 5), 2, dtype=dtype)
        for entries in basic:
            part = x[tuple(entry([x], i) for i in entries)]
            for values in [numbers(part.shape, 8, dtype=dtype), numbers((), 9, dtype=dtype)]:
                for accumulate in [False, True]:
                    d.case("index_put", write, [x, values], {"list": entries, "accumulate": accumulate})
        for t, entries in [([unique[0]], ["t2"]), ([unique[0], unique[1]], ["t2", "t3"]), ([m34], ["t2"]), ([unique[0]], [[0, 2, 1], [0, 4, 1], "t2"])]:
            part = x[tuple(entry([x, x, *t], i) for i in entries)]
            for values in [numbers(part.shape, 8, dtype=dtype), numbers((), 9, dtype=dtype)]:
                for accumulate in [False, True]:
                    d.case("index_put", write, [x, values, *t], {"list": entries, "accumulate": accumulate})
    # Positions that come again, added up.
    again = torch.tensor([1, 1, 0, 1], dtype=torch.int32)
    for dtype in ["f32", "f64", "i32"]:
        d.case("index_put", write, [numbers((3, 2), 1, dtype=dtype), numbers((4, 2), 2, dtype=dtype), again], {"list": ["t2"], "accumulate": True})
    for accumulate in [False, True]:
        for x in forms((3, 5), 2):
            of = x.base if isinstance(x, Input) else x
            if of.dtype == torch.bool:
                continue
            d.case("put", lambda x, i, s, accumulate: x.put(i.long(), s, accumulate), [x, torch.tensor([[3, -1], [0, 7]], dtype=torch.int32), numbers((2, 2), 4, 0, 3).to(of.dtype)], {"accumulate": accumulate})


def scatters(d):
    index = torch.tensor([[0, 2, 1], [3, 1, 0]], dtype=torch.int32)
    for x in forms((3, 4), 2):
        of = x.base if isinstance(x, Input) else x
        s = numbers((2, 3), 5, dtype="f32" if of.dtype == torch.float32 else "f64").to(of.dtype) if of.is_floating_point() else numbers((2, 3), 5, 0, 2).to(of.dtype)
        d.case("scatter", lambda x, i, s, dim: x.scatter(dim, i.long(), s), [x, index, s], {"dim": 1})
        d.case("scatter", lambda x, i, s, dim: x.scatter(dim, i.long(), s), [x, torch.tensor([[2, 0, 1]], dtype=torch.int32), s[:1]], {"dim": 0})
        d.case("scatter", lambda x, i, dim, value: x.scatter(dim, i.long(), value), [x, index], {"dim": -1, "value": 1})
        d.case("scatter", lambda x, i, s, dim: x.scatter(dim, i.long(), s), [x, torch.zeros((0, 3), dtype=torch.int32), s], {"dim": 0}, grad=False)
        i = at((2, 3), 3)
        if of.dtype not in (torch.bool,):
            for dim in [0, 1]:
                d.case("scatter_add", lambda x, i, s, dim: x.scatter_add(dim, i.long(), s), [x, i, s], {"dim": dim})
                for reduce in ["sum", "prod", "mean", "amax", "amin"]:
                    for self_ in [True, False]:
                        d.case("scatter_reduce", lambda x, i, s, dim, reduce, include_self: x.scatter_reduce(dim, i.long(), s, reduce, include_self=include_self), [x, i, s], {"dim": dim, "reduce": reduce, "include_self": self_}, second=reduce in ("sum", "mean"))
        d.case("index_add", lambda x, i, s, dim, alpha: x.index_add(dim, i.long(), s, alpha=alpha), [x, at((5,), 4), numbers((3, 5), 6, 0, 2).to(of.dtype)], {"dim": 1, "alpha": 1}) if of.dtype != torch.bool else None
        if of.dtype != torch.bool:
            d.case("index_add", lambda x, i, s, dim, alpha: x.index_add(dim, i.long(), s, alpha=alpha), [x, at((2,), 3), numbers((2, 4), 6, 0, 2).to(of.dtype)], {"dim": -2, "alpha": 2})
        d.case("index_copy", lambda x, i, s, dim: x.index_copy(dim, i.long(), s), [x, torch.tensor([3, 0], dtype=torch.int32), numbers((3, 2), 6, 0, 2).to(of.dtype)], {"dim": 1})
        d.case("index_copy", lambda x, i, s, dim: x.index_copy(dim, i.long(), s), [x, torch.zeros(0, dtype=torch.int32), numbers((0, 4), 6).to(of.dtype)], {"dim": 0})
        d.case("index_fill", lambda x, i, dim, value: x.index_fill(dim, i.long(), value), [x, torch.tensor([3, 0, 3], dtype=torch.int32)], {"dim": 1, "value": 1})
        if of.is_floating_point():
            d.case("index_fill", lambda x, i, v, dim: x.index_fill(dim, i.long(), v), [x, torch.tensor([1], dtype=torch.int32), numbers((), 3).to(of.dtype)], {"dim": 0})
    for value in [float("nan"), float("inf"), float("-inf")]:
        s = torch.tensor([[1.0, value, 2.0]])
        for reduce in ["sum", "prod", "mean", "amax", "amin"]:
            d.case("scatter_reduce", lambda x, i, s, dim, reduce, include_self: x.scatter_reduce(dim, i.long(), s, reduce, include_self=include_self), [numbers((2, 3), 1), torch.tensor([[1, 0, 1]], dtype=torch.int32), s], {"dim": 0, "reduce": reduce, "include_self": True}, grad=False)
    zeros = torch.tensor([[0.0, 2.0, 0.0, 3.0, 0.0]])
    d.case("scatter_reduce", lambda x, i, s, dim, reduce, include_self: x.scatter_reduce(dim, i.long(), s, reduce, include_self=include_self), [numbers((1, 3), 1), torch.tensor([[0, 0, 1, 1, 1]], dtype=torch.int32), zeros], {"dim": 1, "reduce": "prod", "include_self": True}, second=False)


def slices(d):
    for x in forms((4, 5), 2):
        of = x.base if isinstance(x, Input) else x
        s = lambda shape: numbers(shape, 5, 0, 2).to(of.dtype)
        for dim, index, shape in [(0, 1, (5,)), (-1, -2, (4,))]:
            d.case("select_scatter", lambda x, s, dim, index: torch.select_scatter(x, s, dim, index), [x, s(shape)], {"dim": dim, "index": index})
        for dim, start, end, step, shape in [(0, 1, 3, 1, (2, 5)), (1, 0, 5, 2, (4, 3)), (-1, -3, -1, 1, (4, 2)), (0, 2, 2, 1, (0, 5))]:
            d.case("slice_scatter", lambda x, s, dim, start, end, step: torch.slice_scatter(x, s, dim, start, end, step), [x, s(shape)], {"dim": dim, "start": start, "end": end, "step": step})


def bags(d):
    """Operands by flags: the table, the positions, offsets, weights."""

    def f(table, index, *rest, mode="mean", offsets=False, weights=False, padding=None, last=False):
        rest = list(rest)
        starts = rest.pop(0).long() if offsets else None
        factors = rest.pop(0) if weights else None
        if weights and not offsets:
            # torch's own has no second derivative by the weights.
            return (torch.nn.functional.embedding(index.long(), table) * factors[..., None]).sum(1)
        bag = torch.nn.functional.embedding_bag
        return bag(
            index.long(),
            table,
            starts,
            mode=mode,
            per_sample_weights=factors,
            padding_idx=padding,
            include_last_offset=last,
        )

    case = lambda inputs, **args: d.case("embedding_bag", f, inputs, args, second=twice(args), **rough)
    twice = lambda args: args["mode"] != "max" and not (args.get("weights") and args.get("offsets"))
    ints = lambda *v: torch.tensor(v, dtype=torch.int32)
    for dtype in FLOATS:
        rough = coarse(dtype, {"coarse": True})
        table = numbers((6, 3), 31, -3, 3, dtype)
        for mode in ["sum", "mean", "max"]:
            case([table, at((2, 4), 6)], mode=mode)
            case([table, at((7,), 6), ints(0, 2, 2, 5)], mode=mode, offsets=True)
        case([table, at((2, 4), 6), numbers((2, 4), 32, -2, 2, dtype)], mode="sum", weights=True)
    rough = {}
    table, index = numbers((6, 3), 33), at((7,), 6, 2)
    for mode in ["sum", "mean", "max"]:
        for padding in [1, -2]:
            case([table, at((3, 4), 6, 3)], mode=mode, padding=padding)
            case([table, index, ints(0, 0, 3, 7)], mode=mode, padding=padding, offsets=True)
        # A bag of padding alone, and one of the same row three times.
        case([table, ints(1, 1, 2, 2, 2), ints(0, 2)], mode=mode, padding=1, offsets=True)
        case([table, index, ints(0, 3, 5, 7)], mode=mode, offsets=True, last=True)
        case([table, at((0,), 6), ints(0, 0)], mode=mode, offsets=True)
        for form in laid(table):
            case([form, at((2, 4), 6, 4)], mode=mode)
    case([table, index, ints(0, 2, 5), numbers((7,), 34)], mode="sum", offsets=True, weights=True, padding=0)
