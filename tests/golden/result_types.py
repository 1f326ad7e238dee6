"""Result types of operations for every type and pair of types, by PyTorch.

    python result_types.py > result_types.txt      # torch 2.15

A line: operation, operand types ("0" after a type: a tensor without dimensions; "f", "i", "b": a
number), result type, or "refused". i64 and u32 are left out of pairs: see docs/guide/differences.md.
"""

import torch

TYPES = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
}
NAMES = {v: k for k, v in TYPES.items()}
NUMBERS = {"f": 1.0, "i": 1, "b": True}
UNARY = [
    "neg", "abs", "sign", "reciprocal", "square", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "sin",
    "cos", "tan", "tanh", "sigmoid", "relu", "erf", "floor", "ceil", "round", "logical_not", "sum", "amax",
    "argmax", "any", "all",
]
BINARY = ["add", "sub", "mul", "div", "pow", "minimum", "maximum", "eq", "lt", "logical_and"]


def result(f):
    try:
        return NAMES[f().dtype]
    except (RuntimeError, TypeError, IndexError):
        return "refused"


for op in UNARY:
    for name, dtype in TYPES.items():
        x = torch.ones(2, dtype=dtype)
        print(op, name, result(lambda: getattr(torch, op)(x)))
for op in BINARY:
    f = getattr(torch, op)
    for a, da in TYPES.items():
        x = torch.ones(2, dtype=da)
        for b, db in TYPES.items():
            print(op, a, b, result(lambda: f(x, torch.ones(2, dtype=db))))
            print(op, a, b + "0", result(lambda: f(x, torch.ones((), dtype=db))))
        for n, value in NUMBERS.items():
            if op not in ("minimum", "maximum", "logical_and"):
                print(op, a, n, result(lambda: f(x, value)))
