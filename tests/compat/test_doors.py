"""Small things that scripts for transformers ask configs, tokenizers and arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

import minitransformer
from minitransformer import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, MissingFileError, UnknownOptionError

STORIES, BOOKS = "minitransformer/gpt2-stories", "minitransformer/bert-books"


def test_options_of_generate_are_written_and_read_as_in_transformers(tmp_path: Path) -> None:
    said = {"max_new_tokens": 5, "num_beams": 2, "eos_token_id": [1, 2], "temperature": 0.5, "do_sample": True}
    GenerationConfig(**said).save_pretrained(tmp_path / "ours")
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path / "ours")
    assert {name: getattr(theirs, name) for name in said} == said
    theirs.save_pretrained(tmp_path / "theirs")
    ours = GenerationConfig.from_pretrained(tmp_path / "theirs", num_beams=3)
    assert {name: getattr(ours, name) for name in said} == {**said, "num_beams": 3}
    with pytest.raises(UnknownOptionError, match="num_beams"):
        GenerationConfig.from_pretrained(tmp_path / "ours", num_beam=3)
    with pytest.raises(MissingFileError):
        GenerationConfig.from_pretrained(tmp_path)


def test_a_config_may_say_that_calls_give_tuples() -> None:
    model = AutoModelForCausalLM.from_pretrained(STORIES, return_dict=False)
    ids = torch.tensor([[5, 6, 7]])
    logits, cache = model(ids)
    assert torch.equal(logits, model(ids, return_dict=True).logits) and cache.get_seq_length() == 3
    written = AutoModelForCausalLM.from_pretrained(STORIES).generate(ids, max_new_tokens=4, do_sample=False)
    assert torch.equal(model.generate(ids, max_new_tokens=4, do_sample=False), written)


def test_a_config_tells_what_is_unusual() -> None:
    config = minitransformer.BertConfig(num_hidden_layers=3, num_labels=3)
    theirs = transformers.BertConfig(num_hidden_layers=3, num_labels=3).to_diff_dict()
    found = config.to_diff_dict()
    assert found["num_hidden_layers"] == 3 and found["id2label"] == theirs["id2label"]
    assert "hidden_size" not in found


def test_a_tokenizer_tells_lengths_its_source_and_its_backend(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(BOOKS)
    assert tokenizer.name_or_path == BOOKS
    assert tokenizer._tokenizer is tokenizer.backend_tokenizer
    tokenizer.save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("She sat.", ["She sat.", "He"]):
        assert tokenizer(text, return_length=True)["length"] == theirs(text, return_length=True)["length"]
    assert AutoTokenizer.from_pretrained(tmp_path).name_or_path == str(tmp_path)


def test_arguments_tell_how_many_train() -> None:
    args = minitransformer.TrainingArguments("out", use_cpu=True)
    assert (args.n_gpu, args.world_size, args.process_index) == (0, 1, 0)
