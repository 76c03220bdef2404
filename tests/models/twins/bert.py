from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "type_vocab_size": 3,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
BASE = ("encoder", CONFIG)
ACTIVATIONS = {"": {}, "gelu_new": {"hidden_act": "gelu_new"}, "relu": {"hidden_act": "relu"}}
TYPES = {"token_types": 3}
TWINS = [
    *twins("BertModel", "", *BASE, ACTIVATIONS, **TYPES),
    *twins(
        "BertForPreTraining",
        "ForPreTraining",
        *BASE,
        {"": {}, "untied": {"tie_word_embeddings": False}},
        labels=("words", "next"),
        **TYPES,
    ),
    *twins("BertForMaskedLM", "ForMaskedLM", *BASE, {"": {}, "untied": {"tie_word_embeddings": False}}, **TYPES),
    *twins("BertForNextSentencePrediction", "ForNextSentencePrediction", *BASE, **TYPES),
    *twins("BertForSequenceClassification", "ForSequenceClassification", *BASE, LABELS, **TYPES),
    *twins("BertForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}, **TYPES),
    *twins("BertForQuestionAnswering", "ForQuestionAnswering", *BASE, **TYPES),
]
