"""Where files come from: a folder, or the Hub, which a server on this machine stands in for.

What is said to the Hub runs in a process of its own, because huggingface_hub reads its environment (HF_HOME,
HF_ENDPOINT, HF_HUB_OFFLINE) when it is imported. These tests need nothing but huggingface_hub, 0.x or 1.x.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hub_server
import pytest
import tiny_folders
from hub_server import FakeHub

import minitransformer
from minitransformer.errors import CheckpointError, HubError, MissingFileError
from minitransformer.hub import Repository, embedded_folder, embedded_names, read_json

ROOT = Path(minitransformer.__file__).parents[1]

pytestmark = pytest.mark.environment

ASK = """
import json, sys, time
from minitransformer.hub import Repository

time.sleep = lambda seconds: None  # before it tries again
for call in json.loads(sys.argv[1]):
    try:
        filename, required = call.pop("filename"), call.pop("required", True)
        repository = Repository(**call)
        path = repository.file(filename) if required else repository.find(filename)
        print(json.dumps({"path": path and str(path)}))
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
assert "torch" not in sys.modules
"""

WEIGHTS = bytes(range(256)) * 400


@dataclass
class Client:
    """A user with a home of his own, who asks for files of the Hub."""

    hub: FakeHub
    home: Path

    def ask(self, *calls: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        settings = {"HF_HOME": str(self.home), "HF_ENDPOINT": self.hub.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, "-c", ASK, json.dumps(calls)]
        done = subprocess.run(
            command, cwd=ROOT, env=clean | settings | environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def files(self) -> list[str]:
        """Names of the files in the cache that look whole."""
        return sorted(path.name for path in self.home.glob("hub/models--*/snapshots/*/*"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    main = {"config.json": b'{"model_type": "bert"}', "model.safetensors": WEIGHTS}
    repositories = {
        "tiny-bert": hub_server.Repository({"main": main, "v1": {"config.json": b'{"model_type": "gpt2"}'}}),
        "ann/diary": hub_server.Repository({"main": main}, token="hf_secret"),
        "ann/gated": hub_server.Repository({"main": main}, token="hf_secret", gated=True),
    }
    with FakeHub(repositories).serve() as hub:
        yield Client(hub, tmp_path / "home")


def call(repo: str, filename: str = "config.json", **options: Any) -> dict[str, Any]:
    return {"id": repo, "filename": filename, **options}


# ---------------------------------------------------------------------------------------------------------- the Hub


def test_download_then_offline(client: Client) -> None:
    both = (call("tiny-bert"), call("tiny-bert", "model.safetensors"))
    config, weights = client.ask(*both)
    assert Path(config["path"]).read_bytes() == b'{"model_type": "bert"}'
    assert Path(weights["path"]).read_bytes() == WEIGHTS
    asked = len(client.hub.requests)
    assert client.ask(*both, HF_HUB_OFFLINE="1") == [config, weights]
    assert len(client.hub.requests) == asked
    client.hub.down = True
    assert client.ask(*both) == [config, weights]


def test_offline_without_cache(client: Client) -> None:
    required, optional = client.ask(call("tiny-bert"), call("tiny-bert", required=False), HF_HUB_OFFLINE="1")
    assert required == optional  # nobody knows whether the file exists
    assert required["error"] == "HubError"
    assert "config.json of tiny-bert is not in the cache" in required["message"]
    assert "HF_HUB_OFFLINE forbids" in required["message"]
    assert not client.hub.requests


def test_missing_file(client: Client) -> None:
    required, optional = client.ask(call("tiny-bert", "merges.txt"), call("tiny-bert", "merges.txt", required=False))
    assert required == {"error": "MissingFileError", "message": "tiny-bert on the Hub has no merges.txt"}
    assert optional == {"path": None}


def test_optional_file_offline(client: Client) -> None:
    """Known to be missing, or: HF_HUB_OFFLINE says that the cache is all there is."""
    client.ask(call("tiny-bert"), call("tiny-bert", "merges.txt", required=False))
    known, unknown = (call("tiny-bert", name, required=False) for name in ("merges.txt", "vocab.txt"))
    assert client.ask(known, unknown, HF_HUB_OFFLINE="1") == [{"path": None}] * 2
    client.hub.down = True
    answers = client.ask(known, unknown)
    assert answers[0] == {"path": None}
    assert answers[1]["error"] == "HubError" and "does not answer" in answers[1]["message"]


def test_hub_is_down(client: Client) -> None:
    client.hub.down = True
    for answer in client.ask(call("tiny-bert")) + client.ask(call("tiny-bert"), HF_ENDPOINT="http://127.0.0.1:9"):
        assert answer["error"] == "HubError"
        assert "give a folder that holds the files" in answer["message"]
        assert "does not answer" in answer["message"] and "HF_HUB_OFFLINE=1" in answer["message"]


def test_revision(client: Client) -> None:
    commit = client.hub.repositories["tiny-bert"].commit("v1")
    main, branch, by_commit, absent = client.ask(
        *(call("tiny-bert", revision=revision) for revision in (None, "v1", commit, "v2"))
    )
    assert json.loads(Path(main["path"]).read_text()) == {"model_type": "bert"}
    assert json.loads(Path(branch["path"]).read_text()) == {"model_type": "gpt2"}
    assert branch == by_commit
    assert absent["error"] == "HubError" and "tiny-bert on the Hub has no revision 'v2'" in absent["message"]


def test_unknown_repository(client: Client) -> None:
    (answer,) = client.ask(call("tiny-brt"))
    assert answer["error"] == "HubError"
    assert "tiny-brt is neither a folder here nor a model on the Hub" in answer["message"]
    assert "token=" in answer["message"]


def test_token(client: Client) -> None:
    without, wrong, rubbish, right = client.ask(
        *(call("ann/diary", token=token) for token in (None, "hf_other", "rubbish", "hf_secret"))
    )
    assert without["error"] == wrong["error"] == rubbish["error"] == "HubError"
    assert "pass token= or set HF_TOKEN" in without["message"]
    assert "the token that was used may not see it" in wrong["message"]
    assert "the Hub refuses config.json of ann/diary: check token= or HF_TOKEN" in rubbish["message"]
    assert "hf_" not in "".join(answer["message"] for answer in (without, wrong, rubbish)).replace("hf_hub", "")
    assert Path(right["path"]).name == "config.json"


def test_token_of_the_environment(client: Client) -> None:
    (answer,) = client.ask(call("ann/diary"), HF_TOKEN="hf_secret")
    assert Path(answer["path"]).name == "config.json"


def test_gated_repository(client: Client) -> None:
    for answer in client.ask(call("ann/gated"), call("ann/gated", token="hf_other")):
        assert answer["error"] == "HubError" and "accept its terms on its page" in answer["message"]


def test_broken_download_is_never_taken_for_the_file(client: Client) -> None:
    """The connection breaks in the middle: huggingface_hub 1.x goes on by itself, with 0.x the next call does."""
    client.hub.broken["model.safetensors"] = 1
    first, second = client.ask(*[call("tiny-bert", "model.safetensors")] * 2)
    if "error" in first:
        assert first["error"] == "HubError"
        assert "model.safetensors of tiny-bert could not be fetched whole" in first["message"]
        assert "Try again" in first["message"]
    assert Path(second["path"]).read_bytes() == WEIGHTS


def test_download_that_breaks_for_good(client: Client) -> None:
    client.hub.broken["config.json"] = 1000
    (answer,) = client.ask(call("tiny-bert"))
    assert answer["error"] == "HubError" and "could not be fetched whole" in answer["message"]
    assert client.files() == []


# --------------------------------------------------------------------------------------------------------- the gate

ESCAPES = ["../../x", "/etc/passwd", "a/../../b", "..", "a\\b", "C:x", "a\0b", "a\nb", "", "./x", "a//b", "a/", "~/x"]


@pytest.mark.parametrize("name", [name for name in ESCAPES if name != "~/x"])
def test_names_of_files_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "x").write_text("secret")
    for id in ("tiny-bert", str(tmp_path / "model"), tmp_path / "model"):
        for read in (Repository(id).find, Repository(id).file, Repository(id).read):
            with pytest.raises(HubError, match="is no name of a file inside of"):
                read(name)
    if name:
        with pytest.raises(HubError, match="is no folder inside of"):
            Repository("tiny-bert", subfolder=name)


@pytest.mark.parametrize(
    "revision", [*ESCAPES, "a b", "-x", "a@{1}", "a:b", "a?", "a*", "[a]", ".git", "x" * 300, 5, b"v1"]
)
def test_revisions_are_names_that_git_knows(revision: Any) -> None:
    with pytest.raises(HubError, match="is no name of a branch, tag or commit"):
        Repository("tiny-bert", revision=revision)
    with pytest.raises(HubError, match="is no name of a branch"):
        minitransformer.AutoModel.from_pretrained("tiny-bert", revision=revision)
    with pytest.raises(HubError, match="is no name of a branch"):
        minitransformer.AutoTokenizer.from_pretrained("tiny-bert", revision=revision)


@pytest.mark.parametrize("revision", ["main", "refs/pr/3", "v1.0", "feature/x_y-z", "a" * 40, "größe", "a+b", "1%2F2"])
def test_revisions_that_there_may_be(revision: str) -> None:
    assert Repository("tiny-bert", revision=revision).revision == revision


@pytest.mark.parametrize("id", ["a/..", "../a", "a..b/c", "a/b.", "a--b/c", "a/-b", ".a/b", "a/b\n"])
def test_ids_that_are_none(id: str) -> None:
    if id in ("a/b.",):  # huggingface_hub says what is wrong with it
        return
    with pytest.raises(MissingFileError, match="neither a folder that exists nor a model id"):
        Repository(id).find("config.json")


@pytest.mark.parametrize("header", ["ETag", "X-Repo-Commit", "X-Linked-Etag"])
@pytest.mark.parametrize("lie", ["../../../../../escaped", "/tmp/loading-escaped", "a/b", "..", "a b", "x" * 300])
def test_what_a_server_says_never_becomes_a_path_elsewhere(
    client: Client, header: str, lie: str, tmp_path: Path
) -> None:
    lie = lie.replace("/tmp/loading-escaped", str(tmp_path / "escaped"))
    before = sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts)
    client.hub.lies[header] = f'"{lie}"' if "tag" in header.lower() else lie
    (answer,) = client.ask(call("tiny-bert", "model.safetensors" if "Linked" in header else "config.json"))
    if "path" in answer:  # newer clients do not ask this header where nothing redirects
        assert header == "X-Linked-Etag"
        assert Path(answer["path"]).resolve().is_relative_to(client.home.resolve())
    else:
        assert answer["error"] == "HubError" and client.files() == [], answer
    assert sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts) == before
    assert not (tmp_path / "escaped").exists()


def test_a_cache_that_points_elsewhere_is_not_followed(client: Client, tmp_path: Path) -> None:
    (found,) = client.ask(call("tiny-bert"))
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    Path(found["path"]).unlink()
    Path(found["path"]).symlink_to(secret)
    (answer,) = client.ask(call("tiny-bert"), HF_HUB_OFFLINE="1")
    assert answer["error"] == "HubError" and "outside of the cache" in answer["message"]


def test_options_of_the_hub(client: Client, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    (found,) = client.ask(call("tiny-bert", cache_dir=elsewhere))
    assert found["path"].startswith(elsewhere) and client.files() == []
    there, absent = client.ask(
        call("tiny-bert", cache_dir=elsewhere, local_files_only=True), call("tiny-bert", local_files_only=True)
    )
    assert there == found
    assert absent["error"] == "HubError" and "local_files_only=True forbids asking the Hub" in absent["message"]
    Path(found["path"]).resolve().write_text("spoilt")
    (again,) = client.ask(call("tiny-bert", cache_dir=elsewhere, force_download=True))
    assert json.loads(Path(again["path"]).read_text()) == {"model_type": "bert"}


def test_a_token_is_never_shown() -> None:
    assert "hf_secret" not in repr(Repository("tiny-bert", token="hf_secret"))


# ---------------------------------------------------------------------------------------------------------- folders


def test_a_folder_never_touches_the_network(client: Client, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    there, absent, optional = client.ask(
        call(str(tmp_path)), call(str(tmp_path), "vocab.txt"), call(str(tmp_path), "vocab.txt", required=False)
    )
    assert there == {"path": str(tmp_path / "config.json")}
    assert absent["error"] == "MissingFileError"
    assert absent["message"] == f"the folder {tmp_path} has no vocab.txt. It holds: config.json."
    assert optional == {"path": None}
    assert not client.hub.requests


def test_a_folder_wins_over_a_model_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-bert").mkdir()
    (tmp_path / "tiny-bert" / "config.json").write_text("{}")
    assert Repository("tiny-bert").file("config.json") == Path("tiny-bert/config.json")


@pytest.mark.parametrize(
    "name",
    [
        "/no/such",
        "./no",
        "../no",
        "~/no/such",
        "~nobody_of_that_name/x",
        "a/b/c",
        "a\\b",
        "no/",
        "a b",
        "a--b",
        "x" * 5000,
        "a\0b",
    ],
)
def test_what_looks_like_a_path_is_never_looked_up(name: str) -> None:
    with pytest.raises(MissingFileError, match="neither a folder that exists nor a model id"):
        Repository(name).find("config.json")
    with pytest.raises(MissingFileError, match="neither a folder"):
        Repository(Path("owner/model")).file("config.json")


def test_names_that_name_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is empty"):
        Repository("").file("config.json")
    with pytest.raises(TypeError, match="should be str or Path, not NoneType"):
        Repository(None).file("config.json")  # type: ignore[arg-type]
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(MissingFileError, match="is a file; give the folder"):
        Repository(file).file("config.json")


def test_a_crowded_folder_is_not_listed_whole(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"checkpoint-{i:03d}").mkdir()
    with pytest.raises(MissingFileError, match=r"checkpoint-019 and 80 more\.$"):
        Repository(tmp_path).file("config.json")


# ------------------------------------------------------------------------------------------------ inside the package


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two checkpoints, and something that is none."""
    home = tmp_path / "checkpoints"
    for name in ("books", "names"):
        (home / name).mkdir(parents=True)
        (home / name / "config.json").write_text("{}")
    (home / "notes").mkdir()
    monkeypatch.setattr("minitransformer.hub.EMBEDDED", home)
    monkeypatch.setattr("minitransformer.hub._from_hub", None)  # the network is out of the question
    monkeypatch.chdir(tmp_path)
    return home


def test_checkpoints_of_the_package(embedded: Path) -> None:
    assert embedded_names() == ["minitransformer/books", "minitransformer/names"]
    assert Repository("minitransformer/books").file("config.json") == embedded / "books" / "config.json"
    assert Repository("minitransformer/books").find("vocab.txt") is None
    with pytest.raises(MissingFileError, match=r"checkpoints/books has no vocab.txt. It holds: config.json"):
        Repository("minitransformer/books").file("vocab.txt")


def test_names_of_checkpoints_without_the_owner_give_a_hint(embedded: Path, client: Client) -> None:
    with pytest.warns(UserWarning, match="Did you mean 'minitransformer/books', which comes with this package"):
        assert embedded_folder("books") is None
    assert embedded_folder("something-else") is None
    (answer,) = client.ask(call("gpt2-stories"))
    assert "Did you mean 'minitransformer/gpt2-stories', which comes with this package?" in answer["message"]
    (answer,) = client.ask(call("gpt2-storys"), HF_HUB_OFFLINE="1")
    assert "Did you mean 'minitransformer/gpt2-stories'" in answer["message"]


@pytest.mark.parametrize(
    "name", ["minitransformer/book", "minitransformer/notes", "minitransformer/", "minitransformer/a/b"]
)
def test_a_checkpoint_that_the_package_lacks(embedded: Path, name: str) -> None:
    with pytest.raises(
        MissingFileError, match="Those that do: minitransformer/books, minitransformer/names."
    ) as caught:
        Repository(name).find("config.json")
    assert ("Did you mean 'minitransformer/books'?" in str(caught.value)) == (name == "minitransformer/book")


def test_the_working_directory_never_hides_a_checkpoint_of_the_package(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("books", "own"):
        (tmp_path / "minitransformer" / name).mkdir(parents=True)
        (tmp_path / "minitransformer" / name / "config.json").write_text("{}")
    inside = embedded / "books" / "config.json"
    outside = Path("minitransformer/books/config.json")
    assert Repository("minitransformer/books").file("config.json") == inside
    assert Repository("./minitransformer/books").file("config.json") == outside
    assert Repository(Path("minitransformer/books")).file("config.json") == outside
    assert Repository("minitransformer/own").file("config.json") == Path("minitransformer/own/config.json")


def test_everything_that_takes_a_model_id_takes_a_checkpoint_of_the_package(embedded: Path) -> None:
    folder = tiny_folders.bert(embedded / "tiny")
    texts = "the [MASK] sleeps ."
    name = "minitransformer/tiny"
    assert minitransformer.pipeline("fill-mask", name)(texts) == minitransformer.pipeline("fill-mask", str(folder))(
        texts
    )
    with pytest.raises(MissingFileError, match="Did you mean 'minitransformer/tiny'"):
        minitransformer.AutoTokenizer.from_pretrained("minitransformer/tyny")
    with pytest.raises(MissingFileError, match="Did you mean 'minitransformer/tiny'"):
        minitransformer.AutoModel.from_pretrained("minitransformer/tyny")


# ------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1,\n "b": }', r"config.json is not valid JSON: .*line 2 column 7"),
        (b"", "not valid JSON"),
        (b"\xff\xfe{", "not valid JSON"),
        (b"[1]", "should hold a JSON object, not list"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer.*git lfs pull"),
    ],
)
def test_damaged_json(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(CheckpointError, match=message):
        read_json(path)


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"ü": [1, null]}', encoding="utf-8")
    assert read_json(path) == {"ü": [1, None]}
