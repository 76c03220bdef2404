"""Chapter 6, section 3: offsets, words, and what the token-classification pipeline makes of them."""

# %%
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("bert-base-cased")
example = "My name is Sarah and I work at Alice's house in London."
encoding = tokenizer(example)
[tokenizer.is_fast, encoding.is_fast]

# %%
encoding.tokens()

# %%
encoding.word_ids()

# %%
start, end = encoding.word_to_chars(3)
example[start:end]

# %%
[encoding.char_to_token(11), encoding.token_to_chars(4), encoding.char_to_word(12), encoding.token_to_word(4)]

# %%
[encoding.sequence_ids(), tokenizer("A pair", "of texts").sequence_ids()]

# %%
from transformers import pipeline

token_classifier = pipeline("token-classification")
token_classifier(example)

# %%
[pipeline("token-classification", aggregation_strategy=kind)(example) for kind in ("simple", "first", "max", "average")]

# %%
from transformers import AutoModelForTokenClassification

model_checkpoint = "dbmdz/bert-large-cased-finetuned-conll03-english"
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
model = AutoModelForTokenClassification.from_pretrained(model_checkpoint)
inputs = tokenizer(example, return_tensors="pt")
outputs = model(**inputs)
print(inputs["input_ids"].shape)
print(outputs.logits.shape)

# %%
import torch

probabilities = torch.nn.functional.softmax(outputs.logits, dim=-1)[0].tolist()
predictions = outputs.logits.argmax(dim=-1)[0].tolist()
predictions

# %%
results = []
inputs_with_offsets = tokenizer(example, return_offsets_mapping=True)
tokens = inputs_with_offsets.tokens()
offsets = inputs_with_offsets["offset_mapping"]
for idx, pred in enumerate(predictions):
    label = model.config.id2label[pred]
    if label != "O":
        start, end = offsets[idx]
        results.append(
            {"entity": label, "score": probabilities[idx][pred], "word": tokens[idx], "start": start, "end": end}
        )
results

# %%
import numpy as np

results = []
idx = 0
while idx < len(predictions):
    label = model.config.id2label[predictions[idx]]
    if label != "O":
        label = label[2:]
        start, _ = offsets[idx]
        all_scores = []
        while idx < len(predictions) and model.config.id2label[predictions[idx]] == f"I-{label}":
            all_scores.append(probabilities[idx][predictions[idx]])
            _, end = offsets[idx]
            idx += 1
        if not all_scores:
            _, end = offsets[idx]
            all_scores.append(probabilities[idx][predictions[idx]])
        results.append({"entity_group": label, "score": float(np.mean(all_scores)), "word": example[start:end]})
    idx += 1
results
