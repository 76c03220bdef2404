"""What every evaluation shares: its options, its three steps, and what a score may be made of.

A task is a class with three methods, which can be called one by one::

    records = evaluation.prepare(records)                # what is asked, and the answers that count as right
    predictions = evaluation.predict(pipe, records)      # plain data, one for each record
    scores = evaluation.score(predictions, records)      # {"accuracy": 91.2, "macro_f1": 90.7}

A baseline makes predictions of the same form without a model, so it is scored by the same lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from minitransformer.data import Record, as_records
from minitransformer.data.records import TEXT_FIELDS
from minitransformer.errors import DataError, PipelineError, UnknownOptionError
from minitransformer.options import Option, declared, documented, read_all, shown

if TYPE_CHECKING:
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.tokenization import Tokenizer

Records = Sequence[Record]
Scores = dict[str, Any]
"""Numbers by name; rates in percent. A text is a signature that says how a number was computed."""
Answerer = Callable[[Records], list[Any]]
Item = TypeVar("Item")
ANOTHER_FORM = frozenset(
    {"top_k", "topk", "return_all_scores", "return_tensors", "return_text", "return_type", "num_return_sequences"}
)
"""Options of pipelines that change what an answer looks like, which measures read."""


@dataclass(kw_only=True)
class Evaluation(ABC):
    """How one task is measured.

    Args:
        pipeline_options: options of the task's pipeline, for all records.
        progress: is called with how much is done, and of how much.
    """

    pipeline_options: dict[str, Any] = field(default_factory=dict)
    progress: Callable[[int, int], None] = lambda done, total: None

    task: ClassVar[str]
    """Its name, also of the pipeline that answers."""
    needs: ClassVar[tuple[str, ...]]
    """Fields that every record must have."""
    prediction_type: ClassVar[tuple[type, ...]] = (str,)
    """What a prediction may be."""
    default_options: ClassVar[Mapping[str, Any]] = {}
    """Options of the pipeline that hold unless others are given."""
    uses_pipeline: ClassVar[bool] = True
    """Whether the options of the task's pipeline mean anything here."""

    def prepare(self, records: Iterable[Mapping[str, Any]]) -> Records:
        """The records to be answered, checked.

        Raises:
            DataError: there are none, or one of them lacks a field.
        """
        prepared = [self.prepare_record(record) for record in as_records(records)]
        if not prepared:
            raise DataError(f"there are no records to measure {self.task} with: the data is empty")
        for name in self.libraries(prepared):  # now, not after an hour of predictions
            library(name)
        return prepared

    def prepare_record(self, record: Record) -> Record:
        """One record, checked; tasks extend it."""
        for name in self.needs:
            value = record.need_text(name) if name in TEXT_FIELDS else record.need(name)
            if value is None:
                raise DataError(f"{record.where()}: {name!r} is empty")
        return record

    @abstractmethod
    def predict(self, pipe: Pipeline, records: Records) -> list[Any]:
        """The model's answers."""

    @abstractmethod
    def score(self, predictions: Sequence[Any], records: Records) -> Scores:
        """Compare answers with what the records say is right."""

    @abstractmethod
    def baseline(self, train: Records, tokenizer: Tokenizer | None) -> Answerer:
        """The trivial answer to this task, from records to predictions; ``train`` is empty where none are given."""

    def libraries(self, records: Records) -> tuple[str, ...]:
        """The optional packages (modules of them) that `score` needs."""
        return ()

    def reference(self, record: Record) -> Any:
        """The right answer, for the file of predictions; None if there is no such thing."""
        return None

    def answers(self, pipe: Pipeline, inputs: Iterable[Any], total: int, **options: Any) -> Iterator[Any]:
        """The pipeline's answers, one by one."""
        merged = {**self.default_options, **self.pipeline_options, **options}
        return self.watch(pipe(iter(inputs), **merged), total)

    def watch(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """The items themselves, with a report of progress after each."""
        for done, item in enumerate(items, 1):
            yield item
            self.progress(done, total)

    @classmethod
    def own_options(cls) -> frozenset[str]:
        """Names of the options that are the evaluation's, not the pipeline's."""
        return frozenset(cls.declared_options())

    @classmethod
    def declared_options(cls) -> dict[str, Option]:
        """The evaluation's own options: its fields."""
        table = declared(
            cls, docs={k: v for each in reversed(cls.__mro__) for k, v in documented(each.__doc__).items()}
        )
        return {name: option for name, option in table.items() if name not in ("pipeline_options", "progress")}

    @classmethod
    def all_options(cls) -> dict[str, Option]:
        """Its own options, and those of the task's pipeline."""
        if not cls.uses_pipeline:
            return cls.declared_options()
        from minitransformer.pipelines.tasks import find_class

        return {**find_class(cls.task).declared_options(), **cls.declared_options()}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Evaluation:
        """Make one from options of its own and of the task's pipeline.

        Raises:
            UnknownOptionError: neither has an option of that name. (A TypeError too.)
            PipelineError: an option has a wrong value.
        """
        own = cls.declared_options()
        owner = f"the evaluation of {cls.task}"
        table = own if options.keys() <= own.keys() else cls.all_options()  # these take long to import
        read = read_all(options, table, PipelineError, owner=owner, unknown=UnknownOptionError)
        of_pipe = {name: value for name, value in read.items() if name not in own}
        for name, value in of_pipe.items():
            one = value is None or value is False or (type(value) is int and value == 1)
            if name in ANOTHER_FORM and not one:
                raise PipelineError(
                    f"{name}={shown(value)} gives answers of another form than {owner} reads: leave it out"
                )
        return cls(**{name: value for name, value in read.items() if name in own}, pipeline_options=of_pipe)


def percent(values: Iterable[float]) -> float:
    """100 times the mean."""
    numbers = [float(value) for value in values]
    return 100 * sum(numbers) / len(numbers)


def library(name: str) -> Any:
    """A module of an optional package.

    Raises:
        PipelineError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0].replace("_", "-")
        raise PipelineError(f"scores need the package {package}: pip install 'minitransformer[train]'") from error


def need_train(train: Records, task: str) -> None:
    """Raise a PipelineError if there are no records to make a baseline from."""
    if not train:
        raise PipelineError(f"the baseline of {task} is learnt: say from which file, with train=... (--train FILE)")
