"""Cross-entropies."""

import torch
import torch.nn.functional as F

from cases import FLOATS, coarse, laid, numbers


def options(reduction, ignore):
    return {"reduction": reduction, **({} if ignore is None else {"ignore": ignore})}


def cases(d):
    # Class weights are constants.
    def cross_entropy(x, t, weight=None, reduction="mean", ignore=-100):
        weight = None if weight is None else weight.detach()
        return F.cross_entropy(x, t.long(), weight, reduction=reduction, ignore_index=ignore)

    def nll(x, t, weight=None, reduction="mean", ignore=-100):
        weight = None if weight is None else weight.detach()
        return F.nll_loss(x, t.long(), weight, reduction=reduction, ignore_index=ignore)

    def linear(x, w, t, b=None, reduction="mean", ignore=-100, rows=None):
        return F.cross_entropy(F.linear(x, w, b), t.long(), reduction=reduction, ignore_index=ignore)

    t = numbers((6,), 1, 0, 5, "i32")
    weight = numbers((5,), 2, 0.2, 2)
    # torch's f16 steps are rounded one by one.
    for dtype in FLOATS:
        rough = coarse(dtype, {"coarse": True})
        d.case("cross_entropy", cross_entropy, [numbers((6, 5), 3, -3, 3, dtype), t], **rough)
    for x in [*laid(numbers((6, 5), 3)), numbers((6, 5), 4, -90, 90), numbers((6, 1), 4)]:
        d.case("cross_entropy", cross_entropy, [x, t * 0 if torch.is_tensor(x) and x.shape[1] == 1 else t])
    d.case("cross_entropy", cross_entropy, [numbers((5,), 3), torch.tensor(3, dtype=torch.int32)])
    for reduction in ["mean", "sum", "none"]:
        for ignore in [None, 2]:
            args = options(reduction, ignore)
            x = numbers((6, 5), 3)
            d.case("cross_entropy_with", cross_entropy, [x, t], args)
            d.case("cross_entropy_with", cross_entropy, [x, t, weight], args)
            d.case("nll_loss_with", nll, [x, t], args)
            d.case("nll_loss_with", nll, [x, t, weight], args)
            d.case("nll_loss_with", nll, [numbers((2, 5, 3), 4), numbers((2, 3), 5, 0, 5, "i32")], args)
            operands = [numbers((6, 4), 6), numbers((5, 4), 7), t]
            d.case("linear_cross_entropy_with", linear, operands, args)
            d.case("linear_cross_entropy_with", linear, [*operands, numbers((5,), 8)], args)
            for rows in [2, 4]:
                d.case("linear_cross_entropy_by", linear, operands, {**args, "rows": rows}, second=False)
    d.case("linear_cross_entropy", linear, [numbers((6, 4), 6), numbers((5, 4), 7), t])
    for form in laid(numbers((6, 4), 6)):
        for other in laid(numbers((5, 4), 7)):
            d.case("linear_cross_entropy", linear, [form, other, t, numbers((5,), 8)])
