// Counts and sums over the angles of sequences; no angle is ever written.
//
// A warp takes a segment of SEGMENT positions of one sequence at a time and leaves its sums in a row of its own, so that
// they are added in an order that no launch can change. Histograms are counted in shared memory, one table for every
// warp while they fit, and added to the one in device memory: integers, whose order does not matter.
//
// Compiled for one combination of the macros below.
#include "values.cuh"

using Grad = GRAD_TYPE;
using Compute = ComputeOf<Grad>::type;
constexpr int LETTERS = N_LETTERS;
constexpr bool SIDE_BY_SIDE = LETTERS_LAST;  // with 4 letters, which are loaded at once
constexpr int BATCH = LETTERS > 8 ? 1 : 4;   // positions that a thread loads before it computes
constexpr int THRESHOLDS = 4;                // more are counted in further launches
constexpr int SEGMENT = 1024;
constexpr int WARP = 32;
constexpr unsigned ALL = 0xffffffff;

struct Operands {
    const Grad* grad;
    const unsigned char* mask;  // may be null
    unsigned long long* histogram;  // null in further launches
    double* sums;                   // (n_sequences, n_segments, 2): of the angles, of their squares
    int* counts;                    // (n_sequences, n_segments, 6): above each threshold, not counted, undefined
    Index n_sequences, length, letter_stride, position_stride;
    Units<Compute> units;
    Compute above[THRESHOLDS];  // thresholds with the tolerance added
    Compute tolerance;
    Compute width;  // of a bin, inverse
    int n_bins, n_tables;
};

struct Sums {
    double angle = 0, square = 0;
    int above[THRESHOLDS] = {};
    int excluded = 0, undefined = 0;
};

__device__ inline void load(const Operands& op, Index sequence, Index i, Compute (&g)[LETTERS]) {
    const Grad* from = op.grad + sequence * op.length * LETTERS + i * op.position_stride;
    Pack<Grad, SIDE_BY_SIDE ? LETTERS : 1> pack;
    if (SIDE_BY_SIDE) pack = load_pack<Grad, SIDE_BY_SIDE ? LETTERS : 1>(from);
#pragma unroll
    for (int a = 0; a < LETTERS; ++a)
        g[a] = widen<Compute>(SIDE_BY_SIDE ? pack.values[SIDE_BY_SIDE ? a : 0] : from[a * op.letter_stride]);
}

// Bin of an angle; one within the tolerance of an edge belongs to the side nearer zero.
__device__ inline int find_bin(const Operands& op, Compute angle) {
    Compute inward = 0;
    if (angle > op.tolerance) inward = angle - op.tolerance;
    if (angle < -op.tolerance) inward = angle + op.tolerance;
    const int bin = static_cast<int>((inward + Compute(90)) * op.width);
    return bin < op.n_bins ? bin : op.n_bins - 1;
}

__device__ inline void count(const Operands& op, Compute angle, bool counted, unsigned* table, Sums& sums) {
    const bool defined = counted && angle == angle;
    const Compute value = defined ? angle : Compute(0), size = value < 0 ? -value : value;
    const double wide = value;
    sums.excluded += !counted;
    sums.undefined += counted && !defined;
    sums.angle += wide;
    sums.square = fused(wide, wide, sums.square);
#pragma unroll
    for (int t = 0; t < THRESHOLDS; ++t) sums.above[t] += size > op.above[t];
    if (!defined || !op.histogram) return;
    const int bin = find_bin(op, angle);
    if (table)
        atomicAdd(&table[bin], 1u);
    else
        atomicAdd(&op.histogram[bin], 1ull);
}

__device__ inline void add_segment(const Operands& op, Index sequence, Index start, unsigned* table, Sums& sums) {
    const Index stop = start + SEGMENT < op.length ? start + SEGMENT : op.length;
    for (Index base = start + threadIdx.x % WARP; base < stop; base += WARP * BATCH) {
        Compute g[BATCH][LETTERS];
        bool counted[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; ++k) {
            const Index i = base + k * WARP;
            if (i >= stop) continue;
            load(op, sequence, i, g[k]);
            counted[k] = op.mask ? op.mask[sequence * op.length + i] != 0 : true;
        }
#pragma unroll
        for (int k = 0; k < BATCH; ++k)
            if (base + k * WARP < stop) count(op, simplex_angle(g[k], op.units), counted[k], table, sums);
    }
}

template <class T> __device__ inline T add_lanes(T value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_down_sync(ALL, value, offset);
    return value;
}

__device__ inline void write(const Operands& op, Index row, const Sums& sums) {
    const double angle = add_lanes(sums.angle), square = add_lanes(sums.square);
    int counts[THRESHOLDS + 2];
#pragma unroll
    for (int t = 0; t < THRESHOLDS; ++t) counts[t] = add_lanes(sums.above[t]);
    counts[THRESHOLDS] = add_lanes(sums.excluded);
    counts[THRESHOLDS + 1] = add_lanes(sums.undefined);
    if (threadIdx.x % WARP) return;
    op.sums[2 * row] = angle;
    op.sums[2 * row + 1] = square;
#pragma unroll
    for (int t = 0; t < THRESHOLDS + 2; ++t) op.counts[(THRESHOLDS + 2) * row + t] = counts[t];
}

extern "C" __global__ void __launch_bounds__(BLOCK) angle_summary(const Operands op) {
    alignas(16) extern __shared__ unsigned char shared[];
    unsigned* tables = reinterpret_cast<unsigned*>(shared);
    const int n_slots = op.n_tables * op.n_bins;
    for (int slot = threadIdx.x; slot < n_slots; slot += blockDim.x) tables[slot] = 0;
    __syncthreads();
    const int warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    unsigned* table = op.n_tables ? tables + warp % op.n_tables * op.n_bins : nullptr;
    const Index n_segments = (op.length + SEGMENT - 1) / SEGMENT, n_rows = op.n_sequences * n_segments;
    for (Index row = Index(blockIdx.x) * n_warps + warp; row < n_rows; row += Index(gridDim.x) * n_warps) {
        Sums sums;
        add_segment(op, row / n_segments, row % n_segments * SEGMENT, table, sums);
        write(op, row, sums);
    }
    __syncthreads();
    if (!op.histogram) return;
    for (int bin = threadIdx.x; bin < op.n_bins && op.n_tables; bin += blockDim.x) {
        unsigned long long total = 0;
        for (int k = 0; k < op.n_tables; ++k) total += tables[k * op.n_bins + bin];
        if (total) atomicAdd(&op.histogram[bin], total);
    }
}
