"""Chapter 6, section 6: WordPiece by hand, on the words of BERT's pre-tokenizer."""

# %%
from collections import defaultdict

from transformers import AutoTokenizer

corpus = ["This is the course.", "This chapter is about tokenization.", "This section shows several algorithms."]
tokenizer = AutoTokenizer.from_pretrained("bert-base-cased")
word_freqs = defaultdict(int)
for text in corpus:
    for word, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text):
        word_freqs[word] += 1
word_freqs

# %%
splits = {word: [c if i == 0 else f"##{c}" for i, c in enumerate(word)] for word in word_freqs}
vocab = [*tokenizer.all_special_tokens, *sorted({piece for split in splits.values() for piece in split})]
while len(vocab) < 50:
    letter_freqs, pair_freqs = defaultdict(int), defaultdict(int)
    for word, freq in word_freqs.items():
        for piece in splits[word]:
            letter_freqs[piece] += freq
        for pair in zip(splits[word], splits[word][1:]):
            pair_freqs[pair] += freq
    a, b = max(pair_freqs, key=lambda p: pair_freqs[p] / (letter_freqs[p[0]] * letter_freqs[p[1]]))
    merged = a + b.removeprefix("##")
    for word, split in splits.items():
        i = 0
        while i < len(split) - 1:
            if (split[i], split[i + 1]) == (a, b):
                split = [*split[:i], merged, *split[i + 2 :]]
            i += 1
        splits[word] = split
    vocab.append(merged)
sorted(vocab)


# %%
def encode_word(word):
    tokens = []
    while word:
        end = len(word)
        while end > 0 and word[:end] not in vocab:
            end -= 1
        if end == 0:
            return ["[UNK]"]
        tokens.append(word[:end])
        word = f"##{word[end:]}" if word[end:] else ""
    return tokens


pre_tokenized = tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str("This is the course!")
[piece for word, _ in pre_tokenized for piece in encode_word(word)]
