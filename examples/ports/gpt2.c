/* GPT-2 in C, and a dump of what it computes.
 *
 *     minitransformer trace MODEL --text "..." --dtype float32 --with-model -o trace
 *     cc -O2 -o gpt2 gpt2.c -lm && ./gpt2 trace dump && minitransformer compare trace dump
 *
 * A safetensors file is eight bytes with the length of its head, the head in JSON, and the numbers. The folder dump must
 * exist; all.bin and manifest.json are written there.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char *head; char *data; } File;

static void *need(void *pointer, const char *what) {
    if (!pointer) { fprintf(stderr, "cannot read %s\n", what); exit(2); }
    return pointer;
}

static File load(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = need(fopen(path, "rb"), path);
    uint64_t length;
    if (fread(&length, 8, 1, file) != 1) need(NULL, path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file) - 8;
    fseek(file, 8, SEEK_SET);
    char *all = need(malloc(size + 1), path);
    if (fread(all, 1, size, file) != (size_t)size) need(NULL, path);
    fclose(file);
    File result = { need(malloc(length + 1), path), all + length };
    memcpy(result.head, all, length);
    result.head[length] = 0;
    return result;
}

/* Where a tensor begins; its shape goes to `shape`. */
static void *find(File file, const char *name, long shape[4]) {
    char key[512];
    snprintf(key, sizeof key, "\"%s\":{", name);
    char *at = strstr(file.head, key);
    if (!at) return NULL;
    char *sizes = strstr(at, "\"shape\":[") + 9, *offsets = strstr(at, "\"data_offsets\":[") + 16;
    for (int i = 0; i < 4; i++) {
        shape[i] = *sizes == ']' ? 1 : strtol(sizes, &sizes, 10);
        if (*sizes == ',') sizes++;
    }
    return file.data + strtol(offsets, NULL, 10);
}

/* A number of the config. */
static double setting(const char *folder, const char *name) {
    char path[4096], key[256], *text = need(calloc(1 << 20, 1), "memory");
    snprintf(path, sizeof path, "%s/model/config.json", folder);
    snprintf(key, sizeof key, "\"%s\":", name);
    FILE *file = need(fopen(path, "rb"), path);
    need(fread(text, 1, (1 << 20) - 1, file) ? text : NULL, path);
    fclose(file);
    char *at = need(strstr(text, key), name);
    double value = strtod(at + strlen(key), NULL);
    free(text);
    return value;
}

static File model;
static double eps;
static FILE *numbers, *manifest;
static long place, T, D, H, K;

static float *weight(int layer, const char *name) {
    char full[256];
    long shape[4];
    if (layer < 0) snprintf(full, sizeof full, "transformer.%s", name);
    else snprintf(full, sizeof full, "transformer.h.%d.%s", layer, name);
    return need(find(model, full, shape), full);
}

static void keep(int layer, const char *name, const float *x, long rows, long columns) {
    char full[256];
    if (layer < 0) snprintf(full, sizeof full, "%s", name);
    else snprintf(full, sizeof full, "decoder.blocks.%d.%s", layer, name);
    fprintf(manifest, "%s{\"name\": \"%s\", \"shape\": [%ld, %ld], \"file\": \"all.bin\", \"offset\": %ld}",
            place ? ",\n" : "", full, rows, columns, place);
    place += fwrite(x, 1, rows * columns * sizeof(float), numbers);
}

static float *make(long n) { return need(calloc(n, sizeof(float)), "memory"); }

static void norm(float *out, const float *x, const float *w, const float *b) {
    for (long t = 0; t < T; t++, x += D, out += D) {
        double mean = 0, var = 0;
        for (long i = 0; i < D; i++) mean += x[i] / D;
        for (long i = 0; i < D; i++) var += (x[i] - mean) * (x[i] - mean) / D;
        for (long i = 0; i < D; i++) out[i] = (x[i] - mean) / sqrt(var + eps) * w[i] + b[i];
    }
}

static void linear(float *out, const float *x, const float *w, const float *b, long in, long n) {
    for (long t = 0; t < T; t++)
        for (long j = 0; j < n; j++) {
            double sum = b[j];
            for (long i = 0; i < in; i++) sum += (double)x[t * in + i] * w[i * n + j]; /* GPT-2 stores (in, out) */
            out[t * n + j] = sum;
        }
}

static void attention(float *out, const float *qkv) {
    float *pattern = make(T);
    for (long h = 0; h < H; h++)
        for (long t = 0; t < T; t++) {
            double sum = 0, most = -1e30;
            for (long s = 0; s <= t; s++) {
                double dot = 0;
                for (long k = 0; k < K; k++)
                    dot += (double)qkv[t * 3 * D + h * K + k] * qkv[s * 3 * D + D + h * K + k];
                pattern[s] = dot / sqrt(K);
                if (pattern[s] > most) most = pattern[s];
            }
            for (long s = 0; s <= t; s++) sum += pattern[s] = exp(pattern[s] - most);
            for (long k = 0; k < K; k++) {
                double mixed = 0;
                for (long s = 0; s <= t; s++) mixed += pattern[s] / sum * qkv[s * 3 * D + 2 * D + h * K + k];
                out[t * D + h * K + k] = mixed;
            }
        }
    free(pattern);
}

int main(int count, char **words) {
    if (count != 3) { fprintf(stderr, "gpt2 TRACE DUMP\n"); return 2; }
    long shape[4], vocabulary, inner;
    char path[4096];
    File trace = load(words[1], "trace.safetensors");
    model = load(words[1], "model/model.safetensors");
    H = setting(words[1], "n_head"), eps = setting(words[1], "layer_norm_epsilon");
    int64_t *ids = need(find(trace, "inputs/input_ids", shape), "inputs/input_ids");
    T = shape[1]; /* the first text */
    float *table = need(find(model, "transformer.wte.weight", shape), "wte"), *positions = weight(-1, "wpe.weight");
    vocabulary = shape[0], D = shape[1], K = D / H;
    find(model, "transformer.h.0.mlp.c_fc.weight", shape);
    inner = shape[1];
    snprintf(path, sizeof path, "%s/all.bin", words[2]);
    numbers = need(fopen(path, "wb"), path);
    snprintf(path, sizeof path, "%s/manifest.json", words[2]);
    manifest = need(fopen(path, "w"), path);
    fprintf(manifest, "{\"tensors\": [");

    float *x = make(T * D), *y = make(T * D), *mixed = make(T * D), *qkv = make(3 * T * D), *pre = make(T * inner);
    float *logits = make(T * vocabulary);
    for (long t = 0; t < T; t++)
        for (long i = 0; i < D; i++) x[t * D + i] = table[ids[t] * D + i] + positions[t * D + i];
    keep(-1, "embeddings.sum", x, T, D);
    for (int l = 0; snprintf(path, sizeof path, "transformer.h.%d.ln_1.weight", l), find(model, path, shape); l++) {
        norm(y, x, weight(l, "ln_1.weight"), weight(l, "ln_1.bias"));
        keep(l, "attn_normed", y, T, D);
        linear(qkv, y, weight(l, "attn.c_attn.weight"), weight(l, "attn.c_attn.bias"), D, 3 * D);
        attention(mixed, qkv);
        keep(l, "attn.mixed", mixed, T, D);
        linear(y, mixed, weight(l, "attn.c_proj.weight"), weight(l, "attn.c_proj.bias"), D, D);
        keep(l, "attn.out", y, T, D);
        for (long i = 0; i < T * D; i++) x[i] += y[i];
        keep(l, "after_attn", x, T, D);
        norm(y, x, weight(l, "ln_2.weight"), weight(l, "ln_2.bias"));
        linear(pre, y, weight(l, "mlp.c_fc.weight"), weight(l, "mlp.c_fc.bias"), D, inner);
        keep(l, "ffn.pre", pre, T, inner);
        for (long i = 0; i < T * inner; i++)
            pre[i] = 0.5 * pre[i] * (1 + tanh(sqrt(2 / M_PI) * (pre[i] + 0.044715 * pow(pre[i], 3))));
        keep(l, "ffn.hidden", pre, T, inner);
        linear(y, pre, weight(l, "mlp.c_proj.weight"), weight(l, "mlp.c_proj.bias"), inner, D);
        for (long i = 0; i < T * D; i++) x[i] += y[i];
        keep(l, "after_ffn", x, T, D);
    }
    norm(y, x, weight(-1, "ln_f.weight"), weight(-1, "ln_f.bias"));
    keep(-1, "decoder.final_normed", y, T, D);
    for (long t = 0; t < T; t++)
        for (long v = 0; v < vocabulary; v++)
            for (long i = 0; i < D; i++) logits[t * vocabulary + v] += y[t * D + i] * table[v * D + i];
    keep(-1, "head.logits", logits, T, vocabulary);
    fprintf(manifest, "]}\n");
    return fclose(manifest) || fclose(numbers);
}
