/* The C ABI: what the host can check is checked here, then kernels are enqueued. */
#include <cstddef>

#include "gac_cuda.h"
#include "stages.cuh"

namespace {

constexpr int64_t MAX_GRID = int64_t{1} << 20, MAX_SORTED = int64_t{1} << 20;
constexpr int THREADS = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int32_t launched() {
#ifdef __CUDACC__
    return cudaGetLastError() == cudaSuccess ? GAC_CUDA_OK : GAC_CUDA_DEVICE;
#else
    return GAC_CUDA_OK;
#endif
}

int64_t width_of(int32_t dtype) {
    switch (dtype) {
        case GAC_FP64:
        case GAC_INT64: return 8;
        case GAC_FP32:
        case GAC_INT32: return 4;
        case GAC_FP16:
        case GAC_BF16: return 2;
        case GAC_FLAG:
        case GAC_UINT8: return 1;
        default: return 0;
    }
}

int32_t check(const gac_tensor &tensor, bool tokens, int64_t elements) {
    const int64_t width = width_of(tensor.dtype);
    const bool real = tensor.dtype >= GAC_FP64 && tensor.dtype <= GAC_BF16;
    if (width == 0 || (tokens && !real)) return GAC_CUDA_BAD_DTYPE;
    if (elements == 0) return GAC_CUDA_OK;
    if (tensor.data == nullptr) return GAC_CUDA_NULL_POINTER;
    return reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(width) == 0
               ? GAC_CUDA_OK
               : GAC_CUDA_MISALIGNED;
}

int32_t check(const gac_batch *batch, const gac_config *config) {
    if (batch == nullptr || config == nullptr) return GAC_CUDA_NULL_POINTER;
    const int64_t rows = batch->sequences, width = batch->tokens;
    if (rows < 0 || width < 0) return GAC_CUDA_BAD_SIZE;
    if (width > INT32_MAX || rows > INT64_MAX / 16 / (width + 1)) return GAC_CUDA_TOO_LARGE;
    int32_t code = check(batch->logprob, true, rows * width);
    if (code == GAC_CUDA_OK) code = check(batch->advantages, true, rows * width);
    if (code == GAC_CUDA_OK) code = check(batch->response_mask, false, rows * width);
    if (code == GAC_CUDA_OK) code = check(batch->is_expert, false, rows);
    if (code == GAC_CUDA_OK && batch->ref_logprob.data != nullptr)
        code = check(batch->ref_logprob, true, rows * width);
    return code;
}

bool aligned8(const void *memory) { return reinterpret_cast<uintptr_t>(memory) % 8 == 0; }

int32_t check(const void *memory) {
    if (memory == nullptr) return GAC_CUDA_NULL_POINTER;
    return aligned8(memory) ? GAC_CUDA_OK : GAC_CUDA_MISALIGNED;
}

bool is_wide(const gac_tensor &tensor) {
    return tensor.data != nullptr && tensor.dtype == GAC_FP64;
}

/* The kernel for the dtype of the log-probabilities; in double if any of the tokens are. Tokens of
 * another dtype than that are read one by one. */
template <typename Launch>
void dispatch(const gac_batch &batch, Launch launch) {
    const bool wide =
        is_wide(batch.logprob) || is_wide(batch.advantages) || is_wide(batch.ref_logprob);
    if (wide)
        launch(double{});
    else if (batch.logprob.dtype == GAC_FP32)
        launch(float{});
    else if (batch.logprob.dtype == GAC_FP16)
        launch(gac::Half{});
    else
        launch(gac::Brain{});
}

struct Cell {
    const char *name;
    bool count;
};

#define GAC_REAL_NAME(name) {#name, false},
#define GAC_COUNT_NAME(name) {#name, true},
const Cell CELLS[] = {GAC_CELLS(GAC_REAL_NAME, GAC_COUNT_NAME)};
static_assert(sizeof(gac_cells) == 8 * (sizeof CELLS / sizeof *CELLS), "a cell has 8 bytes");
static_assert(sizeof(gac_row) == 16 * sizeof(double), "a row has 16 doubles");

}  // namespace

extern "C" {

int32_t gac_fused_rows(const gac_batch *batch, const gac_config *config, gac_row *rows,
                       const gac_launch *launch, void *stream) {
    int32_t code = check(batch, config);
    if (code != GAC_CUDA_OK) return code;
    const int64_t warps = ceil_div(batch->tokens, int64_t{gac::CHUNK} * gac::WARP);
    const int fitting = gac::WARP * static_cast<int>(warps < 1               ? 1
                                                     : warps < gac::SEGMENTS ? warps
                                                                             : gac::SEGMENTS);
    const int block = launch != nullptr && launch->block != 0 ? launch->block : fitting;
    const int64_t limit = launch != nullptr && launch->grid != 0 ? launch->grid : MAX_GRID;
    if (block < gac::WARP || block > 1024 || block % gac::WARP != 0 || limit < 1)
        return GAC_CUDA_BAD_LAUNCH;
    if (batch->sequences == 0) return GAC_CUDA_OK;
    code = check(rows);
    if (code != GAC_CUDA_OK) return code;
    const int together = block / gac::WARP > gac::SEGMENTS ? block / gac::WARP / gac::SEGMENTS : 1;
    const int64_t needed = ceil_div(batch->sequences, together),
                  grid = needed < limit ? needed : limit;
    const gac_batch b = *batch;
    const gac_config c = *config;
    dispatch(b, [&](auto in) {
        GAC_LAUNCH(gac::fused_rows<decltype(in)>, static_cast<unsigned>(grid), block, stream, b, c,
                   rows);
    });
    return launched();
}

int32_t gac_coefficients(const gac_batch *batch, const gac_config *config, double *c_s, double *c_r,
                         void *stream) {
    const int32_t code = check(batch, config);
    if (code != GAC_CUDA_OK) return code;
    const int64_t all = batch->sequences * batch->tokens, needed = ceil_div(all, THREADS);
    if (all == 0) return GAC_CUDA_OK;
    if (c_s == nullptr || c_r == nullptr) return GAC_CUDA_NULL_POINTER;
    if (!aligned8(c_s) || !aligned8(c_r)) return GAC_CUDA_MISALIGNED;
    const unsigned grid = static_cast<unsigned>(needed < MAX_GRID ? needed : MAX_GRID);
    const gac_batch b = *batch;
    const gac_config c = *config;
    dispatch(b, [&](auto in) {
        GAC_LAUNCH(gac::coefficient_streams<decltype(in)>, grid, THREADS, stream, b, c, c_s, c_r);
    });
    return launched();
}

int32_t gac_sequences(const gac_config *config, int64_t sequences, int32_t has_reference,
                      gac_row *rows, gac_cells *cells, void *stream) {
    if (config == nullptr || (sequences > 0 && rows == nullptr)) return GAC_CUDA_NULL_POINTER;
    if (sequences < 0) return GAC_CUDA_BAD_SIZE;
    const int32_t code = check(cells);
    if (code != GAC_CUDA_OK || !aligned8(rows))
        return code != GAC_CUDA_OK ? code : GAC_CUDA_MISALIGNED;
    const gac_config c = *config;
    GAC_LAUNCH(gac::sequences, 1, gac::BLOCK, stream, c, sequences, has_reference != 0, rows,
               cells);
    return launched();
}

int32_t gac_proxies(const gac_config *config, int64_t sequences, gac_row *rows, gac_cells *cells,
                    void *stream) {
    if (config == nullptr || (sequences > 0 && rows == nullptr)) return GAC_CUDA_NULL_POINTER;
    if (sequences < 0) return GAC_CUDA_BAD_SIZE;
    if (sequences > MAX_SORTED) return GAC_CUDA_TOO_LARGE;
    const int32_t code = check(cells);
    if (code != GAC_CUDA_OK || !aligned8(rows))
        return code != GAC_CUDA_OK ? code : GAC_CUDA_MISALIGNED;
    const gac_config c = *config;
    const unsigned grid = static_cast<unsigned>(ceil_div(sequences, gac::BLOCK));
    if (sequences > 0) GAC_LAUNCH(gac::sort_nlls, grid, gac::BLOCK, stream, sequences, rows);
    GAC_LAUNCH(gac::proxies, 1, gac::BLOCK, stream, c, sequences, rows, cells);
    return launched();
}

int32_t gac_controller(const gac_config *config, int32_t stages, int32_t measured, gac_cells *cells,
                       void *stream) {
    if (config == nullptr) return GAC_CUDA_NULL_POINTER;
    if (stages < 0 || stages > GAC_STAGES) return GAC_CUDA_BAD_SIZE;
    const int32_t code = check(cells);
    if (code != GAC_CUDA_OK) return code;
    const gac_config c = *config;
    GAC_LAUNCH(gac::controller, 1, 1, stream, c, stages, measured != 0, cells);
    return launched();
}

int32_t gac_step(const gac_batch *batch, const gac_config *config, gac_row *rows, gac_cells *cells,
                 int32_t measured, const gac_launch *launch, void *stream) {
    int32_t code = check(cells);
    if (measured) {
        if (code == GAC_CUDA_OK && batch != nullptr && batch->sequences > MAX_SORTED)
            code = GAC_CUDA_TOO_LARGE;
        if (code == GAC_CUDA_OK) code = gac_fused_rows(batch, config, rows, launch, stream);
        if (code == GAC_CUDA_OK)
            code = gac_sequences(config, batch->sequences, batch->ref_logprob.data != nullptr, rows,
                                 cells, stream);
        if (code == GAC_CUDA_OK) code = gac_proxies(config, batch->sequences, rows, cells, stream);
    }
    return code == GAC_CUDA_OK ? gac_controller(config, GAC_STAGES, measured, cells, stream) : code;
}

int32_t gac_refresh_due(const gac_config *config, int64_t last_refresh, int64_t step) {
    return gac::refresh_due(*config, last_refresh, step);
}

int32_t gac_start(const gac_config *config, gac_cells *cells, void *stream) {
    if (config == nullptr) return GAC_CUDA_NULL_POINTER;
    const int32_t code = check(cells);
    if (code != GAC_CUDA_OK) return code;
    const gac_config c = *config;
    GAC_LAUNCH(gac::start, 1, 1, stream, c, cells);
    return launched();
}

int32_t gac_next(gac_cells *cells, void *stream) {
    const int32_t code = check(cells);
    if (code != GAC_CUDA_OK) return code;
    GAC_LAUNCH(gac::next, 1, 1, stream, cells);
    return launched();
}

const char *gac_message(int32_t code) {
    switch (code) {
        case GAC_CUDA_OK: return "ok";
        case GAC_CUDA_BAD_DTYPE:
            return "a tensor's dtype is unknown, or not one for its role; tokens are fp64, fp32, "
                   "fp16 or bf16";
        case GAC_CUDA_BAD_SIZE: return "a size, or a sum of stages, is negative or out of range";
        case GAC_CUDA_NULL_POINTER:
            return "a pointer is NULL where there is something to read or write";
        case GAC_CUDA_MISALIGNED: return "a pointer is not a multiple of its element's size";
        case GAC_CUDA_BAD_LAUNCH:
            return "block is not a multiple of 32 up to 1024, or grid is negative";
        case GAC_CUDA_TOO_LARGE:
            return "T is 2^31 or more, B * T overflows, or B is above 2^20 where order statistics "
                   "are needed";
        case GAC_CUDA_DEVICE: return "the CUDA runtime refused; ask cudaGetLastError";
        default: return "unknown code";
    }
}

const char *gac_refusal(int64_t refused) {
    if (refused & GAC_REFUSED_LOGPROB)
        return "logprob holds, on a response token, a value above 0 or not finite";
    if (refused & GAC_REFUSED_ADVANTAGE)
        return "advantages hold, on a rollout's response token, a value that is not finite";
    if (refused & GAC_REFUSED_MASK) return "response_mask holds a value that is neither 0 nor 1";
    if (refused & GAC_REFUSED_EXPERT) return "is_expert holds a value that is neither 0 nor 1";
    if (refused & GAC_REFUSED_REFERENCE)
        return "ref_logprob holds, on a rollout's response token, a value above 0 or not finite";
    if (refused & GAC_REFUSED_OVERFLOW)
        return "a sum over a sequence overflows; rescale the advantages";
    if (refused & GAC_REFUSED_NO_KL)
        return "alpha follows the KL but there is neither batch_kl nor ref_logprob; pass one";
    if (refused & GAC_REFUSED_KL) return "batch_kl is not finite";
    if (refused & GAC_REFUSED_NOT_MEASURED) return "the step needs the batch, and measured is 0";
    return "";
}

int32_t gac_cell(const char *name) {
    int32_t place = 0;
    for (const Cell &cell : CELLS) {
        if (std::strcmp(cell.name, name) == 0) return place;
        place++;
    }
    return -1;
}

int32_t gac_cell_is_count(const char *name) {
    const int32_t place = gac_cell(name);
    return place >= 0 && CELLS[place].count;
}

#ifdef __CUDACC__

const char *gac_device_name(void) { return "cuda"; }

void *gac_device_alloc(int64_t bytes) {
    void *memory = nullptr;
    return cudaMalloc(&memory, static_cast<size_t>(bytes > 0 ? bytes : 1)) == cudaSuccess ? memory
                                                                                          : nullptr;
}

void gac_device_free(void *memory) { cudaFree(memory); }

int32_t gac_upload(void *device, const void *host, int64_t bytes) {
    return cudaMemcpy(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice) ==
                   cudaSuccess
               ? GAC_CUDA_OK
               : GAC_CUDA_DEVICE;
}

int32_t gac_download(void *host, const void *device, int64_t bytes) {
    return cudaMemcpy(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost) ==
                   cudaSuccess
               ? GAC_CUDA_OK
               : GAC_CUDA_DEVICE;
}

void gac_emulation_order(uint32_t) {}

#else

const char *gac_device_name(void) { return "cpu"; }

void *gac_device_alloc(int64_t bytes) {
    return std::aligned_alloc(256, static_cast<size_t>((bytes / 256 + 1) * 256));
}

void gac_device_free(void *memory) { std::free(memory); }

int32_t gac_upload(void *device, const void *host, int64_t bytes) {
    if (bytes > 0) std::memcpy(device, host, static_cast<size_t>(bytes));
    return GAC_CUDA_OK;
}

int32_t gac_download(void *host, const void *device, int64_t bytes) {
    return gac_upload(host, device, bytes);
}

void gac_emulation_order(uint32_t order) { gac::emulation::order = order; }

#endif

}  // extern "C"
