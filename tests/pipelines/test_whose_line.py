"""A warning points at the line that the user wrote, wherever in this package it was found out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minitransformer import AutoConfig, AutoModelForCausalLM, GenerationConfig, pipeline

FAMOUS: dict[str, dict[str, Any]] = {
    "bert": {"directionality": "bidi", "pooler_fc_size": 768, "pooler_num_fc_layers": 3, "pooler_type": "first"},
    "bart": {"student_encoder_layers": None, "student_decoder_layers": None, "replacing_rate": 0, "save_step": 14},
    "distilbert": {"finetuning_task": "sst-2", "tie_weights_": True, "sinusoidal_pos_embds": False},
    "gpt2": {"n_ctx": 1024, "summary_type": "cls_index"},
    "t5": {"n_positions": 512, "output_past": True},
}
"""Keys in the config.json of published checkpoints that nobody reads today."""


def places(call: Callable[[], Any]) -> set[str]:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    ours = [w for w in found if "SwigPy" not in str(w.message)]
    assert ours, "nothing was said"
    return {Path(w.filename).name for w in ours}


def test_generating_with_options_of_no_effect(checkpoint: Callable[[str], Path]) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint("gpt2"))
    ids = torch.tensor([[1, 2, 3]])
    pipe = pipeline("text-generation", str(checkpoint("gpt2")), device="cpu")
    for call in (
        lambda: model.generate(ids, temperature=0.5, do_sample=False, max_new_tokens=2),
        lambda: model.generate(ids, max_new_tokens=2, max_length=9),
        lambda: model.generate(ids, max_new_tokens=500),
        lambda: pipe("The fox", max_new_tokens=500, do_sample=False),
        lambda: GenerationConfig.from_hf({"made_up": 3}),
    ):
        assert places(call) == {"test_whose_line.py"}


def test_a_translation_that_names_no_languages(checkpoint: Callable[[str], Path]) -> None:
    assert places(lambda: pipeline("translation", str(checkpoint("bart-params")))) == {"test_whose_line.py"}


def test_keys_of_no_config(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    config = json.loads((checkpoint("gpt2") / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "made_up": 3}))
    assert places(lambda: AutoConfig.from_pretrained(tmp_path)) == {"test_whose_line.py"}


@pytest.mark.parametrize("model_type", FAMOUS)
def test_famous_checkpoints_are_met_with_no_guesses(model_type: str) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        AutoConfig.from_dict({"model_type": model_type, **FAMOUS[model_type]})
    assert not [str(w.message) for w in found if "Did you mean" in str(w.message)]
