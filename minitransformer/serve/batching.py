"""One thread a model, and what it does next: whatever waits when the model becomes free runs together.

Nothing waits for company. A request is a `Work`: its inputs become chunks, and the chunks of all works that wait share
batches by the pipelines' own rules (pipelines/batching.py: like lengths together, so many tokens, nothing that could
change a result), so that the answers are those of single calls. The oldest work is always in the next batch. Texts that
are written token by token (generating.py) advance by one token each between two batches.

All work with a model's pipelines and tokenizer is done in its thread, so that nothing else needs a lock.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from torch import Tensor

from minitransformer.errors import GenerationError, MinitransformerError
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.batching import Chunk, plan_batches
from minitransformer.pipelines.generating import GeneratingPipeline
from minitransformer.serve.checks import check_numbers, has_nan
from minitransformer.serve.errors import ApiError, failed, invalid, without_paths, wrong
from minitransformer.serve.memory import give_back
from minitransformer.serve.work import Row, Work, Writer, forward_key

logger = logging.getLogger("minitransformer.serve")

TRIM_SECONDS = 1.0
"""After which freed memory is given back, whether the model is busy or not."""
CLOSING = "The server is shutting down: ask again."


class Worker:
    """The thread of one model.

    Args:
        name: of the thread.
        max_batch: rows of a batch, and texts that are written at the same time.
        max_waiting: works that wait.
        log_texts: whether the log may show messages of errors, which may quote texts.
    """

    def __init__(self, name: str, max_batch: int = 32, max_waiting: int = 64, log_texts: bool = False) -> None:
        self.max_batch, self.max_waiting, self.log_texts = max_batch, max_waiting, log_texts
        self._changed = threading.Condition()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._arrived: deque[Work | Writer] = deque()
        self._to_write: deque[Writer] = deque()
        self._rows: list[Row] = []
        self._writing: list[Writer] = []
        self._closing = self._aborted = False
        self._pipes: dict[int, Pipeline] = {}
        self._untidy_since: float | None = None  # since when memory waits to be given back
        self.now: Work | None = None
        self.batch_sizes: Callable[[int], None] = lambda size: None
        self.thread = threading.Thread(target=self._live, name=f"serve {name}", daemon=True)
        self.thread.start()

    # From other threads -----------------------------------------------------------------------------------

    def submit(self, work: Work | Writer) -> None:
        """Let a work wait for its turn.

        Raises:
            ApiError: too many wait (429), or the server is closing (503).
        """
        with self._changed:
            if self._closing:
                raise ApiError(503, CLOSING, headers={"connection": "close"})
            if self.waiting >= self.max_waiting:
                raise ApiError(429, "Model is overloaded", "overloaded", {"retry-after": "1"})
            self._arrived.append(work)
            self._changed.notify()

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """Call something in the model's thread, before all works that wait."""
        future: Future[Any] = Future()
        with self._changed:
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Take nothing new, and end when all is done."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def abort(self) -> None:
        """End at once: what waits or runs gets an error."""
        self._aborted = True
        self.close()

    def notice(self) -> None:
        """Somebody left: look."""
        with self._changed:
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Works that have not begun."""
        begun = {id(row.work) for row in list(self._rows) if row.work.batch_size == 0}
        return len(self._arrived) + len(self._to_write) + len(begun)

    @property
    def writing(self) -> int:
        """Texts that are being written."""
        return len(self._writing)

    @property
    def busy(self) -> bool:
        """Whether anything is to be done."""
        return bool(self._calls or self._arrived or self._to_write or self._rows or self._writing)

    # In the thread ----------------------------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            with self._changed:
                while not self.busy and not self._closing:
                    if not self._changed.wait(None if self._untidy_since is None else TRIM_SECONDS):
                        self._trim()
                if not self.busy:
                    return
                calls, self._calls = self._calls, deque()
                arrived = [self._arrived.popleft() for _ in range(len(self._arrived))]
                self._sort_in(arrived)
            for function, future in calls:
                self._call(function, future)
            for work in [each for each in arrived if isinstance(each, Work)]:
                self._prepare(work)
            self._drop()
            self._write()
            self._run_batch()
            if self._untidy_since is None:  # there is something to give back, soon
                self._untidy_since = time.monotonic()
            elif time.monotonic() - self._untidy_since > TRIM_SECONDS:
                self._trim()

    def _trim(self) -> None:
        give_back()
        self._untidy_since = None

    def _sort_in(self, arrived: list[Work | Writer]) -> None:
        self._to_write.extend(each for each in arrived if not isinstance(each, Work))

    def _call(self, function: Callable[[], Any], future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(function())
        except BaseException as error:
            self._log(error)
            future.set_exception(error)

    def _prepare(self, work: Work) -> None:
        if work.done or self._overdue(work) or self._aborted:
            return work.fail(ApiError(503, CLOSING, headers={"connection": "close"})) if self._aborted else None
        self.now = work
        try:
            self._rows += work.prepare()
            if not work.missing:
                work.complete(work.pipe())
        except Exception as error:
            work.fail(self._as_input_error(error, work.options))
        finally:
            self.now = None

    def _overdue(self, work: Work | Writer) -> bool:
        late = time.monotonic() > work.deadline
        if late:
            work.fail(ApiError(504, "The request waited too long: ask again when there is less to do", "timeout"))
        return late

    def _drop(self) -> None:
        """Forget works that nobody waits for, that failed, or that waited too long."""
        for row in self._rows:
            if self._aborted:
                row.work.fail(ApiError(503, CLOSING, headers={"connection": "close"}))
            elif row.work.batch_size == 0 and not row.work.done:
                self._overdue(row.work)
        self._rows = [row for row in self._rows if not row.work.done]

    def _write(self) -> None:
        """One token more for every text that is being written."""
        while self._to_write and len(self._writing) < self.max_batch:
            new = self._to_write.popleft()
            if new.left or self._overdue(new):
                continue
            try:
                new.begin()
            except Exception as error:
                new.fail(self._as_input_error(error, getattr(new, "options", {})))
            else:
                self._writing.append(new)
        going = []
        for text in self._writing:
            if text.left:
                continue
            if self._aborted:
                text.fail(ApiError(503, CLOSING, "incomplete_generation"))
                continue
            try:
                if text.step():
                    going.append(text)
            except Exception as error:
                text.fail(self._as_model_error(error))
        self._writing = going

    def _run_batch(self) -> None:
        """The next batch: that of the oldest row."""
        if not self._rows:
            return
        first = self._rows[0]
        assert first.work.steps is not None
        like = forward_key(first.work)
        rows = [row for row in self._rows if row.pipe is first.pipe and forward_key(row.work) == like]
        rows = [row for row in rows if row.work is first.work] if first.work.alone else rows
        rows = [row for row in rows if not row.work.alone or row.work is first.work]
        sharing = first.pipe.sharing(first.work.steps)
        if sharing.in_order:
            rows = [first]
        else:
            sharing = replace(sharing, rows=min(sharing.rows, self.max_batch))
            plan = plan_batches([row.chunk for row in rows], "auto", sharing)
            rows = [rows[i] for i in next(places for places in plan if 0 in places)]
        works = {id(row.work): row.work for row in rows}
        began = time.monotonic()
        for work in works.values():
            work.queued = work.queued if work.batch_size else began - work.arrived
            work.batch_size = max(work.batch_size, len(rows))
        self.batch_sizes(len(rows))
        try:
            options = self._watched(first.pipe, first.work.steps.forward, list(works.values()))
            outputs = first.pipe.run([row.chunk for row in rows], options)
        except Exception as error:
            if len(works) > 1:  # one of them may be to blame: each by itself
                for work in works.values():
                    work.alone = True
                return
            first.work.fail(self._as_model_error(error))
            self._drop()
            return
        spent = time.monotonic() - began
        taken = set(map(id, rows))
        self._rows = [row for row in self._rows if id(row) not in taken]
        for row, output in zip(rows, outputs, strict=True):
            self._take(row, output)
        for work in works.values():
            work.inference += spent
            if not work.missing and not work.done:
                self._complete(work, first.pipe)

    def _take(self, row: Row, output: Chunk) -> None:
        row.work.outputs[row.number][row.place] = output
        row.work.missing -= 1
        if has_nan(output):
            row.work.fail(failed("Inference failed: the model gave numbers that are none (NaN)"))

    def _complete(self, work: Work, pipe: Pipeline) -> None:
        self.now = work
        try:
            work.complete(pipe)
        except MinitransformerError as error:
            work.fail(wrong(without_paths(str(error))))
        except Exception as error:
            work.fail(self._as_model_error(error))
        finally:
            self.now = None

    def _watched(self, pipe: Pipeline, options: dict[str, Any], works: list[Work]) -> dict[str, Any]:
        """The options of ``forward``; one that generates looks between tokens whether anybody waits."""
        if not isinstance(pipe, GeneratingPipeline):
            return options

        def nobody_waits(ids: Tensor, scores: Any) -> bool:
            return self._aborted or all(work.left for work in works)

        return {**options, "logits_processor": [check_numbers], "stopping_criteria": [nobody_waits]}

    # Errors -----------------------------------------------------------------------------------------------

    def _as_input_error(self, error: Exception, options: dict[str, Any]) -> ApiError:
        """What is wrong with a request, from what the pipeline says about it."""
        if isinstance(error, ApiError):
            return error
        text = without_paths(str(error))
        if isinstance(error, MinitransformerError | TypeError) and text:
            too_long = "positions for" in text or "no room for" in text
            about_options = isinstance(error, GenerationError | TypeError) or any(name in text for name in options)
            return invalid(text) if too_long or about_options else wrong(text)
        self._log(error)
        return invalid(
            f"the inputs or parameters cannot be used ({type(error).__name__}): look at the sizes of numbers"
        )

    def _as_model_error(self, error: Exception) -> ApiError:
        if isinstance(error, ApiError):
            return error
        if isinstance(error, MinitransformerError):
            return invalid(without_paths(str(error)))
        self._log(error)
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            return failed("Inference failed: out of memory. Send shorter texts, or fewer at once.")
        return failed(f"Inference failed ({type(error).__name__}): the log of the server says more")

    def _log(self, error: BaseException) -> None:
        """Where it happened; the message only if the log may show texts, as it may quote them."""
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s%s\n%s", type(error).__name__, f": {error}" if self.log_texts else "", frames.rstrip())
