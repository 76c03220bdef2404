"""The adaptive embedding and softmax, against PyTorch's own and against a plain softmax."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from minitransformer.layers import AdaptiveEmbedding, AdaptiveLogSoftmax
from minitransformer.testing import redraw

CLUSTERS = [(0, 7), (7, 12), (12, 30)]
WIDTHS = [8, 4, 2]


def test_softmax_equals_that_of_pytorch():
    """With the biases that PyTorch's lacks at zero."""
    ours = redraw(AdaptiveLogSoftmax(CLUSTERS, WIDTHS, 10, project=True).double())
    theirs = nn.AdaptiveLogSoftmaxWithLoss(10, 30, cutoffs=[7, 12], div_value=2.0, head_bias=True).double()
    with torch.no_grad():
        first, *rest = (projection.weight for projection in ours.projections)
        theirs.head.weight.copy_(torch.cat([ours.words[0].weight, ours.clusters.weight]) @ first.T)
        theirs.head.bias.copy_(torch.cat([ours.words[0].bias, ours.clusters.bias]))
        for tail, words, projection in zip(theirs.tail, ours.words[1:], rest, strict=True):
            words.bias.zero_()
            tail[0] = nn.Linear(10, len(projection.T), bias=False).double()
            tail[1] = nn.Linear(len(projection.T), len(words.weight), bias=False).double()
            tail[0].weight.copy_(projection.T)
            tail[1].weight.copy_(words.weight)
    x, labels = torch.randn(40, 10, dtype=torch.float64), torch.arange(40) % 30
    torch.testing.assert_close(ours(x), theirs.log_prob(x), atol=1e-12, rtol=0)
    torch.testing.assert_close(ours.loss(x, labels), theirs(x, labels).loss, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("widths", "project"), [(WIDTHS, True), ([8], True), ([8], False)])
def test_loss_is_that_of_the_log_probabilities(widths, project):
    softmax = redraw(AdaptiveLogSoftmax(CLUSTERS, widths, 8, project=project).double())
    x, labels = torch.randn(9, 8, dtype=torch.float64), torch.tensor([3, 29, -100, 7, 11, 12, -100, 0, 6])
    expected = nn.functional.nll_loss(softmax(x), labels)
    torch.testing.assert_close(softmax.loss(x, labels), expected, atol=1e-12, rtol=0)
    with pytest.raises(ValueError, match="labels holds 30"):
        softmax.loss(x, labels + 1)


def test_one_cluster_is_a_plain_softmax():
    softmax = redraw(AdaptiveLogSoftmax([(0, 30)], [8], 8, project=False).double())
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(softmax(x), softmax.words[0](x).log_softmax(-1))


def test_embedding_takes_each_word_from_its_cluster():
    embedding = redraw(AdaptiveEmbedding(CLUSTERS, WIDTHS, 10, project=True).double())
    ids = torch.tensor([[0, 6, 7], [11, 12, 29]])
    for row, column, cluster, place in [(0, 1, 0, 6), (0, 2, 1, 0), (1, 0, 1, 4), (1, 1, 2, 0), (1, 2, 2, 17)]:
        expected = embedding.projections[cluster].weight @ embedding.tables[cluster].weight[place] * 10**0.5
        torch.testing.assert_close(embedding(ids)[row, column], expected)
    with pytest.raises(ValueError, match="input_ids holds 30"):
        embedding.check(torch.tensor([[30]]))
