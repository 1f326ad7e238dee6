"""Tensors that are made of numbers."""

import torch

from cases import DTYPES, FLOATS, INTEGERS, Input, laid, numbers, special

TYPES = [*FLOATS, "i64", "i32"]


def cases(d):
    made = lambda op, f, **args: d.case(op, lambda dtype, **a: f(dtype=DTYPES[dtype], **a), [], args)
    for dtype in TYPES:
        for start, end, step in [(0, 5, 1), (2, 11, 3), (5, -4, -2), (3, 3, 1)]:
            made("arange", torch.arange, start=start, end=end, step=step, dtype=dtype)
        for size in [[3], [2, 4], [4, 2], [0], [0, 3]]:
            made("eye", lambda dtype, size: torch.eye(*size, dtype=dtype), size=size, dtype=dtype)
        for shape in [[2, 3], [], [0]]:
            made("zeros", lambda dtype, shape: torch.zeros(shape, dtype=dtype), shape=shape, dtype=dtype)
            made("ones", lambda dtype, shape: torch.ones(shape, dtype=dtype), shape=shape, dtype=dtype)
            made("full", lambda dtype, shape, value: torch.full(shape, value, dtype=dtype), shape=shape, value=7, dtype=dtype)
        for x in [numbers((2, 3), 1, dtype=dtype), numbers((), 1, dtype=dtype), numbers((0, 2), 1, dtype=dtype)]:
            d.case("zeros_like", torch.zeros_like, [x], grad=False)
            d.case("ones_like", torch.ones_like, [x], grad=False)
            d.case("full_like", lambda x, value: torch.full_like(x, value), [x], {"value": 3}, grad=False)
    for dtype in ["f64", "f32"]:
        for start, end, step in [(0.0, 1.0, 0.25), (1.0, 0.0, -0.3), (0.5, 3.2, 0.7)]:
            made("arange", torch.arange, start=start, end=end, step=step, dtype=dtype)
        for start, end, n in [(0.0, 1.0, 5), (-2.0, 3.0, 7), (1.0, 1.0, 3), (0.0, 5.0, 1), (0.0, 5.0, 0)]:
            made("linspace", lambda dtype, start, end, n: torch.linspace(start, end, n, dtype=dtype), start=start, end=end, n=n, dtype=dtype)
            made("logspace", lambda dtype, start, end, n, base: torch.logspace(start, end, n, base, dtype=dtype), start=start, end=end, n=n, base=2.0, dtype=dtype)
        made("logspace", lambda dtype, start, end, n, base: torch.logspace(start, end, n, base, dtype=dtype), start=-1.0, end=2.0, n=4, base=10.0, dtype=dtype)
    for op, f in [("tril_indices", torch.tril_indices), ("triu_indices", torch.triu_indices)]:
        for rows, columns, diagonal in [(3, 3, 0), (3, 4, 1), (4, 2, -1), (2, 3, 9), (2, 3, -9), (0, 3, 0)]:
            made(op, lambda dtype, rows, columns, diagonal, f=f: f(rows, columns, diagonal, dtype=dtype), rows=rows, columns=columns, diagonal=diagonal, dtype="i32")
