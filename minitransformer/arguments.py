"""What the keyword arguments of transformers' ``from_pretrained`` and ``save_pretrained`` mean here.

They stand in the first lines of most scripts. Those with a meaning here have it. The others are in these tables: they
ask for what is so anyway, or mean nothing here (a warning says so), or are refused in a sentence that says what to
write instead. What is in no table is a mistake, and the nearest name is named. docs/loading.md has them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitransformer.errors import ArgumentError, did_you_mean, warn_caller
from minitransformer.hub import Repository
from minitransformer.options import shown


@dataclass(frozen=True)
class NoUse:
    """An argument without a use here.

    Args:
        why: what is so instead, or what to write instead.
        fine: values that ask for what is so anyway; None always does.
        refused: whether another value is an error; else it is a warning.
    """

    why: str
    fine: tuple[Any, ...] = ()
    refused: bool = False


_EIGHT_BITS = "weights are loaded as they are: minitransformer.optimize.optimized(model, 'int8') makes int8 of them"
_OTHER_FRAMEWORKS = "only PyTorch's files are read: .safetensors and .bin"
_ONE_DEVICE = "a model is on one device: device= says on which"
_UPLOAD = "nothing is uploaded by saving: huggingface_hub.upload_folder(folder_path=..., repo_id=...) does it"

READING: Mapping[str, NoUse] = {
    "trust_remote_code": NoUse("no code of a checkpoint is ever run", (False,)),
    "code_revision": NoUse("no code of a checkpoint is ever run"),
    "resume_download": NoUse("a download that broke off is always resumed", (True, False)),
    "proxies": NoUse("set HTTPS_PROXY in the environment instead", ({},), refused=True),
    "mirror": NoUse("set HF_ENDPOINT in the environment instead", refused=True),
    "_from_auto": NoUse("says who called", (True, False)),
    "_from_pipeline": NoUse("says who called"),
    "_commit_hash": NoUse("says where the config came from"),
    "user_agent": NoUse("says who called"),
    "gguf_file": NoUse(_OTHER_FRAMEWORKS, refused=True),
}
"""For models, configs and tokenizers."""

READING_MODELS: Mapping[str, NoUse] = {
    **READING,
    "attn_implementation": NoUse(
        "attention is always computed exactly, by PyTorch's own kernel, or readably where something looks inside",
        ("eager", "sdpa"),
    ),
    "low_cpu_mem_usage": NoUse("a model is always loaded with about one copy of its weights", (True, False)),
    "weights_only": NoUse("pickles are read as data only", (True,), refused=True),
    "from_tf": NoUse(_OTHER_FRAMEWORKS, (False,), refused=True),
    "from_flax": NoUse(_OTHER_FRAMEWORKS, (False,), refused=True),
    "load_in_8bit": NoUse(_EIGHT_BITS, (False,), refused=True),
    "load_in_4bit": NoUse(_EIGHT_BITS, (False,), refused=True),
    "quantization_config": NoUse(_EIGHT_BITS, refused=True),
    "max_memory": NoUse(_ONE_DEVICE, refused=True),
    "offload_folder": NoUse(_ONE_DEVICE),
    "offload_state_dict": NoUse(_ONE_DEVICE, (False,)),
    "offload_buffers": NoUse(_ONE_DEVICE, (False,)),
    "tp_plan": NoUse(_ONE_DEVICE, refused=True),
    "tp_size": NoUse(_ONE_DEVICE, (1,), refused=True),
    "device_mesh": NoUse(_ONE_DEVICE, refused=True),
    "distributed_config": NoUse(_ONE_DEVICE, refused=True),
    "use_kernels": NoUse("kernels are chosen by what is asked for", (False,)),
    "adapter_name": NoUse("adapters are not loaded: merge them into the weights first", ("default",), refused=True),
    "adapter_kwargs": NoUse("adapters are not loaded: merge them into the weights first", ({},), refused=True),
    "_adapter_model_path": NoUse("adapters are not loaded: merge them into the weights first", refused=True),
    "_fast_init": NoUse("what the file brings is never drawn", (True,)),
}

READING_TOKENIZERS: Mapping[str, NoUse] = {
    **READING,
    "use_fast": NoUse("there is one tokenizer of each kind, and it is fast", (True,)),
    "legacy": NoUse("T5's tokenizer answers like the fast one of 4.57"),
    "from_slow": NoUse("a tokenizer.json that is there is read", (False,)),
    "return_tensors": NoUse("say it where the tokenizer is called", ("pt", "np")),
    "config": NoUse("tokenizer_class= says which tokenizer to take"),
    "tokenizer_type": NoUse("tokenizer_class= says which tokenizer to take", refused=True),
}

WRITING: Mapping[str, NoUse] = {
    "push_to_hub": NoUse(_UPLOAD, (False,), refused=True),
    "repo_id": NoUse(_UPLOAD, refused=True),
    "commit_message": NoUse(_UPLOAD),
    "private": NoUse(_UPLOAD),
    "token": NoUse(_UPLOAD),
    "use_auth_token": NoUse(_UPLOAD),
    "create_pr": NoUse(_UPLOAD, (False,)),
    "revision": NoUse(_UPLOAD),
    "safe_serialization": NoUse(
        "weights are written as .safetensors only, since a pickle can run code: torch.save(model.state_dict(), path) "
        "writes one",
        (True,),
        refused=True,
    ),
    "save_peft_format": NoUse("there are no adapters", (True, False)),
    "legacy_format": NoUse("tokenizer.json and the vocabulary files are both written"),
    "filename_prefix": NoUse("files have the names that every library looks for", ("",), refused=True),
}

HUB = ("revision", "token", "use_auth_token", "cache_dir", "local_files_only", "force_download", "subfolder")
"""Arguments that say where files come from (see ``Repository``)."""


def take_repository(source: str | Path | Repository, options: dict[str, Any]) -> Repository:
    """The repository that ``source`` and the arguments of ``HUB`` describe, which are taken out of ``options``."""
    if isinstance(source, Repository):
        return source
    given = {name: options.pop(name) for name in HUB if name in options}
    given = {name: value for name, value in given.items() if value is not None}
    if (old := given.pop("use_auth_token", None)) is not None:
        given.setdefault("token", old)
    return Repository(source, **given)


def take(options: dict[str, Any], table: Mapping[str, NoUse]) -> dict[str, Any]:
    """The arguments of that table, taken out of ``options`` before somebody else takes them for his own."""
    return {name: options.pop(name) for name in list(options) if name in table}


def settle(options: dict[str, Any], table: Mapping[str, NoUse], known: Iterable[str], what: str) -> None:
    """Answer what is left of a caller's keyword arguments; afterwards ``options`` is empty.

    Args:
        options: the arguments that nothing has taken yet.
        table: those that have no use here.
        known: names of those that have one, for the nearest of a name that nobody knows.
        what: the function, for the message.

    Raises:
        ArgumentError: an argument is refused, or unknown.

    Warns:
        UserWarning: an argument means nothing here.
    """
    known = [*known, *table]
    for name in list(options):
        value = options.pop(name)
        if name not in table:
            raise ArgumentError(
                f"{what} has no argument {name!r}.{did_you_mean(name, known)} docs/loading.md lists all that it takes."
            )
        use = table[name]
        if value is None or any(type(value) is type(fine) and value == fine for fine in use.fine):
            continue
        if use.refused:
            raise ArgumentError(f"{what} cannot do {name}={shown(value)}: {use.why}")
        warn_caller(f"{name}={shown(value)} means nothing to {what}: {use.why}")


def as_bytes(size: int | str | None, name: str = "max_shard_size") -> int | None:
    """A size in bytes, from a number or a text such as "2GB" or "500 MiB"; None for none.

    Raises:
        ArgumentError: it is no size.
    """
    if size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0):
        return size
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    units |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
    text = size.strip().upper() if isinstance(size, str) else ""
    number = text.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    unit = text[len(number) :].strip()
    if number and number.isascii() and number.replace(".", "", 1).isdigit() and unit in units:
        found = int(float(number) * units[unit])
        if found > 0:
            return found
    raise ArgumentError(f"{name} must be a number of bytes, or a size such as '2GB' or '500MiB', not {shown(size)}")
