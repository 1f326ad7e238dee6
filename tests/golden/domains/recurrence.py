"""Recurrent cells, and layers of them over sequences."""

import torch

from cases import coarse, numbers

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def cases(d):
    def weights(name, inputs, size, seed, bias, dtype="f32"):
        rows = GATES[name] * size
        shapes = [(rows, inputs), (rows, size)] + ([(rows,), (rows,)] if bias else [])
        return [numbers(shape, seed + i, -1, 1, dtype) for i, shape in enumerate(shapes)]

    def cell(name):
        function = getattr(torch, name + "_cell")
        states = 2 if name == "lstm" else 1

        # As torch.nn's cells do it.
        def run(x, *rest):
            state, w = rest[:states], rest[states:]
            if x.dim() == 1:
                results = run(x[None], *[s[None] for s in state], *w)
                return tuple(y[0] for y in results) if states == 2 else results[0]
            return function(x, state if states == 2 else state[0], *w)

        return run

    def layers(name):
        def run(x, *rest, layers=1, bidirectional=False, batch_first=False, bias=True):
            states = 2 if name == "lstm" else 1
            h = rest[:states] if states == 2 else rest[0]
            w = list(rest[states:])
            function = getattr(torch, name)
            return function(x, h, w, bias, layers, 0.0, False, bidirectional, batch_first)

        return run

    for name in GATES:
        states = 2 if name == "lstm" else 1
        for dtype in ["f32", "f64", "bf16"]:
            rough = coarse(dtype, {"coarse": True})
            state = [numbers((2, 3), 2 + i, -1, 1, dtype) for i in range(states)]
            x = numbers((2, 4), 1, -2, 2, dtype)
            d.case(name + "_cell", cell(name), [x, *state, *weights(name, 4, 3, 5, True, dtype)], **rough)
        state = [numbers((2, 3), 2 + i, -1, 1) for i in range(states)]
        d.case(name + "_cell", cell(name), [numbers((2, 4), 1), *state, *weights(name, 4, 3, 5, False)])
        one = [numbers((3,), 2 + i, -1, 1) for i in range(states)]
        d.case(name + "_cell", cell(name), [numbers((4,), 1), *one, *weights(name, 4, 3, 5, True)])
        forms = [(1, False, False, True), (2, False, True, False), (2, True, False, True)]
        for n, both, first, bias in forms:
            directions = 2 if both else 1
            x = numbers((2, 3, 4), 1)
            batch = 2 if first else 3
            state = [numbers((n * directions, batch, 2), 2 + i, -1, 1) for i in range(states)]
            w = []
            for layer in range(n):
                for direction in range(directions):
                    inputs = 4 if layer == 0 else 2 * directions
                    w += weights(name, inputs, 2, 10 + 20 * layer + 10 * direction, bias)
            args = {"layers": n, "bidirectional": both, "batch_first": first, "bias": bias}
            d.case(name, layers(name), [x, *state, *w], args, second=False)
        # Odd sizes, beyond a vector and a tile of rows.
        for dtype in ["f32", "f64"]:
            x = numbers((5, 7, 3), 1, -1, 1, dtype)
            state = [numbers((2, 7, 9), 2 + i, -1, 1, dtype) for i in range(states)]
            w = weights(name, 3, 9, 10, True, dtype) + weights(name, 3, 9, 20, True, dtype)
            args = {"layers": 1, "bidirectional": True, "batch_first": False, "bias": True}
            d.case(name, layers(name), [x, *state, *w], args, second=False)
