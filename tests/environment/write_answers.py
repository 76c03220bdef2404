"""Writes what test_answers.py compares with: vocabularies of all families, and what transformers 4.57.6 makes of them
and of the checkpoints inside the package.

``make test``'s environment has that release: ``cd tests && python environment/write_answers.py``. Vocabularies are
stored too, since what trains them may change with its version.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
FAMILIES = {
    "bert": ("wordpiece", {}),
    "gpt2": ("gpt2", {}),
    "roberta": ("roberta", {}),
    "roberta-prefix": ("roberta", {"add_prefix_space": True, "trim_offsets": False}),
    "bart": ("roberta", {"tokenizer_class": "BartTokenizer"}),
    "gpt": ("gpt", {}),
    "ctrl": ("ctrl", {}),
    "transformer-xl": ("transformer_xl", {}),
    "t5": ("t5", {"extra_ids": 10}),
    "albert": ("albert", {}),
    "mbart": ("mbart", {"src_lang": "de_DE"}),
    "marian": ("marian", {}),
    "fsmt": ("fsmt", {}),
}


def plain(answer: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(answer, default=lambda x: x.tolist()))


def tokenized(tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    """What a tokenizer makes of texts, of pairs of them, and of the ids."""
    pairs = zip(texts, texts[1:], strict=False)
    ids = [list(tokenizer(text)["input_ids"]) for text in texts]
    return {
        "ids": ids,
        "pairs": [list(tokenizer(*pair)["input_ids"]) for pair in pairs],
        "texts": [tokenizer.decode(row) for row in ids],
        "texts without special tokens": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
        "tokens": [tokenizer.convert_ids_to_tokens(row) for row in ids],
    }


def main() -> None:
    import torch
    import transformers
    from tokenization import vocabularies
    from tokenization.comparison import HARD
    from toys import CALLS, FURTHER

    from minitransformer.hub import EMBEDDED

    assert transformers.__version__ == "4.57.6"
    vocabularies.spm = functools.partial(vocabularies.spm, normalization_rule_name="identity")  # files are small then
    texts = vocabularies.LINES[:6] + [text for text in HARD if text.strip() and len(text) < 100]
    content: dict[str, Any] = {"texts": texts, "tokenizers": {}, "pipelines": {}}
    for name, (family, config) in FAMILIES.items():
        folder = HERE / "vocabularies" / name
        shutil.rmtree(folder, ignore_errors=True)
        options = {} if family == "ctrl" else config
        getattr(vocabularies, family)(folder, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        content["tokenizers"][name] = tokenized(tokenizer, texts)
    for name in CALLS:
        tokenizer = transformers.AutoTokenizer.from_pretrained(EMBEDDED / name)
        content["tokenizers"][f"minitransformer/{name}"] = tokenized(tokenizer, texts)
    calls = {f"{task} {name}": (task, name, inputs, options) for name, (task, inputs, options) in CALLS.items()}
    calls |= {f"{task} {name}": (task, name, inputs, options) for task, (name, inputs, options) in FURTHER.items()}
    for key, (task, name, inputs, options) in calls.items():
        pipe = transformers.pipeline(task, str(EMBEDDED / name), device="cpu", dtype=torch.float64)
        content["pipelines"][key] = plain(pipe(*inputs, **options))
    body = ",\n".join(
        f'"{k}": {{\n' + ",\n".join(f"{json.dumps(n)}: {json.dumps(x)}" for n, x in v.items()) + "\n}"
        if isinstance(v, dict)
        else f'"{k}": {json.dumps(v)}'
        for k, v in content.items()
    )
    (HERE / "answers.json").write_text(f"{{\n{body}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
