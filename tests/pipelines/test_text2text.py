from __future__ import annotations

import pytest
import torch
from pipelines.checkpoints import LONG, TEXTS, same

from minitransformer.errors import PipelineError
from minitransformer.pipelines import pipeline

TASKS = {"text2text-generation": "generated", "summarization": "summary", "translation_en_to_fr": "translation"}
SHORT = {"max_new_tokens": 8}

pytestmark = pytest.mark.filterwarnings("ignore:.generation flags:UserWarning")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_tensors": True},
        {"clean_up_tokenization_spaces": True},
        {"num_beams": 1},
        {"num_beams": 3, "num_return_sequences": 2},
        {"min_length": 5},
        {"length_penalty": 2.0, "early_stopping": True},
        {"no_repeat_ngram_size": 2},
        {"truncation": True},
        {"stop_sequence": "e"},
    ],
)
@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS[:1], TEXTS[:3]])
def test_equals_reference(pair, task, options, inputs):
    mine, theirs = pair(task, "bart")
    result = mine(inputs, **SHORT, **options)
    same(result, theirs(inputs, **SHORT, **options))
    first = result[0][0] if isinstance(result[0], list) else result[0]
    assert next(iter(first)).startswith(TASKS[task])


@pytest.mark.parametrize("task", TASKS)
def test_settings_of_the_task(pair, task):
    mine, theirs = pair(task, "bart-params")
    for name in ("min_length", "max_length", "max_new_tokens", "num_beams"):
        assert getattr(mine.generation_config, name) == getattr(theirs.generation_config, name), name
    for inputs in (TEXTS[0], TEXTS[:2]):
        same(mine(inputs, **SHORT), theirs(inputs, **SHORT))


@pytest.mark.filterwarnings("ignore:.translation. task was used")
def test_translation_without_languages_takes_those_of_the_config(pair, checkpoint):
    with pytest.warns(UserWarning, match="taking 'translation_en_to_fr'"):
        assert pipeline("translation", checkpoint("bart-params")).task == "translation_en_to_fr"
    mine, theirs = pair("translation_en_to_fr", "bart-params")
    options = {**SHORT, "src_lang": "en", "tgt_lang": "fr"}
    same(mine(TEXTS[0], **options), theirs(TEXTS[0], **options))


def test_truncation(pair):
    mine, theirs = pair("summarization", "bart")
    same(mine(LONG, truncation=True, **SHORT), theirs(LONG, truncation=True, **SHORT))
    with pytest.raises(PipelineError, match="the model has positions for 96: pass truncation=True"):
        mine(LONG, **SHORT)


def test_typed_max_length_counts(pair):
    options = {"return_tensors": True, "num_beams": 1, "suppress_tokens": [2]}
    mine, _ = pair("summarization", "bart")
    assert len(mine(TEXTS[0], max_length=10, **options)[0]["summary_token_ids"]) == 10
    alike, theirs = pair("summarization", "bart", compat="transformers", max_new_tokens=14)
    _, theirs = pair("summarization", "bart", max_new_tokens=14)
    same(alike(TEXTS[0], max_length=10, **options), theirs(TEXTS[0], max_length=10, **options))
    mine, theirs = pair("summarization", "bart", max_length=12)
    same(mine(TEXTS[0]), theirs(TEXTS[0]))


def test_typed_options_beat_those_of_the_task(pair):
    mine, theirs = pair("summarization", "bart-params", num_beams=1, max_length=15)
    assert mine.generation_config.num_beams == 1 and mine.generation_config.max_length == 15
    alike, _ = pair("summarization", "bart-params", compat="transformers", num_beams=1, max_length=15)
    assert alike.generation_config.num_beams == theirs.generation_config.num_beams == 2
    same(alike(TEXTS[0]), theirs(TEXTS[0]))


def test_model_settings_and_task_defaults(checkpoint, tmp_path):
    """4.57 lets the task's four beams win over the model's own number, but not its 256 tokens over a max_length."""
    import json
    import shutil

    import transformers

    folder = tmp_path / "model"
    shutil.copytree(checkpoint("bart"), folder)
    path = folder / "generation_config.json"
    values = {"num_beams": 2, "max_length": 12, "no_repeat_ngram_size": 2}
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    theirs = transformers.pipeline("summarization", str(folder), dtype=torch.float64, device=-1)
    mine = pipeline("summarization", folder, dtype=torch.float64, device="cpu")
    for name in ("num_beams", "max_length", "max_new_tokens", "no_repeat_ngram_size"):
        assert getattr(mine.generation_config, name) == getattr(theirs.generation_config, name), name
    same(mine(TEXTS[0]), theirs(TEXTS[0]))


@pytest.mark.parametrize(
    "options",
    [
        SHORT,
        {"max_length": 12, "num_beams": 1},
        {**SHORT, "num_return_sequences": 2},
        {**SHORT, "num_beams": 1, "eos_token_id": list(range(2, 340, 7)), "return_tensors": True},
        {**SHORT, "encoder_no_repeat_ngram_size": 2},
    ],
)
def test_batches_change_nothing(pair, options):
    mine, theirs = pair("summarization", "bart")
    texts = [TEXTS[0], "the dog", TEXTS[2], TEXTS[4], "a"]
    alone = mine(texts, **options)
    if "max_length" not in options:  # which does nothing there
        same(alone, theirs(texts, **options))
    for size in (2, 5, "auto"):
        same(mine(texts, batch_size=size, **options), alone)


def test_samples_of_one_seed(pair):
    mine, theirs = pair("text2text-generation", "bart")
    options = {**SHORT, "do_sample": True, "num_beams": 1, "num_return_sequences": 2}
    torch.manual_seed(1)
    expected = theirs(TEXTS[0], **options)
    torch.manual_seed(1)
    same(mine(TEXTS[0], **options), expected)


def test_bad_input(pair):
    mine, _ = pair("summarization", "bart")
    for bad in (None, 3, "", [], [TEXTS[0], ""]):
        with pytest.raises(PipelineError, match="None|int|empty"):
            mine(bad)
    with pytest.raises(TypeError, match="has no option 'max_lenght'. Did you mean 'max_length'"):
        mine(TEXTS[0], max_lenght=3)
