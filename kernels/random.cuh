// Random words and the keys of their streams, which reference_sequences.py defines, to the bit.

using Index = long long;

constexpr int BLOCK = 256;  // threads

struct Words {
    unsigned w[4];
};

__device__ inline Words philox(Words c, unsigned k0, unsigned k1) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, c.w[0]), low0 = 0xD2511F53u * c.w[0];
        const unsigned high1 = __umulhi(0xCD9E8D57u, c.w[2]), low1 = 0xCD9E8D57u * c.w[2];
        c = {high1 ^ c.w[1] ^ k0, low1, high0 ^ c.w[3] ^ k1, low0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

struct DigestOperands {
    const unsigned char* codes;  // (n_sequences, length), letters below 32 or 255
    unsigned* keys;              // (n_sequences, 2)
    Index n_sequences, length;
    unsigned seed[2];
};

__device__ inline unsigned pack(const unsigned char* codes, Index start, Index length) {
    unsigned word = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k)
        if (start + k < length) word |= static_cast<unsigned>(codes[start + k]) << 8 * k;
    return word;
}

extern "C" __global__ void __launch_bounds__(BLOCK) digest(const DigestOperands op) {
    const Index step = Index(gridDim.x) * blockDim.x;
    for (Index n = Index(blockIdx.x) * blockDim.x + threadIdx.x; n < op.n_sequences; n += step) {
        const unsigned char* codes = op.codes + n * op.length;
        const unsigned low = static_cast<unsigned>(op.length), high = static_cast<unsigned>(op.length >> 32);
        Words state = philox({low, high, 0, 0}, op.seed[0], op.seed[1]);
        for (Index start = 0; start < op.length; start += 16) {
#pragma unroll
            for (int k = 0; k < 4; ++k) state.w[k] ^= pack(codes, start + 4 * k, op.length);
            state = philox(state, op.seed[0], op.seed[1]);
        }
        op.keys[2 * n] = state.w[0];
        op.keys[2 * n + 1] = state.w[1];
    }
}

struct WordsOperands {
    const unsigned* keys;     // (n_streams, 2)
    const unsigned* samples;  // (n_streams,)
    unsigned* words;          // (n_streams, 4 * n_blocks)
    Index n_streams, n_blocks;
    unsigned purpose, first;  // number of the first block
};

extern "C" __global__ void __launch_bounds__(BLOCK) words(const WordsOperands op) {
    const Index n = op.n_streams * op.n_blocks, step = Index(gridDim.x) * blockDim.x;
    for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const Index stream = i / op.n_blocks;
        const unsigned block = op.first + static_cast<unsigned>(i % op.n_blocks);
        const Words drawn = philox({block, op.samples[stream], op.purpose, 0}, op.keys[2 * stream], op.keys[2 * stream + 1]);
#pragma unroll
        for (int k = 0; k < 4; ++k) op.words[4 * i + k] = drawn.w[k];
    }
}
