"""Modules of a user's own in a model: filled from files, saved, made again; or refused, before anything is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_folders
import torch
from torch import nn
from training.toy_run import NextToken

import minitransformer
import minitransformer.models.common.parts as parts_module
from minitransformer import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    MinitransformerError,
    register_part,
)
from minitransformer.errors import ArgumentError, CheckpointError, ConfigError, RegistrationError
from minitransformer.layers import FeedForward, GatedFeedForward, MultiHeadAttention, arguments_of, like
from minitransformer.models.bert import BertForSequenceClassification, BertModel
from minitransformer.models.gpt2 import GPT2LMHeadModel
from minitransformer.training import Settings, Trainer
from minitransformer.weights import Row, linear

ATTENTION, ENCODER = "decoder.blocks.*.attn", "encoder.blocks.*.attn"


class Gain(MultiHeadAttention):
    """The usual attention, times a number."""

    def __init__(self, hidden_size: int, num_heads: int, *, start: float = 2.0, **options) -> None:
        super().__init__(hidden_size, num_heads, **options)
        self.start = start
        self.gain = nn.Parameter(torch.tensor([start]))

    def forward(self, x, view=None):
        return self.gain * super().forward(x, view)


class Swish(nn.Module):
    """A feed-forward network with other names than ours, which says itself how it begins."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.opened, self.wide = nn.Linear(hidden_size, intermediate_size), nn.Linear(hidden_size, intermediate_size)
        self.narrow = nn.Linear(intermediate_size, hidden_size)

    def reset_parameters(self) -> None:
        nn.init.constant_(self.wide.weight, 0.25)

    def forward(self, x):
        return self.narrow(nn.functional.silu(self.opened(x)) * self.wide(x))


class OneKey(nn.Module):
    """Attention whose keys are narrower than its queries, so that a file's fused matrix cannot fill them."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.query, self.output = nn.Linear(hidden_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.key = self.value = nn.Linear(hidden_size, hidden_size // num_heads)

    def forward(self, x, view=None):
        return self.output(self.query(x)) + self.key(x).mean()


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "PARTS", {})
    register_part("gain", Gain)
    register_part("swish", Swish)


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return tiny_folders.gpt2(tmp_path / "gpt2")


IDS = torch.tensor([[5, 6, 7, 8]])


def test_a_part_is_filled_from_the_file_and_its_new_parameters_begin_as_it_says(gpt2):
    plain = AutoModelForCausalLM.from_pretrained(gpt2)
    model = AutoModelForCausalLM.from_pretrained(
        gpt2, parts={ATTENTION: like(Gain, start=3.0), "blocks.1.ffn": like(Swish)}, new_parameters=["gain", "ffn.*"]
    )
    for name, parameter in plain.named_parameters():
        if ".1.ffn." not in name:
            assert torch.equal(model.get_parameter(name), parameter), name
    first, last = model.backbone.decoder.blocks
    assert first.attn.gain.item() == last.attn.gain.item() == 3.0
    assert (
        last.ffn.wide.weight.eq(0.25).all() and last.ffn.narrow.weight.std() < 0.03 and type(first.ffn) is FeedForward
    )
    assert not model.training and not any(p.is_meta for p in model.parameters())
    neutral = AutoModelForCausalLM.from_pretrained(
        gpt2, parts={ATTENTION: like(Gain, start=1.0)}, new_parameters="gain"
    )
    assert torch.equal(neutral(IDS).logits, plain(IDS).logits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_new_modules_get_type_and_place_of_the_model(gpt2, dtype):
    model = AutoModelForCausalLM.from_pretrained(
        gpt2, parts={ATTENTION: like(Gain)}, new_parameters="gain", dtype=dtype
    )
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model(IDS).logits.dtype == dtype


def test_what_is_new_must_be_named_and_what_is_named_must_be_there(gpt2):
    with pytest.raises(CheckpointError, match=r"new_parameters=\['backbone.decoder.blocks.\*.attn.gain'\]"):
        AutoModelForCausalLM.from_pretrained(gpt2, parts={ATTENTION: like(Gain)})
    with pytest.raises(ArgumentError, match="Did you mean 'decoder.blocks.*.attn.gain'"):
        AutoModelForCausalLM.from_pretrained(
            gpt2, parts={ATTENTION: like(Gain)}, new_parameters="decoder.block.*.attn.gain"
        )


@pytest.mark.parametrize("pattern", ["decoder.block.*.attn", "decoder.blocks.*.attention", "encoder.blocks.*.attn"])
def test_a_pattern_that_matches_nothing_names_the_nearest(gpt2, pattern):
    for load in (AutoModelForCausalLM, AutoModel):
        with pytest.raises(ArgumentError, match=r"no part of GPT2\w+ matches .* Did you mean 'decoder.blocks.\*.attn'"):
            load.from_pretrained(gpt2, parts={pattern: like(Gain)})


def test_what_makes_no_module_is_refused(gpt2):
    for wrong in ({ATTENTION: lambda old: 3}, {ATTENTION: 3}, [ATTENTION]):
        with pytest.raises(ArgumentError, match="parts"):
            AutoModelForCausalLM.from_pretrained(gpt2, parts=wrong)


def test_a_part_of_another_shape_is_an_error_unless_it_is_named_new(gpt2):
    wide = {"blocks.*.ffn": like(FeedForward, intermediate_size=40)}
    with pytest.raises(CheckpointError, match="of another shape"):
        AutoModelForCausalLM.from_pretrained(gpt2, parts=wide)
    model = AutoModelForCausalLM.from_pretrained(gpt2, parts=wide, new_parameters="ffn.*")
    assert model.backbone.decoder.blocks[0].ffn.up.out_features == 40


def test_fused_tensors_do_not_fill_what_they_do_not_fit(gpt2, tmp_path):
    parts = {"decoder.blocks.1.attn": lambda old: OneKey(16, 2)}
    with pytest.raises(CheckpointError, match="new_parameters"):
        AutoModelForCausalLM.from_pretrained(gpt2, parts=parts)
    names = ["1.attn.query.*", "1.attn.key.*"]
    model = AutoModelForCausalLM.from_pretrained(gpt2, parts=parts, new_parameters=names)
    assert type(model.backbone.decoder.blocks[0].attn) is MultiHeadAttention
    register_part("one-key", OneKey)
    model.backbone.decoder.blocks[1].attn = OneKey(hidden_size=16, num_heads=2)  # made once more: it now knows how
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")(IDS).logits, model(IDS).logits)


def test_parts_are_saved_and_made_again_with_and_without_a_head(gpt2, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(
        gpt2, parts={ATTENTION: like(Gain), "blocks.0.ffn": like(Swish)}, new_parameters=["gain", "ffn.*"]
    )
    with torch.no_grad():
        model.backbone.decoder.blocks[1].attn.gain.fill_(7.0)
    model.save_pretrained(tmp_path / "head")
    said = json.loads((tmp_path / "head" / "config.json").read_text())["minitransformer"]["parts"]
    assert said["decoder.blocks.0.ffn"] == {"part": "swish", "arguments": {"hidden_size": 16, "intermediate_size": 64}}
    assert said["decoder.blocks.1.attn"]["arguments"]["num_heads"] == 2
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "head")
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    again.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "head" / name).read_bytes()
    base = AutoModel.from_pretrained(tmp_path / "head")
    base.save_pretrained(tmp_path / "base")
    for folder in ("head", "base"):
        base = AutoModel.from_pretrained(tmp_path / folder)
        assert torch.equal(base(IDS).last_hidden_state, model.backbone(IDS).last_hidden_state)
    new = AutoModelForCausalLM.from_config(again.config)
    assert (
        type(new.backbone.decoder.blocks[0].ffn) is Swish
        and new.backbone.decoder.blocks[0].ffn.wide.weight.eq(0.25).all()
    )


def test_cross_attention_shared_blocks_and_heads_are_parts_too(tmp_path):
    folder = tiny_folders.bart(tmp_path / "bart")
    model = AutoModelForSeq2SeqLM.from_pretrained(
        folder, parts={"cross_attn": like(Gain), "encoder.blocks.0.attn": like(Gain)}, new_parameters="gain"
    )
    model.save_pretrained(tmp_path / "saved")
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(IDS, decoder_input_ids=IDS).logits, model(IDS, decoder_input_ids=IDS).logits)

    folder = tiny_folders.bert(tmp_path / "bert")
    once = Gain(16, 2)
    with pytest.raises(CheckpointError, match="should be one tensor, but differ"):
        AutoModelForMaskedLM.from_pretrained(folder, parts={ENCODER: lambda old: once}, new_parameters="gain")
    model = AutoModelForMaskedLM.from_pretrained(folder, parts={"head.dense": lambda old: Linear2(16, 16)})
    with pytest.raises(RegistrationError, match=r"head.dense \(Linear2\)"):
        model.save_pretrained(tmp_path / "head")
    register_part("linear2", Linear2)
    model.save_pretrained(tmp_path / "head")
    assert torch.equal(AutoModelForMaskedLM.from_pretrained(tmp_path / "head")(IDS).logits, model(IDS).logits)
    AutoModel.from_pretrained(tmp_path / "head")  # goes without


class Linear2(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_one_module_in_several_places_stays_one(gpt2, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(gpt2)
    once, attn = Swish(hidden_size=16, intermediate_size=8), Gain(hidden_size=16, num_heads=2)
    for block in model.backbone.decoder.blocks:
        block.ffn, block.attn = once, attn
    model.save_pretrained(tmp_path / "shared")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "shared")
    first, second = again.backbone.decoder.blocks
    assert first.ffn is second.ffn and first.attn is second.attn and torch.equal(again(IDS).logits, model(IDS).logits)


def test_a_table_that_takes_the_words_place_is_shared_with_the_head(gpt2, tmp_path):
    class Loud(nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    register_part("loud", Loud)
    model = AutoModelForCausalLM.from_pretrained(
        gpt2, parts={"embeddings.word": lambda old: Loud(old.num_embeddings, old.embedding_dim)}
    )
    assert model.head.output.weight is model.backbone.embeddings.word.weight
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path / "saved")(IDS).logits, model(IDS).logits)


CHANGES = {
    "another class": lambda blocks: setattr(blocks[0], "attn", OneKey(16, 2)),
    "a function": lambda blocks: setattr(blocks[0].attn, "forward", lambda x, view=None: x),
    "an activation": lambda blocks: setattr(blocks[1].ffn, "activation", torch.relu),
    "a number": lambda blocks: setattr(blocks[1].attn, "temperature", 7.0),
    "a module more": lambda blocks: setattr(blocks[1], "adapter", nn.Linear(3, 3)),
    "a parameter more": lambda blocks: setattr(blocks[1].attn, "gate", nn.Parameter(torch.ones(1))),
    "a block more": lambda blocks: blocks.append(blocks[0]),
    "another width": lambda blocks: setattr(blocks[1].ffn, "up", nn.Linear(16, 65)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_files_cannot_say_is_refused_by_saving_and_by_trainers(gpt2, tmp_path, change):
    model = AutoModelForCausalLM.from_pretrained(gpt2)
    CHANGES[change](model.backbone.decoder.blocks)
    with pytest.raises(RegistrationError, match=r"decoder.blocks.*register_part"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists() or not any((tmp_path / "saved").iterdir())
    with pytest.raises(RegistrationError, match="register_part"):
        Trainer(model, NextToken(), [{"input_ids": [1, 2]}], Settings(steps=1), tmp_path / "run")
    arguments = minitransformer.TrainingArguments(str(tmp_path / "out"), report_to="none")
    with pytest.raises(RegistrationError, match="register_part"):
        minitransformer.Trainer(model, arguments, train_dataset=[{"input_ids": [1]}])


def test_what_may_change_does_not_hinder_saving(gpt2, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(gpt2)
    model.resize_token_embeddings(model.config.vocab_size + 3)
    model.gradient_checkpointing_enable()
    model.backbone.decoder.blocks[0].dropout.p = 0.3
    model.backbone.decoder.blocks[0].attn.dropout = 0.3
    model.requires_grad_(False).train()
    model.backbone.decoder.blocks[0].register_forward_hook(lambda *args: None)
    model.save_pretrained(tmp_path / "saved")
    BertModel.from_pretrained(tiny_folders.bert(tmp_path / "bert"), add_pooling_layer=False).save_pretrained(
        tmp_path / "b"
    )


def test_parts_that_could_not_be_made_again_are_refused(gpt2, tmp_path):
    class Counts(nn.Module):
        def __init__(self, hidden_size: int) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x):
            return x

    class Takes(nn.Module):
        def __init__(self, module) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x):
            return self.inner(x)

    register_part("counts", Counts)
    register_part("takes", Takes)
    model = AutoModelForCausalLM.from_pretrained(gpt2, parts={"blocks.0.ffn": lambda old: Counts(3)})
    model.save_pretrained(tmp_path / "saved")
    model.backbone.decoder.blocks[0].ffn.seen += 1
    with pytest.raises(RegistrationError, match="other buffers"):
        model.save_pretrained(tmp_path / "saved")
    model = AutoModelForCausalLM.from_pretrained(gpt2)
    model.backbone.decoder.blocks[0].ffn = Takes(model.backbone.decoder.blocks[0].ffn)
    with pytest.raises(RegistrationError, match="module=<FeedForward>.*numbers, texts"):
        model.save_pretrained(tmp_path / "saved")
    model.backbone.decoder.blocks[0].ffn = changed = Swish(16, 8)
    changed.wide = nn.Linear(16, 9)
    with pytest.raises(RegistrationError, match="other parameters"):
        model.save_pretrained(tmp_path / "saved")


BAD = [
    {"parts": {"decoder.blocks.0.ffn": {"part": "swish2", "arguments": {}}}},
    {"parts": {"decoder.blocks.0.ffn": {"part": "swish", "arguments": {"hidden": 3}}}},
    {"parts": {"decoder.blocks.0.ffn": {"part": "swish", "arguments": {"hidden_size": -3, "intermediate_size": 3}}}},
    {"parts": {"decoder.blocks.0.ffn": {"part": "swish", "arguments": {"hidden_size": {"__class__": "os"}}}}},
    {
        "parts": {
            "decoder.blocks.0.ffn": {"part": "swish", "arguments": {"hidden_size": 2**23, "intermediate_size": 2**23}}
        }
    },
    {
        "parts": {
            "decoder.blocks.0.ffn": {"part": "swish", "arguments": {"hidden_size": 10**30, "intermediate_size": 3}}
        }
    },
    {"parts": {"decoder.blocks.7.ffn": {"part": "swish", "arguments": {"hidden_size": 3, "intermediate_size": 3}}}},
    {"parts": {"decoder.blocks.0.ffn": {"part": ["swish"], "arguments": {}}}},
    {"parts": {"decoder.blocks.0.ffn": {"shared_with": "nowhere"}}},
    {"parts": {"decoder.blocks.0.ffn": "swish"}},
    {"parts": ["swish"]},
    {"module": "os", "parts": {}},
]


@pytest.mark.parametrize("said", BAD, ids=str)
def test_configs_whose_parts_cannot_be_made_are_refused_in_one_sentence(gpt2, said):
    raw = json.loads((gpt2 / "config.json").read_text())
    (gpt2 / "config.json").write_text(json.dumps({**raw, "minitransformer": said}))
    for load in (AutoModel, AutoModelForCausalLM):
        with pytest.raises(ConfigError) as caught:
            load.from_pretrained(gpt2)
        assert len(str(caught.value).splitlines()) == 1
    if said == BAD[0]:
        assert "'swish2'" in str(caught.value) and "Did you mean 'swish'" in str(caught.value)


def test_two_registrations_of_one_name_are_refused():
    register_part("gain", Gain)  # the same once more
    with pytest.raises(RegistrationError, match="'gain' is registered already, as .*Gain: choose another name"):
        register_part("gain", Swish)
    for name, cls in (("", Swish), (3, Swish), ("x", Swish(2, 2)), ("x", dict)):
        with pytest.raises(RegistrationError):
            register_part(name, cls)


def test_layers_say_with_what_they_were_made():
    given = {"hidden_size": 8, "num_heads": 2, "bias": False, "dropout": 0.25}
    assert arguments_of(MultiHeadAttention(**given)) == given
    assert arguments_of(Gain(8, 2, start=1.0, bias=False)) == {
        "hidden_size": 8,
        "num_heads": 2,
        "start": 1.0,
        "bias": False,
    }
    assert arguments_of(nn.Linear(3, 4, bias=False)) == {"in_features": 3, "out_features": 4, "bias": False}
    assert arguments_of(nn.LayerNorm(3, eps=0.5))["eps"] == 0.5
    gated = like(GatedFeedForward)(FeedForward(4, 6, "silu", bias=False))
    assert gated.gate.bias is None and gated.gate.out_features == 6
    assert type(like(Swish)(gated)) is Swish


class Scored(BertForSequenceClassification):
    """A head, an adapter and a parameter of its own, of which one has another name in files."""

    WEIGHTS = BertForSequenceClassification.WEIGHTS.extended(
        rows=[linear("regressor", "head.deep")], optional=["adapter.*", "temperature"]
    )

    def __init__(self, config) -> None:
        super().__init__(config)
        self.head = Deep(config.hidden_size, config.num_labels)
        for block in self.backbone.encoder.blocks:
            block.ffn = Adapted(block.ffn, config.hidden_size)
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def answer(self, output, labels):
        found = super().answer(output, labels)
        found.logits = found.logits / self.temperature
        return found


class Deep(nn.Module):
    def __init__(self, hidden_size: int, num_labels: int) -> None:
        super().__init__()
        self.deep, self.last = nn.Linear(hidden_size, 5), nn.Linear(5, num_labels)

    def forward(self, x):
        return self.last(self.deep(x))


class Adapted(FeedForward):
    def __init__(self, old: FeedForward, hidden_size: int) -> None:
        super().__init__(**arguments_of(old))
        self.adapter = nn.Linear(hidden_size, hidden_size)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.adapter.weight)

    def forward(self, x):
        return super().forward(x) + self.adapter(x)


def test_a_subclass_with_parts_of_its_own_loads_trains_saves_and_loads(tmp_path):
    from safetensors import safe_open

    folder = tiny_folders.bert(tmp_path / "bert", "Model")
    with pytest.warns(UserWarning, match="start from random numbers: head.deep.weight"):
        model = Scored.from_pretrained(folder, num_labels=3)
    assert model.backbone.encoder.blocks[0].ffn.adapter.weight.eq(0).all() and model.temperature.item() == 2.0
    model(IDS).logits.square().sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert {"regressor.weight", "head.last.weight", "temperature", "bert.encoder.blocks.0.ffn.adapter.weight"} <= names
    again = Scored.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
    torch.testing.assert_close(
        again(IDS).logits, model(IDS).logits
    )  # sums of few numbers vary with their place in memory
    with pytest.raises(MinitransformerError, match="Scored"):
        BertForSequenceClassification.from_pretrained(tmp_path / "saved")


def test_rows_that_are_left_out_are_not_read():
    class Other(GPT2LMHeadModel):
        WEIGHTS = GPT2LMHeadModel.WEIGHTS.extended(without=["decoder.blocks.*.ffn.*", "lm_head.weight"])

    names = {row.hf for row in Other.WEIGHTS.backbone}
    assert "h.{i}.attn.c_attn.weight" in names and "h.{i}.mlp.c_fc.weight" not in names
    with pytest.raises(MinitransformerError, match="no row of the weight map matches 'decoder.block.*'"):
        GPT2LMHeadModel.WEIGHTS.extended(without="decoder.block.*")
    with pytest.raises(MinitransformerError, match="twice"):
        GPT2LMHeadModel.WEIGHTS.extended(rows=[Row("a", "head.x"), Row("a", "head.x")])


def test_generate_tells_of_a_block_that_does_not_extend_its_cache(gpt2):
    class Forgets(MultiHeadAttention):
        def forward(self, x, view=None):
            view = view and type(view)(view.attention_mask, causal=view.causal)
            return super().forward(x, view)

    model = AutoModelForCausalLM.from_pretrained(gpt2, parts={"decoder.blocks.1.attn": like(Forgets)})
    for options in ({}, {"num_beams": 2}, {"num_return_sequences": 2, "do_sample": True}):
        with pytest.raises(MinitransformerError, match="block 1 did not extend its cache, which holds 0 of 4 tokens"):
            model.generate(IDS, max_new_tokens=3, **options)
    model.generate(IDS, max_new_tokens=3, use_cache=False)
