from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "embedding_size": 12,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-5,
    "classifier_dropout_prob": 0.0,
}
BASE = ("encoder", CONFIG)
TYPES = {"token_types": 3}
SHARING = {
    "": {},
    "groups": {"num_hidden_groups": 2},
    "inner": {"inner_group_num": 3},
    "groups_and_inner": {"num_hidden_groups": 2, "inner_group_num": 2},
    "uneven_groups": {"num_hidden_layers": 5, "num_hidden_groups": 2},
    "nothing_shared": {"num_hidden_groups": 4},
    "gelu": {"hidden_act": "gelu"},
    "square": {"embedding_size": 24},
}
WORDS = {
    "": {},
    "groups_and_inner": SHARING["groups_and_inner"],
    "gelu": {"hidden_act": "gelu"},
    "untied": {"tie_word_embeddings": False},
}
PRETRAINING = {"": {}, "untied": {"tie_word_embeddings": False}}
TWINS = [
    *twins("AlbertModel", "", *BASE, SHARING, **TYPES),
    *twins("AlbertForPreTraining", "ForPreTraining", *BASE, PRETRAINING, labels=("words", "order"), **TYPES),
    *twins("AlbertForMaskedLM", "ForMaskedLM", *BASE, WORDS, **TYPES),
    *twins("AlbertForSequenceClassification", "ForSequenceClassification", *BASE, LABELS, **TYPES),
    *twins("AlbertForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}, **TYPES),
    *twins("AlbertForQuestionAnswering", "ForQuestionAnswering", *BASE, **TYPES),
]
