from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "embedding_size": 12,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-5,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
BASE = ("encoder", CONFIG)
TYPES = {"token_types": 3}
VARIANTS = {"": {}, "no_projection": {"embedding_size": 24}, "relu": {"hidden_act": "relu"}}
TIES = {"untied": {"tie_word_embeddings": False}}
TWINS = [
    *twins("ElectraModel", "", *BASE, VARIANTS, **TYPES),
    *twins("ElectraForPreTraining", "ForPreTraining", *BASE, VARIANTS, labels=("replaced",), **TYPES),
    *twins("ElectraForMaskedLM", "ForMaskedLM", *BASE, {**VARIANTS, **TIES}, **TYPES),
    *twins("ElectraForSequenceClassification", "ForSequenceClassification", *BASE, LABELS, **TYPES),
    *twins("ElectraForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}, **TYPES),
    *twins("ElectraForQuestionAnswering", "ForQuestionAnswering", *BASE, **TYPES),
]
