"""openapi.json says what the server does, and whatever is sent gets an answer that it describes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer.pipelines import TASKS, pipeline_options
from minitransformer.pipelines.generating import GeneratingPipeline
from minitransformer.serve import Settings
from minitransformer.serve.options import NOT_FROM_OUTSIDE, schemas
from serve.conftest import TOYS, Live

PATHS = [f"/models/{TOYS}{name}" for name in ("bert-books", "bert-sentiment", "bert-ner", "bert-qa", "bert-nli")]
PATHS += [
    f"/models/{TOYS}{name}" for name in ("gpt2-stories", "marian-en-de", "bert-books/pipeline/feature-extraction")
]
PATHS += [f"/models/{TOYS}bert-books/pipeline/sentence-similarity", f"/models/{TOYS}gpt2-stories/v1/completions"]
PATHS += [f"/models/{TOYS}gpt2-stories/generate", "/", "/v1/completions", f"/models/{TOYS}nothing"]


@pytest.mark.parametrize("task", TASKS)
def test_the_parameters_are_those_of_the_pipelines(task: str) -> None:
    table = pipeline_options(task)
    left_out = {name for name, option in table.items() if option.schema() is None} | NOT_FROM_OUTSIDE
    assert table.keys() - left_out <= schemas(task).keys()
    assert not schemas(task).keys() & NOT_FROM_OUTSIDE
    for name, schema in schemas(task).items():
        assert schema.get("description"), name


def test_the_document_names_every_model_and_task(live: Live) -> None:
    document = live.client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for model in live.client.get("/models").json():
        for task in model["tags"]:
            if task in TASKS:
                path = f"/models/{model['id']}/pipeline/{task}"
                body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
                parameters = body["properties"]["parameters"]
                parameters = parameters.get("anyOf", [parameters])[0]  # or null
                assert parameters["properties"].keys() == schemas(task).keys()
    codes = {code for path in document["paths"].values() for each in path.values() for code in each["responses"]}
    assert codes >= {"200", "400", "404", "413", "415", "422", "424", "429", "503", "504"}


WORDS = st.sampled_from(
    [
        "[MASK]",
        "She opened the [MASK].",
        "",
        " ",
        "a",
        "Paris",
        "\x00",
        "🙂",
        "word " * 300,
        "{}",
        "a, b",
        "none",
        "simple",
    ]
)
NUMBERS = st.one_of(
    st.integers(-3, 5), st.sampled_from([10**6, 2**31, 2**63, -(2**63), 10**30]), st.floats(-2, 3), st.booleans()
)
PLAIN = st.one_of(st.none(), WORDS, NUMBERS, st.text(max_size=8))
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=2), max_leaves=4
)
NAMES = sorted(
    {name for task in TASKS for name in schemas(task)} | {"watermark", "assistant_model", "n", "echo", "logprobs"}
)
SLOW = {"max_new_tokens": 4, "max_length": 30, "max_tokens": 4}


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    """Bodies that are nearly right: what is wrong is found deep inside."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(VALUES)
    text = st.one_of(WORDS, st.sampled_from(["He saw the [MASK] and left."]))
    pair = st.fixed_dictionaries({}, optional={"question": text, "context": text, "text": text, "text_pair": text})
    similar = st.fixed_dictionaries({"source_sentence": text}, optional={"sentences": st.lists(text, max_size=3)})
    inputs = draw(st.one_of(text, text, st.lists(text, max_size=3), pair, similar, VALUES))
    given_names = draw(st.lists(st.sampled_from(NAMES), max_size=3))
    parameters = {name: draw(VALUES) for name in given_names}
    if draw(st.booleans()):
        parameters.setdefault("candidate_labels", ["a", "b"])
    for name, value in SLOW.items():
        if name in parameters and isinstance(parameters[name], int) and parameters[name] > value:
            parameters[name] = value
    body = {"inputs": inputs, "parameters": parameters}
    if draw(st.integers(0, 3)) == 0:
        body = {"prompt": inputs, **parameters}
    if draw(st.integers(0, 5)) == 0:
        body[draw(st.sampled_from(["stream", "options", "normalize", "truncate", "x"]))] = draw(VALUES)
    return body


def check(response: httpx.Response) -> None:
    assert response.status_code in (200, 400, 404, 413, 422, 424), (response.status_code, response.text[:300])
    if response.status_code == 200:
        if response.headers["content-type"].startswith("application/json"):
            response.json()
        return
    error = response.json()["error"]
    assert isinstance(error, str)
    assert len(error) > 10
    assert "/work" not in error
    assert "site-packages" not in error


@pytest.fixture(scope="module")
def short() -> Iterator[Live]:
    """A patient server, whose texts are short, so that many can be written."""
    live = Live(Settings(load_wait=120, deadline=300))
    for path in PATHS[:8]:
        live.post(path, inputs="[MASK]", headers={"x-wait-for-model": "true"})
    for name in ("gpt2-stories", "marian-en-de"):
        served = live.ours.shelf.find(name)
        served.pipe(served.task).generation_config.max_new_tokens = 6
    yield live
    live.close()


def run(short: Live, examples: int) -> None:
    @settings(max_examples=examples)
    @given(path=st.sampled_from(PATHS), body=bodies())
    def every_body_gets_an_answer(path: str, body: Any) -> None:
        check(
            short.client.post(path, content=json.dumps(body), headers={"content-type": "application/json"}, timeout=30)
        )

    every_body_gets_an_answer()


def test_generated_bodies(short: Live) -> None:
    run(short, 300)


@pytest.mark.slow
@pytest.mark.skipif("GENERATED_BODIES" not in os.environ, reason="GENERATED_BODIES=10000 sends so many; takes minutes")
def test_many_generated_bodies(short: Live) -> None:
    run(short, int(os.environ["GENERATED_BODIES"]))


@pytest.fixture(scope="module")
def warm(short: Live) -> Live:
    """The same; everything is loaded, so that no answer is that it is not."""
    for path in short.client.get("/openapi.json").json()["paths"]:
        if "/pipeline/" in path:
            short.post(path, inputs="[MASK]", headers={"x-wait-for-model": "true"})
    for served in short.ours.shelf.models.values():
        for pipe in served.pipes.values():
            if isinstance(pipe, GeneratingPipeline):
                pipe.generation_config.max_new_tokens = 6
    return short


@pytest.mark.slow
@pytest.mark.parametrize(
    "paths", ["bert-", "^/[a-z_0-9]*$|^/v1|/(health|info)$|^/api", "gpt2", "bart-tldr$", "marian-fr-en$"]
)
def test_schemathesis(warm: Live, paths: str, tmp_path: Path) -> None:
    python = os.environ.get("SCHEMATHESIS") or str(Path(__file__).parents[2] / ".venv-clients" / "bin" / "schemathesis")
    if not Path(python).is_file():
        pytest.skip("schemathesis is not there: make clients")
    # what JSON Schema cannot say may be refused: a range that depends on another option, or on the model; and penalties
    # and biases beyond all measure leave no numbers (424)
    config = '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", "400", "404", "422", "424", "429"]\n'
    (tmp_path / "schemathesis.toml").write_text(config, encoding="utf-8")
    command = f"--config-file {tmp_path / 'schemathesis.toml'} run {warm.url}/openapi.json --url {warm.url}"
    command += " --max-examples 5 --checks all --request-timeout 60 --max-response-time 120 --seed 1 --workers 1"
    command += " --phases examples,coverage,fuzzing --suppress-health-check all --generation-deterministic --no-color"
    words = [python, *command.split(), "--include-path-regex", paths]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
