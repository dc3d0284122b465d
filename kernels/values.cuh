// Numbers: what memory holds, what is computed with, and the angle of a position to the simplex.
//
// Everything is IEEE arithmetic as written: no fused multiply-add but where fused() says so, which the compiler is told
// by --fmad=false. Single precision denormals may be flushed to zero (CuPy asks for it), so nothing passes through one.

#ifndef INDEX_TYPE
#define INDEX_TYPE long long
#endif

using Index = INDEX_TYPE;  // of elements: 32 bits are cheaper, where all of them can be counted with these
using Bits64 = long long;

constexpr int BLOCK = 256;  // threads

struct Half {
    unsigned short bits;
};

struct BFloat16 {  // the upper half of a float
    unsigned short bits;
};

template <class T> struct ComputeOf {
    using type = float;
};

template <> struct ComputeOf<double> {
    using type = double;
};

// --- memory: several values that are read or written at once, by as few instructions of 16 bytes as they need ---

template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
    T values[N];
};

template <class T, int N> __device__ inline Pack<T, N> load_pack(const T* from) {
    return *reinterpret_cast<const Pack<T, N>*>(from);
}

template <int BYTES> struct Word;
template <> struct Word<1> { using type = unsigned char; };
template <> struct Word<2> { using type = unsigned short; };
template <> struct Word<4> { using type = unsigned; };
template <> struct Word<8> { using type = uint2; };
template <> struct Word<16> { using type = uint4; };

// Results are not read again soon. Left to itself, the compiler takes some of these stores apart.
template <class T, int N> __device__ inline void store_pack(T* to, const Pack<T, N>& pack) {
    using W = typename Word<alignof(Pack<T, N>)>::type;
#pragma unroll
    for (int k = 0; k < static_cast<int>(sizeof(pack) / sizeof(W)); ++k)
        __stcs(reinterpret_cast<W*>(to) + k, reinterpret_cast<const W*>(&pack)[k]);
}

// --- half precision, computed in single precision ---

__device__ inline float half_to_float(unsigned short bits) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    const int exponent = (bits >> 10) & 31, mantissa = bits & 0x3ff;
    float value = static_cast<float>(mantissa) * 0x1p-24f;  // subnormal
    if (exponent == 31) value = __int_as_float(0x7f800000 | (mantissa << 13));
    if (exponent > 0 && exponent < 31) value = __int_as_float(((exponent + 112) << 23) | (mantissa << 13));
    return bits >> 15 ? -value : value;
#endif
}

__device__ inline unsigned short float_to_half(float value) {
#ifdef __CUDA_ARCH__
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    const int bits = __float_as_int(value), magnitude = bits & 0x7fffffff;
    int result = (magnitude - 0x38000000 + 0x0fff + ((magnitude >> 13) & 1)) >> 13;
    // Adding 0.5 leaves the bits of a subnormal, correctly rounded, at the end of the mantissa.
    if (magnitude < 0x38800000) result = __float_as_int(__int_as_float(magnitude) + 0.5f) - 0x3f000000;
    if (magnitude >= 0x47800000) result = 0x7c00;
    if (magnitude > 0x7f800000) result = 0x7fff;  // the one NaN that the instruction gives
    return static_cast<unsigned short>(magnitude > 0x7f800000 ? result : result | ((bits >> 16) & 0x8000));
#endif
}

__device__ inline unsigned short float_to_bfloat16(float value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    unsigned short result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(value));
    return result;
#else
    const unsigned bits = static_cast<unsigned>(__float_as_int(value));
    const unsigned rounded = bits + 0x7fff + ((bits >> 16) & 1);
    return static_cast<unsigned short>((value == value ? rounded : bits | 0x00400000) >> 16);
#endif
}

template <class Compute, class T> __device__ inline Compute widen(T value) {
    return static_cast<Compute>(value);
}

template <class Compute> __device__ inline Compute widen(Half value) {
    return half_to_float(value.bits);
}

template <class Compute> __device__ inline Compute widen(BFloat16 value) {
    return __int_as_float(static_cast<int>(static_cast<unsigned>(value.bits) << 16));
}

template <class T> struct Narrow {
    template <class Compute> __device__ static T from(Compute value) { return value; }
};

template <> struct Narrow<Half> {
    __device__ static Half from(float value) { return {float_to_half(value)}; }
};

template <> struct Narrow<BFloat16> {
    __device__ static BFloat16 from(float value) { return {float_to_bfloat16(value)}; }
};

// --- the angle ---

__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }
__device__ inline float square_root(float value) { return sqrtf(value); }
__device__ inline double square_root(double value) { return sqrt(value); }
__device__ inline float with_sign_of(float sign, float value) { return copysignf(value, sign); }
__device__ inline double with_sign_of(double sign, double value) { return copysign(value, sign); }

// Bits of |value| as an integer, which orders as the values do, NaN last.
__device__ inline int magnitude(float value) { return __float_as_int(value) & 0x7fffffff; }
__device__ inline Bits64 magnitude(double value) { return __double_as_longlong(value) & 0x7fffffffffffffffLL; }

// The smallest normal number. What is smaller may have been flushed to zero, and counts as zero.
__device__ inline bool is_zero(int magnitude) { return magnitude < 0x00800000; }
__device__ inline bool is_zero(Bits64 magnitude) { return magnitude == 0; }

// A power of two that brings the magnitude into [2, 4); 0 for infinity and NaN, whose product with it is NaN.
__device__ inline float inverse_scale(int magnitude) {
    const int least = 0x00800000, infinity = 0x7f800000;
    return __int_as_float(infinity - ((magnitude > least ? magnitude : least) & infinity));
}

__device__ inline double inverse_scale(Bits64 magnitude) {
    const Bits64 least = 0x0010000000000000LL, infinity = 0x7ff0000000000000LL;
    return __longlong_as_double(infinity - ((magnitude > least ? magnitude : least) & infinity));
}

// Arctangent on [0, 1] in radians, within 2 ulp: t times a minimax polynomial in q, which is t squared.
__device__ inline float arctangent(float t, float q) {
    const float coefficients[] = {-0.016068633645772934f, 0.04269152879714966f, -0.0750429555773735f,
                                  0.10640934854745865f,   -0.14203645288944244f, 0.1999261975288391f,
                                  -0.3333307206630707f};
    float p = 0.00284989015199244f;
#pragma unroll
    for (int k = 0; k < 7; ++k) p = fused(p, q, coefficients[k]);
    return fused(t, q * p, t);
}

__device__ inline double arctangent(double t, double q) {
    const double coefficients[] = {
        0.0002206870248054369, -0.0011535835694877338, 0.003827146336583401, -0.009130324715527256,
        0.016904053108219394,  -0.02575116047215757,   0.0340087368743305,   -0.04089077672763401,
        0.04672287972916032,   -0.05238634057682439,   0.058771423596369304, -0.06665825855799087,
        0.07692207609190774,   -0.0909090064767908,    0.11111110634359768,  -0.1428571426919653,
        0.1999999999969632,    -0.3333333333333111};
    double p = -2.0018582799593352e-05;
#pragma unroll
    for (int k = 0; k < 18; ++k) p = fused(p, q, coefficients[k]);
    return fused(t, q * p, t);
}

template <class Compute> struct Units {
    Compute radian;     // one radian, in the unit of the result
    Compute right;      // a right angle
    Compute undefined;  // what a zero gradient gives
};

// atan2(upright, width) for width >= 0.
template <class Compute>
__device__ inline Compute angle_of(Compute upright, Compute width, const Units<Compute>& units) {
    const Compute height = upright < 0 ? -upright : upright;
    const bool steep = height > width;
    const Compute t = (steep ? width : height) / (steep ? height : width);
    const Compute angle = arctangent(t, t * t) * units.radian;
    const Compute size = steep ? units.right - angle : angle;
    return upright < 0 ? -size : size;
}

template <int N, class Compute> __device__ inline Compute mean_of(Compute total) {
    return N == 4 ? total * Compute(0.25) : total / Compute(N);
}

template <class Compute, int N>
__device__ inline Compute simplex_angle(const Compute (&g)[N], const Units<Compute>& units) {
    auto largest = magnitude(g[0]);
#pragma unroll
    for (int a = 1; a < N; ++a) largest = magnitude(g[a]) > largest ? magnitude(g[a]) : largest;
    if (is_zero(largest)) return units.undefined;
    const Compute scale = inverse_scale(largest);
    Compute total = g[0] * scale;
#pragma unroll
    for (int a = 1; a < N; ++a) total += g[a] * scale;
    const Compute mean = mean_of<N>(total);
    Compute squares = 0;
#pragma unroll
    for (int a = 0; a < N; ++a) {
        const Compute centred = g[a] * scale - mean;
        squares = a == 0 ? centred * centred : fused(centred, centred, squares);
    }
    const Compute upright = N == 4 ? total * Compute(0.5) : total / square_root(Compute(N));
    return angle_of(upright, square_root(squares), units);
}

// --- the angle, where the squares of four letters in single precision neither overflow nor vanish ---

// Within an ulp, by the unit that has no other duty.
__device__ inline float approximate_reciprocal(float value) {
#ifdef __CUDA_ARCH__
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
    return result;
#else
    return within_an_ulp(1.0 / value);
#endif
}

__device__ inline float approximate_root(float value) {
#ifdef __CUDA_ARCH__
    float result;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
    return result;
#else
    return within_an_ulp(std::sqrt(static_cast<double>(value)));
#endif
}

// Squares of lengths between which no part that matters is lost: what vanishes changes the angle by less than an ulp.
constexpr float LEAST_SQUARE = 1e-24f, LARGEST_SQUARE = 1e30f;

template <class Compute> struct Usual {
    Compute size;     // the smaller of the angles to the simplex and to its normal, in a unit of the caller's
    bool steep;       // which of them
    Compute upright;  // its sign is that of the angle
};

// `is_usual` becomes false where no angle is to be had like this: zero, NaN, infinity, and what is far from 1.
__device__ inline Usual<float> usual_angle(const float (&g)[4], float radian, bool& is_usual) {
    const float total = g[0] + g[1] + g[2] + g[3], mean = total * 0.25f, upright = total * 0.5f;
    float squares = (g[0] - mean) * (g[0] - mean);
#pragma unroll
    for (int a = 1; a < 4; ++a) squares = fused(g[a] - mean, g[a] - mean, squares);
    const float height = upright * upright;
    const float larger = fmaxf(height, squares), smaller = fminf(height, squares);
    is_usual = is_usual && larger > LEAST_SQUARE && larger < LARGEST_SQUARE;
    const float q = smaller * approximate_reciprocal(larger);
    return {arctangent(approximate_root(q), q) * radian, height > squares, upright};
}

// Other alphabets, and double precision.
template <int N, class Compute>
__device__ inline Usual<Compute> usual_angle(const Compute (&)[N], Compute, bool& is_usual) {
    is_usual = false;
    return {};
}

template <class Compute> __device__ inline Compute signed_angle(const Usual<Compute>& usual, Compute right) {
    return with_sign_of(usual.upright, usual.steep ? right - usual.size : usual.size);
}

// Brings the letters near 1, by a power of two; false for zero, whose angle is not defined.
__device__ inline bool scale_letters(float (&g)[4]) {
    int largest = magnitude(g[0]);
#pragma unroll
    for (int a = 1; a < 4; ++a) largest = magnitude(g[a]) > largest ? magnitude(g[a]) : largest;
    const float scale = inverse_scale(largest);
#pragma unroll
    for (int a = 0; a < 4; ++a) g[a] *= scale;
    return !is_zero(largest);
}

// The angle of any letters.
__device__ inline float simplex_angle(float (&g)[4], const Units<float>& units) {
    bool ignored = true;
    return scale_letters(g) ? signed_angle(usual_angle(g, units.radian, ignored), units.right) : units.undefined;
}
