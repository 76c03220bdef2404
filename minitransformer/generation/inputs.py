"""What ``generate`` is given: checked, and brought into the form that the strategies in generate.py work with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.errors import GenerationError, InputError, warn_caller
from minitransformer.generation.caches import as_cache
from minitransformer.generation.config import DEFAULTS, GenerationConfig
from minitransformer.generation.stepper import DecodingModel
from minitransformer.layers import DecoderCache

MOST_SCORES = 2**27
"""Of one prompt at one step: 512 MiB in float32, which is held a few times over."""


def special_tokens(config: GenerationConfig, device: torch.device) -> tuple[Tensor | None, int | None]:
    """The end tokens (ends,), and the padding token, which is by default the first of them."""
    if config.eos_token_id is None:
        return None, config.pad_token_id
    ends = [config.eos_token_id] if isinstance(config.eos_token_id, int) else list(config.eos_token_id)
    return torch.tensor(ends, device=device), ends[0] if config.pad_token_id is None else config.pad_token_id


def written_vocabulary(config: Any) -> int:
    """How many tokens a model of this config can write: some translation models have two vocabularies."""
    return int(getattr(config, "target_vocab_size", config.vocab_size))


def cached_prompt(given: Any, length: int) -> DecoderCache:
    """The cache of what prompts of ``length`` tokens begin with.

    Raises:
        GenerationError: it is none, or leaves no token to be read.
    """
    try:
        cache = as_cache(given)
    except InputError as error:
        raise GenerationError(str(error)) from error
    if cache.length >= length:
        raise GenerationError(
            f"past_key_values holds {cache.length} tokens, but the prompt has {length}: it must be longer, and begin "
            "with the same tokens"
        )
    return cache


def check_vectors(model: Any, vectors: Any, ids: Any, mask: Any) -> None:
    """Vectors in the place of ids: of the model's width, and for as many texts as there are ids.

    Raises:
        GenerationError: they are not, or the model decodes in a way of its own.
    """
    if hasattr(model, "new_stepper") or not hasattr(model, "get_input_embeddings"):
        raise GenerationError(f"{type(model).__name__} generates from input_ids only, not from inputs_embeds")
    width = model.get_input_embeddings().weight.shape[1]
    if not isinstance(vectors, Tensor) or vectors.dim() != 3 or vectors.shape[2] != width or not vectors.numel():
        raise GenerationError(f"inputs_embeds must have the shape (batch, length, {width}), not {_describe(vectors)}")
    if isinstance(ids, Tensor) and (model.config.is_encoder_decoder or len(ids) != len(vectors)):
        raise GenerationError("inputs_embeds stand in the place of input_ids: pass one of them, or both for each text")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != vectors.shape[:2]):
        shape = tuple(vectors.shape[:2])
        raise GenerationError(f"attention_mask must have the shape {shape} of inputs_embeds, not {_describe(mask)}")


def encoded_vectors(model: Any, vectors: Tensor, mask: Tensor | None) -> Tensor:
    """The encoder's output for vectors in the place of a source's ids."""
    encoded: Tensor = model.get_encoder()(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
    return encoded


def count_ids_alone(config: GenerationConfig, others: int) -> int:
    """Lengths in ids, of lengths that count ``others`` places as well; changes ``config``, gives its max_length."""
    assert config.max_length is not None  # settled before
    config.max_length -= others
    config.min_length = max(0, (config.min_length or 0) - others)
    return config.max_length


def source_ids(
    model: DecodingModel, config: GenerationConfig, ids: Tensor | None, encoder_outputs: Any, vectors: Any = None
) -> Tensor:
    """The prompts or sources (B, T), checked; they may be empty where ``vectors`` are read instead."""
    if encoder_outputs is not None:
        encoded = encoded_source(encoder_outputs)
    if ids is None and encoder_outputs is not None:
        return torch.zeros(encoded.shape[:2], dtype=torch.long, device=model.device)  # only the shape is of use
    if ids is None:
        if config.bos_token_id is None:
            raise GenerationError("without input_ids the text begins with bos_token_id, which this model does not have")
        return torch.full((1, 1), config.bos_token_id, device=model.device)
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise GenerationError(
            f"input_ids must be an integer tensor of shape (batch, length), not {_describe(ids)}. "
            "A tokenizer gives one with return_tensors='pt'"
        )
    if vectors is not None and len(ids) and ids.shape[1] == 0:
        return ids.to(model.device)
    if ids.numel() == 0:
        raise GenerationError(f"input_ids are empty, of shape {tuple(ids.shape)}: pass at least one token for each row")
    if int(ids.min()) < 0 or int(ids.max()) >= model.config.vocab_size:
        raise GenerationError(
            f"input_ids reach from {int(ids.min())} to {int(ids.max())}, but the model's vocabulary is 0 to "
            f"{model.config.vocab_size - 1}: use the tokenizer that belongs to the model"
        )
    return ids.to(model.device).long()


def encoded_source(encoder_outputs: Any) -> Tensor:
    """The hidden states (B, T, D) of what ``encode`` gave, or of an encoder's output that begins with them."""
    if isinstance(encoder_outputs, Tensor):
        encoded: Any = encoder_outputs
    else:
        try:
            encoded = encoder_outputs[0]
        except (TypeError, LookupError):
            encoded = encoder_outputs
    if not isinstance(encoded, Tensor) or encoded.dim() != 3:
        raise GenerationError(
            f"encoder_outputs must have the shape (batch, length, hidden_size), not {_describe(encoded)}"
        )
    return encoded


def padding_mask(ids: Tensor, mask: Tensor | None, pad: int | None, eos: Tensor | None) -> Tensor:
    """The padding mask (B, T), by default from where the padding token stands, if that cannot be an end token."""
    if mask is None:
        if pad is None or (eos is not None and bool((eos == pad).any())):
            return torch.ones_like(ids)
        return torch.ne(ids, pad).long()
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        raise GenerationError(
            f"attention_mask must have the shape {tuple(ids.shape)} of input_ids, not {_describe(mask)}"
        )
    return mask.to(ids.device).long()


def padding_first(ids: Tensor, read: Mapping[str, Tensor | None]) -> tuple[Tensor, dict[str, Any]]:
    """Move padding on the right to the left, so that every row's last id (or vector) is its last token."""
    given = {name: value.to(ids.device) for name, value in read.items() if value is not None}
    if bool(given["attention_mask"][:, -1].all()):
        return ids, given
    order = given["attention_mask"].argsort(dim=1, stable=True)
    moved = ids.gather(1, order) if ids.dim() == 2 else ids.take_along_dim(order[..., None], dim=1)
    return moved, {name: value.gather(1, order) for name, value in given.items()}


def check_token_types(token_types: Any, ids: Tensor) -> None:
    """Token types must be given for every token."""
    if token_types is not None and (not isinstance(token_types, Tensor) or token_types.shape != ids.shape):
        raise GenerationError(
            f"token_type_ids must have the shape {tuple(ids.shape)} of input_ids, not {_describe(token_types)}"
        )


def decoder_prompt(
    config: GenerationConfig, ids: Tensor | None, mask: Tensor | None, source: Tensor, vocab_size: int
) -> tuple[Tensor, Tensor | None]:
    """What the decoder starts with (B, T) and its mask: the start token, and the caller's ids behind it."""
    start = config.bos_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    if start is None:
        raise GenerationError("an encoder-decoder needs decoder_start_token_id or bos_token_id to start with")
    starts = torch.tensor(start, device=source.device).view(-1, 1)
    if len(starts) not in (1, len(source)):
        raise GenerationError(f"decoder_start_token_id has {len(starts)} ids for {len(source)} sources")
    starts = starts.expand(len(source), 1)
    if ids is None:
        ids = starts
    if not isinstance(ids, Tensor) or ids.dim() != 2 or len(ids) != len(source) or ids.shape[1] == 0:
        raise GenerationError(f"decoder_input_ids must have shape ({len(source)}, length), not {_describe(ids)}")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != ids.shape):
        raise GenerationError(
            f"decoder_attention_mask must have the shape {tuple(ids.shape)} of decoder_input_ids, not {_describe(mask)}"
        )
    ids = ids.to(source.device).long()
    if bool((ids[:, :1] != starts).all()):
        ids = torch.cat([starts, ids], dim=1)
        mask = None if mask is None else F.pad(mask, (1, 0), value=1)
    if int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        raise GenerationError(
            f"what the decoder starts with (decoder_start_token_id, decoder_input_ids) reaches from {int(ids.min())} "
            f"to {int(ids.max())}, but the target's vocabulary is 0 to {vocab_size - 1}"
        )
    return ids, mask


def settle_lengths(
    config: GenerationConfig, typed: Mapping[str, Any], prompt: int, used: int, max_positions: int | None
) -> int:
    """Turn the options about length into ``max_length`` and ``min_length``, which count the prompt.

    Args:
        config: changed in place.
        typed: options of the call.
        prompt: ids before the first new one, padding included.
        used: positions that the longest prompt takes.
        max_positions: how many the model has.
    """
    if config.max_new_tokens is not None:
        if typed.get("max_new_tokens") is not None and typed.get("max_length") is not None:
            warn_caller("both max_new_tokens and max_length were given: max_new_tokens counts")
        longest = prompt + config.max_new_tokens
    elif config.max_length == DEFAULTS["max_length"] and typed.get("max_length") is None:
        longest = prompt + DEFAULTS["max_length"]
        longest = longest if max_positions is None else min(longest, max(max_positions, prompt + 1))
    else:
        assert config.max_length is not None  # the default stands in
        longest = config.max_length
    if longest <= prompt:
        raise GenerationError(
            f"max_length={longest} leaves no room after a prompt of {prompt} tokens: set max_new_tokens, or a larger "
            "max_length"
        )
    if max_positions is not None:
        room = max_positions + 1 - used  # the last token is written, but never read
        if room < 1:
            raise GenerationError(
                f"the prompt has {used} tokens, but the model only {max_positions} positions: shorten it"
            )
        if longest > prompt + room:
            warn_caller(
                f"{longest - prompt} new tokens were asked for, but the model has {max_positions} positions and the "
                f"prompt takes {used}: at most {room} will come",
            )
            longest = prompt + room
    config.max_length = longest

    if config.min_new_tokens is not None:
        config.min_length = prompt + config.min_new_tokens
    if (config.min_length or 0) > longest:
        at_least, at_most = (config.min_length or 0) - prompt, longest - prompt
        text = f"at least {at_least} new tokens contradict at most {at_most} (after a prompt of {prompt})"
        if any(typed.get(name) for name in ("min_length", "min_new_tokens")):
            raise GenerationError(f"{text}: lower min_length or min_new_tokens, or raise max_new_tokens")
        warn_caller(f"{text}, and the latter count")
    return longest


def check_assistant(
    model: DecodingModel, assistant: DecodingModel, config: GenerationConfig, batch: int, encoder_outputs: Any
) -> None:
    """Assisted decoding is for one prompt, greedy, and two models with the same tokens."""
    written = written_vocabulary(model.config), written_vocabulary(assistant.config)
    if encoder_outputs is not None:
        raise GenerationError("assistant_model reads the source itself: pass input_ids instead of encoder_outputs")
    if config.num_beams > 1 or config.do_sample:
        raise GenerationError("assistant_model works with greedy decoding: set do_sample=False and num_beams=1")
    if batch > 1:
        raise GenerationError(f"assistant_model works with one prompt at a time, not {batch}")
    if not config.use_cache:
        raise GenerationError("assistant_model needs use_cache=True")
    if config.return_dict_in_generate and (config.output_attentions or config.output_hidden_states):
        raise GenerationError("assistant_model does not give output_attentions or output_hidden_states")
    for sizes in ((model.config.vocab_size, assistant.config.vocab_size), written):
        if sizes[0] != sizes[1]:
            raise GenerationError(
                f"the assistant has {sizes[1]} tokens, the model {sizes[0]}: both must share a vocabulary"
            )
    if model.config.is_encoder_decoder != assistant.config.is_encoder_decoder:
        raise GenerationError("the assistant must be of the model's kind: both decoder-only, or both encoder-decoder")


def check_rows(copies: int, vocab_size: int) -> None:
    """See that the scores of one prompt's beams or samples are no more than memory can be expected to hold.

    Raises:
        GenerationError: they are.
    """
    if copies > 1 and copies * vocab_size > MOST_SCORES:
        raise GenerationError(
            f"{copies} beams or sequences of {vocab_size} scores each are too many for one step: set num_beams and "
            f"num_return_sequences to {MOST_SCORES // vocab_size} or less"
        )


def refuse_seq2seq_inputs(**arguments: Any) -> None:
    """What only an encoder-decoder can use must not be given to another model."""
    for name, value in arguments.items():
        if value is not None:
            raise GenerationError(f"{name} is for encoder-decoder models; this one is decoder-only")


def _describe(value: Any) -> str:
    return f"shape {tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
