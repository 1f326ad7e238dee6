"""Writes the .pt files beside this script. Run: python write.py (torch 2.15, numpy).

`python write.py check DIR` reads back what wgrad's tests wrote to DIR (WGRAD_KEEP_FILES=DIR cargo test --test torch_files).
"""
import argparse
import collections
import os
import sys

import numpy as np
import torch

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        collections.OrderedDict(
            conv=torch.nn.Conv2d(1, 2, 3), norm=torch.nn.BatchNorm2d(2), head=torch.nn.Linear(2, 3)
        )
    )


def write():
    model = net()
    torch.save(model.state_dict(), "state.pt")

    base = torch.arange(24, dtype=torch.float32)
    tied = torch.arange(4.0)
    torch.save(
        {
            "tied": tied,
            "tied_again": tied,
            "slice": base[3:7],
            "strided": base.view(4, 6)[1:, ::2],
            "transposed": base.view(4, 6).t(),
            "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 1000),
            "windows": base.unfold(0, 4, 2),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "parameter": torch.nn.Parameter(torch.ones(2)),
            "gradient": torch.ones(2, requires_grad=True) * 1.0,
        },
        "views.pt",
    )
    torch.save(
        {
            str(dtype).split(".")[1]: torch.tensor([1, 0, 3]).to(dtype)
            for dtype in [
                torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
                torch.int8, torch.uint8, torch.bool, torch.uint32, torch.uint16, torch.complex64, torch.float8_e4m3fn,
            ]
        },
        "types.pt",
    )

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4, 4])
    for _ in range(3):
        optimizer.zero_grad()
        model.head(model.norm(model.conv(torch.randn(2, 1, 3, 3)))[:, :, 0, 0]).sum().backward()
        optimizer.step()
        schedule.step()
    torch.save(
        {
            "epoch": 3,
            "state_dict": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            7: "seven",
            (1, "a"): [None, True, 2**70, -5, 0.5, b"\x00\xff", {1, 2}, torch.Size([2, 3])],
            "best": np.float64(0.75),
            "device": torch.device("cuda", 1),
            "dtype": torch.bfloat16,
            "args": argparse.Namespace(lr=0.01, name="run"),
            "nested": {"list": [torch.ones(1), {"deep": torch.zeros(2)}]},
        },
        "checkpoint.pt",
    )
    torch.save(model.eval(), "module.pt")
    torch.save(model.state_dict(), "protocol4.pt", pickle_protocol=4)
    torch.save(model.state_dict(), "legacy.pt", _use_new_zipfile_serialization=False)
    with open("expected.txt", "w") as file:
        torch.set_printoptions(precision=9)
        for name, tensor in model.state_dict().items():
            numbers = " ".join(f"{v:.9g}" for v in tensor.double().flatten().tolist())
            file.write(f"trained.{name}: {numbers}\n")
        for name, tensor in net().state_dict().items():
            numbers = " ".join(f"{v:.9g}" for v in tensor.double().flatten().tolist())
            file.write(f"{name}: {numbers}\n")
        for index, state in optimizer.state_dict()["state"].items():
            numbers = " ".join(f"{v:.9g}" for v in state["exp_avg"].double().flatten().tolist())
            file.write(f"exp_avg.{index}: {numbers}\n")


def write_safetensors():
    # What torch's side of the format writes: huggingface's own library.
    from safetensors.torch import save_file

    torch.manual_seed(1)
    save_file(
        {
            "half": torch.randn(5).half(),
            "brain": torch.randn(3, 2).bfloat16(),
            "float": torch.arange(6.0).view(2, 3),
            "long": torch.tensor([-1, 2**40]),
            "flag": torch.tensor([True, False]),
        },
        "torch.safetensors",
        metadata={"format": "pt"},
    )


def check(directory):
    import json

    from safetensors.torch import load_file

    index = json.load(open(os.path.join(directory, "sharded", "model.safetensors.index.json")))
    tensors = {}
    for file in set(index["weight_map"].values()):
        tensors.update(load_file(os.path.join(directory, "sharded", file)))
    assert sorted(tensors) == sorted(index["weight_map"]), tensors.keys()
    assert tensors["half"].dtype == torch.float16 and tensors["half"].tolist() == [0.5, 1.5, -2.0]
    assert tensors["brain"].dtype == torch.bfloat16 and tensors["brain"].tolist() == [[0.5, 3.0]]
    assert tensors["ids"].dtype == torch.int64 and tensors["ids"].tolist() == [-1, 1 << 40]
    assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in tensors.values())
    model = net()
    model.load_state_dict(load_file(os.path.join(directory, "model.safetensors")))
    assert model.head.weight.flatten().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    print("all as written")


if sys.argv[1:2] == ["check"]:
    check(sys.argv[2])
else:
    write()
    write_safetensors()
