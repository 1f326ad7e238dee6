"""The types of results inside of torch.autocast, for tests/autocast.rs.

    python tests/golden/autocast.py        # torch 2.15; needs no GPU

Every case of the golden domains whose floats are f16 or f32 is called again with fake tensors of a CUDA device, whose
operation lists wgrad has on all devices, as it is and with all of its floats in f16. A line says which case of its
operation it is, whether its floats are f16 (`narrow`), and has the types of its results; of the cases of an operation with the same
types there is one.
"""

import collections
import importlib
import json
import logging
import pathlib
import warnings

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import cases

FOLDER = pathlib.Path(__file__).parent
NAMES = {torch: name for name, torch in cases.DTYPES.items()}


class Types(cases.Domain):
    """A domain whose cases are types."""

    def __init__(self, name):
        super().__init__(name)
        self.types = []
        # Cases of each operation so far.
        self.counts = collections.Counter()
        self.seen = set()
        self.failed = set()

    def case(self, op, f, inputs, args=None, **options):
        inputs = [x if isinstance(x, cases.Input) else cases.Input(x) for x in inputs]
        super().case(op, f, inputs, args, **options)
        self.counts[op] += 1
        floats = {x.base.dtype for x in inputs if x.base.is_floating_point()}
        if not floats or not floats <= {torch.float16, torch.float32}:
            return
        for narrow in [False, True] if self.name != "layers" else [False]:
            types = [torch.float16 if narrow and x.base.is_floating_point() else x.base.dtype for x in inputs]
            try:
                with FakeTensorMode(allow_non_fake_inputs=True):
                    bases = [torch.empty(x.base.shape, dtype=t, device="cuda") for x, t in zip(inputs, types)]
                    y = cases.call(f, [x.of(base) for x, base in zip(inputs, bases)], dict(args or {}))
            except Exception as error:
                self.failed.add(f"{op}: {repr(error)[:100]}")
                continue
            kind = (op, tuple(types), tuple(NAMES[t.dtype] for t in y))
            if kind not in self.seen:
                self.seen.add(kind)
                place = {"domain": self.name, "op": op, "case": self.counts[op], "narrow": narrow}
                self.types.append({**place, "types": kind[2]})


def main():
    # What `torch.autocast("cuda")` sets, which refuses to without a GPU.
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16)
    lines = []
    for path in sorted((FOLDER / "domains").glob("*.py")):
        domain = Types(path.stem)
        importlib.import_module(f"domains.{path.stem}").cases(domain)
        lines += [json.dumps(line, separators=(",", ":")) for line in domain.types]
        print(domain.name, len(domain.types), "kinds; not called:", *sorted(domain.failed), sep="\n    ")
    (FOLDER / "autocast.jsonl").write_text("\n".join(lines) + "\n")


main()
