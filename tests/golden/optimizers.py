"""Writes optimizers.txt: parameters after 1, 10 and 100 steps of torch's optimizers, in double precision.

Four parameters in two groups, whose gradients are given by a generator of random numbers that
tests/optimizers.rs has too; the third parameter has none in every third step.

    python tests/golden/optimizers.py
"""

import pathlib

import torch

# Otherwise some of torch's states are rounded to f32.
torch.set_default_dtype(torch.float64)
SHAPES = [(3, 5), (), (70,), (2, 2, 2)]
CHECKED = (1, 10, 100)
MASK = (1 << 64) - 1


def fill(seed, n):
    state = (seed * 0x9E37_79B9_7F4A_7C15 + 1) & MASK
    out = []
    for _ in range(n):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) & MASK
        out.append((state >> 40) / (1 << 24) * 2.0 - 1.0)
    return out


def tensor(seed, shape):
    n = 1
    for s in shape:
        n *= s
    return torch.tensor(fill(seed, n), dtype=torch.float64).reshape(shape)


o = torch.optim
CASES = {
    "sgd": (o.SGD, dict(lr=0.05), dict(lr=0.05, weight_decay=0.1)),
    "sgd_momentum": (o.SGD, dict(lr=0.05, momentum=0.9), dict(lr=0.03, momentum=0.8, dampening=0.3, weight_decay=0.01)),
    "sgd_nesterov": (o.SGD, dict(lr=0.05, momentum=0.9, nesterov=True), dict(lr=0.05, momentum=0.5, nesterov=True, weight_decay=0.2)),
    "sgd_maximize": (o.SGD, dict(lr=0.01, momentum=0.9, maximize=True), dict(lr=0.02, maximize=True, weight_decay=0.1)),
    "adam": (o.Adam, dict(lr=0.01), dict(lr=0.02, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1)),
    "adam_amsgrad": (o.Adam, dict(lr=0.01, amsgrad=True), dict(lr=0.02, betas=(0.8, 0.9), amsgrad=True, weight_decay=0.1)),
    "adam_maximize": (o.Adam, dict(lr=0.01, maximize=True), dict(lr=0.02, maximize=True, weight_decay=0.1)),
    "adamw": (o.AdamW, dict(lr=0.01), dict(lr=0.02, weight_decay=0.3)),
    "adamw_amsgrad_maximize": (o.AdamW, dict(lr=0.01, amsgrad=True, maximize=True), dict(lr=0.02, betas=(0.5, 0.9), amsgrad=True, maximize=True)),
    "adamax": (o.Adamax, dict(lr=0.01), dict(lr=0.02, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.1)),
    "adamax_maximize": (o.Adamax, dict(maximize=True), dict(lr=0.03, maximize=True)),
    "nadam": (o.NAdam, dict(lr=0.01), dict(lr=0.02, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1, momentum_decay=0.02)),
    "nadam_decoupled": (o.NAdam, dict(lr=0.01, decoupled_weight_decay=True, weight_decay=0.1), dict(lr=0.02, decoupled_weight_decay=True)),
    "nadam_maximize": (o.NAdam, dict(lr=0.01, maximize=True), dict(maximize=True, weight_decay=0.1)),
    "radam": (o.RAdam, dict(lr=0.01), dict(lr=0.02, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1)),
    "radam_decoupled": (o.RAdam, dict(lr=0.01, decoupled_weight_decay=True, weight_decay=0.1), dict(lr=0.02, betas=(0.7, 0.5), decoupled_weight_decay=True)),
    "radam_maximize": (o.RAdam, dict(lr=0.01, maximize=True), dict(maximize=True, weight_decay=0.1)),
    "adagrad": (o.Adagrad, dict(lr=0.1), dict(lr=0.1, lr_decay=0.1, weight_decay=0.1, eps=1e-3)),
    "adagrad_initial": (o.Adagrad, dict(lr=0.1, initial_accumulator_value=0.5), dict(lr=0.2, initial_accumulator_value=0.5)),
    "adagrad_maximize": (o.Adagrad, dict(maximize=True), dict(lr=0.1, maximize=True)),
    "adadelta": (o.Adadelta, dict(), dict(lr=0.5, rho=0.8, eps=1e-3, weight_decay=0.1)),
    "adadelta_maximize": (o.Adadelta, dict(maximize=True), dict(rho=0.0, eps=1e-2, maximize=True)),
    "rmsprop": (o.RMSprop, dict(), dict(lr=0.02, alpha=0.9, eps=1e-3, weight_decay=0.1)),
    "rmsprop_momentum": (o.RMSprop, dict(momentum=0.9), dict(lr=0.005, alpha=0.9)),
    "rmsprop_centered": (o.RMSprop, dict(lr=1e-3, centered=True, eps=0.1), dict(lr=0.02, alpha=0.9, centered=True, eps=0.01)),
    "rmsprop_centered_momentum": (o.RMSprop, dict(lr=1e-3, centered=True, momentum=0.5, eps=0.1), dict(lr=0.01, alpha=0.9, centered=True, momentum=0.9, eps=0.01)),
    "rmsprop_maximize": (o.RMSprop, dict(maximize=True), dict(maximize=True, weight_decay=0.1)),
    "rprop": (o.Rprop, dict(), dict(lr=0.1, etas=(0.7, 1.5), step_sizes=(1e-2, 0.5))),
    "rprop_maximize": (o.Rprop, dict(maximize=True), dict(maximize=True, lr=0.5)),
    "asgd": (o.ASGD, dict(), dict(lr=0.1, lambd=0.01, alpha=0.5, t0=20, weight_decay=0.1)),
    "asgd_maximize": (o.ASGD, dict(maximize=True), dict(t0=0, maximize=True)),
}


def adafactor():
    """Adafactor looks at whole parameters, of which two are matrices."""
    return {
        "adafactor": (o.Adafactor, dict(), dict(lr=0.1, beta2_decay=-0.5, eps=(1e-6, 1e-2), d=0.5, weight_decay=0.1)),
        "adafactor_maximize": (o.Adafactor, dict(maximize=True), dict(maximize=True, lr=0.05)),
    }


def run(kind, first, second):
    params = [tensor(i, shape).requires_grad_() for i, shape in enumerate(SHAPES)]
    # torch takes Adagrad's first sum from the optimizer, not from the group.
    own = {k: v for k, v in first.items() if k == "initial_accumulator_value"}
    optimizer = kind([dict(params=params[:2], **first), dict(params=params[2:], **second)], **own)
    lines = []
    for step in range(max(CHECKED)):
        for i, p in enumerate(params):
            p.grad = tensor(100 * (step + 1) + i, SHAPES[i])
            if i == 2 and step % 3 == 0:
                p.grad = None
        optimizer.step()
        if step + 1 in CHECKED:
            numbers = [x for p in params for x in p.detach().flatten().tolist()]
            if "ax" in optimizer.state[params[0]]:
                numbers += [x for p in params for x in optimizer.state[p].get("ax", torch.zeros_like(p)).flatten().tolist()]
            lines.append(" ".join(f"{x:.9g}" for x in numbers))
    return lines


def rosenbrock(x, y):
    return ((1 - x) ** 2 + 100 * (y - x * x) ** 2).sum()


def lbfgs():
    """Losses of some steps on Rosenbrock's function of 2 x 3 numbers."""
    cases = {
        "lbfgs": dict(lr=0.01, max_iter=4),
        "lbfgs_history": dict(lr=0.02, max_iter=6, history_size=2, tolerance_change=0.0),
        "lbfgs_strong_wolfe": dict(max_iter=5, line_search_fn="strong_wolfe"),
        "lbfgs_strong_wolfe_evals": dict(lr=0.5, max_iter=20, max_eval=9, history_size=3, line_search_fn="strong_wolfe"),
    }
    out = []
    for name, options in cases.items():
        x = (tensor(1, (3,)) * 1.5).requires_grad_()
        y = (tensor(2, (3,)) * 1.5).requires_grad_()
        optimizer = o.LBFGS([x, y], **options)

        def closure():
            optimizer.zero_grad()
            loss = rosenbrock(x, y)
            loss.backward()
            return loss

        lines = []
        for _ in range(6):
            loss = optimizer.step(closure)
            numbers = [loss.item()] + x.tolist() + y.tolist()
            lines.append(" ".join(f"{v:.12g}" for v in numbers))
        out += [name] + lines
    return out


def main():
    out = []
    for name, (kind, first, second) in {**CASES, **adafactor()}.items():
        out += [name] + run(kind, first, second)
    out += lbfgs()
    path = pathlib.Path(__file__).with_name("optimizers.txt")
    path.write_text("\n".join(out) + "\n")
    print(path, path.stat().st_size)


main()
