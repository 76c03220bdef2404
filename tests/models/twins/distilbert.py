from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "dim": 24,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 40,
    "max_position_embeddings": 20,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "qa_dropout": 0.0,
    "seq_classif_dropout": 0.0,
}
BASE = ("encoder", CONFIG)
VARIANTS = {"": {}, "relu": {"activation": "relu"}, "sinusoidal": {"sinusoidal_pos_embds": True}}
TIES = {"untied": {"tie_word_embeddings": False}}
TWINS = [
    *twins("DistilBertModel", "", *BASE, VARIANTS),
    *twins("DistilBertForMaskedLM", "ForMaskedLM", *BASE, {**VARIANTS, **TIES}),
    *twins("DistilBertForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("DistilBertForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}),
    *twins("DistilBertForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
