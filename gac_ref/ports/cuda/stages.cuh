/* The scalar stages of a step, each of which reads and writes the cells, so that it can be asked
 * for by itself; and their order, written once, in `controller`. A NaN passes through all. */
#pragma once

#include "controller.cuh"

namespace gac {

__device__ inline double ema(double previous, double value, double beta) {
    return beta * previous + (1.0 - beta) * value;
}

__device__ inline double clipped(double value, double low, double high, int64_t &acted) {
    acted = value < low || value > high;
    return value < low ? low : value > high ? high : value;
}

__host__ __device__ inline bool refresh_due(const gac_config &config, int64_t last_refresh,
                                            int64_t step) {
    return last_refresh < 0 || step - last_refresh >= config.mu_update_freq;
}

__device__ inline void alpha_stage(const gac_config &config, gac_cells &c) {
    c.alpha = c.previous_alpha;
    c.alpha_clipped = 0;
    if (config.alpha_mode == GAC_ALPHA_MODE_STATIC || c.kl != c.kl) return;
    int64_t beyond;
    const double error =
        clipped(c.kl / config.kl_target - 1.0, -KL_ERROR_CLIP, KL_ERROR_CLIP, beyond);
    const double moved = c.previous_alpha * (1.0 + config.kl_gain * error);
    c.alpha = clipped(moved, config.alpha_min, config.alpha_max, c.alpha_clipped);
}

/* One statistic: seeded by its first value; a missing one is held, or fed 0. */
__device__ inline void smooth(const gac_config &config, bool present, double value, double previous,
                              int64_t seen, double &mean, int64_t &count) {
    mean = previous;
    count = seen;
    if (!present && config.missing_branch == GAC_MISSING_BRANCH_HOLD) return;
    if (!present) value = 0.0;
    mean = seen > 0 ? ema(previous, value, config.ema_beta) : value;
    count = seen + 1;
}

__device__ inline void statistics_ema_stage(const gac_config &config, gac_cells &c) {
    c.sigma_s2 = c.previous_sigma_s2, c.count_s = c.previous_count_s;
    c.sigma_r2 = c.previous_sigma_r2, c.count_r = c.previous_count_r;
    c.delta_g2 = c.previous_delta_g2, c.count_delta = c.previous_count_delta;
    c.last_refresh = c.previous_last_refresh;
    if (refresh_due(config, c.previous_last_refresh, c.step)) {
        const double delta_g2 = c.proxy_delta_g2 < 0.0 ? 0.0 : c.proxy_delta_g2;
        smooth(config, c.has_s, c.proxy_sigma_s2, c.previous_sigma_s2, c.previous_count_s,
               c.sigma_s2, c.count_s);
        smooth(config, c.has_r, c.proxy_sigma_r2, c.previous_sigma_r2, c.previous_count_r,
               c.sigma_r2, c.count_r);
        smooth(config, c.has_delta, delta_g2, c.previous_delta_g2, c.previous_count_delta,
               c.delta_g2, c.count_delta);
        c.last_refresh = c.step;
    }
    c.not_ready = c.count_s == 0 || c.count_r == 0 || c.count_delta == 0;
    if (c.count_s == 0) c.sigma_s2 = 1.0; /* stand-ins, until the first value replaces them */
    if (c.count_r == 0) c.sigma_r2 = 1.0;
    if (c.count_delta == 0) c.delta_g2 = 0.0;
}

/* mu = (alpha D + s2_r) / (D + s2_s + s2_r), with the disagreement D capped. */
__device__ inline void closed_form_stage(const gac_config &config, gac_cells &c) {
    const double s = c.sigma_s2, r = c.sigma_r2,
                 limit = config.delta_g2_cap_ratio * (s + r + config.eps);
    double d = c.delta_g2;
    c.disagreement_capped = config.delta_g2_cap_ratio > 0.0 && d > limit;
    if (c.disagreement_capped) d = limit;
    c.delta_g2_capped = d;
    c.flat_risk = s <= 2.0 * config.eps && r <= 2.0 * config.eps && d <= 2.0 * config.eps;
    const double top = c.alpha * d + r;
    double bottom = d + s + r;
    if (config.flat_risk == GAC_FLAT_RISK_ZERO) bottom += config.eps;
    c.mu_raw = top / (bottom != 0.0 ? bottom : 1.0);
    if (c.flat_risk && config.flat_risk == GAC_FLAT_RISK_ALPHA) c.mu_raw = c.alpha;
}

__device__ inline bool held(const gac_config &config, const gac_cells &c) {
    return c.not_ready && config.unseen_statistic == GAC_UNSEEN_STATISTIC_HOLD;
}

__device__ inline double ema_input(const gac_config &config, const gac_cells &c) {
    return config.weight_ema == GAC_WEIGHT_EMA_INTERNAL ? c.previous_mu_ada : c.previous_mu;
}

__device__ inline void weight_ema_stage(const gac_config &config, gac_cells &c) {
    double value = ema(ema_input(config, c), c.mu_raw, config.ema_beta);
    if (config.weight_ema == GAC_WEIGHT_EMA_OFF) value = c.mu_raw;
    if (held(config, c)) value = ema_input(config, c);
    c.mu_ada = clipped(value, config.mu_min, config.mu_max, c.mu_ada_clipped);
}

__device__ inline double prior_at(const gac_config &config, int64_t step) {
    if (config.prior == GAC_PRIOR_NONE) return NAN;
    const int64_t since = step - config.prior_warmup;
    if (since >= config.prior_decay && since >= 0) return config.prior_valley;
    if (since < 0) return static_cast<double>(step) / config.prior_warmup * config.prior_peak;
    const double half = 0.5 * (1.0 + cos(PI * (static_cast<double>(since) / config.prior_decay)));
    return config.prior_valley + (config.prior_peak - config.prior_valley) * half;
}

__device__ inline void prior_blend_stage(const gac_config &config, gac_cells &c) {
    const double weight = config.blend_weight;
    c.prior = prior_at(config, c.step);
    c.mu_candidate =
        config.prior == GAC_PRIOR_NONE ? c.mu_ada : (1.0 - weight) * c.prior + weight * c.mu_ada;
}

__device__ inline void change_cap_stage(const gac_config &config, gac_cells &c) {
    const double change = c.mu_candidate - c.previous_mu;
    c.change_capped = fabs(change) > config.mu_change_cap;
    c.mu_capped =
        c.change_capped ? c.previous_mu + copysign(config.mu_change_cap, change) : c.mu_candidate;
}

__device__ inline void clip_stage(const gac_config &config, gac_cells &c) {
    c.mu = clipped(c.mu_capped, config.mu_min, config.mu_max, c.mu_clipped);
}

/* The stages asked for, in their order. */
__global__ void controller(const gac_config config, int stages, bool measured, gac_cells *cells) {
    gac_cells &c = *cells;
    const bool whole = stages == GAC_STAGES;
    if (whole && !measured) {
        const bool needed = config.alpha_mode == GAC_ALPHA_MODE_KL ||
                            refresh_due(config, c.previous_last_refresh, c.step);
        c.refused = needed ? GAC_REFUSED_NOT_MEASURED : 0;
        c.kl = NAN;
    }
    if (whole && c.refused) {
        c.mu = NAN;
        return;
    }
    if (stages & GAC_STAGE_ALPHA) alpha_stage(config, c);
    if (stages & GAC_STAGE_STATISTICS_EMA) statistics_ema_stage(config, c);
    if (stages & GAC_STAGE_CLOSED_FORM) closed_form_stage(config, c);
    if (whole && held(config, c)) { /* stand-ins decide nothing */
        c.mu_raw = ema_input(config, c);
        c.disagreement_capped = c.flat_risk = 0;
    }
    if (stages & GAC_STAGE_WEIGHT_EMA) weight_ema_stage(config, c);
    if (stages & GAC_STAGE_PRIOR_BLEND) prior_blend_stage(config, c);
    if (stages & GAC_STAGE_CHANGE_CAP) change_cap_stage(config, c);
    if (stages & GAC_STAGE_CLIP) clip_stage(config, c);
}

__global__ void start(const gac_config config, gac_cells *cells) {
    *cells = gac_cells{};
    cells->previous_mu = cells->previous_mu_ada = config.init_mu;
    cells->previous_alpha = config.alpha;
    cells->previous_last_refresh = -1;
}

/* A refused step leaves the state where it was. */
__global__ void next(gac_cells *cells) {
    gac_cells &c = *cells;
    if (c.refused) return;
    c.previous_mu = c.mu;
    c.previous_mu_ada = c.mu_ada;
    c.previous_alpha = c.alpha;
    c.previous_sigma_s2 = c.sigma_s2;
    c.previous_sigma_r2 = c.sigma_r2;
    c.previous_delta_g2 = c.delta_g2;
    c.previous_count_s = c.count_s;
    c.previous_count_r = c.count_r;
    c.previous_count_delta = c.count_delta;
    c.previous_last_refresh = c.last_refresh;
}

}  // namespace gac
