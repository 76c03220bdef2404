"""Chapter 7, section 2: names in texts, with the Trainer and by hand."""

# %%
from shelf import load, load_dataset
from transformers import AutoTokenizer

raw_datasets = load_dataset("conll2003")
label_names = raw_datasets["train"].features["ner_tags"].feature.names
model_checkpoint = "tiny/names"
tokenizer = AutoTokenizer.from_pretrained(model_checkpoint)
inputs = tokenizer(raw_datasets["train"][1]["tokens"], is_split_into_words=True)
[tokenizer.is_fast, inputs.tokens(), inputs.word_ids(), label_names]


# %%
def align_labels_with_tokens(labels, word_ids):
    new_labels, current_word = [], None
    for word_id in word_ids:
        if word_id != current_word:
            current_word = word_id
            new_labels.append(-100 if word_id is None else labels[word_id])
        elif word_id is None:
            new_labels.append(-100)
        else:
            label = labels[word_id]
            new_labels.append(label + 1 if label % 2 == 1 else label)
    return new_labels


def tokenize_and_align_labels(examples):
    tokenized_inputs = tokenizer(examples["tokens"], truncation=True, is_split_into_words=True)
    tokenized_inputs["labels"] = [
        align_labels_with_tokens(labels, tokenized_inputs.word_ids(i)) for i, labels in enumerate(examples["ner_tags"])
    ]
    return tokenized_inputs


tokenized_datasets = raw_datasets.map(
    tokenize_and_align_labels, batched=True, remove_columns=raw_datasets["train"].column_names
)
tokenized_datasets["train"][1]

# %%
from transformers import DataCollatorForTokenClassification

data_collator = DataCollatorForTokenClassification(tokenizer=tokenizer)
batch = data_collator([tokenized_datasets["train"][i] for i in range(2)])
batch["labels"]

# %%
import numpy as np

metric = load("seqeval")


def compute_metrics(eval_preds):
    logits, labels = eval_preds
    predictions = np.argmax(logits, axis=-1)
    true_labels = [[label_names[l] for l in label if l != -100] for label in labels]
    true_predictions = [
        [label_names[p] for (p, l) in zip(prediction, label) if l != -100]
        for prediction, label in zip(predictions, labels)
    ]
    return metric.compute(predictions=true_predictions, references=true_labels)


# %%
from transformers import AutoModelForTokenClassification, Trainer, TrainingArguments

id2label = {i: label for i, label in enumerate(label_names)}
label2id = {v: k for k, v in id2label.items()}
model = AutoModelForTokenClassification.from_pretrained(model_checkpoint, id2label=id2label, label2id=label2id)
args = TrainingArguments(
    "names",
    eval_strategy="epoch",
    save_strategy="epoch",
    learning_rate=2e-3,
    num_train_epochs=2,
    weight_decay=0.01,
    push_to_hub=False,
    report_to="none",
    use_cpu=True,
)
trainer = Trainer(
    model=model,
    args=args,
    train_dataset=tokenized_datasets["train"],
    eval_dataset=tokenized_datasets["validation"],
    data_collator=data_collator,
    compute_metrics=compute_metrics,
    processing_class=tokenizer,
)
result = trainer.train()
[model.config.num_labels, result.training_loss]

# %%
[[each.get("eval_loss"), each.get("eval_overall_f1")] for each in trainer.state.log_history]

# %%
from accelerate import Accelerator
from torch.optim import AdamW
from torch.utils.data import DataLoader
from transformers import get_scheduler

train_dataloader = DataLoader(tokenized_datasets["train"], shuffle=True, collate_fn=data_collator, batch_size=8)
eval_dataloader = DataLoader(tokenized_datasets["validation"], collate_fn=data_collator, batch_size=8)
model = AutoModelForTokenClassification.from_pretrained(model_checkpoint, id2label=id2label, label2id=label2id)
optimizer = AdamW(model.parameters(), lr=2e-3)
accelerator = Accelerator(cpu=True)
model, optimizer, train_dataloader, eval_dataloader = accelerator.prepare(
    model, optimizer, train_dataloader, eval_dataloader
)
lr_scheduler = get_scheduler("linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=2)
losses = []
for epoch in range(2):
    model.train()
    for batch in train_dataloader:
        loss = model(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.item())
losses

# %%
import torch

model.eval()
for batch in eval_dataloader:
    with torch.no_grad():
        outputs = model(**batch)
    predictions = accelerator.pad_across_processes(outputs.logits.argmax(dim=-1), dim=1, pad_index=-100)
    labels = accelerator.pad_across_processes(batch["labels"], dim=1, pad_index=-100)
    predictions, labels = accelerator.gather(predictions), accelerator.gather(labels)
accelerator.wait_for_everyone()
unwrapped_model = accelerator.unwrap_model(model)
unwrapped_model.save_pretrained("names-by-hand", save_function=accelerator.save)
tokenizer.save_pretrained("names-by-hand")
predictions

# %%
from transformers import pipeline

pipeline("token-classification", model="names-by-hand", aggregation_strategy="simple")("Alice lives in Paris.")
