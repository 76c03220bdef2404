"""Learning a vocabulary from texts, and writing it as a tokenizer's folder in the Hub's format.

Three ways to learn one, as the architectures' authors did: WordPiece (BERT), byte-level BPE (GPT-2, BART) and
SentencePiece's unigram model (Marian, T5). The same texts give the same files, on every run and every machine:

* WordPiece and BPE join the most frequent pair of pieces, and among equals the pair with the lowest numbers. The
  trainer of ``tokenizers`` numbers the letters inside of words (``##a``) in the order of a hash table, which differs
  from run to run, and so then does the vocabulary. Handing it these letters as if they were special tokens numbers
  them for good.
* SentencePiece sums probabilities in an order that depends on the number of threads: one, here.

Papers: Sennrich et al. 2016 (BPE), Wu et al. 2016 (WordPiece), Kudo 2018 (unigram).
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, trainers

from minitransformer.errors import TrainingError
from minitransformer.files import together, write_whole
from minitransformer.tokenization import AutoTokenizer
from minitransformer.tokenization.auto import CLASSES, check_overrides
from minitransformer.tokenization.auto import FAMILIES as OF_ARCHITECTURE
from minitransformer.tokenization.base import Tokenizer
from minitransformer.tokenization.bounds import MOST_PIECES
from minitransformer.tokenization.sentencepiece import Piece, read_model

Kind = Literal["wordpiece", "byte-bpe", "sentencepiece"]

FAMILIES: dict[Kind, dict[str, str]] = {
    "wordpiece": {"bert": "BertTokenizer", "distilbert": "DistilBertTokenizer", "electra": "ElectraTokenizer"},
    "byte-bpe": {"gpt2": "GPT2Tokenizer", "roberta": "RobertaTokenizer", "bart": "BartTokenizer"},
    "sentencepiece": {
        "marian": "MarianTokenizer",
        "transformer": "MarianTokenizer",
        "t5": "T5Tokenizer",
        "albert": "AlbertTokenizer",
    },
}
"""Kind of vocabulary -> architecture -> the tokenizer that frames its texts."""

SPECIAL = {
    "wordpiece": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "GPT2Tokenizer": ["<|endoftext|>"],
    "byte-bpe": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}
SENTENCEPIECE: dict[str, dict[str, Any]] = {  # which pieces come first, beside those of the texts
    "MarianTokenizer": {"eos_id": 0, "unk_id": 1, "bos_id": -1, "pad_id": -1},
    "T5Tokenizer": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "AlbertTokenizer": {
        "pad_id": 0,
        "unk_id": 1,
        "bos_id": -1,
        "eos_id": -1,
        "control_symbols": ["[CLS]", "[SEP]"],
        "user_defined_symbols": ["[MASK]"],
    },
}
LETTERS = 1000
"""WordPiece: the most letters of their own; rarer ones are unknown (so did BERT's authors)."""


def learn_tokenizer(
    folder: Path,
    texts: Sequence[str],
    *,
    kind: Kind,
    architecture: str,
    vocab_size: int,
    lowercase: bool = False,
    letters: int | None = None,
    target_texts: Sequence[str] | None = None,
    **settings: Any,
) -> Tokenizer:
    """Learn a vocabulary and write it, with everything that opens it as a tokenizer.

    Args:
        folder: made if it does not exist.
        texts: what to learn from.
        kind: "wordpiece", "byte-bpe" or "sentencepiece".
        architecture: ``model_type`` of the model that will read the tokens; it decides on the special tokens.
        vocab_size: the most pieces, special tokens included (but for T5's sentinels); small texts may give fewer.
        lowercase: whether case is forgotten.
        letters: WordPiece: the most letters that are pieces of their own; ``LETTERS`` if not given.
        target_texts: Marian: what the model writes, for a second cut of its own; by default both sides share one.
        settings: of the tokenizer's family: special tokens, ``model_max_length``, ``extra_ids``, ...

    Raises:
        TrainingError: the kind does not suit the architecture, the texts are empty, or the size leaves no room.
        TokenizerError: a setting that the family does not have.
    """
    families = FAMILIES[kind]
    registered = OF_ARCHITECTURE.get(architecture)
    if architecture not in families and registered is not None and registered.class_name in families.values():
        families = {architecture: registered.class_name}  # of another package, with a tokenizer of ours
    if architecture not in families:
        suited = [k for k, names in FAMILIES.items() if architecture in names]
        remedy = f"use {' or '.join(map(repr, suited))}" if suited else "take a tokenizer from a folder with from = ..."
        raise TrainingError(f"a vocabulary of kind {kind!r} does not suit the architecture {architecture!r}: {remedy}")
    if not any(text.strip() for text in texts):
        raise TrainingError("there is no text to learn a vocabulary from: the training files are empty")
    if kind == "byte-bpe" and lowercase:
        raise TrainingError("a byte-bpe vocabulary keeps case: leave lowercase out")
    if kind != "wordpiece" and letters is not None:
        raise TrainingError(f"letters belongs to a vocabulary of kind 'wordpiece', not {kind!r}: leave it out")
    if not 1 <= vocab_size <= MOST_PIECES:
        raise TrainingError(f"vocab_size must be from 1 to {MOST_PIECES:,}, not {vocab_size}")
    family = families[architecture]
    check_overrides(CLASSES[family], settings)  # before anything is learnt
    files: dict[str, str | bytes]
    if kind == "wordpiece":
        pieces = learn_wordpiece(texts, vocab_size, lowercase=lowercase, letters=letters)
        files = {"vocab.txt": "".join(f"{piece}\n" for piece in pieces)}
        settings = {"do_lower_case": lowercase, **settings}
    elif kind == "byte-bpe":
        files = _byte_bpe_files(learn_byte_bpe(texts, vocab_size, SPECIAL.get(family, SPECIAL[kind])))
    else:
        options = {**SENTENCEPIECE[family], "lowercase": lowercase}
        if family == "AlbertTokenizer":
            settings = {"do_lower_case": lowercase, **settings}
        if family == "MarianTokenizer":
            files = _marian_files(texts, target_texts, vocab_size, options)
        else:
            files = {"spiece.model": learn_sentencepiece(texts, vocab_size, **options)}
    with together(folder):
        for name, content in files.items():
            write_whole(folder / name, content)
    tokenizer = AutoTokenizer.from_pretrained(folder, tokenizer_class=family, **settings)
    tokenizer.save_pretrained(folder)
    return tokenizer


def learn_wordpiece(texts: Sequence[str], vocab_size: int, *, lowercase: bool, letters: int | None = None) -> list[str]:
    """The pieces of a WordPiece vocabulary by id, special tokens first."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text))
    ranked = sorted((letter for letter in counts if not letter.isspace()), key=lambda x: (-counts[x], x))
    alphabet = sorted(ranked[: LETTERS if letters is None else letters])

    def learn(special: list[str], size: int) -> dict[str, int]:
        backend = Backend(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer = normalizer
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=size,
            special_tokens=special,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return backend.get_vocab()

    special = SPECIAL["wordpiece"]
    least = learn(special, 0)  # no room for a join: letters, and letters inside of words
    _check_room(vocab_size, len(least))
    inside = sorted(piece for piece in least if piece.startswith("##") and len(piece) == 3)
    pieces = learn(special + inside, vocab_size)
    return sorted(pieces, key=lambda piece: pieces[piece])


def learn_byte_bpe(texts: Sequence[str], vocab_size: int, special: list[str]) -> Backend:
    """A byte-level BPE vocabulary; every byte is a piece, so that no text is unknown."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    _check_room(vocab_size, len(alphabet) + len(special))
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return backend


def learn_sentencepiece(texts: Sequence[str], vocab_size: int, *, lowercase: bool = False, **options: Any) -> bytes:
    """The contents of a SentencePiece file with a unigram model."""
    try:
        import sentencepiece
    except ImportError as error:
        raise TrainingError(
            "to learn a vocabulary of kind 'sentencepiece' needs the package of that name: "
            "pip install 'minitransformer[train]'"
        ) from error
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    file = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=file,
            model_type="unigram",
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=0.9999,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            max_sentence_length=max(len(line.encode("utf-8", errors="replace")) for line in lines) + 1,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    except (RuntimeError, OSError) as error:
        raise TrainingError(f"SentencePiece could not learn {vocab_size} pieces from these texts: {error}") from error
    return file.getvalue()


def _byte_bpe_files(backend: Backend) -> dict[str, str | bytes]:
    """vocab.json and merges.txt, which the ``tokenizers`` library writes to a folder only."""
    with TemporaryDirectory() as temporary:
        return {path.name: path.read_bytes() for path in map(Path, backend.model.save(temporary))}


def _marian_files(
    texts: Sequence[str], target_texts: Sequence[str] | None, vocab_size: int, options: dict[str, Any]
) -> dict[str, str | bytes]:
    """source.spm, target.spm, and vocab.json over both: </s> and <unk> first, <pad> last, as OPUS-MT has them."""
    source = learn_sentencepiece(texts, vocab_size - 1, **options)
    target = source if target_texts is None else learn_sentencepiece(target_texts, vocab_size - 1, **options)
    pieces = [piece.text for model in (source, target) for piece in _pieces(model)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, "<pad>"]))}
    text = json.dumps(vocabulary, ensure_ascii=False, indent=0)
    return {"source.spm": source, "target.spm": target, "vocab.json": text}


def _pieces(model: bytes) -> list[Piece]:
    with TemporaryDirectory() as temporary:
        path = Path(temporary, "spiece.model")
        path.write_bytes(model)
        return read_model(path).pieces


def _check_room(vocab_size: int, needed: int) -> None:
    if vocab_size < needed:
        raise TrainingError(f"vocab_size = {vocab_size} has no room for the {needed} letters and special tokens")
