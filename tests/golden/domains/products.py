"""Products of matrices."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special


def cases(d):
    for a in [numbers((3, 5), 1), *laid(numbers((3, 5), 1))]:
        for b in [numbers((5, 4), 2), *laid(numbers((5, 4), 2))]:
            d.case("matmul", torch.matmul, [a, b])
