"""What every pipeline shares: its three steps, and the walk over one input, a list, or a stream.

A task is a class with three methods, which can be called and overridden one by one::

    chunk = pipe.preprocess("some text")    # text -> tensors with a leading axis of length 1
    outputs = pipe.forward(chunk)           # tensors -> model outputs; also takes a batch
    result = pipe.postprocess(outputs)      # model outputs -> plain lists, dictionaries, strings and floats

The options of a task are the keyword-only parameters of these methods (options.py): ``pipe(text, top_k=3)`` passes
``top_k`` to the steps that have such a parameter, and a name that none of them has is a TypeError. Between the first
step and the last, chunks wait for others to run with (streaming.py, batching.py).

Results equal those of transformers 4.57 (``transformers/pipelines``). Where that version does something that
its user can hardly have meant, the default here is what was meant, and ``compat="transformers"`` gives 4.57's
behaviour; each place says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from minitransformer.errors import PipelineError
from minitransformer.files import together
from minitransformer.layers import fast_linear
from minitransformer.options import read_value
from minitransformer.pipelines.batching import (
    ACCELERATED,
    AUTO_PADDING,
    AUTO_ROWS,
    AUTO_TOKENS,
    BatchSize,
    Chunk,
    Sharing,
    Side,
    check_batch_size,
    chunk_length,
    collate,
    separate,
)
from minitransformer.pipelines.loading import find_device
from minitransformer.pipelines.options import Options, Steps
from minitransformer.pipelines.streaming import is_stream, listed, naming_input, read_stream, stream

if TYPE_CHECKING:
    from minitransformer.models.common.base import PretrainedModel
    from minitransformer.tokenization import Encoding, Tokenizer

logger = logging.getLogger("minitransformer")


class Pipeline(Options):
    """A model, its tokenizer, and what turns text into an answer.

    Args:
        model: a model with the head that the task needs.
        tokenizer: its tokenizer; ``padding_side``, ``pad_token`` and ``model_max_length`` may be set at any
            time.
        task: the name under which it was asked for (``translation_en_to_fr``); default the task's own name.
        device: where to compute: "cpu", "cuda:1", a number of a GPU, -1 for the CPU; None leaves the model
            where it is.
        dtype: convert the model's weights; None leaves them as they are.
        batch_size: how many chunks run together; "auto", the default, sorts by length and packs by number of
            tokens. (With ``compat="transformers"`` the default is 1, as there.)
        compat: None, or "transformers" for the behaviour of transformers 4.57 where ours differs.
        options: options of the task, used by every call that does not give its own.

    Raises:
        PipelineError: the model has not the head that the task needs, or an argument has a wrong value.
        TypeError: an option that the task does not have.
    """

    auto_class: ClassVar[str | type[Any]]
    """Name of the class in ``minitransformer`` that loads a model with the right head; or that class."""
    default_model: ClassVar[str]
    """The checkpoint of this task when none is named: that of transformers 4.57."""
    default_revision: ClassVar[str | None] = None
    """Its commit, also that of 4.57, so that answers stay the same, and one cache serves both."""
    too_long_remedy: ClassVar[str] = "truncation=True"
    """What to pass when a text has more tokens than the model has positions."""
    token_outputs: ClassVar[tuple[str, ...]] = ()
    """Names of the outputs of ``forward`` that have a token axis, from which padding is cut."""

    def __init__(
        self,
        model: PretrainedModel,
        tokenizer: Tokenizer,
        *,
        task: str | None = None,
        device: int | str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        batch_size: BatchSize | None = None,
        compat: str | None = None,
        **options: Any,
    ) -> None:
        read_value("compat", compat, Literal["transformers"] | None, PipelineError)
        self.task = task or self.default_task
        self.tokenizer = tokenizer
        self.compat = compat
        if batch_size is None:
            batch_size = "auto" if compat is None else 1
        self.batch_size = check_batch_size(batch_size)
        self.model = model.eval()
        place = model.device if device is None else find_device(device)
        if place != model.device or dtype not in (None, model.dtype):
            self.model.to(device=place, dtype=dtype)
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
            inputs: what the task takes, a list of it or anything else with a length (gives a list), or a generator
                or dataset (gives a generator).
            batch_size: instead of the pipeline's own.
            options: options of the task, for this call.

        Raises:
            PipelineError: input that cannot be answered; the message says which one and what to do.
            TypeError: an option that the task does not have.
        """
        inputs = listed(inputs)
        steps = self.steps(options)
        size = self.batch_size if batch_size is None else check_batch_size(batch_size)
        if is_stream(inputs):
            return self._stream(read_stream(inputs), size, steps, lazy=True)
        if isinstance(inputs, (list, tuple)):
            if not inputs and self.compat is None:
                raise PipelineError(f"{self.task} got an empty list: pass at least one input")
            for number, item in enumerate(inputs):  # before any work is done that an error would throw away
                with naming_input(number):
                    self.check_input(item)
            return list(self._stream(inputs, size, steps))
        return next(self._stream([inputs], size, steps, one=True))

    def _stream(
        self, inputs: Iterable[Any], size: BatchSize, steps: Steps, *, one: bool = False, lazy: bool = False
    ) -> Iterator[Any]:
        def prepare(item: Any, number: int) -> list[Chunk]:
            with naming_input(None if one else number):
                return self.prepare(item, steps.preprocess)

        sharing = self.sharing(steps)
        return stream(
            inputs,
            1 if size == "auto" and sharing.in_order else size,
            prepare=prepare,
            run=lambda chunks: self.run(chunks, steps.forward),
            finish=lambda outputs: self.finish(outputs, steps.postprocess),
            sharing=sharing,
            lazy=lazy,
        )

    # The same steps for who schedules the work: one input -> chunks -> outputs, in any company -> answer

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Chunk]:
        """`preprocess`: the chunks of one input, if the model can read them.

        Raises:
            PipelineError: it cannot: there are no tokens, or too many.
        """
        return self._checked(self._chunks(item, options))

    def finish(self, outputs: list[Chunk], options: dict[str, Any]) -> Any:
        """`postprocess`, of the outputs for all chunks of one input."""
        return self.postprocess(outputs[0], **options)

    def _chunks(self, item: Any, options: dict[str, Any]) -> list[Chunk]:
        return [self.preprocess(item, **options)]

    def run(self, chunks: list[Chunk], options: dict[str, Any]) -> list[Chunk]:
        """`forward` for a batch of chunks, and its outputs taken apart again."""
        if len(chunks) == 1:
            return [{**chunks[0], **self.forward(chunks[0], **options)}]
        side = self.padding_side
        batch = collate(chunks, self.filler, side)
        outputs = self.forward(batch, **options)
        return separate(outputs, batch, chunks, self.token_outputs, side)

    @property
    def filler(self) -> int:
        """What a batch is filled up with: the config's pad token, which a model may look for, or any the mask hides."""
        for token in (self.model.config.pad_token_id, self.tokenizer.pad_token_id):
            if token is not None and 0 <= token < self.model.config.vocab_size:
                return token
        return 0

    @property
    def padding_side(self) -> Side:
        """Where a batch is filled up.

        On the right: absolute positions then start at 0 in every row, so that padding changes nothing.
        (4.57 takes the tokenizer's side, which moves the positions of BERT and its kin.)
        """
        if self.compat == "transformers":
            return self.tokenizer.padding_side
        return "right"

    def sharing(self, steps: Steps) -> Sharing:
        """Which chunks of a call may share a batch: all, unless the task knows better."""
        times = 1 if self.device.type == "cpu" else ACCELERATED
        return Sharing(tokens=times * AUTO_TOKENS, rows=times * AUTO_ROWS, padding=times * AUTO_PADDING)

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

    def model_inputs(self, inputs: Chunk) -> dict[str, Any]:
        """Those inputs that the model's forward pass takes, on its device."""
        wanted = self.model.forward_parameters() & {*self.tokenizer.model_input_names, "attention_mask"}
        return {name: inputs[name].to(self.device) for name in wanted if name in inputs}

    def call_model(self, inputs: Chunk, **extra: Any) -> Any:
        """Run the model on inputs, without gradients; its outputs may go into computations that have some."""
        with torch.no_grad(), fast_linear():
            return self.model(**self.model_inputs(inputs), **extra)

    def warn_once(self, message: str) -> None:
        """Log a warning, the first time only."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write model and tokenizer into a folder, from which `pipeline` and transformers can load them."""
        with together(folder):
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def _checked(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks, if they have tokens, and the model positions for all of them."""
        limit = self.model.config.max_positions
        lengths = [chunk_length(chunk) for chunk in chunks]
        if 0 in lengths:  # a tokenizer without special tokens, and blanks
            raise PipelineError("the text has no tokens, only characters that the tokenizer leaves out: pass a word")
        longest = max(lengths, default=0)
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

    def finish(self, outputs: list[Chunk], options: dict[str, Any]) -> Any:
        """`postprocess`, of the outputs for all chunks of one input."""
        return self.postprocess(outputs, **options)
