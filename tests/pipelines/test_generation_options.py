"""What generating pipelines hand through to ``generate``, and the scores that their results carry on request."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pipelines.checkpoints import TEXTS, same

from minitransformer import GenerationConfig
from minitransformer.errors import PipelineError
from minitransformer.pipelines import pipeline

PROMPT, OTHER = "The little brown fox", "Paris is"
GREEDY = {"do_sample": False, "max_new_tokens": 8}
ENDS = list(range(0, 340, 9))

pytestmark = [
    pytest.mark.filterwarnings("ignore:.do_sample. is set to:UserWarning", "ignore:.generation flags:UserWarning"),
    pytest.mark.filterwarnings("ignore:Stopping on a multiple token sequence:UserWarning"),
]


def never_twice(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """A processor of the caller's: no token that is there already."""
    return scores.scatter(1, ids, -1e9)


@pytest.mark.parametrize("inputs", [PROMPT, [PROMPT, OTHER, PROMPT + " jumped"]])
@pytest.mark.parametrize(
    "options",
    [
        {"logits_processor": [never_twice]},
        {"prefix_allowed_tokens_fn": lambda batch, ids: [11, 12, 13, int(ids[-1]) % 50]},
        {"stopping_criteria": [lambda ids, scores, **more: torch.full((len(ids),), len(ids[0]) % 9 == 0)]},
        {"eos_token_id": ENDS, "pad_token_id": 3},
        {"sequence_bias": {(17,): 4.0}, "num_beams": 2},
        {"exponential_decay_length_penalty": (2, 1.5), "eos_token_id": 9},
        {"max_length": 40, "max_new_tokens": None},
    ],
    ids=lambda options: next(iter(options)) if isinstance(options, dict) else "",
)
def test_options_of_generate(pair, inputs, options):
    mine, theirs = pair("text-generation", "gpt2")
    same(mine(inputs, **{**GREEDY, **options}), theirs(inputs, **{**GREEDY, **options}))


@pytest.mark.parametrize("how", ["object", "folder"])
def test_assistant(pair, checkpoint, how):
    mine, theirs = pair("text-generation", "gpt2")
    folder = checkpoint("gpt2-params")
    assistant = str(folder) if how == "folder" else pipeline("text-generation", folder, dtype=torch.float64).model
    inputs = [PROMPT, OTHER]
    expected = theirs(inputs, **GREEDY)
    same(mine(inputs, assistant_model=assistant, **GREEDY), expected)
    if how == "folder":
        made, _ = mine, None
        made = pipeline(
            "text-generation", checkpoint("gpt2"), dtype=torch.float64, device="cpu", assistant_model=assistant
        )
        same(made(inputs, **GREEDY), expected)
        assert made.options["assistant_model"].dtype == torch.float64


def test_a_streamer_gets_each_text(pair):
    class Count:
        puts, ends = 0, 0

        def put(self, value: torch.Tensor) -> None:
            assert len(value) == 1
            self.puts += 1

        def end(self) -> None:
            self.ends += 1

    mine, _ = pair("text-generation", "gpt2")
    streamer = Count()
    mine([PROMPT, OTHER], streamer=streamer, **GREEDY)
    assert (streamer.puts, streamer.ends) == (18, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"output_scores": True},
        {"output_scores": True, "output_logits": True},
        {"output_scores": True, "num_beams": 3},
        {"output_scores": True, "do_sample": True, "num_return_sequences": 2, "temperature": 0.7},
    ],
)
def test_what_return_dict_in_generate_adds(pair, options):
    mine, theirs = pair("text-generation", "gpt2")
    results = []
    for pipe in (mine, theirs):
        torch.manual_seed(5)
        results.append(pipe(PROMPT, **{**GREEDY, "return_dict_in_generate": True, **options}))
    same(*results)
    assert len(results[0][0]) > 1


def test_what_return_dict_in_generate_adds_and_transformers_drops(pair):
    alike, theirs = pair("text-generation", "gpt2", compat="transformers")
    mine, _ = pair("text-generation", "gpt2")
    options = {**GREEDY, "return_dict_in_generate": True, "output_scores": True}
    ids = {**options, "return_tensors": True}
    same(alike(PROMPT, **ids), theirs(PROMPT, **ids))
    assert len(mine(PROMPT, **ids)[0]["scores"]) == 8
    beams = {**options, "num_beams": 2, "num_return_sequences": 2}
    same(alike(PROMPT, **beams), theirs(PROMPT, **beams))
    scores = [answer["sequences_scores"][0] for answer in mine(PROMPT, **beams)]
    assert scores == sorted(scores, reverse=True)


def reference_scores(theirs: Any, text: str, **options: Any) -> tuple[list[list[int]], list[list[float]]]:
    """Tokens and their scores as transformers has them."""
    inputs = theirs.tokenizer(text, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    output = theirs.model.generate(
        **inputs, **{"pad_token_id": 0, **options}, return_dict_in_generate=True, output_scores=True
    )
    beams = options.get("num_beams", 1) > 1
    scores = theirs.model.compute_transition_scores(
        output.sequences, output.scores, output.beam_indices if beams else None, normalize_logits=not beams
    )
    tokens = output.sequences[:, -scores.shape[1] :]
    return tokens.tolist(), scores.tolist()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.4},
        {"num_beams": 3, "num_return_sequences": 3},
        {"num_beams": 3, "num_return_sequences": 2, "eos_token_id": ENDS},
        {"do_sample": True, "temperature": 0.6, "top_k": 9, "num_return_sequences": 2},
        {"eos_token_id": ENDS},
    ],
)
@pytest.mark.parametrize(("task", "name"), [("text-generation", "gpt2"), ("summarization", "bart")])
def test_token_scores(pair, task, name, options):
    mine, theirs = pair(task, name)
    options = {"num_beams": 1, **GREEDY, **options}
    torch.manual_seed(2)
    answers = mine(PROMPT, return_token_scores=True, **options)
    torch.manual_seed(2)
    tokens, scores = reference_scores(theirs, PROMPT, **options)
    ends = options.get("eos_token_id", [0 if name == "gpt2" else 2])
    assert len(answers) == len(tokens)
    for answer, ids, logprobs in zip(answers, tokens, scores, strict=True):
        length = next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))
        found = answer["token_scores"]
        assert [token["token_id"] for token in found] == ids[:length]
        same([token["logprob"] for token in found], logprobs[:length])
        assert [token["token"] for token in found] == [mine.tokenizer.decode([i]) for i in ids[:length]]
    torch.manual_seed(2)
    for answer in answers:
        del answer["token_scores"]
    assert mine(PROMPT, **options) == answers  # nothing else changes


def test_token_scores_add_up_to_those_of_the_beams(pair):
    mine, _ = pair("text2text-generation", "bart")
    options = {"num_beams": 3, "max_new_tokens": 8, "length_penalty": 2.0}
    answer = mine(PROMPT, return_token_scores=True, return_dict_in_generate=True, **options)[0]
    total = sum(token["logprob"] for token in answer["token_scores"])
    assert abs(total / len(answer["token_scores"]) ** 2 - answer["sequences_scores"][0]) < 1e-6


def test_token_scores_in_batches(pair):
    mine, _ = pair("text-generation", "gpt2")
    prompts = [PROMPT, OTHER, TEXTS[0], PROMPT]
    options = {**GREEDY, "eos_token_id": ENDS, "return_token_scores": True}
    same(mine(prompts, batch_size=4, **options), mine(prompts, batch_size=1, **options))


@pytest.mark.parametrize("task", ["text-generation", "text2text-generation"])
def test_stop_sequence_of_several_tokens(pair, task):
    """4.57 ends text-generation at any of the tokens, and text2text-generation at the first of them."""
    name = "gpt2" if task == "text-generation" else "bart"
    alike, theirs = pair(task, name, compat="transformers")
    options = {**GREEDY, "max_new_tokens": 30, "num_beams": 1, "return_tensors": True}
    ids = theirs(PROMPT, **options)[0]["generated_token_ids"]
    stop = theirs.tokenizer.decode(list(ids)[-4:-1])
    assert len(theirs.tokenizer.encode(stop, add_special_tokens=False)) > 1
    same(alike(PROMPT, stop_sequence=stop, **options), theirs(PROMPT, stop_sequence=stop, **options))
    mine, _ = pair(task, name)
    text = mine(PROMPT, stop_sequence=stop, **{**options, "return_tensors": False})[0]["generated_text"]
    assert stop in text


def test_settings_may_be_changed_between_calls(pair):
    mine, _ = pair("text-generation", "gpt2", fresh=True)
    mine.generation_config = GenerationConfig(max_new_tokens=2)
    assert len(mine("the", return_token_scores=True)[0]["token_scores"]) == 2


def test_bad_input(pair):
    mine, _ = pair("text-generation", "gpt2")
    with pytest.raises(TypeError, match="Did you mean 'return_token_scores'"):
        mine(PROMPT, return_tokens_scores=True)
    with pytest.raises(PipelineError, match="'assistant_tokenizer'|assistant_tokenizer="):
        pipeline("text-generation", mine.model, mine.tokenizer, assistant_tokenizer=mine.tokenizer)
