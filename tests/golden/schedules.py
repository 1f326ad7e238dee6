"""Writes schedules.txt: learning rates (and momenta) of torch's schedules over their whole course.

    python tests/golden/schedules.py
"""

import pathlib
import warnings

import torch

warnings.simplefilter("ignore")
s = torch.optim.lr_scheduler
CASES = {
    "swa": (lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.05, anneal_epochs=7), 12),
    "swa_linear": (lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.5, anneal_epochs=5, anneal_strategy="linear"), 9),
    "swa_at_once": (lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.05, anneal_epochs=0), 4),
    "step": (lambda o: s.StepLR(o, 7), 30),
    "step_gamma": (lambda o: s.StepLR(o, 4, gamma=0.5), 30),
    "multi_step": (lambda o: s.MultiStepLR(o, [3, 9, 9, 20], gamma=0.3), 30),
    "exponential": (lambda o: s.ExponentialLR(o, 0.9), 30),
    "cosine": (lambda o: s.CosineAnnealingLR(o, 20), 50),
    "cosine_eta": (lambda o: s.CosineAnnealingLR(o, 13, eta_min=0.01), 50),
    "restarts": (lambda o: s.CosineAnnealingWarmRestarts(o, 10), 45),
    "restarts_mult": (lambda o: s.CosineAnnealingWarmRestarts(o, 5, T_mult=2, eta_min=0.01), 60),
    "linear": (lambda o: s.LinearLR(o), 12),
    "linear_down": (lambda o: s.LinearLR(o, 1.0, 0.2, 8), 12),
    "constant": (lambda o: s.ConstantLR(o), 12),
    "constant_factor": (lambda o: s.ConstantLR(o, 0.5, 3), 12),
    "polynomial": (lambda o: s.PolynomialLR(o), 12),
    "polynomial_power": (lambda o: s.PolynomialLR(o, 9, 2.5), 12),
    "one_cycle": (lambda o: s.OneCycleLR(o, 0.2, total_steps=40), 40),
    "one_cycle_linear": (lambda o: s.OneCycleLR(o, [0.2, 0.4], total_steps=40, anneal_strategy="linear", pct_start=0.4, div_factor=10, final_div_factor=50, base_momentum=0.7, max_momentum=0.9), 40),
    "one_cycle_three_phase": (lambda o: s.OneCycleLR(o, 0.2, total_steps=43, three_phase=True), 43),
    "one_cycle_no_momentum": (lambda o: s.OneCycleLR(o, 0.2, total_steps=30, cycle_momentum=False), 30),
    "cyclic": (lambda o: s.CyclicLR(o, 0.01, 0.1, step_size_up=6), 40),
    "cyclic_two": (lambda o: s.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], step_size_up=4, step_size_down=7, mode="triangular2", base_momentum=0.5, max_momentum=0.7), 40),
    "cyclic_exp": (lambda o: s.CyclicLR(o, 0.01, 0.1, step_size_up=5, mode="exp_range", gamma=0.95, cycle_momentum=False), 40),
    "sequential": (lambda o: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=5), s.ExponentialLR(o, 0.9), s.ConstantLR(o, 0.5, 4)], [5, 15]), 30),
    "lambda": (lambda o: s.LambdaLR(o, lambda t: 1 / (1 + t)), 20),
    "multiplicative": (lambda o: s.MultiplicativeLR(o, lambda t: 0.9 if t % 2 else 0.8), 20),
}
METRICS = [5, 4, 3, 3, 3, 3.0001, 2.9999, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, float("nan"), 1, 1, 1, 1, 1]
PLATEAUS = {
    "plateau": dict(patience=2),
    "plateau_cooldown": dict(patience=1, factor=0.5, cooldown=3),
    "plateau_abs": dict(patience=1, factor=0.7, threshold=0.5, threshold_mode="abs", min_lr=[0.02, 0.05]),
    "plateau_max": dict(patience=3, mode="max", factor=0.3),
    "plateau_max_abs": dict(patience=2, mode="max", threshold_mode="abs", threshold=1.0, eps=0.01),
}


def optimizer(adam=False):
    w, v = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    groups = [dict(params=[w], lr=0.1), dict(params=[v], lr=0.3)]
    return torch.optim.Adam(groups) if adam else torch.optim.SGD(groups, momentum=0.9)


def row(o):
    numbers = [g["lr"] for g in o.param_groups] + [g["momentum"] if "momentum" in g else g["betas"][0] for g in o.param_groups]
    return " ".join(repr(float(x)) for x in numbers)


def main():
    out = []
    for adam in [False, True]:
        for name, (make, steps) in CASES.items():
            if adam and "cyc" not in name:
                continue
            o = optimizer(adam)
            schedule = make(o)
            out.append(name + ("_adam" if adam else ""))
            out.append(row(o))
            for _ in range(steps - 1):
                o.step()
                schedule.step()
                out.append(row(o))
    for name, options in PLATEAUS.items():
        o = optimizer()
        schedule = s.ReduceLROnPlateau(o, **options)
        out.append(name)
        for metric in METRICS:
            schedule.step(metric)
            out.append(row(o))
    path = pathlib.Path(__file__).with_name("schedules.txt")
    path.write_text("\n".join(out) + "\n")
    print(path, path.stat().st_size)


main()
