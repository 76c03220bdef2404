"""Replaced-token detection: tell the words that a small generator has put in (ELECTRA, https://arxiv.org/abs/2003.10555).

A generator learns masked language modelling; what it guesses, drawn from its probabilities, replaces the hidden words;
a discriminator tells for every token whether it is the original. Both learn together, the discriminator's loss weighing
50 times as much (section 3.1 and appendix A); no gradient flows through the drawn words. A guess that happens to be
right counts as original. The generator's layers are a quarter as wide; the two share their embeddings (section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.config import ModelConfig
from minitransformer.errors import TrainingError
from minitransformer.files import together
from minitransformer.models.electra import ElectraConfig, ElectraForMaskedLM, ElectraForPreTraining
from minitransformer.tokenization.base import Tokenizer
from minitransformer.training.objectives.base import Batch, Example, check_share, model_inputs, vocabulary_loss, widen
from minitransformer.training.objectives.masked_lm import MaskedLM


class ElectraPair(nn.Module):
    """A discriminator and the generator that it learns from, with embeddings in common.

    Args:
        discriminator: what is wanted in the end.
        generator: of the same embedding size and vocabulary.

    Raises:
        TrainingError: their embeddings differ in shape.
    """

    def __init__(self, discriminator: ElectraForPreTraining, generator: ElectraForMaskedLM) -> None:
        super().__init__()
        ours, theirs = discriminator.backbone.embeddings, generator.backbone.embeddings
        shapes = [[tuple(p.shape) for p in embeddings.parameters()] for embeddings in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise TrainingError(f"generator and discriminator must have embeddings of one shape, not {shapes}")
        generator.backbone.embeddings = ours
        cast(Any, generator.head).output.weight = ours.word.weight
        self.discriminator, self.generator = discriminator, generator

    @property
    def config(self) -> ElectraConfig:
        """The discriminator's."""
        return self.discriminator.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.discriminator.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.discriminator.dtype

    def num_parameters(self) -> int:
        """How many numbers are learnt, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """The discriminator in the folder itself, the generator in its folder ``generator``."""
        with together(folder):
            self.discriminator.save_pretrained(folder, **options)
            self.generator.save_pretrained(Path(folder) / "generator", **options)

    def forward_parameters(self) -> set[str]:
        """What both models take."""
        return self.discriminator.forward_parameters()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the discriminator says of a text."""
        return self.discriminator(*inputs, **named)


class ReplacedTokens(MaskedLM):
    """Tell replaced tokens from original ones. Records: ``text``.

    Batches carry ``noise``, a random number for each token, from which the generator's guesses are drawn.

    Args:
        tokenizer: with a mask token.
        config: of the discriminator.
        generator_size: width of the generator's layers, as a share of the discriminator's (``build``).
        discriminator_weight: of the discriminator's loss beside the generator's.
        **options: of ``MaskedLM``. All words that are to be guessed are hidden here.

    Raises:
        TrainingError: an option is out of range.
    """

    HEAD: ClassVar[str] = "PreTraining"

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: ModelConfig,
        *,
        generator_size: float = 0.25,
        discriminator_weight: float = 50.0,
        **options: Any,
    ) -> None:
        super().__init__(tokenizer, config, **{"mask_share": 1.0, "random_share": 0.0, **options})
        self.generator_size = check_share("generator_size", generator_size, least=0.01)
        self.discriminator_weight = check_share("discriminator_weight", discriminator_weight, most=1e6)

    def build(self, model: Any) -> nn.Module:
        """The model, a discriminator, beside a new and smaller generator; or a pair as it is."""
        if isinstance(model, ElectraPair):
            return model
        if not isinstance(model, ElectraForPreTraining):
            raise TrainingError(f"replaced-token detection trains an ElectraForPreTraining, not {type(model).__name__}")
        config = generator_config(model.config, self.generator_size)
        generator = ElectraForMaskedLM.from_config(config).to(model.device, model.dtype)
        return ElectraPair(model, generator)

    def collate(self, examples: Sequence[Example], generator: torch.Generator) -> Batch:
        """As for masked language modelling, with ``noise``."""
        batch = super().collate(examples, generator)
        batch["noise"] = torch.rand(batch["input_ids"].shape, generator=generator)
        return batch

    def counts(self, batch: Batch) -> dict[str, int]:
        """Tokens that the generator guesses, and tokens that the discriminator judges."""
        return {**super().counts(batch), "judged": int(batch["attention_mask"].sum())}

    def loss(self, model: Any, batch: Batch, counts: Mapping[str, int]) -> Tensor:
        """The generator's cross-entropy and, weighted, the discriminator's binary one."""
        labels, real = batch["labels"], batch["attention_mask"] != 0
        inputs = model_inputs(model.generator, batch)
        hidden = model.generator.backbone(**inputs).last_hidden_state
        generator_share = vocabulary_loss(model.generator.head, hidden, labels, counts["tokens"])

        original = torch.where(labels != -100, labels, batch["input_ids"])
        ids = self.replace(model.generator.head, hidden, original, labels, batch["noise"])
        logits = widen(model.discriminator(**{**inputs, "input_ids": ids}).logits)  # (B, T)
        replaced = (ids != original).to(logits.dtype)
        terms = F.binary_cross_entropy_with_logits(logits, replaced, reduction="none")
        discriminator_share = (terms * real).sum() / max(counts["judged"], 1)
        return generator_share + self.discriminator_weight * discriminator_share

    @torch.no_grad()
    def replace(
        self,
        head: nn.Module,
        hidden: Float[Tensor, "batch token hidden_size"],
        original: Int[Tensor, "batch token"],
        labels: Int[Tensor, "batch token"],
        noise: Float[Tensor, "batch token"],
    ) -> Int[Tensor, "batch token"]:
        """The texts with the generator's guesses where there are labels."""
        asked = labels != -100
        logits = widen(head(hidden[asked][None])[0])
        return original.masked_scatter(asked, draw(logits, noise[asked]))


def draw(logits: Float[Tensor, "row classes"], noise: Float[Tensor, " row"]) -> Int[Tensor, " row"]:
    """One class for each row, by its probability: where the cumulated probabilities pass the random number."""
    cumulated = logits.softmax(dim=-1).cumsum(dim=-1)
    at = noise.to(cumulated.dtype)[:, None] * cumulated[:, -1:]  # whose last one rounding may keep from 1
    return torch.searchsorted(cumulated, at, right=True).squeeze(1).clamp(max=logits.shape[1] - 1)


def generator_config(config: ElectraConfig, size: float) -> ElectraConfig:
    """A generator for this discriminator: layers of a share of its width, as many heads as then fit."""
    heads = max(1, round(config.num_heads * size))
    width = max(1, round(config.hidden_size * size / heads)) * heads
    inner = max(1, round(config.intermediate_size * size))
    return config.replace(hidden_size=width, num_heads=heads, intermediate_size=inner)
