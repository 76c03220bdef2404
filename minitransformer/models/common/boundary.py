"""What a model takes: ids, masks, positions and labels that belong together, checked before ``forward`` runs.

A mask that is too short or too long broadcasts, or hides other tokens than was meant, and no number says so. The check
is here, at the model's boundary, so that no ``forward`` branches on it; it is left out while PyTorch records the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError

OF_TOKENS = ("ForMaskedLM", "ForCausalLM", "ForSeq2SeqLM", "ForTokenClassification")
OF_TEXTS = ("ForSequenceClassification", "ForNextSentencePrediction")
WITH_VALUES, VALUES = ("ForSequenceClassification",), ("regression", "multi_label_classification")
IGNORED = -100
"""The label of what does not count, in PyTorch and transformers."""


LABELS = ("labels", "start_positions", "end_positions", "next_sentence_label", "sentence_order_label")
"""Arguments that losses are made of."""


def can_be_read(inputs: Iterable[Any]) -> bool:
    """Whether these are plain tensors, whose numbers Python may look at and branch on.

    They are not while a model is traced, compiled, exported, transformed by ``torch.func`` or captured as a CUDA graph.
    """
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    if any(x.is_cuda for x in tensors) and torch.cuda.is_current_stream_capturing():
        return False
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return all(type(x) in (Tensor, nn.Parameter) and not x.is_meta and not wrapped(x) for x in tensors)


def is_root_of_trace(model: nn.Module) -> bool:
    """Whether ``torch.jit.trace`` was asked for this very model: it wants a plain dictionary of tensors."""
    names = torch.jit._trace._trace_module_map if torch._C._get_tracing_state() is not None else None
    return names is not None and names.get("__module") is model


def check_inputs(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Check the arguments of a call; masks of (batch, query, key) get their axis of heads in ``args`` or ``kwargs``.

    Returns:
        ``args``, perhaps with another mask.

    Raises:
        InputError: no tensors, or shapes that do not belong together; the message names both.
    """
    names = model._arguments
    if model.TAKES_CHOICES:  # the backbone looks at them, as texts one after another
        return args
    given = dict(zip(names, args, strict=False)) | kwargs
    ids, cache = given.get("input_ids"), given.get("past_key_values")
    cached = getattr(cache, "length", 0)
    source = _length("input_ids", ids)
    changed: dict[str, Tensor] = {}
    if "decoder_input_ids" in given or "encoder_outputs" in names or "decoder_input_ids" in names:
        encoded = given.get("encoder_outputs")
        if isinstance(encoded, Tensor) and encoded.dim() == 3:
            source = encoded.shape[1]
        _check_mask(model, "attention_mask", given, source, 0, changed, may_be_full=False)
        target = _length("decoder_input_ids", given.get("decoder_input_ids"))
        if target is None and isinstance(given.get("labels"), Tensor) and given["labels"].dim() == 2:
            target = given["labels"].shape[1]
        _check_mask(model, "decoder_attention_mask", given, target, cached, changed)
    else:
        if "mems" not in names:  # a recurrent model says itself what its mask is about
            _check_mask(model, "attention_mask", given, source, cached, changed)
        for name in ("token_type_ids", "position_ids"):
            beside = given.get(name)
            if source is not None and isinstance(beside, Tensor) and (not beside.dim() or beside.shape[-1] != source):
                raise InputError(f"{name} has the shape {tuple(beside.shape)}, but there are {source} ids")
    if any(given.get(name) is not None for name in LABELS):
        _check_labels(model, given)
    if changed:
        kwargs.update({name: mask for name, mask in changed.items() if name in kwargs})
        args = tuple(changed.get(name, value) for name, value in zip(names, args, strict=False)) + args[len(names) :]
    return args


def _length(name: str, ids: Any) -> int | None:
    """The number of tokens of each text."""
    if ids is None:
        return None
    if not isinstance(ids, Tensor):
        raise InputError(
            f"{name} must be a tensor of token ids, not {type(ids).__name__}: call the tokenizer with "
            "return_tensors='pt', or pass torch.tensor([[...]])"
        )
    if ids.dim() != 2:
        remedy = f"pass {name}[None]" if ids.dim() == 1 else "one row for each text"
        raise InputError(f"{name} must have the shape (batch, token), not {tuple(ids.shape)}: {remedy}")
    if ids.dtype not in (torch.int64, torch.int32):
        raise InputError(f"{name} must be of torch.long, the type of ids, not {ids.dtype}: pass {name}.long()")
    if not ids.numel():
        raise InputError(f"{name} has the shape {tuple(ids.shape)}: there is no token in it")
    return ids.shape[1]


def _check_labels(model: Any, given: dict[str, Any]) -> None:
    """Labels that a loss could not be made of, or that name classes the head does not have."""
    for name in LABELS:
        if given.get(name) is not None and not isinstance(given[name], Tensor):
            raise InputError(f"{name} must be a tensor, not {type(given[name]).__name__}: pass torch.tensor(...)")
    labels, task = given.get("labels"), model.HEAD
    ids_name = "decoder_input_ids" if task == "ForSeq2SeqLM" else "input_ids"
    ids = given.get(ids_name)
    if labels is None or task not in OF_TOKENS + OF_TEXTS:
        return
    weight = getattr(getattr(getattr(model, "head", None), "output", None), "weight", None)
    num_classes = len(weight) if isinstance(weight, Tensor) else None
    shape, problem = tuple(labels.shape), model.config.problem_type
    if task in OF_TOKENS:
        if isinstance(ids, Tensor) and labels.shape != ids.shape:
            raise InputError(f"labels has the shape {shape}, but {ids_name} {tuple(ids.shape)}: one label for a token")
    elif task in WITH_VALUES and (labels.is_floating_point() or num_classes == 1 or problem in VALUES):
        texts = len(ids) if isinstance(ids, Tensor) else len(labels)
        if num_classes is not None and labels.numel() != texts * num_classes:  # values to come near to, or yes and no
            raise InputError(f"labels has the shape {shape}, but the scores will have {(texts, num_classes)}")
        return
    elif isinstance(ids, Tensor) and labels.numel() != len(ids):
        raise InputError(f"labels has the shape {shape}, but there are {len(ids)} texts: one label for a text")
    if labels.is_floating_point():
        raise InputError(f"labels must be numbers of classes, torch.long, not {labels.dtype}: pass labels.long()")
    counted = labels[:, 1:] if task == "ForCausalLM" else labels  # nothing predicts the first token
    counted = counted[counted != IGNORED]
    if num_classes is not None and counted.numel() and not (0 <= counted.min() and counted.max() < num_classes):
        wrong = int(counted.max()) if counted.max() >= num_classes else int(counted.min())
        raise InputError(
            f"labels holds {wrong}, but the classes are 0 to {num_classes - 1}, and {IGNORED} does not count"
        )


def _check_mask(
    model: Any,
    name: str,
    given: dict[str, Any],
    new: int | None,
    cached: int,
    changed: dict[str, Tensor],
    *,
    may_be_full: bool = True,
) -> None:
    mask = given.get(name)
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise InputError(f"{name} must be a tensor of zeros and ones, not {type(mask).__name__}")
    ids = given.get("decoder_input_ids" if name.startswith("decoder") else "input_ids")
    batch = len(ids) if isinstance(ids, Tensor) else None
    shape = tuple(mask.shape)
    if mask.dim() not in ((2, 3, 4) if may_be_full else (2,)):
        full = ", (batch, query, key) or (batch, heads, query, key)" if may_be_full else ""
        raise InputError(f"{name} must have the shape (batch, token){full}, not {shape}")
    if batch is not None and shape[0] not in (1, batch):
        raise InputError(f"{name} is for {shape[0]} texts, but there are {batch}")
    if new is not None and shape[-1] != new + cached:
        told = f"{new} ids and {cached} cached ones: {new + cached} in all" if cached else f"{new} ids"
        raise InputError(f"{name} is for {shape[-1]} tokens, but there are {told}")
    if mask.dim() == 2:
        return
    if new is not None and shape[-2] != new:
        raise InputError(f"{name} says what {shape[-2]} tokens may attend to, but there are {new} new ids")
    heads = {1, model.config.num_heads, getattr(model.config, "decoder_attention_heads", 1)}
    if mask.dim() == 4 and shape[1] not in heads:
        raise InputError(f"{name} is for {shape[1]} heads, but the model has {model.config.num_heads} (or 1, for all)")
    if mask.is_floating_point():
        raise InputError(
            f"{name} of {mask.dim()} axes must say by booleans, or by 0 and 1, which keys a query may attend to. Of "
            f"numbers that are added to the scores pass {name} == 0 instead: True where nothing is taken away"
        )
    if mask.dtype != torch.bool:
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise InputError(
                f"{name} of {mask.dim()} axes holds other numbers than 0 and 1: 1 where a query may attend"
            )
        mask = mask != 0
    changed[name] = mask[:, None] if mask.dim() == 3 else mask
