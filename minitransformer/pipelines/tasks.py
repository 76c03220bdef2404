"""``pipeline(task, model)``: from a task's name to a pipeline that is ready to answer."""

from __future__ import annotations

import logging
import re
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

from minitransformer.errors import PipelineError, RegistrationError, did_you_mean, warn_caller
from minitransformer.hub import Repository
from minitransformer.options import Option, plain, read_value, shown
from minitransformer.pipelines.loading import as_torch_dtype, check_head, check_vocabularies, load_model, loading_class
from minitransformer.registers import register

if TYPE_CHECKING:
    import torch

    from minitransformer.models.common.base import PretrainedModel
    from minitransformer.pipelines.base import Pipeline
    from minitransformer.pipelines.batching import BatchSize
    from minitransformer.tokenization import Tokenizer

logger = logging.getLogger("minitransformer")

TASKS = {  # name -> (module under minitransformer.pipelines, class)
    "feature-extraction": ("feature_extraction", "FeatureExtractionPipeline"),
    "fill-mask": ("fill_mask", "FillMaskPipeline"),
    "question-answering": ("question_answering", "QuestionAnsweringPipeline"),
    "summarization": ("text2text", "SummarizationPipeline"),
    "text-classification": ("text_classification", "TextClassificationPipeline"),
    "text-generation": ("text_generation", "TextGenerationPipeline"),
    "text2text-generation": ("text2text", "Text2TextGenerationPipeline"),
    "token-classification": ("token_classification", "TokenClassificationPipeline"),
    "translation": ("text2text", "TranslationPipeline"),
    "zero-shot-classification": ("zero_shot_classification", "ZeroShotClassificationPipeline"),
}
REGISTERED: dict[str, type[Pipeline]] = {}
"""Tasks of other packages -> their classes."""
ALIASES = {"ner": "token-classification", "sentiment-analysis": "text-classification"}
T5_PAIRS = (("en", "de"), ("en", "fr"), ("en", "ro"))
"""Languages that the default model of translation knows."""

TASK_OF_HEAD = {  # how the name of a checkpoint's architecture ends -> what it is for
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForConditionalGeneration": "text2text-generation",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "MTModel": "translation",
    "Model": "feature-extraction",
}

ONLY_VALUE = {  # arguments of transformers.pipeline that have one possible value here
    "framework": "pt",
    "use_fast": True,
    "trust_remote_code": False,
    "device_map": None,
    "config": None,
    "feature_extractor": None,
    "image_processor": None,
    "processor": None,
    "modelcard": None,
    "assistant_tokenizer": None,
    "binary_output": False,
    "model_kwargs": {},
}


def pipeline(
    task: str | None = None,
    model: str | Path | PretrainedModel | None = None,
    tokenizer: str | Path | Tokenizer | None = None,
    device: int | str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    batch_size: BatchSize | None = None,
    revision: str | None = None,
    token: str | None = None,
    compat: Literal["transformers"] | None = None,
    pipeline_class: type[Pipeline] | None = None,
    **options: Any,
) -> Pipeline:
    """Make the pipeline of a task.

    ::

        classify = pipeline("sentiment-analysis", model="path/or/model-id")
        classify("We are very happy.")      # [{"label": "POSITIVE", "score": 0.9998}]

    Args:
        task: its name (see ``TASKS`` and ``ALIASES``, and "translation_en_to_fr" with any two languages). May
            be left out if there is a model whose config.json says what it is for.
        model: a folder, a model id on the Hub, or a loaded model; by default the task's own.
        tokenizer: the same; by default the model's.
        device: where to compute: "cpu", "cuda:1", a number of a GPU, -1 for the CPU. By default a loaded
            model stays where it is, and others go to a GPU if there is one.
        dtype: of the weights; by default float32 (4.57 takes what config.json names: "auto").
        batch_size: how many inputs run together; "auto", the default, sorts them by length and packs them by number of
            tokens.
        revision: branch, tag or commit of a model id.
        token: access token for the Hub.
        compat: "transformers" for the behaviour of transformers 4.57 where ours differs.
        pipeline_class: a class of your own instead of the task's.
        options: options of the task, for all calls.

    Raises:
        PipelineError: an unknown task, or arguments that do not go together.
        TypeError: an option that the task does not have.
        CheckpointError, HubError, TokenizerError: what cannot be loaded, and why.
    """
    dtype = options.pop("torch_dtype", dtype)
    for name, value in ONLY_VALUE.items():
        given = options.pop(name, None)
        if given is not None and not (type(given) is type(value) and given == value):
            raise PipelineError(f"{name}={shown(given)} is not offered here: leave it out")
    for name, text in {"revision": revision, "token": token}.items():
        read_value(name, text, str | None, PipelineError)
    read_value("compat", compat, Literal["transformers"] | None, PipelineError)
    check_loadable("model", model)
    check_loadable("tokenizer", tokenizer)
    if task is None:
        task = guess_task(Repository(model, revision, token) if isinstance(model, (str, Path)) else model)
    task_class = pipeline_class or find_class(task)
    task_class.check_option_names(options)  # before anything is loaded
    tokenizer_revision = revision
    if model is None:
        model, revision = default_model(task, task_class, revision)
    if tokenizer is None:
        if not isinstance(model, (str, Path)):
            raise PipelineError("a loaded model does not say which tokenizer belongs to it: pass tokenizer=...")
        tokenizer, tokenizer_revision = model, revision
    if isinstance(model, (str, Path)):
        loaded = load_model(Repository(model, revision, token), task_class.auto_class, device, dtype, compat)
    else:
        loaded = check_head(model, task_class.auto_class, task)
    if isinstance(tokenizer, (str, Path)):
        from minitransformer.tokenization import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(Repository(tokenizer, tokenizer_revision, token), compat=compat)
    pipe = task_class(
        loaded,
        tokenizer,
        task=name_with_languages(task, loaded),
        device=device,
        dtype=as_torch_dtype(dtype, loaded),
        batch_size=batch_size,
        compat=compat,
        **options,
    )
    check_vocabularies(loaded, tokenizer)
    return pipe


def check_loadable(name: str, given: Any) -> None:
    """Raise a PipelineError unless a model or tokenizer is a folder, an id, or an object that was loaded."""
    needed = {"model": ("config", "eval", "to"), "tokenizer": ("encode", "decode")}[name]
    if isinstance(given, (str, Path, NoneType)):
        if given is not None and not str(given).strip():
            raise PipelineError(f"{name} is empty: pass a folder, the id of a model, or leave it out")
    elif isinstance(given, type) or not callable(given) or not all(hasattr(given, each) for each in needed):
        raise PipelineError(f"{name} must be a folder, the id of a model, or a loaded {name}, not {shown(given)}")


def own_name(task: str) -> str:
    """What ``TASKS`` calls a task: "ner" is token-classification, "translation_en_to_fr" is translation."""
    name = ALIASES.get(task, task)
    return "translation" if languages(name) else name


def register_pipeline(task: str, pipeline_class: type[Pipeline]) -> type[Pipeline]:
    """Let ``pipeline``, the command line and ``pipeline_options`` know a task.

    Args:
        task: its name.
        pipeline_class: a subclass of ``Pipeline`` with the three steps. Its ``auto_class`` is the name of an Auto
            class, or a model class of your own.

    Raises:
        RegistrationError: something is lacking (the message says what), or the name is another task's.
    """
    from minitransformer.pipelines.base import Pipeline as Base

    if not (isinstance(pipeline_class, type) and issubclass(pipeline_class, Base)):
        raise RegistrationError(f"the task {task!r:.60} must be a subclass of Pipeline, not {pipeline_class!r:.100}")
    for step in ("preprocess", "forward", "postprocess"):
        if getattr(pipeline_class, step) is getattr(Base, step):
            raise RegistrationError(f"{pipeline_class.__name__} lacks {step}, one of the three steps of a pipeline")
    if not hasattr(pipeline_class, "auto_class"):
        raise RegistrationError(
            f"{pipeline_class.__name__} lacks auto_class: the class that loads its model, or the name of an Auto class"
        )
    loading_class(pipeline_class.auto_class)
    if isinstance(task, str) and task.startswith("translation_"):
        raise RegistrationError(
            f"the task {task!r:.60} would be a pair of languages of 'translation': choose another name"
        )
    register("task", REGISTERED, task, pipeline_class, taken=(*TASKS, *ALIASES))
    if not hasattr(pipeline_class, "default_task"):
        pipeline_class.default_task = task
    return pipeline_class


def find_class(task: str) -> type[Pipeline]:
    """The class of a task's pipeline.

    Raises:
        PipelineError: there is no such task; the message has the nearest name and all others.
    """
    name = own_name(plain(read_value("task", task, str, PipelineError)))
    if name.startswith("translation_"):
        raise PipelineError(f"task {task!r} must have the form translation_XX_to_YY, such as translation_en_to_fr")
    if name in REGISTERED:
        return REGISTERED[name]
    if name not in TASKS:
        known = [*TASKS, *REGISTERED, *ALIASES, "translation_XX_to_YY"]
        raise PipelineError(f"unknown task {shown(task)}.{did_you_mean(task, known)} Known: {', '.join(sorted(known))}")
    module, class_name = TASKS[name]
    found: type[Pipeline] = getattr(import_module(f"minitransformer.pipelines.{module}"), class_name)
    return found


def pipeline_options(task: str) -> dict[str, Option]:
    """The options of a task, by name: the table that documentation, servers and tests are made from.

    ::

        option = pipeline_options("fill-mask")["top_k"]
        option.default, option.doc, option.schema()   # 5, "how many fillings to give (5).", {"type": "integer", ...}
        option.read(0, PipelineError)                 # PipelineError: top_k must be an integer of at least 1, not 0

    Left out are options that only other options are turned into, and those of ``generate`` that are refused or have no
    effect. ``schema()`` is None for what JSON has no form for: functions, tensors, objects.

    Args:
        task: its name, as for `pipeline`.

    Raises:
        PipelineError: there is no such task.
    """
    from minitransformer.generation.config import NOT_OFFERED, OPTIONS, WITHOUT_EFFECT, WITHOUT_SAMPLING

    table = find_class(task).declared_options()
    without = {*NOT_OFFERED, *WITHOUT_EFFECT}
    public = {name: table[name] for name in sorted(table) if not table[name].internal and name not in without}
    return {name: OPTIONS[name] if WITHOUT_SAMPLING.get(name) is option else option for name, option in public.items()}


def languages(task: str) -> tuple[str, str] | None:
    """Source and target of ``translation_XX_to_YY``."""
    match = re.fullmatch(r"translation_(\w+?)_to_(\w+)", task)  # also eng_Latn_to_fra_Latn
    return (match[1], match[2]) if match else None


def guess_task(model: Any) -> str:
    """What a model is for, by the name of its class, or of the architecture in its config.json."""
    if model is None:
        raise PipelineError("pass a task, a model, or both")
    if isinstance(model, (str, Path, Repository)):
        from minitransformer.models.auto import AutoConfig

        names = AutoConfig.from_pretrained(model).architectures
    else:
        names = (type(model).__name__,)
    for name in names:
        for ending, task in TASK_OF_HEAD.items():
            if name.endswith(ending):
                return task
    raise PipelineError(
        f"the model does not say what it is for (architectures: {', '.join(names) or 'none'}): pass task=..."
    )


def default_model(task: str, task_class: type[Pipeline], revision: str | None) -> tuple[str, str | None]:
    """The model of a task when none is named, and its revision unless another one is."""
    pair = languages(task)
    if pair is not None and pair not in T5_PAIRS:
        known = ", ".join(f"translation_{a}_to_{b}" for a, b in T5_PAIRS)
        raise PipelineError(f"there is no default model for {task}: pass model=... (defaults exist for {known})")
    if not hasattr(task_class, "default_model"):
        raise PipelineError(f"the task {task} has no default model: pass model=...")
    revision = task_class.default_revision if revision is None else revision
    logger.warning(
        "no model was named, so %s uses %s at revision %s; name both (model=..., revision=...) to be independent of "
        "this default",
        task,
        task_class.default_model,
        revision,
    )
    return task_class.default_model, revision


def name_with_languages(task: str, model: PretrainedModel) -> str:
    """The task's own name; for a plain "translation", the first that the model's config has settings for."""
    if task == "translation":
        for name in model.config.task_specific_params or {}:
            if name.startswith("translation_"):
                warn_caller(
                    f"the task 'translation' names no languages; taking {name!r} from the model's config",
                )
                return name
    return ALIASES.get(task, task)
