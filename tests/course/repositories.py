"""What the loopback Hub holds under the ids that the course names: tiny checkpoints in the layouts of the real ones.

Weights come from the checkpoints inside the package, where there is one for the task, else they are drawn here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from tokenization import vocabularies

from minitransformer.hub import embedded_folder
from minitransformer.models.auto import AutoConfig, architecture

PINNED = {
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": "714eb0f",
    "facebook/bart-large-mnli": "d7645e1",
    "openai-community/gpt2": "607a30d",
    "distilbert/distilroberta-base": "fb53ab8",
    "dbmdz/bert-large-cased-finetuned-conll03-english": "4c53496",
    "distilbert/distilbert-base-cased-distilled-squad": "564e9b5",
    "sshleifer/distilbart-cnn-12-6": "a4f8f3e",
    "google-t5/t5-base": "a9723ea",
    "distilbert/distilbert-base-cased": "6ea8117",
    "facebook/bart-base": "f6b0c1b",
}
"""Ids of the tasks' default models -> the revision that is asked for."""

ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
DISTILLED = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 96}
DISTILLED |= {"dropout": 0.0, "attention_dropout": 0.0, "qa_dropout": 0.0, "seq_classif_dropout": 0.0}
SIDES = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in
         {"layers": 2, "attention_heads": 4, "ffn_dim": 48}.items()}  # fmt: skip
ENTITIES = {i: label for i, label in enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])}


def embedded(name: str, **config: Any) -> Callable[[Path], Path]:
    """One of the package's checkpoints, in float32, which both libraries then compute in."""

    def make(folder: Path) -> Path:
        source = embedded_folder(f"minitransformer/{name}")
        folder.mkdir(parents=True)
        for path in source.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        tensors = {key: tensor.float() for key, tensor in load_file(folder / "model.safetensors").items()}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write(folder / "config.json", {**raw, "torch_dtype": "float32", **config})
        return folder

    return make


def encoder(head: str, *, cased: bool = False, distilled: bool = False, **config: Any) -> Callable[[Path], Path]:
    """A BERT or DistilBERT with a WordPiece vocabulary."""

    def make(folder: Path) -> Path:
        kind = "distilbert" if distilled else "bert"
        options = {"do_lower_case": not cased, "model_max_length": 64}
        name = "DistilBertTokenizer" if distilled else "BertTokenizer"
        vocabularies.wordpiece(folder, kind, **options, tokenizer_class=name)
        size = len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
        drawn(folder, head, {"model_type": kind, "vocab_size": size, **(DISTILLED if distilled else ENCODER), **config})
        if head == "ForMaskedLM" and not distilled:  # the published ones hold the pooler as well
            pooler = {"bert.pooler.dense.weight": torch.randn(32, 32) * 0.1, "bert.pooler.dense.bias": torch.zeros(32)}
            save_file(load_file(folder / "model.safetensors") | pooler, folder / "model.safetensors", {"format": "pt"})
        return folder

    return make


def roberta(folder: Path) -> Path:
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabularies.byte_level(folder, "roberta", special, tokenizer_class="RobertaTokenizer", model_max_length=64)
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    return drawn(folder, "ForMaskedLM", {"model_type": "roberta", "vocab_size": size, **ENCODER})


def bart(head: str, **config: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        vocabularies.byte_level(folder, "bart", special, tokenizer_class="BartTokenizer", model_max_length=64)
        size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
        sizes = {"d_model": 32, "max_position_embeddings": 96, "dropout": 0.0, **SIDES}
        ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
        ids |= {"forced_eos_token_id": 2}
        return drawn(folder, head, {"model_type": "bart", "vocab_size": size, **sizes, **ids, **config})

    return make


def t5(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "lines.txt"
    text.write_text("\n".join(vocabularies.LINES), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.Train(
        f"--input={text} --model_prefix={folder}/spiece --vocab_size=300 --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1 "
        "--hard_vocab_limit=false --minloglevel=2 --model_type=unigram"
    )
    for name in ("lines.txt", "spiece.vocab"):
        (folder / name).unlink()
    write(
        folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 64}
    )
    size = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model")).get_piece_size() + 100
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0}
    ids = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    return drawn(folder, "ForSeq2SeqLM", {"model_type": "t5", "vocab_size": size, **sizes, **ids})


def drawn(folder: Path, head: str, config: dict[str, Any]) -> Path:
    """A new model of this config, in the folder of its tokenizer."""
    torch.manual_seed(0)
    made = AutoConfig.from_dict({**config, "initializer_range": 0.4} if "d_model" not in config else config)
    model = architecture(made.model_type).heads[head].from_config(made)
    tokenizer = (folder / "tokenizer_config.json").read_bytes()
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_bytes(tokenizer)
    return folder


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


MNLI = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
MAKERS: dict[str, Callable[[Path], Path]] = {
    "distilbert/distilbert-base-uncased-finetuned-sst-2-english": encoder(
        "ForSequenceClassification", distilled=True, id2label={0: "NEGATIVE", 1: "POSITIVE"}
    ),
    "facebook/bart-large-mnli": bart("ForSequenceClassification", **MNLI),
    "openai-community/gpt2": embedded("gpt2-stories"),
    "distilgpt2": embedded("gpt2-stories"),
    "distilbert/distilroberta-base": roberta,
    "dbmdz/bert-large-cased-finetuned-conll03-english": embedded("bert-ner"),
    "distilbert/distilbert-base-cased-distilled-squad": embedded("bert-qa"),
    "sshleifer/distilbart-cnn-12-6": embedded("bart-tldr"),
    "google-t5/t5-base": t5,
    "google-t5/t5-small": t5,
    "Helsinki-NLP/opus-mt-fr-en": embedded("marian-fr-en"),
    "distilbert/distilbert-base-cased": encoder("ForMaskedLM", distilled=True, cased=True),
    "facebook/bart-base": bart("ForSeq2SeqLM"),
    "bert-base-uncased": encoder("ForMaskedLM"),
    "bert-base-cased": encoder("ForMaskedLM", cased=True),
    "tiny/without-dropout": encoder("ForSequenceClassification"),
    "tiny/pretraining": encoder("ForPreTraining"),
    "tiny/next": encoder("ForNextSentencePrediction"),
    "tiny/choice": encoder("ForMultipleChoice"),
    "tiny/names": encoder("ForTokenClassification", cased=True, id2label=ENTITIES),
    "tiny/words": encoder("ForMaskedLM"),
    "tiny/answers": encoder("ForQuestionAnswering", cased=True),
    "tiny/translation": embedded("marian-en-de", dropout=0.0, attention_dropout=0.0, activation_dropout=0.0),
}
OTHER_NAMES = {
    "distilbert-base-uncased-finetuned-sst-2-english": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    "gpt2": "openai-community/gpt2",
    "distilbert-base-cased-distilled-squad": "distilbert/distilbert-base-cased-distilled-squad",
}
"""Ids under which the course still asks for models that have moved."""


def make_all(root: Path) -> dict[str, dict[str, bytes]]:
    """Id -> files."""
    found: dict[str, dict[str, bytes]] = {}
    for number, (name, make) in enumerate(MAKERS.items()):
        folder = make(root / str(number))
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        found[name] = {n: data for n, data in files.items() if n not in ("README.md", "evaluation.json")}
    return found | {name: found[today] for name, today in OTHER_NAMES.items()}
