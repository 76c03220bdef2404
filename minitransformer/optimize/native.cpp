// Products in float32 that read their weights once, at the speed of memory: out = x @ weight.T + bias (+ residual).
//
// Weights lie in panels of 16 outputs, (panels, in, 16): a panel is one stream. A tile of 16 rows and 16 outputs stays
// in registers while DEPTH steps of a panel pass by. The processor's own prefetching ends with each page of memory
// (4 KB); ours asks for what comes AHEAD of it, so that arithmetic finds its numbers near.

#include <algorithm>
#include <cstring>

constexpr long ROWS = 16, WIDTH = 16, DEPTH = 256, AHEAD = 1024, CHUNK = 16 * ROWS;

typedef float Vector __attribute__((vector_size(4 * WIDTH), aligned(4)));

// sums (R, 16) += the products of x (depth, R) and weight (depth, 16)
template <long R>
static void add_products(const float* x, const float* weight, Vector* sums, long depth) {
    Vector parts[R] = {};
    for (long k = 0; k < depth; k++) {
        __builtin_prefetch(weight + k * WIDTH + AHEAD, 0, 2);
        const Vector w = *(const Vector*)(weight + k * WIDTH);
        for (long r = 0; r < R; r++) parts[r] += x[k * R + r] * w;
    }
    for (long r = 0; r < R; r++) sums[r] += parts[r];
}

// The same for a number of rows that is known only now: 16, or what is left of the rows.
template <long R = ROWS>
static void add_tile(long rows, const float* x, const float* weight, Vector* sums, long depth) {
    if (rows == R) return add_products<R>(x, weight, sums, depth);
    if constexpr (R > 1) add_tile<R - 1>(rows, x, weight, sums, depth);
}

// x: (rows, in); weight: (panels, in, 16); bias: (panels * 16); residual: (rows, outputs), or null;
// out: (rows, outputs); arranged: space for min(rows, CHUNK) * in numbers.
extern "C" void product(const float* x, const float* weight, const float* bias, const float* residual, float* out,
                        float* arranged, long rows, long in, long outputs, int threads) {
#pragma omp parallel num_threads(threads)
    for (long start = 0; start < rows; start += CHUNK) {
        const long count = std::min(rows - start, CHUNK);
#pragma omp for
        for (long k = 0; k < in; k++)  // from (rows, in) to tiles of (in, up to 16 rows)
            for (long first = 0; first < count; first += ROWS) {
                const long R = std::min(count - first, ROWS);
                float* to = arranged + first * in + k * R;
                for (long r = 0; r < R; r++) to[r] = x[(start + first + r) * in + k];
            }
#pragma omp for
        for (long column = 0; column < outputs; column += WIDTH) {
            Vector sums[CHUNK];
            for (long r = 0; r < count; r++) sums[r] = *(const Vector*)(bias + column);
            for (long k = 0; k < in; k += DEPTH)
                for (long first = 0; first < count; first += ROWS) {
                    const long R = std::min(count - first, ROWS);
                    const float* panel = weight + column * in + k * WIDTH;
                    add_tile(R, arranged + first * in + k * R, panel, sums + first, std::min(in - k, DEPTH));
                }
            const long width = std::min(outputs - column, WIDTH);
            for (long r = 0; r < count; r++) {
                const long at = (start + r) * outputs + column;
                if (residual)
                    for (long c = 0; c < width; c++) sums[r][c] += residual[at + c];
                std::memcpy(out + at, &sums[r], width * sizeof(float));
            }
        }
    }
}
