"""Every option of every strategy gives the ids of transformers 4.57, on models whose texts vary."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("transformers")

from generation.pairs import bart_pair, gpt2_pair
from transformers import GenerationConfig as TheirConfig
from transformers import LogitsProcessorList, PreTrainedTokenizerFast, StoppingCriteriaList
from transformers.generation import MinPLogitsWarper
from transformers.modeling_outputs import BaseModelOutput

from minitransformer import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from minitransformer.errors import GenerationError
from minitransformer.generation import GenerateOutput, GenerationConfig, transition_scores

pytestmark = pytest.mark.filterwarnings("ignore")  # the reference warns a lot, and so do we about the same things


class Pair:
    """Both models, and a batch of unequal lengths: padded left for the decoder, right for the encoder."""

    def __init__(self, ours: Any, theirs: Any, pad: int, side: str) -> None:
        self.ours, self.theirs = ours, theirs
        generator = torch.Generator().manual_seed(3)
        ids = torch.randint(3, ours.config.vocab_size - 1, (3, 6), generator=generator)
        lengths, place = torch.tensor([[4], [6], [2]]), torch.arange(6)[None]
        mask = place >= 6 - lengths if side == "left" else place < lengths
        self.inputs = {"input_ids": ids.masked_fill(~mask, pad), "attention_mask": mask.long()}

    def both(self, *, theirs: dict[str, Any] | None = None, **options: Any) -> tuple[Any, Any]:
        """What ours and theirs generate with one seed; ``theirs`` replaces options for theirs."""
        results = []
        for model, arguments in ((self.ours, options), (self.theirs, {**options, **(theirs or {})})):
            torch.manual_seed(11)
            results.append(model.generate(**{**self.inputs, **arguments}))
        return results[0], results[1]

    def check(self, **options: Any) -> torch.Tensor:
        ours, theirs = self.both(**options)
        assert ours.tolist() == theirs.tolist()
        return ours


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> Pair:
    return Pair(*gpt2_pair(tmp_path_factory.mktemp("gpt2")), pad=0, side="left")


@pytest.fixture(scope="module")
def bart(tmp_path_factory) -> Pair:
    return Pair(*bart_pair(tmp_path_factory.mktemp("bart")), pad=1, side="right")


@pytest.fixture(params=["gpt2", "bart"])
def pair(request) -> Pair:
    return request.getfixturevalue(request.param)


STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {"do_sample": True, "num_return_sequences": 2},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "beam-sampling": {"num_beams": 3, "do_sample": True, "temperature": 1.3},
}
OPTIONS: list[dict[str, Any]] = [
    {"max_new_tokens": None},  # 20 new tokens by default
    {"max_length": 17, "max_new_tokens": None},
    {"min_length": 10, "eos_token_id": [4, 5, 6, 7]},
    {"min_new_tokens": 7, "eos_token_id": [4, 5, 6, 7]},
    {"repetition_penalty": 1.8},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 2},
    {"encoder_repetition_penalty": 2.5},
    {"bad_words_ids": [[5], [34, 34], [7, 4], [9, 4, 3], [36], [2]]},
    {"sequence_bias": {(5,): 3.0, (7, 8): -4.0, (9,): float("-inf"), (10, 9): 8.0, (4, 7): 2.0}},
    {"sequence_bias": [[[5], 3.0], [[7, 8], -4.0]]},
    {"forced_bos_token_id": 6},
    {"forced_eos_token_id": 8},
    {"forced_eos_token_id": [8, 9]},
    {"suppress_tokens": [4, 7, 34, 36]},
    {"begin_suppress_tokens": [4, 7, 9, 20, 34, 36]},
    {"begin_suppress_tokens": [4, 7, 9, 20, 34, 36], "forced_bos_token_id": 6},
    {"exponential_decay_length_penalty": (3, 1.7), "max_new_tokens": 25},
    {"remove_invalid_values": True, "renormalize_logits": True},
    {"eos_token_id": [4, 7, 34], "pad_token_id": 0},
    {"eos_token_id": None},
    {"use_cache": False},
    {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 5, "eos_token_id": list(range(3, 15))},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("strategy", ["greedy", "beam-sampling"])
def test_options(pair, strategy, options):
    pair.check(**{"max_new_tokens": 11, **STRATEGIES[strategy], **options})


TOKEN = st.integers(3, 35)
TOGETHER = {
    "num_beams": st.integers(1, 5),
    "do_sample": st.booleans(),
    "eos_token_id": st.lists(TOKEN, min_size=1, max_size=8, unique=True),
    "early_stopping": st.sampled_from([True, False, "never"]),
    "length_penalty": st.sampled_from([-2.0, -0.5, 0.0, 0.5, 2.0, 5.0]),
    "repetition_penalty": st.sampled_from([0.7, 1.3, 2.0]),
    "encoder_repetition_penalty": st.sampled_from([0.7, 1.3]),
    "no_repeat_ngram_size": st.integers(1, 4),
    "encoder_no_repeat_ngram_size": st.integers(1, 4),
    "bad_words_ids": st.lists(st.lists(TOKEN, min_size=1, max_size=3), min_size=1, max_size=4),
    "sequence_bias": st.dictionaries(
        st.lists(TOKEN, min_size=1, max_size=3).map(tuple), st.floats(-5, 5), min_size=1, max_size=4
    ),
    "min_new_tokens": st.integers(0, 7),
    "forced_bos_token_id": TOKEN,
    "forced_eos_token_id": st.one_of(TOKEN, st.lists(TOKEN, min_size=2, max_size=2, unique=True)),
    "exponential_decay_length_penalty": st.tuples(st.integers(0, 5), st.sampled_from([0.8, 1.2, 1.5])),
    "suppress_tokens": st.lists(TOKEN, min_size=1, max_size=4),
    "begin_suppress_tokens": st.lists(TOKEN, min_size=1, max_size=4),
    "temperature": st.sampled_from([0.5, 0.9, 1.5]),
    "top_k": st.sampled_from([0, 1, 3, 10, 100]),
    "top_p": st.sampled_from([0.0, 0.3, 0.9]),
    "min_p": st.sampled_from([0.05, 0.3]),
    "typical_p": st.sampled_from([0.2, 0.9]),
    "epsilon_cutoff": st.sampled_from([3e-3, 0.1]),
    "eta_cutoff": st.sampled_from([3e-3, 0.1]),
    "renormalize_logits": st.booleans(),
    "use_cache": st.booleans(),
}


@given(data=st.data())
def test_options_together(pair, data):
    """Any of the options with any others: their order counts, and what a search makes of them."""
    options = data.draw(st.fixed_dictionaries({}, optional=TOGETHER))
    beams = options.get("num_beams", 1)
    if beams > 1 or options.get("do_sample"):
        options["num_return_sequences"] = data.draw(st.integers(1, beams if beams > 1 else 3))
    options["max_new_tokens"] = data.draw(st.integers(7, 14))
    try:
        ours, theirs = pair.both(**options)
    except GenerationError as error:  # as the reference would, from within PyTorch
        assert "no token can be drawn" in str(error)
        torch.manual_seed(11)
        with pytest.raises(RuntimeError, match="probability tensor"):
            pair.theirs.generate(**pair.inputs, **options)
    else:
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("beams", [1, 3])
def test_nothing_left_to_draw(pair, beams):
    everything = list(range(pair.ours.config.vocab_size))
    with pytest.raises(GenerationError, match="forbid every token"):
        pair.ours.generate(**pair.inputs, do_sample=True, num_beams=beams, suppress_tokens=everything)


@pytest.mark.parametrize(
    "noise", [0.0, 0.05, pytest.param(2.0, marks=pytest.mark.slow)], ids=["the same", "near", "another"]
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.8, "no_repeat_ngram_size": 2},
        {"min_new_tokens": 7, "eos_token_id": [4, 5, 6, 7]},
        {"forced_bos_token_id": 6, "forced_eos_token_id": 8, "bad_words_ids": [[34, 34], [7, 4]]},
        {"num_assistant_tokens": 3, "num_assistant_tokens_schedule": "heuristic"},
    ],
    ids=lambda o: "-".join(o),
)
def test_assisted_decoding_is_greedy_decoding(pair, options, noise):
    """However good the assistant is: its proposals are checked in one step, and the cache forgets the wrong ones."""
    assistant = copy.deepcopy(pair.ours)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in assistant.parameters():
            parameter += noise * parameter.std(correction=0) * torch.randn(parameter.shape, generator=generator)
    for row in range(3):
        inputs = {name: value[row : row + 1] for name, value in pair.inputs.items()}
        plain = {name: value for name, value in options.items() if "assistant" not in name}
        expected = pair.theirs.generate(**inputs, max_new_tokens=16, **plain)
        for threshold in (0.0, 0.4):
            found = pair.ours.generate(
                **inputs, max_new_tokens=16, assistant_model=assistant, assistant_confidence_threshold=threshold,
                **options,
            )  # fmt: skip
            assert found.tolist() == expected.tolist()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"top_k": 3},
        {"top_k": None, "top_p": 0.7},
        {"top_k": 0, "top_p": 1e-4},
        {"top_k": 0, "min_p": 0.2},
        {"top_k": 0, "typical_p": 0.4},
        {"top_k": 0, "epsilon_cutoff": 0.05},
        {"top_k": 0, "eta_cutoff": 0.1},
        {"temperature": 1.5, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.95, "eta_cutoff": 0.05},
    ],
    ids=lambda o: "-".join(o),
)
def test_filters_of_sampling(pair, options, beams):
    pair.check(max_new_tokens=10, do_sample=True, num_beams=beams, num_return_sequences=2, **options)


@pytest.mark.parametrize("length_penalty", [-1.5, 0.0, 2.0])
@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("eos", [[4], [3, 4, 5, 6, 7, 34, 36]], ids=len)
def test_end_of_beam_search(pair, length_penalty, early_stopping, eos):
    pair.check(
        num_beams=4,
        num_return_sequences=3,
        max_new_tokens=15,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        eos_token_id=eos,
    )


def test_texts_vary(pair):
    """Otherwise the tests above would show little."""
    for options in STRATEGIES.values():
        new = pair.check(max_new_tokens=12, **options)[:, -12:]
        assert len(new.unique()) >= 6
        assert len(new.unique(dim=0)) == len(new)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_functions_of_the_caller(pair, strategy):
    options = {"max_new_tokens": 10, **STRATEGIES[strategy]}
    processors = [lambda ids, scores: scores - torch.arange(scores.shape[1]) / 20, MinPLogitsWarper(0.01)]
    criteria = [lambda ids, scores, **_: ids[:, -1] % 5 == 0]
    pair.check(**options, prefix_allowed_tokens_fn=lambda i, ids: [(int(ids[-1]) + k) % 36 for k in (1, 3, 5 + i)])
    pair.check(**options, logits_processor=processors, theirs={"logits_processor": LogitsProcessorList(processors)})
    for eos in (4, None):
        theirs = {"stopping_criteria": StoppingCriteriaList(criteria)}
        pair.check(**options, eos_token_id=eos, stopping_criteria=criteria, theirs=theirs)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_everything_that_can_be_returned(pair, strategy):
    flags = ("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states")
    ours, theirs = pair.both(**STRATEGIES[strategy], max_new_tokens=6, **dict.fromkeys(flags, True))
    assert [k for k in ours.keys() if k != "past_key_values"] == _in_our_order(theirs)
    unpadded = slice(len(theirs.scores[0]) // 3, 2 * len(theirs.scores[0]) // 3)  # rows of the second text
    for name in _in_our_order(theirs):
        if "attentions" in name or "hidden_states" in name:
            source = slice(1, 2) if name.startswith("encoder") else unpadded
            _assert_close(_rows(ours[name], source), _rows(theirs[name], source))
        else:
            _assert_close(ours[name], theirs[name])
    for normalize in (False, True):
        expected = pair.theirs.compute_transition_scores(
            theirs.sequences, theirs.scores, theirs.get("beam_indices"), normalize_logits=normalize
        )
        found = transition_scores(ours.sequences, ours.scores, ours.beam_indices, normalize_logits=normalize)
        torch.testing.assert_close(found, expected)


def _in_our_order(output) -> list[str]:
    names = [name for name in output.keys() if name != "past_key_values"]
    return sorted(names, key=[field.name for field in fields(GenerateOutput)].index)


def _rows(value, rows):
    return tuple(_rows(item, rows) for item in value) if isinstance(value, tuple) else value[rows]


def _assert_close(ours, theirs):
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            _assert_close(mine, other)
    else:
        torch.testing.assert_close(ours, theirs, check_dtype=False, atol=1e-5, rtol=1e-5)


def test_inputs_that_are_left_out(gpt2, bart):
    for options in ({}, {"pad_token_id": 0}, {"pad_token_id": 36}):
        gpt2.check(attention_mask=None, **options)
    gpt2.check(input_ids=None, attention_mask=None)
    bart.check(attention_mask=None)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_beginnings_for_the_decoder(bart, strategy):
    options = {"max_new_tokens": 8, **STRATEGIES[strategy]}
    for beginning in ([[5, 6], [7, 8], [9, 3]], [[2, 6], [2, 8], [2, 9]]):
        bart.check(**options, decoder_input_ids=torch.tensor(beginning))
    bart.check(**options, decoder_start_token_id=[7, 8, 9])
    bart.check(
        **options,
        decoder_input_ids=torch.tensor([[5, 6], [7, 8], [9, 3]]),
        decoder_attention_mask=torch.tensor([[1, 1], [0, 1], [1, 1]]),
    )
    encoded = bart.ours.encode(**bart.inputs)
    bart.check(
        **options,
        input_ids=None,
        encoder_outputs=encoded,
        theirs={"encoder_outputs": BaseModelOutput(encoded.detach().clone())},
    )


def test_padding_on_the_right(gpt2):
    """Theirs would go on behind the padding, with other positions; ours is what the left-padded batch gives."""
    ids, mask = gpt2.inputs["input_ids"], gpt2.inputs["attention_mask"]
    order = mask.argsort(dim=1, descending=True, stable=True)
    right = {"input_ids": ids.gather(1, order), "attention_mask": mask.gather(1, order)}
    assert not torch.equal(right["attention_mask"], mask)
    for options in STRATEGIES.values():
        expected = gpt2.check(max_new_tokens=8, **options)
        torch.manual_seed(11)
        found = gpt2.ours.generate(**right, max_new_tokens=8, **options)
        assert found[:, 6:].tolist() == expected[:, 6:].tolist()
        copies = len(found) // len(ids)
        assert torch.equal(found[:, :6], right["input_ids"].repeat_interleave(copies, dim=0))


def test_token_types(gpt2):
    gpt2.check(token_type_ids=torch.arange(18).view(3, 6), max_new_tokens=8)
    gpt2.check(token_type_ids=torch.arange(18).view(3, 6), max_new_tokens=8, num_beams=3)


MODELS_OWN: list[dict[str, Any]] = [
    {"num_beams": 3, "max_length": 15},
    {"do_sample": True, "top_k": 4, "max_new_tokens": 7},
    {"min_length": 9, "no_repeat_ngram_size": 2, "max_new_tokens": 12},
]
GIVEN: list[dict[str, Any] | None] = [None, {"max_new_tokens": 5}, {"num_beams": 2, "length_penalty": 2.0}]


@pytest.mark.parametrize("version", ["4.57.6", "4.20.0"])
@pytest.mark.parametrize("own", MODELS_OWN, ids=lambda o: "-".join(o))
def test_which_source_of_options_wins(pair, own, version, monkeypatch):
    tokens = {"eos_token_id": 36, "pad_token_id": 1, "bos_token_id": 0, "decoder_start_token_id": 2}
    for model, kind in ((pair.ours, GenerationConfig), (pair.theirs, TheirConfig)):
        monkeypatch.setattr(model, "generation_config", kind(**tokens, **own, transformers_version=version))
    for said, options in product(GIVEN, [{}, {"max_new_tokens": 6}, {"do_sample": True}]):
        configs = [None if said is None else kind(**said) for kind in (GenerationConfig, TheirConfig)]
        pair.check(**options, generation_config=configs[0], theirs={"generation_config": configs[1]})


LEGACY: list[dict[str, Any]] = [
    {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True, "max_length": 14, "no_repeat_ngram_size": 2},
    {"do_sample": True, "top_k": 4, "temperature": 0.7, "max_length": 15, "num_return_sequences": 2},
    {"min_length": 9, "bad_words_ids": [[5], [34, 34]], "repetition_penalty": 1.4, "forced_eos_token_id": 8},
    {"suppress_tokens": [4, 7], "begin_suppress_tokens": [9, 20], "encoder_no_repeat_ngram_size": 2, "max_length": 12},
]


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("keys", LEGACY, ids=lambda o: "-".join(o))
def test_options_in_an_old_config(pair, keys, newer, tmp_path: Path):
    """They hold where there is no generation_config.json, which takes their place."""
    pair.theirs.save_pretrained(tmp_path)
    path, newer_path = tmp_path / "config.json", tmp_path / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))
    if newer:  # without the mark that it was made of config.json, by which their generate goes back to that one
        options = json.loads(newer_path.read_text())
        newer_path.write_text(json.dumps({name: value for name, value in options.items() if name[0] != "_"}))
    else:
        newer_path.unlink()
    auto = AutoModelForSeq2SeqLM if pair.ours.config.is_encoder_decoder else AutoModelForCausalLM
    ours = auto.from_pretrained(tmp_path, dtype=torch.float64)
    assert all((getattr(ours.generation_config, name) == value) is not newer for name, value in keys.items())
    changed = copy.copy(pair)
    changed.ours, changed.theirs = ours, type(pair.theirs).from_pretrained(tmp_path, dtype=torch.float64)
    changed.theirs.load_state_dict(pair.theirs.state_dict())  # it does not open all embeddings of BART that it saves
    for options in ({}, {"max_new_tokens": 6}, {"num_beams": 2, "num_return_sequences": 1}):
        changed.check(**options)


def test_stop_strings(gpt2, tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["Ġ", *"abcdefghijklmnopqrstuvwxyz.,;", "Ġa", "bc", "cde", "ef", "Ġth", "he"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordLevel(vocabulary | {"?": 36}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    texts = tokenizer.batch_decode(gpt2.check(max_new_tokens=12, eos_token_id=None)[:, 6:])
    stops = [[text[4:6]] for text in texts] + [[text[3] for text in texts], texts[0][5:9]]
    lengths = set()
    for stop, options in product(stops, ({}, {"num_beams": 2}, {"eos_token_id": None})):
        lengths.add(gpt2.check(max_new_tokens=12, stop_strings=stop, tokenizer=tokenizer, **options).shape[1])
    assert len(lengths) > 1
