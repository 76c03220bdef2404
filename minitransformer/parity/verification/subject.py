"""What is verified: a checkpoint's model in float64, its tokenizer, the reference's, and inputs for them."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from minitransformer.errors import MissingFileError
from minitransformer.hub import Repository
from minitransformer.models.common.base import PretrainedModel
from minitransformer.parity.twins import repaired
from minitransformer.tokenization import AutoTokenizer
from minitransformer.weights import open_checkpoint

LENGTHS = (7, 4, 6)
TOLERANCE = 1e-10
"""Of float64, where rounding vanishes and a fault stays."""


@dataclass
class Subject:
    """A checkpoint, and what it is compared with."""

    repository: Repository
    model: Any
    """Ours."""
    loading: dict[str, Any]
    """What became of the file's tensors."""
    reference: Any = None
    """The same model of transformers, if it is installed and has it."""
    reference_missing: str = ""
    """Why there is none."""
    _random: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    @cached_property
    def raw_config(self) -> dict[str, Any]:
        """config.json."""
        raw: dict[str, Any] = json.loads(self.repository.file("config.json").read_text(encoding="utf-8"))
        return raw

    @cached_property
    def file_tensors(self) -> list[str]:
        """The tensors of the checkpoint."""
        return list(open_checkpoint(self.repository).names())

    @cached_property
    def tokenizer(self) -> Any:
        """Ours, or None if the folder has no tokenizer."""
        try:
            return AutoTokenizer.from_pretrained(self.repository)
        except MissingFileError:
            return None

    @property
    def head(self) -> str:
        """The task, less "AutoModel"; "" for the model without a head."""
        return self.model.HEAD or ""

    @property
    def two_sides(self) -> bool:
        """Whether it has an encoder and a decoder."""
        return "decoder_input_ids" in self.model.forward_parameters()

    @property
    def takes_mask(self) -> bool:
        """Whether it knows padding."""
        return "attention_mask" in self.model.forward_parameters()

    @property
    def reference_takes_mask(self) -> bool:
        """Whether the reference does, too; Transformer-XL's does not."""
        return "attention_mask" in inspect.signature(type(self.reference).forward).parameters

    @property
    def writes(self) -> bool:
        """Whether it generates."""
        return self.head in ("ForCausalLM", "ForSeq2SeqLM")

    def ids(self, batch: int, length: int) -> Tensor:
        """Ids that are no special tokens."""
        config = self.model.config
        special = {config.pad_token_id, config.bos_token_id, config.sep_token_id, config.decoder_start_token_id}
        ends = config.eos_token_id
        special |= set(ends) if isinstance(ends, list) else {ends}
        plain = torch.tensor([i for i in range(min(config.vocab_size, 1000)) if i not in special])
        return plain[torch.randint(len(plain), (batch, length), generator=self._random)]

    def padded(self, side: str = "right", lengths: tuple[int, ...] = LENGTHS) -> dict[str, Tensor]:
        """Inputs of unequal length, as many as the model has positions for."""
        room = self.model.config.max_positions
        lengths = tuple(min(n, room or n) for n in lengths)
        longest = max(lengths)
        ids = self.ids(len(lengths), longest)
        inputs = {"input_ids": ids}
        if self.takes_mask:
            place, counts = torch.arange(longest)[None], torch.tensor(lengths)[:, None]
            mask = place < counts if side == "right" else place >= longest - counts
            inputs["attention_mask"] = mask.long()
            inputs["input_ids"] = ids.masked_fill(~mask, self.model.config.pad_token_id or 0)
            if self.two_sides and self.head == "ForSequenceClassification":
                last = (mask.cumsum(-1) == mask.sum(-1, keepdim=True)) & mask
                inputs["input_ids"] = inputs["input_ids"].masked_fill(last, self._end)
        if self.two_sides and self.head != "ForSequenceClassification":
            inputs["decoder_input_ids"] = self.ids(len(lengths), min(5, room or 5))
        return inputs

    def beside(self) -> dict[str, Tensor]:
        """Inputs for both: padded, if the reference knows padding."""
        return self.padded() if self.reference_takes_mask else {"input_ids": self.ids(2, LENGTHS[0])}

    @property
    def _end(self) -> int:
        end = self.model.config.eos_token_id
        return int(end[0] if isinstance(end, list) else end or 0)


def load_reference(model: PretrainedModel, repository: Repository) -> tuple[Any, str]:
    """The model of transformers in float64 with readable attention, or why there is none."""
    try:
        transformers = importlib.import_module("transformers")
    except ImportError:
        return None, "transformers is not installed (pip install transformers==4.57.6)"
    name = type(model).__name__
    kind = getattr(transformers, name, None)
    if kind is None:
        return None, f"transformers {transformers.__version__} has no class {name}"
    with quiet():
        try:
            found = kind.from_pretrained(**place(repository), torch_dtype=torch.float64, attn_implementation="eager")
        except Exception as error:  # whatever another library raises
            return None, f"transformers {transformers.__version__} cannot open it: {_first_line(error)}"
    return repaired(found.eval()), ""


def place(repository: Repository) -> dict[str, Any]:
    """Where transformers finds the same files."""
    folder = repository.folder
    if folder is not None:
        return {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    return {
        "pretrained_model_name_or_path": str(repository.id),
        "revision": repository.revision or "main",
        "subfolder": repository.subfolder,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """transformers says nothing meanwhile, if it has been imported."""
    transformers = sys.modules.get("transformers")
    if transformers is None:
        yield
        return
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
