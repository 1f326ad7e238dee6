"""Products of vectors, matrices and batches of them."""

import torch

from cases import FLOATS, INTEGERS, Input, laid, numbers, special

TYPES = [*FLOATS, "i64", "i32", "u8"]
WIDE = "sums of 16-bit products are rounded once here, and by torch's CPU at each step"


def cases(d):
    plain(d)
    added(d)
    tensors(d)
    einsum(d)
    powers(d)
    distances(d)


def draw(shape, seed, dtype):
    return numbers(shape, seed, 0 if dtype == "u8" else -3, 3, dtype)


def tolerance(dtype):
    """Half precision results differ by a rounding in the last place."""
    return {"rtol": {"f16": 2e-3, "bf16": 1.6e-2}[dtype], "atol": {"f16": 4e-3, "bf16": 3.2e-2}[dtype], "reason": WIDE} if dtype in ("f16", "bf16") else {}


def pairs(d, op, f, shapes, args=None):
    for a, b in shapes:
        for dtype in TYPES:
            d.case(op, f, [draw(a, 1, dtype), draw(b, 2, dtype)], args, **tolerance(dtype))
        for x, y in zip(laid(draw(a, 1, "f32")), laid(draw(b, 2, "f32"))):
            d.case(op, f, [x, y], args)


def plain(d):
    pairs(d, "matmul", torch.matmul, [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 1, 3, 4), (3, 4, 2)), ((2, 0), (0, 3)), ((0, 2), (2, 3)), ((1, 1), (1, 1)), ((17, 33), (33, 9))])
    pairs(d, "mm", torch.mm, [((3, 4), (4, 5)), ((2, 0), (0, 3)), ((0, 2), (2, 3))])
    pairs(d, "mv", torch.mv, [((3, 4), (4,)), ((2, 0), (0,))])
    pairs(d, "dot", torch.dot, [((4,), (4,)), ((0,), (0,)), ((1,), (1,))])
    pairs(d, "bmm", torch.bmm, [((2, 3, 4), (2, 4, 5)), ((0, 3, 4), (0, 4, 5)), ((2, 3, 0), (2, 0, 1))])
    pairs(d, "outer", torch.outer, [((3,), (4,)), ((0,), (4,)), ((1,), (1,))])
    pairs(d, "inner", torch.inner, [((3, 4), (2, 4)), ((4,), (4,)), ((), (3,)), ((2, 1, 3), (3,)), ((), ())])
    pairs(d, "kron", lambda a, b: torch.kron(a.contiguous(), b.contiguous()), [((2, 3), (3, 2)), ((2,), (2, 2)), ((), (3,)), ((2, 1, 2), (2, 2))])
    for dim in [1, -1]:
        pairs(d, "cross", lambda a, b, dim: torch.linalg.cross(a, b, dim=dim), [((2, 3), (2, 3)), ((1, 3), (4, 3)), ((0, 3), (1, 3))], {"dim": dim})
    pairs(d, "cross", lambda a, b, dim: torch.linalg.cross(a, b, dim=dim), [((3, 2), (3, 1))], {"dim": 0})
    for dtype in FLOATS:
        d.case("linear", torch.nn.functional.linear, [draw((5, 4), 1, dtype), draw((3, 4), 2, dtype), draw((3,), 3, dtype)], **tolerance(dtype))
        d.case("linear", torch.nn.functional.linear, [draw((2, 5, 4), 1, dtype), draw((3, 4), 2, dtype)], **tolerance(dtype))
        d.case("linear", torch.nn.functional.linear, [draw((4,), 1, dtype), draw((3, 4), 2, dtype)], **tolerance(dtype))


def added(d):
    for op, f, (a, b), adds in [
        ("addmm", torch.addmm, ((3, 4), (4, 5)), [(3, 5), (5,), (3, 1), ()]),
        ("addmv", torch.addmv, ((3, 4), (4,)), [(3,), (1,), ()]),
        ("baddbmm", torch.baddbmm, ((2, 3, 4), (2, 4, 5)), [(2, 3, 5), (3, 1), (5,)]),
    ]:
        for shape in adds:
            for dtype in TYPES:
                for beta, alpha in [(1, 1), (2, 3)] if dtype in INTEGERS else [(1, 1), (0.5, -2.0), (0, 1)]:
                    x = [draw(shape, 3, dtype), draw(a, 1, dtype), draw(b, 2, dtype)]
                    d.case(op, lambda *x, beta, alpha, f=f: f(*x, beta=beta, alpha=alpha), x, {"beta": beta, "alpha": alpha}, **tolerance(dtype))
    nan = torch.full((3, 5), float("nan"))
    d.case("addmm", lambda *x, beta, alpha: torch.addmm(*x, beta=beta, alpha=alpha), [nan, draw((3, 4), 1, "f32"), draw((4, 5), 2, "f32")], {"beta": 0, "alpha": 1})


def tensors(d):
    f = lambda a, b, ours, theirs: torch.tensordot(a, b, (ours, theirs))
    for a, b, ours, theirs in [((2, 3, 4), (4, 3, 5), [1, 2], [1, 0]), ((3, 4), (4, 5), [-1], [0]), ((2, 3), (4,), [], []), ((2, 3), (3, 2), [0, 1], [1, 0]), ((2, 0), (0, 3), [1], [0])]:
        for dtype in TYPES:
            d.case("tensordot", f, [draw(a, 1, dtype), draw(b, 2, dtype)], {"ours": ours, "theirs": theirs}, **tolerance(dtype))
    for shapes in [[(2, 3), (3, 4), (4, 2)], [(3,), (3, 4), (4, 5), (5,)], [(10, 2), (2, 30), (30, 3), (3, 5)], [(2, 3), (3,)]]:
        for dtype in ["f32", "f64"]:
            x = [draw(s, 3 + i, dtype) for i, s in enumerate(shapes)]
            wide = {"rtol": 1e-5, "atol": 1e-3, "reason": "long sums of products of several numbers, in another order"} if dtype == "f32" else {}
            d.case("chain_matmul", lambda *x: torch.linalg.multi_dot(x), x, **wide)


EQUATIONS = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("ij->ji", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ij->i", [(3, 4)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("i,i->", [(4,), (4,)]),
    ("i,j->ij", [(3,), (4,)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bqhd,bkhd->bhqk", [(2, 3, 2, 4), (2, 5, 2, 4)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (3, 4, 5)]),
    ("...ij,jk", [(2, 3, 4), (4, 5)]),
    ("ij,kl,jk->il", [(3, 4), (5, 2), (4, 5)]),
    ("a,b,c,abc->", [(2,), (3,), (4,), (2, 3, 4)]),
    ("ij,ij->ij", [(3, 4), (3, 4)]),
    ("ij,j->ij", [(3, 4), (4,)]),
    ("b n i , b n j -> b i j", [(2, 3, 4), (2, 3, 5)]),
    ("iij,jk->ik", [(3, 3, 4), (4, 2)]),
    ("bA,Ab", [(2, 3), (3, 2)]),
    ("ij,jk->ik", [(1, 4), (4, 1)]),
    ("ij,ij->i", [(3, 1), (3, 4)]),
    ("i...->...", [(3, 2, 4)]),
    ("...,...->...", [(3, 1), (4,)]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("->", [()]),
    (",i->i", [(), (3,)]),
    ("ijk,ilm,njm,nlk->", [(2, 3, 4), (2, 3, 2), (2, 3, 2), (2, 3, 4)]),
]


def einsum(d):
    for equation, shapes in EQUATIONS:
        for dtype in ["f32", "f64", "f16"]:
            x = [numbers(s, 1 + i, -2, 2, dtype) for i, s in enumerate(shapes)]
            options = tolerance(dtype)
            if len(shapes) > 2 and dtype != "f64":
                options = {"rtol": 1e-5 if dtype == "f32" else 1e-2, "atol": 1e-4 if dtype == "f32" else 5e-2, "reason": "products of several numbers, multiplied and summed in another order"}
            d.case("einsum", lambda *x, equation: torch.einsum(equation, *x), x, {"equation": equation}, **options)
        if all(len(s) for s in shapes):
            x = [laid(numbers(s, 1 + i, -2, 2))[-1] for i, s in enumerate(shapes)]
            wide = {"rtol": 1e-5, "atol": 1e-4, "reason": "products of several numbers, multiplied and summed in another order"} if len(shapes) > 2 else {}
            d.case("einsum", lambda *x, equation: torch.einsum(equation, *x), x, {"equation": equation}, **wide)


def powers(d):
    for n in [0, 1, 2, 3, 5]:
        for shape in [(3, 3), (2, 4, 4), (1, 1), (0, 0)]:
            for dtype in ["f32", "f64"]:
                wide = {"rtol": 1e-5, "atol": 1e-3, "reason": "long sums of products of several numbers, in another order"} if dtype == "f32" else {}
                d.case("matrix_power", lambda x, n: torch.linalg.matrix_power(x, n), [numbers(shape, 1, -1.5, 1.5, dtype)], {"n": n}, **wide)
    for shape in [(3, 4), (4, 3), (1, 1), (0, 3)]:
        for dtype in TYPES:
            d.case("trace", torch.trace, [draw(shape, 1, dtype)]) if dtype not in ("f16", "bf16") else None
        for x in laid(draw(shape, 1, "f32")):
            d.case("trace", torch.trace, [x])


def distances(d):
    for p in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, float("inf")]:
        for a, b in [((3, 4), (5, 4)), ((2, 3, 2), (2, 4, 2)), ((1, 1), (1, 1)), ((3, 0), (2, 0)), ((0, 2), (3, 2))]:
            for dtype in ["f32", "f64"]:
                d.case("cdist", lambda a, b, p: torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"), [numbers(a, 1, dtype=dtype), numbers(b, 2, dtype=dtype)], {"p": p}, second=False)
        same = numbers((3, 4), 1)
        d.case("cdist", lambda a, b, p: torch.cdist(a, b, p, compute_mode="donot_use_mm_for_euclid_dist"), [same, same.clone()], {"p": p}, second=False, grad=p not in (0.0, float("inf")))
