"""`AutoTokenizer`: which family a folder's tokenizer belongs to, and reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from minitransformer.arguments import READING_TOKENIZERS, settle, take_repository
from minitransformer.errors import MissingFileError, RegistrationError, TokenizerError, did_you_mean
from minitransformer.hub import Repository
from minitransformer.options import read_value, shown
from minitransformer.registers import is_same, load_installed, register
from minitransformer.tokenization.albert import AlbertTokenizer
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.bert import BertTokenizer, DistilBertTokenizer, ElectraTokenizer
from minitransformer.tokenization.ctrl import CTRLTokenizer
from minitransformer.tokenization.files import collect_settings, load_backend
from minitransformer.tokenization.fsmt import FSMTTokenizer
from minitransformer.tokenization.gpt import OpenAIGPTTokenizer
from minitransformer.tokenization.gpt2 import GPT2Tokenizer
from minitransformer.tokenization.llama import LlamaTokenizer
from minitransformer.tokenization.m2m100 import M2M100Tokenizer
from minitransformer.tokenization.marian import MarianTokenizer
from minitransformer.tokenization.mbart import MBart50Tokenizer, MBartTokenizer
from minitransformer.tokenization.nllb import NllbTokenizer
from minitransformer.tokenization.pegasus import PegasusTokenizer
from minitransformer.tokenization.qwen2 import Qwen2Tokenizer
from minitransformer.tokenization.roberta import BartTokenizer, RobertaTokenizer
from minitransformer.tokenization.special_tokens import LIST_ROLE, ROLES
from minitransformer.tokenization.strategies import logger
from minitransformer.tokenization.t5 import T5Tokenizer
from minitransformer.tokenization.transformer_xl import TransfoXLTokenizer

FAMILIES: dict[str, type[Tokenizer]] = {
    "albert": AlbertTokenizer,
    "bart": BartTokenizer,
    "bert": BertTokenizer,
    "ctrl": CTRLTokenizer,
    "distilbert": DistilBertTokenizer,
    "electra": ElectraTokenizer,
    "fsmt": FSMTTokenizer,
    "gpt2": GPT2Tokenizer,
    "llama": LlamaTokenizer,
    "m2m_100": M2M100Tokenizer,
    "marian": MarianTokenizer,
    "mbart": MBartTokenizer,
    "mbart50": MBart50Tokenizer,
    "mistral": LlamaTokenizer,
    "modernbert": Tokenizer,
    "mt5": T5Tokenizer,
    "nllb": NllbTokenizer,
    "openai-gpt": OpenAIGPTTokenizer,
    "pegasus": PegasusTokenizer,
    "qwen2": Qwen2Tokenizer,
    "qwen3": Qwen2Tokenizer,
    "roberta": RobertaTokenizer,
    "t5": T5Tokenizer,
    "transfo-xl": TransfoXLTokenizer,
    "umt5": T5Tokenizer,
}
"""``model_type`` of config.json -> tokenizer."""

_ALL: tuple[type[Tokenizer], ...] = (Tokenizer, *FAMILIES.values())
CLASSES = {family.class_name.removesuffix("Fast"): family for family in _ALL} | {"MT5Tokenizer": T5Tokenizer}
"""``tokenizer_class`` of tokenizer_config.json, without ``Fast`` -> tokenizer."""


_OWN = dict(FAMILIES)


def register_tokenizer(model_type: str, family: type[Tokenizer]) -> type[Tokenizer]:
    """Let ``AutoTokenizer`` know which tokenizer belongs to an architecture, and a family of your own by its name.

    Args:
        model_type: of config.json.
        family: a subclass of ``Tokenizer``; files name it by its ``class_name``.

    Raises:
        RegistrationError: it is none, or another family has that model_type or class_name.
    """
    if not (isinstance(family, type) and issubclass(family, Tokenizer)):
        raise RegistrationError(f"the tokenizer of {model_type!r:.60} must be a subclass of Tokenizer: {family!r:.100}")
    name = family.class_name.removesuffix("Fast")
    if name in CLASSES and family is not CLASSES[name] and not is_same(family, CLASSES[name]):
        raise RegistrationError(
            f"{family.__name__} has the class_name {family.class_name!r} of another tokenizer: give it one of its own"
        )
    register("tokenizer of the architecture", FAMILIES, model_type, family, taken=_OWN)
    CLASSES[name] = family
    return family


class AutoTokenizer:
    """The tokenizer that belongs to a checkpoint."""

    def __init__(self) -> None:
        raise TypeError("write AutoTokenizer.from_pretrained(id_or_folder)")

    @classmethod
    def from_pretrained(
        cls,
        id_or_folder: str | Path | Repository,
        *,
        compat: Literal["transformers"] | None = None,
        **overrides: Any,
    ) -> Tokenizer:
        """Read a tokenizer: tokenizer.json if there is one, else the family's vocabulary files.

        The family is told by ``tokenizer_class`` in tokenizer_config.json, else by config.json, else by the
        files.

        Args:
            id_or_folder: a folder, or the id of a model on the Hub.
            compat: "transformers" for what 4.57 makes of a SentencePiece file where the model itself differs.
            overrides: settings that win over tokenizer_config.json: special tokens (``pad_token="[PAD]"``),
                ``model_max_length``, ``padding_side``, and the family's own (``do_lower_case``,
                ``add_prefix_space``). Also where the files are: ``revision``, ``token``, ``subfolder``, ``cache_dir``,
                ``local_files_only``, ``force_download``. docs/loading.md lists what else transformers takes.

        Raises:
            MissingFileError: the folder, or the files that the family needs, do not exist.
            TokenizerError: an unknown family or setting, or files that make no tokenizer.
            HubError: the Hub could not be reached, or refused.
        """
        if not isinstance(id_or_folder, (str, Path, Repository)) or not str(id_or_folder):
            raise TokenizerError(f"AutoTokenizer takes a folder or the id of a model, not {shown(id_or_folder)}")
        read_value("compat", compat, Literal["transformers"] | None, TokenizerError)
        source = take_repository(id_or_folder, overrides)
        config = source.read("tokenizer_config.json")
        find_package(source)
        asked = overrides.pop("tokenizer_class", None) or config.get("tokenizer_class")
        family = find_class(asked, source) if asked else find_family(source)
        check_overrides(family, overrides)
        path = source.find("tokenizer.json") if family.uses_tokenizer_json else None
        if path is not None:
            backend = load_backend(path)
            return _named(family(backend, collect_settings(source, config, overrides, backend)), source)
        files = find_vocabulary(family, source)
        settings = collect_settings(source, config, overrides, None)
        defaults = {**family.common_settings, **family.default_tokens, **family.settings}
        complete = {**defaults, **settings}
        del complete["clean_up_tokenization_spaces"]  # build may have a default of its own
        if "clean_up_tokenization_spaces" in settings:
            complete["clean_up_tokenization_spaces"] = settings["clean_up_tokenization_spaces"]
        complete["compat"] = compat
        backend = family.build(files, complete)
        del complete["compat"]
        return _named(family(backend, complete, files), source)


def _named(tokenizer: Tokenizer, source: Repository) -> Tokenizer:
    tokenizer.name_or_path = str(source)
    return tokenizer


def find_package(source: Repository) -> None:
    """Import the installed package whose architecture config.json names, which may register a tokenizer."""
    model_type = source.read("config.json").get("model_type")
    if isinstance(model_type, str) and model_type not in FAMILIES:
        load_installed("minitransformer.architectures", model_type)


def find_class(name: Any, source: Repository) -> type[Tokenizer]:
    """The family of a ``tokenizer_class``; for one that is not known, a tokenizer.json as it is."""
    plain = str(name).removesuffix("Fast")
    if plain in CLASSES:
        return CLASSES[plain]
    if source.find("tokenizer.json") is not None:
        logger.warning("tokenizer_class %r is not known here: its tokenizer.json is read as it is", str(name))
        return Tokenizer
    raise TokenizerError(
        f"tokenizer_class {shown(name)} is not supported.{did_you_mean(plain, CLASSES)} "
        f"Known are {', '.join(sorted(CLASSES))}, and any other that has a tokenizer.json"
    )


def find_family(source: Repository) -> type[Tokenizer]:
    """The family by config.json, else by the files that are there."""
    config = source.read("config.json")
    if config.get("tokenizer_class"):
        return find_class(config["tokenizer_class"], source)
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in FAMILIES:
        return FAMILIES[model_type]
    if model_type is not None and source.find("tokenizer.json") is None:
        raise TokenizerError(
            f"no tokenizer is known for model_type {model_type!r} of config.json."
            f"{did_you_mean(str(model_type), FAMILIES)} Known are {', '.join(sorted(FAMILIES))}, and any other that "
            "has a tokenizer.json"
        )
    return guess_family(source)


def guess_family(source: Repository) -> type[Tokenizer]:
    """The family by the files that are there."""
    if source.find("tokenizer.json"):
        return Tokenizer
    if source.find("vocab.txt"):
        return BertTokenizer
    if source.find("tokenizer.model"):
        return LlamaTokenizer
    if source.find("source.spm"):
        return MarianTokenizer
    if source.find("vocab-src.json"):
        return FSMTTokenizer
    if source.find("sentencepiece.bpe.model"):
        return M2M100Tokenizer if source.find("vocab.json") else MBartTokenizer
    if path := source.find("spiece.model"):
        return AlbertTokenizer if b"[CLS]" in path.read_bytes() else T5Tokenizer
    if source.find("merges.txt") and (path := source.find("vocab.json")):
        content = path.read_bytes()
        marks = {b"<|endoftext|>": GPT2Tokenizer, b"</w>": OpenAIGPTTokenizer, b"@@": CTRLTokenizer}
        return next((family for mark, family in marks.items() if mark in content), RobertaTokenizer)
    if source.find("vocab.pkl"):
        return TransfoXLTokenizer
    raise MissingFileError(
        f"{source} has no tokenizer. Accepted: tokenizer.json; vocab.txt (BERT); vocab.json and merges.txt (GPT-2, "
        "RoBERTa, BART, GPT, CTRL, Qwen2); spiece.model (T5, ALBERT, Pegasus); sentencepiece.bpe.model (mBART, NLLB; "
        "M2M100 with vocab.json); tokenizer.model (Llama, Mistral); source.spm, target.spm and vocab.json (Marian); "
        "vocab-src.json, vocab-tgt.json and merges.txt (FSMT); vocab.pkl (Transformer-XL); beside them "
        "tokenizer_config.json or config.json, to tell the family"
    )


def find_vocabulary(family: type[Tokenizer], source: Repository) -> dict[str, Path]:
    """The paths of the files that a family is built from."""
    found = {name: source.find(name) for name in (*family.vocabulary_files, *family.optional_files)}
    missing = [name for name in family.vocabulary_files if found[name] is None]
    if missing or not found:
        needed = " and ".join(family.vocabulary_files)
        accepted = " or ".join(filter(None, ["tokenizer.json" if family.uses_tokenizer_json else "", needed]))
        lacking = f" (missing: {', '.join(missing)})" if len(missing) < len(family.vocabulary_files) else ""
        raise MissingFileError(
            f"{source} has no tokenizer of the kind {family.class_name}, which needs {accepted}{lacking}"
        )
    return {name: path for name, path in found.items() if path is not None}


def check_overrides(family: type[Tokenizer], overrides: dict[str, Any]) -> None:
    """Take out what has no use here, and raise a TokenizerError for a setting that the family does not have."""
    known = {*ROLES, LIST_ROLE, *family.common_settings, *family.settings}
    habits = {name: overrides.pop(name) for name in list(overrides) if name in READING_TOKENIZERS and name not in known}
    settle(habits, READING_TOKENIZERS, (), "AutoTokenizer.from_pretrained")
    for name in overrides:
        if name not in known:
            raise TokenizerError(
                f"{family.class_name} has no setting {shown(name)}.{did_you_mean(name, known)} "
                f"It has {', '.join(sorted(known))}"
            )
