from models.twins import llama
from models.twins.twin import LABELS, TAGS, twins

CONFIG = {**llama.CONFIG, "head_dim": 10}
BASE = ("decoder", CONFIG)
WINDOWS = {"use_sliding_window": True, "sliding_window": 4}
VARIANTS = {
    "": {},
    "windows_above": {**WINDOWS, "max_window_layers": 1},
    "windows_by_turns": {**WINDOWS, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    "window_not_used": {"sliding_window": 4, "max_window_layers": 0},
    "llama3": {"rope_scaling": llama.LLAMA3},
}
TWINS = [
    *twins("Qwen2Model", "", *BASE, VARIANTS),
    *twins("Qwen2ForCausalLM", "ForCausalLM", *BASE, {"": {}, "tied": {"tie_word_embeddings": True}}),
    *twins("Qwen2ForSequenceClassification", "ForSequenceClassification", *BASE, LABELS),
    *twins("Qwen2ForTokenClassification", "ForTokenClassification", *BASE, {"": {"id2label": TAGS}}),
    *twins("Qwen2ForQuestionAnswering", "ForQuestionAnswering", *BASE),
]
