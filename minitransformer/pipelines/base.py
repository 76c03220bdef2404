"""What every pipeline shares: its options, its three steps, and the walk over one input, a list, or a stream.

A task is a class with three methods, which can be called and overridden one by one::

    chunk = pipe.preprocess("some text")    # text -> tensors with a leading axis of length 1
    outputs = pipe.forward(chunk)           # tensors -> model outputs; also takes a batch
    result = pipe.postprocess(outputs)      # model outputs -> plain lists, dictionaries, strings and floats

The options of a task are the keyword-only parameters of these methods: ``pipe(text, top_k=3)`` passes
``top_k`` to the steps that have such a parameter, and a name that none of them has is a TypeError.

Results equal those of transformers 4.57 (``transformers/pipelines``). Where that version does something that
its user can hardly have meant, the default here is what was meant, and ``compat="transformers"`` gives 4.57's
behaviour; each place says so.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from minitransformer.errors import PipelineError, did_you_mean
from minitransformer.layers import fast_linear
from minitransformer.pipelines.batching import (
    BatchSize,
    Chunk,
    Side,
    check_batch_size,
    chunk_length,
    collate,
    separate,
    stream,
)

if TYPE_CHECKING:
    from minitransformer.models.base import PretrainedModel
    from minitransformer.tokenization import Encoding, Tokenizer

logger = logging.getLogger("minitransformer")

STEPS = ("preprocess", "forward", "postprocess")

TOKENIZER_OPTIONS = frozenset(
    """
    padding truncation max_length stride add_special_tokens is_split_into_words pad_to_multiple_of
    return_token_type_ids return_attention_mask
    """.split()
)
"""Options of a tokenizer call that make sense inside a pipeline."""


@dataclass(frozen=True)
class Steps:
    """The options of one call, by the step that they go to."""

    preprocess: dict[str, Any]
    forward: dict[str, Any]
    postprocess: dict[str, Any]


class Pipeline:
    """A model, its tokenizer, and what turns text into an answer.

    Args:
        model: a model with the head that the task needs.
        tokenizer: its tokenizer; ``padding_side``, ``pad_token`` and ``model_max_length`` may be set at any
            time.
        task: the name under which it was asked for (``translation_en_to_fr``); default the task's own name.
        device: where to compute: "cpu", "cuda:1", a number of a GPU, -1 for the CPU; None leaves the model
            where it is.
        dtype: convert the model's weights; None leaves them as they are.
        batch_size: how many chunks run together; "auto" sorts by length and packs by number of tokens.
        compat: None, or "transformers" for the behaviour of transformers 4.57 where ours differs.
        options: options of the task, used by every call that does not give its own.

    Raises:
        PipelineError: the model has not the head that the task needs, or an argument has a wrong value.
        TypeError: an option that the task does not have.
    """

    default_task: ClassVar[str]
    """The task's name."""
    auto_class: ClassVar[str]
    """Name of the class in ``minitransformer`` that loads a model with the right head."""
    default_model: ClassVar[str]
    """The checkpoint of this task when none is named."""
    too_long_remedy: ClassVar[str] = "truncation=True"
    """What to pass when a text has more tokens than the model has positions."""
    token_outputs: ClassVar[tuple[str, ...]] = ()
    """Names of the outputs of ``forward`` that have a token axis, from which padding is cut."""
    open_options: ClassVar[Mapping[str, frozenset[str]]] = {}
    """For a step that takes ``**options``: their names."""
    old_names: ClassVar[frozenset[str]] = frozenset()
    """Options that no step takes; `translate` turns them into others."""
    none_counts: ClassVar[frozenset[str]] = frozenset()
    """Options for which None is a value; None for another option means "not given"."""

    def __init__(
        self,
        model: PretrainedModel,
        tokenizer: Tokenizer,
        *,
        task: str | None = None,
        device: int | str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        batch_size: BatchSize = 1,
        compat: str | None = None,
        **options: Any,
    ) -> None:
        if compat not in (None, "transformers"):
            raise PipelineError(f"compat must be None or 'transformers', not {compat!r}")
        self.task = task or self.default_task
        self.tokenizer = tokenizer
        self.batch_size = check_batch_size(batch_size)
        self.compat = compat
        self.model = model.to(device=find_device(device) if device is not None else None, dtype=dtype).eval()
        self._warned: set[str] = set()
        self.options = self.translate(options)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return self.model.dtype

    # The three steps --------------------------------------------------------------------------------------

    def preprocess(self, inputs: Any, **options: Any) -> Chunk:
        """Turn one input into tensors with a leading axis of length 1."""
        raise NotImplementedError

    def forward(self, inputs: Chunk, **options: Any) -> Chunk:
        """Run the model on one chunk or on a batch; what was not used is passed on."""
        raise NotImplementedError

    def postprocess(self, outputs: Chunk, **options: Any) -> Any:
        """Turn the outputs for one input into the answer."""
        raise NotImplementedError

    # One input, a list, a stream --------------------------------------------------------------------------

    def __call__(self, inputs: Any, *, batch_size: BatchSize | None = None, **options: Any) -> Any:
        """Answer one input, a list of them, or a generator of them.

        Args:
            inputs: what the task takes, a list of it (gives a list), or a generator or dataset (gives a
                generator).
            batch_size: instead of the pipeline's own.
            options: options of the task, for this call.

        Raises:
            PipelineError: input that cannot be answered; the message says which one and what to do.
            TypeError: an option that the task does not have.
        """
        steps = self.steps(options)
        size = self.batch_size if batch_size is None else check_batch_size(batch_size)
        if is_stream(inputs):
            return self._stream(inputs, size, steps)
        if isinstance(inputs, (list, tuple)):
            if not inputs and self.compat is None:
                raise PipelineError(f"{self.task} got an empty list: pass at least one input")
            for number, item in enumerate(inputs):  # before any work is done that an error would throw away
                with naming_input(number):
                    self.check_input(item)
            return list(self._stream(inputs, size, steps))
        return next(self._stream([inputs], size, steps, one=True))

    def _stream(self, inputs: Iterable[Any], size: BatchSize, steps: Steps, one: bool = False) -> Iterator[Any]:
        def prepare(item: Any, number: int) -> list[Chunk]:
            with naming_input(None if one else number):
                return self._checked(self._chunks(item, steps.preprocess))

        def key(chunk: Chunk) -> Hashable:
            unpadded = size == "auto" and self.tokenizer.pad_token_id is None
            return (self.batch_key(chunk, steps), chunk_length(chunk) if unpadded else 0)

        return stream(
            inputs,
            size,
            prepare=prepare,
            run=lambda chunks: self._run(chunks, steps.forward),
            finish=lambda outputs: self._finish(outputs, steps.postprocess),
            key=key,
        )

    def _chunks(self, item: Any, options: dict[str, Any]) -> list[Chunk]:
        return [self.preprocess(item, **options)]

    def _finish(self, outputs: list[Chunk], options: dict[str, Any]) -> Any:
        return self.postprocess(outputs[0], **options)

    def _run(self, chunks: list[Chunk], options: dict[str, Any]) -> list[Chunk]:
        """`forward` for a batch of chunks, and its outputs taken apart again."""
        if len(chunks) == 1:
            return [{**chunks[0], **self.forward(chunks[0], **options)}]
        if self.tokenizer.pad_token_id is None and len({chunk_length(chunk) for chunk in chunks}) > 1:
            raise PipelineError(
                "the tokenizer has no pad token, so texts of different lengths cannot share a batch: set one, "
                "for example pipe.tokenizer.pad_token = pipe.tokenizer.eos_token, or pass batch_size=1"
            )
        if self.model.config.pad_token_id is None:  # where a causal model finds the last token of a text
            self.model.config = self.model.config.replace(pad_token_id=self.tokenizer.pad_token_id)
        side = self.padding_side
        batch = collate(chunks, self.tokenizer.pad_token_id, side)
        outputs = self.forward(batch, **options)
        return separate(outputs, batch, chunks, self.token_outputs, side)

    @property
    def padding_side(self) -> Side:
        """Where a batch is filled up.

        On the right: absolute positions then start at 0 in every row, so that padding changes nothing.
        (4.57 takes the tokenizer's side, which moves the positions of BERT and its kin.)
        """
        if self.compat == "transformers":
            return self.tokenizer.padding_side
        return "right"

    def batch_key(self, chunk: Chunk, steps: Steps) -> Hashable:
        """Only chunks for which this is equal share a batch."""
        return None

    # Options ----------------------------------------------------------------------------------------------

    @classmethod
    def step_options(cls, step: str) -> frozenset[str]:
        """Names of the options that a step takes: its keyword-only ones, and those it passes on by ``**``."""
        names: set[str] = set()
        for klass in cls.__mro__:  # an override with **options also takes what the method above it takes
            if step in vars(klass):
                parameters = inspect.signature(vars(klass)[step]).parameters.values()
                names |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
                if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                    return frozenset(names)
        return frozenset(names) | cls.open_options.get(step, frozenset())

    @classmethod
    def known_options(cls) -> frozenset[str]:
        """Names of all options of the task."""
        ignored = {"num_workers"}  # told to another library's reader of data
        return frozenset().union(*(cls.step_options(step) for step in STEPS), cls.old_names, ignored)

    @classmethod
    def check_option_names(cls, options: Iterable[str]) -> None:
        """Raise a TypeError for a name that is no option of the task; it has the nearest one that is."""
        known = cls.known_options()
        for name in options:
            if name not in known:
                hint = did_you_mean(name, known)
                raise TypeError(f"{cls.default_task} has no option {name!r}.{hint} It has: {', '.join(sorted(known))}")

    def translate(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Check the names of options, and turn old names into today's.

        Tasks extend it with checks of the values.
        """
        self.check_option_names(options)
        return {name: value for name, value in options.items() if value is not None or name in self.none_counts}

    def merge(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a call over those of the pipeline."""
        return {**self.options, **options}

    def steps(self, options: Mapping[str, Any]) -> Steps:
        """Share out the options of a call, and the pipeline's own, among the steps that take them."""
        merged = self.merge(self.translate(options))
        by_step = (self.step_options(step) for step in STEPS)
        return Steps(*({name: value for name, value in merged.items() if name in names} for names in by_step))

    # Tools for the steps ----------------------------------------------------------------------------------

    def check_input(self, item: Any) -> None:
        """Raise a PipelineError if one input of a list cannot be answered, as far as a glance can tell."""
        if not isinstance(item, (dict, list, tuple)):
            self.check_text(item)

    def check_text(self, text: Any, what: str = "the text") -> str:
        """``text`` itself, if it is a string that is not empty."""
        if text is None:
            raise PipelineError(f"{what} is None: pass a string")
        if not isinstance(text, str):
            raise PipelineError(f"{what} is of type {type(text).__name__}: {self.task} takes strings")
        if not text and self.compat is None:
            raise PipelineError(f"{what} is empty: pass a text of at least one character, or leave it out")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                remedy = "text.encode(errors='replace').decode() repairs it"
                raise PipelineError(f"{what} is not valid Unicode at {error.start}: {remedy}") from error
        return text

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that tokenizer and model both allow for, or None where neither says."""
        limits = (self.tokenizer.model_max_length, self.model.config.max_positions)
        known = [limit for limit in limits if limit is not None and limit < 10**9]  # absent is 1e30 in old files
        return min(known, default=None)

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Encoding:
        """Call the tokenizer; truncation without a ``max_length`` cuts to `max_tokens`."""
        if options.get("truncation") and options.get("max_length") is None and self.max_tokens is not None:
            options["max_length"] = self.max_tokens
        return self.tokenizer(text, text_pair, **options)

    def call_model(self, inputs: Chunk, **extra: Any) -> Any:
        """Run the model, without gradients and on its device, on those inputs that its forward pass takes."""
        wanted = self.model.forward_parameters() & set(self.tokenizer.model_input_names)
        with torch.inference_mode(), fast_linear():
            return self.model(**{name: inputs[name].to(self.device) for name in wanted if name in inputs}, **extra)

    def warn_once(self, message: str) -> None:
        """Log a warning, the first time only."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model and tokenizer into a folder, from which `pipeline` and transformers can load them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _checked(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks, if the model has positions for all their tokens."""
        limit = self.model.config.max_positions
        longest = max((chunk_length(chunk) for chunk in chunks), default=0)
        if limit is not None and longest > limit:
            raise PipelineError(
                f"the text has {longest} tokens, and the model has positions for {limit}: pass {self.too_long_remedy}"
            )
        return chunks


class ChunkPipeline(Pipeline):
    """A pipeline whose ``preprocess`` makes several chunks of an input.

    They run in batches, also with those of other inputs; ``postprocess`` gets the list of their outputs.
    """

    def preprocess(self, inputs: Any, **options: Any) -> Iterator[Chunk]:  # type: ignore[override]
        """Yield chunks, each with tensors that have a leading axis of length 1."""
        raise NotImplementedError

    def postprocess(self, outputs: Sequence[Chunk], **options: Any) -> Any:  # type: ignore[override]
        """Turn the outputs for all chunks of one input into the answer."""
        raise NotImplementedError

    def _chunks(self, item: Any, options: dict[str, Any]) -> list[Chunk]:
        return list(self.preprocess(item, **options))

    def _finish(self, outputs: list[Chunk], options: dict[str, Any]) -> Any:
        return self.postprocess(outputs, **options)


@contextmanager
def naming_input(number: int | None) -> Iterator[None]:
    """Put the number of an input of a list before the message of an error."""
    try:
        yield
    except PipelineError as error:
        raise error if number is None else PipelineError(f"input {number}: {error}") from error


def is_stream(inputs: Any) -> bool:
    """Whether inputs are to be read one by one: generators and other iterators, and datasets.

    A dataset is whatever has a length and an index, and is no list, tuple, dictionary or string.
    """
    if isinstance(inputs, (str, bytes, dict, list, tuple)):
        return False
    return isinstance(inputs, Iterator) or (hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"))


def find_device(device: int | str | torch.device) -> torch.device:
    """The device of that name or number; -1 is the CPU.

    Raises:
        PipelineError: there is no such device here.
    """
    try:
        if isinstance(device, int):
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            if device >= 0 and accelerator is None:
                raise RuntimeError("there is no GPU")
            found = torch.device("cpu") if device < 0 or accelerator is None else torch.device(accelerator.type, device)
        else:
            found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise PipelineError(f"device={device!r} cannot be used here: {error}. Pass device='cpu'") from error
    return found


def check_positive(name: str, value: Any) -> None:
    """Raise unless an option is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise PipelineError(f"{name} must be an integer of at least 1, not {value!r}")
