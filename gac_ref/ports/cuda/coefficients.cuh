/* The coefficients that each objective puts in front of a token's score function. */
#pragma once

#include "tensors.cuh"

namespace gac {

template <typename Real>
__device__ bool finite(Real x) {
    return x - x == Real(0);
}

/* phi(p) = p (1 - p), keeping the digits of p where it is small and of 1 - p where that is. */
template <typename Real>
__device__ Real phi(Real logprob) {
    using std::exp;
    using std::expm1;
    if (logprob > Real(-0.5)) {
        const Real minus_q = expm1(logprob);
        return -minus_q * (Real(1) + minus_q);
    }
    const Real p = exp(logprob);
    return p * (Real(1) - p);
}

/* (c_s, c_r) of one token. */
template <typename Real>
__device__ void coefficients(const gac_config &config, bool expert, Real logprob, Real advantage,
                             Real &c_s, Real &c_r) {
    c_s = config.use_phi ? -phi(logprob) : Real(-1);
    c_r = expert ? Real(0) : -advantage;
}

/* The streams themselves, one token a thread; what lies outside the mask is not looked at. */
template <typename In>
__global__ void coefficient_streams(const gac_batch batch, const gac_config config, double *c_s,
                                    double *c_r) {
    using Real = Wide<In>;
    const int64_t all = batch.sequences * batch.tokens, stride = int64_t{gridDim.x} * blockDim.x;
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < all; i += stride) {
        const int64_t row = i / batch.tokens, token = i % batch.tokens;
        const auto at = [=](const gac_tensor &x, int64_t t) {
            return element<Real>(x, row * x.row_stride + t * x.token_stride);
        };
        Real s, r;
        coefficients(config, at(batch.is_expert, 0) != Real(0), at(batch.logprob, token),
                     at(batch.advantages, token), s, r);
        c_s[i] = static_cast<double>(s);
        c_r[i] = static_cast<double>(r);
    }
}

}  // namespace gac
