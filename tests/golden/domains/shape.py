"""Views, joining and splitting."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special


def cases(d):
    for x in [numbers((3, 4), 1), *laid(numbers((3, 4), 1)), numbers((3, 4), 1, dtype="i32")]:
        d.case("reshape", lambda x, shape: x.reshape(shape), [x], {"shape": [2, -1]})
        d.case("transpose", lambda x, a, b: x.transpose(a, b), [x], {"a": 0, "b": -1})
    parts = [numbers((2, 3), 1), numbers((2, 4), 2)]
    d.case("cat", lambda *x, dim: torch.cat(x, dim), parts, {"dim": 1})
