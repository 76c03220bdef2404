"""Masks and positions against worked examples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from minitransformer.layers import (
    Embeddings,
    LearnedPositions,
    SinusoidalPositions,
    View,
    causal_mask,
    sinusoids,
    token_positions,
)


def test_causal_mask_is_aligned_at_the_bottom_right():
    assert causal_mask(3, 3)[0, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 4)[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal_mask(1, 7) is None


def test_a_window_hides_what_is_too_far():
    assert causal_mask(2, 4, window=2)[0, 0].int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 1]]
    assert causal_mask(1, 4, window=2)[0, 0].int().tolist() == [[0, 0, 1, 1]]
    assert causal_mask(3, 3, causal=False, window=2)[0, 0].int().tolist() == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]


def test_a_view_lets_through_what_no_reason_hides():
    assert View().allowed(2, 3) is None
    padding = View(torch.tensor([[1, 1, 0], [0, 1, 1]])).allowed(3, 3)
    assert padding.dtype == torch.bool and padding.shape == (2, 1, 1, 3)
    assert padding[:, 0, 0].tolist() == [[True, True, False], [False, True, True]]
    both = View(torch.tensor([[0, 1]]), causal=True).allowed(2, 2)
    assert both[0, 0].tolist() == [[False, False], [False, True]]
    also = View(torch.tensor([[0, 1]]), mask=torch.tensor([[True, True], [True, False]])[None, None]).allowed(2, 2)
    assert also[0, 0].tolist() == [[False, True], [False, False]]


def test_what_a_view_hides_is_made_once_and_follows_the_sizes():
    bias = torch.randn(1, 2, 3, 3)
    view = View(causal=True, bias=bias)
    hidden = view.hidden(3, 3, bias.dtype)
    assert hidden is view.hidden(3, 3, bias.dtype) and torch.equal(hidden.tril(), bias.tril())
    assert (hidden[..., 0, 1:] == torch.finfo(bias.dtype).min).all()
    view = View(causal=True)
    assert view.hidden(3, 3, bias.dtype).shape[-2:] == (3, 3) and view.hidden(2, 5, bias.dtype).shape[-2:] == (2, 5)


def test_positions_follow_the_mask_on_either_side():
    mask = torch.tensor([[1, 1, 1, 0], [0, 0, 1, 1]])
    assert token_positions(4, mask)[0, :3].tolist() == [0, 1, 2]
    assert token_positions(4, mask)[1, 2:].tolist() == [0, 1]
    assert token_positions(1, torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])).tolist() == [[3], [1]]
    assert token_positions(2, offset=3).tolist() == [[3, 4]]


def test_sinusoids_are_the_papers():
    table = sinusoids(9, 6, interleaved=True)
    for position in range(9):
        for i in range(3):
            angle = position / 10000 ** (2 * i / 6)
            assert table[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-14)
            assert table[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-14)
    halves = sinusoids(9, 6, interleaved=False)
    assert torch.equal(halves, torch.cat([table[:, 0::2], table[:, 1::2]], dim=1))
    assert sinusoids(4, 5, interleaved=False).shape == sinusoids(4, 5, interleaved=True).shape == (4, 5)


def test_sinusoidal_positions_exist_on_the_meta_device():
    with torch.device("meta"):
        module = SinusoidalPositions(4, 6, interleaved=False)
    assert not module.table.is_meta and not module.state_dict()


def test_learned_positions_offset_and_end():
    positions = LearnedPositions(4, 3, offset=2)
    assert torch.equal(positions(torch.tensor([[0, 3]])), positions.weight[[2, 5]][None])
    assert positions.num_positions == 4 and SinusoidalPositions(9, 4, interleaved=True).num_positions == 9


def test_embeddings_name_a_wrong_id():
    embeddings = Embeddings(nn.Embedding(10, 4), LearnedPositions(4, 4, offset=2), token_type=nn.Embedding(2, 4))
    embeddings.check(torch.tensor([[0, 9]]), torch.tensor([[0, 3]]), torch.tensor([[0, 1]]))
    for wrong in (10, -1):
        with pytest.raises(ValueError, match=f"input_ids holds {wrong}, but the model knows the ids 0 to 9"):
            embeddings.check(torch.tensor([[3, wrong]]))
    with pytest.raises(ValueError, match="position 4 does not exist: the model has 4 positions"):
        embeddings.check(torch.tensor([[3]]), torch.tensor([[4]]))
    with pytest.raises(ValueError, match="token_type_ids holds 2"):
        embeddings.check(torch.tensor([[3]]), None, torch.tensor([[2]]))


def test_any_callable_will_do_for_a_table():
    """A table of one's own knows its ids best: nothing is asked of it but to be called."""

    class Hashed(nn.Module):
        def forward(self, ids):
            return torch.stack([ids % 3, ids % 5, ids % 7, ids % 2], dim=-1).double()

    embeddings = Embeddings(Hashed(), LearnedPositions(4, 4).double())
    embeddings.check(torch.tensor([[10**6]]), torch.tensor([[0]]))
    assert embeddings(torch.tensor([[10**6]]), torch.tensor([[0]])).shape == (1, 1, 4)
    embeddings = Embeddings(nn.Embedding(10, 4))
    with pytest.raises(ValueError, match="no token types"):
        embeddings(torch.tensor([[3]]), torch.zeros(1, 1, dtype=torch.long), torch.tensor([[0]]))
