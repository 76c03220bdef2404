"""``optimized``: a model with the interface of the readable one, and weights in a form that is read faster."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from minitransformer.errors import ConfigError, did_you_mean, warn_caller
from minitransformer.layers import FeedForward, MultiHeadAttention
from minitransformer.layers.activations import ACTIVATIONS, Activation
from minitransformer.layers.adaptive import AdaptiveLogSoftmax
from minitransformer.layers.blocks import BLOCKS
from minitransformer.models.common.base import PretrainedModel
from minitransformer.optimize.blocks import fuse_block
from minitransformer.optimize.parts import FastAttention, FusedAttention, FusedFeedForward, NoDropout, ProductLinear
from minitransformer.optimize.products import (
    FORMS,
    Product,
    can_fuse,
    fits_float16,
    forms_here,
    has_form,
    make_product,
)
from minitransformer.optimize.steps import Float16StepProduct, Int8StepProduct, RowProduct, StepProduct, compile_steps

Model = TypeVar("Model", bound=PretrainedModel)

TOLERANCES = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 3e-2, "int8": 5e-2}
"""Largest difference of the last hidden states to the readable model's, as a share of their size (2-norms)."""

SMALLEST = 2**12
"""Matrices of fewer numbers stay as they are: there is nothing to gain, and a classifier's last layer decides."""

LARGE = 2**22
"""Matrices outside of blocks of so many numbers are worth a compiled loop of their own: those of vocabularies."""

IN_ONE_OPERATION = {ACTIVATIONS[name]: ACTIVATIONS["gelu_pytorch_tanh"] for name in ("gelu_new", "gelu_fast")}
"""Activation in several operations -> the same function in one, which rounds otherwise."""


class Optimized:
    """What a fast form cannot do; its class is this one in front of the readable model's."""

    def train(self: Any, mode: bool = True) -> Any:
        if mode:
            raise ConfigError("an optimized model cannot learn: train the one it was made from, and optimize that")
        return super().train(False)  # type: ignore[misc]

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        raise ConfigError("an optimized model has no file format: save the one it was made from")

    def state_dict(self, *_: Any, **__: Any) -> Any:
        raise ConfigError("the weights of an optimized model are packed: take those of the one it was made from")


def optimized(model: Model, dtype: str | torch.dtype = "float32", *, compile: bool = False) -> Model:
    """A fast form of a model, for CPUs; the model itself stays as it is.

    Self-attention projects queries, keys and values in one product; linear layers read weights that are packed for
    oneDNN, or held as float16 or 8-bit integers; the feed-forward network applies its activation on the way out. Where
    a part has a form of its own (Transformer-XL's attention), its linear layers alone are replaced. Tables that are not
    multiplied (embeddings, norms) are shared with the model.

    Args:
        model: any model, on the CPU.
        dtype: "float32", "float16", "bfloat16" or "int8"; ``TOLERANCES`` says how near each stays. Linear layers in
            float16 and int8 take float32 and give float32. Matrices that float16 cannot hold (numbers beyond 65,504, or
            all of them tiny) stay float32, and are named in a warning.
        compile: also let ``torch.compile`` make one function of what a decoder's block does with one more token of one
            text, and one of the vocabulary's scores (see ``steps``); needs a C++ compiler, and takes up to a minute at
            the first step. Nothing changes for encoders.

    Returns:
        A model of a subclass of the model's class: it predicts and generates; it does not train or save.

    Raises:
        ConfigError: no such form; the model is not on the CPU, or already optimized; or PyTorch lacks the kernels on
            this processor, of which the message names the forms that there are (float16 wants AVX2, bfloat16 AVX512,
            int8 VNNI).
    """
    name = str(dtype).removeprefix("torch.")
    if name not in FORMS:
        raise ConfigError(f"there is no form {name!r}.{did_you_mean(name, FORMS)} Forms: {', '.join(FORMS)}")
    if isinstance(model, Optimized):
        raise ConfigError("this model is optimized already: start from the one it was made from")
    elsewhere = {str(p.device) for p in model.parameters() if p.device.type != "cpu"}
    if elsewhere:
        raise ConfigError(f"fast forms are for the CPU; move the model there from {', '.join(sorted(elsewhere))}")
    if not has_form(name):
        here = " or ".join(map(repr, forms_here()))
        remedy = f"take {here}" if here else "use the model itself"
        raise ConfigError(f"this PyTorch has no kernels for the form {name!r} on this processor: {remedy}")

    made = shared_copy(model).eval()
    part: Any
    for part in made.modules():
        if type(part) is nn.Dropout:
            become(part, NoDropout)
        elif hasattr(part, "activation"):
            part.activation = IN_ONE_OPERATION.get(part.activation, part.activation)
    form = form_of(made, name)
    blocks = [module for module in made.modules() if isinstance(module, BLOCKS)]
    stepping = {id(block) for block in blocks} & ids_of_decoders(made) if compile else set()
    products: dict[int, Callable[..., Product]] = {}  # layer -> what makes its product
    for block in blocks:
        make = make_step_product if id(block) in stepping else make_product
        fuse(block, form, make)
        products |= {id(layer): make for layer in block.modules()}
    sharing = Counter(id(parameter) for _, parameter in made.named_parameters(remove_duplicate=False))
    for layer in called_layers(made):
        if not layer.weight.is_meta and layer.weight.numel() >= SMALLEST:
            large = compile and layer.weight.numel() >= LARGE
            make = products.get(id(layer), make_row_product if large else make_product)
            become(layer, ProductLinear, product=make(form(layer), layer.weight, layer.bias))
            if sharing[id(layer.weight)] == 1:  # an embedding goes on using a weight that it shares
                drop_weights(layer)
    cast(made, FORMS[name])
    made.__class__ = type(f"Optimized{type(model).__name__}", (Optimized, type(model)), {})
    for block in blocks:
        if id(block) in stepping:
            compile_steps(block)
        else:
            fuse_block(block)
    return made


def form_of(model: nn.Module, name: str) -> Callable[..., str]:
    """A function of linear layers that says which form their one product takes, where ``name`` is asked for."""
    if name != "float16":
        return lambda *_: name
    layers = {f"{path}.weight": layer for path, layer in model.named_modules() if type(layer) is nn.Linear}
    large = {path: layer for path, layer in layers.items() if layer.weight.numel() >= SMALLEST}
    kept = {path: id(layer.weight) for path, layer in large.items() if not fits_float16(layer.weight)}
    if kept:
        warn_caller(f"these weights stay float32, as float16 cannot hold their numbers: {', '.join(kept)}")
    return lambda *layers: "float32" if any(id(layer.weight) in kept.values() for layer in layers) else name


def shared_copy(model: Model) -> Model:
    """A copy of the modules, with the very same parameters and buffers."""
    tensors: dict[int, Any] = {id(x): x for x in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, tensors)


def ids_of_decoders(model: nn.Module) -> set[int]:
    """The ids of the modules within decoders, which get their text token by token."""
    return {id(module) for name, module in model.named_modules() if "decoder" in name.split(".")}


def is_users(module: nn.Module) -> bool:
    """Whether it is a part of a user's own, which may read weights in its own way."""
    return not isinstance(module, PretrainedModel) and not type(module).__module__.startswith(
        ("minitransformer.", "torch.")
    )


def called_layers(model: nn.Module) -> list[nn.Linear]:
    """The linear layers that are called; an adaptive softmax reads the weights of its own."""
    wholes = [module for module in model.modules() if isinstance(module, AdaptiveLogSoftmax) or is_users(module)]
    inside = {id(module) for whole in wholes for module in whole.modules()}
    return [module for module in model.modules() if type(module) is nn.Linear and id(module) not in inside]


def cast(model: nn.Module, dtype: torch.dtype) -> None:
    """Give the model tensors of another type, and leave those that it shares with another model as they are."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, x in list(tensors.items()):
                if x is not None and x.is_floating_point() and x.dtype != dtype:
                    is_parameter = isinstance(x, nn.Parameter)
                    new = nn.Parameter(x.detach().to(dtype), requires_grad=False) if is_parameter else x.to(dtype)
                    tensors[name] = made.setdefault(id(x), new)  # type: ignore[assignment]


def make_step_product(name: str, weight: Tensor, bias: Tensor | None, activation: Activation | None = None) -> Product:
    """A product of the form ``name`` for compiled steps."""
    if name == "int8":
        return Int8StepProduct(weight, bias)
    if name == "float16":
        return Float16StepProduct(weight, bias, activation)
    kind = FORMS[name]
    return StepProduct(weight.to(kind), None if bias is None else bias.to(kind), activation)


def make_row_product(name: str, weight: Tensor, bias: Tensor | None) -> Product:
    """A product of the form ``name`` for a single row, or for many."""
    alone = make_step_product(name, weight, bias)
    return RowProduct(alone, alone if name in ("float16", "int8") else make_product(name, weight, bias))


def drop_weights(layer: nn.Linear) -> None:
    """Let go of the readable weights, which a product holds in its own form; names, shapes and type stay."""
    for name, parameter in list(layer._parameters.items()):
        if parameter is not None:
            layer._parameters[name] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)


def become(part: Any, fused: type[nn.Module], **products: Product) -> None:
    """Turn a part of the copy into its fused form, which has everything of the readable one and products besides."""
    part.__class__ = fused
    for name, product in products.items():
        setattr(part, name, product)


def is_plain(attn: MultiHeadAttention) -> bool:
    """Whether an attention has neither rotary positions nor shared keys nor a window: others keep their own way."""
    return attn.rotary is None and attn.window is None and attn.num_kv_heads == attn.num_heads


def fuse(block: Any, form: Callable[..., str], make: Callable[..., Product]) -> None:
    """Put fast parts into a block, where its own are of the usual kind and large enough."""
    if type(getattr(block, "cross_attn", None)) is MultiHeadAttention:
        become(block.cross_attn, FastAttention)
    attn: Any = block.attn
    if type(attn) is MultiHeadAttention and is_plain(attn) and attn.query.weight.numel() >= SMALLEST:
        layers = (attn.query, attn.key, attn.value)
        bias = None if attn.query.bias is None else torch.cat([layer.bias.detach() for layer in layers])
        become(attn, FusedAttention, qkv=make(form(*layers), torch.cat([x.weight.detach() for x in layers]), bias))
        for layer in layers:
            drop_weights(layer)
    ffn: Any = block.ffn
    is_usual = type(ffn).forward is FeedForward.forward and not is_users(ffn)
    if is_usual and can_fuse(form(ffn.up), ffn.activation) and ffn.up.weight.numel() >= SMALLEST:
        become(ffn, FusedFeedForward, widen=make(form(ffn.up), ffn.up.weight, ffn.up.bias, ffn.activation))
        drop_weights(ffn.up)
