#!/usr/bin/env python3
"""Products and the cases of crates/bench/src/networks.rs on PyTorch: the same operands, bit by bit, and the same checks.

    pip install torch numpy
    python3 benches/torch_networks.py [--compile] [--threads N] [CASE ...]

prints a line of JSON for each case whose name contains one of the words, as `wgrad-bench` does.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

MOST_SECONDS, MOST_REPETITIONS, LEAST_REPETITIONS, WARM_UP = 3.0, 30, 3, 3


def values(seed, shape, scale):
    """Uniform in [-scale, scale): a hash of the index, as in crates/bench/src/inputs.rs."""
    with np.errstate(over="ignore"):
        h = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(747796405)
        h += np.uint32((seed * 2891336453) & 0xFFFFFFFF)
        h ^= h >> np.uint32(16)
        h *= np.uint32(2246822519)
        h ^= h >> np.uint32(13)
        h *= np.uint32(3266489917)
        h ^= h >> np.uint32(16)
    v = (h >> np.uint32(8)).astype(np.float32) * np.float32(1 / 16777216) - np.float32(0.5)
    return torch.from_numpy((v * np.float32(2 * scale)).reshape(shape))


def conv2d(**options):
    return lambda x, w, b=None: F.conv2d(x, w, b, **options)


def attention(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def batch_norm(x, w, b):
    return F.batch_norm(x, None, None, w, b, training=True)


def lstm(x, w_ih, w_hh, b_ih, b_hh):
    zero = torch.zeros(1, x.shape[1], w_hh.shape[1])
    return torch.lstm(x, (zero, zero), (w_ih, w_hh, b_ih, b_hh), True, 1, 0.0, True, False, False)[0]


QUERIES = ((1, 8, 512, 64), 1.0)
S = 128**-0.5


def product(m, k, n, a_turned=False, b_turned=False, new=False):
    """[m, k] x [k, n], operands perhaps stored the other way, the second perhaps computed anew each time."""

    def multiply(x, y):
        x, y = x.t() if a_turned else x, y.t() if b_turned else y
        return x @ (y * 1.0 if new else y)

    return False, multiply, [((k, m) if a_turned else (m, k), 0.5), ((n, k) if b_turned else (k, n), 0.5)]


# name: whether with gradients, the function, shapes and scales of the operands
CASES = {
    "matmul_256": product(256, 256, 256),
    "matmul_512": product(512, 512, 512),
    "matmul_1024": product(1024, 1024, 1024),
    "matmul_2048": product(2048, 2048, 2048),
    "matmul_777": product(777, 777, 777),
    "matmul_33x4097x65": product(33, 4097, 65),
    "matmul_16x512x512": product(16, 512, 512),
    "matmul_64x784x512": product(64, 784, 512),
    "matmul_t_512": product(512, 512, 512, a_turned=True),
    "matmul_nt_512": product(512, 512, 512, b_turned=True),
    "matmul_tt_512": product(512, 512, 512, a_turned=True, b_turned=True),
    "matmul_new_512": product(512, 512, 512, new=True),
    "conv2d_3x3": (True, conv2d(padding=1), [((8, 64, 56, 56), 1.0), ((64, 64, 3, 3), 576**-0.5), ((64,), 0.1)]),
    "conv2d_1x1": (True, conv2d(), [((8, 256, 28, 28), 1.0), ((64, 256, 1, 1), 256**-0.5)]),
    "conv2d_7x7_stride2": (True, conv2d(stride=2, padding=3), [((8, 3, 112, 112), 1.0), ((64, 3, 7, 7), 147**-0.5)]),
    "conv2d_depthwise": (True, conv2d(padding=1, groups=128), [((8, 128, 28, 28), 1.0), ((128, 1, 3, 3), 9**-0.5)]),
    "conv1d_16000": (
        True,
        lambda x, w: F.conv1d(x, w, padding=4),
        [((4, 16, 16000), 1.0), ((32, 16, 9), 144**-0.5)],
    ),
    "conv_transpose2d_4x4": (
        True,
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1),
        [((8, 64, 32, 32), 1.0), ((64, 32, 4, 4), 256**-0.5)],
    ),
    "attention_8x512x64": (False, attention, [QUERIES] * 3),
    "attention_8x512x64_grad": (True, attention, [QUERIES] * 3),
    "batch_norm_16x64x56x56": (True, batch_norm, [((16, 64, 56, 56), 1.0), ((64,), 1.0), ((64,), 0.1)]),
    "lstm_128x100": (True, lstm, [((100, 32, 128), 1.0), ((512, 128), S), ((512, 128), S), ((512,), S), ((512,), S)]),
    "lstm_512x100_alone": (
        False,
        lstm,
        [((100, 1, 512), 1.0), ((2048, 512), 512**-0.5), ((2048, 512), 512**-0.5)] + [((2048,), 512**-0.5)] * 2,
    ),
}


def mean_abs(t):
    return t.detach().double().abs().mean().item()


def measure(f):
    start = time.perf_counter()
    first = f()
    first_ms = (time.perf_counter() - start) * 1e3
    for _ in range(WARM_UP - 1):
        f()
    times, start = [], time.perf_counter()
    while len(times) < LEAST_REPETITIONS or (
        len(times) < MOST_REPETITIONS and time.perf_counter() - start < MOST_SECONDS
    ):
        t = time.perf_counter()
        f()
        times.append((time.perf_counter() - t) * 1e3)
    return first, {
        "median_ms": statistics.median(times),
        "min_ms": min(times),
        "reps": len(times),
        "first_ms": first_ms,
    }


def run(name, compiled):
    with_gradients, function, operands = CASES[name]
    operands = [values(seed, *operand) for seed, operand in enumerate(operands, 1)]
    function = torch.compile(function) if compiled else function
    if not with_gradients:
        with torch.no_grad():
            y, line = measure(lambda: function(*operands))
        return {**line, "check": mean_abs(y)}
    for operand in operands:
        operand.requires_grad_()
    gy = values(100, tuple(function(*operands).shape), 0.5)

    def repetition():
        for operand in operands:
            operand.grad = None
        (function(*operands) * gy).sum().backward()
        return operands[0].grad, operands[1].grad

    (first, second), line = measure(repetition)
    return {**line, "check": mean_abs(first), "check2": mean_abs(second)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compile", action="store_true", help="under torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("cases", nargs="*", help="parts of the names of the cases")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    peer = "torch-compile" if arguments.compile else "torch"
    for name in CASES:
        if not arguments.cases or any(word in name for word in arguments.cases):
            torch._dynamo.reset()
            print(json.dumps({"peer": peer, "case": name, **run(name, arguments.compile)}), flush=True)


if __name__ == "__main__":
    main()
