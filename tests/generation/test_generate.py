"""The loops themselves, on a toy: how often the model is asked, for what, and what comes of odd inputs."""

from __future__ import annotations

import time

import pytest
import torch
from generation.toy import EOS, PAD, VOCAB, BytesTokenizer, ToyLM, ToySeq2Seq

from minitransformer.errors import GenerationError
from minitransformer.generation import CausalStepper, GenerateOutput, GenerationConfig, generate, stream

PROMPTS = [[5, 9, 4], [7, 3, 8, 8, 12], [6]]


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(len(prompt) for prompt in PROMPTS)
    rows, masks = [], []
    for prompt in PROMPTS:
        fill, real = [0] * (width - len(prompt)), [1] * len(prompt)
        rows.append([PAD] * len(fill) + prompt if side == "left" else prompt + [PAD] * len(fill))
        masks.append(fill + real if side == "left" else real + fill)
    return torch.tensor(rows), torch.tensor(masks)


def one(prompt: list[int] | None = None) -> torch.Tensor:
    return torch.tensor([prompt or PROMPTS[0]])


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_beams": 2, "early_stopping": True}], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("eos", [None, [1, 2, 3, 4, 5, 6]])
def test_padding_changes_nothing(side, options, eos):
    model = ToyLM()
    options = {"max_new_tokens": 12, "eos_token_id": eos, **options}
    ids, mask = padded(side)
    for given in (mask, None):
        together = generate(model, ids, given, **options)
        assert torch.equal(together[:, :5], ids)  # as the caller gave them
        for row, prompt in zip(together, PROMPTS, strict=True):
            alone = generate(model, one(prompt), **options)[0, len(prompt) :]
            assert row[5 : 5 + len(alone)].tolist() == alone.tolist()
            assert set(row[5 + len(alone) :].tolist()) <= {PAD, 1}


@pytest.mark.parametrize("kind", [ToyLM, ToySeq2Seq])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}], ids=str)
def test_cache_changes_nothing(kind, options):
    results = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        results.append(generate(kind(), *padded("left"), use_cache=use_cache, max_new_tokens=9, **options).tolist())
    assert results[0] == results[1]


def test_asks_the_model_for_no_more_than_it_needs():
    model = ToyLM()
    generate(model, *padded("left"), max_new_tokens=4, eos_token_id=None)
    assert model.calls == [{"rows": 3, "new": 5, "scored": 1}] + 3 * [{"rows": 3, "new": 1, "scored": 1}]

    model = ToyLM()  # the prompts run once each, then the beams; the cache is reordered at most once a step
    generate(model, *padded("left"), max_new_tokens=4, num_beams=2, eos_token_id=None)
    assert model.calls == [{"rows": 3, "new": 5, "scored": 1}] + 3 * [{"rows": 6, "new": 1, "scored": 1}]
    assert 0 < model.reorders <= 3

    model = ToySeq2Seq()
    generate(model, *padded("right"), max_new_tokens=4, num_beams=2, eos_token_id=None)
    assert model.calls == [{"rows": 3, "new": 1}] + 3 * [{"rows": 6, "new": 1}]
    assert model.encoded == 1


def test_finished_rows_wait_for_the_others():
    alone = [generate(ToyLM(), one(p), max_new_tokens=30, eos_token_id=[1, 2, 3, 4])[0, len(p) :] for p in PROMPTS]
    lengths = [len(row) for row in alone]
    assert len(set(lengths)) > 1 and max(lengths) < 30
    together = generate(ToyLM(), *padded("left"), max_new_tokens=30, eos_token_id=[1, 2, 3, 4])
    assert together.shape[1] == 5 + max(lengths)


def test_streams():
    model = ToyLM()
    for options in ({}, {"do_sample": True}, {"assistant_model": ToyLM(seed=3)}):
        torch.manual_seed(0)
        whole = generate(model, one(), max_new_tokens=10, **options)[0, 3:].tolist()
        torch.manual_seed(0)
        assert [int(token) for token in stream(model, one(), max_new_tokens=10, **options)] == whole
    assert [len(step) for step in stream(model, *padded("right"), max_new_tokens=3)] == [3, 3, 3]

    model.calls.clear()
    tokens = stream(model, one(), max_new_tokens=10)
    next(tokens), next(tokens)
    assert len(model.calls) == 2  # nothing is computed in advance

    with pytest.raises(GenerationError, match="num_beams"):
        stream(model, one(), num_beams=2)
    with pytest.raises(TypeError, match="max_new_tokens"):
        stream(model, one(), max_new_token=2)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("kind", [ToyLM, ToySeq2Seq])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.5}, {"eos_token_id": [1, 2, 3, 4]}], ids=str)
def test_assisted_decoding_is_greedy_decoding(kind, seed, options):
    model, assistant = kind(), kind(seed=seed)
    expected = generate(model, one(), max_new_tokens=20, **options)
    model.calls.clear()
    settings = {"num_assistant_tokens": 4, "assistant_confidence_threshold": 0.0}
    for schedule in ("constant", "heuristic"):
        found = generate(
            model, one(), assistant_model=assistant, max_new_tokens=20, num_assistant_tokens_schedule=schedule,
            **settings, **options,
        )  # fmt: skip
        assert found.tolist() == expected.tolist()
    if seed == 0 and not options:  # the assistant is always right: five tokens a step
        assert len(model.calls) <= 2 * 5


def test_errors_of_assisted_decoding():
    other, seq2seq = ToyLM(seed=1), ToySeq2Seq()
    wrong = ToyLM()
    wrong.config.vocab_size = VOCAB + 1
    for inputs, options, message in [
        (one(), {"do_sample": True, "assistant_model": other}, "do_sample=False"),
        (padded("left")[0], {"assistant_model": other}, "one prompt"),
        (one(), {"assistant_model": wrong}, "share a vocabulary"),
        (one(), {"assistant_model": seq2seq}, "kind"),
        (one(), {"assistant_model": other, "use_cache": False}, "use_cache"),
        (None, {"assistant_model": other, "encoder_outputs": torch.zeros(1, 2, 6)}, "input_ids"),
    ]:
        with pytest.raises(GenerationError, match=message):
            generate(ToySeq2Seq() if inputs is None else ToyLM(), inputs, **options)


def test_lengths():
    assert generate(ToyLM(), one(), eos_token_id=None).shape[1] == 23  # 20 new tokens by default
    assert generate(ToyLM(max_positions=10), one(), eos_token_id=None).shape[1] == 10
    assert generate(ToyLM(), one(), max_length=7, eos_token_id=None).shape[1] == 7
    assert generate(ToyLM(max_new_tokens=15), one(), max_length=7, eos_token_id=None).shape[1] == 7
    assert generate(ToyLM(max_length=9), one(), max_new_tokens=2, eos_token_id=None).shape[1] == 5
    with pytest.warns(UserWarning, match="max_new_tokens counts"):
        assert generate(ToyLM(), one(), max_length=9, max_new_tokens=2, eos_token_id=None).shape[1] == 5
    with pytest.warns(UserWarning, match="at most 8"):  # ten positions: the last token is never read
        assert generate(ToyLM(max_positions=10), one(), max_new_tokens=50, eos_token_id=None).shape[1] == 11
    with pytest.warns(UserWarning, match="at least 30"):
        generate(ToyLM(min_new_tokens=30), one(), max_new_tokens=5)
    with pytest.raises(GenerationError, match="max_new_tokens"):
        generate(ToyLM(), one(), max_length=3)
    with pytest.raises(GenerationError, match="at least 30"):
        generate(ToyLM(), one(), max_new_tokens=5, min_new_tokens=30)
    with pytest.raises(GenerationError, match="2 positions"):
        generate(ToyLM(max_positions=2), one(), max_new_tokens=5)


def test_time():
    def slow(ids, scores):
        time.sleep(0.02)
        return scores

    ids = generate(ToyLM(max_positions=None), one(), max_time=0.1, max_new_tokens=500, logits_processor=slow)
    assert 4 <= ids.shape[1] <= 10


@pytest.mark.parametrize("name", ["logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"])
def test_a_class_is_no_function(name):
    for value in [str] if name == "prefix_allowed_tokens_fn" else [str, [str], (lambda *_: None, dict)]:
        with pytest.raises(GenerationError, match=f"{name} takes functions, not the class .*: make an object of it"):
            generate(ToyLM(), one(), max_new_tokens=3, **{name: value})


@pytest.mark.parametrize("name", ["logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"])
def test_a_function_of_something_else_is_named_before_it_is_called(name):
    for value in (len, lambda ids: ids, lambda a, b, c: a):
        with pytest.raises(GenerationError, match=f"{name}=.* is no function of"):
            generate(ToyLM(), one(), max_new_tokens=3, **{name: value})


@pytest.mark.parametrize("value", [torch.zeros(2), "", 0, []], ids=repr)
def test_nothing_but_a_boolean_says_whether_to_sample(value):
    with pytest.raises(GenerationError, match="do_sample must be True or False"):
        generate(ToyLM(), one(), max_new_tokens=3, do_sample=value)


def test_stop_strings_need_a_tokenizer():
    with pytest.raises(GenerationError, match="tokenizer="):
        generate(ToyLM(), one(), stop_strings="x")
    tokenizer = BytesTokenizer()
    text = tokenizer.decode(generate(ToyLM(), one(), max_new_tokens=10, eos_token_id=None)[0, 3:])
    stop = text[3:5]
    found = generate(ToyLM(), one(), max_new_tokens=10, eos_token_id=None, stop_strings=stop, tokenizer=tokenizer)
    assert tokenizer.decode(found[0, 3:]) == text[: text.index(stop) + 2]


@pytest.mark.parametrize(
    "ids, message",
    [
        ([[1, 2]], "return_tensors='pt'"),
        (torch.tensor([1, 2]), r"\(batch, length\)"),
        (torch.tensor([[1.0]]), "integer"),
        (torch.empty(1, 0, dtype=torch.long), "empty"),
        (torch.tensor([[VOCAB]]), "vocabulary"),
        (torch.tensor([[-1]]), "vocabulary"),
        (None, "bos_token_id"),
    ],
)
def test_wrong_inputs(ids, message):
    with pytest.raises(GenerationError, match=message):
        generate(ToyLM(), ids)


def test_more_wrong_inputs():
    with pytest.raises(GenerationError, match="attention_mask"):
        generate(ToyLM(), one(), torch.ones(1, 2))
    with pytest.raises(GenerationError, match="decoder_input_ids"):
        generate(ToyLM(), one(), decoder_input_ids=one())
    with pytest.raises(GenerationError, match="decoder_input_ids"):
        generate(ToySeq2Seq(), one(), decoder_input_ids=torch.tensor([[1], [2]]))
    with pytest.raises(GenerationError, match="decoder_start_token_id"):
        generate(ToySeq2Seq(decoder_start_token_id=None), one())
    with pytest.raises(GenerationError, match="decoder_start_token_id"):
        generate(ToySeq2Seq(decoder_start_token_id=[1, 2]), one())
    with pytest.raises(TypeError, match="top_k"):
        generate(ToyLM(), one(), topk=3)
    assert generate(ToyLM(), inputs=one(), max_new_tokens=1).shape == (1, 4)


def test_output_object():
    output = generate(ToyLM(), one(), return_dict_in_generate=True, output_scores=True, max_new_tokens=4)
    assert isinstance(output, GenerateOutput)
    assert output.keys() == ["sequences", "scores", "past_key_values"]
    assert output["sequences"] is output[0] is output.sequences and "logits" not in output
    assert len(output.scores) == 4 and output.scores[0].shape == (1, VOCAB)
    assert output.past_key_values.length == 6  # the last token was not read
    with pytest.raises(KeyError):
        output["logits"]


def test_a_model_may_bring_its_own_stepper():
    class Own(ToyLM):
        def new_stepper(self, ids, inputs, config, copies):
            self.made = True
            return CausalStepper(self, ids, inputs, config, copies)

    model = Own()
    assert generate(model, one(), max_new_tokens=3).tolist() == generate(ToyLM(), one(), max_new_tokens=3).tolist()
    assert model.made


def test_leaves_no_traces():
    model = ToyLM()
    config = GenerationConfig(max_new_tokens=3)
    ids, mask = padded("right")
    generate(model, ids, mask, generation_config=config, num_beams=2)
    assert config.said == {"max_new_tokens": 3} and model.generation_config.said == {
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    assert torch.equal(ids, padded("right")[0]) and torch.equal(mask, padded("right")[1])
