"""Chapter 7, section 3: a masked language model goes on learning from other texts."""

# %%
from transformers import AutoModelForMaskedLM, AutoTokenizer

model_checkpoint = "tiny/words"
model = AutoModelForMaskedLM.from_pretrained(model_checkpoint)
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
print(f"{model.num_parameters() / 1_000_000:.3f}M")

# %%
import torch

text = "This is a great [MASK]."
inputs = tokenizer(text, return_tensors="pt")
token_logits = model(**inputs).logits
mask_token_index = torch.where(inputs["input_ids"] == tokenizer.mask_token_id)[1]
mask_token_logits = token_logits[0, mask_token_index, :]
top_5_tokens = torch.topk(mask_token_logits, 5, dim=1).indices[0].tolist()
[text.replace(tokenizer.mask_token, tokenizer.decode([token])) for token in top_5_tokens]

# %%
from shelf import load_dataset

imdb_dataset = load_dataset("imdb")


def tokenize_function(examples):
    result = tokenizer(examples["text"])
    if tokenizer.is_fast:
        result["word_ids"] = [result.word_ids(i) for i in range(len(result["input_ids"]))]
    return result


tokenized_datasets = imdb_dataset.map(tokenize_function, batched=True, remove_columns=["text", "label"])
[tokenized_datasets["train"].column_names, tokenizer.model_max_length]

# %%
chunk_size = 16


def group_texts(examples):
    concatenated = {k: sum(examples[k], []) for k in examples.keys()}
    total_length = len(concatenated["input_ids"]) // chunk_size * chunk_size
    result = {k: [t[i : i + chunk_size] for i in range(0, total_length, chunk_size)] for k, t in concatenated.items()}
    result["labels"] = result["input_ids"].copy()
    return result


lm_datasets = tokenized_datasets.map(group_texts, batched=True, remove_columns=tokenized_datasets["train"].column_names)
tokenizer.decode(lm_datasets["train"][1]["input_ids"])

# %%
from transformers import DataCollatorForLanguageModeling

data_collator = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=0.15)
samples = [lm_datasets["train"][i] for i in range(2)]
for sample in samples:
    _ = sample.pop("word_ids")
torch.manual_seed(5)
[tokenizer.decode(chunk) for chunk in data_collator(samples)["input_ids"]]

# %%
import collections

import numpy as np
from transformers import default_data_collator

draw = np.random.default_rng(0)


def whole_word_masking_data_collator(features):
    for feature in features:
        word_ids = feature.pop("word_ids")
        mapping, current_word_index, current_word = collections.defaultdict(list), -1, None
        for idx, word_id in enumerate(word_ids):
            if word_id is not None:
                if word_id != current_word:
                    current_word = word_id
                    current_word_index += 1
                mapping[current_word_index].append(idx)
        mask = draw.binomial(1, 0.3, (len(mapping),))
        input_ids, labels = list(feature["input_ids"]), feature["labels"]
        new_labels = [-100] * len(labels)
        for word_id in np.where(mask)[0]:
            for idx in mapping[word_id.item()]:
                new_labels[idx] = labels[idx]
                input_ids[idx] = tokenizer.mask_token_id
        feature["input_ids"], feature["labels"] = input_ids, new_labels
    return default_data_collator(features)


batch = whole_word_masking_data_collator([dict(lm_datasets["train"][i]) for i in range(2)])
batch

# %%
import math

from transformers import Trainer, TrainingArguments

downsampled_dataset = lm_datasets["train"].train_test_split(train_size=4, test_size=2, seed=42)


def insert_random_mask(batch):
    features = [dict(zip(batch, t)) for t in zip(*batch.values())]
    torch.manual_seed(3)
    masked_inputs = data_collator(features)
    return {"masked_" + k: v.tolist() for k, v in masked_inputs.items()}


fixed = downsampled_dataset.remove_columns(["word_ids"])["train"].map(insert_random_mask, batched=True)
fixed = fixed.remove_columns(
    ["input_ids", "attention_mask", "labels"] + [c for c in fixed.column_names if c == "token_type_ids"]
)
for name in fixed.column_names:
    fixed = fixed.rename_column(name, name.removeprefix("masked_"))
training_args = TrainingArguments(
    output_dir="words",
    overwrite_output_dir=False,
    eval_strategy="epoch",
    learning_rate=2e-3,
    weight_decay=0.01,
    per_device_train_batch_size=8,
    per_device_eval_batch_size=8,
    logging_steps=1,
    save_strategy="no",
    report_to="none",
    use_cpu=True,
    remove_unused_columns=False,
)
trainer = Trainer(
    model=model,
    args=training_args,
    train_dataset=fixed,
    eval_dataset=fixed,
    data_collator=default_data_collator,
    processing_class=tokenizer,
)
before = trainer.evaluate()
print(f">>> Perplexity: {math.exp(before['eval_loss']):.4f}")
trainer.train()
after = trainer.evaluate()
print(f">>> Perplexity: {math.exp(after['eval_loss']):.4f}")
[before["eval_loss"], after["eval_loss"], [each["loss"] for each in trainer.state.log_history if "loss" in each]]

# %%
from transformers import pipeline

trainer.save_model("words-done")
mask_filler = pipeline("fill-mask", model="words-done")
[pred["sequence"] for pred in mask_filler("the [MASK] rabbit")]
