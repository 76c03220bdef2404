"""One decoding step, for each kind of model: what the strategies in generate.py stand on.

A stepper owns what a decoding model needs beside the ids: the cache, the padding mask, the encoder's output. A strategy
hands it all ids so far and gets the scores of the next token; only ids that the cache has not seen reach the model::

    logits = stepper.step(ids)          # (rows, length) -> (rows, vocabulary)
    stepper.reorder(beams)              # row i goes on from what was row beams[i]
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.errors import GenerationError
from minitransformer.generation.config import GenerationConfig
from minitransformer.layers import DecoderCache, fast_linear


class DecodingConfig(Protocol):
    """What generation reads of a model's configuration."""

    @property
    def is_encoder_decoder(self) -> bool: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_positions(self) -> int | None: ...


class DecodingModel(Protocol):
    """What generation asks of a model.

    A decoder-only model is called with ``input_ids, attention_mask, past_key_values, logits_to_keep``, an
    encoder-decoder with ``decoder_input_ids, attention_mask, encoder_outputs, past_key_values``, after one call of its
    ``encode(input_ids, attention_mask)``. A model that decodes in another way offers
    ``new_stepper(ids, inputs, config, copies)``, which returns a ``Stepper``.
    """

    generation_config: GenerationConfig

    @property
    def config(self) -> Any: ...
    @property
    def device(self) -> torch.device: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class Stepper:
    """Base of all kinds of steppers: keeps the cache, and expands it from prompts to rows after the first step.

    Args:
        model: the model to run.
        config: options; ``use_cache=False`` runs all ids at every step.
        copies: rows for each prompt (beams, or several samples). Rows of a prompt are neighbours and begin alike, so
            the first step runs each prompt once.
    """

    def __init__(self, model: DecodingModel, config: GenerationConfig, copies: int) -> None:
        self.model = model
        self.cache = DecoderCache() if config.use_cache else None
        self.copies = copies
        self.output: Any = None
        """The model's output at the last step, if its intermediates were asked for."""
        self.encoder_output: Any = None
        """The model's output with the encoder's intermediates, if they were asked for."""
        self.asked: dict[str, Any] = {}
        self.without_ids = 0
        """How many places of the prompt were read as vectors, and have no id."""
        self.form = {} if getattr(model.config, "return_dict", True) else {"return_dict": True}
        if config.return_dict_in_generate:
            flags = ("output_attentions", "output_hidden_states")
            self.asked = {name: True for name in flags if getattr(config, name)}

    def step(self, ids: Tensor) -> Tensor:
        """Scores of the token after ``ids`` (rows, length): (rows, vocabulary)."""
        return self.steps(ids, 1)[:, 0]

    def steps(self, ids: Tensor, last: int) -> Tensor:
        """Scores of the tokens after each of the ``last`` positions: (rows, last, vocabulary)."""
        with fast_linear():
            return self._steps(ids, last)

    def _steps(self, ids: Tensor, last: int) -> Tensor:
        if self.copies > 1:
            logits = self._forward(ids[:: self.copies], last)
            self._check_cache(ids.shape[1])
            rows = torch.arange(len(logits), device=ids.device).repeat_interleave(self.copies)
            self.select(rows)
            self.output = self.output and _select_rows(self.output, rows)
            self.copies = 1
            return logits[rows]
        logits = self._forward(ids, last)
        self._check_cache(ids.shape[1])
        return logits

    def _check_cache(self, length: int) -> None:
        """Raise a GenerationError if a block did not keep what it read: the next step would not see it."""
        length += self.without_ids
        lengths = None if self.cache is None else self.cache.lengths
        if lengths is not None and (not lengths or min(lengths) != length or max(lengths) != length):
            wrong = next((i for i, found in enumerate(lengths) if found != length), 0)
            held = lengths[wrong] if lengths else 0
            raise GenerationError(
                f"block {wrong} did not extend its cache, which holds {held} of {length} tokens: let its attention "
                "call keys, values = view.cache.append(keys, values), and attend to these; or pass use_cache=False"
            )

    def reorder(self, rows: Tensor) -> None:
        """Let row ``i`` go on from row ``rows[i]``, of the same prompt."""
        if self.cache is not None and not torch.equal(rows, torch.arange(len(rows), device=rows.device)):
            self.cache.reorder(rows)

    def select(self, rows: Tensor) -> None:
        """Keep these rows of everything, in this order; rows may repeat or be left out."""
        if self.cache is not None:
            self.cache.select(rows)

    def crop(self, length: int) -> None:
        """Forget what was seen after the first ``length`` ids."""
        if self.cache is not None:
            self.cache.crop(length)

    @property
    def seen(self) -> int:
        """Number of ids that the cache holds."""
        return 0 if self.cache is None else self.cache.length

    def _forward(self, ids: Tensor, last: int) -> Tensor:
        raise NotImplementedError

    def _keep(self, output: Any, last: int) -> Tensor:
        """The logits of an output, the rest of which is kept only for who asked for it."""
        self.output = output if self.asked else None
        logits: Tensor = output.logits[:, -last:]
        return logits


class CausalStepper(Stepper):
    """Steps of a decoder-only model.

    Args:
        model: the model to run.
        ids: (prompts, length) the prompts; padding, if any, on the left.
        inputs: ``attention_mask`` (prompts, length), 0 at padding, and optionally ``token_type_ids``; ``count_padding``
            gives padding positions of its own, which shifts those of the tokens behind it.
        config: options.
        copies: rows for each prompt.
    """

    def __init__(
        self, model: DecodingModel, ids: Tensor, inputs: Mapping[str, Any], config: GenerationConfig, copies: int = 1
    ) -> None:
        super().__init__(model, config, copies)
        self.cache = inputs.get("past_key_values", self.cache)
        mask = inputs.get("attention_mask")
        # A mask that hides nothing is left out: positions then need no counting, and attention no masking.
        self.mask = None if mask is None or bool(mask.all()) else mask.long()
        self.token_types = inputs.get("token_type_ids")
        self.count_padding: bool = inputs.get("count_padding", False)

        self.vectors: Tensor | None = inputs.get("inputs_embeds")
        self.given = ids.shape[1]  # ids that the vectors stand for
        self.without_ids = 0 if self.vectors is None else self.vectors.shape[1] - self.given

    def _forward(self, ids: Tensor, last: int) -> Tensor:
        named: dict[str, Any] = {**self.asked, **self.form}
        if self.vectors is not None:
            return self._after_vectors(ids, last, named)
        new = ids[:, self.seen :]
        if self.count_padding:
            named["position_ids"] = torch.arange(self.seen, ids.shape[1], device=ids.device)[None]
        if self.mask is not None:
            named["attention_mask"] = F.pad(self.mask, (0, ids.shape[1] - self.mask.shape[1]), value=1)
        if self.token_types is not None:  # new tokens are of the type of the prompt's last one
            types = torch.cat([self.token_types, self.token_types[:, -1:].expand(-1, ids.shape[1])], dim=1)
            named["token_type_ids"] = types[:, self.seen : ids.shape[1]]
        return self._keep(self.model(new, past_key_values=self.cache, logits_to_keep=last, **named), last)

    def _after_vectors(self, ids: Tensor, last: int, named: dict[str, Any]) -> Tensor:
        """The same, where the prompt was given as vectors: they are read first, then the ids that were chosen."""
        assert self.vectors is not None  # asked before
        model: Any = self.model
        read, new = self.vectors.shape[1], ids[:, self.given :]
        if self.mask is not None:
            named["attention_mask"] = F.pad(self.mask, (0, read + new.shape[1] - self.mask.shape[1]), value=1)
        if self.seen:
            named["input_ids"] = new[:, self.seen - read :]
        else:
            named["inputs_embeds"] = torch.cat([self.vectors, model.get_input_embeddings()(new)], dim=1)
        return self._keep(model(past_key_values=self.cache, logits_to_keep=last, use_cache=False, **named), last)

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self.vectors = None if self.vectors is None else self.vectors[rows]
        self.mask = None if self.mask is None else self.mask[rows]
        self.token_types = None if self.token_types is None else self.token_types[rows]


class RecurrentStepper(Stepper):
    """Steps of a decoder-only model that remembers: the prompt is one segment, each token after it another.

    The model is called with ``input_ids, attention_mask, mems, logits_to_keep``; its ``config`` has ``mem_len``.

    Args:
        model: the model to run.
        ids: (prompts, length) the prompts; padding, if any, on the left.
        inputs: ``attention_mask`` (prompts, length), 0 at padding.
        config: options; ``use_cache=False`` reads all ids as one segment at every step.
        copies: rows for each prompt.
    """

    def __init__(
        self, model: DecodingModel, ids: Tensor, inputs: Mapping[str, Any], config: GenerationConfig, copies: int = 1
    ) -> None:
        super().__init__(model, config, copies)
        if inputs.get("token_type_ids") is not None:
            raise GenerationError(f"{model.config.model_type} has no token types: leave token_type_ids out")
        self.cache = None  # the memory is all that is kept
        self.remembers = config.use_cache and model.config.mem_len > 0
        self.mask: Tensor | None = inputs.get("attention_mask")
        self.mems: tuple[Tensor, ...] | None = None
        self.num_read = 0

    @property
    def seen(self) -> int:
        return self.num_read

    def _forward(self, ids: Tensor, last: int) -> Tensor:
        new = ids[:, self.num_read :]
        mask = self.mask  # of the prompt; what is hidden there is not in the memory
        if self.num_read:
            mask = None
        elif mask is not None:
            mask = F.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        output = self.model(new, attention_mask=mask, mems=self.mems, logits_to_keep=last, **self.asked, **self.form)
        if self.remembers:
            self.mems, self.num_read = output.mems, ids.shape[1]
        return self._keep(output, last)

    def reorder(self, rows: Tensor) -> None:
        if self.mems is not None:
            self.mems = tuple(memory[:, rows] for memory in self.mems)

    def select(self, rows: Tensor) -> None:
        self.reorder(rows)
        self.mask = None if self.mask is None else self.mask[rows]

    def crop(self, length: int) -> None:
        if length < self.num_read:
            name = self.model.config.model_type
            raise GenerationError(f"{name} cannot forget what it has read: leave assistant_model out")


class Seq2SeqStepper(Stepper):
    """Steps of an encoder-decoder, which encodes its source once.

    Args:
        model: the model to run.
        ids: (sources, length) what the decoder starts with.
        inputs: ``input_ids`` (sources, source length) or ``encoder_outputs``, ``attention_mask`` of the source, and
            optionally ``decoder_attention_mask``.
        config: options.
        copies: rows for each source.
    """

    def __init__(
        self, model: Any, ids: Tensor, inputs: Mapping[str, Any], config: GenerationConfig, copies: int = 1
    ) -> None:
        super().__init__(model, config, copies)
        self.cache = inputs.get("past_key_values", self.cache)
        mask = inputs.get("attention_mask")
        self.source_mask = None if mask is None or bool(mask.all()) else mask
        self.target_mask = inputs.get("decoder_attention_mask")
        memory = inputs.get("encoder_outputs")
        if memory is None:
            with fast_linear():
                memory = model.encode(inputs["input_ids"], self.source_mask)
            if self.asked:  # the intermediates of the encoder are only given with a whole pass
                self.encoder_output = model(
                    inputs["input_ids"], attention_mask=mask, decoder_input_ids=ids[:, :1], **self.asked, **self.form
                )
        self.memory: Tensor = memory if isinstance(memory, Tensor) else memory[0]

    def _forward(self, ids: Tensor, last: int) -> Tensor:
        named: dict[str, Any] = {**self.asked, **self.form}
        if self.target_mask is not None:
            grown = ids.shape[1] - self.target_mask.shape[1]
            named["decoder_attention_mask"] = F.pad(self.target_mask, (0, grown), value=1)
        output = self.model(
            attention_mask=self.source_mask,
            decoder_input_ids=ids[:, self.seen :],
            encoder_outputs=self.memory,
            past_key_values=self.cache,
            **named,
        )
        return self._keep(output, last)

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self.memory = self.memory[rows]
        self.source_mask = None if self.source_mask is None else self.source_mask[rows]
        self.target_mask = None if self.target_mask is None else self.target_mask[rows]


def new_stepper(
    model: DecodingModel, ids: Tensor, inputs: Mapping[str, Any], config: GenerationConfig, copies: int = 1
) -> Stepper:
    """The stepper for ``model``: its own if it offers one, else by its kind."""
    own = getattr(model, "new_stepper", None)
    if own is not None:
        stepper: Stepper = own(ids, inputs, config, copies)
        return stepper
    kind = Seq2SeqStepper if model.config.is_encoder_decoder else CausalStepper
    return kind(model, ids, inputs, config, copies)


def _select_rows(output: Any, rows: Tensor) -> SimpleNamespace:
    """The intermediates of a model's output, with other rows."""
    names = ("attentions", "hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states")
    layers = {name: getattr(output, name, None) for name in names}
    return SimpleNamespace(**{name: x and tuple(layer[rows] for layer in x) for name, x in layers.items()})
