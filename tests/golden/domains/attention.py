"""Attention."""

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from cases import FLOATS, coarse, laid, numbers


def cases(d):
    def attention(q, k, v, mask=None, causal=False, scale=None, gqa=False):
        # The others have no second derivatives.
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=gqa)

    def operands(q, k, v=None, dtype="f32"):
        v = v or k
        return [numbers(q, 1, -2, 2, dtype), numbers(k, 2, -2, 2, dtype), numbers(v, 3, -2, 2, dtype)]

    name = "scaled_dot_product_attention"
    for dtype in FLOATS:
        # torch rounds scores and weights.
        rough = coarse(dtype, {"coarse": True})
        d.case(name, attention, operands((2, 3, 4), (2, 5, 4), dtype=dtype), **rough)
        d.case(name + "_with", attention, operands((2, 5, 4), (2, 3, 4), dtype=dtype), {"causal": True}, **rough)
    q, k, v = operands((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6))
    for form in laid(q):
        d.case(name, attention, [form, k, v])
    for form in laid(k):
        d.case(name, attention, [q, form, v])
    for form in laid(v):
        d.case(name, attention, [q, k, form])
    d.case(name, attention, operands((3, 4), (5, 4)))
    d.case(name, attention, operands((2, 1, 3, 4), (1, 3, 5, 4)))
    d.case(name, attention, operands((2, 2, 2, 3, 4), (2, 2, 2, 5, 4)), second=False)
    d.case(name, attention, operands((1, 1, 17, 8), (1, 1, 65, 8)), second=False)
    args = [{}, {"causal": True}, {"scale": 0.3}, {"causal": True, "scale": -0.7}]
    for more in args:
        d.case(name + "_with", attention, [q, k, v], more)
    for heads in [1, 2, 4]:
        d.case(name + "_with", attention, operands((1, 4, 3, 4), (1, heads, 5, 4)), {"gqa": True, "causal": True})
    # Masks that leave the second query nothing.
    seen = numbers((3, 5), 4, -1, 1) > -0.3
    seen[1] = False
    none = torch.where(seen, 0.0, -torch.inf)
    for mask in [seen, none, none[:, :1], seen[0], numbers((3, 5), 5), numbers((2, 3, 5), 5), numbers((1, 2, 1, 5), 5)]:
        d.case(name + "_with", attention, [q, k, v, mask])

    def rotary(x, positions=None, offset=0, base=10000.0, interleaved=False):
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        rows, size = x.shape[-2:]
        if positions is None:
            positions = torch.arange(rows) + offset
        pairs = torch.arange(size // 2).to(wide)
        angles = positions.to(wide)[..., None] * base ** (-2 * pairs / size)
        a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
        a, b = a.to(wide), b.to(wide)
        turned = [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()]
        y = torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)
        return y.to(x.dtype)

    name = "rotary_embedding"
    for dtype in FLOATS:
        d.case(name, rotary, [numbers((2, 5, 6), 1, dtype=dtype)])
    for form in laid(numbers((3, 4), 1)):
        d.case(name, rotary, [form])
        d.case(name + "_with", rotary, [form], {"interleaved": True})
    x = numbers((2, 3, 5, 8), 2)
    for more in [{"offset": 17}, {"base": 500.0}, {"interleaved": True, "offset": 3}]:
        d.case(name + "_with", rotary, [x], more)
    for positions in [(5,), (2, 1, 5), (1, 1)]:
        d.case(name + "_with", rotary, [x, numbers(positions, 3, 0, 20, "i32")])
