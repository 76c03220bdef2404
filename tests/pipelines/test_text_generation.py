from __future__ import annotations

import pytest
import torch
import transformers
from pipelines.checkpoints import TEXTS, same

from minitransformer.errors import GenerationError, PipelineError

PROMPT, OTHER = "The little brown fox", "Paris is"
GREEDY = {"do_sample": False, "max_new_tokens": 8}

pytestmark = pytest.mark.filterwarnings(
    "ignore:.do_sample. is set to:UserWarning", "ignore:.generation flags:UserWarning"
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_full_text": False},
        {"return_full_text": True},
        {"return_tensors": True},
        {"clean_up_tokenization_spaces": False},
        {"skip_special_tokens": False},
        {"prefix": "My name is"},
        {"prefix": "My name is", "return_full_text": False},
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2},
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": 5},
        {"stop_sequence": "e"},
        {"handle_long_generation": "hole"},
        {"add_special_tokens": False},
        {"truncation": True, "tokenizer_encode_kwargs": {"max_length": 3}},
    ],
)
@pytest.mark.parametrize("inputs", [PROMPT, [PROMPT], [PROMPT, OTHER]])
def test_equals_reference(pair, options, inputs):
    mine, theirs = pair("text-generation", "gpt2")
    same(mine(inputs, **GREEDY, **options), theirs(inputs, **GREEDY, **options))


@pytest.mark.parametrize("options", [{}, {"temperature": 1.3, "top_k": 7}, {"top_p": 0.8, "num_return_sequences": 3}])
def test_samples_of_one_seed(pair, options):
    mine, theirs = pair("text-generation", "gpt2")
    torch.manual_seed(1)
    expected = theirs(PROMPT, max_new_tokens=12, **options)
    torch.manual_seed(1)
    same(mine(PROMPT, max_new_tokens=12, **options), expected)


def test_options_of_the_pipeline(pair):
    mine, theirs = pair("text-generation", "gpt2", max_new_tokens=6, do_sample=False, return_full_text=False)
    same(mine(PROMPT), theirs(PROMPT))
    same(mine(PROMPT, max_new_tokens=3), theirs(PROMPT, max_new_tokens=3))
    mine, theirs = pair("text-generation", "gpt2", max_length=25, do_sample=False)
    same(mine(PROMPT, return_tensors=True), theirs(PROMPT, return_tensors=True))


def test_padding_to_a_length(pair):
    mine, theirs = pair("text-generation", "gpt2", fresh=True)
    for pipe in (mine, theirs):
        pipe.tokenizer.pad_token, pipe.tokenizer.padding_side = pipe.tokenizer.eos_token, "left"
    options = {**GREEDY, "padding": "max_length", "tokenizer_encode_kwargs": {"max_length": 22, "truncation": True}}
    same(mine(PROMPT, **options), theirs(PROMPT, **options))
    same(mine(PROMPT, return_tensors=True, **options), theirs(PROMPT, return_tensors=True, **options))


def test_a_generation_config(pair):
    mine, theirs = pair("text-generation", "gpt2")
    from minitransformer.generation import GenerationConfig

    values = {"max_new_tokens": 5, "num_beams": 2}
    expected = theirs(PROMPT, generation_config=transformers.GenerationConfig(pad_token_id=0, **values))
    same(mine(PROMPT, generation_config=GenerationConfig(**values)), expected)


def test_empty_prompt(pair):
    mine, theirs = pair("text-generation", "gpt2")
    same(mine("", **GREEDY), theirs("", **GREEDY))
    same(mine("", skip_special_tokens=False, **GREEDY), theirs("", skip_special_tokens=False, **GREEDY))


def test_hole(pair):
    mine, theirs = pair("text-generation", "gpt2")
    options = {"handle_long_generation": "hole", "do_sample": False}
    long = " ".join(TEXTS)
    for new in (5, 80):
        same(mine(long, max_new_tokens=new, **options), theirs(long, max_new_tokens=new, **options))
    with pytest.raises(PipelineError, match="cannot make room for 96 new tokens"):
        mine(long, max_new_tokens=96, **options)
    with pytest.raises(PipelineError, match='pass handle_long_generation="hole"'):
        mine(long)


def test_prefix_of_the_config(pair):
    mine, theirs = pair("text-generation", "gpt2-prefix")
    same(mine(PROMPT, **GREEDY), theirs(PROMPT, **GREEDY))
    same(mine(PROMPT, prefix="", **GREEDY), theirs(PROMPT, prefix="", **GREEDY))


def test_typed_max_length_counts(pair):
    mine, theirs = pair("text-generation", "gpt2")
    count = len(mine.tokenizer(PROMPT)["input_ids"])
    options = {"max_length": count + 3, "do_sample": False, "return_tensors": True}
    assert len(mine(PROMPT, **options)[0]["generated_token_ids"]) == count + 3
    typed, _ = pair("text-generation", "gpt2", max_length=20, do_sample=False)  # which is the library's default
    assert len(typed(PROMPT, return_tensors=True)[0]["generated_token_ids"]) == 20
    alike, _ = pair("text-generation", "gpt2", compat="transformers", max_new_tokens=20)
    _, theirs = pair("text-generation", "gpt2", max_new_tokens=20)
    same(alike(PROMPT, **options), theirs(PROMPT, **options))  # there, it does nothing
    cut = {"max_length": 2, "do_sample": False}
    same(alike(PROMPT, **cut), theirs(PROMPT, **cut))  # but cut the prompt
    with pytest.raises(GenerationError, match="max_length"):
        mine(PROMPT, **cut)


def test_typed_options_beat_those_of_the_task(pair):
    mine, _ = pair("text-generation", "gpt2-params", do_sample=False, max_new_tokens=5)
    assert mine(PROMPT) == mine(PROMPT)
    assert not mine.generation_config.do_sample
    alike, theirs = pair("text-generation", "gpt2-params", compat="transformers", do_sample=False)
    assert alike.generation_config.do_sample and theirs.generation_config.do_sample
    assert alike.generation_config.max_new_tokens == theirs.generation_config.max_new_tokens == 256
    mine, theirs = pair("text-generation", "gpt2-params")
    torch.manual_seed(3)
    expected = theirs(PROMPT, max_new_tokens=9)
    torch.manual_seed(3)
    same(mine(PROMPT, max_new_tokens=9), expected)


def test_default_length_stays_within_the_positions(pair):
    mine, _ = pair("text-generation", "gpt2")
    ids = mine(PROMPT, do_sample=False, return_tensors=True, suppress_tokens=[0])[0]["generated_token_ids"]
    assert len(ids) == 97  # the last token is never read


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 8},
        {"max_length": 54},
        {"max_new_tokens": 8, "repetition_penalty": 1.8},
        {"max_new_tokens": 8, "no_repeat_ngram_size": 1},
        {"max_new_tokens": 8, "num_beams": 3, "num_return_sequences": 3},
        {"max_new_tokens": 8, "return_tensors": True, "num_beams": 2},
        {"max_new_tokens": 8, "eos_token_id": list(range(0, 340, 7)), "return_tensors": True},
        {},
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_change_nothing(pair, options, side):
    mine, _ = pair("text-generation", "gpt2", fresh=True)
    prompts = [PROMPT, OTHER, TEXTS[0], "", "She sells sea shells by", PROMPT]
    prompts = prompts if options else prompts[:2]  # as many tokens as there are positions take long
    alone = mine(prompts, do_sample=False, **options)
    mine.tokenizer.pad_token = mine.tokenizer.eos_token
    mine.tokenizer.padding_side = side
    for size in (2, 6, "auto") if options else (2,):
        same(mine(prompts, batch_size=size, do_sample=False, **options), alone)


def test_batches_padded_on_the_left_equal_reference(pair):
    mine, theirs = pair("text-generation", "gpt2", fresh=True)
    for pipe in (mine, theirs):
        pipe.tokenizer.pad_token = pipe.tokenizer.eos_token
        pipe.tokenizer.padding_side = "left"
    prompts = [PROMPT, OTHER, TEXTS[1]]
    same(mine(prompts, batch_size=3, **GREEDY), theirs(prompts, batch_size=3, **GREEDY))


def test_batch_without_pad_token(pair):
    mine, theirs = pair("text-generation", "gpt2")
    assert mine.tokenizer.pad_token is None  # 4.57 then refuses batches; any token will do, as the mask hides it
    for size in (1, 2, "auto"):
        same(mine([PROMPT, OTHER], batch_size=size, **GREEDY), theirs([PROMPT, OTHER], **GREEDY))


def test_stop_sequence_of_several_tokens_is_a_text(pair):
    mine, theirs = pair("text-generation", "gpt2")
    text = mine(PROMPT, return_full_text=False, do_sample=False, max_new_tokens=20)[0]["generated_text"]
    stop = text[4:11]
    ids = mine.tokenizer.encode(stop, add_special_tokens=False)
    assert len(ids) > 1
    stopped = mine(PROMPT, return_full_text=False, do_sample=False, max_new_tokens=20, stop_sequence=stop)
    assert stop in stopped[0]["generated_text"] and len(stopped[0]["generated_text"]) < len(text)
    alike, theirs = pair("text-generation", "gpt2", compat="transformers")
    options = {**GREEDY, "stop_sequence": stop}
    same(alike(PROMPT, **options), theirs(PROMPT, **options))


def test_bad_input(pair):
    mine, _ = pair("text-generation", "gpt2")
    for options, message in (
        ({"return_full_text": True, "return_tensors": True}, "exclude each other"),
        ({"handle_long_generation": "cut"}, "must be 'hole'"),
        ({"tokenizer_encode_kwargs": {"maxlen": 3}}, "'maxlen'"),
        ({"temperature": -1.0}, "temperature"),
        ({"num_beams": 0}, "num_beams"),
        ({"stop_sequence": ""}, "stop_sequence is empty"),
    ):
        with pytest.raises((PipelineError, GenerationError), match=message):
            mine(PROMPT, **options)
    for bad in (None, 3, [], [{"role": "user", "content": "hello"}]):
        with pytest.raises(PipelineError, match="None|int|empty|dict"):
            mine(bad)
    with pytest.raises(TypeError, match="has no option 'max_new_token'. Did you mean 'max_new_tokens'"):
        mine(PROMPT, max_new_token=3)
