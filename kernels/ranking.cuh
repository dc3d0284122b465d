// AUROC, AUPR and average precision of sequences, from one ranking of the scores of each.
//
// A first kernel turns scores into integers in the same order. A second takes a sequence for each block: it sorts up to
// SORTED of them in shared memory, and walks longer ones in an order that is given; ties are passed together.
//
// Compiled for one type of the scores, the macro below.
#include "values.cuh"

using Score = SCORE_TYPE;
constexpr int SORTED = 4096;
constexpr Index LEFT_OUT = -0x7fffffffffffffffLL - 1;  // below every score; NaN too

struct KeyOperands {
    const Score* scores;        // (n_sequences, length)
    const unsigned char* mask;  // may be null
    Index* keys;
    Index* first_nan;  // the sequence; unchanged if no NaN counts
    Index n_sequences, length;
    int omit_nan;
};

// The bits of a number order as integers do, once those of negative ones are turned round. Arithmetic would flush
// denormal scores, and make ties.
__device__ inline Index key_of(float score) {
    const int bits = __float_as_int(score);
    if (magnitude(score) > 0x7f800000) return LEFT_OUT;
    return bits < 0 ? -static_cast<Index>(magnitude(score)) : bits;
}

__device__ inline Index key_of(double score) {
    const Index bits = __double_as_longlong(score);
    if (magnitude(score) > 0x7ff0000000000000LL) return LEFT_OUT;
    return bits < 0 ? -magnitude(score) : bits;
}

extern "C" __global__ void __launch_bounds__(BLOCK) ranking_keys(const KeyOperands op) {
    const Index n = op.n_sequences * op.length, step = Index(gridDim.x) * blockDim.x;
    for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const bool counted = !op.mask || op.mask[i];
        const Index key = key_of(widen<ComputeOf<Score>::type>(op.scores[i]));
        if (counted && key == LEFT_OUT && !op.omit_nan) atomicMin(op.first_nan, i / op.length);
        op.keys[i] = counted ? key : LEFT_OUT;
    }
}

struct Operands {
    const Index* keys;            // (n_sequences, length)
    const unsigned char* labels;  // of the same shape, 0 and 1
    const Index* order;           // of the same shape: positions, highest key first; null if they are sorted here
    double* results;              // (n_sequences, 3)
    Index n_sequences, length;
};

struct Row {
    Index keys[SORTED + 1];  // one more, to see the end of a tie
    unsigned char positive[SORTED];
    Index scan[2][BLOCK];
};

// What lies at or above the last score that was passed.
struct Passed {
    Index true_, all;
    double precision;
};

__device__ inline Passed passed(Index true_, Index all) {
    return {true_, all, all ? static_cast<double>(true_) / static_cast<double>(all) : 1.0};
}

struct Areas {
    Index pairs = 0;  // twice those in which the positive outranks the negative
    double trapezoids = 0, steps = 0;

    __device__ void add(const Passed& before, const Passed& now) {
        const Index true_ = now.true_ - before.true_, false_ = now.all - before.all - true_;
        pairs += false_ * (now.true_ + before.true_);
        trapezoids += static_cast<double>(true_) * (now.precision + before.precision);
        steps += static_cast<double>(true_) * now.precision;
    }
};

__device__ inline Index larger(Index a, Index b) { return a > b ? a : b; }

// Exclusive scan over the threads of the block, of a sum or a maximum.
template <bool IS_SUM> __device__ inline Index scan(Index* line, Index value, Index* total) {
    const int t = threadIdx.x;
    line[t] = value;
    for (int offset = 1; offset < BLOCK; offset *= 2) {
        __syncthreads();
        const Index left = t >= offset ? line[t - offset] : 0;
        __syncthreads();
        if (t >= offset) line[t] = IS_SUM ? line[t] + left : larger(line[t], left);
    }
    __syncthreads();
    *total = line[BLOCK - 1];
    const Index result = t ? line[t - 1] : 0;
    __syncthreads();
    return result;
}

// Sort keys and labels from the highest on: bitonic, over `size` positions, a power of two.
__device__ inline void sort(Row& row, int size) {
    for (int run = 2; run <= size; run *= 2)
        for (int gap = run / 2; gap > 0; gap /= 2) {
            __syncthreads();
            for (int pair = threadIdx.x; pair < size / 2; pair += BLOCK) {
                const int i = 2 * pair - pair % gap, j = i + gap;
                if ((row.keys[i] < row.keys[j]) == !(i & run)) {
                    const Index key = row.keys[i];
                    const unsigned char positive = row.positive[i];
                    row.keys[i] = row.keys[j];
                    row.positive[i] = row.positive[j];
                    row.keys[j] = key;
                    row.positive[j] = positive;
                }
            }
        }
    __syncthreads();
}

// Fill a tile from position `start` on; beyond the end of the sequence nothing counts.
__device__ inline int load(const Operands& op, Index sequence, Index start, Row& row) {
    const Index left = op.length - start, base = sequence * op.length;
    const int n = left < SORTED ? static_cast<int>(left) : SORTED;
    int size = BLOCK;
    while (size < n) size *= 2;
    __syncthreads();  // others may still walk along what was here
    for (int i = threadIdx.x; i <= size; i += BLOCK) {
        const bool is_there = i < left;  // the one position after the tile belongs to the next, if there is one
        const Index at = is_there ? base + (op.order ? op.order[base + start + i] : start + i) : 0;
        row.keys[i] = is_there ? op.keys[at] : LEFT_OUT;
        if (i < size) row.positive[i] = is_there ? op.labels[at] : 0;
    }
    __syncthreads();
    return size;
}

// Walk along a sorted tile of `size` positions, each thread its part; returns where the tile leaves off.
__device__ inline Passed walk(Row& row, int size, const Passed& start, Index all_before, Index true_before,
                              Index* true_total, Areas& areas) {
    const int each = size / BLOCK, first = threadIdx.x * each;
    Index true_ = 0, last_all = 0, last_true = 0;
    for (int i = first; i < first + each; ++i) true_ += row.keys[i] != LEFT_OUT && row.positive[i];
    Index total, end_all, end_true;
    Index running = true_before + scan<true>(row.scan[0], true_, &total);
    *true_total = true_before + total;
    Index count = running;
    for (int i = first; i < first + each; ++i) {
        count += row.keys[i] != LEFT_OUT && row.positive[i];
        if (row.keys[i] != LEFT_OUT && row.keys[i] != row.keys[i + 1]) {
            last_all = all_before + i + 1;
            last_true = count;
        }
    }
    const Index all = larger(start.all, scan<false>(row.scan[0], last_all, &end_all));
    const Index before_true = larger(start.true_, scan<false>(row.scan[1], last_true, &end_true));
    Passed before = passed(before_true, all);
    for (int i = first; i < first + each; ++i) {
        if (row.keys[i] == LEFT_OUT) break;
        running += row.positive[i];
        if (row.keys[i] == row.keys[i + 1]) continue;
        const Passed now = passed(running, all_before + i + 1);
        areas.add(before, now);
        before = now;
    }
    return passed(larger(start.true_, end_true), larger(start.all, end_all));
}

__device__ inline double add_threads(double* line, double value) {
    __syncthreads();
    line[threadIdx.x] = value;
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < half) line[threadIdx.x] += line[threadIdx.x + half];
    }
    __syncthreads();
    return line[0];
}

__device__ inline void write(const Operands& op, Index sequence, const Passed& end, const Areas& areas, Row& row) {
    Index pairs;
    scan<true>(row.scan[0], areas.pairs, &pairs);
    double* line = reinterpret_cast<double*>(row.scan[1]);
    const double trapezoids = add_threads(line, areas.trapezoids), steps = add_threads(line, areas.steps);
    if (threadIdx.x) return;
    const double n_true = static_cast<double>(end.true_), n_false = static_cast<double>(end.all - end.true_);
    const bool defined = end.true_ > 0 && end.all > end.true_;
    const double undefined = __longlong_as_double(0x7ff8000000000000LL);
    op.results[3 * sequence] = defined ? static_cast<double>(pairs) / (2 * n_true * n_false) : undefined;
    op.results[3 * sequence + 1] = defined ? trapezoids / (2 * n_true) : undefined;
    op.results[3 * sequence + 2] = defined ? steps / n_true : undefined;
}

extern "C" __global__ void __launch_bounds__(BLOCK, 1) ranking(const Operands op) {
    alignas(16) extern __shared__ unsigned char shared[];
    Row& row = *reinterpret_cast<Row*>(shared);
    for (Index sequence = blockIdx.x; sequence < op.n_sequences; sequence += gridDim.x) {
        Areas areas;
        Passed end = passed(0, 0);
        Index true_total = 0;
        for (Index start = 0; start < op.length; start += SORTED) {
            const int size = load(op, sequence, start, row);
            if (!op.order) sort(row, size);
            end = walk(row, size, end, start, true_total, &true_total, areas);
        }
        write(op, sequence, end, areas, row);
    }
}
