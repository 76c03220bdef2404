"""What heads look at, on patterns made by hand; what weights say, against the definitions written out."""

from __future__ import annotations

import pytest
import torch
from study.subjects import ONE_OF_EACH, inputs_of, subject, twin_named

from minitransformer import study
from minitransformer.study.detectors import KINDS, per_head


def put(model, inputs, pattern):
    """The detectors' scores if every head had this pattern."""
    from minitransformer import trace

    with trace(model, edit={"*.attn.pattern": lambda x: pattern.expand_as(x).clone()}):
        return study.heads(model, inputs, separators=[2])


@pytest.mark.parametrize("side", ["right", "left"])
def test_each_kind_is_one_on_its_own_pattern(side: str) -> None:
    twin = twin_named("BertForMaskedLM")
    model = subject(twin)
    ids = torch.tensor([[5, 6, 7, 5, 6, 2], [0] * 6])
    mask = torch.ones_like(ids)
    mask[1] = 0
    mask[1, :3] = 1
    ids[1, :3] = torch.tensor([9, 10, 2])
    if side == "left":
        ids[1], mask[1] = ids[1].roll(3), mask[1].roll(3)
    inputs = {"input_ids": ids, "attention_mask": mask}
    T = ids.shape[1]
    eye = torch.eye(T, dtype=torch.float64)
    for kind, pattern in {"self": eye, "previous": eye.roll(-1, 1), "next": eye.roll(1, 1)}.items():
        scores = put(model, inputs, pattern[None, None])
        assert float(scores.at(attention="encoder.blocks.1.attn", head=0, kind=kind)) == pytest.approx(1.0), kind
        for other in {"previous", "self"} - {kind}:  # of a pattern that never looks ahead, "next" is not told
            expected = 0.0
            assert float(scores.at(attention="encoder.blocks.0.attn", head=1, kind=other)) == pytest.approx(expected)
    first = torch.zeros(2, 1, T, T, dtype=torch.float64)
    first[0, :, :, 0] = 1
    first[1, :, :, 0 if side == "right" else 3] = 1
    assert float(put(model, inputs, first).at(attention=0, head=0, kind="first")) == pytest.approx(1.0)
    last = torch.zeros(2, 1, T, T, dtype=torch.float64)
    last[0, :, :, 5] = 1
    last[1, :, :, 2 if side == "right" else 5] = 1
    assert float(put(model, inputs, last).at(attention=0, head=0, kind="separator")) == pytest.approx(1.0)
    again = torch.zeros(2, 1, T, T, dtype=torch.float64)
    again[0, 0, [3, 4, 0, 1], [0, 1, 3, 4]] = 1  # the other place of the same word
    assert float(put(model, inputs, again).at(attention=0, head=0, kind="duplicate")) == pytest.approx(1.0)


def test_induction_is_what_came_next_last_time() -> None:
    twin = twin_named("GPT2LMHeadModel")
    model = subject(twin)
    ids = study.repeated_tokens(60, rows=3, period=6)
    assert torch.equal(ids[:, :6], ids[:, 6:]) and all(len(set(row[:6].tolist())) == 6 for row in ids)
    looks = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    for t in range(12):
        looks[..., t, t - 5 if t >= 6 else 0] = 1
    scores = put(model, {"input_ids": ids}, looks)
    assert float(scores.at(attention=0, head=0, kind="induction")) == pytest.approx(1.0)
    assert scores.axes == ("attention", "head", "kind") and scores.names("kind") == KINDS
    with pytest.raises(study.StudyError, match="a period of 60"):
        study.repeated_tokens(60, period=60)


@pytest.mark.parametrize("twin", ONE_OF_EACH, ids=str)
def test_every_architecture_has_scores_for_every_attention_to_itself(twin) -> None:
    model, inputs = subject(twin), inputs_of(twin, [8, 5])
    scores = study.heads(model, inputs)
    assert float(scores.at(kind="self").values.nan_to_num().max()) <= 1
    assert all("cross" not in name for name in scores.names("attention"))
    if twin.kind == "encoder-decoder":
        assert any("decoder" in name for name in scores.names("attention"))


def test_copying_is_told_by_the_eigenvalues_of_the_whole_circuit() -> None:
    model = subject(twin_named("GPT2LMHeadModel"))
    table = model.backbone.embeddings.word.weight.detach()
    attn = model.backbone.decoder.blocks[1].attn
    _, _, v, o = per_head(attn)
    values = torch.linalg.eigvals(table @ o[2].detach() @ v[2].detach() @ table.T)
    expected = values.real.sum() / values.abs().sum()
    found = study.copying(model, table).at(attention="decoder.blocks.1.attn", head=2)
    assert float(found) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("kind", ["query", "key", "value"])
def test_composition_is_a_ratio_of_frobenius_norms(kind: str) -> None:
    model = subject(twin_named("T5ForConditionalGeneration"))
    names = ("encoder.blocks.0.attn", "encoder.blocks.2.attn")
    one, two = (model.get_submodule(f"backbone.{name}") for name in names)
    _, _, v1, o1 = per_head(one)
    q, k, v2, o2 = per_head(two)
    B = o1[1] @ v1[1]
    A = {"query": k[3].T @ q[3], "key": q[3].T @ k[3], "value": o2[3] @ v2[3]}[kind]
    expected = float(((A @ B).norm() / (A.norm() * B.norm())).detach())
    found = study.composition(model, *names).at(earlier=1, later=3, kind=kind)
    assert float(found) == pytest.approx(expected, abs=1e-9)


def test_words_receive_what_their_pieces_do_and_give_their_mean() -> None:
    pattern = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.5, 0.1, 0.2, 0.2], [0.3, 0.3, 0.2, 0.2], [0.25] * 4])
    words = study.to_words(pattern, [None, 0, 0, 1])
    torch.testing.assert_close(words, torch.tensor([[(0.3 + 0.5) / 2, 0.2], [0.5, 0.25]]))


def test_a_model_without_attention_says_so() -> None:
    with pytest.raises(study.StudyError, match="no tap called attn.pattern"):
        study.heads(torch.nn.Linear(2, 2).eval(), {"input_ids": torch.ones(1, 2, dtype=torch.long)})
    with pytest.raises(study.StudyError, match="query, key, value, output, num_heads"):
        study.copying(torch.nn.Linear(2, 2), torch.ones(3, 2))
