"""Layers: torch's modules with torch's own parameters.

A case's `op` is wgrad's name of the layer. Its inputs are those of the layer, then the tensors of its state_dict, whose
names are the argument `state`; its results are those of the layer, and then its buffers, which training changes. The
other arguments are the layer's, `train` says in which mode it is, and `repr` is what torch prints of it.
"""

import re

import torch
from torch import nn
from torch.func import functional_call

from cases import numbers

# wgrad's names where they are others than torch's.
NAMES = {
    "Lstm": "LSTM", "Gru": "GRU", "Rnn": "RNN", "LstmCell": "LSTMCell", "GruCell": "GRUCell", "RnnCell": "RNNCell",
    "Relu": "ReLU", "Relu6": "ReLU6", "Gelu": "GELU", "GeluTanh": "GELU", "Silu": "SiLU", "LogSigmoid": "LogSigmoid",
    "LeakyRelu": "LeakyReLU", "Elu": "ELU", "Celu": "CELU", "Selu": "SELU", "Prelu": "PReLU", "Rrelu": "RReLU",
    "Glu": "GLU", "RmsNorm": "RMSNorm", "LpPool1d": "LPPool1d", "LpPool2d": "LPPool2d", "LpPool3d": "LPPool3d",
    "CrossMapLrn2d": "CrossMapLRN2d",
}


def shown(op, module):
    """What torch prints of a layer, as wgrad does: its own name, Rust's true and false, no empty parentheses."""
    text = repr(module).split("\n")[0].rstrip("(") if list(module.children()) else repr(module)
    text = re.sub(r"^\w+", op, text)
    text = text.replace("True", "true").replace("False", "false").replace("None", "none").replace("'", "")
    text = text.replace(", inplace=false", "").replace("inplace=false", "")
    text = re.sub(r"e-0(\d)", r"e-\1", text)
    return text.removesuffix("()")


class Wrapped(nn.Module):
    """A formula that torch has no module for."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x)


def cases(d):
    def flat(y):
        """Tensors out of nested tuples."""
        if isinstance(y, (tuple, list)):
            return [t for part in y for t in flat(part)]
        return [] if y is None else [y]

    def layer(op, inputs, args=None, *, module=None, train=True, options=None, call=None, repr_too=True, seed=1, **case):
        """A case of a layer. `options` are torch's where `args`, those of the case, have others."""
        args = dict(args or {})
        if module is None:
            module = getattr(nn, NAMES.get(op, op))(**(args if options is None else options))
        module.train(train)
        state = dict(module.state_dict())
        parameters = dict(module.named_parameters())
        names = list(state)
        tensors = []
        for i, name in enumerate(names):
            value = state[name]
            if name in parameters:
                value = numbers(value.shape, 1000 * seed + i, -1, 1)
            elif name.endswith("running_mean"):
                value = numbers(value.shape, 1000 * seed + i, -1, 1)
            elif name.endswith("running_var"):
                value = numbers(value.shape, 1000 * seed + i, 0.5, 2)
            elif name.endswith("num_batches_tracked"):
                value = torch.tensor(3, dtype=torch.int32)
            tensors.append(value)
        buffers = [name for name in names if name not in parameters]

        def run(*x, **_):
            own, rest = x[: len(inputs)], x[len(inputs) :]
            used = {n: t if n in parameters else t.detach().clone() for n, t in zip(names, rest)}
            for n in used:
                if n.endswith("num_batches_tracked"):
                    used[n] = used[n].to(torch.int64)
            y = functional_call(module, used, own if call is None else (), {} if call is None else call(own))
            # In place, on what was given.
            after = [used[n].to(torch.int32) if n.endswith("tracked") else used[n] for n in buffers]
            return [*flat(y), *after]

        line = {"state": names, "train": train, **args}
        if repr_too:
            line["repr"] = shown(op, module)
        d.case(op, run, [*inputs, *tensors], line, second=False, **case)

    # ---- Linear layers ----
    x = numbers((2, 3, 4), 1)
    layer("Linear", [x], {"in_features": 4, "out_features": 2, "bias": True}, repr_too=False)
    layer("Linear", [x], {"in_features": 4, "out_features": 2, "bias": False}, repr_too=False)
    two = [numbers((2, 3, 4), 1), numbers((2, 3, 5), 2)]
    for bias in [True, False]:
        layer("Bilinear", two, {"in1_features": 4, "in2_features": 5, "out_features": 3, "bias": bias})
    layer("Identity", [x])

    # ---- Convolutions ----
    def sizes(rank):
        return {1: (9,), 2: (6, 7), 3: (5, 5, 6)}[rank]

    def spread(rank, n):
        """Different numbers along the dimensions, and `n` along the last."""
        return tuple(max(1, n - i % 2) for i in reversed(range(rank)))

    for rank in [1, 2, 3]:
        one = (1,) * rank
        conv, transpose = f"Conv{rank}d", f"ConvTranspose{rank}d"
        base = {"stride": one, "padding": (0,) * rank, "dilation": one, "groups": 1, "bias": True, "padding_mode": "zeros"}
        for more in [
            {},
            {"stride": spread(rank, 2), "padding": spread(rank, 1), "bias": False},
            {"padding": "same", "dilation": spread(rank, 2)},
            {"groups": 2, "padding": spread(rank, 2)},
            {"padding": spread(rank, 2), "padding_mode": "reflect"},
            {"padding": spread(rank, 2), "padding_mode": "replicate"},
            {"padding": "same", "padding_mode": "circular"},
        ]:
            args = {"in_channels": 2, "out_channels": 4, "kernel_size": spread(rank, 3), **base, **more}
            # Few enough for sums in any order.
            shape = (1, 2, 3, 4, 4) if rank == 3 else (2, 2, *sizes(rank))
            layer(conv, [numbers(shape, 1)], args)
        args = {"in_channels": 2, "out_channels": 4, "kernel_size": spread(rank, 3), **base}
        layer(conv, [numbers((2, *sizes(rank)), 1)], args)
        base = {"stride": one, "padding": (0,) * rank, "output_padding": (0,) * rank, "dilation": one, "groups": 1, "bias": True}
        for more in [
            {},
            {"stride": (2,) * rank, "padding": (1,) * rank, "output_padding": (1,) * rank, "bias": False},
            {"groups": 2, "dilation": spread(rank, 2)},
        ]:
            args = {"in_channels": 4, "out_channels": 2, "kernel_size": spread(rank, 3), **base, **more}
            layer(transpose, [numbers((2, 4, *(n // 2 for n in sizes(rank))), 1)], args)

        # ---- Pools ----
        x = numbers((2, 2, *sizes(rank)), 3)
        kernel = spread(rank, 3)
        plain = {"kernel_size": kernel, "stride": kernel, "padding": (0,) * rank, "dilation": one, "ceil_mode": False}
        for more in [{}, {"stride": (2,) * rank, "padding": (1,) + (0,) * (rank - 1), "ceil_mode": True}, {"dilation": spread(rank, 2)}]:
            layer(f"MaxPool{rank}d", [x], {**plain, **more})
        plain = {"kernel_size": kernel, "stride": kernel, "padding": (0,) * rank, "ceil_mode": False, "count_include_pad": True}
        for more in [{}, {"stride": (2,) * rank, "padding": (1,) + (0,) * (rank - 1), "count_include_pad": False}]:
            layer(f"AvgPool{rank}d", [x], {**plain, **more})
        more = {"norm_type": 2.0, "kernel_size": kernel, "stride": kernel, "ceil_mode": False}
        # torch's takes a number in one dimension.
        one = {**more, "kernel_size": kernel[0], "stride": kernel[0]} if rank == 1 else more
        layer(f"LpPool{rank}d", [x], more, options=one, repr_too=rank > 1)
        layer(f"AdaptiveAvgPool{rank}d", [x], {"output_size": spread(rank, 3)})
        layer(f"AdaptiveMaxPool{rank}d", [x], {"output_size": spread(rank, 3)})
        pool = getattr(nn.functional, f"max_pool{rank}d")
        y, at = pool(numbers((2, 2, *(2 * n for n in spread(rank, 3))), 4), 2, return_indices=True)
        more = {"kernel_size": (2,) * rank, "stride": (2,) * rank, "padding": (0,) * rank}
        layer(
            f"MaxUnpool{rank}d", [y, at.to(torch.int32)], more,
            call=lambda own: {"input": own[0], "indices": own[1].long()},
        )

        # ---- Padding ----
        sides = [1, 2, 0, 1, 2, 1][: 2 * rank]
        for name in ["ZeroPad", "ReflectionPad", "ReplicationPad", "CircularPad"]:
            layer(f"{name}{rank}d", [x], {"padding": sides}, options={"padding": tuple(sides)})
        layer(f"ConstantPad{rank}d", [x], {"padding": sides, "value": 1.5}, options={"padding": tuple(sides), "value": 1.5})
        layer(f"ZeroPad{rank}d", [x], {"padding": [-1] * 2 * rank}, options={"padding": (-1,) * 2 * rank})

        # ---- Statistics of batches ----
        shapes = [(4, 3, *sizes(rank))[: rank + 2]] + ([(4, 3)] if rank == 1 else [])
        plain = {"num_features": 3, "eps": 1e-5, "momentum": 0.1, "affine": True, "bias": True, "track_running_stats": True}
        for shape in shapes:
            for train in [True, False]:
                layer(f"BatchNorm{rank}d", [numbers(shape, 5)], plain, train=train)
        x = numbers(shapes[0], 6)
        for more in [{"momentum": None}, {"eps": 1e-3, "momentum": 0.4, "affine": False}, {"bias": False, "track_running_stats": False}]:
            for train in [True, False]:
                layer(f"BatchNorm{rank}d", [x], {**plain, **more}, train=train)
        plain = {"num_features": 3, "eps": 1e-5, "momentum": 0.1, "affine": False, "bias": True, "track_running_stats": False}
        for more in [{}, {"affine": True, "track_running_stats": True}]:
            for train in [True, False]:
                layer(f"InstanceNorm{rank}d", [x], {**plain, **more}, train=train)
        layer(f"InstanceNorm{rank}d", [x[0]], plain)

    # ---- Statistics of instances ----
    x = numbers((2, 4, 3, 5), 1)
    for shape, affine, bias in [((5,), True, True), ((3, 5), True, False), ((3, 5), False, True)]:
        more = {"eps": 1e-5, "elementwise_affine": affine, "bias": bias}
        layer("LayerNorm", [x], {"normalized_shape": shape, **more})
        more = {"eps": None if affine else 1e-3, "elementwise_affine": affine}
        layer("RmsNorm", [x], {"normalized_shape": shape, **more})
    for affine, bias in [(True, True), (True, False), (False, True)]:
        layer("GroupNorm", [x], {"num_groups": 2, "num_channels": 4, "eps": 1e-5, "affine": affine, "bias": bias})
    layer("LocalResponseNorm", [x], {"size": 3, "alpha": 0.5, "beta": 0.75, "k": 1.0})
    for size in [1, 3, 4]:
        # torch's derivative is no function that has one again, and fails for one channel.
        layer("CrossMapLrn2d", [x], {"size": size, "alpha": 0.5, "beta": 0.75, "k": 1.0}, repr_too=False, grad=False)

    # ---- Dropout, in evaluation ----
    for op in ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]:
        shape = (2, 3, 4, 2, 3)[: {"Dropout1d": 3, "Dropout2d": 4}.get(op, 5)]
        layer(op, [numbers(shape, 1)], {"p": 0.3}, train=False)

    # ---- Activations ----
    x = numbers((3, 4), 1, -8, 8)
    for op in ["Relu", "Relu6", "Silu", "Tanh", "Sigmoid", "LogSigmoid", "Hardswish", "Hardsigmoid", "Mish", "Selu", "Softsign", "Tanhshrink"]:
        layer(op, [x])
    layer("Gelu", [x], repr_too=False)
    layer("GeluTanh", [x], module=nn.GELU("tanh"), repr_too=False)
    for op, more in [
        ("LeakyRelu", {"negative_slope": 0.2}),
        ("Elu", {"alpha": 0.7}),
        ("Celu", {"alpha": 0.7}),
        ("Hardtanh", {"min_val": -2.0, "max_val": 1.5}),
        ("Softplus", {"beta": 1.0, "threshold": 20.0}),
        ("Softplus", {"beta": 2.0, "threshold": 5.0}),
        ("Softshrink", {"lambd": 0.7}),
        ("Hardshrink", {"lambd": 0.7}),
        ("Threshold", {"threshold": 0.5, "value": -2.0}),
        ("Softmax", {"dim": 1}),
        ("LogSoftmax", {"dim": 0}),
        ("Softmin", {"dim": -1}),
        ("Glu", {"dim": 1}),
    ]:
        layer(op, [x], more)
    layer("Rrelu", [x], {"lower": 0.25, "upper": 0.75}, train=False)
    layer("Prelu", [x], {"num_parameters": 1})
    layer("Prelu", [x], {"num_parameters": 4})

    # ---- Elements elsewhere ----
    x = numbers((2, 8, 4, 6), 1)
    layer("Flatten", [x], {"start_dim": 1, "end_dim": -1})
    layer("Flatten", [x], {"start_dim": -2, "end_dim": 3})
    layer("Unflatten", [x], {"dim": 1, "unflattened_size": (2, 4)})
    layer("PixelShuffle", [x], {"upscale_factor": 2})
    layer("PixelUnshuffle", [x], {"downscale_factor": 2})
    layer("ChannelShuffle", [x], {"groups": 4})
    # Where windows begin a whole number of elements after one another, it does not matter what is drawn.
    layer("FractionalMaxPool2d", [x], {"kernel_size": 2, "output_size": (3, 5)}, repr_too=False)
    layer("FractionalMaxPool3d", [x], {"kernel_size": 2, "output_size": (4, 2, 3)}, repr_too=False)
    windows = {"kernel_size": (2, 3), "dilation": (1, 2), "padding": (1, 0), "stride": (2, 1)}
    layer("Unfold", [x], windows, repr_too=False)
    layer("Fold", [numbers((2, 12, 6), 1)], {"output_size": (4, 6), **windows}, repr_too=False)
    x = numbers((1, 2, 3, 4), 1)
    for mode, corners in [("nearest", None), ("nearest-exact", None), ("bilinear", False), ("bilinear", True), ("bicubic", False), ("area", None)]:
        options = {"scale_factor": 2.0, "mode": mode, "align_corners": corners}
        layer("Upsample", [x], {"scale_factor": 2.0, "mode": mode, "corners": bool(corners)}, options=options, repr_too=False)
        layer("Upsample", [x], {"size": (5, 3), "mode": mode, "corners": bool(corners)}, repr_too=mode != "bilinear",
              options={"size": (5, 3), "mode": mode, "align_corners": corners})

    # ---- Tables ----
    at = torch.tensor([[1, 4, 0], [4, 4, 5]], dtype=torch.int32)
    rows = {"num_embeddings": 6, "embedding_dim": 3}
    for more in [{}, {"padding_idx": 4}, {"padding_idx": -2}]:
        layer("Embedding", [at], {**rows, **more})
    for more in [{}, {"padding_idx": 4}]:
        layer("Embedding", [at], {**rows, "scale_grad_by_freq": True, **more}, repr_too=False)
    for mode in ["sum", "mean", "max"]:
        layer("EmbeddingBag", [at], {**rows, "mode": mode})
    layer("EmbeddingBag", [at], {**rows, "mode": "mean", "padding_idx": 4})
    offsets = torch.tensor([0, 2], dtype=torch.int32)
    layer("EmbeddingBag", [at.reshape(-1), offsets], {**rows, "mode": "sum"})
    layer("EmbeddingBag", [at.reshape(-1), offsets, numbers((6,), 3)], {**rows, "mode": "sum"},
          call=lambda own: {"input": own[0], "offsets": own[1], "per_sample_weights": own[2]})

    # ---- Recurrence ----
    size = {"input_size": 4, "hidden_size": 3}
    for op in ["Rnn", "Gru", "Lstm"]:
        plain = {**size, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        kinds = [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False, "num_layers": 2}]
        kinds += {"Rnn": [{"nonlinearity": "relu"}], "Gru": [], "Lstm": [
            {"proj_size": 2}, {"proj_size": 2, "num_layers": 2, "bidirectional": True, "batch_first": True}]}[op]
        for more in kinds:
            args = {**plain, **more}
            layer(op, [numbers((2, 3, 4), 1)], args)
            directions = args["num_layers"] * (2 if args["bidirectional"] else 1)
            batch = 2 if args["batch_first"] else 3
            h = numbers((directions, batch, args.get("proj_size", 0) or 3), 2, -1, 1)
            states = [h, numbers((directions, batch, 3), 3, -1, 1)] if op == "Lstm" else [h]
            layer(op, [numbers((2, 3, 4), 1), *states], args,
                  call=lambda own: {"input": own[0], "hx": own[1] if len(own) == 2 else own[1:]})
        layer(op, [numbers((3, 4), 1)], plain)
        # Dropout between layers, in evaluation.
        layer(op, [numbers((2, 3, 4), 1)], {**plain, "num_layers": 2, "dropout": 0.5}, train=False)
    for op in ["RnnCell", "GruCell", "LstmCell"]:
        kinds = [{"bias": True}, {"bias": False}] + ([{"bias": True, "nonlinearity": "relu"}] if op == "RnnCell" else [])
        for more in kinds:
            layer(op, [numbers((2, 4), 1)], {**size, **more})
            states = [numbers((2, 3), 2 + i, -1, 1) for i in range(2 if op == "LstmCell" else 1)]
            layer(op, [numbers((2, 4), 1), *states], {**size, **more},
                  call=lambda own: {"input": own[0], "hx": own[1] if len(own) == 2 else own[1:]})
        layer(op, [numbers((4,), 1)], {**size, "bias": True})

    # ---- Attention ----
    plain = {"embed_dim": 4, "num_heads": 2, "dropout": 0.0, "bias": True, "batch_first": False}
    q, k, v = numbers((3, 2, 4), 1), numbers((5, 2, 4), 2), numbers((5, 2, 4), 3)

    def attend(op_inputs, args, masks=None, weights=True, average=True, **more):
        """`masks` are their names, of the tensors behind the operands."""
        masks = masks or []
        args = {**plain, **args}
        options = {k: v for k, v in args.items()}
        causal = more.pop("causal", False)

        def call(own):
            given = {"query": own[0], "key": own[1], "value": own[2], **dict(zip(masks, own[3:]))}
            if causal:
                n, m = own[0].shape[1 if args["batch_first"] else 0], own[1].shape[1 if args["batch_first"] else 0]
                given["attn_mask"] = torch.ones(n, m, dtype=torch.bool).triu(1)
            return {**given, "need_weights": weights, "average_attn_weights": average}

        # Reduced in another order.
        layer("MultiheadAttention", op_inputs, {**args, "masks": masks, "weights": weights, "average": average, "causal": causal},
              options=options, call=call, repr_too=False, rtol=5e-6, atol=2e-5, reason="sums of products in another order", **more)

    for weights in [True, False]:
        attend([q, k, v], {}, weights=weights)
        attend([q, q, q], {}, weights=weights, causal=True)
        attend([x.transpose(0, 1) for x in (q, k, v)], {"batch_first": True, "bias": False}, weights=weights)
        attend([q, numbers((5, 2, 3), 2), numbers((5, 2, 6), 3)], {"kdim": 3, "vdim": 6}, weights=weights)
        padding = torch.tensor([[False, False, True, False, True], [False, False, False, False, True]])
        seen = torch.tensor([[False, True, False, False, True], [False, False, False, True, False], [True, False, False, False, False]])
        attend([q, k, v, padding], {}, ["key_padding_mask"], weights=weights)
        attend([q, k, v, seen], {}, ["attn_mask"], weights=weights)
        attend([q, k, v, seen, padding], {}, ["attn_mask", "key_padding_mask"], weights=weights)
        attend([q, k, v, numbers((3, 5), 7)], {}, ["attn_mask"], weights=weights)
        attend([q, k, v, numbers((4, 3, 5), 7)], {}, ["attn_mask"], weights=weights)
    for more in [{"add_bias_kv": True}, {"add_zero_attn": True}, {"add_bias_kv": True, "add_zero_attn": True}]:
        for weights in [True, False]:
            attend([q, k, v], more, weights=weights)
            attend([q, q, q], more, weights=weights, causal=True)
            attend([q, k, v, seen, padding], more, ["attn_mask", "key_padding_mask"], weights=weights)
            attend([q, k, v, numbers((4, 3, 5), 7)], more, ["attn_mask"], weights=weights)
        attend([x.transpose(0, 1) for x in (q, k, v)], {"batch_first": True, "bias": False, **more})
        attend([q[:, 0], k[:, 0], v[:, 0]], more)
    attend([q, k, v], {}, average=False)
    attend([q[:, 0], k[:, 0], v[:, 0]], {})

    # ---- Transformers ----
    near = dict(rtol=1e-5, atol=1e-4, reason="many sums in another order, behind several norms")
    plain_layer = {"d_model": 4, "nhead": 2, "dim_feedforward": 5, "dropout": 0.1, "activation": "relu",
                   "layer_norm_eps": 1e-5, "batch_first": False, "norm_first": False, "bias": True}
    x, memory = numbers((3, 2, 4), 1), numbers((5, 2, 4), 2)
    square = torch.ones(3, 3, dtype=torch.bool).triu(1)
    for more in [{}, {"norm_first": True, "activation": "gelu"}, {"batch_first": True, "bias": False}]:
        args = {**plain_layer, **more}
        for causal in [False, True]:
            line = {**args, "causal": causal}
            # torch's fast path has no derivatives, and is for evaluation.
            quiet = {**args, "dropout": 0.0}
            mask = {"src_mask": square if not args["batch_first"] else torch.ones(2, 2, dtype=torch.bool).triu(1)}
            mask = mask if causal else {}
            layer("TransformerEncoderLayer", [x], line, options=quiet, repr_too=False,
                  call=lambda own: {"src": own[0], **mask}, **near)
            of = memory if not args["batch_first"] else numbers((3, 5, 4), 2)
            tgt = {"tgt_mask": v for v in mask.values()}
            layer("TransformerDecoderLayer", [x, of], line, options=quiet, repr_too=False,
                  call=lambda own: {"tgt": own[0], "memory": own[1], **tgt}, **near)
    args = {**plain_layer, "dropout": 0.0}
    for norm in [True, False]:
        line = {**plain_layer, "num_layers": 2, "norm": norm}
        stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(**args), 2, nn.LayerNorm(4) if norm else None, enable_nested_tensor=False)
        layer("TransformerEncoder", [x], line, module=stack, repr_too=False, **near)
        stack = nn.TransformerDecoder(nn.TransformerDecoderLayer(**args), 2, nn.LayerNorm(4) if norm else None)
        layer("TransformerDecoder", [x, memory], line, module=stack, repr_too=False,
              call=lambda own: {"tgt": own[0], "memory": own[1]}, **near)
    whole = nn.Transformer(4, 2, 1, 2, 5, 0.0)
    layer("Transformer", [memory, x], {**plain_layer, "num_encoder_layers": 1, "num_decoder_layers": 2}, module=whole,
          repr_too=False, call=lambda own: {"src": own[0], "tgt": own[1]}, **near)

    # ---- Distances ----
    two = [numbers((3, 4), 1), numbers((3, 4), 2)]
    layer("CosineSimilarity", two, {"dim": 1, "eps": 1e-8}, repr_too=False)
    for p, keep in [(2.0, False), (1.0, True)]:
        layer("PairwiseDistance", two, {"p": p, "eps": 1e-6, "keepdim": keep}, repr_too=False)

    # ---- Positions: formulas, which torch has no modules for ----
    def sinusoidal(x, base=10000.0):
        rows, size = x.shape[-2:]
        table = torch.zeros(rows, size, dtype=torch.float64)
        for j in range(size):
            angle = torch.arange(rows).double() / base ** (2 * (j // 2) / size)
            table[:, j] = angle.cos() if j % 2 else angle.sin()
        return x + table.to(x.dtype)

    def rotary(x, base=10000.0, interleaved=False):
        rows, size = x.shape[-2:]
        angles = torch.arange(rows).double()[:, None] * base ** (-2 * torch.arange(size // 2).double() / size)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
        turned = [a * cos - b * sin, b * cos + a * sin]
        return torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)

    for size in [4, 5]:
        layer("SinusoidalEncoding", [numbers((2, 6, size), 1)], {"base": 10000.0}, module=Wrapped(sinusoidal), repr_too=False)
    for interleaved in [False, True]:
        layer("RotaryEmbedding", [numbers((2, 6, 4), 1)], {"base": 10000.0, "interleaved": interleaved},
              module=Wrapped(lambda x, i=interleaved: rotary(x, interleaved=i)), repr_too=False)
