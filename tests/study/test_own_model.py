"""A model that is not of this library: studied where it follows the parts' names, and told what it lacks where not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from minitransformer import study
from minitransformer.layers import MultiHeadAttention, Tap, View
from minitransformer.models.common.outputs import LogitsOutput


class Sublayer(nn.Module):
    """A feed-forward of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)
        self.hidden, self.out = Tap("batch token intermediate_size"), Tap("batch token hidden_size")

    def forward(self, x):
        return self.out(self.down(self.hidden(torch.tanh(self.up(x)))))


class OwnBlock(nn.Module):
    """Attention and feed-forward side by side on one norm, both added: an order that no file here has."""

    def __init__(self, taps: bool) -> None:
        super().__init__()
        self.input, self.output = Tap("batch token hidden_size"), Tap("batch token hidden_size")
        self.attn, self.ffn, self.attn_norm = MultiHeadAttention(12, 3), Sublayer(), nn.LayerNorm(12)
        if taps:
            self.after_attn, self.after_ffn = Tap("batch token hidden_size"), Tap("batch token hidden_size")

    def forward(self, x):
        y = self.attn_norm(self.input(x))
        x = x + self.attn(y, View(causal=True))
        x = self.after_attn(x) if hasattr(self, "after_attn") else x
        x = x + self.ffn(y)
        return self.output(self.after_ffn(x) if hasattr(self, "after_ffn") else x)


class OwnStack(nn.Module):
    def __init__(self, taps: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(OwnBlock(taps) for _ in range(2))
        self.final_norm, self.output = nn.LayerNorm(12), Tap("batch token hidden_size")

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.output(self.final_norm(x))


class OwnHead(nn.Linear):
    def __init__(self) -> None:
        super().__init__(12, 30)
        self.logits = Tap("batch token classes")

    def forward(self, x):
        return self.logits(super().forward(x))


class OwnEmbeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word, self.words, self.output = nn.Embedding(30, 12), Tap("batch token hidden_size"), Tap("batch token d")

    def forward(self, ids):
        return self.output(self.words(self.word(ids)))


class OwnModel(nn.Module):
    def __init__(self, taps: bool = True) -> None:
        super().__init__()
        self.embeddings, self.stack, self.head = OwnEmbeddings(), OwnStack(taps), OwnHead()

    def forward(self, input_ids):
        return LogitsOutput(logits=self.head(self.stack(self.embeddings(input_ids))))


@pytest.fixture
def own() -> OwnModel:
    torch.manual_seed(0)
    return OwnModel().double().eval()


IDS = {"input_ids": torch.tensor([[3, 7, 9, 4, 21]])}
OTHER = {"input_ids": torch.tensor([[3, 7, 11, 4, 21]])}


def test_everything_works_on_it(own: OwnModel) -> None:
    metric = study.logit(5, 8)
    with torch.no_grad():
        logits = own(**IDS).logits
    shares = study.attribute_logits(own, IDS, position=None).values.sum(0)
    torch.testing.assert_close(shares, logits[0], atol=1e-10, rtol=0)
    assert torch.equal(study.logit_lens(own, IDS).values[-1], logits)
    assert study.patch(own, IDS, OTHER, metric).values.shape == (2, 3, 5)
    assert study.heads(own, IDS).values.shape == (2, 3, 7)
    assert study.head_importance(own, IDS, metric).values.shape == (2, 3, 2)
    found = study.attribute_inputs(own, IDS, metric, baseline=1)["input"]
    assert found.about["completeness_error"] < 0.01
    writers = ["embeddings", "layers.0.attn", "layers.0.ffn", "layers.1.attn", "layers.1.ffn"]
    end = study.path_patch(own, IDS, OTHER, writers, ["stack.output"])
    torch.testing.assert_close(end.logits, own(**OTHER).logits, atol=1e-12, rtol=0)
    attention = 2 * 5 * 4 * 144 + 2 * 2 * 3 * 25 * 4
    assert float(study.cost(own, IDS).at(module="stack.layers.0.attn", measure="flops")) == attention


def test_what_is_missing_is_said(own: OwnModel) -> None:
    with pytest.raises(study.StudyError, match="has no tap stack.layers.0.after_attn"):
        study.attribute_logits(OwnModel(taps=False).eval(), IDS, 5)
    embeddings, own.embeddings = own.embeddings, nn.Embedding(30, 12).double()
    with pytest.raises(study.StudyError, match="no tap at its word vectors"):
        study.attribute_inputs(own, IDS, study.logit(5))
    own.embeddings = embeddings
    del own.stack.output
    own.stack.output = nn.Identity()
    with pytest.raises(study.StudyError, match="needs a tap `output` behind its last block"):
        study.logit_lens(own, IDS)
    with pytest.raises(study.StudyError, match="has no block"):
        study.logit_lens(nn.Sequential(nn.Linear(2, 2)).eval(), IDS)


def test_a_stream_that_is_written_to_unseen_is_noticed(own: OwnModel) -> None:
    own.stack.layers[1].output.register_forward_hook(lambda module, args, x: x + 1)
    with pytest.raises(study.StudyError, match="do not add up to stack.layers.1.output"):
        study.attribute_logits(own, IDS, 5)
