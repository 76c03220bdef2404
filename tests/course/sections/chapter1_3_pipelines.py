"""Chapter 1, section 3: what pipelines can do. Models are named or left to be chosen, as the section does."""

# %%
from transformers import pipeline

classifier = pipeline("sentiment-analysis")
classifier("I have waited for a course like this one for years.")

# %%
classifier(["I love this film, thank you!", "This is terrible."])

# %%
zero_shot = pipeline("zero-shot-classification")
zero_shot("The team won the football match.", candidate_labels=["sports", "cooking", "business"])

# %%
generator = pipeline("text-generation")
generator("The old man", do_sample=False, max_new_tokens=12)

# %%
generator = pipeline("text-generation", model="distilgpt2")
generator("Once upon a time", max_new_tokens=8, num_return_sequences=2, num_beams=2, do_sample=False)

# %%
unmasker = pipeline("fill-mask")
unmasker("Alice had a <mask> of the door.", top_k=2)

# %%
ner = pipeline("ner", grouped_entities=True)
ner("My name is Sarah Miller and I was born in London.")

# %%
ner = pipeline("ner", aggregation_strategy="simple")
[(each["word"], each["entity_group"], each["start"], each["end"]) for each in ner("Tom lives in France.")]

# %%
question_answerer = pipeline("question-answering")
question_answerer(question="Where do I work?", context="My name is Sarah and I work in Berlin.")

# %%
summarizer = pipeline("summarization")
summarizer(
    "Deep neural networks need many labelled examples, which are expensive to collect. In this paper we propose a "
    "simple method that learns from few examples.",
    max_length=30,
    min_length=5,
)

# %%
translator = pipeline("translation", model="Helsinki-NLP/opus-mt-fr-en")
translator("Elle veut partir demain.")

# %%
extractor = pipeline("feature-extraction")
vectors = extractor("She opened the door.")
[len(vectors), len(vectors[0]), len(vectors[0][0]), vectors[0][0][:4]]

# %%
text2text = pipeline("text2text-generation", model="google-t5/t5-small")
text2text("translate: the little rabbit", max_new_tokens=6)

# %%
classifier = pipeline("text-classification", top_k=None)
classifier("A fine day.")

# %% 1.8: what a model has learnt of the world
unmasker = pipeline("fill-mask", model="bert-base-uncased")
[each["token_str"] for text in ("This man is a [MASK].", "This woman is a [MASK].") for each in unmasker(text)]
