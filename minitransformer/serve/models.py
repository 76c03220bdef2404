"""The models that are served: named at the start, loaded on first use, unloaded when others need the room."""

from __future__ import annotations

import gc
import os
import re
import time
from concurrent.futures import Future
from typing import Any

import torch

from minitransformer.errors import MissingFileError, did_you_mean
from minitransformer.hub import OWNER, Repository, as_folder, embedded_names
from minitransformer.jsons import read_json
from minitransformer.pipelines import pipeline
from minitransformer.pipelines.base import Pipeline
from minitransformer.pipelines.tasks import TASKS, find_class, guess_task, own_name
from minitransformer.serve.batching import Worker
from minitransformer.serve.errors import ApiError, failed, wrong
from minitransformer.serve.options import SIMILARITY
from minitransformer.serve.settings import TOYS, Settings

VECTOR_TASKS = ("feature-extraction", SIMILARITY)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
BYTES_PER_SECOND = 2e8
"""What loading takes, roughly, for the time that callers are told."""


class Served:
    """One model.

    Args:
        source: a folder, an id of the Hub, or a checkpoint of the package.
        settings: of the server.

    Raises:
        MinitransformerError: there is no such model, or it does not say what it is for.
    """

    def __init__(self, source: str, settings: Settings) -> None:
        if (
            source not in embedded_names()
            and not os.path.isdir(os.path.expanduser(source))
            and OWNER + source in embedded_names()
        ):
            source = OWNER + source
        self.source, self.settings = source, settings
        self.folder = as_folder(source)
        self.id = source if self.folder is None or source.startswith(OWNER) else self.folder.resolve().name
        self.card = read_card(source)
        self.task = self._task()
        self.architecture = find_class(self.task).auto_class
        self.vectors = Vectors(source)
        self.worker: Worker | None = None
        self.pipes: dict[str, Pipeline] = {}
        self.loading: dict[str, Future[Any]] = {}
        self.failed = False
        self.load_began = 0.0
        self.last_used = 0.0

    def _task(self) -> str:
        """What the model's card says it is for, if it has the head for it; else what its head is for."""
        guessed = guess_task(Repository(self.source))
        said = own_name(str(self.card.get("pipeline_tag")))
        if said == SIMILARITY:
            said = "feature-extraction"
        if said in TASKS and (
            find_class(said).auto_class == find_class(guessed).auto_class or said == "feature-extraction"
        ):
            return said
        return guessed

    @property
    def tasks(self) -> list[str]:
        """All tasks that it can be asked for, its own first."""
        more = [task for task in TASKS if find_class(task).auto_class == self.architecture]
        vectors = [] if self.architecture == "AutoModelForSeq2SeqLM" else VECTOR_TASKS
        return list(dict.fromkeys([self.task, *more, *vectors]))

    def check_task(self, task: str) -> str:
        """The name of a task, if the model can be asked for it.

        Raises:
            ApiError: it cannot.
        """
        name = own_name(task)
        if name not in TASKS and name != SIMILARITY:
            known = ", ".join([*TASKS, SIMILARITY])
            raise ApiError(
                404, f"There is no task {name[:60]!r}.{did_you_mean(name, [*TASKS, SIMILARITY])} Known: {known}"
            )
        if name not in self.tasks:
            raise wrong(f"{self.id} is no model for {name}: it does {', '.join(self.tasks)}")
        return name

    @property
    def state(self) -> str:
        """As the old widgets ask for it."""
        if self.failed:
            return "error"
        return "Loaded" if self.pipes else "Loadable"

    def load(self, task: str) -> Future[Any]:
        """Begin to load the pipeline of a task, if it is not there; the future is done when it is."""
        task = "feature-extraction" if task == SIMILARITY else task
        self.last_used = time.monotonic()
        if task in self.loading and not (self.loading[task].done() and self.loading[task].exception()):
            return self.loading[task]
        if self.worker is None:
            self.worker = Worker(
                self.id, self.settings.max_batch, self.settings.max_waiting, log_texts=self.settings.log_texts
            )
        self.load_began = time.monotonic()
        self.loading[task] = self.worker.call(lambda: self._load(task))
        return self.loading[task]

    def _load(self, task: str) -> None:
        try:
            pipe = pipeline(task, model=self.source)
        except BaseException:
            self.failed = True
            raise
        vars(pipe)["warn_once"] = self._note
        self.failed = False
        self.pipes[task] = pipe

    def _note(self, message: str) -> None:
        """What a pipeline warns of goes to the caller whose request it is about."""
        if self.worker is not None and self.worker.now is not None:
            self.worker.now.notes.append(f"inputs; {message}")

    def pipe(self, task: str) -> Pipeline:
        """The loaded pipeline of a task."""
        return self.pipes["feature-extraction" if task == SIMILARITY else task]

    def unload(self) -> None:
        """Forget the weights; what is running ends first."""
        if self.worker is not None:
            worker, self.worker = self.worker, None
            self.pipes, self.loading = {}, {}
            worker.call(gc.collect)
            worker.close()

    def estimated_time(self) -> float:
        """Seconds until it is loaded, roughly."""
        files = [self.folder / name for name in WEIGHTS] if self.folder is not None else []
        size = sum(path.stat().st_size for path in files if path.is_file()) or 5e8
        spent = time.monotonic() - self.load_began if self.load_began else 0.0
        return round(max(0.5 + size / BYTES_PER_SECOND - spent, 0.1), 2)

    @property
    def mask_token(self) -> str | None:
        """What stands for a missing word; None where none is filled in, or the files do not say."""
        if "fill-mask" not in self.tasks:
            return None
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            token = (_read(self.source, name) or {}).get("mask_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                return token
        return "[MASK]" if Repository(self.source).find("vocab.txt") is not None else None

    def describe(self) -> dict[str, Any]:
        """As ``HfApi().model_info`` reads it."""
        tags = [*self.tasks, "minitransformer", *[tag for tag in self.card.get("tags", []) if isinstance(tag, str)]]
        return {"id": self.id, "pipeline_tag": self.task, "tags": tags, "library_name": "minitransformer"}

    def info(self) -> dict[str, Any]:
        """What is known of the model, without loading it."""
        from minitransformer import __version__

        pipe = next(iter(self.pipes.values()), None)
        most = None if pipe is None else pipe.max_tokens
        return {
            "model_id": self.id,
            "model_sha": None,
            "model_dtype": None if pipe is None else str(pipe.dtype).removeprefix("torch."),
            "model_device_type": compute_type(),
            "model_pipeline_tag": self.task,
            "max_concurrent_requests": self.settings.max_waiting,
            "max_client_batch_size": self.settings.max_inputs,
            "max_input_tokens": most,
            "max_total_tokens": most,
            "max_batch_size": self.settings.max_batch,
            "version": __version__,
        }


class Shelf:
    """All models of a server.

    Args:
        settings: of the server.

    Raises:
        MissingFileError: two models have one name.
        MinitransformerError: one of them cannot be served.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        names = settings.models or TOYS
        self.models: dict[str, Served] = {}
        for name in names:
            served = Served(name, settings)
            if served.id in self.models:
                raise MissingFileError(f"two models would be served as {served.id!r}: rename the folder of one of them")
            self.models[served.id] = served

    def find(self, name: str) -> Served:
        """The model of that name; the part after the slash is enough if there is only one such.

        Raises:
            ApiError: it is not served.
        """
        if name in self.models:
            return self.models[name]
        same = [served for served in self.models.values() if served.id.split("/")[-1] == name]
        if len(same) == 1:
            return same[0]
        message = f"Model {name[:96]!r} is not served here.{did_you_mean(name, self.models)}"
        raise ApiError(404, f"{message} Served are: {', '.join(self.models)}")

    def first(self) -> Served:
        """The only or first model."""
        return next(iter(self.models.values()))

    def first_for(self, task: str) -> Served:
        """The first model whose own task it is, or that can do it."""
        able = [served for served in self.models.values() if task in served.tasks]
        return next((served for served in able if served.task == task), able[0] if able else self.first())

    def make_room(self, wanted: Served) -> None:
        """Unload those used least lately, so that one more may be loaded."""
        most = self.settings.max_models
        if most is None or wanted.worker is not None:
            return
        loaded = sorted((m for m in self.models.values() if m.worker is not None), key=lambda m: m.last_used)
        for model in loaded[: max(0, len(loaded) - most + 1)]:
            model.unload()

    @property
    def workers(self) -> list[Worker]:
        """The threads of the loaded models."""
        return [model.worker for model in self.models.values() if model.worker is not None]


class Vectors:
    """How a model makes one vector of a text: what a folder of sentence-transformers says, or the mean of its tokens.

    Args:
        source: a folder, an id, or a checkpoint of the package.
    """

    def __init__(self, source: str) -> None:
        pooling = _read(source, "1_Pooling/config.json")
        modules = _read(source, "modules.json")
        self.is_sentence_transformer = pooling is not None
        modes = [name for name, chosen in (pooling or {}).items() if name.startswith("pooling_mode_") and chosen]
        self.mode = modes[0].removeprefix("pooling_mode_") if modes else "mean_tokens"
        kinds = [str(module.get("type", "")) for module in modules] if isinstance(modules, list) else []
        self.normalizes = any(kind.endswith("Normalize") for kind in kinds)
        said = _read(source, "config_sentence_transformers.json") or {}
        self.prompts: dict[str, str] = said.get("prompts") or {}

    def pool(self, tokens: torch.Tensor) -> torch.Tensor:
        """(1, T, D) vectors of tokens -> (D,)."""
        rows = tokens[0]
        match self.mode:
            case "mean_tokens":
                pooled = rows.mean(dim=0)
            case "mean_sqrt_len_tokens":
                pooled = rows.sum(dim=0) / len(rows) ** 0.5
            case "cls_token":
                pooled = rows[0]
            case "lasttoken":
                pooled = rows[-1]
            case "max_tokens":
                pooled = rows.amax(dim=0)
            case _:
                raise failed(f"The model pools by {self.mode}, which is not offered here")
        return torch.nn.functional.normalize(pooled, dim=-1) if self.normalizes else pooled


def read_card(source: str) -> dict[str, Any]:
    """``pipeline_tag`` and ``tags`` from the head of a model card."""
    path = Repository(source).find("README.md")
    text = path.read_text(encoding="utf-8", errors="replace") if path is not None else ""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    if head is None:
        return {}
    tag = re.search(r"^pipeline_tag:\s*[\"']?([\w-]+)", head[1], re.MULTILINE)
    tags = re.search(r"^tags:\n((?:\s*- .*\n?)+)", head[1], re.MULTILINE)
    listed = [line.strip("- \"'") for line in tags[1].splitlines()] if tags else []
    return {"pipeline_tag": tag[1] if tag else None, "tags": listed}


def compute_type() -> str:
    """Where models are: "gpu" or "cpu"."""
    return "gpu" if torch.accelerator.is_available() else "cpu"


def _read(source: str, name: str) -> Any:
    path = Repository(source).find(name)
    return read_json(path) if path is not None else None
