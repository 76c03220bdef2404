"""Chapter 6, section 7: Unigram by hand, on the words of a SentencePiece pre-tokenizer."""

# %%
from collections import defaultdict
from math import log

from transformers import AutoTokenizer

corpus = ["This is the course.", "This chapter is about tokenization.", "This section shows several algorithms."]
tokenizer = AutoTokenizer.from_pretrained("google-t5/t5-small")
word_freqs = defaultdict(int)
for text in corpus:
    for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text):
        word_freqs[word] += 1
word_freqs

# %%
letters, pieces = defaultdict(int), defaultdict(int)
for word, freq in word_freqs.items():
    for i in range(len(word)):
        letters[word[i]] += freq
        for j in range(i + 2, len(word) + 1):
            pieces[word[i:j]] += freq
ranked = sorted(pieces.items(), key=lambda x: x[1], reverse=True)
freqs = dict([*letters.items(), *ranked[: 80 - len(letters)]])
total = sum(freqs.values())
model = {token: -log(freq / total) for token, freq in freqs.items()}


def encode_word(word, model):
    best = [{"start": 0, "score": 1}] + [{"start": None, "score": None} for _ in word]
    for start in range(len(word)):
        score_here = best[start]["score"]
        for end in range(start + 1, len(word) + 1):
            token = word[start:end]
            if token in model and score_here is not None:
                score = model[token] + score_here
                if best[end]["score"] is None or best[end]["score"] > score:
                    best[end] = {"start": start, "score": score}
    if best[-1]["score"] is None:
        return ["<unk>"], None
    tokens, end = [], len(word)
    while end:
        tokens.insert(0, word[best[end]["start"] : end])
        end = best[end]["start"]
    return tokens, best[-1]["score"]


[encode_word("▁This", model), encode_word("▁course.", model)]

# %%
words = tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str("This is the course.")
[piece for word, _ in words for piece in encode_word(word, model)[0]]
