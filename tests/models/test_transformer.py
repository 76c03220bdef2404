"""The Transformer of 2017: against torch.nn.Transformer, the paper's formulas, and what FSMT has of its own."""

from __future__ import annotations

import math

import pytest
import torch
from models.twins import transformer as twins
from models.twins.twin import padded, random_ids
from torch import nn

from minitransformer import AutoConfig, AutoModel, AutoModelForSeq2SeqLM
from minitransformer.errors import ConfigError
from minitransformer.layers import View
from minitransformer.models.common.losses import token_loss
from minitransformer.models.transformer import (
    FSMTConfig,
    FSMTModel,
    TransformerConfig,
    TransformerForConditionalGeneration,
    TransformerModel,
)
from minitransformer.testing import redraw, reference_twin

SMALL = TransformerConfig(
    vocab_size=60, target_vocab_size=60, hidden_size=24, num_layers=3, num_heads=4, encoder_ffn_dim=40,
    decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=40, num_positions=20, dropout=0.0,
)  # fmt: skip


@pytest.fixture
def model() -> TransformerModel:
    return redraw(TransformerModel(SMALL).double()).eval()


@pytest.fixture
def torchs(model) -> nn.Transformer:
    """PyTorch's own, with our weights and norms of its own at the end of each side."""
    c = SMALL
    theirs = nn.Transformer(
        c.hidden_size, c.num_heads, c.num_layers, c.decoder_layers, c.encoder_ffn_dim, 0.0, batch_first=True
    )
    theirs = redraw(theirs.double(), seed=1).train()  # without dropout; in evaluation it takes a path of nested tensors

    def copy_attention(to: nn.MultiheadAttention, attn: nn.Module) -> None:
        parts = (attn.query, attn.key, attn.value)
        to.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        to.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        to.out_proj.load_state_dict(attn.output.state_dict())

    with torch.no_grad():
        for side, stack in ((theirs.encoder, model.encoder), (theirs.decoder, model.decoder)):
            for layer, block in zip(side.layers, stack.blocks, strict=True):
                copy_attention(layer.self_attn, block.attn)
                norms = [block.attn_norm, block.ffn_norm]
                if hasattr(block, "cross_attn"):
                    copy_attention(layer.multihead_attn, block.cross_attn)
                    norms.insert(1, block.cross_attn_norm)
                for number, norm in enumerate(norms, start=1):
                    getattr(layer, f"norm{number}").load_state_dict(norm.state_dict())
                layer.linear1.load_state_dict(block.ffn.up.state_dict())
                layer.linear2.load_state_dict(block.ffn.down.state_dict())
    return theirs


@pytest.mark.parametrize("final_norms", [False, True])
def test_equal_to_torch(model, torchs, final_norms):
    """PyTorch's has one more norm at the end of each side than the paper: with it in ours, or without it in theirs."""
    if final_norms:
        model.encoder.final_norm, model.decoder.final_norm = torchs.encoder.norm, torchs.decoder.norm
    else:
        torchs.encoder.norm = torchs.decoder.norm = None
    ids, mask = padded([7, 4, 1], "right", 1)
    target = random_ids(3, 6, seed=2)
    x, y = (
        part(tokens, torch.arange(tokens.shape[1])[None])
        for part, tokens in ((model.encoder_embeddings, ids), (model.decoder_embeddings, target))
    )
    future = torch.ones(6, 6, dtype=torch.bool).triu(1)
    hidden = {"src_key_padding_mask": mask == 0, "memory_key_padding_mask": mask == 0}
    with torch.no_grad():
        wanted = torchs(x, y, tgt_mask=future, **hidden)
        memory = model.encoder(x, View(mask))
        by_parts = model.decoder(y, View(causal=True, source=View(mask, memory=memory)))
        whole = model(ids, mask, target).last_hidden_state
    torch.testing.assert_close(by_parts, wanted, atol=1e-12, rtol=0)
    torch.testing.assert_close(whole, wanted, atol=1e-12, rtol=0)


def test_embeddings_are_the_papers(model):
    """Sections 3.4 and 3.5, formula by formula."""
    D, ids = SMALL.hidden_size, random_ids(1, 20)
    found = model.encoder_embeddings(ids, torch.arange(20)[None])[0]
    for position in range(20):
        for i in range(D // 2):
            angle = position / 10000 ** (2 * i / D)
            word = model.encoder_embeddings.word.weight[ids[0, position], 2 * i : 2 * i + 2] * math.sqrt(D)
            wanted = word + torch.tensor([math.sin(angle), math.cos(angle)], dtype=torch.float64)
            torch.testing.assert_close(found[position, 2 * i : 2 * i + 2], wanted, atol=1e-6, rtol=0)  # float32 table


def test_base_model_is_that_of_table_3():
    with torch.device("meta"):
        paper = TransformerForConditionalGeneration(TransformerConfig())
    assert (
        round(paper.num_parameters(), -6) == 63_000_000
    )  # 65 million in the table, of which 2 are another vocabulary's
    words = paper.backbone.encoder_embeddings.word.weight
    assert paper.head.output.weight is words is paper.backbone.decoder_embeddings.word.weight


def test_a_new_model_is_saved_opened_and_trained(tmp_path):
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(SMALL)
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(again) is TransformerForConditionalGeneration and again.config == AutoConfig.from_pretrained(tmp_path)
    source, labels = random_ids(2, 5), random_ids(2, 4, seed=1)
    assert torch.equal(model(source, labels=labels).logits, again(source, labels=labels).logits)
    first = again(source, labels=labels, label_smoothing=0.1).loss
    for parameter, gradient in zip(
        again.parameters(), torch.autograd.grad(first, list(again.parameters())), strict=True
    ):
        parameter.data -= 0.1 * gradient
    assert again(source, labels=labels, label_smoothing=0.1).loss < first
    shifted = again.shift_right(labels)
    assert shifted[:, 0].tolist() == [2, 2] and torch.equal(shifted[:, 1:], labels[:, :-1])


def test_label_smoothing():
    """The target keeps 90 % of its share; the rest is spread over all words, the right one included."""
    logits, labels = torch.randn(2, 3, 7, dtype=torch.float64), torch.tensor([[1, 2, -100], [0, 6, 3]])
    share = torch.full_like(logits, 0.1 / 7).scatter_add(
        2, labels.clamp(min=0)[..., None], torch.full((2, 3, 1), 0.9).double()
    )
    wanted = -(share * logits.log_softmax(-1)).sum(-1)[labels != -100].mean()
    torch.testing.assert_close(token_loss(logits, labels, label_smoothing=0.1), wanted, atol=1e-7, rtol=0)


def test_one_vocabulary_is_needed_to_share_it():
    with pytest.raises(ConfigError, match="tie_word_embeddings needs one vocabulary, but src_vocab_size is 60"):
        TransformerConfig.from_hf({"src_vocab_size": 60, "tgt_vocab_size": 70})
    with pytest.raises(ConfigError, match="d_model=512 is not a multiple of decoder_attention_heads=7"):
        TransformerConfig.from_hf({"decoder_attention_heads": 7})


# ------------------------------------------------------------------------------------------------------------- FSMT


def test_fsmt_without_a_head(tmp_path):
    """The reference's base model scores words already; its vectors are the decoder's last hidden state."""
    reference = reference_twin("FSMTModel", **twins.CONFIG)
    reference.save_pretrained(tmp_path)
    ours = AutoModel.from_pretrained(tmp_path, dtype=torch.float64)
    assert type(ours) is FSMTModel
    ids, mask = padded([3, 9], "left", 1)
    target = padded([5, 2], "right", 1, seed=3)[0]  # hides its padding by itself
    with torch.no_grad():
        wanted = reference(ids, mask, target, output_hidden_states=True).decoder_hidden_states[-1]
        found = ours(ids, mask, target).last_hidden_state
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="pass decoder_input_ids"):
        ours(ids)


def test_fsmt_positions_far_out():
    """Computed in float32, as the table that these models were trained with: bit by bit."""
    from transformers.models.fsmt.modeling_fsmt import SinusoidalPositionalEmbedding

    model = FSMTModel(FSMTConfig.from_hf({**twins.CONFIG, "max_position_embeddings": 1024}))
    wanted = SinusoidalPositionalEmbedding.get_embedding(1024 + 2, twins.CONFIG["d_model"], 1)
    assert torch.equal(model.encoder_embeddings.position.table, wanted)


@pytest.mark.parametrize("names", ["embed_tokens", "both"])
def test_fsmt_files_name_the_targets_table_in_two_ways(tmp_path, names):
    from safetensors.torch import load_file, save_file

    reference_twin("FSMTForConditionalGeneration", **twins.CONFIG).save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    table = file.pop("model.decoder.output_projection.weight")
    file["model.decoder.embed_tokens.weight"] = table
    if names == "both":
        file["model.decoder.output_projection.weight"] = table.clone()
    save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ours = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert (
        torch.equal(ours.head.output.weight, table)
        and ours.head.output.weight is ours.backbone.decoder_embeddings.word.weight
    )
    assert ours.backbone.encoder_embeddings.word.weight.shape != table.shape


def test_fsmt_needs_a_padding_id():
    with pytest.raises(ConfigError, match="fsmt needs pad_token_id"):
        FSMTConfig.from_hf({"pad_token_id": None})
