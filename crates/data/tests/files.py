"""Writes files/: what NumPy makes of arrays. Run: python files.py (numpy)."""
import os

import numpy as np

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "files"))
base = np.arange(24).reshape(2, 3, 4)
for name in ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", ">f4", ">i8", ">u2", ">f2"]:
    np.save(f"{name.replace('<', 'l').replace('>', 'b').replace('|', '')}.npy", (base - 5 * ("u" not in name)).astype(name))
np.save("bool.npy", base % 3 == 0)
np.save("columns.npy", np.asfortranarray(base.astype(np.float32)))
np.save("scalar.npy", np.float32(2.5))
np.save("row.npy", np.arange(5, dtype=np.int32))
np.save("empty.npy", np.zeros((0, 3), dtype=np.float32))
np.save("objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
np.save("records.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
np.save("complex.npy", np.zeros(2, dtype=np.complex64))
np.save("large_unsigned.npy", np.array([2**63], dtype=np.uint64))
arrays = {"weights": base.astype(np.float32), "labels": np.arange(3), "zeros": np.zeros((100, 10), dtype=np.float32)}
np.savez("stored.npz", **arrays)
np.savez_compressed("deflated.npz", **arrays)
