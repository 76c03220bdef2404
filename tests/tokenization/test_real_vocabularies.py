"""The published vocabularies on thousands of lines, where the data is at hand.

Set MINITRANSFORMER_DATA to a folder with tok_bert_base_uncased/vocab.txt, tok_gpt2/tokenizer.json and so on,
and with the texts named below; MINITRANSFORMER_LINES says how many lines (default 2,000).
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tokenization import vocabularies as make
from tokenization.comparison import HARD, Comparison
from transformers import AutoTokenizer as Reference

from minitransformer import AutoTokenizer

DATA = Path(os.environ.get("MINITRANSFORMER_DATA", ""))
COUNT = int(os.environ.get("MINITRANSFORMER_LINES", "2000"))
pytestmark = [
    pytest.mark.skipif("MINITRANSFORMER_DATA" not in os.environ, reason="MINITRANSFORMER_DATA is not set"),
    pytest.mark.slow,
]

TEXTS = {
    "lm_wikitext2/wiki.valid.raw": 0.4,
    "lm_gutenberg/alice_in_wonderland.txt": 0.2,
    "ner_wnut17/train.conll": 0.1,
    "mt_tatoeba_deu_eng/test.tsv": 0.15,
    "mt_tatoeba_fra_eng/test.tsv": 0.15,
}
BPE = {"vocab.json": "vocab.json", "merges.txt": "merges.txt"}
CASES: dict[str, tuple[str, str, dict[str, str], dict[str, Any]]] = {
    "bert uncased": ("bert", "tok_bert_base_uncased", {"vocab.txt": "vocab.txt"}, {}),
    "bert cased": ("bert", "tok_bert_base_cased", {"vocab.txt": "vocab.txt"}, {"do_lower_case": False}),
    "gpt2": ("gpt2", "tok_gpt2", BPE, {}),
    "gpt2, tokenizer.json": ("gpt2", "tok_gpt2", {"tokenizer.json": "tokenizer.json"}, {}),
    "roberta": ("roberta", "tok_roberta", BPE, {"add_prefix_space": True}),
    "roberta, tokenizer.json": ("roberta", "tok_roberta", {"tokenizer.json": "tokenizer.json"}, {}),
    "bart": ("bart", "tok_roberta", BPE, {}),
    "gpt": (
        "openai-gpt",
        "tok_openai_gpt",
        {"encoder_bpe_40000.json": "vocab.json", "vocab_40000.bpe": "merges.txt"},
        {},
    ),
    "t5": ("t5", "tok_t5", {"spiece.model": "spiece.model"}, {}),
    "t5, tokenizer.json": ("t5", "tok_t5", {"tokenizer.json": "tokenizer.json"}, {}),
    "albert": ("albert", "tok_albert", {"spiece.model": "spiece.model"}, {}),
    "mbart": ("mbart", "tok_t5", {"spiece.model": "sentencepiece.bpe.model"}, {"src_lang": "de_DE"}),
    "marian": (
        "marian",
        "tok_marian_fr_en",
        {name: name for name in ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json")},
        {},
    ),
    "ctrl": ("ctrl", "tok_ctrl", {"ctrl-merges.txt": "merges.txt"}, {}),
    "transformer-xl": ("transfo-xl", "", {}, {}),
}


@pytest.fixture(scope="module")
def lines() -> list[str]:
    found: list[str] = []
    for name, share in TEXTS.items():
        with open(DATA / name, encoding="utf-8") as file:
            kept = [line.rstrip("\n") for line in file if line.strip()]
        found += kept[: int(COUNT * share)]
    return [*found, *HARD]


def write_words(folder: Path) -> None:
    """Files that cannot be copied: CTRL has a list of counts, Transformer-XL's words come from a text."""
    if (folder / "merges.txt").exists():
        with gzip.open(DATA / "tok_ctrl/vocab.gz", "rt", encoding="utf-8") as file:
            tokens = dict.fromkeys([line.rsplit(" ", 1)[0] for line in file] + ["<unk>"])
        make.write(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    else:
        text = (DATA / "lm_wikitext2/wiki.valid.raw").read_text(encoding="utf-8")
        words = [
            "<unk>",
            "<eos>",
            "<formula>",
            *(word for word, _ in Counter(text.split()).most_common(9000)),
        ]
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in dict.fromkeys(words)), encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_real_vocabulary(name: str, tmp_path: Path, lines: list[str]) -> None:
    model_type, source, files, config = CASES[name]
    if any(file.endswith((".model", ".spm")) for file in files):
        pytest.importorskip("google.protobuf", reason="the reference reads SentencePiece files with protobuf")
    folder = make.folder(tmp_path, model_type, config or None)
    for file, target in files.items():
        shutil.copyfile(DATA / source / file, folder / target)
    if name in ("ctrl", "transformer-xl"):
        write_words(folder)
    comparison = Comparison(AutoTokenizer.from_pretrained(folder), Reference.from_pretrained(folder))
    assert comparison.everything(lines).equal()
    print(f"\n{name}: {len(lines)} lines, {comparison.count} comparisons, no difference")
