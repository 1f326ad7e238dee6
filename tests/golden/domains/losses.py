"""Cross-entropies."""

import torch
import torch.nn.functional as F

from cases import FLOATS, coarse, laid, numbers


def options(reduction, ignore):
    return {"reduction": reduction, **({} if ignore is None else {"ignore": ignore})}


def cases(d):
    # Class weights are constants.
    def cross_entropy(x, t, weight=None, reduction="mean", ignore=-100, smoothing=0.0):
        weight = None if weight is None else weight.detach()
        t = t if t.is_floating_point() else t.long()
        return F.cross_entropy(x, t, weight, reduction=reduction, ignore_index=ignore, label_smoothing=smoothing)

    def nll(x, t, weight=None, reduction="mean", ignore=-100):
        weight = None if weight is None else weight.detach()
        return F.nll_loss(x, t.long(), weight, reduction=reduction, ignore_index=ignore)

    def linear(x, w, t, b=None, reduction="mean", ignore=-100, rows=None, smoothing=0.0):
        y = F.linear(x, w, b)
        return F.cross_entropy(y, t.long(), reduction=reduction, ignore_index=ignore, label_smoothing=smoothing)

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
    soft(d, cross_entropy, t, weight)
    ctc(d)
    d.case("linear_cross_entropy", linear, [numbers((6, 4), 6), numbers((5, 4), 7), t])
    for form in laid(numbers((6, 4), 6)):
        for other in laid(numbers((5, 4), 7)):
            d.case("linear_cross_entropy", linear, [form, other, t, numbers((5,), 8)])
    d.case("linear_cross_entropy_with", linear, [numbers((6, 4), 6), numbers((5, 4), 7), t], {"reduction": "sum", "smoothing": 0.1})


def soft(d, f, t, weight):
    """Targets that are smoothed, probabilities, and logits of more dimensions."""
    op = "cross_entropy_with"
    x = numbers((6, 5), 9)
    p = torch.softmax(numbers((6, 5), 10), 1)
    wide, places = numbers((2, 5, 3), 11), numbers((2, 3), 12, 0, 5, "i32")
    for dtype in FLOATS:
        rough = coarse(dtype, {"coarse": True})
        x16 = numbers((6, 5), 9, -3, 3, dtype)
        d.case(op, f, [x16, t], {"reduction": "mean", "smoothing": 0.2}, **rough)
        d.case(op, f, [x16, p.to(x16.dtype)], {"reduction": "mean", "smoothing": 0.0}, **rough)
    for reduction in ["mean", "sum", "none"]:
        for smoothing in [0.0, 0.1, 1.0]:
            args = {"reduction": reduction, "smoothing": smoothing}
            for ignore in [None, 2]:
                more = {**args, **({} if ignore is None else {"ignore": ignore})}
                if smoothing > 0:
                    d.case(op, f, [x, t], more)
                    d.case(op, f, [x, t, weight], more)
                d.case(op, f, [wide, places, weight], more)
            d.case(op, f, [x, p], args)
            d.case(op, f, [x, p, weight], args)
            d.case(op, f, [wide, torch.softmax(numbers((2, 5, 3), 13), 1)], args)
            d.case(op, f, [x[0], p[0]], args)
            d.case(op, f, [x[0], t[0]], args)
    d.case(op, f, [torch.full((3, 2), 2.0), torch.tensor([1, 1, 0])], {"reduction": "mean", "smoothing": 0.3, "ignore": 1}, second=False)
    d.case(op, f, [x, p.double()], {"reduction": "mean"})
    for form in laid(x):
        for other in laid(p):
            d.case(op, f, [form, other], {"reduction": "none", "smoothing": 0.1})


def ctc(d):
    def f(x, t, inputs, lengths, blank=0, reduction="mean", zero_infinity=False):
        p = torch.log_softmax(x, -1)
        return F.ctc_loss(p, t.long(), inputs.long(), lengths.long(), blank, reduction, zero_infinity)

    ints = lambda *v: torch.tensor(v, dtype=torch.int32)
    # torch has no second derivative of it.
    near = dict(rtol=1e-5, atol=1e-5, reason="sums over ways through time, in another order")
    case = lambda x, t, inputs, lengths, **args: d.case("ctc_loss", f, [x, t, inputs, lengths], args, second=False, **near)
    # Repeated labels need a blank between them; what is behind a length does not count.
    targets = torch.tensor([[1, 2, 2, 3], [3, 1, 4, 4], [2, 2, 2, 0]], dtype=torch.int32)
    for dtype in ["f64", "f32"]:
        x = numbers((7, 3, 5), 21, -2, 2, dtype)
        for reduction in ["mean", "sum", "none"]:
            case(x, targets, ints(7, 6, 5), ints(4, 2, 3), reduction=reduction)
            flat = torch.cat([targets[0, :4], targets[1, :2], targets[2, :3]])
            case(x, flat, ints(7, 6, 5), ints(4, 2, 3), reduction=reduction)
    case(x, targets % 4, ints(7, 7, 7), ints(4, 3, 2), blank=4, reduction="none")
    case(numbers((6, 4), 22, -2, 2), ints(1, 2, 1), ints(6), ints(3), reduction="none")
    case(numbers((6, 1, 4), 22, -40, 40), torch.tensor([[1, 2, 1]], dtype=torch.int32), ints(6), ints(3), reduction="none")
    # Empty targets, and targets that are too long for their time.
    case(x, targets, ints(7, 6, 5), ints(0, 1, 3), reduction="none")
    # Without time there is no way to any label, and one to none.
    for lengths in [ints(0, 1, 3), ints(1, 1, 3)]:
        case(x, targets, ints(0, 6, 5), lengths, reduction="none", zero_infinity=True)
    for reduction in ["mean", "sum", "none"]:
        case(x, targets, ints(3, 3, 3), ints(4, 2, 3), reduction=reduction, zero_infinity=True)
    p = numbers((3, 3, 5), 23)
    d.case("ctc_loss", f, [p, targets, ints(3, 3, 3), ints(4, 2, 3)], {"reduction": "none"}, grad=False)
    for form in laid(numbers((5, 2, 3), 24)):
        case(form, torch.tensor([[1, 2], [1, 1]], dtype=torch.int64), ints(5, 4), ints(2, 2), reduction="sum")
