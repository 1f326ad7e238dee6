"""Gathering, scattering, selecting by indices."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special


def cases(d):
    index = numbers((7,), 1, 0, 5, "i32")
    for x in [numbers((3, 5), 2), *laid(numbers((3, 5), 2))]:
        d.case("index_select", lambda x, index, dim: x.index_select(dim, index), [x, index], {"dim": 1})
