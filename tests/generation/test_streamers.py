"""Text comes in whole words and whole characters, and adds up to the decoded ids."""

from __future__ import annotations

import queue
import random
from threading import Thread

import pytest
import torch
from generation.toy import BytesTokenizer, ToyLM
from hypothesis import given
from hypothesis import strategies as st
from pipelines.families import Families

from minitransformer.errors import GenerationError, TokenizerError
from minitransformer.generation import TextIteratorStreamer, TextStreamer, generate, stream_text
from minitransformer.generation.streamers import TextPieces
from minitransformer.tokenization.ids_to_text import IdsToText

TEXT = "The café opens.\nNaïve 你好世界 words 😀😀 and\n\n\ttabs  "


def pieces_of(text: str, seed: int | None = None) -> list[str]:
    tokenizer = BytesTokenizer()
    ids = tokenizer(text)["input_ids"]
    pieces, found = TextPieces(tokenizer), []
    random.seed(seed)
    while ids:
        n = 1 if seed is None else random.randint(1, 7)
        found.append(pieces.add(ids[:n]))
        ids = ids[n:]
    return [*found, pieces.end()]


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_pieces_are_final(seed):
    found = pieces_of(TEXT, seed)
    assert "".join(found) == TEXT
    assert not any("\ufffd" in piece for piece in found)


def test_pieces_are_words_or_ideographs():
    assert [piece for piece in pieces_of("one café\ntwo 你好 end")[:-1] if piece] == [
        "one ", "café\n", "two ", "你", "好", " ",
    ]  # fmt: skip


def test_bytes_that_are_no_text_do_not_stop_the_stream():
    tokenizer = BytesTokenizer()
    broken = [*tokenizer("a ")["input_ids"], tokenizer("é")["input_ids"][0], *tokenizer(" b c")["input_ids"]]
    pieces = TextPieces(tokenizer)
    assert "".join([*(pieces.add([i]) for i in broken), pieces.end()]) == tokenizer.decode(broken)


class SpacesBetween:
    """Decodes like a tokenizer of words: no space before the first one."""

    def decode(self, ids, **options):
        return " ".join("line\n" if i == 0 else f"w{i}" for i in ids)


def test_spaces_behind_a_line_break_survive():
    ids = [1, 2, 0, 3, 4, 0, 0, 5, 6]
    pieces = TextPieces(SpacesBetween())
    assert "".join([*(pieces.add([i]) for i in ids), pieces.end()]) == SpacesBetween().decode(ids)


class Joins:
    """Decodes like a tokenizer that takes blanks away again."""

    words = ("do", "n", "'", "t", "we", "ve", ".", "go", "\n")

    def joins_words(self, clean_up_tokenization_spaces=None):
        return True

    def decode(self, ids, **options):
        return IdsToText.clean_up_tokenization(" ".join(self.words[i] for i in ids))


@given(ids=st.lists(st.integers(0, len(Joins.words) - 1), max_size=12))
def test_words_that_are_joined_later(ids):
    """ "do", "do n", "do n '", but then "don't"."""
    pieces = TextPieces(Joins())
    assert "".join([*(pieces.add([i]) for i in ids), pieces.end()]) == Joins().decode(ids)
    pieces = TextPieces(Joins())
    assert "".join(pieces.add([i]) for i in [7] * 9) == "go " * 6  # the last words wait, the others do not


@pytest.fixture(scope="module")
def families(tmp_path_factory) -> Families:
    return Families(tmp_path_factory.mktemp("families"))


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
@pytest.mark.parametrize("clean", [None, True])
@pytest.mark.parametrize("family", ["gpt2", "gpt", "ctrl", "transformer-xl", "bart", "t5", "mbart", "marian", "fsmt"])
@given(data=st.data())
def test_pieces_of_any_tokens_add_up(family, clean, families, data):
    tokenizer = families.tokenizer(family)
    options = {"skip_special_tokens": data.draw(st.booleans()), "clean_up_tokenization_spaces": clean}
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=15))
    try:
        whole = tokenizer.decode(ids, **options)
    except TokenizerError:  # FSMT and Marian: an id of the other side's vocabulary
        return
    pieces = TextPieces(tokenizer, **options)
    found = [*(pieces.add([i]) for i in ids), pieces.end()]
    assert "".join(found) == whole
    assert "\ufffd" in whole or not any("\ufffd" in piece for piece in found)


def test_printing(capsys):
    tokenizer = BytesTokenizer()
    prompt = torch.tensor([tokenizer("&(+")["input_ids"]])
    expected = tokenizer.decode(generate(ToyLM(), prompt, max_new_tokens=9)[0].tolist())
    generate(ToyLM(), prompt, max_new_tokens=9, streamer=TextStreamer(tokenizer))
    assert capsys.readouterr().out == expected + "\n"
    generate(ToyLM(), prompt, max_new_tokens=9, streamer=TextStreamer(tokenizer, skip_prompt=True))
    assert capsys.readouterr().out == expected[3:] + "\n"


def test_iterating_in_another_thread():
    tokenizer = BytesTokenizer()
    prompt = torch.tensor([tokenizer("&(+")["input_ids"]])
    expected = tokenizer.decode(generate(ToyLM(), prompt, max_new_tokens=9)[0].tolist())
    streamer = TextIteratorStreamer(tokenizer, timeout=20)
    thread = Thread(target=generate, args=(ToyLM(), prompt), kwargs={"max_new_tokens": 9, "streamer": streamer})
    thread.start()
    assert "".join(streamer) == expected
    thread.join()
    with pytest.raises(queue.Empty):
        next(TextIteratorStreamer(tokenizer, timeout=0.01))


def test_an_error_ends_the_stream():
    streamer = TextIteratorStreamer(BytesTokenizer(), timeout=20)

    def fail(ids, scores):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        generate(ToyLM(), torch.tensor([[3]]), streamer=streamer, logits_processor=[fail])
    assert "".join(streamer) == BytesTokenizer().decode([3])


def test_one_text_without_beams():
    streamer = TextStreamer(BytesTokenizer())
    with pytest.raises(GenerationError, match="batch of 2"):
        generate(ToyLM(), torch.tensor([[3], [4]]), streamer=streamer)
    with pytest.raises(GenerationError, match="num_beams=1"):
        generate(ToyLM(), torch.tensor([[3]]), streamer=streamer, num_beams=2)


def test_text_in_text_out():
    tokenizer = BytesTokenizer()
    ids = torch.tensor([tokenizer("&(+")["input_ids"]])
    expected = tokenizer.decode(generate(ToyLM(), ids, max_new_tokens=9)[0, 3:].tolist())
    assert "".join(stream_text(ToyLM(), tokenizer, "&(+", max_new_tokens=9)) == expected
