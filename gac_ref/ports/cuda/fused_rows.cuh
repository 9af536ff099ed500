/* One pass over [B, T]: all that the three proxies need to know of each sequence.
 *
 * Over its response tokens, with l = log p, c_s = -phi(p) or -1, c_r = -A (0 in a demonstration):
 *
 *     n,   mean l,   m = mean (c_s, c_r),   S = sum (c - m)(c - m)',   sum (c_s - c_r)^2,   sum k3
 *
 * Second moments are centred from the start. Raw ones, sum c^2 - n m^2, lose every digit where the
 * mean is large against the spread; two centred ones merge without loss, by Chan, Golub and LeVeque
 * (The American Statistician 37(3), 1983, eq. 2.1):
 *
 *     d = m_b - m_a,   m = m_a + d n_b / n,   S = S_a + S_b + d d' n_a n_b / n.
 *
 * The tree of merges belongs to the row, not to the launch, so that no block size shows in a bit:
 *
 *     8 tokens     centred in registers, where a second pass is free
 *     a lane       every 256th such chunk, in order
 *     a segment    its 32 lanes, by shuffles
 *     the row      its 8 segments, in order, through shared memory
 *
 * Warps deal out the segments: a block of fewer than 8 warps goes over them in turns, one of more
 * takes several rows at once.
 */
#pragma once

#include "coefficients.cuh"

namespace gac {

constexpr int WARP = 32, SEGMENTS = 8, MAX_WARPS = 32;
constexpr int64_t ROUND = int64_t{CHUNK} * WARP * SEGMENTS; /* tokens of a row taken at once */

template <typename Real>
struct Moments {
    Real l, s, r;       /* means of log p, c_s, c_r */
    Real ss, sr, rr;    /* scatter */
    Real squared, kl;   /* sums */
    int64_t n, refused; /* response tokens; what must not be there */
};

/* Moments of two disjoint parts. A part of no tokens is neutral, unless it carries a NaN: without
 * tokens the share of b is 0, and 0 NaN = NaN. Equal means stay equal, to the bit. */
template <typename Real>
__device__ Moments<Real> merged(const Moments<Real> &a, const Moments<Real> &b) {
    Moments<Real> both;
    both.n = a.n + b.n;
    const Real share = both.n > 0 ? Real(b.n) / Real(both.n) : Real(0);
    const Real weight = Real(a.n) * share, s = b.s - a.s, r = b.r - a.r;
    both.l = a.l + (b.l - a.l) * share;
    both.s = a.s + s * share;
    both.r = a.r + r * share;
    both.ss = a.ss + b.ss + s * s * weight;
    both.sr = a.sr + b.sr + s * r * weight;
    both.rr = a.rr + b.rr + r * r * weight;
    both.squared = a.squared + b.squared;
    both.kl = a.kl + b.kl;
    both.refused = a.refused | b.refused;
    return both;
}

/* The moments of up to 8 tokens. Sums are of differences from the first response token, so that a
 * constant stream has a scatter of exactly 0. A masked position is not looked at ("select"), or
 * adds 0 x ("multiply", as released), which is NaN where x is not finite. */
template <typename In>
__device__ Moments<Wide<In>> chunk_moments(const gac_batch &batch, const gac_config &config,
                                           bool expert, int64_t row, int64_t first) {
    using Real = Wide<In>;
    using std::expm1;
    const bool select = config.masking == GAC_MASKING_SELECT;
    const int64_t left = batch.tokens - first;
    const int count = left < CHUNK ? static_cast<int>(left) : CHUNK;
    Real l[CHUNK], s[CHUNK], r[CHUNK], mask[CHUNK];
    load<In>(l, batch.logprob, row, first, count);
    load<In>(r, batch.advantages, row, first, count);
    load<uint8_t>(mask, batch.response_mask, row, first, count);

    Moments<Real> out{};
    Real pivot_l = 0, pivot_s = 0, pivot_r = 0, sum_l = 0, sum_s = 0, sum_r = 0;
    for (int i = 0; i < CHUNK; i++) {
        const bool on = mask[i] == Real(1);
        if (!on && mask[i] != Real(0)) out.refused |= GAC_REFUSED_MASK;
        if (!on && select) l[i] = r[i] = Real(0);
        coefficients(config, expert, l[i], r[i], s[i], r[i]);
        if (on && !(l[i] <= Real(0) && finite(l[i]))) out.refused |= GAC_REFUSED_LOGPROB;
        if (on && !finite(r[i])) out.refused |= GAC_REFUSED_ADVANTAGE;
        if (on && out.n == 0) pivot_l = l[i], pivot_s = s[i], pivot_r = r[i];
        out.n += on;
        sum_l += on ? l[i] - pivot_l : Real(0) * l[i];
        sum_s += on ? s[i] - pivot_s : Real(0) * s[i];
        sum_r += on ? r[i] - pivot_r : Real(0) * r[i];
    }
    const Real n = Real(out.n > 0 ? out.n : 1);
    out.l = pivot_l + sum_l / n;
    out.s = pivot_s + sum_s / n;
    out.r = pivot_r + sum_r / n;
    for (int i = 0; i < CHUNK; i++) {
        const bool on = mask[i] == Real(1);
        const Real ds = on ? s[i] - out.s : Real(0) * s[i];
        const Real dr = on ? r[i] - out.r : Real(0) * r[i];
        const Real square = (s[i] - r[i]) * (s[i] - r[i]);
        out.ss += ds * ds;
        out.sr += ds * dr;
        out.rr += dr * dr;
        out.squared += on ? square : Real(0) * square;
    }
    if (config.alpha_mode != GAC_ALPHA_MODE_KL || batch.ref_logprob.data == nullptr || expert)
        return out;
    load<In>(r, batch.ref_logprob, row, first, count);
    for (int i = 0; i < CHUNK; i++) {
        if (mask[i] != Real(1)) continue;
        const Real d = r[i] - l[i]; /* k3 = e^d - d - 1, d = log p_ref - log p */
        out.kl += expm1(d) - d;
        if (!(r[i] <= Real(0) && finite(r[i]))) out.refused |= GAC_REFUSED_REFERENCE;
    }
    return out;
}

/* The row that leaves the device, in doubles; means of n are sums over n + mask_eps. */
template <typename Real>
__device__ gac_row finished(const gac_config &config, double expert, const Moments<Real> &m) {
    const double n = static_cast<double>(m.n), below = n + config.mask_eps;
    const double share = n / (below != 0.0 ? below : 1.0);
    int64_t refused = m.refused;
    if (expert != 0.0 && expert != 1.0) refused |= GAC_REFUSED_EXPERT;
    if (config.masking == GAC_MASKING_SELECT && !(finite(m.l) && finite(m.r)))
        refused |= GAC_REFUSED_OVERFLOW;
    gac_row row{};
    row.expert = expert, row.tokens = n, row.refused = static_cast<double>(refused);
    row.mean_logprob = m.l, row.mean_s = m.s, row.mean_r = m.r;
    row.scatter_ss = m.ss, row.scatter_sr = m.sr, row.scatter_rr = m.rr;
    row.squared = m.squared, row.kl = m.kl;
    if (expert != 0.0)
        row.nll = -row.mean_logprob * share;
    else
        row.advantage = -row.mean_r * share;
    if (expert == 0.0 || config.disagreement_rows == GAC_DISAGREEMENT_ROWS_ALL)
        row.disagreement = row.squared / (below != 0.0 ? below : 1.0);
    return row;
}

template <typename In>
__global__ void __launch_bounds__(1024, 1)
    fused_rows(const gac_batch batch, const gac_config config, gac_row *rows) {
    using Real = Wide<In>;
    __shared__ Moments<Real> segments[MAX_WARPS];
    const int warps = static_cast<int>(blockDim.x) / WARP, thread = static_cast<int>(threadIdx.x);
    const int together = warps > SEGMENTS ? warps / SEGMENTS : 1; /* rows */
    const int64_t stride = int64_t{gridDim.x} * together;
    for (int64_t top = int64_t{blockIdx.x} * together; top < batch.sequences; top += stride) {
        for (int v = thread / WARP; v < together * SEGMENTS; v += warps) {
            const int64_t row = top + v / SEGMENTS;
            const int64_t begin = int64_t{v % SEGMENTS} * WARP * CHUNK;
            Moments<Real> mine{};
            if (row < batch.sequences && begin < batch.tokens) { /* the same for a whole warp */
                const bool expert =
                    element<Real>(batch.is_expert, row * batch.is_expert.row_stride) != Real(0);
                const int64_t lane = begin + int64_t{thread % WARP} * CHUNK;
                for (int64_t first = lane; first < batch.tokens; first += ROUND)
                    mine = merged(mine, chunk_moments<In>(batch, config, expert, row, first));
                for (int by = WARP / 2; by > 0; by /= 2)
                    mine = merged(mine, shuffle_down(mine, by));
            }
            if (thread % WARP == 0) segments[v] = mine;
        }
        __syncthreads();
        if (thread < together && top + thread < batch.sequences) {
            const int64_t row = top + thread;
            Moments<Real> total = segments[thread * SEGMENTS];
            for (int k = 1; k < SEGMENTS; k++)
                total = merged(total, segments[thread * SEGMENTS + k]);
            const double expert =
                element<double>(batch.is_expert, row * batch.is_expert.row_stride);
            rows[row] = finished(config, expert, total);
        }
        __syncthreads();
    }
}

}  // namespace gac
