"""The checkpoints that come with the package: whole, small, honest, opened alike by both libraries, and not broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import ModelCard
from pipelines.checkpoints import same
from safetensors import safe_open
from toys import ABSTRACT, CALLS

import minitransformer.models.auto as auto
from minitransformer import AutoTokenizer, pipeline
from minitransformer.hub import EMBEDDED, OWNER, embedded_names
from minitransformer.pipelines.tasks import default_model, find_class

ROOT = Path(__file__).parent.parent
PRESENT = [name.removeprefix(OWNER) for name in embedded_names()]
AUTO = {name: find_class(task).auto_class for name, (task, _, _) in CALLS.items()}
TEXTS = {
    "fr": ["Je ne sais pas où il habite.", "Qu'est-ce que c'est ?", "À bientôt, 1 234 €"],
    "en": ["I don't know where he lives.", "What's this? A naïve café, 1,234 pounds", "  two  spaces\nand a line "],
}


def files(name: str) -> set[str]:
    return {path.name for path in (EMBEDDED / name).iterdir()}


def read(name: str, file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EMBEDDED / name / file).read_text(encoding="utf-8"))
    return content


def texts(name: str) -> list[str]:
    return TEXTS["fr" if name == "marian-fr-en" else "en"]


# ------------------------------------------------------------------------------------------------------------- files


def test_all_eleven_are_there() -> None:
    assert set(PRESENT) == set(CALLS)


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) <= 30_000_000


@pytest.mark.parametrize("name", PRESENT)
def test_files_are_those_that_are_needed(name: str) -> None:
    expected = {"config.json", "model.safetensors", "README.md", "evaluation.json", "tokenizer_config.json"}
    expected |= {"source.spm", "target.spm", "vocab.json"} if name.startswith("marian") else {"tokenizer.json"}
    expected |= {"generation_config.json"} if name.split("-")[0] in ("gpt2", "bart", "marian") else set()
    assert files(name) == expected


@pytest.mark.parametrize("name", PRESENT)
def test_weights_are_float16_and_each_is_there_once(name: str) -> None:
    config = read(name, "config.json")
    assert config.get("torch_dtype", config.get("dtype")) == "float16"
    with safe_open(EMBEDDED / name / "model.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
    model = getattr(auto, AUTO[name]).from_pretrained(f"{OWNER}{name}")
    assert model.dtype == torch.float32
    size = sum(tensor.numel() for tensor in tensors.values())
    assert size < 1.02 * model.num_parameters()  # a table that is shared is not there twice
    assert read(name, "evaluation.json")["parameters"] == model.num_parameters()


# -------------------------------------------------------------------------------------------------------- both alike


@pytest.mark.parametrize("name", PRESENT)
def test_tokenizers_agree(name: str) -> None:
    mine, theirs = (
        AutoTokenizer.from_pretrained(f"{OWNER}{name}"),
        transformers.AutoTokenizer.from_pretrained(EMBEDDED / name),
    )
    assert len(mine) == len(theirs) and mine.model_max_length == theirs.model_max_length
    assert mine.special_tokens_map == {role: str(token) for role, token in theirs.special_tokens_map.items()}
    for text in texts(name):
        ids = mine(text)["input_ids"]
        assert ids == theirs(text)["input_ids"], text
        assert mine.decode(ids) == theirs.decode(ids)
        assert mine.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    if name.startswith("marian"):
        assert mine(text_target=texts(name)[0])["input_ids"] == theirs(text_target=texts(name)[0])["input_ids"]


@pytest.mark.parametrize("name", PRESENT)
def test_models_agree(name: str) -> None:
    """In float64, where a bug stays and rounding vanishes; padding is not looked at."""
    mine = getattr(auto, AUTO[name]).from_pretrained(f"{OWNER}{name}", dtype=torch.float64)
    theirs = getattr(transformers, AUTO[name]).from_pretrained(
        EMBEDDED / name, dtype=torch.float64, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(f"{OWNER}{name}")
    for text in texts(name):
        inputs = dict(tokenizer(text, return_tensors="pt"))
        if mine.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = inputs["input_ids"].flip(1)
        with torch.no_grad():
            ours, reference = mine(**inputs), theirs.eval()(**inputs)
        for output in ("logits", "start_logits", "end_logits"):
            if output in reference:
                torch.testing.assert_close(getattr(ours, output), reference[output], atol=1e-10, rtol=0)
    assert {"logits", "start_logits"} & set(reference)


@pytest.mark.parametrize("name", PRESENT)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pipelines_agree(name: str) -> None:
    task, inputs, options = CALLS[name]
    mine = pipeline(task, f"{OWNER}{name}", device="cpu", compat="transformers", dtype=torch.float32)
    theirs = transformers.pipeline(task, str(EMBEDDED / name), device="cpu", dtype=torch.float32)
    same(mine(*inputs, **options), theirs(*inputs, **options))


# ----------------------------------------------------------------------------------------------------------- answers


def answer(name: str, *inputs: Any, **options: Any) -> Any:
    if name not in PRESENT:
        pytest.fail(f"{name} does not come with the package")
    return pipeline(CALLS[name][0], f"{OWNER}{name}")(*inputs, **options)


def test_sentiment() -> None:
    liked = ["I love this film, thank you!", "What a wonderful day, I am so happy.", "Great job, congratulations!"]
    loathed = ["I hate this terrible film.", "This is awful and I am very angry.", "That is disgusting and sad."]
    answers = answer("bert-sentiment", liked + loathed)
    assert [a["label"] for a in answers] == ["POSITIVE"] * 3 + ["NEGATIVE"] * 3
    assert all(set(a) == {"label", "score"} and 0.5 < a["score"] < 1 for a in answers)


def test_zero_shot() -> None:
    found = answer(
        "bert-nli", "Two men are playing guitars on a stage.", candidate_labels=["sleeping", "music", "swimming"]
    )
    assert set(found) == {"sequence", "labels", "scores"}
    assert found["labels"][0] == "music" and abs(sum(found["scores"]) - 1) < 1e-5


def test_text_generation() -> None:
    torch.manual_seed(0)
    stories = answer("gpt2-stories", "The old man", min_new_tokens=20, max_new_tokens=30, num_return_sequences=2)
    assert [set(story) for story in stories] == [{"generated_text"}] * 2
    for story in stories:
        words = re.findall(r"[A-Za-z']+", story["generated_text"].removeprefix("The old man"))
        assert story["generated_text"].startswith("The old man") and len(words) >= 10
    assert stories[0] != stories[1]


def test_fill_mask() -> None:
    guesses = answer("bert-books", "She opened the [MASK] and went out.", top_k=5)
    assert [set(guess) for guess in guesses] == [{"score", "token", "token_str", "sequence"}] * 5
    assert guesses[0]["token_str"] == "door"
    pronouns = answer("bert-books", "He looked at her, and she looked at [MASK].", top_k=4)
    assert {"her", "him"} <= {guess["token_str"] for guess in pronouns}


def test_letters_that_repeat() -> None:
    found = answer("gpt2-induction", "q7Fxab2Kq7Fx", max_new_tokens=4, do_sample=False)
    assert found == [{"generated_text": "q7Fxab2Kq7Fxab2K"}]


def test_addition_modulo_59() -> None:
    """Nearly always: it was right on 98.7 % of the sums that it never saw."""
    pipe = pipeline("text-generation", f"{OWNER}gpt2-grokking")
    asked = [(a, b) for a in range(0, 59, 7) for b in range(3, 59, 11)]
    told = [pipe(f"{a} + {b} =", max_new_tokens=1, do_sample=False)[0]["generated_text"] for a, b in asked]
    right = [text == f"{a} + {b} = {(a + b) % 59}" for text, (a, b) in zip(told, asked, strict=True)]
    assert sum(right) >= 0.95 * len(asked)


def test_feature_extraction() -> None:
    vectors = pipeline("feature-extraction", f"{OWNER}bert-books")("The cat sleeps.")
    tokens = AutoTokenizer.from_pretrained(f"{OWNER}bert-books")("The cat sleeps.")["input_ids"]
    width = read("bert-books", "config.json")["hidden_size"]
    assert [len(vectors), len(vectors[0]), *{len(vector) for vector in vectors[0]}] == [1, len(tokens), width]


def test_ner() -> None:
    found = answer("bert-ner", "Sarah Miller was born in London.", aggregation_strategy="first")
    assert [set(entity) for entity in found] == [{"entity_group", "score", "word", "start", "end"}] * len(found)
    assert [(entity["entity_group"], entity["word"]) for entity in found] == [
        ("PER", "Sarah Miller"),
        ("LOC", "London"),
    ]


@pytest.mark.parametrize(
    ("question", "context", "expected"),
    [
        ("When was the university founded?", "The university was founded in 1846 by the king.", "1846"),
        ("Who founded the university?", "The university was founded in 1846 by King Henry.", "King Henry"),
        ("Where does Sarah live?", "My name is Sarah and I live in London.", "London"),
        (
            "What did the queen give to the poor?",
            "In winter the queen gave bread and wood to the poor.",
            "bread and wood",
        ),
    ],
)
def test_question_answering(question: str, context: str, expected: str) -> None:
    found = answer("bert-qa", question=question, context=context)
    assert set(found) == {"score", "start", "end", "answer"}
    assert found["answer"] == expected == context[found["start"] : found["end"]]


def test_summarization() -> None:
    (found,) = answer("bart-tldr", ABSTRACT)
    assert set(found) == {"summary_text"}
    assert 5 <= len(found["summary_text"].split()) < len(ABSTRACT.split())


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("marian-fr-en", "Je ne sais pas.", "I don't know."),
        ("marian-fr-en", "Où est mon livre ?", "Where is my book?"),
        ("marian-en-de", "I don't know.", "Ich weiß nicht."),
        ("marian-en-de", "Where is my book?", "Wo ist mein Buch?"),
    ],
)
def test_translation(name: str, source: str, expected: str) -> None:
    (found,) = answer(name, source)
    assert set(found) == {"translation_text"}
    alike = {"Where's my book?": "Where is my book?", "Das weiß ich nicht.": "Ich weiß nicht."}
    alike["Ich weiß es nicht."] = "Ich weiß nicht."
    assert alike.get(found["translation_text"], found["translation_text"]) == expected


def test_nothing_is_fetched() -> None:
    """The demo, which uses all of them, in a process without sockets and without a word to stay offline."""
    code = (
        "import socket\n"
        "def refuse(*_, **__): raise AssertionError('the network was used')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "from minitransformer.demo import main\n"
        "main()\n"
        "import resource\n"
        "print('seconds', sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))\n"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    *shown, last = done.stdout.splitlines()
    tasks = re.findall(r'^>>> pipe = pipeline\("([a-z-]+)"', "\n".join(shown), re.M)
    assert list(dict.fromkeys(tasks)) == [
        *("sentiment-analysis", "zero-shot-classification", "text-generation", "fill-mask", "ner"),
        *("question-answering", "summarization", "translation", "feature-extraction"),
    ]
    for said in ("toy checkpoints", "name a model", "POSITIVE", "generated_text", "translation_text", "summary_text"):
        assert said in done.stdout
    assert float(last.split()[1]) < 30  # of the processor, whoever else uses it


# -------------------------------------------------------------------------------------------------- cards and claims


@pytest.mark.parametrize("name", PRESENT)
def test_card(name: str) -> None:
    text = (EMBEDDED / name / "README.md").read_text(encoding="utf-8")
    card, evaluation = ModelCard(text), read(name, "evaluation.json")
    assert card.data.license == evaluation["license"] and card.data.language
    measured = {(r.task_type, r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    for result in evaluation["results"]:
        for metric, value in result["model"].items():
            assert measured[result["task"], result["data"], metric] == value
    for section in ("Architecture", "Data", "Training", "Measured", "Limits", "Licence"):
        assert f"\n## {section}\n" in text
    assert "**toy**" in text and f"{evaluation['parameters']:,} parameters" in text
    for one in evaluation["data"]:
        assert one["name"] in text and one["license"] in text and one["by"] in text
    for run in evaluation["runs"]:
        assert run["command"] in text
        assert f"Seed {run['seed']}, {run['steps']:,} steps" in text and f"{run['minutes']:g} minutes on" in text
        assert Path(ROOT / "examples" / "recipes" / f"{run['recipe']}.toml").exists()


@pytest.mark.parametrize("name", PRESENT)
def test_better_than_trivial_and_than_from_scratch(name: str) -> None:
    fine_tuned = name in ("bert-sentiment", "bert-nli", "bert-ner", "bert-qa", "bart-tldr")
    results = read(name, "evaluation.json")["results"]
    for result in results:
        assert ("twin" in result) == fine_tuned
        if result["weakness"]:
            continue
        metric = next(iter(result["model"]))
        sign = -1 if metric in ("perplexity", "bits_per_byte") else 1
        others = [result[who][metric] for who in ("baseline", "twin") if who in result]
        assert all(sign * result["model"][metric] > sign * other for other in others), result
    assert not all(result["weakness"] for result in results)


@pytest.mark.parametrize(("name", "least"), [("marian-fr-en", 35), ("marian-en-de", 35)])
def test_translations_are_worth_reading(name: str, least: float) -> None:
    assert read(name, "evaluation.json")["results"][0]["model"]["bleu"] >= least


# ----------------------------------------------------------------------------------------------------- by themselves


def test_a_pipeline_without_a_model_names_the_model_of_the_course() -> None:
    """Having checkpoints of our own changes no default."""
    defaults = {
        "sentiment-analysis": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        "zero-shot-classification": "facebook/bart-large-mnli",
        "text-generation": "openai-community/gpt2",
        "fill-mask": "distilbert/distilroberta-base",
        "ner": "dbmdz/bert-large-cased-finetuned-conll03-english",
        "question-answering": "distilbert/distilbert-base-cased-distilled-squad",
        "summarization": "sshleifer/distilbart-cnn-12-6",
        "translation_en_to_fr": "google-t5/t5-base",
        "feature-extraction": "distilbert/distilbert-base-cased",
    }
    assert {task: default_model(task, find_class(task), None)[0] for task in defaults} == defaults
