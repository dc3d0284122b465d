// What the kernels need of CUDA, for g++: every thread of a block is a fiber of one CPU thread (emulator.cpp).

#include <cmath>
#include <cstring>

#define __device__
#define __global__
#define __shared__
#define __launch_bounds__(...)

struct Dimensions {
    unsigned x;
};

struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

template <class T> void __stcs(T* to, T value) { *to = value; }

extern Dimensions threadIdx, blockIdx, blockDim, gridDim;
extern unsigned char shared[];  // of the block that runs, 16-byte aligned

void __syncthreads();

// Wait for all lanes of the mask, then read what lane `from` brought along; `name` and mask must be the same for all.
unsigned long long exchange(const char* name, unsigned mask, unsigned long long value, unsigned from);

template <class To, class From> To bits_as(From value) {
    To result = {};
    std::memcpy(&result, &value, sizeof value < sizeof result ? sizeof value : sizeof result);
    return result;
}

inline unsigned lane() { return threadIdx.x % 32; }

template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned offset) {
    const unsigned from = lane() + offset < 32 ? lane() + offset : lane();
    return bits_as<T>(exchange("shfl_down", mask, bits_as<unsigned long long>(value), from));
}

template <class T> T atomicAdd(T* address, T value) {
    const T before = *address;
    *address += value;
    return before;
}

template <class T> T atomicMin(T* address, T value) {
    const T before = *address;
    *address = value < before ? value : before;
    return before;
}

float within_an_ulp(double value);  // of the units for approximate functions, as bad as they may be

inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned long long>(a) * b >> 32; }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline float __int_as_float(int bits) { return bits_as<float>(bits); }
inline int __float_as_int(float value) { return bits_as<int>(value); }
inline double __longlong_as_double(long long bits) { return bits_as<double>(bits); }
inline long long __double_as_longlong(double value) { return bits_as<long long>(value); }

void run_grid(void (*thread)(const void*), const void* operands, unsigned grid, unsigned block);

// What the tests call: run the kernel that is named at compile time, with operands that lie in `bytes`.
template <class Operands> struct Launch {
    static void (*kernel)(Operands);
    static void thread(const void* bytes) { kernel(*static_cast<const Operands*>(bytes)); }
};

template <class Operands> void (*Launch<Operands>::kernel)(Operands);

template <class Operands>
bool emulate_kernel(void (*kernel)(Operands), const void* bytes, unsigned size, unsigned grid, unsigned block) {
    if (size != sizeof(Operands)) return false;
    Launch<Operands>::kernel = kernel;
    run_grid(Launch<Operands>::thread, bytes, grid, block);
    return true;
}
