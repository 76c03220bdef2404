"""Every move is undone by its inverse, bit for bit."""

from __future__ import annotations

import pytest
import torch

from minitransformer.weights import AddAxis, Op, Same, Split, Then, Transpose

CASES = [
    (Same(), (5, 3)),
    (Same(), (4,)),
    (Transpose(), (5, 3)),
    (Split(3), (6, 5)),
    (Split(3), (9,)),
    (Split(2, dim=1), (3, 8)),
    (AddAxis(0), (1, 6)),
    (Then(Transpose(), Split(3)), (5, 9)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(("op", "shape"), CASES, ids=str)
def test_there_and_back_gives_the_same_bits(op: Op, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.randn(shape, dtype=torch.float64).to(dtype)
    tensor.view(-1)[0] = float("nan")  # no arithmetic on the way: even the bits of a NaN stay
    ours = op.apply(tensor)
    back = op.revert(ours)
    assert op.file_shape([tuple(piece.shape) for piece in ours]) == shape
    as_bytes = [t.contiguous().view(torch.uint8) for t in (tensor, back)]
    assert torch.equal(*as_bytes)


def test_split_cuts_in_order() -> None:
    q, k, v = Then(Transpose(), Split(3)).apply(torch.arange(12).view(2, 6))
    assert q.tolist() == [[0, 6], [1, 7]]
    assert k.tolist() == [[2, 8], [3, 9]]
    assert v.tolist() == [[4, 10], [5, 11]]


def test_add_axis_drops_the_files_axis() -> None:
    (tensor,) = AddAxis(0).apply(torch.ones(1, 4))
    assert tensor.shape == (4,)
