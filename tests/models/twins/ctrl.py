from models.twins.twin import LABELS, VOCAB_SIZE, twins

CONFIG = {
    "vocab_size": VOCAB_SIZE,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "dff": 40,
    "n_positions": 20,
    "layer_norm_epsilon": 1e-3,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
    "pad_token_id": 3,
    "eos_token_id": 2,
    "bos_token_id": 1,
}
BASE = ("decoder", CONFIG)
TYPES = {"token_types": VOCAB_SIZE}  # looked up among the words
TWINS = [
    *twins("CTRLModel", "", *BASE, {"": {}, "two_heads": {"n_head": 2, "n_layer": 2}}),
    *twins("CTRLModel", "", *BASE, {"types": {}}, **TYPES),
    *twins("CTRLLMHeadModel", "ForCausalLM", *BASE, {"": {}, "untied": {"tie_word_embeddings": False}}),
    *twins("CTRLForSequenceClassification", "ForSequenceClassification", *BASE, LABELS, **TYPES),
]
