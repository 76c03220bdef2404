"""A model made from its config is one that can be trained, and asks a user's modules how they begin."""

from __future__ import annotations

import math

import pytest
import torch
from models.twins import TWINS
from models.twins.twin import Twin, inputs_for
from torch import nn

from minitransformer import AutoConfig, AutoModelForMaskedLM
from minitransformer.models.auto import architecture
from minitransformer.models.bert import BertConfig, BertForMaskedLM, BertModel
from minitransformer.weights import without_memory

LANGUAGE_MODELS = [t for t in TWINS if t.head in ("ForMaskedLM", "ForCausalLM", "ForSeq2SeqLM") and not t.variant]


def config_of(twin: Twin):
    import transformers

    model_type = getattr(transformers, twin.name).config_class.model_type
    return AutoConfig.from_dict({"model_type": model_type, **twin.config})


@pytest.mark.parametrize("twin", TWINS, ids=str)
def test_a_model_made_from_its_config_is_drawn_like_one_of_from_config(twin):
    config = config_of(twin)
    kind = architecture(config.model_type).heads[twin.head or "Model"]
    torch.manual_seed(0)
    ours = kind(config)
    torch.manual_seed(0)
    for (name, a), b in zip(ours.named_parameters(), kind.from_config(config).parameters(), strict=True):
        assert torch.equal(a, b), name
        is_bias = name.endswith("bias") or a.dim() < 2  # Transformer-XL's u and v are matrices of zeros
        assert is_bias or a.numel() == 1 or a.std() > 0, f"{name} is constant"


@pytest.mark.parametrize("twin", LANGUAGE_MODELS, ids=str)
def test_the_first_loss_is_that_of_guessing(twin):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = config_of(twin)
    if config.model_type == "mt5":  # its untied head, as the reference's, has entries of size one and guesses nothing
        config = config.replace(tie_word_embeddings=True)
    model = architecture(config.model_type).heads[twin.head](config).eval()
    inputs, _ = inputs_for(twin, [9, 9], "right")
    labels = inputs.pop("decoder_input_ids", inputs["input_ids"])
    guessing = math.log(getattr(config, "target_vocab_size", config.vocab_size))
    # T5's tables have entries of size one, and an adaptive softmax guesses clusters first
    allowed = 2.0 if config.model_type in ("t5", "mt5", "transfo-xl") else 0.5
    assert abs(model(**inputs, labels=labels).loss.item() - guessing) < allowed


class Own(nn.Module):
    """Parts as users write them."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(4, 4, 3)
        self.token = nn.Parameter(torch.randn(1, 24))
        self.attention = nn.MultiheadAttention(24, 2)
        self.recurrent = nn.LSTM(24, 3)
        self.router = Router()
        self.norm = nn.GroupNorm(2, 4)
        self.lora = Lora(24, 24)


class Router(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, 24))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, 5, 6)


class Lora(nn.Linear):
    def __init__(self, *sizes: int) -> None:
        super().__init__(*sizes)
        self.down = nn.Parameter(torch.randn(2, sizes[0]))
        self.up = nn.Parameter(torch.zeros(sizes[1], 2))


def test_modules_of_a_users_own_say_how_they_begin():
    class OwnModel(BertModel):
        def __init__(self, config: BertConfig) -> None:
            super().__init__(config)
            self.own = Own()
            self.query_token = nn.Parameter(torch.randn(24, 24))

    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = OwnModel(BertConfig(vocab_size=50, **sizes))
    for name, parameter in model.own.named_parameters():
        if parameter.dim() > 1 and name != "lora.up":
            assert parameter.std() > 0, f"{name} is constant"
    assert model.query_token.std() > 0.5 and model.own.token.std() > 0.5 and model.own.lora.down.std() > 0.5
    assert model.own.lora.up.eq(0).all()  # as its constructor says
    assert model.own.router.weight.ge(5).all()
    assert model.own.norm.weight.eq(1).all() and model.own.norm.bias.eq(0).all()
    assert 0.01 < model.own.lora.weight.std() < 0.03 and model.own.lora.bias.eq(0).all()

    router = model.own.router.weight.detach().clone()
    model.initialise(only={"own.convolution.bias"})  # only that one
    assert torch.equal(model.own.router.weight, router)
    kept = model.own.convolution.weight.detach().clone()
    model.initialise(only={"own.convolution.bias"})
    assert torch.equal(model.own.convolution.weight, kept)


def test_a_model_within_a_model_is_drawn_once_and_one_without_memory_never(monkeypatch):
    calls = []
    monkeypatch.setattr(BertModel, "initialise", lambda self, only=None: calls.append(type(self)))
    monkeypatch.setattr(BertForMaskedLM, "initialise", lambda self, only=None: calls.append(type(self)))
    config = BertConfig(vocab_size=50, hidden_size=8, num_layers=1, num_heads=2)
    BertForMaskedLM(config)
    assert calls == [BertForMaskedLM]
    with without_memory():
        model = BertForMaskedLM(config)
    assert calls == [BertForMaskedLM] and all(p.is_meta for p in model.parameters())


def test_weights_made_in_inference_mode_can_be_trained(tmp_path):
    BertForMaskedLM(BertConfig(vocab_size=50, hidden_size=8, num_layers=1, num_heads=2)).save_pretrained(tmp_path)
    with torch.inference_mode():
        model = AutoModelForMaskedLM.from_pretrained(tmp_path)
    ids = torch.tensor([[4, 5, 6]])
    model(ids, labels=ids).loss.backward()
    assert model.get_parameter("backbone.embeddings.word.weight").grad is not None
