"""T5: buckets, half precision, the many names of its tables, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.twins import t5 as twins
from models.twins.twin import padded, random_ids
from safetensors.torch import load_file, save_file
from torch import nn

import minitransformer
from minitransformer import AutoModelForSeq2SeqLM
from minitransformer.errors import CheckpointError, ConfigError
from minitransformer.layers import RelativePositions, RMSNorm, relative_buckets
from minitransformer.models.t5 import T5Config, T5EncoderModel, T5ForSequenceClassification, T5Model
from minitransformer.testing import reference_twin

UNTIED = {**twins.CONFIG, "tie_word_embeddings": False, "feed_forward_proj": "gated-gelu"}


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 12), (6, 5), (64, 1000)])
def test_buckets(bidirectional, num_buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(-3000, 3001)[None]
    found = relative_buckets(distances, num_buckets, max_distance, bidirectional=bidirectional)
    options = {"bidirectional": bidirectional, "num_buckets": num_buckets, "max_distance": max_distance}
    assert torch.equal(found, T5Attention._relative_position_bucket(distances, **options))
    assert 0 <= int(found.min()) and int(found.max()) == num_buckets - 1 and not found.is_floating_point()


def test_the_last_query_is_the_last_key():
    positions = RelativePositions(8, 3, max_distance=12, bidirectional=False)
    whole = positions(9, 9)
    assert whole.shape == (1, 3, 9, 9)
    assert torch.equal(positions(2, 9), whole[:, :, -2:]) and torch.equal(positions(1, 9), whole[:, :, -1:])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_norm(dtype):
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    ours, theirs = RMSNorm(24, eps=1e-5).to(dtype), T5LayerNorm(24, eps=1e-5).to(dtype)
    nn.init.normal_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    x = 300 * torch.randn(2, 5, 24).to(dtype)
    assert ours(x).dtype == dtype
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5 if dtype == torch.float64 else 0, rtol=0)  # see ``wide``


@pytest.mark.parametrize("config", [twins.CONFIG, UNTIED], ids=["relu", "gated"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tmp_path, config, dtype):
    """The feed-forward's last projection stays in float32 in a float16 model, as transformers keeps it."""
    twin = reference_twin("T5ForConditionalGeneration", dtype=torch.float32, **config)
    twin.save_pretrained(tmp_path)
    ours = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=dtype)
    theirs = type(twin).from_pretrained(tmp_path, dtype=dtype)
    types = {name: p.dtype for name, p in ours.named_parameters()}
    kept = {name for name, found in types.items() if found != dtype}
    assert kept == ({name for name in types if name.endswith("ffn.down.weight")} if dtype == torch.float16 else set())
    ids, mask = padded([9, 4], "right", 0)
    target = random_ids(2, 6, seed=1)
    with torch.no_grad():
        found = ours(ids, mask, decoder_input_ids=target).logits
        wanted = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=target).logits
        exact = twin(input_ids=ids, attention_mask=mask, decoder_input_ids=target).logits
    assert found.dtype == wanted.dtype == dtype
    error, theirs_error = (float((x.float() - exact).pow(2).mean().sqrt()) for x in (found, wanted))
    assert error <= 1.5 * theirs_error + 1e-3  # rounding of this size, in another order of the fused kernel


def test_what_overflows_in_float16_is_put_back(tmp_path):
    twin = reference_twin("T5ForConditionalGeneration", dtype=torch.float32, **twins.CONFIG)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name.endswith(("DenseReluDense.wo.weight", "SelfAttention.o.weight", "EncDecAttention.o.weight")):
                parameter.mul_(4e4 / parameter.abs().max())
    twin.save_pretrained(tmp_path)
    ours = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float16)
    out = ours(random_ids(2, 9), decoder_input_ids=random_ids(2, 6), output_hidden_states=True)
    assert out.logits.isfinite().all() and out.encoder_last_hidden_state.isfinite().all()
    assert all(x.isfinite().all() for x in out.decoder_hidden_states)


@pytest.mark.parametrize("name", ["shared", "encoder.embed_tokens", "decoder.embed_tokens"])
@pytest.mark.parametrize("config", [twins.CONFIG, UNTIED], ids=["tied", "untied"])
def test_files_with_one_of_the_tables(tmp_path, name, config):
    """Also a head of its own beside the decoder's name alone, where transformers 5 took it for the words (#48154)."""
    reference_twin("T5ForConditionalGeneration", **config).save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    words = file.pop("shared.weight")
    file[f"{name}.weight"] = words
    save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float64)
    for embeddings in (model.backbone.encoder_embeddings, model.backbone.decoder_embeddings):
        assert torch.equal(embeddings.word.weight, words)
    assert torch.equal(model.head.output.weight, file.get("lm_head.weight", words))
    assert torch.equal(T5Model.from_pretrained(tmp_path, dtype=torch.float64).encoder_embeddings.word.weight, words)


def test_the_head_alone_holds_tied_words(tmp_path):
    reference_twin("T5ForConditionalGeneration", **twins.CONFIG).save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    file["lm_head.weight"] = words = file.pop("shared.weight")
    save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for head in ("", "ForSeq2SeqLM", "ForTextEncoding"):
        model = getattr(minitransformer, f"AutoModel{head}").from_pretrained(tmp_path, dtype=torch.float64)
        assert any(torch.equal(parameter, words) for parameter in model.parameters())


def loaded(tmp_path: Any, name: str, ours: Any, **options: Any) -> Any:
    reference_twin(name, **twins.CONFIG).save_pretrained(tmp_path)
    return ours.from_pretrained(tmp_path, dtype=torch.float64, **options)


@pytest.mark.parametrize("name", ["T5Model", "T5ForConditionalGeneration", "T5ForSequenceClassification"])
def test_names_with_and_without_prefix(tmp_path, name):
    """Files of the classifiers call the backbone ``transformer.``, others do not: each opens as each."""
    model = loaded(tmp_path, name, T5Model)
    encoder = T5EncoderModel.from_pretrained(tmp_path, dtype=torch.float64)
    classifier = T5ForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float64, allow_missing_head=True)
    ids = random_ids(2, 5)
    wanted = model.encode(ids)
    assert torch.equal(encoder(ids).last_hidden_state, wanted)
    assert torch.equal(classifier.backbone.encode(ids), wanted)


def test_a_head_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="has no such head"):
        reference_twin("T5ForConditionalGeneration", **twins.CONFIG).save_pretrained(tmp_path)
        minitransformer.AutoModelForQuestionAnswering.from_pretrained(tmp_path, allow_missing_head=False)
    with pytest.raises(CheckpointError, match="has no such head"):
        minitransformer.AutoModelForTokenClassification.from_pretrained(tmp_path, allow_missing_head=False)


def test_old_files_have_a_table_too_many(tmp_path):
    reference_twin("T5ForConditionalGeneration", **twins.CONFIG).save_pretrained(tmp_path)
    file = load_file(tmp_path / "model.safetensors")
    file["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = torch.zeros(8, 4)
    save_file(file, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path)


def test_decoder_inputs(tmp_path):
    model = loaded(tmp_path, "T5ForConditionalGeneration", AutoModelForSeq2SeqLM)
    labels = torch.tensor([[5, 6, -100]])
    assert model.shift_right(labels).tolist() == [[0, 5, 6]]
    with pytest.raises(ValueError, match="pass decoder_input_ids"):
        model(random_ids(1, 4))


def test_new_models_begin_as_mesh_tensorflow_begins():
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(T5Config(vocab_size=500, hidden_size=200, intermediate_size=800))
    stack, positions = model.backbone.decoder, model.backbone.decoder_positions
    block = stack.blocks[1]
    for layer, std in {
        model.head.output: 1.0,
        positions.bias: 200**-0.5,
        block.attn.query: (200 * 64) ** -0.5,
        block.cross_attn.key: 200**-0.5,
        block.attn.output: 512**-0.5,
        block.ffn.up: 200**-0.5,
        block.ffn.down: 800**-0.5,
    }.items():
        assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.15)
    assert float(block.ffn_norm.weight.detach().std()) == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"feed_forward_proj": "gated-glu"}, "unknown activation 'glu'"),
        ({"feed_forward_proj": "double-gelu"}, "unknown activation 'double-gelu'"),
        ({"relative_attention_num_buckets": 2}, "relative_attention_num_buckets=2 must be at least 4"),
        ({"relative_attention_max_distance": 16}, "relative_attention_max_distance=16 more than half"),
        ({"is_decoder": True}, "is_decoder=True is not supported"),
        ({"d_kv": "64"}, "d_kv in config.json must be int"),
    ],
)
def test_configs_that_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        T5Config.from_hf(config)
