"""Values and derivatives of elementwise operations at special points, by PyTorch.

    python special_values.py > special_values.txt      # torch 2.15

A line: operation, operands, value, derivatives (for the upstream gradient 1), all as f32 bits.
"""

import struct

import torch
import torch.nn.functional as F

INF, NAN = float("inf"), float("nan")
LARGEST, NORMAL, SUBNORMAL = 3.4028234663852886e38, 1.1754943508222875e-38, 1e-40
POINTS = [0.0, 1e-10, 0.5, 1.0, 1.5, 2.5, 15.0, 20.0, 88.8, 100.0, 104.0, 1e20, NORMAL, SUBNORMAL, LARGEST, INF]
POINTS = POINTS + [-x for x in POINTS] + [NAN]
PAIRS = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0, 1e-25, 1e25, SUBNORMAL, LARGEST, INF, -INF, NAN]

UNARY = {
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "recip": torch.reciprocal,
    "sqr": torch.square,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "ln": torch.log,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "erf": torch.erf,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "nan_to_zero": lambda x: torch.nan_to_num(x, 0.0, INF, -INF),
    "clamp": lambda x: x.clamp(-1.0, 1.0),
    "clamp_min": lambda x: x.clamp(min=0.0),
    "clamp_max": lambda x: x.clamp(max=0.0),
    "powi0": lambda x: x**0,
    "powi1": lambda x: x**1,
    "powi2": lambda x: x**2,
    "powi3": lambda x: x**3,
    "powi-1": lambda x: x**-1,
    "powi-2": lambda x: x**-2,
    "powi-3": lambda x: x**-3,
    "powf0.5": lambda x: x**0.5,
    "powf-0.5": lambda x: x**-0.5,
    "mul1e5": lambda x: x * 1e5,
    "div1e5": lambda x: x / 1e5,
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "pow": torch.pow,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
}
COMPARE = {"eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge}


def bits(*tensors):
    values = [t.to(torch.float32).item() for t in tensors]
    return [f"{struct.unpack('<I', struct.pack('<f', v))[0]:08x}" for v in values]


def line(name, f, operands):
    # One element at a time: torch's vector code and its scalar code differ at some points.
    leaves = [torch.tensor([x], dtype=torch.float32, requires_grad=True) for x in operands]
    y = f(*leaves)
    gradients = torch.autograd.grad(y.sum(), leaves) if y.dtype.is_floating_point else []
    print(name, *bits(*leaves), *bits(y), *bits(*gradients))


for name, f in UNARY.items():
    for x in POINTS:
        line(name, f, [x])
for name, f in {**BINARY, **COMPARE}.items():
    for a in PAIRS:
        for b in PAIRS:
            line(name, f, [a, b])
