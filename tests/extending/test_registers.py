"""Architectures, tokenizers and tasks of other packages have what the library's own have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import tiny_folders
import torch
from extending.outside import opt_port
from typer.testing import CliRunner

import minitransformer
import minitransformer.models.common.registering as registering
import minitransformer.pipelines.tasks as tasks
import minitransformer.tokenization.auto as tokenizers
from minitransformer import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
    register_architecture,
    register_pipeline,
    register_tokenizer,
    tap_names,
)
from minitransformer.cli import app
from minitransformer.cli.imports import split_imports
from minitransformer.config import ModelConfig
from minitransformer.errors import ConfigError, PipelineError, RegistrationError
from minitransformer.models.bert import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel
from minitransformer.models.common.base import Architecture, PretrainedModel
from minitransformer.optimize import optimized
from minitransformer.pipelines import FillMaskPipeline, Pipeline, TextClassificationPipeline
from minitransformer.tokenization import Tokenizer
from minitransformer.tokenization.bert import BertTokenizer

OUTSIDE = Path(__file__).parent / "outside"
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    registers: list[dict] = [registering.REGISTERED, tokenizers.FAMILIES, tokenizers.CLASSES, tasks.REGISTERED]
    before = [dict(names) for names in registers]
    register_architecture(opt_port.ARCHITECTURE)
    register_tokenizer("opt", opt_port.GPT2Tokenizer)
    yield
    for names, kept in zip(registers, before, strict=True):
        names.clear()
        names.update(kept)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An OPT with the vocabulary of a GPT-2, as transformers would have written it."""
    path = tiny_folders.gpt2(tmp_path / "opt")
    size = json.loads((path / "config.json").read_text())["vocab_size"]
    (path / "tokenizer_config.json").unlink()
    torch.manual_seed(0)
    config = AutoConfig.for_model("opt", vocab_size=size, eos_token_id=0, bos_token_id=0, **SIZES)
    opt_port.OPTForCausalLM(config).save_pretrained(path)
    return path


def test_an_architecture_of_another_package_passes_its_twin(tmp_path):
    pytest.importorskip("transformers")
    from minitransformer.testing import reference_twin

    config = {"vocab_size": 50, "word_embed_proj_dim": 32, "dropout": 0.0, "attention_dropout": 0.0, **SIZES}
    reference = reference_twin("OPTForCausalLM", **config)
    reference.set_attn_implementation("sdpa")  # its readable softmax is in float32 always
    reference.save_pretrained(tmp_path)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    ids = torch.tensor([[5, 6, 7, 8, 9], [1, 1, 10, 11, 12]])
    for mask in torch.tensor([[[1] * 5, [1] * 5], [[1] * 5, [0, 0, 1, 1, 1]], [[1] * 5, [1, 1, 1, 0, 0]]]):
        found, wanted = (model(ids, attention_mask=mask, output_hidden_states=True) for model in (ours, reference))
        assert len(found.hidden_states) == len(wanted.hidden_states) == 4
        for a, b in zip([found.logits, *found.hidden_states], [wanted.logits, *wanted.hidden_states], strict=True):
            torch.testing.assert_close(a[mask.bool()], b[mask.bool()], rtol=0, atol=1e-10)
    new = dict(max_new_tokens=6, do_sample=False, num_beams=3, eos_token_id=None)
    mask = torch.tensor([[1] * 5, [0, 0, 1, 1, 1]])
    assert torch.equal(
        ours.generate(ids, attention_mask=mask, **new), reference.generate(ids, attention_mask=mask, **new)
    )
    ours.save_pretrained(tmp_path / "ours")
    assert (tmp_path / "ours" / "model.safetensors").read_bytes() != b""
    again = type(reference).from_pretrained(tmp_path / "ours", dtype=torch.float64)
    torch.testing.assert_close(again(ids).logits, reference(ids).logits, rtol=0, atol=1e-12)


def test_it_has_what_the_own_ones_have(folder, tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model) is opt_port.OPTForCausalLM and type(AutoModel.from_pretrained(folder)) is opt_port.OPTModel
    assert type(tokenizer) is opt_port.GPT2Tokenizer
    with pytest.raises(ConfigError, match="opt has no AutoModelForSequenceClassification; it offers AutoModel"):
        AutoModelForSequenceClassification.from_pretrained(folder)
    text = "the cat sleeps"
    from_folder = pipeline("text-generation", folder)(text, max_new_tokens=5, do_sample=False)
    assert from_folder == pipeline("text-generation", model, tokenizer)(text, max_new_tokens=5, do_sample=False)
    assert pipeline(model=folder).task == "text-generation"
    assert len(pipeline("feature-extraction", model=model.backbone, tokenizer=tokenizer)(text)[0][0]) == 32
    ids = tokenizer(text, return_tensors="pt").input_ids
    fast = optimized(model)
    torch.testing.assert_close(fast(ids).logits, model(ids).logits, rtol=0, atol=1e-5)
    assert torch.equal(
        model.generate(ids, max_new_tokens=5, num_beams=2), fast.generate(ids, max_new_tokens=5, num_beams=2)
    )
    assert f"decoder.blocks.{2}.attn.pattern" in tap_names(model.backbone)


def test_the_command_line_knows_it(folder, tmp_path):
    result = CliRunner().invoke(app, ["inspect", str(folder)])
    assert result.exit_code == 0 and "OPTForCausalLM" in result.stdout
    assert "model.decoder.layers.{i}.fc1.weight" in result.stdout and "unexpected" not in result.stdout
    (tmp_path / "texts.txt").write_text("the cat sleeps .\nwho sleeps ?\n" * 8)
    (tmp_path / "recipe.toml").write_text(
        """
        [model]
        architecture = "opt"
        [model.config]
        max_position_embeddings = 32
        hidden_size = 16
        num_hidden_layers = 1
        num_attention_heads = 2
        ffn_dim = 16
        [tokenizer]
        kind = "byte-bpe"
        vocab_size = 280
        [objective]
        name = "causal_lm"
        [data.train]
        files = "texts.txt"
        format = "lines"
        [training]
        steps = 2
        batch_size = 4
        """
    )
    result = CliRunner().invoke(app, ["train", str(tmp_path / "recipe.toml"), "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert type(AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final")) is opt_port.OPTForCausalLM
    assert type(AutoTokenizer.from_pretrained(tmp_path / "run" / "final")) is opt_port.GPT2Tokenizer
    result = CliRunner().invoke(app, ["trace", str(folder), "--output", str(tmp_path / "trace"), "--text", "the cat"])
    assert result.exit_code == 0, result.output


def test_installed_packages_and_imports_are_found_in_a_new_process(folder, tmp_path):
    """By entry point alone; by ``--import`` before and behind the command; and not without."""
    info = tmp_path / "site" / "opt_port-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: opt-port\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[minitransformer.architectures]\nopt = opt_port:ARCHITECTURE\nbroken = no_such:x\n"
    )
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.py").write_text(
        "import opt_port, minitransformer\nminitransformer.register_architecture(opt_port.ARCHITECTURE)\n"
    )
    script = """
import sys
from minitransformer.cli import app
def call(*words):
    try: app(list(words))
    except SystemExit as end: return end.code
folder, site = sys.argv[1:]
assert call("inspect", folder) == 2
assert call("inspect", folder, "--import", "no_such_module") == 2
assert call("inspect", folder, "--import") == 2
import minitransformer.models.common.registering as registering, minitransformer.tokenization.auto as auto
sys.path.append(site)
assert call("run", "text-generation", "the cat", "--model", folder, "--option", "max_new_tokens=2") == 0
assert list(registering.REGISTERED) == ["opt"] and "opt" in auto.FAMILIES
registering.REGISTERED.clear(); sys.path.remove(site)
assert call("inspect", folder, "--import", "mine") == 0
registering.REGISTERED.clear(); del sys.modules["mine"]
assert call("--import=mine", "inspect", folder) == 0
sys.path.append(site)
import minitransformer
try: minitransformer.AutoConfig.for_model("broken")
except minitransformer.RegistrationError as error: print(error, file=sys.stderr)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(OUTSIDE)])}
    words = [sys.executable, "-c", script, str(folder), str(tmp_path / "site")]
    done = subprocess.run(words, cwd=tmp_path / "work", env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if "error" in line or "broken" in line]
    assert "unknown model_type 'opt'" in errors[0] and "--import no_such_module: it cannot be imported" in errors[1]
    assert "no_such:x, which offers 'broken'" in errors[-1]


def test_imports_are_taken_out_wherever_they_stand():
    assert split_imports(["run", "x", "--import", "a", "--import=b.c", "--", "--import"]) == (
        ["a", "b.c"],
        ["run", "x", "--", "--import"],
    )


LACKS = {
    "Architecture": lambda: "opt",
    "subclass of ModelConfig": lambda: Architecture(dict, {}),
    "model_type": lambda: Architecture(type("C", (ModelConfig,), {}), {}),
    "dataclass": lambda: Architecture(
        type("C", (BertConfig,), {"model_type": "c", "__annotations__": {"more": "int"}, "more": 3}),
        {"Model": BertModel},
    ),
    "model without a head": lambda: Architecture(other_config(), {"ForMaskedLM": BertForMaskedLM}),
    "subclass of PretrainedModel": lambda: Architecture(other_config(), {"Model": torch.nn.Linear}),
    "CONFIG": lambda: Architecture(other_config(), {"Model": type("M", (PretrainedModel,), {"forward": print})}),
    "WEIGHTS": lambda: Architecture(
        other_config(), {"Model": type("M", (PretrainedModel,), {"forward": print, "CONFIG": BertConfig})}
    ),
    "INTERMEDIATES": lambda: Architecture(
        other_config(),
        {
            "Model": type(
                "M", (PretrainedModel,), {"forward": print, "CONFIG": BertConfig, "WEIGHTS": BertModel.WEIGHTS}
            )
        },
    ),
    "HEAD = 'ForCausalLM'": lambda: Architecture(other_config(), {"Model": BertModel, "ForCausalLM": BertForMaskedLM}),
    "one of the library's own": lambda: Architecture(BertConfig, {"Model": BertModel}),
}


def other_config() -> type[BertConfig]:
    @dataclass(frozen=True, kw_only=True)
    class Other(BertConfig):
        model_type: ClassVar[str] = "other"

    return Other


@pytest.mark.parametrize("what", LACKS)
def test_an_architecture_is_told_what_it_lacks(what):
    with pytest.raises(RegistrationError) as caught:
        register_architecture(LACKS[what]())
    assert what in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_two_registrations_of_one_name_are_refused():
    register_architecture(opt_port.ARCHITECTURE)  # the same once more

    @dataclass(frozen=True, kw_only=True)
    class Other(BertConfig):
        model_type: ClassVar[str] = "opt"

    class Named(Tokenizer):
        class_name = "BertTokenizer"

    class Counting(TextClassificationPipeline):
        pass

    with pytest.raises(RegistrationError, match="'opt' is registered already"):
        register_architecture(Architecture(Other, {"Model": BertModel}))
    with pytest.raises(RegistrationError, match="'opt' is registered already"):
        register_tokenizer("opt", BertTokenizer)
    with pytest.raises(RegistrationError, match="library's own"):
        register_tokenizer("bert", opt_port.GPT2Tokenizer)
    with pytest.raises(RegistrationError, match="class_name 'BertTokenizer' of another tokenizer"):
        register_tokenizer("mine", Named)
    register_pipeline("counting", Counting)
    with pytest.raises(RegistrationError, match="'counting' is registered already"):
        register_pipeline("counting", FillMaskPipeline)
    with pytest.raises(RegistrationError, match="library's own"):
        register_pipeline("ner", Counting)


class Mood(BertForSequenceClassification):
    """A head of a user's own."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))


class MoodPipeline(Pipeline):
    auto_class = Mood

    def preprocess(self, text, *, truncation: bool = False):
        return dict(self.encode(self.check_text(text), return_tensors="pt", truncation=truncation))

    def forward(self, inputs):
        return {**inputs, "logits": self.call_model(inputs).logits}

    def postprocess(self, outputs, *, digits: int = 3):
        return round(outputs["logits"].softmax(-1)[0, 0].item(), digits)


def test_a_task_of_a_users_own(tmp_path):
    register_pipeline("mood", MoodPipeline)
    folder = tiny_folders.bert(tmp_path / "bert", "ForSequenceClassification")
    model = Mood.from_pretrained(folder, allow_missing_head=True)
    model.save_pretrained(folder)
    mood = pipeline("mood", folder)
    answers = mood(["the cat sleeps", "who ?"], batch_size=2)
    assert answers == [mood("the cat sleeps"), mood("who ?")] and mood("who ?", digits=1) == round(answers[1], 1)
    assert pipeline("mood", model, AutoTokenizer.from_pretrained(folder))("who ?") == answers[1]
    assert {"truncation", "digits"} <= set(minitransformer.pipelines.pipeline_options("mood"))
    with pytest.raises(TypeError, match="Did you mean 'digits'"):
        mood("who ?", digit=1)
    with pytest.raises(PipelineError, match="no default model"):
        pipeline("mood")
    with pytest.raises(PipelineError, match="Did you mean 'mood'"):
        pipeline("moot", folder)
    with pytest.raises(PipelineError, match="mood needs a Mood"):
        pipeline("mood", BertForSequenceClassification(model.config), mood.tokenizer)
    result = CliRunner().invoke(app, ["run", "mood", "who ?", "--model", str(folder), "--option", "digits=1"])
    assert result.exit_code == 0 and float(result.stdout) == round(answers[1], 1)


@pytest.mark.parametrize(
    ("task", "kind", "what"),
    [
        ("x", dict, "subclass of Pipeline"),
        ("x", type("P", (Pipeline,), {"auto_class": "AutoModel"}), "lacks preprocess"),
        ("x", type("P", (MoodPipeline,), {"auto_class": "AutoModelForMood"}), "auto_class"),
        ("translation_en_to_xx", MoodPipeline, "pair of languages"),
        ("", MoodPipeline, "name"),
    ],
)
def test_a_task_is_told_what_it_lacks(task, kind, what):
    with pytest.raises(RegistrationError, match=what):
        register_pipeline(task, kind)
