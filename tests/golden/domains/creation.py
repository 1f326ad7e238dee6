"""Tensors from nothing."""

import torch

from cases import DTYPES, FLOATS, INTEGERS


def cases(d):
    for dtype in [*FLOATS, *INTEGERS]:
        make = lambda start, end, step, dtype: torch.arange(start, end, step, dtype=DTYPES[dtype])
        d.case("arange", make, [], {"start": 0, "end": 7, "step": 2, "dtype": dtype})
