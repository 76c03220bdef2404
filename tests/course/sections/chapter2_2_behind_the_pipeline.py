"""Chapter 2, section 2: a pipeline's three steps, one by one."""

# %%
from transformers import AutoTokenizer

checkpoint = "distilbert-base-uncased-finetuned-sst-2-english"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)

# %%
texts = ["I love this film, thank you!", "This is terrible, and too long for me."]
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
print(inputs)
inputs

# %%
from transformers import AutoModel

model = AutoModel.from_pretrained(checkpoint)
outputs = model(**inputs)
print(outputs.last_hidden_state.shape)
outputs[0]

# %%
from transformers import AutoModelForSequenceClassification

model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
outputs = model(**inputs)
print(outputs.logits.shape)
outputs.logits

# %%
import torch

torch.nn.functional.softmax(outputs.logits, dim=-1)

# %%
model.config.id2label

# %%
[model.config.id2label[row.argmax().item()] for row in outputs["logits"]]
