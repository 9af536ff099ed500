/* From the rows to the three proxies: kernels over the sequences, all in double, in an order that
 * no launch parameter changes. */
#pragma once

#include "fused_rows.cuh"

namespace gac {

constexpr int BLOCK = 128;
constexpr double SPREAD_RTOL = 0x1p-40; /* a spread below this share of a stream is rounding */
constexpr double KL_ERROR_CLIP = 0.2;   /* Ziegler et al., arXiv:1909.08593, section 2.2 */
constexpr double PI = 3.141592653589793;

/* Every thread's value merged into one, known to all; a tree of halves. */
template <typename Value>
__device__ Value block_reduce(const Value &mine) {
    __shared__ Value slots[BLOCK];
    const int thread = static_cast<int>(threadIdx.x);
    slots[thread] = mine;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (thread < half) slots[thread] = merged(slots[thread], slots[thread + half]);
        __syncthreads();
    }
    const Value total = slots[0];
    __syncthreads(); /* before anyone writes a slot again */
    return total;
}

__device__ inline bool compared(const gac_config &config, const gac_row &row) {
    return row.expert == 0.0 || config.disagreement_rows == GAC_DISAGREEMENT_ROWS_ALL;
}

/* The whole batch, for the normalisation and the KL. */
struct Pool {
    Moments<double> streams; /* of the rows compared */
    int64_t rows;            /* compared */
    int64_t rollout_tokens;
    double kl;
    int64_t refused;
};

__device__ inline Pool merged(const Pool &a, const Pool &b) {
    return {merged(a.streams, b.streams), a.rows + b.rows, a.rollout_tokens + b.rollout_tokens,
            a.kl + b.kl, a.refused | b.refused};
}

__device__ inline Pool pool_of(const gac_config &config, const gac_row &row) {
    Pool one{};
    one.refused = static_cast<int64_t>(row.refused);
    if (row.expert == 0.0) {
        one.rollout_tokens = static_cast<int64_t>(row.tokens);
        one.kl = row.kl;
    }
    if (!compared(config, row)) return one;
    one.rows = 1;
    one.streams = {row.mean_logprob,
                   row.mean_s,
                   row.mean_r,
                   row.scatter_ss,
                   row.scatter_sr,
                   row.scatter_rr,
                   row.squared,
                   row.kl,
                   static_cast<int64_t>(row.tokens),
                   0};
    return one;
}

/* 1 / spread of a stream, or 0 where it has none. */
__device__ inline double inverse_spread(double mean, double scatter, double n, int64_t &constant) {
    const double spread = sqrt(scatter / n);
    constant = finite(spread) && spread <= SPREAD_RTOL * hypot(mean, spread);
    return constant ? 0.0 : 1.0 / spread;
}

/* KL to the reference on the rollouts, nats a token; NaN where unknown or unused. */
__device__ inline double batch_kl(const gac_config &config, const gac_cells &cells,
                                  const Pool &all) {
    const double n = static_cast<double>(all.rollout_tokens);
    if (config.alpha_mode == GAC_ALPHA_MODE_STATIC || all.rollout_tokens == 0) return NAN;
    return cells.has_batch_kl ? cells.batch_kl : all.kl / n;
}

/* The masked mean of (z_s - z_r)^2 of each row, from its own moments. With u = (1/sd_s, -1/sd_r)
 * the difference of two z-scores is u.(c - m), so that its sum of squares is
 * u'Su + n (u.(m_row - m))^2: no second pass over the tokens, and nothing that cancels. */
__global__ void sequences(const gac_config config, int64_t count, bool has_reference, gac_row *rows,
                          gac_cells *cells) {
    Pool mine{};
    for (int64_t i = threadIdx.x; i < count; i += BLOCK)
        mine = merged(mine, pool_of(config, rows[i]));
    const Pool all = block_reduce(mine);
    const Moments<double> &m = all.streams;
    const bool normalises =
        config.coefficient_normalization == GAC_COEFFICIENT_NORMALIZATION_ZSCORE;
    const bool present = config.missing_branch == GAC_MISSING_BRANCH_ZERO ? all.rows > 0 : m.n > 0;
    int64_t constant_s = 0, constant_r = 0;
    if (normalises) {
        const double n = m.n > 0 ? static_cast<double>(m.n) : 1.0;
        const double u_s = inverse_spread(m.s, m.ss, n, constant_s);
        const double u_r = inverse_spread(m.r, m.rr, n, constant_r);
        for (int64_t i = threadIdx.x; i < count; i += BLOCK) {
            gac_row &row = rows[i];
            const double offset = u_s * (row.mean_s - m.s) - u_r * (row.mean_r - m.r);
            const double square = u_s * u_s * row.scatter_ss - 2.0 * u_s * u_r * row.scatter_sr +
                                  u_r * u_r * row.scatter_rr + row.tokens * offset * offset;
            const double below = row.tokens + config.mask_eps;
            const double mean = (square < 0.0 ? 0.0 : square) / (below != 0.0 ? below : 1.0);
            row.disagreement = present && compared(config, row) ? mean : 0.0;
        }
    }
    if (threadIdx.x != 0) return;
    cells->sft_stream_constant = present && constant_s;
    cells->rl_stream_constant = present && constant_r;
    cells->kl = batch_kl(config, *cells, all);
    cells->refused = all.refused;
    if (config.alpha_mode == GAC_ALPHA_MODE_KL && all.rollout_tokens > 0) {
        if (!cells->has_batch_kl && !has_reference) {
            cells->refused |= GAC_REFUSED_NO_KL;
            cells->kl = NAN;
        }
        if (cells->has_batch_kl && !finite(cells->batch_kl)) cells->refused |= GAC_REFUSED_KL;
    }
}

/* Order statistics by counting: the place of each demonstration's NLL is how many come before it,
 * ties by row and NaN last. B^2 comparisons, spread over the device; every place is taken once. */
__global__ void sort_nlls(int64_t count, gac_row *rows) {
    const int64_t stride = int64_t{gridDim.x} * blockDim.x;
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) {
        if (rows[i].expert == 0.0) continue;
        const double mine = rows[i].nll;
        int64_t before = 0;
        for (int64_t j = 0; j < count; j++) {
            if (rows[j].expert == 0.0) continue;
            const double other = rows[j].nll;
            const bool tie = other == mine || (other != other && mine != mine);
            before += tie ? j < i : other < mine || mine != mine;
        }
        rows[before].sorted_nll = mine;
    }
}

/* Sums over the batch, merged by adding. */
template <int K>
struct Sums {
    double of[K];
};

template <int K>
__device__ Sums<K> merged(const Sums<K> &a, const Sums<K> &b) {
    Sums<K> both;
    for (int k = 0; k < K; k++) both.of[k] = a.of[k] + b.of[k];
    return both;
}

/* Trimmed variance, variance and mean; the variances in two passes. */
__global__ void proxies(const gac_config config, int64_t count, const gac_row *rows,
                        gac_cells *cells) {
    enum { EXPERTS, ROLLOUTS, COMPARED, TOKENS, ADVANTAGE = 2 * TOKENS, DISAGREEMENT, ALL };
    Sums<ALL> mine{};
    for (int64_t i = threadIdx.x; i < count; i += BLOCK) {
        const gac_row &row = rows[i];
        const int branch = row.expert != 0.0 ? EXPERTS : ROLLOUTS;
        mine.of[branch] += 1.0;
        mine.of[TOKENS + branch] += row.tokens;
        if (branch == ROLLOUTS) mine.of[ADVANTAGE] += row.advantage;
        if (!compared(config, row)) continue;
        mine.of[COMPARED] += 1.0;
        mine.of[TOKENS + COMPARED] += row.tokens;
        mine.of[DISAGREEMENT] += row.disagreement;
    }
    const Sums<ALL> all = block_reduce(mine);
    const int64_t experts = static_cast<int64_t>(all.of[EXPERTS]);
    const int64_t dropped =
        experts >= 4 ? static_cast<int64_t>(all.of[EXPERTS] * config.trim_ratio) : 0;
    const double kept = static_cast<double>(experts - 2 * dropped);
    Sums<1> level{};
    for (int64_t i = dropped + threadIdx.x; i < experts - dropped; i += BLOCK)
        level.of[0] += rows[i].sorted_nll;
    const double mean_s = block_reduce(level).of[0] / kept;
    const double mean_r = all.of[ADVANTAGE] / all.of[ROLLOUTS];
    Sums<2> square{};
    for (int64_t i = dropped + threadIdx.x; i < experts - dropped; i += BLOCK) {
        const double d = rows[i].sorted_nll - mean_s;
        square.of[0] += d * d;
    }
    for (int64_t i = threadIdx.x; i < count; i += BLOCK) {
        if (rows[i].expert != 0.0) continue;
        const double d = rows[i].advantage - mean_r;
        square.of[1] += d * d;
    }
    const Sums<2> scatter = block_reduce(square);
    if (threadIdx.x != 0) return;
    const int present = config.missing_branch == GAC_MISSING_BRANCH_ZERO ? EXPERTS : TOKENS;
    const double sigma_s2 = scatter.of[0] / kept, sigma_r2 = scatter.of[1] / all.of[ROLLOUTS];
    cells->has_s = all.of[present + EXPERTS] > 0.0;
    cells->has_r = all.of[present + ROLLOUTS] > 0.0;
    cells->has_delta = all.of[present + COMPARED] > 0.0;
    cells->sigma_s2_floored = cells->has_s && sigma_s2 < config.eps;
    cells->sigma_r2_floored = cells->has_r && sigma_r2 < config.eps;
    cells->proxy_sigma_s2 = !cells->has_s ? 0.0 : cells->sigma_s2_floored ? config.eps : sigma_s2;
    cells->proxy_sigma_r2 = !cells->has_r ? 0.0 : cells->sigma_r2_floored ? config.eps : sigma_r2;
    cells->proxy_delta_g2 = cells->has_delta ? all.of[DISAGREEMENT] / all.of[COMPARED] : 0.0;
}

}  // namespace gac
