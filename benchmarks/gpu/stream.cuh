// The yardstick: reads and writes what an operation must, and computes next to nothing.
//
// Arrays are counted in groups of four positions, and every access but that to codes is of 16 bytes. Compiled for one
// combination of the macros below.

using Index = long long;

constexpr int BLOCK = 256;              // threads
constexpr int GRAD = GRAD_VECTORS;      // vectors of gradient in a group: as many as an item has bytes
constexpr int ONE_HOT = X_VECTORS;      // likewise; 0 if codes are read, or nothing
constexpr bool CODES = HAS_CODES;       // one byte a position
constexpr bool WHOLE = HAS_WHOLE;       // whether an output shaped like the gradient is written
constexpr int SINGLE = SINGLE_OUTPUTS;  // outputs of one float a position: 0 to 2

struct alignas(16) Vector {
    unsigned x, y, z, w;
};

struct Operands {
    const Vector* grad;
    const void* x;
    Vector* whole;
    Vector* single[2];
    unsigned* sink;  // where nothing is written, a place that the reads seem to be for
    Index n_groups;
    unsigned key;  // unknown to the compiler, so that a copy stays a computation
    unsigned unused;
};

__device__ inline unsigned join(const Vector& v) { return v.x ^ v.y ^ v.z ^ v.w; }

// Vector k of this thread: a block takes blockDim.x groups, whose vectors its threads share out side by side.
__device__ inline Index at(Index first, int vectors, int k) { return first * vectors + Index(k) * blockDim.x + threadIdx.x; }

__device__ inline void copy(const Operands& op, Index first, unsigned& total) {
    Vector grad[GRAD] = {};
#pragma unroll
    for (int k = 0; k < GRAD; ++k)
        if (at(first, GRAD, k) < op.n_groups * GRAD) grad[k] = op.grad[at(first, GRAD, k)];
    if (CODES && first + threadIdx.x < op.n_groups) total ^= static_cast<const unsigned*>(op.x)[first + threadIdx.x];
#pragma unroll
    for (int k = 0; k < ONE_HOT; ++k)
        if (at(first, ONE_HOT, k) < op.n_groups * ONE_HOT)
            total ^= join(static_cast<const Vector*>(op.x)[at(first, ONE_HOT, k)]);
#pragma unroll
    for (int k = 0; k < GRAD; ++k) {
        total ^= join(grad[k]);
        if (WHOLE && at(first, GRAD, k) < op.n_groups * GRAD)
            op.whole[at(first, GRAD, k)] = {grad[k].x ^ op.key, grad[k].y, grad[k].z, grad[k].w};
    }
#pragma unroll
    for (int k = 0; k < SINGLE; ++k)
        if (first + threadIdx.x < op.n_groups) op.single[k][first + threadIdx.x] = {total, total, total, total};
}

extern "C" __global__ void __launch_bounds__(BLOCK) stream(const Operands op) {
    unsigned total = op.key;
    const Index step = Index(gridDim.x) * blockDim.x;
    for (Index first = Index(blockIdx.x) * blockDim.x; first < op.n_groups; first += step) copy(op, first, total);
    if (!WHOLE && !SINGLE && total == 0x9e3779b9) *op.sink = total;
}
