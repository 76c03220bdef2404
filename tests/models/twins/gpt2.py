from models.twins.twin import LABELS, TAGS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": 40,
    "n_positions": 20,
    "layer_norm_epsilon": 1e-4,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "classifier_dropout": 0.0,
    "pad_token_id": 3,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
BASE = ("decoder", CONFIG)
VARIANTS = {
    "": {},
    "unscaled": {"scale_attn_weights": False},
    "by_layer": {"scale_attn_by_inverse_layer_idx": True},
    "neither": {"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True},
    "default_inner": {"n_inner": None},
}
TWINS = [
    *twins("GPT2Model", "", *BASE, VARIANTS),
    *twins("GPT2LMHeadModel", "ForCausalLM", *BASE, {"": {}, "untied": {"tie_word_embeddings": False}}),
    *twins("GPT2ForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("GPT2ForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}),
]
