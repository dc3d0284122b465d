// Counts and sums over the angles of sequences; no angle is ever written.
//
// A warp takes a segment of SEGMENT positions of one sequence at a time and leaves its sums in a row of its own, so that
// they are added in an order that no launch can change. Angles of single precision are whole numbers of 2^-22 degrees
// from the beginning, a thirtieth of what rounding allows, and their sums and those of their squares are exact. Histograms
// are counted in shared memory, one table for every warp while they fit, and added to the one in device memory.
//
// Compiled for one combination of the macros below; HISTOGRAM is the number of places where it is counted: none,
// the one in device memory, or shared memory too.
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

// An angle as it is counted: a number of units, and how many of those are a degree.
template <class Compute> struct Scale {
    using Angle = double;
    using Sum = double;
    static constexpr double DEGREE = 1;
    double bins;  // in a degree

    __device__ static double round(double angle) { return angle; }
    __device__ static void add_square(double angle, double& sum) { sum = fused(angle, angle, sum); }
    __device__ int bin(double angle) const { return static_cast<int>(angle * bins); }
};

template <> struct Scale<float> {
    using Angle = int;
    using Sum = unsigned long long;  // of a lane; that of signed angles wraps as it should
    static constexpr double DEGREE = 1 << 22;
    unsigned bins, shift;  // bins in a unit, times 2^(32 + shift)

    __device__ static int round(float angle) { return __float2int_rn(angle); }
    __device__ static void add_square(int angle, Sum& sum) {
        sum += static_cast<Sum>(static_cast<unsigned>(angle)) * static_cast<unsigned>(angle);
    }
    __device__ int bin(int angle) const { return static_cast<int>(__umulhi(static_cast<unsigned>(angle), bins) >> shift); }
};

using Angle = Scale<Compute>::Angle;
using Sum = Scale<Compute>::Sum;
constexpr Angle RIGHT = static_cast<Angle>(90 * Scale<Compute>::DEGREE);

struct Operands {
    const Grad* grad;
    const unsigned char* mask;      // where HAS_MASK
    unsigned long long* histogram;  // where HISTOGRAM
    double* sums;                   // (n_sequences, n_segments, 2): of the angles, of their squares
    int* counts;                    // (n_sequences, n_segments, 6): above each threshold, not counted, undefined
    Bits64 n_sequences, length, letter_stride, position_stride;
    Units<Compute> units;
    Angle above[THRESHOLDS];  // thresholds with the tolerance added
    Angle tolerance;
    Scale<Compute> scale;
    int n_bins, n_tables;
};

struct Sums {
    Sum angle = 0, square = 0;
    int above[THRESHOLDS] = {};
    int excluded = 0, undefined = 0;
};

// What is counted of a position: how large its angle is, and whether it is negative.
struct Place {
    Angle size;
    bool is_negative, is_defined;

    __device__ static Place from(Compute angle) {
        const bool is_defined = angle == angle, is_negative = angle < 0;
        return {Scale<Compute>::round(is_defined ? is_negative ? -angle : angle : Compute(0)), is_negative, is_defined};
    }
};

__device__ inline void load(const Operands& op, Index sequence, Index i, Compute (&g)[LETTERS]) {
    const Index at = sequence * Index(op.length) * LETTERS + i * Index(op.position_stride);
    Pack<Grad, SIDE_BY_SIDE ? LETTERS : 1> pack;
    if (SIDE_BY_SIDE) pack = load_pack<Grad, SIDE_BY_SIDE ? LETTERS : 1>(op.grad + at);
#pragma unroll
    for (int a = 0; a < LETTERS; ++a)
        g[a] = widen<Compute>(SIDE_BY_SIDE ? pack.values[SIDE_BY_SIDE ? a : 0] : op.grad[at + a * Index(op.letter_stride)]);
}

// Bin of an angle; one within the tolerance of an edge belongs to the side nearer zero.
__device__ inline int find_bin(const Operands& op, const Place& place) {
    const Angle inward = place.size > op.tolerance ? place.size - op.tolerance : 0;
    const int bin = op.scale.bin(place.is_negative ? RIGHT - inward : RIGHT + inward);
    return bin < op.n_bins ? bin : op.n_bins - 1;
}

__device__ inline void count(const Operands& op, const Place& place, unsigned* table, Sums& sums) {
    sums.angle += static_cast<Sum>(place.is_negative ? -place.size : place.size);
    Scale<Compute>::add_square(place.size, sums.square);
#pragma unroll
    for (int t = 0; t < THRESHOLDS; ++t) sums.above[t] += place.size > op.above[t];
    if (HISTOGRAM == 1) atomicAdd(&op.histogram[find_bin(op, place)], 1ull);
    if (HISTOGRAM == 2) atomicAdd(&table[find_bin(op, place)], 1u);
}

// N positions of a thread: first as most of them can be had, and all of them again if one cannot.
template <int N>
__device__ inline void count_batch(
    const Operands& op, Compute (&g)[N][LETTERS], const bool (&counted)[N], unsigned* table, Sums& sums
) {
    bool is_usual = true;
    Place places[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
        const Usual<Compute> usual = usual_angle(g[k], op.units.radian, is_usual);
        const Angle size = Scale<Compute>::round(usual.size);
        places[k] = {usual.steep ? RIGHT - size : size, usual.upright < 0, true};
    }
    if (!__builtin_expect(is_usual, true)) {
#pragma unroll
        for (int k = 0; k < N; ++k) places[k] = Place::from(simplex_angle(g[k], op.units));
#pragma unroll
        for (int k = 0; k < N; ++k) {
            sums.undefined += counted[k] && !places[k].is_defined;
            sums.excluded += !counted[k];
            if (counted[k] && places[k].is_defined) count(op, places[k], table, sums);
        }
        return;
    }
#pragma unroll
    for (int k = 0; k < N; ++k) {
        sums.excluded += !counted[k];
        if (counted[k]) count(op, places[k], table, sums);
    }
}

template <int N>
__device__ inline void add_positions(const Operands& op, Index sequence, Index first, unsigned* table, Sums& sums) {
    Compute g[N][LETTERS];
    bool counted[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
        load(op, sequence, first + k * WARP, g[k]);
        counted[k] = HAS_MASK ? op.mask[sequence * Index(op.length) + first + k * WARP] != 0 : true;
    }
    count_batch(op, g, counted, table, sums);
}

__device__ inline void add_segment(const Operands& op, Index sequence, Index start, unsigned* table, Sums& sums) {
    const Index stop = start + SEGMENT < Index(op.length) ? start + SEGMENT : Index(op.length);
    Index i = start + threadIdx.x % WARP;
    for (; i + (BATCH - 1) * WARP < stop; i += BATCH * WARP) add_positions<BATCH>(op, sequence, i, table, sums);
    for (; i < stop; i += WARP) add_positions<1>(op, sequence, i, table, sums);
}

template <class T> __device__ inline T add_lanes(T value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_down_sync(ALL, value, offset);
    return value;
}

__device__ inline double in_degrees(double sum) { return sum; }
__device__ inline double in_degrees(unsigned long long sum) {
    return static_cast<double>(static_cast<Bits64>(sum)) / Scale<float>::DEGREE;
}

// In square degrees. All lanes together go beyond 64 bits.
__device__ inline double add_squares(double sum) { return add_lanes(sum); }
__device__ inline double add_squares(unsigned long long sum) {
    const double high = static_cast<double>(add_lanes(sum >> 32)), low = static_cast<double>(add_lanes(sum & ALL));
    return fused(high, 0x1p32, low) / (Scale<float>::DEGREE * Scale<float>::DEGREE);
}

__device__ inline void write(const Operands& op, Index row, const Sums& sums) {
    const double angle = in_degrees(add_lanes(sums.angle)), square = add_squares(sums.square);
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
    const int n_slots = HISTOGRAM == 2 ? op.n_tables * op.n_bins : 0;
    for (int slot = threadIdx.x; slot < n_slots; slot += blockDim.x) tables[slot] = 0;
    __syncthreads();
    const int warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    unsigned* table = HISTOGRAM == 2 ? tables + warp % op.n_tables * op.n_bins : nullptr;
    const Index n_segments = (Index(op.length) + SEGMENT - 1) / SEGMENT, n_rows = Index(op.n_sequences) * n_segments;
    // Neighbours go to other blocks, so that few sequences keep all processors busy.
    for (Index row = Index(warp) * gridDim.x + blockIdx.x; row < n_rows; row += Index(gridDim.x) * n_warps) {
        Sums sums;
        add_segment(op, row / n_segments, row % n_segments * SEGMENT, table, sums);
        write(op, row, sums);
    }
    __syncthreads();
    for (int bin = threadIdx.x; HISTOGRAM == 2 && bin < op.n_bins; bin += blockDim.x) {
        unsigned long long total = 0;
        for (int k = 0; k < op.n_tables; ++k) total += tables[k * op.n_bins + bin];
        if (total) atomicAdd(&op.histogram[bin], total);
    }
}
