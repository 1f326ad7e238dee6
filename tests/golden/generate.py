"""Makes the golden files: what PyTorch computes, for tests/golden.rs.

    python tests/golden/generate.py            # all domains; torch 2.15
    python tests/golden/generate.py order      # one of them

A domain is a file in `domains/` with a function `cases(d)`, which records cases with `d.case` and with the helpers
of `cases.py`, where the format of the files is described, too.
"""

import importlib
import pathlib
import sys

import torch

from cases import Domain

torch.set_num_threads(1)
FOLDER = pathlib.Path(__file__).parent / "domains"
ALL = sorted(path.stem for path in FOLDER.glob("*.py"))

for name in sys.argv[1:] or ALL:
    domain = Domain(name)
    importlib.import_module(f"domains.{name}").cases(domain)
    domain.write()
