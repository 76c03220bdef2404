"""Chapter 3, section 3: fine-tuning with the Trainer."""

# %%
from shelf import load, load_dataset
from transformers import AutoTokenizer, DataCollatorWithPadding

raw_datasets = load_dataset("glue", "mrpc")
checkpoint = "tiny/without-dropout"
tokenizer = AutoTokenizer.from_pretrained(checkpoint)


def tokenize_function(example):
    return tokenizer(example["sentence1"], example["sentence2"], truncation=True)


tokenized_datasets = raw_datasets.map(tokenize_function, batched=True)
data_collator = DataCollatorWithPadding(tokenizer=tokenizer)

# %%
from transformers import TrainingArguments

training_args = TrainingArguments("test-trainer", use_cpu=True, report_to="none", save_strategy="no")
[training_args.num_train_epochs, training_args.per_device_train_batch_size, training_args.learning_rate]

# %%
from transformers import AutoModelForSequenceClassification

model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
model.num_labels

# %%
from transformers import Trainer

trainer = Trainer(
    model,
    training_args,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
    data_collator=data_collator,
    processing_class=tokenizer,
)
result = trainer.train()
[result.global_step, result.training_loss]

# %%
predictions = trainer.predict(tokenized_datasets["validation"])
print(predictions.predictions.shape, predictions.label_ids.shape)
predictions.predictions

# %%
import numpy as np

preds = np.argmax(predictions.predictions, axis=-1)
metric = load("glue", "mrpc")
metric.compute(predictions=preds, references=predictions.label_ids)


# %%
def compute_metrics(eval_preds):
    metric = load("glue", "mrpc")
    logits, labels = eval_preds
    return metric.compute(predictions=np.argmax(logits, axis=-1), references=labels)


training_args = TrainingArguments(
    "test-trainer", eval_strategy="epoch", use_cpu=True, report_to="none", save_strategy="no", weight_decay=0.1
)
model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)
trainer = Trainer(
    model,
    training_args,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
    data_collator=data_collator,
    processing_class=tokenizer,
    compute_metrics=compute_metrics,
)
trainer.train()
[
    {k: v for k, v in each.items() if "eval_" in k and "per_second" not in k and "runtime" not in k}
    for each in trainer.state.log_history
]

# %%
trainer.save_model("done")
again = AutoModelForSequenceClassification.from_pretrained("done")
inputs = tokenizer("This is the first sentence.", "This is the second one.", return_tensors="pt")
again(**inputs).logits
