/* The C ABI of a port. Plain C99 and C++; a library that exports the five functions at the end can be
 * checked with `gac-ref check path/to/lib.so`. They are called from one thread, in a process of
 * their own; what they print goes to the standard error.
 *
 * gac_port_run is asked for a stage by name. Its inputs are arrays by name, in no promised order;
 * optional ones may be missing. They are read-only. The outputs are allocated, named and shaped by
 * the caller: fill `data`, then set `written`. An output that the port does not know stays unwritten
 * (a whole step needs `mu` only; any other stage needs all of its outputs). Rows run along the
 * first axis: entry [b, t] of shape {B, T} is data[b * T + t].
 */
#ifndef GAC_PORT_H
#define GAC_PORT_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define GAC_PORT_ABI 1

/* dtype of an array. Tokens (logprob, ref_logprob, old_logprob, advantages) come in the dtype of
 * gac_port_configure, every other real number as GAC_FP64, counts as GAC_INT64, flags as GAC_FLAG. */
enum {
    GAC_FP64 = 0,
    GAC_FP32 = 1,
    GAC_FP16 = 2,  /* uint16_t: the bits of an IEEE binary16 */
    GAC_BF16 = 3,  /* uint16_t: the upper half of the bits of a float */
    GAC_INT64 = 4,
    GAC_FLAG = 5,  /* uint8_t: 0 or 1 */
    GAC_TEXT = 6   /* const char: ends with a zero byte */
};

/* What configure and run return. For all but GAC_OK, `message` says why. */
enum { GAC_OK = 0, GAC_UNSUPPORTED = 1, GAC_SKIPPED = 2, GAC_ERROR = 3 };

enum { GAC_PRIOR_WARMUP_COSINE = 0, GAC_PRIOR_NONE = 1 };
enum { GAC_COEFFICIENT_NORMALIZATION_NONE = 0, GAC_COEFFICIENT_NORMALIZATION_ZSCORE = 1 };
enum { GAC_DISAGREEMENT_ROWS_ALL = 0, GAC_DISAGREEMENT_ROWS_ROLLOUTS = 1 };
enum { GAC_WEIGHT_EMA_APPLIED = 0, GAC_WEIGHT_EMA_INTERNAL = 1, GAC_WEIGHT_EMA_OFF = 2 };
enum { GAC_MISSING_BRANCH_ZERO = 0, GAC_MISSING_BRANCH_HOLD = 1 };
enum { GAC_UNSEEN_STATISTIC_UNIT = 0, GAC_UNSEEN_STATISTIC_HOLD = 1 };
enum { GAC_MASKING_MULTIPLY = 0, GAC_MASKING_SELECT = 1 };
enum { GAC_FLAT_RISK_ZERO = 0, GAC_FLAT_RISK_ALPHA = 1 };
enum { GAC_ALPHA_MODE_STATIC = 0, GAC_ALPHA_MODE_KL = 1 };

/* The fields of GACConfig, in its order. */
typedef struct gac_config {
    double ema_beta;
    double mu_min;
    double mu_max;
    double init_mu;
    double mu_change_cap;
    double blend_weight;
    int32_t mu_update_freq;
    double trim_ratio;
    double alpha;
    double alpha_min;
    double alpha_max;
    double kl_target;
    double kl_gain;
    double eps;
    double mask_eps;
    double delta_g2_cap_ratio;
    int32_t prior;
    int32_t prior_warmup;
    int32_t prior_decay;
    double prior_peak;
    double prior_valley;
    int32_t use_phi;
    int32_t coefficient_normalization;
    int32_t disagreement_rows;
    int32_t weight_ema;
    int32_t missing_branch;
    int32_t unseen_statistic;
    int32_t masking;
    int32_t flat_risk;
    int32_t alpha_mode;
} gac_config;

typedef struct gac_array {
    const char *name;
    int32_t dtype;
    int32_t ndim;     /* 0: a scalar, one entry */
    int64_t shape[2]; /* 1 where there is no such axis */
    void *data;
    int32_t written; /* of an output: set to 1 once every entry is filled */
    int32_t reserved;
} gac_array;

/* Helpers; a port may do without them. */

static inline gac_array *gac_find(const gac_array *arrays, int32_t count, const char *name) {
    for (int32_t i = 0; i < count; i++)
        if (strcmp(arrays[i].name, name) == 0) return (gac_array *)&arrays[i];
    return NULL;
}

static inline int64_t gac_size(const gac_array *array) { return array->shape[0] * array->shape[1]; }

/* Entry i of any array but GAC_TEXT, as a double. */
static inline double gac_entry(const gac_array *array, int64_t i) {
    uint32_t bits;
    float single;
    switch (array->dtype) {
        case GAC_FP64: return ((const double *)array->data)[i];
        case GAC_FP32: return ((const float *)array->data)[i];
        case GAC_INT64: return (double)((const int64_t *)array->data)[i];
        case GAC_FLAG: return ((const uint8_t *)array->data)[i];
        default: break;
    }
    bits = ((const uint16_t *)array->data)[i];
    if (array->dtype == GAC_BF16) {
        bits <<= 16;
        memcpy(&single, &bits, sizeof single);
        return single;
    }
    const uint32_t sign = bits & 0x8000u, power = bits >> 10 & 31u, rest = bits & 0x3ffu;
    double size = power ? 1024.0 + rest : rest; /* times 2^(power - 25); 2^-24 if subnormal */
    if (power == 31) {
        bits = rest ? 0x7fc00000u : 0x7f800000u;
        memcpy(&single, &bits, sizeof single);
        size = single;
    } else {
        for (uint32_t p = power ? power : 1; p < 25; p++) size *= 0.5;
        for (uint32_t p = power; p > 25; p--) size *= 2.0;
    }
    return sign ? -size : size;
}

/* The scalar input of that name; 0 where there is none. */
static inline double gac_scalar(const gac_array *inputs, int32_t count, const char *name) {
    const gac_array *found = gac_find(inputs, count, name);
    return found ? gac_entry(found, 0) : 0.0;
}

/* Write a scalar output, whatever its kind; nothing where the caller does not ask for it. */
static inline void gac_answer(gac_array *outputs, int32_t count, const char *name, double value) {
    gac_array *found = gac_find(outputs, count, name);
    if (!found) return;
    if (found->dtype == GAC_FP64) *(double *)found->data = value;
    else if (found->dtype == GAC_INT64) *(int64_t *)found->data = (int64_t)value;
    else *(uint8_t *)found->data = value != 0.0;
    found->written = 1;
}

static inline int32_t gac_refuse(int32_t status, const char *why, char *message, int32_t size) {
    snprintf(message, (size_t)size, "%s", why);
    return status;
}

#if defined(_WIN32)
#define GAC_EXPORT __declspec(dllexport)
#else
#define GAC_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Return GAC_PORT_ABI. */
GAC_EXPORT int32_t gac_port_abi(void);

/* Who the port is and what it claims, as JSON text in UTF-8; it stays valid. For example
 * {"protocol": 1, "name": "my port", "version": "1.2", "stages": ["clip"], "dtypes": ["fp32"]} */
GAC_EXPORT const char *gac_port_hello(void);

/* Take a configuration and start a new trajectory. dtype is one of the first four; device is the
 * text given on the command line, such as "cpu". */
GAC_EXPORT int32_t gac_port_configure(const gac_config *config, int32_t dtype, const char *device,
                                      char *message, int32_t message_size);

/* Forget everything but the configuration. */
GAC_EXPORT void gac_port_reset(void);

/* Answer one stage. */
GAC_EXPORT int32_t gac_port_run(const char *stage, const gac_array *inputs, int32_t input_count,
                                gac_array *outputs, int32_t output_count, char *message,
                                int32_t message_size);

#ifdef __cplusplus
}
#endif

#endif
