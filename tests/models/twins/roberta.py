from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 22,  # for 20 tokens: positions count from pad_token_id + 1
    "pad_token_id": 1,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-5,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
BASE = ("encoder", CONFIG)
TYPES = {"token_types": 3}
PADS = {
    "": {},
    "pad_first": {"pad_token_id": 0, "max_position_embeddings": 21},
    "pad_later": {"pad_token_id": 3, "max_position_embeddings": 24},
    "relu": {"hidden_act": "relu"},
}
ONE_TYPE = {"one_type": {"type_vocab_size": 1}}
TIES = {"untied": {"tie_word_embeddings": False}}
TWINS = [
    *twins("RobertaModel", "", *BASE, PADS, **TYPES),
    *twins("RobertaModel", "", *BASE, ONE_TYPE),
    *twins("RobertaForMaskedLM", "ForMaskedLM", *BASE, {**PADS, **TIES}, **TYPES),
    *twins("RobertaForSequenceClassification", "ForSequenceClassification", *BASE, LABELS, **TYPES),
    *twins("RobertaForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}, **TYPES),
    *twins("RobertaForQuestionAnswering", "ForQuestionAnswering", *BASE, **TYPES),
]
