"""Small vocabularies of every family, trained here, in folders as they are published."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from tokenizers import ByteLevelBPETokenizer, CharBPETokenizer

WORDS = """the a of and in to was his her their they it he she had with for on as by at from which who
said when then little rabbit hole Alice queen king garden white table door key bottle drink curious
mushroom caterpillar house transformer attention query value layer paper model language sequence token
vocabulary 1984 3,000 12.5 Paris London café naïve über straße élève mañana Ελλάδα Москва 日本 東京 don't
won't it's we've""".split()
ENDS = [".", "!", "?", ",", " ;", "..."]


def make_lines(count: int = 400, seed: int = 0) -> list[str]:
    """Sentences of random words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(3, 14))).capitalize() + draw.choice(ENDS) for _ in range(count)]


LINES = make_lines()


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def folder(path: Path, model_type: str | None, config: dict[str, Any] | None = None) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    if model_type:
        write(path / "config.json", {"model_type": model_type})
    if config is not None:
        write(path / "tokenizer_config.json", config)
    return path


def wordpiece(path: Path, model_type: str | None = "bert", **config: Any) -> Path:
    """vocab.txt: words, their ends, and letters."""
    folder(path, model_type, config)
    letters = sorted({letter for word in WORDS for letter in word + word.lower()} | set(".,!?;'\"-[]<>|#"))
    ends = [f"##{word[at:]}" for word in WORDS for at in (1, 2, 3) if len(word) > at]
    tokens = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [
        *WORDS,
        *(word.lower() for word in WORDS),
        *letters,
        *ends,
        *(f"##{letter}" for letter in letters),
    ]
    (path / "vocab.txt").write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    return path


def byte_level(path: Path, model_type: str | None, special: list[str], **config: Any) -> Path:
    """vocab.json and merges.txt over bytes."""
    folder(path, model_type, config)
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(LINES, vocab_size=420, special_tokens=special, show_progress=False)
    trainer.save_model(str(path))
    return path


def gpt2(path: Path, **config: Any) -> Path:
    return byte_level(path, "gpt2", ["<|endoftext|>"], **config)


def qwen2(path: Path, model_type: str = "qwen2", **config: Any) -> Path:
    return byte_level(path, model_type, ["<|endoftext|>", "<|im_start|>"], **config)


def roberta(path: Path, model_type: str = "roberta", **config: Any) -> Path:
    return byte_level(path, model_type, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], **config)


def gpt(path: Path, **config: Any) -> Path:
    """vocab.json and merges.txt over characters, with </w>."""
    folder(path, "openai-gpt", config)
    trainer = CharBPETokenizer(lowercase=True, suffix="</w>", unk_token="<unk>")
    trainer.train_from_iterator(LINES, vocab_size=350, min_frequency=1, show_progress=False)
    trainer.save_model(str(path))
    return path


def ctrl(path: Path) -> Path:
    """vocab.json with @@ and merges.txt with </w>, made of a GPT's."""
    gpt(folder(path, "ctrl"))
    folder(path, "ctrl")
    (path / "tokenizer_config.json").unlink()
    known = json.loads((path / "vocab.json").read_text(encoding="utf-8"))
    tokens = ["<unk>"] + [t.removesuffix("</w>") if t.endswith("</w>") else f"{t}@@" for t in known if t != "<unk>"]
    write(path / "vocab.json", {token: i for i, token in enumerate(dict.fromkeys(tokens))})
    return path


def transformer_xl(path: Path, **config: Any) -> Path:
    """vocab.txt of whole words."""
    folder(path, "transfo-xl", config)
    counts = Counter(word for line in LINES for word in line.split())
    words = ["<unk>", "<eos>", "<formula>", "@,@", "@.@", *".,!?;", *sorted(counts)]
    (path / "vocab.txt").write_text("".join(f"{word}\n" for word in dict.fromkeys(words)), encoding="utf-8")
    return path


def spm(path: Path, lines: list[str] = LINES, size: int = 300, **options: Any) -> Path:
    """A SentencePiece file."""
    import sentencepiece

    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=file,
            vocab_size=size,
            hard_vocab_limit=False,
            minloglevel=2,
            **{"model_type": "unigram", "character_coverage": 0.9999, **options},
        )
    return path


def t5(path: Path, **config: Any) -> Path:
    folder(path, "t5", config)
    spm(path / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return path


def albert(path: Path, **config: Any) -> Path:
    folder(path, "albert", config)
    symbols = ["[CLS]", "[SEP]", "[MASK]"]
    spm(path / "spiece.model", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=symbols)
    return path


def mbart(path: Path, **config: Any) -> Path:
    folder(path, "mbart", config)
    spm(path / "sentencepiece.bpe.model")
    return path


def nllb(path: Path, kind: str = "unigram", **config: Any) -> Path:
    folder(path, "m2m_100", {"tokenizer_class": "NllbTokenizer", **config})
    spm(path / "sentencepiece.bpe.model", model_type=kind)
    return path


def m2m100(path: Path, kind: str = "bpe", **config: Any) -> Path:
    """sentencepiece.bpe.model, a vocab.json of most of its pieces, and the languages among the special tokens."""
    import sentencepiece
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    codes = FAIRSEQ_LANGUAGE_CODES[config.get("language_codes", "m2m100")]
    folder(path, "m2m_100", {"additional_special_tokens": [f"__{code}__" for code in codes], **config})
    file = spm(path / "sentencepiece.bpe.model", model_type=kind)
    model = sentencepiece.SentencePieceProcessor(model_file=str(file))
    pieces = [model.id_to_piece(i) for i in range(3, model.get_piece_size() - 5)]
    write(path / "vocab.json", {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])})
    return path


def llama(path: Path, model_type: str = "llama", kind: str = "bpe", symbols: str = "", **config: Any) -> Path:
    """tokenizer.model: bytes for what is unknown, nothing replaced, every blank kept."""
    folder(path, model_type, config)
    options = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "split_digits": True}
    file, more = path / "tokenizer.model", {"user_defined_symbols": symbols.split()} if symbols else {}
    spm(file, size=560, model_type=kind, byte_fallback=True, allow_whitespace_only_pieces=True, **options, **more)
    return path


def pegasus(path: Path, **config: Any) -> Path:
    folder(path, "pegasus", config)
    spm(path / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return path


def marian(path: Path, **config: Any) -> Path:
    """source.spm, target.spm, and a vocab.json of most of the pieces of both."""
    import sentencepiece

    folder(path, "marian", {"source_lang": "fr", "target_lang": "en", **config})
    pieces: list[str] = []
    for name, seed in (("source.spm", 1), ("target.spm", 2)):
        file = spm(path / name, make_lines(seed=seed), size=250 + 20 * seed, bos_id=-1)
        model = sentencepiece.SentencePieceProcessor(model_file=str(file))
        pieces += [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    tokens = dict.fromkeys(["</s>", "<unk>", ">>fr<<", *pieces[:-20], "<pad>"])
    write(path / "vocab.json", {token: i for i, token in enumerate(tokens)})
    return path


def fsmt(path: Path, **config: Any) -> Path:
    """vocab-src.json, vocab-tgt.json of more pieces, and merges.txt with counts and no version."""
    folder(path, "fsmt", {"langs": ["en", "de"], **config})
    trainer = CharBPETokenizer(lowercase=False, suffix="</w>", unk_token="<unk>", bert_normalizer=False)
    trainer.train_from_iterator(LINES, vocab_size=450, min_frequency=1, show_progress=False)
    trainer.save_model(str(path))
    pieces = sorted(set(json.loads((path / "vocab.json").read_text(encoding="utf-8"))) - {"<unk>"})
    (path / "vocab.json").unlink()
    for name, some in (("vocab-src.json", pieces[25:]), ("vocab-tgt.json", pieces[-2:5:-1])):
        write(path / name, {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *some])})
    _, *merges = (path / "merges.txt").read_text(encoding="utf-8").splitlines()
    counted = [f"{merge} {1000 - i}\n" for i, merge in enumerate(merges)]
    (path / "merges.txt").write_text("".join(counted), encoding="utf-8")
    return path
