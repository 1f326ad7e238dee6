"""Writes transforms.txt: what torch makes of an image. Run: python transforms.py (torch, numpy)."""
import math
import os

import torch
import torch.nn.functional as F

H, W = 7, 10
image = torch.tensor(
    [[[((c * 31 + y * 7 + x * 13) * 17 % 64) / 63 for x in range(W)] for y in range(H)] for c in range(2)],
    dtype=torch.float64,
)[None]


def rotated(degrees, mode):
    a = math.radians(degrees)
    # Where each pixel comes from, in pixels; grid_sample wants it in halves of the image.
    theta = torch.tensor(
        [[[math.cos(a), -math.sin(a) * H / W, 0], [math.sin(a) * W / H, math.cos(a), 0]]], dtype=torch.float64
    )
    grid = F.affine_grid(theta, [1, 2, H, W], align_corners=False)
    return F.grid_sample(image, grid, mode=mode, padding_mode="zeros", align_corners=False)


rows = {}
for h, w in [(3, 4), (14, 20), (5, 17), (1, 1), (7, 3)]:
    rows[f"bilinear {h} {w}"] = F.interpolate(image, (h, w), mode="bilinear", antialias=True)
    rows[f"linear {h} {w}"] = F.interpolate(image, (h, w), mode="bilinear")
    rows[f"nearest {h} {w}"] = F.interpolate(image, (h, w), mode="nearest")
for degrees in [30, -77.5, 180]:
    rows[f"rotate {degrees} 0"] = rotated(degrees, "bilinear")
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "transforms.txt"), "w") as file:
    for name, values in rows.items():
        file.write(name + ": " + " ".join(f"{v:.6g}" for v in values.flatten().tolist()) + "\n")
