// Noise, mutations and shuffles of sequences, as reference_sequences.py defines them, to the bit: every operation on
// floats is rounded by itself, so the compiler must not fuse products with sums; it may flush subnormal numbers to zero,
// since there are none.

#include "random.cuh"

constexpr unsigned MOST_LETTERS = 33;  // 32 letters and the unknown one

constexpr float QUARTER_TURN = 9.362676e-08f;  // pi / 2 / 2^24

// Two standard normal numbers of two words, after Box and Muller.
__device__ inline void normal(unsigned first, unsigned second, float& across, float& up) {
    const float number = static_cast<float>((first >> 8) + 1);
    const int bits = __float_as_int(number);
    const float mantissa = __int_as_float((bits & 0x7FFFFF) | 0x3F000000);  // in [0.5, 1)
    const bool is_low = mantissa < 0.70710677f;
    const float power = static_cast<float>((bits >> 23) - 150) - (is_low ? 1.0f : 0.0f);
    const float t = (is_low ? mantissa + mantissa : mantissa) - 1.0f;
    float square = t * t, p = 7.0376836292e-2f;
    p = p * t + -1.1514610310e-1f;
    p = p * t + 1.1676998740e-1f;
    p = p * t + -1.2420140846e-1f;
    p = p * t + 1.4249322787e-1f;
    p = p * t + -1.6668057665e-1f;
    p = p * t + 2.0000714765e-1f;
    p = p * t + -2.4999993993e-1f;
    p = p * t + 3.3333331174e-1f;
    const float tail = t * square * p + power * -2.12194440e-4f - 0.5f * square;
    const float radius = sqrtf(-2.0f * (t + tail + power * 0.693359375f));

    const float x = static_cast<float>(static_cast<int>(second >> 6 & 0xFFFFFF) - (1 << 23)) * QUARTER_TURN;
    square = x * x;
    const float sine = x * square * ((-1.9515295891e-4f * square + 8.3321608736e-3f) * square + -1.6666654611e-1f) + x;
    p = (2.443315711809948e-5f * square + -1.388731625493765e-3f) * square + 4.166664568298827e-2f;
    const float cosine = square * square * p - 0.5f * square + 1.0f;
    const bool is_half = second >> 31, is_odd = second >> 30 & 1;
    across = is_odd ? sine : cosine;
    up = is_odd ? cosine : sine;
    across = radius * (is_half != is_odd ? -across : across);
    up = radius * (is_half ? -up : up);
}

struct NoiseOperands {
    const unsigned* keys;  // (n_sequences, 2)
    float* out;            // (n_sequences, length, n_letters), or the letters before the positions
    Index n_sequences, length, n_letters, position_step, letter_step;
    unsigned purpose, sample;
};

extern "C" __global__ void __launch_bounds__(BLOCK) noise(const NoiseOperands op) {
    const Index n = op.length * op.n_letters, n_blocks = (n + 3) / 4, step = Index(gridDim.x) * blockDim.x;
    for (Index k = Index(blockIdx.x) * blockDim.x + threadIdx.x; k < op.n_sequences * n_blocks; k += step) {
        const Index sequence = k / n_blocks, block = k % n_blocks;
        const unsigned* key = op.keys + 2 * sequence;
        const Words drawn = philox({static_cast<unsigned>(block), op.sample, op.purpose, 0}, key[0], key[1]);
        float numbers[4];
        normal(drawn.w[0], drawn.w[1], numbers[0], numbers[1]);
        normal(drawn.w[2], drawn.w[3], numbers[2], numbers[3]);
        float* row = op.out + sequence * n;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const Index entry = 4 * block + j, position = entry / op.n_letters, letter = entry % op.n_letters;
            if (entry < n) row[position * op.position_step + letter * op.letter_step] = numbers[j];
        }
    }
}

struct MutateOperands {
    const unsigned char* codes;  // (n_sequences, length), letters below 32 or 255
    const unsigned* keys;
    unsigned char* out;
    Index n_sequences, length;
    unsigned long long threshold;  // words below it mutate, of 2^32
    unsigned purpose, sample, n_letters;
};

extern "C" __global__ void __launch_bounds__(BLOCK) mutate(const MutateOperands op) {
    const Index n_blocks = (op.length + 1) / 2, step = Index(gridDim.x) * blockDim.x;
    for (Index k = Index(blockIdx.x) * blockDim.x + threadIdx.x; k < op.n_sequences * n_blocks; k += step) {
        const Index sequence = k / n_blocks, block = k % n_blocks;
        const unsigned* key = op.keys + 2 * sequence;
        const Words drawn = philox({static_cast<unsigned>(block), op.sample, op.purpose, 0}, key[0], key[1]);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const Index position = 2 * block + j, at = sequence * op.length + position;
            if (position >= op.length) continue;
            const unsigned code = op.codes[at], ahead = 1 + __umulhi(drawn.w[2 * j + 1], op.n_letters - 1);
            const bool is_mutated = code < op.n_letters && drawn.w[2 * j] < op.threshold;
            op.out[at] = static_cast<unsigned char>(is_mutated ? (code + ahead) % op.n_letters : code);
        }
    }
}

// The words of a sample one after the other, for one thread.
struct Stream {
    unsigned k0, k1, sample, purpose;
    unsigned at = 0;
    Words drawn = {};

    __device__ unsigned next() {
        const unsigned slot = at % 4;
        if (slot == 0) drawn = philox({at / 4, sample, purpose, 0}, k0, k1);
        ++at;
        return slot == 0 ? drawn.w[0] : slot == 1 ? drawn.w[1] : slot == 2 ? drawn.w[2] : drawn.w[3];
    }

    // An integer in 0 to n - 1, after Lemire.
    __device__ unsigned below(unsigned n) {
        unsigned long long product = static_cast<unsigned long long>(next()) * n;
        if (static_cast<unsigned>(product) < n) {
            const unsigned excess = (0u - n) % n;
            while (static_cast<unsigned>(product) < excess) product = static_cast<unsigned long long>(next()) * n;
        }
        return static_cast<unsigned>(product >> 32);
    }
};

struct ShuffleOperands {
    const unsigned char* codes;  // (n_sequences, length), letters below 32 or 255
    const unsigned* keys;
    unsigned char* out;
    Index n_sequences, length;
    unsigned purpose, sample;
    int is_shared;  // whether a row has room in shared memory, which is nearer to the one thread that walks
};

__device__ inline Stream stream_of(const ShuffleOperands& op, Index sequence) {
    return {op.keys[2 * sequence], op.keys[2 * sequence + 1], op.sample, op.purpose};
}

__device__ inline void copy_row(unsigned char* to, const unsigned char* from, Index length) {
    for (Index i = threadIdx.x; i < length; i += blockDim.x) to[i] = from[i];
}

// One block for a sequence: all threads copy it, one permutes it.
extern "C" __global__ void __launch_bounds__(BLOCK) permute(const ShuffleOperands op) {
    alignas(16) extern __shared__ unsigned char shared[];
    for (Index sequence = blockIdx.x; sequence < op.n_sequences; sequence += gridDim.x) {
        unsigned char* out = op.out + sequence * op.length;
        unsigned char* row = op.is_shared ? shared : out;
        copy_row(row, op.codes + sequence * op.length, op.length);
        __syncthreads();
        if (threadIdx.x == 0) {
            Stream stream = stream_of(op, sequence);
            for (Index i = op.length - 1; i > 0; --i) {
                const unsigned j = stream.below(static_cast<unsigned>(i) + 1);
                const unsigned char code = row[i];
                row[i] = row[j];
                row[j] = code;
            }
        }
        __syncthreads();
        if (op.is_shared) copy_row(out, row, op.length);
        __syncthreads();  // others may still copy from what the next sequence is written to
    }
}

// Letters that occur in a sequence, numbered in the order of their codes, and pairs of neighbours.
struct Walk {
    unsigned pairs[MOST_LETTERS][MOST_LETTERS];
    unsigned totals[MOST_LETTERS];
    unsigned parent[MOST_LETTERS];
    unsigned n_letters;
    unsigned char rank[256];  // of each code; 0 and 1 at first, whether it occurs
    unsigned char letters[MOST_LETTERS];
    bool is_finished[MOST_LETTERS];

    __device__ void number() {
        n_letters = 0;
        for (int code = 0; code < 256; ++code)
            if (rank[code]) {
                rank[code] = static_cast<unsigned char>(n_letters);
                letters[n_letters++] = static_cast<unsigned char>(code);
            }
    }

    // Draw the edge by which each letter is left for the last time, after Wilson.
    __device__ void grow(unsigned root, Stream& stream) {
        for (unsigned a = 0; a < n_letters; ++a) is_finished[a] = a == root;
        for (unsigned first = 0; first < n_letters; ++first) {
            for (unsigned a = first; !is_finished[a]; a = parent[a]) {
                unsigned leaving = 0, b = 0;
                for (unsigned other = 0; other < n_letters; ++other) leaving += other == a ? 0 : pairs[a][other];
                unsigned left = stream.below(leaving);
                while (b == a || left >= pairs[a][b]) {
                    left -= b == a ? 0 : pairs[a][b];
                    ++b;
                }
                parent[a] = b;
            }
            for (unsigned a = first; !is_finished[a]; a = parent[a]) is_finished[a] = true;
        }
        for (unsigned a = 0; a < n_letters; ++a) {
            if (a != root) --pairs[a][parent[a]];
            totals[a] = 0;
            for (unsigned b = 0; b < n_letters; ++b) totals[a] += pairs[a][b];
        }
    }

    // Go along the pairs left, and along the tree where none is left at a letter.
    __device__ void go(unsigned char* row, unsigned a, Index length, Stream& stream) {
        row[0] = letters[a];
        for (Index i = 1; i < length; ++i) {
            if (totals[a] > 0) {
                unsigned left = stream.below(totals[a]), b = 0;
                while (left >= pairs[a][b]) left -= pairs[a][b++];
                --pairs[a][b];
                --totals[a];
                a = b;
            } else {
                a = parent[a];
            }
            row[i] = letters[a];
        }
    }
};

static_assert(sizeof(Walk) == 4948, "as in cuda_draws.py");

// One block for a sequence: all threads count its pairs, one walks along them.
extern "C" __global__ void __launch_bounds__(BLOCK) walk(const ShuffleOperands op) {
    alignas(16) extern __shared__ unsigned char shared[];
    Walk& walk = *reinterpret_cast<Walk*>(shared);
    for (Index sequence = blockIdx.x; sequence < op.n_sequences; sequence += gridDim.x) {
        const unsigned char* codes = op.codes + sequence * op.length;
        unsigned char* out = op.out + sequence * op.length;
        unsigned char* row = op.is_shared ? shared + sizeof(Walk) : out;
        for (unsigned k = threadIdx.x; k < 256; k += blockDim.x) walk.rank[k] = 0;
        for (unsigned k = threadIdx.x; k < MOST_LETTERS * MOST_LETTERS; k += blockDim.x)
            walk.pairs[k / MOST_LETTERS][k % MOST_LETTERS] = 0;
        __syncthreads();
        for (Index i = threadIdx.x; i < op.length; i += blockDim.x) walk.rank[codes[i]] = 1;
        __syncthreads();
        if (threadIdx.x == 0) walk.number();
        __syncthreads();
        for (Index i = threadIdx.x + 1; i < op.length; i += blockDim.x)
            atomicAdd(&walk.pairs[walk.rank[codes[i - 1]]][walk.rank[codes[i]]], 1u);
        __syncthreads();
        if (threadIdx.x == 0) {
            Stream stream = stream_of(op, sequence);
            walk.grow(walk.rank[codes[op.length - 1]], stream);
            walk.go(row, walk.rank[codes[0]], op.length, stream);
        }
        __syncthreads();
        if (op.is_shared) copy_row(out, row, op.length);
        __syncthreads();  // others may still copy from what the next sequence is written to
    }
}
