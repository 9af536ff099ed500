/* The port behind the suite's C ABI. Nothing is computed here: inputs go to device memory, the
 * functions of gac_cuda.h run, outputs come back.
 *
 * Tensors are laid out on the device so that every way of reading is exercised: rows with gaps
 * (filled with bits that are a NaN in any format, and a mask that is refused), on and off the
 * boundaries of wide reads, tokens side by side or apart, and masks of every dtype.
 */
#include <cstdlib>
#include <string>
#include <vector>

#include "gac_cuda.h"

namespace {

/* Few and small blocks, so that they take rows in turns and warps have to wait for one another. */
constexpr gac_launch LAUNCH = {64, 3};

gac_config config;
int32_t dtype;
int64_t last_refresh = -1;

/* Device memory, given back at the end. */
class Memory {
 public:
    explicit Memory(int64_t bytes) : bytes_(bytes), device_(gac_device_alloc(bytes)) {}
    ~Memory() { gac_device_free(device_); }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    void *get() const { return device_; }
    bool upload(const void *host) const {
        return device_ && gac_upload(device_, host, bytes_) == GAC_CUDA_OK;
    }
    bool download(void *host) const {
        return device_ && gac_download(host, device_, bytes_) == GAC_CUDA_OK;
    }

 private:
    int64_t bytes_;
    void *device_;
};

gac_cells *state() {
    static Memory memory(sizeof(gac_cells));
    return static_cast<gac_cells *>(memory.get());
}

struct Failure {
    int32_t status;
    const char *why;
};

void require(int32_t code) {
    if (code != GAC_CUDA_OK) throw Failure{GAC_ERROR, gac_message(code)};
}

void require(bool done) { require(done ? GAC_CUDA_OK : GAC_CUDA_DEVICE); }

struct Call {
    const gac_array *in;
    int32_t n_in;
    gac_array *out;
    int32_t n_out;

    const gac_array &input(const char *name) const {
        const gac_array *found = gac_find(in, n_in, name);
        if (!found) throw Failure{GAC_ERROR, "an input is missing"};
        return *found;
    }
    gac_array *output(const char *name) const { return gac_find(out, n_out, name); }
};

constexpr unsigned char GAP = 0xff;

size_t size_of(int32_t kind) {
    switch (kind) {
        case GAC_FP64:
        case GAC_INT64: return 8;
        case GAC_FP32:
        case GAC_INT32: return 4;
        case GAC_FP16:
        case GAC_BF16: return 2;
        default: return 1;
    }
}

/* A host array as a tensor of the device, with gaps. */
class Tensor {
 public:
    Tensor(const void *data, int32_t kind, int64_t rows, int64_t width, int64_t row_stride,
           int64_t token_stride)
        : memory_(rows * row_stride * static_cast<int64_t>(size_of(kind))) {
        const size_t size = size_of(kind);
        std::vector<unsigned char> laid(static_cast<size_t>(rows * row_stride) * size, GAP);
        const unsigned char *from = static_cast<const unsigned char *>(data);
        for (int64_t b = 0; b < rows; b++)
            for (int64_t t = 0; t < width; t++)
                memcpy(&laid[static_cast<size_t>(b * row_stride + t * token_stride) * size],
                       from + static_cast<size_t>(b * width + t) * size, size);
        require(memory_.upload(laid.data()));
        view = {memory_.get(), row_stride, token_stride, kind, 0};
    }
    gac_tensor view;

 private:
    Memory memory_;
};

/* Flags of one byte in another dtype. */
std::vector<unsigned char> flags_as(const gac_array &flags, int32_t kind) {
    const int64_t n = gac_size(&flags);
    const size_t size = size_of(kind);
    std::vector<unsigned char> made(static_cast<size_t>(n) * size + 1);
    for (int64_t i = 0; i < n; i++) {
        const double one = 1.0;
        const float single = 1.0f;
        const int64_t integer = 1; /* little-endian, so that it serves the narrower ones, too */
        const uint16_t half = 0x3c00, brain = 0x3f80;
        const void *bits = kind == GAC_FP64   ? static_cast<const void *>(&one)
                           : kind == GAC_FP32 ? static_cast<const void *>(&single)
                           : kind == GAC_FP16 ? static_cast<const void *>(&half)
                           : kind == GAC_BF16 ? static_cast<const void *>(&brain)
                                              : static_cast<const void *>(&integer);
        if (static_cast<const uint8_t *>(flags.data)[i])
            memcpy(&made[static_cast<size_t>(i) * size], bits, size);
    }
    return made;
}

int64_t up_to_8(int64_t n) { return (n + 7) / 8 * 8; }

/* The batch among the inputs of a call, on the device. */
class Batch {
 public:
    explicit Batch(const Call &call)
        : rows(call.input("logprob").shape[0]),
          width(call.input("logprob").shape[1]),
          logprob_(call.input("logprob").data, dtype, rows, width, up_to_8(width), 1),
          advantages_(per_token(call.input("advantages"))
                          ? Tensor(call.input("advantages").data, dtype, rows, width,
                                   width % 2 ? width + 3 : up_to_8(width), 1)
                          : Tensor(call.input("advantages").data, dtype, rows, 1, 3, 1)),
          mask_(flags_as(call.input("response_mask"), mask_dtype()).data(), mask_dtype(), rows,
                width, width % 3 ? up_to_8(width) : width + 1, 1),
          expert_(flags_as(call.input("is_expert"), mask_dtype()).data(), mask_dtype(), rows, 1, 2,
                  1),
          reference_(
              gac_find(call.in, call.n_in, "ref_logprob")
                  ? Tensor(call.input("ref_logprob").data, dtype, rows, width, 2 * width + 1, 2)
                  : Tensor(nullptr, dtype, 0, 0, 0, 0)) {
        view = {rows,         width,          logprob_.view, mask_.view, advantages_.view,
                expert_.view, reference_.view};
        if (!per_token(call.input("advantages"))) view.advantages.token_stride = 0;
        if (!gac_find(call.in, call.n_in, "ref_logprob")) view.ref_logprob.data = nullptr;
    }
    int64_t rows, width;
    gac_batch view;

 private:
    static bool per_token(const gac_array &advantages) { return advantages.ndim == 2; }
    int32_t mask_dtype() const {
        constexpr int32_t kinds[] = {GAC_FLAG, GAC_UINT8, GAC_INT32, GAC_INT64,
                                     GAC_FP32, GAC_FP16,  GAC_BF16,  GAC_FP64};
        return kinds[(5 * rows + width) % 8];
    }
    Tensor logprob_, advantages_, mask_, expert_, reference_;
};

/* The cells on the device, filled from the scalar inputs. */
class Cells {
 public:
    explicit Cells(const Call &call, gac_cells *device = nullptr)
        : own_(sizeof(gac_cells)), device_(device) {
        if (!device_) device_ = static_cast<gac_cells *>(own_.get());
        require(device_ != nullptr);
        if (device) require(gac_download(&host, device, sizeof host));
        for (int32_t i = 0; i < call.n_in; i++)
            if (call.in[i].ndim == 0 && call.in[i].dtype != GAC_TEXT)
                set(call.in[i].name, gac_entry(&call.in[i], 0));
        host.has_batch_kl = gac_find(call.in, call.n_in, "batch_kl") != nullptr;
        require(gac_upload(device_, &host, sizeof host));
    }
    gac_cells *device() const { return device_; }
    void fetch() { require(gac_download(&host, device_, sizeof host)); }
    void answer(const Call &call, bool tokens) const {
        for (int32_t i = 0; i < call.n_out; i++) {
            const int32_t place = gac_cell(call.out[i].name);
            const std::string name = call.out[i].name;
            if (place < 0 || name == "batch_kl" || (!tokens && of_tokens(name))) continue;
            const char *at = reinterpret_cast<const char *>(&host) + 8 * place;
            double real;
            int64_t count;
            memcpy(&real, at, 8);
            memcpy(&count, at, 8);
            gac_answer(call.out, call.n_out, call.out[i].name,
                       gac_cell_is_count(call.out[i].name) ? static_cast<double>(count) : real);
        }
    }
    gac_cells host{};

 private:
    void set(const char *name, double value) {
        const int32_t place = gac_cell(name);
        if (place < 0) return;
        char *at = reinterpret_cast<char *>(&host) + 8 * place;
        const int64_t count = gac_cell_is_count(name) ? static_cast<int64_t>(value) : 0;
        memcpy(at,
               gac_cell_is_count(name) ? static_cast<const void *>(&count)
                                       : static_cast<const void *>(&value),
               8);
    }
    /* Whether a cell is filled by the token pass, and so is stale where that did not run. */
    static bool of_tokens(const std::string &name) {
        return name.starts_with("proxy_") || name.starts_with("has_") ||
               name.ends_with("_floored") || name.ends_with("_stream_constant");
    }
    Memory own_;
    gac_cells *device_;
};

/* Rows on the device and what comes back of them. */
class Rows {
 public:
    explicit Rows(int64_t count)
        : host(static_cast<size_t>(count)), memory_(count * static_cast<int64_t>(sizeof(gac_row))) {
        require(memory_.get() != nullptr);
    }
    gac_row *device() const { return static_cast<gac_row *>(memory_.get()); }
    void fetch() { require(memory_.download(host.data())); }
    void upload() { require(memory_.upload(host.data())); }
    void answer(const Call &call) const {
        column(call.output("tokens"), &gac_row::tokens);
        column(call.output("nll"), &gac_row::nll);
        column(call.output("advantage"), &gac_row::advantage);
        column(call.output("disagreement"), &gac_row::disagreement);
    }
    std::vector<gac_row> host;

 private:
    void column(gac_array *out, double gac_row::*field) const {
        if (!out) return;
        for (size_t b = 0; b < host.size(); b++) {
            if (out->dtype == GAC_INT64)
                static_cast<int64_t *>(out->data)[b] = static_cast<int64_t>(host[b].*field);
            else
                static_cast<double *>(out->data)[b] = host[b].*field;
        }
        out->written = 1;
    }
    Memory memory_;
};

void run_transport(const Call &call) {
    for (int32_t i = 0; i < call.n_out; i++) {
        gac_array &out = call.out[i];
        const gac_array &in = call.input(out.name);
        const int64_t bytes = gac_size(&in) * static_cast<int64_t>(size_of(in.dtype));
        const Memory there(bytes);
        require(there.upload(in.data) && there.download(out.data));
        out.written = 1;
    }
}

void run_coefficients(const Call &call, const Batch &batch) {
    gac_array *outputs[] = {call.output("c_s"), call.output("c_r")};
    if (!outputs[0] || !outputs[1]) return;
    const Memory c_s(batch.rows * batch.width * 8), c_r(batch.rows * batch.width * 8);
    require(gac_coefficients(&batch.view, &config, static_cast<double *>(c_s.get()),
                             static_cast<double *>(c_r.get()), nullptr));
    require(c_s.download(outputs[0]->data) && c_r.download(outputs[1]->data));
    outputs[0]->written = outputs[1]->written = 1;
}

void run_sequences(const Call &call) {
    const Batch batch(call);
    Rows rows(batch.rows);
    Cells cells(call);
    require(gac_fused_rows(&batch.view, &config, rows.device(), &LAUNCH, nullptr));
    require(gac_sequences(&config, batch.rows, batch.view.ref_logprob.data != nullptr,
                          rows.device(), cells.device(), nullptr));
    rows.fetch();
    cells.fetch();
    if (cells.host.refused & ~int64_t{GAC_REFUSED_NO_KL})
        throw Failure{GAC_ERROR, gac_refusal(cells.host.refused)};
    rows.answer(call);
    cells.answer(call, true);
}

void run_proxies(const Call &call) {
    const gac_array &expert = call.input("is_expert");
    const int64_t count = expert.shape[0];
    Rows rows(count);
    Cells cells(call);
    for (int64_t b = 0; b < count; b++) {
        gac_row &row = rows.host[static_cast<size_t>(b)];
        row.expert = gac_entry(&expert, b);
        row.tokens = gac_entry(&call.input("tokens"), b);
        row.nll = gac_entry(&call.input("nll"), b);
        row.advantage = gac_entry(&call.input("advantage"), b);
        row.disagreement = gac_entry(&call.input("disagreement"), b);
    }
    rows.upload();
    require(gac_proxies(&config, count, rows.device(), cells.device(), nullptr));
    cells.fetch();
    cells.answer(call, true);
}

void run_step(const Call &call, bool trajectory) {
    Cells cells(call, trajectory ? state() : nullptr);
    const int64_t before = trajectory ? last_refresh : cells.host.previous_last_refresh;
    const bool due = gac_refresh_due(&config, before, cells.host.step);
    const bool measured = due || config.alpha_mode == GAC_ALPHA_MODE_KL;
    const Batch batch(call);
    Rows rows(batch.rows);
    require(
        gac_step(&batch.view, &config, rows.device(), cells.device(), measured, &LAUNCH, nullptr));
    cells.fetch();
    if (cells.host.refused) throw Failure{GAC_ERROR, gac_refusal(cells.host.refused)};
    if (trajectory) {
        require(gac_next(cells.device(), nullptr));
        last_refresh = cells.host.last_refresh;
    }
    if (due) {
        rows.fetch();
        rows.answer(call);
        run_coefficients(call, batch);
    }
    cells.answer(call, due);
}

void run_scalars(const Call &call, int32_t stage) {
    Cells cells(call);
    require(gac_controller(&config, stage, 1, cells.device(), nullptr));
    cells.fetch();
    cells.answer(call, true);
}

constexpr struct {
    const char *name;
    int32_t stage;
} SCALARS[] = {
    {"statistics_ema", GAC_STAGE_STATISTICS_EMA},
    {"alpha", GAC_STAGE_ALPHA},
    {"closed_form", GAC_STAGE_CLOSED_FORM},
    {"weight_ema", GAC_STAGE_WEIGHT_EMA},
    {"prior_blend", GAC_STAGE_PRIOR_BLEND},
    {"change_cap", GAC_STAGE_CHANGE_CAP},
    {"clip", GAC_STAGE_CLIP},
};

void run(const std::string &stage, const Call &call) {
    if (stage == "transport") return run_transport(call);
    if (stage == "coefficients") return run_coefficients(call, Batch(call));
    if (stage == "sequences") return run_sequences(call);
    if (stage == "proxies") return run_proxies(call);
    if (stage == "step" || stage == "trajectory") return run_step(call, stage == "trajectory");
    for (const auto &scalar : SCALARS)
        if (stage == scalar.name) return run_scalars(call, scalar.stage);
    throw Failure{GAC_UNSUPPORTED, "the CUDA port has the controller only"};
}

}  // namespace

int32_t gac_port_abi(void) { return GAC_PORT_ABI; }

const char *gac_port_hello(void) {
    static const std::string text =
        std::string("{\"protocol\": 1, \"name\": \"cuda\", \"version\": \"1\", \"devices\": [\"") +
        gac_device_name() +
        "\"], \"stages\": [\"transport\", \"coefficients\", \"sequences\", \"proxies\", "
        "\"statistics_ema\", \"alpha\","
        " \"closed_form\", \"weight_ema\", \"prior_blend\", \"change_cap\", \"clip\", \"step\", "
        "\"trajectory\"],"
        " \"dtypes\": [\"fp64\", \"fp32\", \"fp16\", \"bf16\"], \"precision\": {"
        "\"fp64\": {\"tokens\": \"fp64\", \"scalars\": \"fp64\"}, \"fp32\": {\"tokens\": \"fp32\", "
        "\"scalars\": \"fp64\"},"
        " \"fp16\": {\"tokens\": \"fp32\", \"scalars\": \"fp64\"}, \"bf16\": {\"tokens\": "
        "\"fp32\", \"scalars\": \"fp64\"}},"
        " \"accumulation\": \"sequential\"}";
    return text.c_str();
}

int32_t gac_port_configure(const gac_config *wanted, int32_t format, const char *device,
                           char *message, int32_t size) {
    if (std::string(device) != gac_device_name())
        return gac_refuse(GAC_UNSUPPORTED, "this build is for another device; see hello", message,
                          size);
    if (format < GAC_FP64 || format > GAC_BF16)
        return gac_refuse(GAC_UNSUPPORTED, "no such dtype", message, size);
    config = *wanted;
    dtype = format;
    if (gac_start(&config, state(), nullptr) != GAC_CUDA_OK)
        return gac_refuse(GAC_SKIPPED, "no device", message, size);
    last_refresh = -1;
    return GAC_OK;
}

void gac_port_reset(void) {
    gac_start(&config, state(), nullptr);
    last_refresh = -1;
}

int32_t gac_port_run(const char *stage, const gac_array *in, int32_t n_in, gac_array *out,
                     int32_t n_out, char *message, int32_t size) {
    try {
        run(stage, {in, n_in, out, n_out});
    } catch (const Failure &failure) {
        return gac_refuse(failure.status, failure.why, message, size);
    } catch (const std::exception &error) {
        return gac_refuse(GAC_ERROR, error.what(), message, size);
    }
    return GAC_OK;
}
