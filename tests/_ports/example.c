/* A port in C of the scalar stages. BREAK, at compile time, plants a fault in one of them. */
#include "gac_port.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { NOTHING, OVERRUN, UNDERRUN, UNWRITTEN, UNMARKED, SEGFAULT, ABORT, HANG, SPOIL, STATUS, NOISE,
       BAD_FLAG, BAD_HELLO };
#ifndef BREAK
#define BREAK NOTHING
#endif
#ifndef VERSION
#define VERSION GAC_PORT_ABI
#endif

static gac_config config;

int32_t gac_port_abi(void) { return VERSION; }

const char *gac_port_hello(void) {
    if (BREAK == BAD_HELLO) return "{'protocol': 1}";
    return "{\"protocol\": 1, \"name\": \"example in C\", \"version\": \"1\","
           " \"stages\": [\"transport\", \"coefficients\", \"alpha\", \"closed_form\","
           " \"weight_ema\", \"prior_blend\", \"change_cap\", \"clip\"],"
           " \"dtypes\": [\"fp64\", \"fp32\", \"fp16\", \"bf16\"]}";
}

int32_t gac_port_configure(const gac_config *wanted, int32_t dtype, const char *device, char *message,
                           int32_t size) {
    (void)dtype;
    if (strcmp(device, "cpu") != 0)
        return gac_refuse(GAC_UNSUPPORTED, "only the CPU", message, size);
    config = *wanted;
    return GAC_OK;
}

void gac_port_reset(void) {}

static double bounded(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

static double prior_at(double step) {
    const double peak = config.prior_peak, valley = config.prior_valley;
    if (config.prior == GAC_PRIOR_NONE) return NAN;
    if (step < config.prior_warmup) return peak * step / config.prior_warmup;
    step -= config.prior_warmup;
    if (step >= config.prior_decay) return valley;
    return valley + (peak - valley) * 0.5 * (1.0 + cos(acos(-1.0) * step / config.prior_decay));
}

static void transport(const gac_array *in, int32_t n_in, gac_array *out, int32_t n_out) {
    static const int64_t bytes[] = {8, 4, 2, 2, 8, 1};
    for (int32_t i = 0; i < n_out; i++) {
        const gac_array *from = gac_find(in, n_in, out[i].name);
        memcpy(out[i].data, from->data, (size_t)(gac_size(from) * bytes[from->dtype]));
        out[i].written = 1;
    }
}

static void coefficients(const gac_array *in, int32_t n_in, gac_array *out, int32_t n_out) {
    const gac_array *logprob = gac_find(in, n_in, "logprob");
    const gac_array *advantages = gac_find(in, n_in, "advantages");
    const gac_array *expert = gac_find(in, n_in, "is_expert");
    gac_array *c_s = gac_find(out, n_out, "c_s"), *c_r = gac_find(out, n_out, "c_r");
    const int64_t tokens = logprob->shape[1];
    for (int64_t i = 0; i < gac_size(logprob); i++) {
        const double p = exp(gac_entry(logprob, i));
        const double a = gac_entry(advantages, advantages->ndim == 2 ? i : i / tokens);
        ((double *)c_s->data)[i] = config.use_phi ? -p * (1.0 - p) : -1.0;
        ((double *)c_r->data)[i] = gac_entry(expert, i / tokens) != 0.0 ? 0.0 : -a;
    }
    c_s->written = c_r->written = 1;
}

static void fault(const gac_array *in, gac_array *mu) {
    switch (BREAK) {
        case OVERRUN: ((double *)mu->data)[1] = 0.5; break;
        case UNDERRUN: ((double *)mu->data)[-1] = 0.5; break;
        case SPOIL: *(double *)in[0].data = 0.5; break;
        case SEGFAULT: raise(SIGSEGV); break;
        case ABORT: fprintf(stderr, "assertion failed: mu is finite\n"); abort();
        case HANG: for (;;) pause();
        case NOISE: printf("clipping\n"); fflush(stdout); break;
        default: break;
    }
}

int32_t gac_port_run(const char *stage, const gac_array *in, int32_t n_in, gac_array *out,
                     int32_t n_out, char *message, int32_t size) {
    if (strcmp(stage, "transport") == 0) {
        transport(in, n_in, out, n_out);
    } else if (strcmp(stage, "coefficients") == 0) {
        coefficients(in, n_in, out, n_out);
    } else if (strcmp(stage, "alpha") == 0) {
        const double before = gac_scalar(in, n_in, "previous_alpha"), kl = gac_scalar(in, n_in, "kl");
        double after = before;
        if (config.alpha_mode == GAC_ALPHA_MODE_KL && !isnan(kl))
            after *= 1.0 + config.kl_gain * bounded(kl / config.kl_target - 1.0, -0.2, 0.2);
        const double alpha = config.alpha_mode == GAC_ALPHA_MODE_KL && !isnan(kl)
                                 ? bounded(after, config.alpha_min, config.alpha_max) : after;
        gac_answer(out, n_out, "alpha", alpha);
        gac_answer(out, n_out, "alpha_clipped", alpha != after);
    } else if (strcmp(stage, "closed_form") == 0) {
        const double s = gac_scalar(in, n_in, "sigma_s2"), r = gac_scalar(in, n_in, "sigma_r2");
        const double delta = gac_scalar(in, n_in, "delta_g2"), ratio = config.delta_g2_cap_ratio;
        const double cap = ratio > 0.0 ? ratio * (s + r + config.eps) : INFINITY;
        const double d = delta > cap ? cap : delta, alpha = gac_scalar(in, n_in, "alpha");
        const int zero = config.flat_risk == GAC_FLAT_RISK_ZERO;
        const double limit = 2.0 * config.eps;
        const int flat = s <= limit && r <= limit && d <= limit;
        double mu = (alpha * d + r) / (d + s + r + (zero ? config.eps : 0.0));
        if (flat && !zero) mu = alpha;
        gac_answer(out, n_out, "delta_g2_capped", d);
        gac_answer(out, n_out, "disagreement_capped", delta > cap);
        gac_answer(out, n_out, "mu_raw", mu);
        gac_answer(out, n_out, "flat_risk", flat);
    } else if (strcmp(stage, "weight_ema") == 0) {
        const int internal = config.weight_ema == GAC_WEIGHT_EMA_INTERNAL;
        const double before = gac_scalar(in, n_in, internal ? "previous_mu_ada" : "previous_mu");
        const double raw = gac_scalar(in, n_in, "mu_raw"), beta = config.ema_beta;
        const int held = config.unseen_statistic == GAC_UNSEEN_STATISTIC_HOLD &&
                         gac_scalar(in, n_in, "not_ready") != 0.0;
        double mu = beta * before + (1.0 - beta) * raw;
        if (held) mu = before;
        else if (config.weight_ema == GAC_WEIGHT_EMA_OFF) mu = raw;
        const double inside = bounded(mu, config.mu_min, config.mu_max);
        gac_answer(out, n_out, "mu_ada", inside);
        gac_answer(out, n_out, "mu_ada_clipped", inside != mu);
    } else if (strcmp(stage, "prior_blend") == 0) {
        const double prior = prior_at(gac_scalar(in, n_in, "step"));
        const double mu = gac_scalar(in, n_in, "mu_ada"), share = config.blend_weight;
        gac_answer(out, n_out, "prior", prior);
        gac_answer(out, n_out, "mu_candidate", isnan(prior) ? mu : (1.0 - share) * prior + share * mu);
    } else if (strcmp(stage, "change_cap") == 0) {
        const double before = gac_scalar(in, n_in, "previous_mu"), cap = config.mu_change_cap;
        const double mu = gac_scalar(in, n_in, "mu_candidate");
        const int acted = fabs(mu - before) > cap;
        gac_answer(out, n_out, "mu_capped", acted ? before + copysign(cap, mu - before) : mu);
        gac_answer(out, n_out, "change_capped", acted);
    } else if (strcmp(stage, "clip") == 0) {
        const double given = gac_scalar(in, n_in, "mu_capped");
        const double mu = bounded(given, config.mu_min, config.mu_max);
        gac_array *to = gac_find(out, n_out, "mu"), *flag = gac_find(out, n_out, "mu_clipped");
        if (BREAK != UNWRITTEN) *(double *)to->data = mu;
        to->written = BREAK != UNMARKED;
        *(uint8_t *)flag->data = BREAK == BAD_FLAG ? 255 : mu != given;
        flag->written = 1;
        fault(in, to);
        if (BREAK == STATUS) return 42;
    } else {
        return gac_refuse(GAC_UNSUPPORTED, "not a scalar stage", message, size);
    }
    return GAC_OK;
}
