"""Small checkpoints of every architecture with all their files, made once in a process, to be copied and mutilated."""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenization import vocabularies as make

from minitransformer import AutoConfig, AutoTokenizer
from minitransformer.hub import embedded_folder
from minitransformer.models.auto import architecture

FAIRSEQ = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 40,
}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}

DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 20}
TRANSFORMER_XL = {
    **{"d_model": 16, "d_embed": 16, "n_layer": 2, "n_head": 2, "d_head": 8, "d_inner": 20},
    **{"cutoffs": [20, 40], "div_val": 2, "mem_len": 8},
}


def wordpiece_of(model_type: str) -> Callable[[Path], Path]:
    return lambda path: make.wordpiece(path, model_type)


def pickled_words(path: Path) -> Path:
    make.transformer_xl(path)
    words = (path / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    content = {
        "counter": Counter(words),
        "special": ["<eos>"],
        "lower_case": False,
        "idx2sym": words,
        "sym2idx": OrderedDict((word, i) for i, word in enumerate(words)),
    }
    (path / "vocab.txt").unlink()
    (path / "vocab.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return path


FOLDERS: dict[str, tuple[Callable[[Path], Path], str, str, dict[str, Any]]] = {
    "bert": (wordpiece_of("bert"), "bert", "ForMaskedLM", BERT),
    "distilbert": (
        wordpiece_of("distilbert"),
        "distilbert",
        "ForQuestionAnswering",
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 20},
    ),
    "electra": (wordpiece_of("electra"), "electra", "ForTokenClassification", {**BERT, "embedding_size": 8}),
    "albert": (make.albert, "albert", "ForSequenceClassification", {**BERT, "embedding_size": 8}),
    "roberta": (make.roberta, "roberta", "ForMaskedLM", {**BERT, "pad_token_id": 1}),
    "gpt2": (make.gpt2, "gpt2", "ForCausalLM", {**GPT, "bos_token_id": 0, "eos_token_id": 0}),
    "gpt": (make.gpt, "openai-gpt", "ForCausalLM", GPT),
    "ctrl": (make.ctrl, "ctrl", "ForCausalLM", {**GPT, "dff": 24}),
    "bart": (lambda path: make.roberta(path, "bart"), "bart", "ForSeq2SeqLM", FAIRSEQ),
    "mbart": (make.mbart, "mbart", "ForSeq2SeqLM", FAIRSEQ),
    "marian": (make.marian, "marian", "ForSeq2SeqLM", {**FAIRSEQ, "pad_token_id": 5, "decoder_start_token_id": 5}),
    "t5": (make.t5, "t5", "ForSeq2SeqLM", {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 2}),
    "fsmt": (make.fsmt, "fsmt", "ForSeq2SeqLM", {**FAIRSEQ, "langs": ["en", "de"]}),
    "transfo-xl": (
        pickled_words,
        "transfo-xl",
        "ForCausalLM",
        {
            "d_model": 16,
            "d_embed": 16,
            "n_layer": 2,
            "n_head": 2,
            "d_head": 8,
            "d_inner": 20,
            "cutoffs": [20, 40],
            "div_val": 2,
            "mem_len": 8,
        },
    ),
}
"""Name -> maker of its vocabulary, model_type, head, sizes."""
TOYS = ("bert-books", "bert-sentiment", "gpt2-stories", "marian-fr-en")
FORMS = ("safetensors", "zip", "legacy", "shards")


@cache
def original(name: str) -> Path:
    """A folder that loads."""
    if name in TOYS:
        found = embedded_folder(f"minitransformer/{name}")
        assert found is not None
        return found
    make_vocabulary, model_type, head, sizes = FOLDERS[name]
    folder = make_vocabulary(Path(tempfile.mkdtemp(prefix=f"original-{name}-")))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    raw: dict[str, Any] = {"model_type": model_type, "vocab_size": len(tokenizer), **sizes}
    if model_type == "fsmt":
        raw |= {"src_vocab_size": len(tokenizer), "tgt_vocab_size": tokenizer.target_backend.get_vocab_size()}
        del raw["vocab_size"]
    torch.manual_seed(0)
    config = AutoConfig.from_dict(raw)
    tokenizer.save_pretrained(folder)
    architecture(model_type).heads[head].from_config(config).save_pretrained(folder)
    return folder


@cache
def weights(name: str, form: str) -> dict[str, bytes]:
    """The files of weights in another form."""
    folder = original(name)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        if form == "shards":
            from minitransformer.weights import open_checkpoint, save_checkpoint

            source = open_checkpoint(folder)
            save_checkpoint({key: source.read(key) for key in source.names()}, out, max_shard_size=20_000)
        else:
            from safetensors.torch import load_file

            tensors = load_file(folder / "model.safetensors")
            torch.save(tensors, out / "pytorch_model.bin", _use_new_zipfile_serialization=form == "zip")
        return {path.name: path.read_bytes() for path in out.iterdir()}


def copy(name: str, form: str, to: Path, *, tokenizer_json: bool = True) -> None:
    """A copy, with its weights in this form."""
    for path in original(name).iterdir():
        shutil.copyfile(path, to / path.name)
    if form != "safetensors":
        (to / "model.safetensors").unlink()
        for file, content in weights(name, form).items():
            (to / file).write_bytes(content)
    if not tokenizer_json:
        (to / "tokenizer.json").unlink(missing_ok=True)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
