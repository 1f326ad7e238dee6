"""Extremes and their places, sorting, searching."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special


def cases(d):
    for dim in [0, -1]:
        for x in [numbers((3, 5), 1), *laid(numbers((3, 5), 1)), numbers((3, 5), 2, -2, 2, "i32")]:
            d.case("argmax", lambda x, dim, keepdim: x.argmax(dim, keepdim), [x], {"dim": dim, "keepdim": False})
