"""What the parity tests of the encoders do not reach: positions from ids, sinusoids, sharing, and what is refused."""

from __future__ import annotations

import pytest
import torch
from models.twins import albert, bert, distilbert, electra, roberta
from models.twins.twin import random_ids

from minitransformer import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForNextSentencePrediction,
    AutoModelForPreTraining,
    AutoModelForSequenceClassification,
)
from minitransformer.errors import CheckpointError, ConfigError
from minitransformer.models.albert import AlbertConfig, AlbertModel
from minitransformer.models.distilbert import DistilBertConfig, DistilBertForMaskedLM, DistilBertModel
from minitransformer.models.electra import ElectraConfig, ElectraForPreTraining, ElectraModel
from minitransformer.models.roberta import RobertaConfig, RobertaModel
from minitransformer.testing import assert_same, reference_twin

CONFIGS = {"albert": AlbertConfig, "distilbert": DistilBertConfig, "electra": ElectraConfig, "roberta": RobertaConfig}
TWINS = {"albert": albert, "distilbert": distilbert, "electra": electra, "roberta": roberta}


@pytest.mark.parametrize("model_type", CONFIGS)
@pytest.mark.parametrize(
    "changes",
    [{"is_decoder": True}, {"add_cross_attention": True}, {"position_embedding_type": "relative_key_query"}],
    ids=lambda changes: next(iter(changes)),
)
def test_variants_that_are_not_supported(model_type, changes):
    if model_type == "distilbert" and "position_embedding_type" in changes:
        pytest.skip("no such variant exists")
    (key, value) = next(iter(changes.items()))
    with pytest.raises(ConfigError, match=f"{model_type} with {key}={value!r} is not supported"):
        AutoConfig.from_dict({"model_type": model_type, **changes})


@pytest.mark.parametrize(
    ("model_class", "config", "parameters"),
    [
        (DistilBertModel, {}, 66_362_880),
        (RobertaModel, {"max_position_embeddings": 514, "type_vocab_size": 1}, 124_645_632),
        (AlbertModel, {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}, 11_683_584),
        (ElectraModel, {}, 13_483_008),  # small
        (
            ElectraModel,
            {"embedding_size": 768, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            108_891_648,
        ),
    ],
)
def test_published_sizes(model_class, config, parameters):
    with torch.device("meta"):
        assert model_class(model_class.CONFIG.from_hf(config)).num_parameters() == parameters


# ------------------------------------------------------------------------------------------------------- RoBERTa


@pytest.fixture(scope="module")
def roberta_pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roberta")
    reference = reference_twin("RobertaModel", **roberta.CONFIG)
    reference.save_pretrained(folder)
    return AutoModel.from_pretrained(folder, dtype=torch.float64), reference


def test_roberta_counts_positions_by_ids_not_by_the_mask(roberta_pair):
    ours, reference = roberta_pair
    ids = random_ids(2, 7)
    ids[0, 2], ids[1, 0] = 1, 1  # padding ids inside a text and at its head
    assert ours.positions(ids).tolist() == [[2, 3, 1, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]]
    mask = torch.ones_like(ids)
    mask[0, 4] = 0  # hides a token that is no padding
    assert_same(ours, reference, {"input_ids": ids, "attention_mask": mask})
    assert_same(ours, reference, {"input_ids": ids})


def test_roberta_has_fewer_positions_than_rows(roberta_pair):
    ours, _ = roberta_pair
    assert ours.config.num_positions == 22 and ours.config.max_positions == 20
    assert ours(random_ids(1, 20)).last_hidden_state.shape == (1, 20, 24)
    with pytest.raises(ValueError, match="position 22 does not exist"):
        ours(random_ids(1, 21))


def test_roberta_needs_a_padding_id():
    for pad in (None, -1, 511):
        with pytest.raises(
            ConfigError,
            match=f"pad_token_id (of roberta must be a position|must be an id of the vocabulary), .*, not {pad}",
        ):
            AutoConfig.from_dict({"model_type": "roberta", "pad_token_id": pad})


# ---------------------------------------------------------------------------------------------------- DistilBERT


def test_distilbert_begins_with_the_references_sinusoids():
    transformers = pytest.importorskip("transformers")
    raw = {**distilbert.CONFIG, "sinusoidal_pos_embds": True}
    reference = transformers.DistilBertModel(transformers.DistilBertConfig(**raw)).embeddings.position_embeddings.weight
    for model in (
        DistilBertModel.from_config(DistilBertConfig.from_hf(raw)),
        DistilBertForMaskedLM.from_config(DistilBertConfig.from_hf(raw)).backbone,
    ):
        table = model.embeddings.position.weight
        torch.testing.assert_close(table, reference, atol=1e-7, rtol=0)
        assert not table.requires_grad and not reference.requires_grad
    learned = DistilBertModel.from_config(DistilBertConfig.from_hf(distilbert.CONFIG)).embeddings.position.weight
    assert learned.requires_grad and learned.abs().max() < 0.2


def test_distilbert_takes_no_token_types():
    model = DistilBertModel.from_config(DistilBertConfig.from_hf(distilbert.CONFIG))
    assert model.forward_parameters() == {"input_ids", "attention_mask"}
    with pytest.raises(TypeError, match="token_type_ids"):
        model(random_ids(1, 3), token_type_ids=torch.zeros(1, 3, dtype=torch.long))


# -------------------------------------------------------------------------------------------------------- ALBERT


def test_albert_shares_blocks_among_layers():
    raw = {**albert.CONFIG, "num_hidden_layers": 6, "num_hidden_groups": 2, "inner_group_num": 3}
    model = AlbertModel.from_config(AlbertConfig.from_hf(raw))
    deeper = AlbertModel.from_config(AlbertConfig.from_hf({**raw, "num_hidden_layers": 12}))
    assert model.num_parameters() == deeper.num_parameters()
    ids = random_ids(2, 5)
    out = model(ids, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == 7 and len(out.attentions) == 18
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state)
    by_hand = out.hidden_states[0]
    for layer in range(6):
        by_hand = model.encoder.groups[layer // 3](by_hand)
        torch.testing.assert_close(by_hand, out.hidden_states[layer + 1])


def test_albert_with_more_blocks_in_a_group_than_layers():
    """Where the reference fails: it looks up a head mask that the group does not have."""
    transformers = pytest.importorskip("transformers")
    raw = {**albert.CONFIG, "num_hidden_layers": 2, "num_hidden_groups": 2, "inner_group_num": 2}
    with pytest.raises(IndexError):
        transformers.AlbertModel(transformers.AlbertConfig(**raw))(random_ids(1, 3))
    out = AlbertModel.from_config(AlbertConfig.from_hf(raw))(random_ids(1, 3), output_attentions=True)
    assert len(out.attentions) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_groups": 0}, "num_hidden_groups must be from 1 to 1000, not 0"),
        ({"num_hidden_groups": 5}, "num_hidden_groups must be 1 to num_hidden_layers 4: 5"),
        ({"inner_group_num": 0}, "inner_group_num must be from 1 to 1000, not 0"),
    ],
)
def test_albert_groups_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        AlbertConfig.from_hf({**albert.CONFIG, **changes})


def test_bert_pretraining_is_both_of_its_heads(tmp_path):
    reference_twin("BertForPreTraining", **bert.CONFIG).save_pretrained(tmp_path)
    model = AutoModelForPreTraining.from_pretrained(tmp_path)
    ids = random_ids(2, 5)
    assert model(ids, labels=ids).loss is None
    assert model(ids, labels=ids, next_sentence_label=torch.tensor([0, 1])).loss > 0
    assert model(ids).keys() == ["prediction_logits", "seq_relationship_logits"]
    words = AutoModelForMaskedLM.from_pretrained(tmp_path)  # the file serves either alone, too
    assert torch.equal(words(ids).logits, model(ids).prediction_logits)
    order = AutoModelForNextSentencePrediction.from_pretrained(tmp_path)
    assert torch.equal(order(ids).logits, model(ids).seq_relationship_logits)


def test_albert_pretraining_wants_both_labels(tmp_path):
    reference_twin("AlbertForPreTraining", **albert.CONFIG).save_pretrained(tmp_path)
    model = AutoModelForPreTraining.from_pretrained(tmp_path)
    ids = random_ids(2, 5)
    assert model(ids, labels=ids).loss is None
    assert model(ids, labels=ids, sentence_order_label=torch.tensor([0, 1])).loss > 0
    assert model(ids).keys() == ["prediction_logits", "sop_logits"]
    words = AutoModelForMaskedLM.from_pretrained(tmp_path)  # the file serves it too
    assert torch.equal(words(ids).logits, model(ids).prediction_logits)


# ------------------------------------------------------------------------------------------------------- ELECTRA


def test_electra_projects_only_where_widths_differ():
    assert ElectraModel(ElectraConfig.from_hf({**electra.CONFIG, "embedding_size": 24})).embeddings_project is None
    project = ElectraModel(ElectraConfig.from_hf(electra.CONFIG)).embeddings_project
    assert project is not None and project.weight.shape == (24, 12)


def test_a_discriminator_fills_no_masks(tmp_path):
    reference_twin("ElectraForPreTraining", **electra.CONFIG).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"(?s)5 missing:.*generator_predictions.dense.*no such head"):
        AutoModelForMaskedLM.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no such head"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, allow_missing_head=False)
    model = AutoModelForPreTraining.from_pretrained(tmp_path)
    assert isinstance(model, ElectraForPreTraining)


def test_replaced_tokens_are_counted_where_they_have_a_label():
    torch.manual_seed(0)
    model = ElectraForPreTraining.from_config(ElectraConfig.from_hf(electra.CONFIG)).eval()
    ids, labels = random_ids(2, 6), random_ids(2, 6, vocab_size=2, first=0)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    ignored = labels.masked_fill(mask == 0, -100)
    a, b = model(ids, mask, labels=labels), model(ids, mask, labels=ignored)
    assert a.logits.shape == (2, 6) and a.loss == b.loss
    assert model(ids, labels=labels).loss != a.loss
