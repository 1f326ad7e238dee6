"""How cases are made: inputs in many forms, torch's results and derivatives, and the files they go to.

A domain writes two files. `NAME.safetensors` holds the tensors, each once, named by a number. `NAME.jsonl` holds
the manifest: the first line says what made it, each other line is a case:

    {"op": "atan2", "args": {..},             the method of `Tensor`, and its arguments
     "inputs": [{"t": 3, "views": [..]}, ..], leaves, and the views through which the operation sees them
     "outputs": [5],                          what comes out
     "upstream": [6], "grads": [7, 8],        a gradient for each output (null for none), the float leaves' gradients
     "v": [9, 10], "seconds": [11, 12],       the derivatives of the sum of grads * v
     "rtol": .., "atol": .., "reason": ".."}  where the tolerance is wider than torch's own

A number that JSON lacks is a string: "inf", "-inf", "nan".
"""

import json
import math
import pathlib
import struct

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent
DTYPES = {
    "f64": torch.float64,
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "i64": torch.int64,
    "i32": torch.int32,
    "u32": torch.uint32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
    "bool": torch.bool,
}
FLOATS = ["f64", "f32", "f16", "bf16"]
INTEGERS = ["i64", "i32", "u8"]
SAFETENSORS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint32: "U32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def uniform(seed, n):
    """`n` numbers in [0, 1): splitmix64 of `seed` and the position, the upper 24 bits."""
    with np.errstate(over="ignore"):
        z = np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed) * np.uint64(0x632BE59BD9B4E019)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**24


def numbers(shape, seed=1, lo=-3.0, hi=3.0, dtype="f32"):
    """Numbers that look random in [lo, hi); integers of integer types, and truths of bools."""
    shape = tuple(shape)
    u = uniform(seed, math.prod(shape)).reshape(shape)
    to = DTYPES[dtype]
    if to == torch.bool:
        return torch.from_numpy(np.asarray(u < 0.5))
    x = torch.from_numpy(np.asarray(lo + u * (hi - lo)))
    if not to.is_floating_point:
        x = x.floor()
    return x.to(to)


class Input:
    """A leaf, and the views through which the operation sees it.

    `Input(x).transpose(0, 1)`, `.step(dim, start, step)`, `.expand(3, 4)`, in any order.
    """

    def __init__(self, base, views=()):
        self.base = base.contiguous()
        self.views = list(views)

    def transpose(self, a, b):
        return Input(self.base, [*self.views, ["transpose", a, b]])

    def step(self, dim, start, step):
        return Input(self.base, [*self.views, ["step", dim, start, step]])

    def expand(self, *shape):
        return Input(self.base, [*self.views, ["expand", *shape]])

    def of(self, leaf):
        for name, *args in self.views:
            if name == "transpose":
                leaf = leaf.transpose(*args)
            elif name == "step":
                dim, start, step = args
                leaf = leaf[(slice(None),) * dim + (slice(start, None, step),)]
            else:
                leaf = leaf.expand(*args)
        return leaf


def laid(x):
    """The tensor `x` as inputs whose strides are unusual: behind a transpose, every second, repeated."""
    if x.dim() == 0:
        return []
    forms = []
    if x.dim() >= 2:
        forms.append(Input(x.transpose(0, -1)).transpose(0, x.dim() - 1))
    wide = torch.zeros((*x.shape[:-1], x.shape[-1] * 2 + 1), dtype=x.dtype)
    wide[..., 1::2] = x
    forms.append(Input(wide).step(x.dim() - 1, 1, 2))
    return forms


class Domain:
    """The cases of one file."""

    def __init__(self, name):
        self.name = name
        # How large upstream gradients are.
        self.swing = 2.0
        self.lines = []
        self.tensors = []
        self.places = {}

    def store(self, tensor):
        """The number of a tensor; equal ones are stored once."""
        if tensor._is_zerotensor():
            tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
        tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        key = (tensor.dtype, tuple(tensor.shape), data)
        if key not in self.places:
            self.places[key] = len(self.tensors)
            self.tensors.append(key)
        return self.places[key]

    def case(
        self,
        op,
        f,
        inputs,
        args=None,
        *,
        grad=True,
        second=True,
        differs=None,
        rtol=None,
        atol=None,
        reason=None,
    ):
        """Records what torch's `f(*inputs, **args)` gives.

        `inputs` are tensors or `Input`s. `grad` asks for first derivatives, `second` for second ones where the
        derivative is smooth. `differs(part, want, *inputs)` replaces values where wgrad differs on purpose: `part` is
        "output", "grad" or "second", `want` torch's tensor, `inputs` the operands, or the leaves of derivatives; `reason` then says why, or why a tolerance is wide.
        """
        args = args or {}
        if (rtol or atol or differs) and not reason:
            raise ValueError(f"{op}: a wider tolerance and a difference need a reason")
        inputs = [x if isinstance(x, Input) else Input(x) for x in inputs]
        line = {"op": op}
        if args:
            line["args"] = {k: plain(v) for k, v in args.items()}
        line["inputs"] = [
            {"t": self.store(x.base), "views": x.views} if x.views else {"t": self.store(x.base)} for x in inputs
        ]
        leaves = [x.base.clone().requires_grad_(grad and x.base.is_floating_point()) for x in inputs]
        y = call(f, [x.of(leaf) for x, leaf in zip(inputs, leaves)], args)
        seen, bases = [x.of(x.base) for x in inputs], [x.base for x in inputs]

        def put(part, tensors):
            operands = seen if part == "output" else bases
            return [self.store(differs(part, t.detach().clone(), *operands) if differs else t) for t in tensors]

        line["outputs"] = put("output", y)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        smooth = [t for t in y if t.requires_grad]
        if smooth and wanted:
            upstream = [numbers(t.shape, 101 + i, -self.swing, self.swing).to(t.dtype) for i, t in enumerate(smooth)]
            grads = derivatives(smooth, wanted, upstream)
            rest = iter(upstream)
            line["upstream"] = [self.store(next(rest)) if t.requires_grad else None for t in y]
            line["grads"] = put("grad", grads)
            # Second derivatives of 16-bit floats would be differences of rounded numbers.
            wide = all(t.dtype in (torch.float32, torch.float64) for t in wanted)
            if second and wide and any(g.requires_grad for g in grads):
                v = [numbers(g.shape, 201 + i, -2, 2).to(g.dtype) for i, g in enumerate(grads)]
                along = [(g, w) for g, w in zip(grads, v) if g.requires_grad]
                seconds = derivatives([g for g, _ in along], wanted, [w for _, w in along])
                line["v"] = [self.store(t) for t in v]
                line["seconds"] = put("second", seconds)
        for name, value in [("rtol", rtol), ("atol", atol), ("reason", reason)]:
            if value is not None:
                line[name] = value
        self.lines.append(json.dumps(line, separators=(",", ":")))

    def write(self):
        header = {"torch": torch.__version__.split("+")[0], "domain": self.name, "cases": len(self.lines)}
        lines = [json.dumps(header, separators=(",", ":")), *self.lines]
        (FOLDER / f"{self.name}.jsonl").write_text("\n".join(lines) + "\n")
        table, offset = {}, 0
        for i, (dtype, shape, data) in enumerate(self.tensors):
            table[str(i)] = {"dtype": SAFETENSORS[dtype], "shape": shape, "data_offsets": [offset, offset + len(data)]}
            offset += len(data)
        head = json.dumps(table, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        body = b"".join(data for _, _, data in self.tensors)
        (FOLDER / f"{self.name}.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)
        print(f"{self.name}: {len(self.lines)} cases, {len(self.tensors)} tensors, {len(body) + len(head)} bytes")


def plain(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def call(f, x, args):
    """torch's results as a list. What torch lacks for u32 is computed in i64 and wraps."""
    try:
        y = f(*x, **args)
    except (NotImplementedError, RuntimeError):
        if all(t.dtype != torch.uint32 for t in x):
            raise
        y = f(*[t.to(torch.int64) if t.dtype == torch.uint32 else t for t in x], **args)
        y = [t.to(torch.uint32) if t.dtype == torch.int64 else t for t in (y if isinstance(y, (list, tuple)) else [y])]
    return list(y) if isinstance(y, (list, tuple)) else [y]


def derivatives(y, leaves, upstream):
    grads = torch.autograd.grad(y, leaves, upstream, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves)]


# ---- Forms for elementwise operations ----

INF, NAN = float("inf"), float("nan")
LARGEST = {"f64": 1.7976931348623157e308, "f32": 3.4028234663852886e38, "f16": 65504.0, "bf16": 3.3895313892515355e38}
NORMAL = {"f64": 2.2250738585072014e-308, "f32": 1.1754943508222875e-38, "f16": 6.103515625e-05, "bf16": 1.1754943508222875e-38}
ENDS = {
    "i64": [-(2**63), 2**63 - 1],
    "i32": [-(2**31), 2**31 - 1],
    "i16": [-(2**15), 2**15 - 1],
    "i8": [-(2**7), 2**7 - 1],
    "u32": [2**32 - 1],
    "u8": [255],
}


def special(dtype):
    """Zeros, ones, halves, small, large, the largest, infinities, NaN; ends of integer types."""
    if dtype == "bool":
        return torch.tensor([True, False, True])
    if dtype in ENDS:
        small = [0, 1, 2, 3, 7, 100] + ([-1, -2, -3, -7, -100] if dtype[0] == "i" else [])
        return torch.tensor(small + ENDS[dtype], dtype=DTYPES[dtype])
    positive = [0.0, 1e-4, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.0, 20.0, 100.0, NORMAL[dtype], LARGEST[dtype], INF]
    return torch.tensor(positive + [-x for x in positive] + [NAN], dtype=DTYPES[dtype])


def pairs(dtype):
    """All pairs of a few special numbers, as two tensors."""
    if dtype == "bool":
        few = torch.tensor([True, False])
    elif dtype in ENDS:
        few = torch.tensor([0, 1, 2, 5] + ([-1, -2, -5] if dtype[0] == "i" else [200]) + ENDS[dtype], dtype=DTYPES[dtype])
    else:
        few = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, -2.5, 0.5, LARGEST[dtype], INF, -INF, NAN], dtype=DTYPES[dtype])
    a, b = torch.broadcast_tensors(few[:, None], few[None, :])
    return a.reshape(-1), b.reshape(-1)


def narrowed(options, more):
    """Both options; what one forbids, `grad` and `second`, is forbidden. `coarse` is for 16-bit floats alone."""
    both = {**options, **more}
    both.pop("coarse", None)
    return {k: options.get(k, True) and v if k in ("grad", "second") else v for k, v in both.items()}


def coarse(dtype, options):
    """The tolerance for an operation whose steps torch rounds one by one: two of them."""
    wide = {"f16": 2e-3, "bf16": 2e-2}.get(dtype)
    if not wide or not options.get("coarse"):
        return {}
    return dict(rtol=wide, atol=wide, reason="torch rounds each of several steps to 16 bits")


def unary(d, op, f, lo=-3.0, hi=3.0, args=None, dtypes=(*FLOATS, "i32", "u8", "bool"), specials=True, ties=None, **options):
    """An operation of one operand, in all forms. [lo, hi) is where it is drawn from; `ties` are points of interest."""
    one = lambda x, **more: d.case(op, f, [x], args, **narrowed(options, more))
    for dtype in dtypes:
        is_float = dtype in FLOATS
        low = max(lo, 0.0) if dtype[0] == "u" else lo
        x = numbers((3, 5), 1, low, max(hi, low + 4), dtype) if not is_float else numbers((3, 5), 1, lo, hi, dtype)
        rough = coarse(dtype, options)
        one(x, **rough)
        if specials:
            # 16-bit steps overflow on the way in torch, and not where they are fused.
            one(special(dtype), second=False, grad=dtype in ("f64", "f32"), **rough)
        if ties is not None and is_float:
            one(torch.tensor(ties, dtype=DTYPES[dtype]), second=False, **rough)
        if dtype != "f32":
            continue
        for form in laid(x):
            one(form)
        one(Input(numbers((3, 1), 2, lo, hi)).expand(3, 4))
        one(numbers((), 3, lo, hi))
        one(numbers((1,), 4, lo, hi))
        one(numbers((0,), 5))
        one(numbers((2, 0, 3), 5))
        one(Input(numbers((2, 3, 1, 4), 6, lo, hi)).transpose(1, 3))
        one(numbers((67,), 7, lo, hi))


def binary(
    d, op, f, a=(-3.0, 3.0), b=(-3.0, 3.0), args=None, dtypes=(*FLOATS, "i32", "u8", "bool"), specials=True, mixed=True, **options
):
    """An operation of two operands that broadcast; `a` and `b` are where they are drawn from."""
    two = lambda x, y, **more: d.case(op, f, [x, y], args, **narrowed(options, more))

    def draw(shape, seed, span, dtype="f32"):
        lo, hi = span
        if dtype not in FLOATS:
            lo = max(lo, 0.0) if dtype[0] == "u" else lo
            hi = max(hi, lo + 4)
        return numbers(shape, seed, lo, hi, dtype)

    for dtype in dtypes:
        two(draw((3, 5), 1, a, dtype), draw((3, 5), 2, b, dtype))
        if specials:
            two(*pairs(dtype), second=False, grad=dtype in ("f64", "f32"))
        if dtype != "f32":
            continue
        for x, y in zip(laid(draw((3, 5), 3, a)), reversed(laid(draw((3, 5), 4, b)))):
            two(x, y)
        two(draw((3, 1), 5, a), draw((4,), 6, b))
        two(draw((4,), 5, a), draw((2, 3, 1), 6, b))
        two(draw((), 7, a), draw((2, 3), 8, b))
        two(draw((2, 3), 7, a), draw((), 8, b))
        two(draw((), 9, a), draw((), 10, b))
        two(draw((0, 3), 9, a), draw((1, 3), 10, b))
        two(draw((1,), 9, a), draw((1, 1), 10, b))
        two(Input(draw((3, 1), 11, a)).expand(3, 4), draw((3, 4), 12, b))
    if mixed and {"f32", "i32"} <= set(dtypes):
        for one, other in [("f32", "i32"), ("i32", "f16"), ("u8", "i32"), ("bf16", "f16"), ("f64", "f32"), ("i64", "f32")]:
            if one in dtypes and other in dtypes or "i64" in (one, other):
                two(draw((3, 5), 13, a, one), draw((5,), 14, b, other))
        two(draw((3, 5), 13, a, "f16"), draw((), 14, b, "f32"), grad=False)
