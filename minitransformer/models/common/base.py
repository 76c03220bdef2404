"""What every model can do: be loaded, saved, counted, and give out its intermediates."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import Self

from minitransformer.arguments import READING_MODELS, WRITING, as_bytes, settle, take, take_repository
from minitransformer.config import ModelConfig
from minitransformer.errors import ArgumentError, CheckpointError, warn_caller
from minitransformer.files import together, write_whole
from minitransformer.generation import GenerationConfig, generate, transition_scores
from minitransformer.generation.inputs import encoded_source
from minitransformer.hub import Repository, as_repository, read_json
from minitransformer.layers import token_positions, trace
from minitransformer.models.common.boundary import can_be_read, check_inputs, is_root_of_trace
from minitransformer.models.common.caches import CACHE, take_cache
from minitransformer.models.common.drawing import draw_weights, drawn_when_built
from minitransformer.models.common.habits import Habits
from minitransformer.models.common.loading import (
    MODEL_ARGUMENTS,
    SAVE_ARGUMENTS,
    DTypeArgument,
    as_dtype,
    find_device,
    init_arguments,
    known_names,
    one_device,
    strange_classes,
)
from minitransformer.models.common.part_names import remember
from minitransformer.models.common.parts import (
    Make,
    described_parts,
    draw_as_constructed,
    make_parts,
    new_parameter_names,
    own_places,
    put_parts,
)
from minitransformer.models.common.resizing import resize
from minitransformer.models.common.sizes import check_room, check_sizes
from minitransformer.models.common.vectors import take_vectors
from minitransformer.weights import (
    BACKBONE,
    WeightMap,
    export_weights,
    load_weights,
    open_checkpoint,
    save_checkpoint,
    without_memory,
)
from minitransformer.weights.misfits import MisfitError
from minitransformer.weights.sources import Renaming, Source, Tensors

MakeBlock = Callable[..., nn.Module]

NEW_HEAD = "the head is drawn anew"
MASKS = ("attention_mask", "decoder_attention_mask")
LANGUAGE_MODELS = ("ForMaskedLM", "ForCausalLM", "ForSeq2SeqLM", "ForPreTraining")
"""Tasks whose heads were trained with the backbone, so that a file without one is the wrong file."""

_inside: ContextVar[bool] = ContextVar("inside of another model", default=False)
_watched: ContextVar[bool] = ContextVar("inside of a model whose intermediates are read", default=False)


@dataclass(frozen=True)
class Architecture:
    """One line of the registry: a config class, and the model class for each ``AutoModel...`` suffix."""

    config: type[ModelConfig]
    heads: Mapping[str, type[PretrainedModel]]

    @classmethod
    def of(cls, model: type[PretrainedModel], *with_heads: type[PretrainedModel]) -> Architecture:
        """That of a model without a head, and of those with one, whose classes say for which task they are."""
        return cls(model.CONFIG, {"Model": model, **{str(kind.HEAD): kind for kind in with_heads}})


class PretrainedModel(Habits):
    """Base of all models.

    An architecture sets three things on a common base of its models: ``CONFIG``, ``WEIGHTS``, and ``INTERMEDIATES``,
    which says from which taps an output field is served (see ``single_stack`` and ``encoder_decoder``).
    """

    CONFIG: ClassVar[type[ModelConfig]]
    WEIGHTS: ClassVar[WeightMap]
    INTERMEDIATES: ClassVar[Mapping[str, tuple[str, ...]]]
    OPTIONAL: ClassVar[tuple[str, ...]] = ()
    """Parameters (shell patterns) that old files may lack; they start as in a new model."""
    OPTIONAL_PARTS: ClassVar[tuple[str, ...]] = ()
    """Parts of the model without a head that many files lack (poolers); it then goes without."""
    FLOAT32: ClassVar[tuple[str, ...]] = ()
    """Parameters (shell patterns) that stay in float32 when the model is loaded in float16: layers that overflow."""

    HEAD: ClassVar[str | None] = None
    """The task, less "AutoModel", of a model with a head: its rows in the weight map."""
    TAKES_CHOICES: ClassVar[bool] = False
    """Whether a text is several ones to choose from: ids of (batch, choice, token)."""
    SCALED_VECTORS: ClassVar[tuple[str, ...]] = ()
    """Sides ("", "encoder_", "decoder_") on which vectors given instead of ids are scaled as those of words are."""

    _arguments: ClassVar[tuple[str, ...]]
    _needs_ids: ClassVar[bool] = False

    config: ModelConfig
    backbone: Any
    """The model below the head, in a model that has one; what the task adds is ``head``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "WEIGHTS"):
            remember(cls.WEIGHTS)
        parameters = inspect.signature(cls.forward).parameters
        cls._arguments = tuple(parameters)[1:]
        cls._needs_ids = "input_ids" in parameters and parameters["input_ids"].default is inspect.Parameter.empty
        if "__init__" in vars(cls):  # Class(config) is a new model, its weights drawn as for pretraining
            cls.__init__ = drawn_when_built(cls.__init__)  # type: ignore[method-assign]

    def __call__(
        self,
        *args: Any,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Look at the inputs, and run ``forward``; with two flags, also fill the output's fields of intermediates.

        Args:
            *args: as ``forward`` takes them.
            output_hidden_states: whether to give the hidden states, from the taps; by default what the config says.
            output_attentions: the same for the attention maps.
            return_dict: False for a tuple in place of an object with names; by default what the config says.
            use_cache: whether to give ``past_key_values``, of a model that decodes; by default what the config says,
                in evaluation mode and without labels.
            **kwargs: as ``forward`` takes them; others are ignored, if they are None. ``inputs_embeds`` and
                ``decoder_inputs_embeds``, (batch, token, size), are vectors in the place of ids.

        Raises:
            InputError: shapes of ids and masks that do not belong together.
            ValueError: an id, a token type or a position lies outside of its table.
        """
        kwargs = {name: x for name, x in kwargs.items() if x is not None or name in self._arguments}
        is_compiled = torch.compiler.is_compiling()  # Dynamo reads neither a ContextVar nor a config's further keys
        is_outermost = is_compiled or not _inside.get()
        if not isinstance(kwargs.get("encoder_outputs", None), Tensor | None):
            kwargs["encoder_outputs"] = encoded_source(kwargs["encoder_outputs"])
        has_ids = bool(args) or kwargs.get("input_ids") is not None
        has_vectors = not has_ids or "inputs_embeds" in kwargs or "decoder_inputs_embeds" in kwargs
        vectors = take_vectors(self, args, kwargs) if is_outermost and has_vectors else {}
        is_read = can_be_read((*args, *kwargs.values()))
        may_have_cache = CACHE in self._arguments or use_cache
        finish = take_cache(self, args, kwargs, use_cache) if is_read and is_outermost and may_have_cache else None
        if is_read:
            args = check_inputs(self, args, kwargs)
            inputs = self.prepare({**dict(zip(self._arguments, args, strict=False)), **kwargs})
            args = (*(inputs.pop(name) for name in self._arguments[: len(args)]), *args[len(self._arguments) :])
            kwargs = inputs
        token = _inside.set(True) if is_read and is_outermost else None
        try:
            with trace(self, edit=vectors) if vectors else nullcontext():
                output = self._run(args, kwargs, output_hidden_states, output_attentions)
        finally:
            if token is not None:
                _inside.reset(token)
        if finish is not None:
            finish(output)
        if is_root_of_trace(self):
            return {name: x for name, x in output.items() if isinstance(x, Tensor)}
        as_tuple = return_dict is False or (
            return_dict is None and is_outermost and not is_compiled and not getattr(self.config, "return_dict", True)
        )
        return output.to_tuple() if as_tuple else output

    def prepare(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The boundary, where values are looked at; not while a model is traced, compiled, exported or transformed.

        Args:
            inputs: what ``forward`` is to get, by name.

        Returns:
            The same, less masks that hide nothing, which lets attention take its quickest path.

        Raises:
            ValueError: an id, a token type or a position lies outside of its table.
        """
        for side, name in (("", "input_ids"), ("encoder_", "input_ids"), ("decoder_", "decoder_input_ids")):
            embeddings, ids = self._modules.get(f"{side}embeddings"), inputs.get(name)
            check: Any = getattr(embeddings, "check", None)
            if check is not None and ids is not None:
                mask, positions = inputs.get(name.replace("input_ids", "attention_mask")), inputs.get("position_ids")
                if positions is None:
                    positions = self.positions(ids, mask, None if side == "encoder_" else inputs.get("past_key_values"))
                check(ids, positions, inputs.get("token_type_ids"))
        if any(name.endswith("embeddings") for name in self._modules):
            inputs.update({name: None for name, x in inputs.items() if name in MASKS and x is not None and x.all()})
        return inputs

    def positions(self, ids: Tensor, attention_mask: Tensor | None = None, cache: Any = None) -> Tensor:
        """Where tokens stand that follow those in the cache: counted from the left, padding included."""
        return token_positions(ids.shape[1], offset=0 if cache is None else cache.length, device=ids.device)

    def _run(self, args: Any, kwargs: Any, output_hidden_states: bool | None, output_attentions: bool | None) -> Any:
        """``forward``; the output's fields of intermediates that are asked for are filled from the taps."""
        asked = {"hidden_states": output_hidden_states, "attentions": output_attentions}
        asked = {kind: self._says(f"output_{kind}") if on is None else on for kind, on in asked.items()}
        wanted = {
            field: patterns
            for field, patterns in self.INTERMEDIATES.items()
            if any(on and field.endswith(kind) for kind, on in asked.items())
        }
        if not wanted:
            return super().__call__(*args, **kwargs)
        outermost = _watched.set(True)
        try:
            with trace(self, *(pattern for patterns in wanted.values() for pattern in patterns)) as t:
                output = super().__call__(*args, **kwargs)
        finally:
            _watched.reset(outermost)
        for field, patterns in wanted.items():
            tensors = tuple(tensor for pattern in patterns for tensor in t.matching(pattern))
            setattr(output, field, tensors or None)
        return output

    def _says(self, name: str) -> bool:
        """Whether the config asks for intermediates; a model inside of another is not asked."""
        return bool(getattr(self.config, name)) and not _watched.get()

    @classmethod
    def config_for(cls, config: ModelConfig, source: Source) -> ModelConfig:
        """The config, with what only the shapes in a file can say; an architecture may override it."""
        return config

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """A new model with random weights, drawn as for pretraining (normal, ``config.initializer_range``).

        So is ``Class(config)``.

        Raises:
            ConfigError: its weights would take more memory than the machine has.
        """
        check_room(cls, config)
        return cls(config)

    @classmethod
    @torch.inference_mode(False)  # weights that were made in inference mode could never be trained
    def from_pretrained(
        cls,
        id_or_folder: str | Path | Repository | None,
        *,
        config: ModelConfig | str | Path | None = None,
        dtype: DTypeArgument = torch.float32,
        device: torch.device | str | int = "cpu",
        allow_missing_head: bool | None = None,
        new_head: bool = False,
        allow_unused: str | Iterable[str] = (),
        strip_prefix: str = "",
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        parts: Mapping[str, Make] | None = None,
        new_parameters: str | Iterable[str] = (),
        **options: Any,
    ) -> Self:
        """Load a checkpoint in the Hub's format, in evaluation mode.

        Args:
            id_or_folder: a folder (never touches the network) or a model id on the Hub.
            config: instead of the checkpoint's config.json; a config, or where to read one.
            dtype: of the weights in memory; "auto" takes what config.json names. Also ``torch_dtype``.
            device: where the weights go. Also ``device_map``.
            allow_missing_head: what if the checkpoint lacks the head: True gives it random weights, False is an error.
                By default a task's head (its labels, an answer's place) is drawn with a warning, since it is meant to
                be trained; that of a language model is an error.
            new_head: give the head random weights even if the checkpoint has one, for other labels (``num_labels``
                then says how many); the backbone, its pooler included, comes from the checkpoint all the same.
            allow_unused: shell patterns of names in the file that the model need not have a use for.
            strip_prefix: what to take off the names in the file ("module.").
            ignore_mismatched_sizes: start weights anew that have another shape in the file, with a warning.
            output_loading_info: give a pair of the model and a dictionary that says what was missing or not used.
            parts: shell pattern of modules' names -> a function that gets the old module and gives the one that takes
                its place (see ``models.parts``). What it calls as the old one did is filled from the file.
            new_parameters: shell patterns of what it has beside, which the file may lack; drawn by the new module's own
                ``reset_parameters``, if it has one.
            **options: fields of the config that shall have another value (``num_labels=3``); where the files are:
                ``revision``, ``token``, ``subfolder``, ``cache_dir``, ``local_files_only``, ``force_download``,
                ``use_safetensors``, ``variant``; ``state_dict`` (tensors to load instead of files), ``key_mapping``
                (regular expression -> replacement, for names in the file), ``generation_config``; arguments of the
                class itself (``add_pooling_layer``). docs/loading.md lists them all, and those without a use here.

        Raises:
            ConfigError: the config asks for something unsupported.
            CheckpointError: files or tensors are missing, damaged, or do not fit.
            HubError: the Hub could not be reached, or refused.
            ArgumentError: an option is unknown, or refused.

        Warns:
            UserWarning: a head is drawn anew; or an option, a key or a class in config.json means nothing here.
        """
        repository = None if id_or_folder is None else take_repository(id_or_folder, options)
        tensors = options.pop("state_dict", None)
        if repository is None and (config is None or tensors is None):
            raise ArgumentError("from_pretrained(None) loads no file: pass config= and state_dict=")
        if not isinstance(config, ModelConfig):
            place = as_repository(config) if config is not None else repository
            assert place is not None
            config = cls.CONFIG.from_hf(read_config(place))
        dtype = options.pop("torch_dtype", None) or dtype
        if (device_map := options.pop("device_map", None)) is not None:
            device = one_device(device_map)
        device = find_device(device)
        generation_config = options.pop("generation_config", None)
        init = {name: options.pop(name) for name in init_arguments(cls) if name in options}
        files = {name: options.pop(name, None) for name in ("use_safetensors", "variant")}
        names = Renaming(strip_prefix, options.pop("key_mapping", None) or {})
        dtype = as_dtype(dtype, config)
        habits = take(options, READING_MODELS)
        config = config.override(options)
        known = [*MODEL_ARGUMENTS, *known_names(cls.CONFIG)]
        settle({**habits, **options}, READING_MODELS, known, f"{cls.__name__}.from_pretrained")

        assert repository is not None or tensors is not None  # checked above
        source: Source = Tensors(tensors) if repository is None or tensors else open_checkpoint(repository, **files)
        source = names.applied_to(source)
        config = cls.config_for(config, source)
        assert isinstance(config, ModelConfig)
        check_sizes(config, source)
        with without_memory():  # no memory and no random numbers for weights that the file will bring
            model = cls(config, **init)
        put_parts(model, parts or {}, device=device, dtype=dtype)
        new = new_parameter_names(model, new_parameters)
        starts_anew = new_head or allow_missing_head or (allow_missing_head is None and model.head_is_for_a_task())
        allowed = [*cls.may_lack(), *(model.head_parameters() if starts_anew else model.optional_parameters())]
        try:
            report = load_weights(
                model,
                source,
                cls.WEIGHTS,
                dtype=dtype,
                device=device,
                allow_missing=allowed,
                leave_out=dict.fromkeys(model.own_head_parameters(), NEW_HEAD) if new_head else None,
                keep_float32=cls.FLOAT32 if dtype == torch.float16 else (),
                allow_unused=[allow_unused] if isinstance(allow_unused, str) else allow_unused,
                allow_misshaped=ignore_mismatched_sizes,
                new=new,
            )
        except MisfitError as error:
            if strange := strange_classes(cls, config):
                raise CheckpointError(
                    f"config.json of {source.where} is for {strange}, which is no class of this library, and the "
                    f"weights are not those of {cls.__name__} ({error.count}): it can be read by the code that wrote it"
                ) from error
            raise
        if strange := strange_classes(cls, config):
            warn_caller(
                f"config.json of {source.where} is for {strange}, which is no class of this library; its weights fit "
                f"{cls.__name__}, which may compute something else with them"
            )
        has_head = bool(model.own_head_parameters())
        if not (starts_anew and (has_head or allow_missing_head or new_head)):
            model.drop_parts(report.missing)
        model.initialise(only=draw_as_constructed(model, report.missing, lambda: cls(config, **init)))
        drawn = [name for name in report.missing if name not in {*model.expected_to_be_missing(), *new}]
        if drawn and ((has_head and allow_missing_head is None and not new_head) or report.misshaped):
            warn_caller(
                f"{len(drawn)} weights of {cls.__name__} are not in {source.where}, or not in this shape, and start "
                f"from random numbers: {', '.join(drawn)}. Train them before you trust an answer "
                "(allow_missing_head=True says that you know, False makes it an error)"
            )
        for buffer_owner in model.modules():  # fixed tables that are not in the file
            for name, buffer in buffer_owner._buffers.items():
                if buffer is not None:
                    floating = buffer.is_floating_point()
                    buffer_owner._buffers[name] = buffer.to(device, dtype if floating else None)
        model.load_generation_config(repository, generation_config)
        model.eval()
        return (model, report.as_dictionary()) if output_loading_info else model  # type: ignore[return-value]

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        max_shard_size: int | str | None = None,
        variant: str | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        is_main_process: bool = True,
        save_function: Any = None,
        **options: Any,
    ) -> None:
        """Write config.json and the weights, in a form that transformers opens too.

        Args:
            folder: made if it does not exist.
            max_shard_size: bytes, or a size such as "2GB"; more weights than this are split into several files.
            variant: such as "fp16", for files with that in their names.
            state_dict: tensors under our names to be written instead of the model's own (of a model that is
                distributed over several processes).
            is_main_process: whether to write at all.
            save_function: not used; weights are written by safetensors, as transformers does.
            **options: docs/loading.md lists those that transformers has and that have no use here.

        Raises:
            ArgumentError: an option is unknown, or refused.
            RegistrationError: the model has parts that are not registered (``register_part``).
        """
        settle(options, WRITING, SAVE_ARGUMENTS, f"{type(self).__name__}.save_pretrained")
        if not is_main_process:
            return
        folder, size = Path(folder), as_bytes(max_shard_size)
        parts = described_parts(self)
        tensors = export_weights(self, self.WEIGHTS, state_dict)
        dtype = str(self.dtype).removeprefix("torch.")
        config = self.config.replace(architectures=(type(self).__name__,), torch_dtype=dtype, minitransformer=parts)
        with together(folder):
            save_checkpoint(tensors, folder, max_shard_size=size, variant=variant)
            write_json(folder / "config.json", config.to_hf())

    def load_generation_config(self, repository: Repository | None, given: Any = None) -> None:
        """Nothing to load: only ``GenerativeModel`` generates."""

    def hf_state_dict(self) -> dict[str, Tensor]:
        """The model's tensors under the names that transformers gives them."""
        return export_weights(self, self.WEIGHTS)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        """Give the model a vocabulary of another size, the source's where there are two.

        Tables, heads that share them, heads of their own and biases change together, and so does the config. Known
        words keep their numbers. Make the optimizer afterwards: the parameters are new.

        Args:
            new_num_tokens: how many words; as many as now if None.
            pad_to_multiple_of: round up to a multiple of this.
            mean_resizing: new rows are the mean of the old ones; else they are drawn as in a new model.

        Returns:
            The table of words.

        Raises:
            ArgumentError: the size is no positive whole number, or has no room for the padding token.
        """
        size = self.config.vocab_size if new_num_tokens is None else new_num_tokens
        return self._resize(self.config.resized, size, pad_to_multiple_of, mean_resizing)

    def resize_decoder_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        """As ``resize_token_embeddings``, for the target's vocabulary where it has its own (Marian, FSMT).

        Raises:
            ConfigError: there is one vocabulary.
        """
        now = getattr(self.config, "target_vocab_size", self.config.vocab_size)
        size = now if new_num_tokens is None else new_num_tokens
        return self._resize(self.config.resized_target, size, pad_to_multiple_of, mean_resizing)

    def _resize(self, resized: Callable[[int], ModelConfig], size: Any, multiple: Any, mean: bool) -> nn.Module:
        for name, number in (("new_num_tokens", size), ("pad_to_multiple_of", 1 if multiple is None else multiple)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ArgumentError(f"{name} must be a whole number of at least 1, not {number!r}")
        size = -(-size // (multiple or 1)) * (multiple or 1)
        pad = self.config.pad_token_id
        if pad is not None and pad >= size:
            raise ArgumentError(f"new_num_tokens={size} leaves no room for the padding token, whose id is {pad}")
        before = {id(parameter) for parameter in self.parameters()}
        resize(self, resized(size), mean=mean)
        tables = [module for module in self.modules() if isinstance(module, nn.Embedding)]
        return next((table for table in tables if id(table.weight) not in before), tables[0])

    def head_is_for_a_task(self) -> bool:
        """Whether the head scores labels or places, which is for training; not the words of a language model."""
        return bool(self.own_head_parameters()) and self.HEAD not in LANGUAGE_MODELS

    @classmethod
    def may_lack(cls) -> list[str]:
        """Shell patterns of parameters that files may lack: of ``OPTIONAL``, and of a subclass's weight map."""
        optional = cls.WEIGHTS.optional
        return [*cls.OPTIONAL, *optional, *(f"*.{pattern}" for pattern in optional)]

    def expected_to_be_missing(self) -> set[str]:
        """Parameters that files may lack."""
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        return {name for name in names if any(fnmatchcase(name, pattern) for pattern in self.may_lack())}

    def make_parts(self) -> None:
        """Put in the parts that the config names."""
        make_parts(self)

    def own_places(self) -> list[str]:
        """Names of modules whose parameters go by their own names where the weight map has no row."""
        return own_places(self)

    def head_parameters(self) -> list[str]:
        """Names of the parameters that a task adds: the head's, and those of the backbone's optional parts."""
        names = [name for name, _ in self.named_parameters()]
        if not any(name.startswith(BACKBONE) for name in names):
            return self.optional_parameters()
        parts = tuple(f"{BACKBONE}{part}." for part in self.OPTIONAL_PARTS)
        return [*self.own_head_parameters(), *(name for name in names if name.startswith(parts))]

    def own_head_parameters(self) -> list[str]:
        """Names of the head's parameters, but for those that it shares with the backbone."""
        names = [name for name, _ in self.named_parameters()]
        has_head = any(name.startswith(BACKBONE) for name in names)
        return [name for name in names if has_head and not name.startswith(BACKBONE)]

    def optional_parameters(self) -> list[str]:
        """Names of the parameters that this model can go without: none, if it has a head that needs them."""
        parts = tuple(f"{part}." for part in self.OPTIONAL_PARTS)
        return [name for name, _ in self.named_parameters() if name.startswith(parts)]

    def drop_parts(self, missing: list[str]) -> None:
        """Go without the optional parts whose parameters are ``missing``."""
        for part in self.OPTIONAL_PARTS:
            if any(name.startswith(f"{part}.") for name in missing):
                setattr(self, part, None)

    def initialise(self, only: set[str] | None = None) -> None:
        """Draw weights anew: normal for tables and projections, zero for biases, one for norms.

        A module of your own that has a ``reset_parameters`` is asked to draw its parameters; see ``draw_weights``.

        Args:
            only: names of the parameters to draw, which may still be without memory; all if None.
        """
        draw_weights(self, self.initial_std, only)

    def initial_std(self, name: str) -> float:
        """Spread of the random weights that a new model has in the parameter ``name``."""
        return self.config.initializer_range

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.parameters() if not p.is_meta), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next((p.dtype for p in self.parameters() if not p.is_meta), torch.get_default_dtype())

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers the model has learnt, shared ones counted once.

        Args:
            only_trainable: count what is not frozen only.
            exclude_embeddings: leave out tables of words, positions and types.
        """
        tables = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)} if exclude_embeddings else set()
        return sum(
            p.numel() for p in self.parameters() if (p.requires_grad or not only_trainable) and id(p) not in tables
        )

    def forward_parameters(self) -> set[str]:
        """Names of the arguments that ``forward`` takes."""
        return set(inspect.signature(self.forward).parameters)


class GenerativeModel(PretrainedModel):
    """A model with a language model head: it can ``generate``."""

    COUNTED_PADDING: ClassVar[bool] = False
    """Whether ``generate`` of transformers 4.57 gives padding positions; ``compat="transformers"`` does so too."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.generation_config = GenerationConfig.from_model_config(config)

    def generate(self, input_ids: Tensor | None = None, **options: Any) -> Any:
        """Continue the prompts ``input_ids``; options and result as in ``minitransformer.generation.generate``."""
        return generate(self, input_ids, **options)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, past_key_values: Any = None, attention_mask: Tensor | None = None, **more: Any
    ) -> dict[str, Any]:
        """What a call of one's own decoding loop takes: the ids that the cache has not seen, and the rest as it is.

        Args:
            input_ids: (batch, length) all ids so far; of an encoder-decoder, those of the target.
            past_key_values: the cache.
            attention_mask: 0 at padding; of an encoder-decoder, at the source's.
            **more: further arguments of the call.
        """
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        name = "decoder_input_ids" if self.config.is_encoder_decoder else "input_ids"
        given = {name: input_ids[:, seen:], "past_key_values": past_key_values, "attention_mask": attention_mask}
        return {**given, **more}

    def compute_transition_scores(
        self,
        sequences: Tensor,
        scores: tuple[Tensor, ...],
        beam_indices: Tensor | None = None,
        normalize_logits: bool = False,
    ) -> Tensor:
        """The score of every generated token, (rows, new tokens); as ``generation.transition_scores``."""
        return transition_scores(sequences, scores, beam_indices, normalize_logits=normalize_logits)

    def load_generation_config(self, repository: Repository | None, given: Any = None) -> None:
        """Take the ``given`` one, or read generation_config.json, if there is one."""
        path = None if repository is None else repository.find("generation_config.json")
        if given is not None:
            self.generation_config = given
        elif path is not None:
            self.generation_config = GenerationConfig.from_hf(read_json(path))

    def save_pretrained(self, folder: str | Path, **options: Any) -> None:
        """Write config.json, generation_config.json and the weights; options as in ``PretrainedModel``."""
        if not options.get("is_main_process", True):
            return super().save_pretrained(folder, **options)
        with together(folder):
            super().save_pretrained(folder, **options)
            write_json(Path(folder) / "generation_config.json", self.generation_config.to_hf())


def single_stack(name: str) -> dict[str, tuple[str, ...]]:
    """The taps behind hidden_states and attentions of a model with one stack of blocks.

    As in transformers there is one more hidden state than blocks, and the last one has passed the final norm.
    """
    return {
        "hidden_states": (f"{name}.blocks.*.input", f"{name}.output"),
        "attentions": (f"{name}.blocks.*.attn.pattern",),
    }


def encoder_decoder(encoder: str = "encoder", decoder: str = "decoder") -> dict[str, tuple[str, ...]]:
    """The taps behind the intermediates of an encoder-decoder."""
    sides = {"encoder": single_stack(encoder), "decoder": single_stack(decoder)}
    taps = {f"{side}_{field}": patterns for side, fields in sides.items() for field, patterns in fields.items()}
    return taps | {"cross_attentions": (f"{decoder}.blocks.*.cross_attn.pattern",)}


def read_config(source: str | Path | Repository) -> dict[str, Any]:
    """The contents of a checkpoint's config.json.

    Raises:
        MissingFileError: there is none.
    """
    return read_json(as_repository(source).file("config.json"))


def write_json(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_whole(path, json.dumps(contents, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
