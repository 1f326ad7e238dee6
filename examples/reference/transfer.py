"""What examples/transfer.rs starts from: a network that torch trained on the first 1,000 of scikit-learn's digits, and
torch's own accuracy when it goes on from there to another question - is the digit odd? - with 8 labelled images. Writes
../data/digits-torch.safetensors.

    pip install torch safetensors scikit-learn && python transfer.py
"""
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
y = torch.tensor(digits.target)
file = Path(__file__).parent.parent / "data" / "digits-torch.safetensors"


def network(classes):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, classes),
    )


def train(model, x, y, steps):
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(steps):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()


def accuracy(model, x, y):
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    body = network(10)
    train(body, x[:1000], y[:1000], 300)
    print("digits", accuracy(body, x[1000:], y[1000:]))
    save_file(body.state_dict(), file)
    few_x, few_y, rest_x, rest_y = x[1000:1008], y[1000:1008] % 2, x[1008:], y[1008:] % 2
    tuned, fresh = [], []
    for seed in range(5):
        torch.manual_seed(seed)
        model = network(2)
        head = {"9.weight", "9.bias"}
        model.load_state_dict({k: v for k, v in load_file(file).items() if k not in head}, strict=False)
        for p in model[:7].parameters():
            p.requires_grad = False
        train(model, few_x, few_y, 100)
        tuned.append(accuracy(model, rest_x, rest_y))
        torch.manual_seed(seed)
        model = network(2)
        train(model, few_x, few_y, 100)
        fresh.append(accuracy(model, rest_x, rest_y))
    print("fine-tuned", sum(tuned) / 5, tuned)
    print("from scratch", sum(fresh) / 5, fresh)
