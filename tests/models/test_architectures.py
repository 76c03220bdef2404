"""docs/architectures.md tells the truth: its table against the models, built at the published sizes without memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

from minitransformer.layers import LearnedPositions, RelativePositions, RMSNorm, Rotary, SinusoidalPositions
from minitransformer.models.auto import ARCHITECTURES, AutoModel, architecture
from minitransformer.weights import without_memory

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"

PUBLISHED = {  # what the published config.json says beyond the defaults
    "albert": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "bart": {
        "d_model": 768,
        **dict.fromkeys(["encoder_layers", "decoder_layers"], 6),
        **dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim"], 3072),
        **dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 12),
    },
    "electra": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
    "marian": {
        "d_model": 512,
        **dict.fromkeys(["encoder_layers", "decoder_layers"], 6),
        **dict.fromkeys(["encoder_ffn_dim", "decoder_ffn_dim"], 2048),
        **dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], 8),
        **dict.fromkeys(["vocab_size", "decoder_vocab_size"], 58101),
        "pad_token_id": 58100,
        "max_position_embeddings": 512,
        "activation_function": "swish",
    },
    "mbart": {"vocab_size": 250027},
    "qwen2": {
        **{"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
        **{"num_attention_heads": 14, "num_key_value_heads": 2},
    },
    "qwen3": {
        **{"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28},
        **{"num_attention_heads": 16, "num_key_value_heads": 8},
    },
    "pegasus": {
        **{"vocab_size": 96103, "scale_embedding": True, "activation_function": "relu"},
        **dict.fromkeys(["encoder_layers", "decoder_layers"], 16),
    },
    "roberta": {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1},
    "t5": {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}


def rows() -> list[dict[str, str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


@pytest.fixture(params=rows(), ids=lambda row: row["architecture"])
def row_and_model(request):
    model_type = re.findall(r"`(.*?)`", request.param["`model_type`"])[0]
    config = architecture(model_type).config.from_hf(PUBLISHED.get(model_type, {}))
    with without_memory():
        return request.param, AutoModel.class_for(config)(config)


def test_all_architectures_have_a_row():
    named = {name for row in rows() for name in re.findall(r"`(.*?)`", row["`model_type`"])}
    assert named == set(ARCHITECTURES)


def test_parameters(row_and_model):
    row, model = row_and_model
    assert row["parameters"].startswith(f"{model.num_parameters() / 1e6:.1f} M")


def test_stack_and_wiring(row_and_model):
    row, model = row_and_model
    names = {type(module).__name__ for module in model.modules()}
    assert row["stack"] == "-".join(side for side in ("encoder", "decoder") if hasattr(model, side))
    wiring, norm = row["wiring, norm"].split(", ")
    kinds = {name[:7] for name in names if name.endswith("Block")}
    assert kinds == {"PostNor" if wiring == "post" else "PreNorm"}
    norms = {type(module) for module in model.modules() if isinstance(module, nn.LayerNorm | RMSNorm)}
    assert norms == {nn.LayerNorm if norm == "LayerNorm" else RMSNorm}
    stacks = [getattr(model, side) for side in ("encoder", "decoder") if hasattr(model, side)]
    assert all((getattr(stack, "final_norm", None) is not None) == (wiring == "pre and final") for stack in stacks)


def test_activation(row_and_model):
    row, model = row_and_model
    if "activation" in type(model.config).__dataclass_fields__:
        said = row["activation"].split(" called ")[-1].strip('"').split(",")[0]
        assert model.config.activation == said


def test_positions(row_and_model):
    row, model = row_and_model
    kind = row["positions"].split(",")[0]
    if row["architecture"] == "Transformer-XL":
        assert kind == "relative" and not any(isinstance(m, LearnedPositions) for m in model.modules())
        return
    expected = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions, "relative buckets": RelativePositions}
    expected["rotary"] = Rotary
    found = {parent for parent in expected.values() if any(isinstance(m, parent) for m in model.modules())}
    assert found == {expected[kind]}
