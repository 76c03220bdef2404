"""Small checkpoints of all three families, with vocabularies made here, for tests that need a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer

from minitransformer import AutoConfig
from minitransformer.models.auto import architecture

TEXT = """paris is the capital of france . the cat sleeps because it is tired . who sleeps ? what is this ?
attention compares every query with every key . once upon a time there was a transformer ."""
SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


def bert(folder: Path, head: str = "ForMaskedLM", **config: Any) -> Path:
    """A BERT with a WordPiece vocabulary of whole words and letters."""
    letters = "abcdefghijklmnopqrstuvwxyz.?,'"
    words = dict.fromkeys([*SPECIAL.values(), *TEXT.split(), *letters, *(f"##{c}" for c in letters)])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **SPECIAL})
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    raw = {"model_type": "bert", "vocab_size": len(words), "max_position_embeddings": 64, **sizes, **config}
    return _save(folder, head, raw)


def bert_pretrained(folder: Path) -> Path:
    """A BERT as pretraining leaves it: with the masked LM head and the pooler, as the published ones have."""
    pooler = load_file(bert(folder, "Model") / "model.safetensors")
    masked = load_file(bert(folder) / "model.safetensors")
    masked |= {f"bert.{name}": tensor for name, tensor in pooler.items() if name.startswith("pooler")}
    save_file(masked, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def gpt2(folder: Path, head: str = "ForCausalLM", **config: Any) -> Path:
    """A GPT-2 with a byte-level BPE vocabulary."""
    vocab = _byte_level(folder, ["<|endoftext|>"], tokenizer_class="GPT2Tokenizer", eos_token="<|endoftext|>")
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    special = {"bos_token_id": vocab["<|endoftext|>"], "eos_token_id": vocab["<|endoftext|>"]}
    return _save(folder, head, {"model_type": "gpt2", "vocab_size": len(vocab), **sizes, **special, **config})


def bart(folder: Path, head: str = "ForSeq2SeqLM", **config: Any) -> Path:
    """A BART with a byte-level BPE vocabulary."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = _byte_level(folder, special, tokenizer_class="BartTokenizer")
    sizes = {"d_model": 16, "max_position_embeddings": 64}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": 2, f"{side}_attention_heads": 2, f"{side}_ffn_dim": 24}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    return _save(folder, head, {"model_type": "bart", "vocab_size": len(vocab), **sizes, **ids, **config})


def _save(folder: Path, head: str, raw: dict[str, Any]) -> Path:
    torch.manual_seed(0)
    config = AutoConfig.from_dict(raw)
    architecture(config.model_type).heads[head].from_config(config).save_pretrained(folder)
    return folder


def _byte_level(folder: Path, special: list[str], **tokenizer_config: Any) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([TEXT], vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.save_model(str(folder))
    _write(folder / "tokenizer_config.json", tokenizer_config)
    vocab: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return vocab


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
