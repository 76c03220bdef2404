"""Chapter 3, section 2: pairs of sentences, and batches that are padded as they are made."""

# %%
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

checkpoint = "bert-base-uncased"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
sequences = ["I have waited for a course like this one.", "This course is a pleasure!"]
batch = tokenizer(sequences, padding=True, truncation=True, return_tensors="pt")
batch["labels"] = torch.tensor([1, 1])
optimizer = torch.optim.AdamW(model.parameters())
loss = model(**batch).loss
loss.backward()
optimizer.step()
[loss.dim(), model.config.num_labels, len(optimizer.state) > 0]

# %%
from shelf import load_dataset

raw_datasets = load_dataset("glue", "mrpc")
raw_train_dataset = raw_datasets["train"]
[raw_train_dataset[0], raw_train_dataset.features["label"].names]

# %%
inputs = tokenizer("This is the first sentence.", "This is the second one.")
inputs

# %%
tokenizer.convert_ids_to_tokens(inputs["input_ids"])

# %%
tokenized = tokenizer(
    raw_datasets["train"]["sentence1"], raw_datasets["train"]["sentence2"], padding=True, truncation=True
)
tokenized


# %%
def tokenize_function(example):
    return tokenizer(example["sentence1"], example["sentence2"], truncation=True)


tokenized_datasets = raw_datasets.map(tokenize_function, batched=True)
tokenized_datasets.column_names

# %%
from transformers import DataCollatorWithPadding

data_collator = DataCollatorWithPadding(tokenizer=tokenizer)
samples = tokenized_datasets["train"][:8]
samples = {k: v for k, v in samples.items() if k not in ["idx", "sentence1", "sentence2"]}
[len(x) for x in samples["input_ids"]]

# %%
batch = data_collator(samples and [dict(zip(samples, row)) for row in zip(*samples.values())])
{k: v.shape for k, v in batch.items()}, dict(batch)
