"""Sums, means, extremes and running sums."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special


def cases(d):
    for dims in [[0], [-1], [0, 2], [1]]:
        for keepdim in [False, True]:
            args = {"dims": dims, "keepdim": keepdim}
            total = lambda x, dims, keepdim: x.sum(dims, keepdim)
            for x in [numbers((2, 3, 4), 1), *laid(numbers((2, 3, 4), 1)), numbers((2, 0, 3), 1)]:
                d.case("sum_dims", total, [x], args)
