"""What encoder-decoders write, token for token as transformers: greedy and with beams, sources of unequal length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models.twins import m2m100, marian, mbart, pegasus, t5, transformer
from models.twins.twin import Twin, padded

import minitransformer
from minitransformer.testing import reference_twin

VARIANTS = ("", "two_vocabularies", "gated_gelu", "untied", "three_way_tied")
TWINS = [
    twin
    for family in (m2m100, marian, mbart, pegasus, t5, transformer)
    for twin in family.TWINS
    if twin.head == "ForSeq2SeqLM" and twin.variant in VARIANTS
]
PLAIN = {"num_beams": 1, "max_length": None, "forced_eos_token_id": None}
OPTIONS = {
    "greedy": {**PLAIN, "max_new_tokens": 12},
    "beams": {**PLAIN, "num_beams": 3, "max_new_tokens": 10},
    "several": {**PLAIN, "num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.5, "max_new_tokens": 8},
    "language": {**PLAIN, "num_beams": 2, "forced_bos_token_id": 7, "bad_words_ids": [[3], [9]], "max_new_tokens": 8},
}


@pytest.fixture(scope="module", params=TWINS, ids=str)
def pair(request, tmp_path_factory) -> tuple[Twin, Any, Any]:
    """A twin whose texts vary, the reference, and ours."""
    twin: Twin = request.param
    folder = tmp_path_factory.mktemp("twin")
    room = {} if twin.name.startswith("T5") else {"max_position_embeddings": 40}
    reference = reference_twin(twin.name, **{**twin.config, "use_cache": True, **room})
    with torch.no_grad():  # with tied tables, a small model goes on repeating a token unless attention is strong
        for name, parameter in reference.named_parameters():
            if parameter.dim() == 2 and parameter.requires_grad and ("attn" in name or "Attention" in name):
                parameter.mul_(3.0)
    reference.save_pretrained(folder)
    return twin, minitransformer.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float64), reference


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_equal_the_reference(pair, options, side):
    twin, ours, reference = pair
    ids, mask = padded([3, 9, 6, 5], side, twin.pad, seed=6)
    named = {"input_ids": ids, "attention_mask": mask, **OPTIONS[options]}
    wanted = reference.generate(**named)
    assert torch.equal(ours.generate(**named), wanted)
    assert wanted.shape[1] > 2
    if options == "greedy":
        assert len({tuple(row) for row in wanted.tolist()}) > 1  # the source counts


def test_the_files_own_options_are_read(pair):
    _, ours, reference = pair
    ids = padded([6], "right", 0)[0]
    assert torch.equal(ours.generate(ids, max_length=15), reference.generate(ids, max_length=15))
    assert ours.generation_config.num_beams == reference.generation_config.num_beams
