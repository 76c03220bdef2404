"""Where source and target have vocabularies of their own, options about tokens speak of the target's, as in 4.57."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

from minitransformer import AutoModelForSeq2SeqLM, GenerationError
from minitransformer.testing import reference_twin

pytestmark = pytest.mark.filterwarnings("ignore")  # of lengths

SIZES = dict(
    d_model=24, encoder_layers=2, decoder_layers=2, encoder_attention_heads=3, decoder_attention_heads=2,
    encoder_ffn_dim=40, decoder_ffn_dim=30, max_position_embeddings=64,
)  # fmt: skip
VOCABULARIES = {"target larger": (20, 30), "target smaller": (30, 20), "equal": (25, 25)}


def twin(family: str, source: int, target: int) -> Any:
    if family == "fsmt":
        return reference_twin(
            "FSMTForConditionalGeneration", src_vocab_size=source, tgt_vocab_size=target, langs=["en", "de"], **SIZES
        )
    model = reference_twin(
        "MarianMTModel",
        vocab_size=source,
        decoder_vocab_size=target,
        share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False,
        pad_token_id=1,
        eos_token_id=0,
        decoder_start_token_id=1,
        forced_eos_token_id=0,
        **SIZES,
    )
    words = torch.nn.Embedding(target, SIZES["d_model"], dtype=torch.float64)  # theirs has as many as the source
    model.model.decoder.embed_tokens = words.requires_grad_(False)
    return model


FAMILIES = [(family, sizes) for family in ("fsmt", "marian") for sizes in VOCABULARIES]


@pytest.fixture(scope="module", params=FAMILIES, ids=" ".join)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    family, sizes = request.param
    folder: Path = tmp_path_factory.mktemp(family)
    theirs = twin(family, *VOCABULARIES[sizes])
    theirs.save_pretrained(folder)
    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float64), theirs


def sizes(model: Any) -> tuple[int, int]:
    return model.config.vocab_size, model.config.target_vocab_size


def counts_the_target(theirs: Any) -> bool:
    """4.57 fails with beams where the size that it goes by is the source's (Marian)."""
    return bool(theirs.config.vocab_size == theirs.lm_head.out_features) if hasattr(theirs, "lm_head") else True


OPTIONS: dict[str, Any] = {
    "nothing": lambda last: {},
    "bad words": lambda last: {"bad_words_ids": [[last], [last - 1, 3]]},
    "suppressed": lambda last: {"suppress_tokens": [last, 4], "begin_suppress_tokens": [last - 1]},
    "biased": lambda last: {"sequence_bias": {(last,): 3.0}},
    "an end of its own": lambda last: {"eos_token_id": last, "min_new_tokens": 3, "pad_token_id": 1},
    "several ends": lambda last: {"eos_token_id": [0, last], "pad_token_id": 1},
    "forced": lambda last: {"forced_bos_token_id": last, "forced_eos_token_id": last - 1},
    "beams": lambda last: {"num_beams": 3, "bad_words_ids": [[last]]},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_name_tokens_of_the_target(models: tuple[Any, Any], name: str) -> None:
    ours, theirs = models
    source, target = sizes(ours)
    if name == "beams" and not counts_the_target(theirs):
        return
    ids = torch.randint(3, source, (3, 7), generator=torch.Generator().manual_seed(1))
    options = {"max_new_tokens": 8, "num_beams": 1, **OPTIONS[name](target - 1)}
    assert ours.generate(ids, **options).tolist() == theirs.generate(ids, **options).tolist()


def test_tokens_that_the_target_lacks_are_refused(models: tuple[Any, Any]) -> None:
    ours, _ = models
    source, target = sizes(ours)
    ids = torch.full((1, 4), source - 1)
    for option in ({"bad_words_ids": [[target]]}, {"suppress_tokens": [target]}, {"forced_bos_token_id": target}):
        with pytest.raises(GenerationError, match=f"vocabulary is 0 to {target - 1}"):
            ours.generate(ids, **option)
    for start in ({"decoder_start_token_id": target}, {"decoder_input_ids": torch.tensor([[target]])}):
        with pytest.raises(GenerationError, match=f"the target's vocabulary is 0 to {target - 1}"):
            ours.generate(ids, **start)
    with pytest.raises(GenerationError, match=f"the model's vocabulary is 0 to {source - 1}"):
        ours.generate(ids + 1)
    if source > target:
        for name, value in (("encoder_repetition_penalty", 1.5), ("encoder_no_repeat_ngram_size", 2)):
            with pytest.raises(GenerationError, match=f"{name} looks for the source's tokens"):
                ours.generate(ids, **{name: value})


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}])
@pytest.mark.parametrize("normalize", [False, True])
def test_transition_scores(models: tuple[Any, Any], options: dict[str, Any], normalize: bool) -> None:
    if not counts_the_target(models[1]):
        return
    scores = []
    for model in models:
        ids = torch.arange(3, 15).view(2, 6)
        output = model.generate(
            ids, max_new_tokens=6, **{"num_beams": 1, **options}, output_scores=True, return_dict_in_generate=True
        )
        beams = getattr(output, "beam_indices", None)
        scores.append(
            model.compute_transition_scores(output.sequences, output.scores, beams, normalize_logits=normalize)
        )
    torch.testing.assert_close(scores[0].double(), scores[1].double(), atol=1e-5, rtol=1e-5)
