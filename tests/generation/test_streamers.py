"""Text comes in whole words and whole characters, and adds up to the decoded ids."""

from __future__ import annotations

import queue
import random
from threading import Thread

import pytest
import torch
from generation.toy import BytesTokenizer, ToyLM

from minitransformer.errors import GenerationError
from minitransformer.generation import TextIteratorStreamer, TextStreamer, generate, stream_text
from minitransformer.generation.streamers import TextPieces

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
