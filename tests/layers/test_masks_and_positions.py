"""Masks and positions against worked examples."""

from __future__ import annotations

import math

import pytest
import torch

from minitransformer.layers import (
    Embeddings,
    LearnedPositions,
    SinusoidalPositions,
    causal_mask,
    combine,
    padding_mask,
    sinusoids,
    token_positions,
)


def test_causal_mask_is_aligned_at_the_bottom_right():
    assert causal_mask(3, 3)[0, 0].int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 4)[0, 0].int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal_mask(1, 7) is None


def test_padding_mask():
    mask = padding_mask(torch.tensor([[1, 1, 0], [0, 1, 1]]))
    assert mask.dtype == torch.bool and mask.shape == (2, 1, 1, 3)
    assert mask[:, 0, 0].tolist() == [[True, True, False], [False, True, True]]
    assert padding_mask(torch.ones(2, 3)) is None
    assert padding_mask(None) is None


def test_combine():
    assert combine(None, None) is None
    both = combine(causal_mask(2, 2), None, padding_mask(torch.tensor([[0, 1]])))
    assert both[0, 0].tolist() == [[False, False], [False, True]]


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
    with pytest.raises(ValueError, match="position 4 does not exist: the model has 4 positions"):
        positions(torch.tensor([[4]]))
    with pytest.raises(ValueError, match="position 9"):
        SinusoidalPositions(9, 4, interleaved=True)(torch.tensor([[9]]))


def test_embeddings_name_a_wrong_id():
    embeddings = Embeddings(torch.nn.Embedding(10, 4))
    for wrong in (10, -1):
        with pytest.raises(ValueError, match=f"input_ids holds {wrong}, but the model knows the ids 0 to 9"):
            embeddings(torch.tensor([[3, wrong]]), torch.zeros(1, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="no token types"):
        embeddings(torch.tensor([[3]]), torch.zeros(1, 1, dtype=torch.long), torch.tensor([[0]]))
