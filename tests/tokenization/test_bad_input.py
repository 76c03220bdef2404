"""Wrong input gets an error that names it and says what to do."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenization import vocabularies as make

from minitransformer import AutoTokenizer, CheckpointError, MissingFileError, TokenizerError
from minitransformer.tokenization import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return AutoTokenizer.from_pretrained(make.wordpiece(tmp_path_factory.mktemp("bert")))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "the text is None"),
        (3, {}, "must be a string, not int"),
        (["a", None], {}, "text 1 is None"),
        (["a", ["b"]], {}, "text 1 must be a string, not list.*is_split_into_words"),
        ([], {}, "list of texts is empty"),
        ({"a": 1}, {}, "must be a string, not dict"),
        ("a\ud800b", {}, "not valid Unicode"),
        ("a b", {"is_split_into_words": True}, "must be a list of words"),
        ([["a", 2]], {"is_split_into_words": True}, "word 1 of text 0 must be a string, not int"),
        (["a"], {"text_pair": "b"}, "text_pair must be a list as long as text"),
        (["a"], {"text_pair": ["b", "c"]}, "which has 1 items; it is 2"),
        ("a", {"text_pair": 5}, "text_pair must be a string"),
        ("a", {"padding": "max-length"}, "Did you mean 'max_length'"),
        ("a", {"truncation": "first"}, "truncation must be True or False or one of"),
        ("a", {"max_length": -1, "truncation": True}, "max_length must be an integer of at least 0"),
        ("a", {"max_length": "9", "truncation": True}, "max_length must be an integer"),
        ("a", {"max_length": 5, "stride": 3, "truncation": True}, "stride 3 must be less than 3"),
        ("a", {"stride": np.zeros(0)}, "stride must be an integer"),
        ("a", {"stride": False}, "stride must be an integer"),
        ("a", {"stride": []}, "stride must be an integer"),
        ("a", {"padding_side": "top"}, "padding_side must be 'left' or 'right'"),
        ("a", {"return_tensors": "tf"}, "return_tensors must be 'pt' or 'np', not 'tf'"),
        (["a", "a b"], {"return_tensors": "pt"}, "pass padding=True"),
        (["a", "a b"], {"return_tensors": "np"}, "pass padding=True"),
        (
            "a",
            {"padding": True, "truncation": True, "max_length": 9, "pad_to_multiple_of": 8},
            "not a multiple",
        ),
    ],
)
def test_calls(tokenizer: Tokenizer, text: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        tokenizer(text, **options)


def test_ids_out_of_the_vocabulary(tokenizer: Tokenizer) -> None:
    for ids in ([1, 10_000], [-1], 10_000):
        with pytest.raises(TokenizerError, match=r"no token with id .*: ids go from 0 to"):
            tokenizer.decode(ids)
    with pytest.raises(TokenizerError, match="see batch_decode"):
        tokenizer.decode([[1, 2]])
    with pytest.raises(TokenizerError, match="no token with id 10000"):
        tokenizer.convert_ids_to_tokens(10_000)


def test_ids_that_only_padded_embeddings_have(tmp_path: Path) -> None:
    """T5's models have 28 ids more than its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(make.t5(tmp_path))
    assert tokenizer.decode([5, len(tokenizer), 6]) == tokenizer.decode([5, 6])
    with pytest.raises(TokenizerError, match="no token with id"):
        tokenizer.decode([len(tokenizer) + 128])


def test_settings(tmp_path: Path) -> None:
    folder = make.wordpiece(tmp_path)
    with pytest.raises(TokenizerError, match="no setting 'do_lowercase'.*Did you mean 'do_lower_case'"):
        AutoTokenizer.from_pretrained(folder, do_lowercase=True)
    with pytest.raises(TokenizerError, match="padding_side must be"):
        AutoTokenizer.from_pretrained(folder, padding_side="both")
    with pytest.raises(TokenizerError, match="model_max_length must be a positive number"):
        AutoTokenizer.from_pretrained(folder, model_max_length="long")
    with pytest.raises(TokenizerError, match="pad_token must be a string or a dictionary"):
        AutoTokenizer.from_pretrained(folder, pad_token=7)
    with pytest.raises(TokenizerError, match="unk_token '<missing>'"):
        AutoTokenizer.from_pretrained(folder, unk_token="<missing>")
    with pytest.raises(TokenizerError, match="takes a folder"):
        AutoTokenizer.from_pretrained(None)  # type: ignore[arg-type]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(TokenizerError, match="truncation_side must be"):
        tokenizer.truncation_side = "middle"  # type: ignore[assignment]


def test_padding_without_a_pad_token(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make.gpt2(tmp_path))
    for call in (lambda: tokenizer(["a", "b"], padding=True), lambda: tokenizer.pad({"input_ids": [1]})):
        with pytest.raises(TokenizerError, match="tokenizer.pad_token = tokenizer.eos_token"):
            call()
    with pytest.raises(TokenizerError, match="add_prefix_space=True"):
        tokenizer(["a", "b"], is_split_into_words=True)


def test_no_offsets(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(make.ctrl(tmp_path))
    with pytest.raises(TokenizerError, match="keeps no offsets"):
        tokenizer("a", return_offsets_mapping=True)
    with pytest.raises(TokenizerError, match="does not know where its tokens came from"):
        tokenizer("a").word_ids()


def test_families(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"has no tokenizer. Accepted: tokenizer.json; vocab.txt"):
        AutoTokenizer.from_pretrained(make.folder(tmp_path / "a", None))
    with pytest.raises(
        MissingFileError, match=r"GPT2Tokenizer, which needs tokenizer.json or vocab.json and merges.txt"
    ):
        AutoTokenizer.from_pretrained(make.folder(tmp_path / "b", "gpt2"))
    with pytest.raises(TokenizerError, match="model_type 'bortx'.*Did you mean"):
        AutoTokenizer.from_pretrained(make.folder(tmp_path / "c", "bortx"))
    with pytest.raises(TokenizerError, match="tokenizer_class 'XLNetTokenizer' is not supported"):
        AutoTokenizer.from_pretrained(make.folder(tmp_path / "d", None, {"tokenizer_class": "XLNetTokenizer"}))
    (make.gpt2(tmp_path / "e") / "merges.txt").unlink()
    with pytest.raises(MissingFileError, match=r"missing: merges.txt"):
        AutoTokenizer.from_pretrained(tmp_path / "e")
    with pytest.raises(MissingFileError):
        AutoTokenizer.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nb\na\n", "token 'a' twice, on lines 1 and 3"),
        ("", "is empty"),
        ("a\nb\n", r"lacks unk_token '\[UNK\]', cls_token"),
        ("version https://git-lfs.github.com/spec/v1\noid x\n", "git-lfs pointer"),
        (b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_vocabulary_lines(tmp_path: Path, content: str | bytes, message: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (make.folder(tmp_path, "bert") / "vocab.txt").write_bytes(data)
    with pytest.raises(TokenizerError, match=message):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 0, "b": 0}', "gives the id 0 twice, to 'a' and 'b'"),
        ('{"a": 0, "b": 2}', "none with the id 1"),
        ('{"a": 0, "a": 1}', "token 'a' twice"),
        ('{"a": "x"}', "must be an integer from 0, not 'x'"),
        ('{"a": -1}', "must be an integer from 0, not -1"),
        ("{}", "has no tokens"),
        ('{"a": 0', "is not valid JSON"),
        ("[1]", "should hold a JSON object"),
    ],
)
def test_vocabulary_json(tmp_path: Path, content: str, message: str) -> None:
    (make.gpt2(tmp_path) / "vocab.json").write_text(content, encoding="utf-8")
    with pytest.raises((TokenizerError, CheckpointError), match=message):
        AutoTokenizer.from_pretrained(tmp_path)


def test_merges(tmp_path: Path) -> None:
    path = make.gpt2(tmp_path) / "merges.txt"
    path.write_text("#version: 0.2\na b c\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match="line 2 of .*merges.txt should be two tokens"):
        AutoTokenizer.from_pretrained(tmp_path)
    path.write_text("#version: 0.2\nqq zz\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match="makes no vocabulary"):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ['{"model": 3}', '{"version": "1.0"', "version https://git-lfs.github.com/spec/v1"])
def test_tokenizer_json(tmp_path: Path, content: str) -> None:
    (make.folder(tmp_path, "bert") / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises((TokenizerError, CheckpointError), match=r"tokenizer\.json"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_sentencepiece_files(tmp_path: Path) -> None:
    path = make.t5(tmp_path) / "spiece.model"
    whole = path.read_bytes()
    for broken in (
        whole[: len(whole) // 2],
        whole[:-1],
        b"\x0b\x0c",
        b"not a model",
        b"",
        b"version https://git-lfs",
    ):
        path.write_bytes(broken)
        with pytest.raises((TokenizerError, CheckpointError), match=r"spiece\.model"):
            AutoTokenizer.from_pretrained(tmp_path)
    make.spm(path, model_type="bpe", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    with pytest.raises(TokenizerError, match="of type bpe; only unigram"):
        AutoTokenizer.from_pretrained(tmp_path)
    path.write_bytes(whole)
    with pytest.raises(TokenizerError, match="extra_ids is 100, but additional_special_tokens has 1 sentinels"):
        AutoTokenizer.from_pretrained(tmp_path, additional_special_tokens=["<extra_id_0>"])


def test_languages(tmp_path: Path) -> None:
    folder = make.mbart(tmp_path)
    with pytest.raises(TokenizerError, match="src_lang 'en_US' is not known.*Known are ar_AR, cs_CZ"):
        AutoTokenizer.from_pretrained(folder, src_lang="en_US")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    with pytest.raises(TokenizerError, match="tgt_lang 'fr_FR' is not known. Did you mean 'fr_XX'"):
        tokenizer.tgt_lang = "fr_FR"
    with pytest.raises(TokenizerError, match="set tokenizer.tgt_lang"):
        tokenizer("a", text_target="b")


class Evil:
    def __reduce__(self) -> Any:
        return print, ("a pickle ran code",)


def test_pickles_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make.folder(tmp_path, "transfo-xl")
    path = folder / "vocab.pkl"
    words = ["<unk>", "<eos>", "hello", "world", "<formula>"]
    good = {"idx2sym": words, "sym2idx": OrderedDict(zip(words, range(5), strict=True)), "unk_idx": 0}
    path.write_bytes(pickle.dumps(good))
    assert AutoTokenizer.from_pretrained(folder)("hello there world")["input_ids"] == [2, 0, 3]
    for content, message in (
        (pickle.dumps({**good, "evil": Evil()}), "asks for builtins.print"),
        (pickle.dumps({"a": 1}), "no list of words named idx2sym"),
        (pickle.dumps(good)[:-9], "no pickle that can be read"),
        (b"nonsense", "pickle"),
    ):
        path.write_bytes(content)
        with pytest.raises(TokenizerError, match=message):
            AutoTokenizer.from_pretrained(folder)
    assert "ran code" not in capsys.readouterr().out


def test_marian_files(tmp_path: Path) -> None:
    folder = make.marian(tmp_path)
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    with pytest.raises(TokenizerError, match="target_vocab.json is needed"):
        AutoTokenizer.from_pretrained(folder, separate_vocabs=True)
    order = [token for token in vocabulary if token != "<pad>"]
    make.write(folder / "vocab.json", {token: i for i, token in enumerate(order)})
    with pytest.raises(TokenizerError, match="lacks pad_token '<pad>'"):
        AutoTokenizer.from_pretrained(folder)
