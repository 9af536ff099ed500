/* What differs between nvcc and a C++ compiler that runs the kernels on the CPU. */
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define GAC_LAUNCH(kernel, grid, block, stream, ...) \
    kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)

namespace gac {

/* The value of the lane `by` above, of any trivially copyable type. */
template <typename Value>
__device__ Value shuffle_down(Value value, int by) {
    static_assert(std::is_trivially_copyable_v<Value> && sizeof(Value) % 4 == 0);
    unsigned words[sizeof(Value) / 4];
    memcpy(words, &value, sizeof value);
    for (unsigned &word : words) word = __shfl_down_sync(0xffffffffu, word, by);
    memcpy(&value, words, sizeof value);
    return value;
}

__device__ inline float half_to_float(uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}

__device__ inline float float_of(uint32_t bits) { return __uint_as_float(bits); }

}  // namespace gac

#else

#include "emulation.h"

#define GAC_LAUNCH(kernel, grid, block, stream, ...)                             \
    (static_cast<void>(stream),                                                  \
     gac::emulation::launch(static_cast<int64_t>(grid), static_cast<int>(block), \
                            [=] { kernel(__VA_ARGS__); }))

namespace gac {

template <typename Value>
Value shuffle_down(Value value, int by) {
    return emulation::exchanged(value, by);
}

inline float float_of(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/* An IEEE binary16: shifted into place, its exponent is 112 too low. */
inline float half_to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16, rest = bits & 0x7fffu;
    if (rest >= 0x7c00u) return float_of(sign | 0x7f800000u | rest << 13);
    const float size = float_of(rest << 13) * 0x1p112f;
    return sign ? -size : size;
}

}  // namespace gac

#endif
