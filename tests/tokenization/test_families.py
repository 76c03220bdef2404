"""Every family, built from its vocabulary files, against transformers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tokenization import vocabularies as make
from tokenization.comparison import HARD, Comparison
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer
from minitransformer.hub import read_json

TEXTS = make.LINES[:20] + HARD
FAST = {
    "bert": (make.wordpiece, {}),
    "bert, old limit": (make.wordpiece, {"max_len": 40}),
    "bert cased": (make.wordpiece, {"do_lower_case": False, "model_max_length": 64, "strip_accents": True}),
    "bert, accents": (make.wordpiece, {"strip_accents": False, "tokenize_chinese_chars": False}),
    "distilbert": (make.wordpiece, {"tokenizer_class": "DistilBertTokenizer", "padding_side": "left"}),
    "electra": (make.wordpiece, {"tokenizer_class": "ElectraTokenizerFast", "truncation_side": "left"}),
    "gpt2": (make.gpt2, {}),
    "gpt2, bos": (make.gpt2, {"add_bos_token": True, "add_prefix_space": True, "model_max_length": 32}),
    "roberta": (make.roberta, {}),
    "roberta, prefix": (make.roberta, {"add_prefix_space": True, "trim_offsets": False}),
    "bart": (make.roberta, {"tokenizer_class": "BartTokenizer", "clean_up_tokenization_spaces": True}),
    "gpt": (make.gpt, {}),
    "qwen2": (make.qwen2, {}),
    "qwen2, chat": (make.qwen2, {"eos_token": "<|im_start|>", "model_max_length": 32, "padding_side": "left"}),
    "qwen3": (make.qwen2, {"model_type": "qwen3", "tokenizer_class": "Qwen2Tokenizer"}),
}
SENTENCEPIECE = {
    "t5": (make.t5, {"extra_ids": 10}),
    "t5, first": (make.t5, {"extra_ids": 10, "legacy": False}),
    "albert": (make.albert, {}),
    "albert, accents": (make.albert, {"keep_accents": True, "do_lower_case": False}),
    "llama": (make.llama, {}),
    "llama, not legacy": (make.llama, {"legacy": False, "pad_token": "<unk>"}),
    "llama, ends": (make.llama, {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}),
    "llama, no prefix": (make.llama, {"add_prefix_space": False, "legacy": False}),
    "llama, unigram": (make.llama, {"kind": "unigram"}),
    "llama, symbols": (make.llama, {"symbols": "<|user|> <code>"}),
    "mistral": (make.llama, {"model_type": "mistral", "tokenizer_class": "LlamaTokenizer"}),
    "mbart": (make.mbart, {"src_lang": "de_DE"}),
    "mbart-50": (make.mbart, {"tokenizer_class": "MBart50Tokenizer", "src_lang": "gl_ES"}),
    "nllb": (make.nllb, {"src_lang": "fra_Latn"}),
    "nllb, pairs": (make.nllb, {"kind": "bpe"}),
    "nllb, legacy": (make.nllb, {"legacy_behaviour": True, "src_lang": "deu_Latn"}),
    "pegasus": (make.pegasus, {}),
    "pegasus, no masks": (make.pegasus, {"offset": 0, "mask_token_sent": None, "mask_token": "the"}),
    "pegasus, small": (make.pegasus, {"offset": 7, "additional_special_tokens": ["<new>"]}),
}
SLOW = {
    "m2m100": (make.m2m100, {}),
    "m2m100, unigram": (make.m2m100, {"kind": "unigram", "src_lang": "fr", "tgt_lang": "zu"}),
    "m2m100, wmt21": (make.m2m100, {"language_codes": "wmt21"}),
    "marian": (make.marian, {}),
    "ctrl": (make.ctrl, {}),
    "transformer-xl": (make.transformer_xl, {}),
    "transformer-xl, lower": (make.transformer_xl, {"lower_case": True}),
}


def compare(folder: Path, **overrides: Any) -> Comparison:
    ours, theirs = (auto.from_pretrained(folder, **overrides) for auto in (AutoTokenizer, Reference))
    return Comparison(ours, theirs).everything(TEXTS)


@pytest.mark.parametrize("name", FAST)
def test_fast_families(name: str, tmp_path: Path) -> None:
    build, config = FAST[name]
    assert compare(build(tmp_path, **config)).equal()


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_sentencepiece_families(name: str, tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")
    build, config = SENTENCEPIECE[name]
    assert compare(build(tmp_path, **config)).equal()


@pytest.mark.parametrize("name", SLOW)
def test_families_without_fast_reference(name: str, tmp_path: Path) -> None:
    build, config = SLOW[name]
    assert compare(build(tmp_path, **config)).equal()


@pytest.mark.parametrize("build", [make.t5, make.albert, make.mbart, make.nllb, make.pegasus, make.llama])
def test_sentencepiece_itself(build: Any, tmp_path: Path) -> None:
    """The slow tokenizers run SentencePiece; on plain text all agree (but for ties: ".. ." and ". ..")."""
    ours = AutoTokenizer.from_pretrained(build(tmp_path))
    theirs = Reference.from_pretrained(tmp_path, use_fast=False)
    for line in (line for line in make.LINES if ".." not in line):
        assert ours(line)["input_ids"] == theirs(line)["input_ids"], line


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta"])
def test_overrides_win(name: str, tmp_path: Path) -> None:
    build, overrides = {
        "bert": (make.wordpiece, {"do_lower_case": False, "mask_token": "[unused0]", "model_max_length": 16}),
        "gpt2": (make.gpt2, {"pad_token": "<|endoftext|>", "padding_side": "left"}),
        "roberta": (make.roberta, {"add_prefix_space": True, "mask_token": "<unk>"}),
    }[name]
    assert compare(build(tmp_path), **overrides).equal()


def test_tokenizer_json_is_preferred_and_overridden(tmp_path: Path) -> None:
    """The settings of tokenizer_config.json win over what tokenizer.json says."""
    Reference.from_pretrained(make.wordpiece(tmp_path / "a")).save_pretrained(tmp_path / "b")
    for config in ({"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}):
        assert compare(make.folder(tmp_path / "b", "bert", config)).equal()
    Reference.from_pretrained(make.roberta(tmp_path / "c")).save_pretrained(tmp_path / "d")
    Reference.from_pretrained(make.llama(tmp_path / "e")).save_pretrained(tmp_path / "f")
    for config in ({"add_eos_token": True}, {"add_bos_token": False}, {"tokenizer_class": "LlamaTokenizerFast"}):
        assert compare(make.folder(tmp_path / "f", "llama", config)).equal()
    for config in ({"trim_offsets": False}, {"add_prefix_space": True}, {"tokenizer_class": "BartTokenizer"}):
        assert compare(make.folder(tmp_path / "d", "roberta", config)).equal()


def test_tokenizer_json_of_no_family(tmp_path: Path) -> None:
    """PreTrainedTokenizerFast, with padding and truncation in its file."""
    backend = AutoTokenizer.from_pretrained(make.wordpiece(tmp_path / "a")).backend
    backend.enable_padding(direction="left", pad_id=0, pad_token="[PAD]")
    backend.enable_truncation(7, direction="left")
    folder = make.folder(tmp_path / "b", None, {"tokenizer_class": "PreTrainedTokenizerFast"})
    backend.save(str(folder / "tokenizer.json"))
    comparison = compare(folder)
    assert comparison.equal()
    assert comparison.ours.padding_side == "left"


@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        ("kimono", None),
        ("kimono", {}),
        ("bert", {"tokenizer_class": "KimonoTokenizerFast"}),
        (None, {"tokenizer_class": "KimonoTokenizer"}),
    ],
)
def test_a_tokenizer_json_is_enough_for_any_architecture(
    model_type: str | None, config: dict[str, Any] | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = AutoTokenizer.from_pretrained(make.roberta(tmp_path / "a"))
    folder = make.folder(tmp_path / "b", model_type, config)
    known.backend.save(str(folder / "tokenizer.json"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer(make.LINES[:9])["input_ids"] == known(make.LINES[:9])["input_ids"]
    assert ("KimonoTokenizer" in caplog.text) == bool(config)
    make.write(folder / "config.json", {"model_type": "kimono", "tokenizer_class": "KimonoTokenizer"})
    assert type(AutoTokenizer.from_pretrained(folder)) is type(tokenizer)


FORMS = ["additional_special_tokens", "as dictionaries", "added_tokens_decoder", "old files", "tokenizer.json", "asked"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("build", [make.wordpiece, make.roberta, make.t5, make.marian])
def test_reading_thousands_of_added_tokens_takes_no_time(build: Any, form: str, tmp_path: Path) -> None:
    """A quadratic reading of 4,000 takes a minute."""
    names = [f"<new {i}>" for i in range(4000)]
    folder = build(tmp_path / "a")
    size = len(AutoTokenizer.from_pretrained(folder))
    config, overrides = read_json(folder / "tokenizer_config.json"), {}
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    match form:
        case "additional_special_tokens":
            config["additional_special_tokens"] = names
        case "as dictionaries":
            config["additional_special_tokens"] = [{"content": name, **flags} for name in names]
        case "added_tokens_decoder":
            tokens = AutoTokenizer.from_pretrained(folder).added_tokens_decoder
            known = {str(i): token.__getstate__() for i, token in tokens.items()}
            config["added_tokens_decoder"] = known | {
                str(size + i): {"content": name, "special": True, **flags} for i, name in enumerate(names)
            }
        case "old files":
            make.write(folder / "added_tokens.json", {name: size + i for i, name in enumerate(names)})
            tokens = [{"content": name, **flags} for name in names]
            make.write(folder / "special_tokens_map.json", {"additional_special_tokens": tokens})
        case "tokenizer.json":
            tokenizer = AutoTokenizer.from_pretrained(folder)
            tokenizer.add_special_tokens({"additional_special_tokens": names})
            tokenizer.save_pretrained(folder)
            config = read_json(folder / "tokenizer_config.json")
        case "asked":
            overrides = {"additional_special_tokens": names}
    make.write(folder / "tokenizer_config.json", config)
    started = time.process_time()
    tokenizer = AutoTokenizer.from_pretrained(folder, **overrides)
    rows = tokenizer(["a <new 3> key", *make.LINES[:5]])
    tokenizer.batch_decode(rows["input_ids"], skip_special_tokens=True)
    assert time.process_time() - started < 5
    assert tokenizer.convert_tokens_to_ids(["<new 0>", "<new 3999>"]) == [len(tokenizer) - 4000, len(tokenizer) - 1]
    assert tokenizer.convert_tokens_to_ids("<new 3>") in rows["input_ids"][0]


def test_old_files(tmp_path: Path) -> None:
    """special_tokens_map.json and added_tokens.json, as they were written before 2023."""
    folder = make.roberta(tmp_path, errors="replace")
    size = len(AutoTokenizer.from_pretrained(folder))
    make.write(folder / "added_tokens.json", {"<new>": size, "<extra>": size + 1})
    token = {"content": "<extra>", "lstrip": False, "rstrip": True, "single_word": False, "normalized": False}
    make.write(folder / "special_tokens_map.json", {"pad_token": "<pad>", "additional_special_tokens": [token]})
    comparison = Comparison(AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder))
    comparison.everything([*TEXTS, "x<new>y <extra>  z", "<extra><new>"])
    assert comparison.equal()
    assert len(comparison.ours) == size + 2


@pytest.mark.parametrize(
    ("build", "family"),
    [
        (make.wordpiece, "BertTokenizer"),
        (make.gpt2, "GPT2Tokenizer"),
        (make.roberta, "RobertaTokenizer"),
        (make.gpt, "OpenAIGPTTokenizer"),
        (make.ctrl, "CTRLTokenizer"),
        (make.t5, "T5Tokenizer"),
        (make.albert, "AlbertTokenizer"),
        (make.mbart, "MBartTokenizer"),
        (make.marian, "MarianTokenizer"),
    ],
)
def test_the_files_tell_the_family(build: Any, family: str, tmp_path: Path) -> None:
    folder = build(tmp_path)
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    assert type(AutoTokenizer.from_pretrained(folder)).__name__ == family


def test_ctrl_reads_merges_with_no_break_spaces(tmp_path: Path) -> None:
    """Its published file has some sixty, which the reference takes for other merges, where they stand."""
    path = make.ctrl(tmp_path) / "merges.txt"
    version, first, *rest = path.read_text(encoding="utf-8").split("\n")
    odd = ["q\xa0 u", "\xa0 b", "b o\xa0", "t a\xa0b"]
    path.write_text("\n".join([version, *odd, first, *rest[:30], "u\xa0 e", *rest[30:]]), encoding="utf-8")
    assert compare(tmp_path).equal()
