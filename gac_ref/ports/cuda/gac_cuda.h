/* The C ABI of the CUDA port: plain C99 and C++, for programs and for torch (by pointer).
 *
 * All memory is the caller's, on the device. Nothing waits for the device: the functions check what
 * the host can see, enqueue on `stream` (a cudaStream_t, NULL for the default one) and return a
 * code. What only the device can see, values that must not be there, is answered in the
 * cells: `refused` is a sum of GAC_REFUSED_..., and then mu is NaN and the state is not moved.
 */
#ifndef GAC_CUDA_H
#define GAC_CUDA_H

#include "gac_port.h"

/* dtype of a tensor: GAC_FP64, GAC_FP32, GAC_FP16, GAC_BF16, GAC_INT64, GAC_FLAG (a bool of one
 * byte) of gac_port.h, and these two. Tokens are of the first four, flags of any. */
enum { GAC_INT32 = 7, GAC_UINT8 = 8 };

enum {
    GAC_CUDA_OK = 0,
    GAC_CUDA_BAD_DTYPE = 1,
    GAC_CUDA_BAD_SIZE = 2,
    GAC_CUDA_NULL_POINTER = 3,
    GAC_CUDA_MISALIGNED = 4,
    GAC_CUDA_BAD_LAUNCH = 5,
    GAC_CUDA_TOO_LARGE = 6,
    GAC_CUDA_DEVICE = 7
};

/* What the device refuses; powers of two, so that they add up. */
enum {
    GAC_REFUSED_LOGPROB = 1,
    GAC_REFUSED_ADVANTAGE = 2,
    GAC_REFUSED_MASK = 4,
    GAC_REFUSED_EXPERT = 8,
    GAC_REFUSED_REFERENCE = 16,
    GAC_REFUSED_OVERFLOW = 32,
    GAC_REFUSED_NO_KL = 64,
    GAC_REFUSED_KL = 128,
    GAC_REFUSED_NOT_MEASURED = 256
};

/* A tensor of the device; strides in elements, of any size and sign. Entry [b, t] is
 * data[b * row_stride + t * token_stride]; a token_stride of 0 is one value a sequence. */
typedef struct gac_tensor {
    const void *data;
    int64_t row_stride;
    int64_t token_stride;
    int32_t dtype;
    int32_t reserved;
} gac_tensor;

typedef struct gac_batch {
    int64_t sequences; /* B >= 0 */
    int64_t tokens;    /* T >= 0 */
    gac_tensor logprob;
    gac_tensor response_mask; /* 0 or 1, in any dtype */
    gac_tensor advantages;
    gac_tensor is_expert;   /* 0 or 1 a sequence, in any dtype; token_stride is not read */
    gac_tensor ref_logprob; /* data NULL: none */
} gac_batch;

/* What one sequence adds to the proxies: [B, 16] of doubles. The moments are over its response
 * tokens, c_s = -phi(p) or -1 and c_r = -A (0 in a demonstration); scatter is the sum of products
 * of deviations from the sequence's own means. */
typedef struct gac_row {
    double expert;
    double tokens;
    double refused; /* sum of GAC_REFUSED_... */
    double mean_logprob, mean_s, mean_r;
    double scatter_ss, scatter_sr, scatter_rr;
    double squared; /* sum of (c_s - c_r)^2 */
    double kl;      /* sum of the k3 estimate, on rollouts, if alpha follows the KL */
    double nll;          /* masked mean NLL of a demonstration, else 0 */
    double advantage;    /* masked mean advantage of a rollout, else 0 */
    double disagreement; /* masked mean of (c_s - c_r)^2; gac_sequences normalises it */
    double sorted_nll;   /* scratch of gac_proxies: the NLLs of the demonstrations, ascending */
    double reserved;
} gac_row;

/* Everything else of a step, 8 bytes a cell: reals are doubles, counts and flags int64_t. The names
 * are those of the suite's stage table. */
#define GAC_CELLS(REAL, COUNT) \
    REAL(previous_mu) REAL(previous_mu_ada) REAL(previous_alpha) \
    REAL(previous_sigma_s2) REAL(previous_sigma_r2) REAL(previous_delta_g2) \
    COUNT(previous_count_s) COUNT(previous_count_r) COUNT(previous_count_delta) \
    COUNT(previous_last_refresh) COUNT(step) REAL(batch_kl) COUNT(has_batch_kl) COUNT(refused) \
    COUNT(sft_stream_constant) COUNT(rl_stream_constant) REAL(kl) \
    REAL(proxy_sigma_s2) REAL(proxy_sigma_r2) REAL(proxy_delta_g2) \
    COUNT(has_s) COUNT(has_r) COUNT(has_delta) COUNT(sigma_s2_floored) COUNT(sigma_r2_floored) \
    REAL(sigma_s2) REAL(sigma_r2) REAL(delta_g2) COUNT(count_s) COUNT(count_r) \
    COUNT(count_delta) COUNT(last_refresh) COUNT(not_ready) REAL(alpha) COUNT(alpha_clipped) \
    REAL(delta_g2_capped) REAL(mu_raw) COUNT(disagreement_capped) COUNT(flat_risk) \
    REAL(mu_ada) COUNT(mu_ada_clipped) REAL(prior) REAL(mu_candidate) \
    REAL(mu_capped) COUNT(change_capped) REAL(mu) COUNT(mu_clipped)

#define GAC_REAL_CELL(name) double name;
#define GAC_COUNT_CELL(name) int64_t name;
typedef struct gac_cells { GAC_CELLS(GAC_REAL_CELL, GAC_COUNT_CELL) } gac_cells;

/* The scalar stages; their sum, GAC_STAGES, is a whole step. */
enum {
    GAC_STAGE_ALPHA = 1,
    GAC_STAGE_STATISTICS_EMA = 2,
    GAC_STAGE_CLOSED_FORM = 4,
    GAC_STAGE_WEIGHT_EMA = 8,
    GAC_STAGE_PRIOR_BLEND = 16,
    GAC_STAGE_CHANGE_CAP = 32,
    GAC_STAGE_CLIP = 64,
    GAC_STAGES = 127
};

/* How to launch the token pass; NULL, or zeros, for the defaults. The answer does not depend on
 * either, to the bit. */
typedef struct gac_launch {
    int32_t block; /* threads of a block: a multiple of 32 up to 1024 */
    int32_t grid;  /* at most this many blocks; they take the rows in turns */
} gac_launch;

#ifdef __cplusplus
extern "C" {
#endif

/* One pass over the tokens: rows[b] for each sequence. Sizes: T below 2^31. */
GAC_EXPORT int32_t gac_fused_rows(const gac_batch *batch, const gac_config *config, gac_row *rows,
                                  const gac_launch *launch, void *stream);

/* c_s and c_r, [B, T] of doubles each, without gaps; for inspection, not part of a step. */
GAC_EXPORT int32_t gac_coefficients(const gac_batch *batch, const gac_config *config, double *c_s,
                                    double *c_r, void *stream);

/* From the rows to the normalised disagreement, the constant streams, the KL and `refused`.
 * has_reference: whether the rows hold the KL of a ref_logprob. */
GAC_EXPORT int32_t gac_sequences(const gac_config *config, int64_t sequences, int32_t has_reference,
                                 gac_row *rows, gac_cells *cells, void *stream);

/* From expert, tokens, nll, advantage and disagreement of the rows to the three proxies. The order
 * statistics are found by counting, B^2 / 2 comparisons over the whole device: B <= 2^20. */
GAC_EXPORT int32_t gac_proxies(const gac_config *config, int64_t sequences, gac_row *rows,
                               gac_cells *cells, void *stream);

/* Scalar stages in their order; stages is a sum of GAC_STAGE_.... */
GAC_EXPORT int32_t gac_controller(const gac_config *config, int32_t stages, int32_t measured,
                                  gac_cells *cells, void *stream);

/* One whole step, all of the above. cells: previous_..., step and perhaps batch_kl (with
 * has_batch_kl = 1). measured = 0: the batch is not read, for the steps between two refreshes
 * (gac_refresh_due) with a static alpha; batch and rows may then be NULL. */
GAC_EXPORT int32_t gac_step(const gac_batch *batch, const gac_config *config, gac_row *rows,
                            gac_cells *cells, int32_t measured, const gac_launch *launch,
                            void *stream);

/* Whether a step takes the statistics of its batch in; last_refresh is -1 before the first. */
GAC_EXPORT int32_t gac_refresh_due(const gac_config *config, int64_t last_refresh, int64_t step);

/* The state before the first step, and the state after a step as the previous_... of the next. */
GAC_EXPORT int32_t gac_start(const gac_config *config, gac_cells *cells, void *stream);
GAC_EXPORT int32_t gac_next(gac_cells *cells, void *stream);

/* What a code of these functions, or a sum of GAC_REFUSED_..., says. */
GAC_EXPORT const char *gac_message(int32_t code);
GAC_EXPORT const char *gac_refusal(int64_t refused);

/* The place of a cell, counted in cells, or -1; and whether it is a count. */
GAC_EXPORT int32_t gac_cell(const char *name);
GAC_EXPORT int32_t gac_cell_is_count(const char *name);

/* Device memory, for programs without another library for it. Copies wait. */
GAC_EXPORT const char *gac_device_name(void); /* "cuda", or "cpu" where it is emulated */
GAC_EXPORT void *gac_device_alloc(int64_t bytes);
GAC_EXPORT void gac_device_free(void *memory);
GAC_EXPORT int32_t gac_upload(void *device, const void *host, int64_t bytes);
GAC_EXPORT int32_t gac_download(void *host, const void *device, int64_t bytes);

/* Emulation only, else without effect: the order in which threads run between two barriers.
 * 0 ascending, 1 descending, else a seed. */
GAC_EXPORT void gac_emulation_order(uint32_t order);

#ifdef __cplusplus
}
#endif

#endif
