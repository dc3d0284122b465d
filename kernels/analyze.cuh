// The maps of each position, as many as are asked for, in one pass over memory seen as (outer, letters, inner).
//
// A thread takes GROUP neighbouring positions at once, and BATCH such groups before it computes, so that enough is under
// way. A group's letters lie side by side (SIDE_BY_SIDE: outer is 1, inner counts all positions, and a position's letters
// are neighbours), or in rows that are `inner` apart.
//
// Compiled for one combination of the macros below; OUTPUTS has a bit for each of them. Pointers are not __restrict__:
// `corrected` may be `grad`, which is why it is written last.
#include "values.cuh"

using Grad = GRAD_TYPE;
using Compute = ComputeOf<Grad>::type;
constexpr int LETTERS = N_LETTERS;
constexpr int GROUP = GROUP_SIZE;
constexpr bool SIDE_BY_SIDE = LETTERS_LAST;
constexpr int BATCH = LETTERS > 8 ? 1 : GROUP < 4 ? 4 / GROUP : 1;
constexpr bool CORRECTED = OUTPUTS & 1, ANGLE = OUTPUTS & 2, PRODUCT = OUTPUTS & 4, RAW = OUTPUTS & 8;
constexpr bool EFFECTS = OUTPUTS & 16, READS_INPUT = PRODUCT || RAW || EFFECTS;

// Blocks that are to run on a processor at a time. Where the input is larger, registers would not do.
constexpr bool IS_SMALL = LETTERS == 4 && HAS_CODES && sizeof(X_TYPE) == 1 && sizeof(Compute) == 4;
constexpr int RESIDENT = !IS_SMALL ? 1 : BATCH == 1 ? 4 : 3;

struct Operands {
    const Grad* grad;
    const X_TYPE* x;  // codes, or one-hot in the order of grad
    Grad* corrected;
    Compute* angle;
    Compute* product;
    Compute* raw_product;
    Compute* effects;
    Bits64 outer, inner;
    Compute weights[LETTERS];
    Units<Compute> units;
};

// The letters of a group of positions.
template <class T> struct Letters {
    Pack<T, SIDE_BY_SIDE ? LETTERS * GROUP : GROUP> packs[SIDE_BY_SIDE ? 1 : LETTERS];

    __device__ static Index offset(Index o, Index i, int pack, Index inner) {
        return SIDE_BY_SIDE ? LETTERS * i : (LETTERS * o + pack) * inner + i;
    }

    __device__ void load(const T* array, Index o, Index i, Index inner) {
#pragma unroll
        for (int k = 0; k < (SIDE_BY_SIDE ? 1 : LETTERS); ++k)
            packs[k] = load_pack<T, sizeof(packs[0]) / sizeof(T)>(array + offset(o, i, k, inner));
    }

    __device__ void store(T* array, Index o, Index i, Index inner) const {
#pragma unroll
        for (int k = 0; k < (SIDE_BY_SIDE ? 1 : LETTERS); ++k) store_pack(array + offset(o, i, k, inner), packs[k]);
    }

    __device__ T& at(int a, int p) {
        return SIDE_BY_SIDE ? packs[0].values[p * LETTERS + a] : packs[a].values[p];
    }
};

// The input at a group of positions: one-hot, or codes.
template <class T, bool IS_CODES> struct Input : Letters<T> {
    // The letters weighted by the input.
    __device__ Compute observed(const Compute (&values)[LETTERS], int p) {
        Compute value = values[0] * widen<Compute>(this->at(0, p));
#pragma unroll
        for (int a = 1; a < LETTERS; ++a) value += values[a] * widen<Compute>(this->at(a, p));
        return value;
    }
};

template <class T> struct Input<T, true> {
    Pack<T, GROUP> codes = {};

    __device__ void load(const T* array, Index o, Index i, Index inner) {
        codes = load_pack<T, GROUP>(array + o * inner + i);
    }

    // Codes are compared as they are: cutting 64 bits would make an A of 2**32. Every letter is read before one is
    // chosen, since a choice of what to read puts the letters into memory.
    __device__ Compute observed(const Compute (&values)[LETTERS], int p) {
        Compute value = 0;
#pragma unroll
        for (int a = 0; a < LETTERS; ++a) {
            const Compute letter = values[a];
            value = codes.values[p] == static_cast<T>(a) ? letter : value;
        }
        return value;
    }
};

using InputGroup = Input<X_TYPE, HAS_CODES>;

// A position's letters, as they are computed with.
struct Position {
    Compute g[LETTERS];

    __device__ Position(Letters<Grad>& grad, int p) {
#pragma unroll
        for (int a = 0; a < LETTERS; ++a) g[a] = widen<Compute>(grad.at(a, p));
    }

    __device__ void subtract(Compute value) {
#pragma unroll
        for (int a = 0; a < LETTERS; ++a) g[a] -= value;
    }

    __device__ Compute mean(const Operands& op) const {
        Compute total = HAS_WEIGHTS ? g[0] * op.weights[0] : g[0];
#pragma unroll
        for (int a = 1; a < LETTERS; ++a) total += HAS_WEIGHTS ? g[a] * op.weights[a] : g[a];
        return HAS_WEIGHTS ? total : mean_of<LETTERS>(total);
    }
};

// The angles of groups of positions: first as most of them can be had, and all of them again if one cannot.
template <int N>
__device__ inline void find_angles(const Operands& op, Letters<Grad> (&grad)[N], Pack<Compute, GROUP> (&angles)[N]) {
    bool is_usual = true;
#pragma unroll
    for (int k = 0; k < N; ++k)
#pragma unroll
        for (int p = 0; p < GROUP; ++p) {
            const Position position(grad[k], p);
            angles[k].values[p] = signed_angle(usual_angle(position.g, op.units.radian, is_usual), op.units.right);
        }
    if (__builtin_expect(is_usual, true)) return;
#pragma unroll
    for (int k = 0; k < N; ++k)
#pragma unroll
        for (int p = 0; p < GROUP; ++p) {
            Position position(grad[k], p);
            angles[k].values[p] = simplex_angle(position.g, op.units);
        }
}

__device__ inline void write_corrected(const Operands& op, Letters<Grad>& grad, InputGroup& x, Index o, Index i) {
    Letters<Grad> corrected;
    Pack<Compute, GROUP> product;
#pragma unroll
    for (int p = 0; p < GROUP; ++p) {
        Position position(grad, p);
        position.subtract(position.mean(op));
#pragma unroll
        for (int a = 0; a < LETTERS; ++a) corrected.at(a, p) = Narrow<Grad>::from(position.g[a]);
        if (PRODUCT) product.values[p] = x.observed(position.g, p);
    }
    if (PRODUCT) store_pack(op.product + (o * Index(op.inner) + i), product);
    if (CORRECTED) corrected.store(op.corrected, o, i, Index(op.inner));
}

__device__ inline void write_effects(const Operands& op, Letters<Grad>& grad, InputGroup& x, Index o, Index i) {
    Letters<Compute> effects;
    Pack<Compute, GROUP> raw_product;
#pragma unroll
    for (int p = 0; p < GROUP; ++p) {
        Position position(grad, p);
        raw_product.values[p] = x.observed(position.g, p);
        position.subtract(raw_product.values[p]);
#pragma unroll
        for (int a = 0; a < LETTERS; ++a) effects.at(a, p) = position.g[a];
    }
    if (RAW) store_pack(op.raw_product + (o * Index(op.inner) + i), raw_product);
    if (EFFECTS) effects.store(op.effects, o, i, Index(op.inner));
}

// Where a thread is: the number of a group, and its place.
struct Place {
    Index group, o, i;

    __device__ Place(Index at, Index groups) : group(at), o(at / groups), i(at % groups) {}

    __device__ void advance(const Place& step, Index groups) {
        group += step.group;
        i += step.i;
        if (SIDE_BY_SIDE) return;  // in one row
        o += step.o;
        if (i < groups) return;
        i -= groups;
        ++o;
    }
};

// N groups of a thread, of which all are there.
template <int N> __device__ inline void work(const Operands& op, Place& place, const Place& step, Index groups) {
    Letters<Grad> grad[N];
    InputGroup x[N];
    Pack<Compute, GROUP> angles[N];
    Index os[N], is[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
        os[k] = place.o;
        is[k] = place.i * GROUP;
        grad[k].load(op.grad, os[k], is[k], Index(op.inner));
        if (READS_INPUT) x[k].load(op.x, os[k], is[k], Index(op.inner));
        place.advance(step, groups);
    }
    if (ANGLE) find_angles(op, grad, angles);
#pragma unroll
    for (int k = 0; k < N; ++k) {
        if (ANGLE) store_pack(op.angle + (os[k] * Index(op.inner) + is[k]), angles[k]);
        if (RAW || EFFECTS) write_effects(op, grad[k], x[k], os[k], is[k]);
        if (CORRECTED || PRODUCT) write_corrected(op, grad[k], x[k], os[k], is[k]);
    }
}

extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) analyze(const Operands op) {
    const Index groups = Index(op.inner) / GROUP, all = Index(op.outer) * groups;
    const Place step(Index(gridDim.x) * Index(blockDim.x), groups);  // divisions are slow: once for each thread
    Place place(Index(blockIdx.x) * Index(blockDim.x) + Index(threadIdx.x), groups);
    while (place.group < all - (BATCH - 1) * step.group) work<BATCH>(op, place, step, groups);
    while (BATCH > 1 && place.group < all) work<1>(op, place, step, groups);
}
