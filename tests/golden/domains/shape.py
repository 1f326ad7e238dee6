"""Views, joining, splitting and reordering."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special

TYPES = [*FLOATS, "i64", "i32", "u8", "bool"]


def cases(d):
    views(d)
    joins(d)
    splits(d)
    orders(d)
    repeats(d)
    diagonals(d)
    grids(d)


def forms(shape, seed=1):
    """A tensor of this shape in every type, and laid out in unusual ways."""
    return [*[numbers(shape, seed, dtype=t) for t in TYPES], *laid(numbers(shape, seed))]


def each(d, op, f, shapes, arguments, empty=True):
    """The operation on tensors of each shape with each set of arguments."""
    for i, shape in enumerate(shapes):
        for x in forms(shape) if i == 0 else [numbers(shape, 1), *laid(numbers(shape, 1))]:
            for args in arguments:
                try:
                    d.case(op, f, [x], args)
                except (RuntimeError, IndexError, ValueError):
                    # These arguments are for other shapes.
                    continue


def views(d):
    each(d, "reshape", lambda x, shape: x.reshape(shape), [(3, 4), (0, 3), (2, 3, 2), (12,)], [{"shape": [2, -1]}, {"shape": [3, 2, 2]}, {"shape": [0]}])
    each(d, "transpose", lambda x, a, b: x.transpose(a, b), [(3, 4), (2, 0, 3), (2, 3, 2)], [{"a": 0, "b": -1}, {"a": 1, "b": 1}])
    each(d, "swapaxes", lambda x, a, b: torch.swapaxes(x, a, b), [(3, 4), (2, 3, 2)], [{"a": 0, "b": -1}])
    each(d, "t", torch.t, [(3, 4), (5,), ()], [{}])
    each(d, "permute", lambda x, dims: x.permute(dims), [(2, 3, 4), (2, 0, 3), (1, 2, 1)], [{"dims": [2, 0, 1]}, {"dims": [-1, 1, 0]}])
    each(d, "movedim", lambda x, source, to: torch.movedim(x, source, to), [(2, 3, 4), (1, 2, 0)], [{"source": [0], "to": [2]}, {"source": [0, -1], "to": [1, 0]}, {"source": [-2], "to": [0]}])
    each(d, "flatten", lambda x, start, end: x.flatten(start, end), [(2, 3, 4), (2, 0, 3), ()], [{"start": 0, "end": -1}, {"start": 1, "end": 2}, {"start": 0, "end": 1}])
    each(d, "flatten_from", lambda x, start: x.flatten(start), [(2, 3, 4), (2, 3), ()], [{"start": 0}, {"start": 1}, {"start": -1}])
    each(d, "unflatten", lambda x, dim, sizes: x.unflatten(dim, sizes), [(2, 12), (6,), (3, 4, 2)], [{"dim": -1, "sizes": [3, -1]}, {"dim": 0, "sizes": [2, 3]}, {"dim": 1, "sizes": [2, 2, -1]}])
    each(d, "expand", lambda x, shape: x.expand(shape), [(3, 1), (1,), (), (1, 1, 2), (0, 1)], [{"shape": [3, 4]}, {"shape": [2, -1, 3]}, {"shape": [2, -1]}, {"shape": [0, 5]}, {"shape": [2, 3, 2]}])
    each(d, "squeeze", lambda x, dim: x.squeeze(dim), [(1, 3, 1), (2, 3), ()], [{"dim": 0}, {"dim": -1}, {"dim": 1}])
    each(d, "squeeze_dims", lambda x, dims: x.squeeze(tuple(dims)), [(1, 3, 1), (2, 1)], [{"dims": [0, 2]}, {"dims": [-1]}, {"dims": [0, 1]}])
    each(d, "unsqueeze", lambda x, dim: x.unsqueeze(dim), [(2, 3), (), (0,)], [{"dim": 0}, {"dim": -1}, {"dim": 1}, {"dim": -2}])
    each(d, "contiguous", lambda x: x.contiguous(), [(3, 4), (), (0, 2)], [{}])
    slices = lambda x, start, end, step: x[tuple(slice(*s) for s in zip(start, end, step))]
    each(d, "slice", slices, [(4, 6), (5, 7, 2)], [
        {"start": [1, 2], "end": [4, 6], "step": [1, 1]},
        {"start": [0, 1], "end": [4, 6], "step": [2, 3]},
        {"start": [-3, -4], "end": [-1, -1], "step": [1, 2]},
        {"start": [2], "end": [2], "step": [1]},
    ])
    each(d, "narrow", lambda x, dim, start, length: x.narrow(dim, start, length), [(4, 6), (5,)], [{"dim": 0, "start": 1, "length": 2}, {"dim": -1, "start": 0, "length": 5}, {"dim": 0, "start": 4, "length": 0}])
    each(d, "select", lambda x, dim, index: x.select(dim, index), [(4, 6), (5,), (2, 3, 4)], [{"dim": 0, "index": 1}, {"dim": -1, "index": -1}, {"dim": 1, "index": -2}])


def joins(d):
    for x in [[numbers((2, 3), 1, dtype=t), numbers((2, 4), 2, dtype=t)] for t in TYPES]:
        d.case("cat", lambda *x, dim: torch.cat(x, dim), x, {"dim": 1})
    cat = lambda *x, dim: torch.cat(x, dim)
    d.case("cat", cat, [numbers((2, 3), i) for i in range(9)], {"dim": -2})
    d.case("cat", cat, [numbers((2, 3), 1), numbers((2, 3), 2, dtype="i32")], {"dim": 0})
    d.case("cat", cat, [numbers((2, 3), 1), numbers((0,), 2), numbers((1, 3), 3)], {"dim": 0})
    d.case("cat", cat, [laid(numbers((2, 3), 1))[0], laid(numbers((2, 3), 2))[1], numbers((2, 0), 1)], {"dim": 1})
    for op, f, shapes in [
        ("stack", torch.stack, [[(2, 3)] * 3, [()] * 2, [(0, 2)] * 2]),
        ("hstack", torch.hstack, [[(2, 3), (2, 1)], [(3,), (2,)], [(), ()], [(2, 1, 2), (2, 2, 2)]]),
        ("vstack", torch.vstack, [[(2, 3), (1, 3)], [(3,), (3,)], [(), ()], [(3,), (2, 3)]]),
        ("dstack", torch.dstack, [[(2, 3), (2, 3)], [(3,), (3,)], [(), ()], [(2, 3, 1), (2, 3, 2)]]),
        ("block_diag", torch.block_diag, [[(2, 3), (1, 2), (3, 1)], [(3,), ()], [(2, 0), (1, 2)]]),
    ]:
        for list_ in shapes:
            for dtype in ["f32", "f64", "f16", "i32"]:
                x = [numbers(s, 3 + i, dtype=dtype) for i, s in enumerate(list_)]
                if op == "stack":
                    for dim in [0, -1]:
                        d.case(op, lambda *x, dim: torch.stack(x, dim), x, {"dim": dim})
                elif op == "block_diag":
                    d.case(op, lambda *x: torch.block_diag(*x), x)
                else:
                    d.case(op, lambda *x, f=f: f(x), x)


def splits(d):
    each(d, "chunk", lambda x, n, dim: x.chunk(n, dim), [(7, 4), (6,)], [{"n": 3, "dim": 0}, {"n": 2, "dim": -1}])
    each(d, "split", lambda x, size, dim: x.split(size, dim), [(7, 4), (6,)], [{"size": 3, "dim": 0}, {"size": 2, "dim": -1}])
    each(d, "split_with_sizes", lambda x, sizes, dim: torch.split_with_sizes(x, sizes, dim), [(7, 4), (7,)], [{"sizes": [3, 0, 4], "dim": 0}, {"sizes": [1, 3], "dim": -1}])
    each(d, "tensor_split", lambda x, n, dim: torch.tensor_split(x, n, dim), [(7, 4), (2,)], [{"n": 3, "dim": 0}, {"n": 2, "dim": -1}])
    each(d, "tensor_split_at", lambda x, at, dim: torch.tensor_split(x, at, dim), [(7, 4), (2,)], [{"at": [1, 4], "dim": 0}, {"at": [2], "dim": -1}, {"at": [3, 1, 9], "dim": 0}, {"at": [-2], "dim": 0}])
    each(d, "hsplit", lambda x, n: torch.hsplit(x, n), [(3, 4), (6,)], [{"n": 2}])
    each(d, "vsplit", lambda x, n: torch.vsplit(x, n), [(4, 3), (2, 1, 2)], [{"n": 2}])
    each(d, "dsplit", lambda x, n: torch.dsplit(x, n), [(1, 2, 4)], [{"n": 2}])
    each(d, "unbind", lambda x, dim: x.unbind(dim), [(3, 2), (2,), (2, 3, 2)], [{"dim": 0}, {"dim": -1}])


def orders(d):
    each(d, "flip", lambda x, dims: torch.flip(x, dims), [(3, 4), (2, 3, 2), (0, 3), (5,)], [{"dims": [0]}, {"dims": [0, -1]}, {"dims": [1]}])
    each(d, "fliplr", torch.fliplr, [(3, 4), (2, 3, 2)], [{}])
    each(d, "flipud", torch.flipud, [(3, 4), (4,)], [{}])
    each(d, "roll", lambda x, shifts, dims: torch.roll(x, shifts, dims), [(3, 4), (2, 3, 2), (5,), (0, 2)], [{"shifts": [1], "dims": [0]}, {"shifts": [-2, 7], "dims": [0, -1]}, {"shifts": [0], "dims": [1]}])
    each(d, "rot90", lambda x, k, dims: torch.rot90(x, k, dims), [(3, 4), (2, 3, 2)], [{"k": k, "dims": [a, b]} for k in [0, 1, 2, 3, -1, 6] for a, b in [(0, 1), (1, 0)]])


def repeats(d):
    each(d, "repeat", lambda x, repeats: x.repeat(repeats), [(2, 3), (3,), (), (0, 2)], [{"repeats": [2, 3]}, {"repeats": [2, 1, 2]}, {"repeats": [2]}, {"repeats": [0, 1]}, {"repeats": []}])
    each(d, "tile", lambda x, repeats: torch.tile(x, repeats), [(2, 3), (3,), ()], [{"repeats": [2, 3]}, {"repeats": [2, 1, 2]}, {"repeats": [2]}])
    for x in forms((2, 3)):
        for dim in [0, -1, None]:
            d.case("repeat_interleave", lambda x, times, dim: torch.repeat_interleave(x, times, dim), [x], {"times": 3, "dim": dim})
        for dim, of in [(0, [2, 0]), (1, [1, 3, 2]), (-1, [0, 0, 0]), (0, [2])]:
            times = torch.tensor(of, dtype=torch.int32)
            d.case("repeat_interleave", lambda x, times, dim: torch.repeat_interleave(x, times.long() if len(times) == x.shape[dim] else int(times), dim), [x, times], {"dim": dim})


def diagonals(d):
    offsets = [{"diagonal": k} for k in [0, 1, -1, 2, -3, 9]]
    each(d, "tril", lambda x, diagonal: torch.tril(x, diagonal), [(3, 4), (4, 3), (2, 3, 3), (0, 3)], offsets)
    each(d, "triu", lambda x, diagonal: torch.triu(x, diagonal), [(3, 4), (4, 3), (2, 3, 3), (0, 3)], offsets)
    each(d, "diag", lambda x, diagonal: torch.diag(x, diagonal), [(3, 4), (4, 3), (3,), (0,)], offsets[:4])
    pairs = [{"diagonal": k, "a": a, "b": b} for k in [0, 1, -2] for a, b in [(0, 1), (-1, -2), (0, 2), (2, 1)]]
    each(d, "diagonal", lambda x, diagonal, a, b: torch.diagonal(x, diagonal, a, b), [(3, 4), (2, 3, 4), (2, 0, 3)], pairs)
    each(d, "diag_embed", lambda x, diagonal, a, b: torch.diag_embed(x, diagonal, a, b), [(3,), (2, 3), (2, 0)], pairs)


def grids(d):
    for dtype in ["f32", "f64", "bf16", "i32"]:
        a, b, c = numbers((2,), 1, dtype=dtype), numbers((3,), 2, dtype=dtype), numbers((4,), 3, dtype=dtype)
        one = numbers((), 4, dtype=dtype)
        for x in [[a, b], [a, b, c], [a], [a, one]]:
            for indexing in ["ij", "xy"]:
                d.case("meshgrid", lambda *x, indexing: torch.meshgrid(*x, indexing=indexing), x, {"indexing": indexing})
            if all(t.dim() for t in x):
                d.case("cartesian_prod", lambda *x: torch.cartesian_prod(*x), x)
