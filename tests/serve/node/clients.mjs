// Calls every task with @huggingface/inference: node clients.mjs URL. Prints the answers as JSON.
import { InferenceClient } from "@huggingface/inference";

const [root] = process.argv.slice(2);
const at = (model, more = "") => new InferenceClient().endpoint(`${root}/models/minitransformer/${model}${more}`);
const prompt = "The old man opened the door and";
const greedy = { do_sample: false, max_new_tokens: 12 };
const answers = {};

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

const calls = {
  "fill-mask": () => at("bert-books").fillMask({ inputs: "She opened the [MASK] and went out.", parameters: { top_k: 3 } }),
  "text-classification": () => at("bert-sentiment").textClassification({ inputs: "I love this film!" }),
  "token-classification": () => at("bert-ner").tokenClassification({ inputs: "Sarah Miller was born in London.", parameters: { aggregation_strategy: "first" } }),
  "question-answering": () => at("bert-qa").questionAnswering({ inputs: { question: "Who founded it?", context: "It was founded in 1846 by King Henry." } }),
  "zero-shot-classification": () => at("bert-nli").zeroShotClassification({ inputs: "Two men are playing guitars.", parameters: { candidate_labels: ["music", "sleeping"] } }),
  "summarization": () => at("bart-tldr").summarization({ inputs: "Deep neural networks need many labelled examples, which are expensive to collect.", parameters: { generate_parameters: { max_new_tokens: 10 } } }),
  "translation": () => at("marian-fr-en").translation({ inputs: "Elle veut partir demain." }),
  "text-generation": () => at("gpt2-stories").textGeneration({ inputs: prompt, parameters: { ...greedy, return_full_text: true } }),
  "feature-extraction": () => at("bert-books", "/pipeline/feature-extraction").featureExtraction({ inputs: "The cat sleeps.", normalize: true }),
  "sentence-similarity": () => at("bert-books", "/pipeline/sentence-similarity").sentenceSimilarity({ inputs: { source_sentence: "The cat sleeps.", sentences: ["A cat is asleep.", "War and peace."] } }),
  "stream": async () => (await collect(at("gpt2-stories").textGenerationStream({ inputs: prompt, parameters: greedy }))).map((event) => event.token.text),
  "stream with details": () => collect(at("gpt2-stories").textGenerationStream({ inputs: prompt, parameters: greedy })),
  "error: no mask": () => at("bert-books").fillMask({ inputs: "no mask" }),
  "error: unknown model": () => at("bert-boks").fillMask({ inputs: "[MASK]" }),
  "error: out of range": () => at("gpt2-stories").textGeneration({ inputs: prompt, parameters: { temperature: -1 } }),
};
for (const [name, call] of Object.entries(calls)) {
  try { answers[name] = await call(); } catch (error) { answers[name] = { raised: error.constructor.name, text: String(error.message) }; }
}
console.log(JSON.stringify({ answers }));
