"""What torch.amp does on a CPU, for tests/amp.rs.

    python tests/golden/amp.py        # torch 2.15
"""

import json
import pathlib

import torch
import torch.nn.functional as F

from cases import numbers

STEPS = 16
# Gradients of the first and the second parameter that are no numbers, by step.
BAD = {0: (0, float("inf")), 4: (1, float("nan")), 5: (0, float("-inf")), 11: (1, float("inf"))}


def scaler():
    """Two optimizers under one scaler; clipping between."""
    a = numbers((5,), 1).requires_grad_()
    b = numbers((2, 3), 2).requires_grad_()
    adam = torch.optim.Adam([a], lr=0.1)
    sgd = torch.optim.SGD([b], lr=0.1, momentum=0.9, dampening=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_factor=4.0, backoff_factor=0.25, growth_interval=3)
    steps = []
    for step in range(STEPS):
        adam.zero_grad()
        sgd.zero_grad()
        weights = [numbers((5,), 10 + step), numbers((2, 3), 50 + step)]
        if step in BAD:
            which, value = BAD[step]
            weights[which].view(-1)[1] = value
        loss = (a * weights[0]).sum() + (b * weights[1]).sum()
        scaler.scale(loss).backward()
        scaler.unscale_(adam)
        norm = torch.nn.utils.clip_grad_norm_([a], 2.0)
        scaler.step(adam)
        scaler.step(sgd)
        scaler.update()
        state = scaler.state_dict()
        steps.append(
            {
                "scale": state["scale"],
                "tracker": state["_growth_tracker"],
                "norm": norm.item() if norm.isfinite() else None,
                "a": a.tolist(),
                "b": b.flatten().tolist(),
                "steps": float(adam.state[a]["step"]) if adam.state[a] else 0.0,
            }
        )
    return steps


def network(dtype):
    """Losses of a network in mixed precision."""
    w1, w2 = numbers((16, 6), 1, -0.6, 0.6).requires_grad_(), numbers((3, 16), 2, -0.4, 0.4).requires_grad_()
    b1, b2 = numbers((16,), 3, -0.1, 0.1).requires_grad_(), numbers((3,), 4, -0.1, 0.1).requires_grad_()
    x, t = numbers((24, 6), 5, -2, 2), numbers((24,), 6, 0, 3, "i32").long()
    sgd = torch.optim.SGD([w1, b1, w2, b2], lr=0.2)
    losses = []
    for _ in range(20):
        sgd.zero_grad()
        with torch.autocast("cpu", dtype):
            h = F.linear(x, w1, b1)
            y = F.linear(torch.tanh(h), w2, b2)
            assert h.dtype == dtype and y.dtype == dtype
            loss = F.cross_entropy(y, t)
            assert loss.dtype == torch.float32
        loss.backward()
        assert w1.grad.dtype == torch.float32
        sgd.step()
        losses.append(loss.item())
    return losses


path = pathlib.Path(__file__).parent / "amp.json"
data = {"scaler": scaler(), "f16": network(torch.float16), "bf16": network(torch.bfloat16)}
path.write_text(json.dumps(data, separators=(",", ":")) + "\n")
