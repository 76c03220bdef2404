"""What models return: dataclasses whose fields have transformers' names and order.

``out.logits``, ``out["logits"]`` and ``out[0]`` all work; fields that are None do not count as positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._pytree import register_pytree_node

from minitransformer.layers import DecoderCache

Tensors = tuple[Tensor, ...]


@dataclass
class ModelOutput:
    """Base: attribute, key and index access to the fields that are not None.

    PyTorch looks through it (a pytree), so that models can be exported and transformed by ``torch.func``.
    """

    def __init_subclass__(cls) -> None:
        name = f"{cls.__module__}.{cls.__qualname__}"
        register_pytree_node(cls, _flatten, partial(_unflatten, cls), serialized_type_name=name)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are not None, in order."""
        return tuple(value for _, value in self.items())

    def items(self) -> list[tuple[str, Any]]:
        """Names and values of the fields that are not None, in order."""
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return [(name, value) for name, value in pairs if value is not None]

    def keys(self) -> list[str]:
        """Names of the fields that are not None, in order."""
        return [name for name, _ in self.items()]

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            return dict(self.items())[key]
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.items())

    def __contains__(self, key: object) -> bool:
        return key in self.keys()


def _flatten(output: ModelOutput) -> tuple[list[Any], list[str]]:
    return list(output.to_tuple()), output.keys()


def _unflatten(cls: type[ModelOutput], values: Iterable[Any], names: list[str]) -> ModelOutput:
    return cls(**dict(zip(names, values, strict=True)))


@dataclass
class BaseOutput(ModelOutput):
    """Of a model without a head."""

    last_hidden_state: Tensor  # (batch, token, hidden_size)
    pooler_output: Tensor | None = None  # (batch, hidden_size)
    past_key_values: DecoderCache | None = None
    hidden_states: Tensors | None = None  # num_layers + 1 x (batch, token, hidden_size)
    attentions: Tensors | None = None  # num_layers x (batch, heads, query, key)


@dataclass
class LogitsOutput(ModelOutput):
    """Of a head that scores a vocabulary or labels, for each token or each text."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # (batch, token, vocab_size) or (batch, [token,] num_labels)
    past_key_values: DecoderCache | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class PreTrainingOutput(ModelOutput):
    """Of two heads that are trained together: words, and the order of two texts."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None  # (batch, token, vocab_size)
    sop_logits: Tensor | None = None  # (batch, 2)
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class NextSentencePreTrainingOutput(ModelOutput):
    """The same, where the second text is the next one or any other."""

    loss: Tensor | None = None
    prediction_logits: Tensor | None = None  # (batch, token, vocab_size)
    seq_relationship_logits: Tensor | None = None  # (batch, 2)
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class QuestionAnsweringOutput(ModelOutput):
    """Of a head that scores where an answer starts and ends."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None  # (batch, token)
    end_logits: Tensor | None = None  # (batch, token)
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class RecurrentOutput(ModelOutput):
    """Of a model without a head that remembers the segments before."""

    last_hidden_state: Tensor  # (batch, token, hidden_size)
    mems: Tensors | None = None  # num_layers x (memory, batch, hidden_size)
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class RecurrentLogitsOutput(ModelOutput):
    """Of a head of such a model."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # (batch, token, vocab_size), log probabilities; or (batch, num_labels)
    mems: Tensors | None = None
    hidden_states: Tensors | None = None
    attentions: Tensors | None = None


@dataclass
class Seq2SeqOutput(ModelOutput):
    """Of an encoder-decoder without a head."""

    last_hidden_state: Tensor  # (batch, target, hidden_size), the decoder's
    past_key_values: DecoderCache | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: Tensor | None = None  # (batch, source, hidden_size)
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class Seq2SeqLogitsOutput(ModelOutput):
    """Of an encoder-decoder with a language model or classification head."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: DecoderCache | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: Tensor | None = None  # (batch, source, hidden_size)
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None


@dataclass
class Seq2SeqQuestionAnsweringOutput(ModelOutput):
    """Of an encoder-decoder with a question answering head."""

    loss: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    past_key_values: DecoderCache | None = None
    decoder_hidden_states: Tensors | None = None
    decoder_attentions: Tensors | None = None
    cross_attentions: Tensors | None = None
    encoder_last_hidden_state: Tensor | None = None  # (batch, source, hidden_size)
    encoder_hidden_states: Tensors | None = None
    encoder_attentions: Tensors | None = None
