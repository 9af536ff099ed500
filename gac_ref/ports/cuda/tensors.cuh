/* Reading a tensor of the caller: any dtype, any strides, widened exactly. */
#pragma once

#include "gac_cuda.h"
#include "platform.cuh"

namespace gac {

constexpr int CHUNK = 8; /* tokens that a thread takes at once: 16 bytes in half precision */

struct Half {
    uint16_t bits;
};

struct Brain {
    uint16_t bits;
};

__device__ inline double widened(double value) { return value; }
__device__ inline float widened(float value) { return value; }
__device__ inline float widened(Half value) { return half_to_float(value.bits); }
__device__ inline float widened(Brain value) { return float_of(uint32_t{value.bits} << 16); }
__device__ inline float widened(uint8_t value) { return value; }

/* float64 is summed in float64, everything narrower in float32. */
template <typename In>
using Wide = std::conditional_t<std::is_same_v<In, double>, double, float>;

template <typename In>
__device__ bool holds(const gac_tensor &tensor) {
    if constexpr (std::is_same_v<In, double>) return tensor.dtype == GAC_FP64;
    if constexpr (std::is_same_v<In, float>) return tensor.dtype == GAC_FP32;
    if constexpr (std::is_same_v<In, Half>) return tensor.dtype == GAC_FP16;
    if constexpr (std::is_same_v<In, Brain>) return tensor.dtype == GAC_BF16;
    return tensor.dtype == GAC_FLAG || tensor.dtype == GAC_UINT8;
}

/* The element at an offset, whatever the dtype; its bytes are not looked at as a bool. A float64
 * that does not fit (in a mask: tokens of float64 are read as such) is NaN, which none accepts. */
template <typename Real>
__device__ Real element(const gac_tensor &tensor, int64_t at) {
    switch (tensor.dtype) {
        case GAC_FP64: {
            const double value = static_cast<const double *>(tensor.data)[at];
            return double{Real(value)} == value ? Real(value) : Real(NAN);
        }
        case GAC_FP32: return Real(static_cast<const float *>(tensor.data)[at]);
        case GAC_FP16: return Real(widened(static_cast<const Half *>(tensor.data)[at]));
        case GAC_BF16: return Real(widened(static_cast<const Brain *>(tensor.data)[at]));
        case GAC_INT64: return Real(static_cast<const int64_t *>(tensor.data)[at]);
        case GAC_INT32: return Real(static_cast<const int32_t *>(tensor.data)[at]);
        default: return Real(static_cast<const uint8_t *>(tensor.data)[at]);
    }
}

template <typename In>
struct alignas(sizeof(In) * CHUNK < 16 ? sizeof(In) * CHUNK : 16) Packed {
    In value[CHUNK];
};

/* `count` tokens of a row from `first` on, and zeros up to CHUNK. Nothing beyond is touched: one
 * wide read where the tokens lie side by side on a boundary of it, else one by one. */
template <typename In, typename Real>
__device__ void load(Real (&to)[CHUNK], const gac_tensor &from, int64_t row, int64_t first,
                     int count) {
    const int64_t start = row * from.row_stride + first * from.token_stride;
    if (count == CHUNK && from.token_stride == 1 && holds<In>(from)) {
        const In *here = static_cast<const In *>(from.data) + start;
        if (reinterpret_cast<uintptr_t>(here) % alignof(Packed<In>) == 0) {
            const Packed<In> packed = *reinterpret_cast<const Packed<In> *>(here);
            for (int i = 0; i < CHUNK; i++) to[i] = Real(widened(packed.value[i]));
            return;
        }
    }
    for (int i = 0; i < CHUNK; i++)
        to[i] = i < count ? element<Real>(from, start + i * from.token_stride) : Real(0);
}

}  // namespace gac
