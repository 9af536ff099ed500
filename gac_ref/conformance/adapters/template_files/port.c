/* A port in C (or C++). Build, then check with `gac-ref check ./libport.so`:
 *   cc -shared -fPIC -I FOLDER_OF_GAC_PORT_H -o libport.so port.c */
#include "gac_port.h"

static gac_config config;

int32_t gac_port_abi(void) { return GAC_PORT_ABI; }

const char *gac_port_hello(void) {
    return "{\"protocol\": 1, \"name\": \"my port\", \"version\": \"0.1\", \"stages\": [\"clip\"],"
           " \"dtypes\": [\"fp64\", \"fp32\"]}";
}

int32_t gac_port_configure(const gac_config *wanted, int32_t dtype, const char *device, char *message,
                           int32_t size) {
    if (strcmp(device, "cpu") != 0) return gac_refuse(GAC_UNSUPPORTED, "CPU only", message, size);
    config = *wanted;
    return dtype <= GAC_FP32 ? GAC_OK : gac_refuse(GAC_UNSUPPORTED, "no such dtype", message, size);
}

void gac_port_reset(void) {}

int32_t gac_port_run(const char *stage, const gac_array *in, int32_t n_in, gac_array *out,
                     int32_t n_out, char *message, int32_t size) {
    if (strcmp(stage, "clip") == 0) {
        const double given = gac_scalar(in, n_in, "mu_capped");
        const double low = config.mu_min, high = config.mu_max;
        const double mu = given < low ? low : given > high ? high : given;
        gac_answer(out, n_out, "mu", mu);
        gac_answer(out, n_out, "mu_clipped", given < low || given > high); /* not if NaN */
        return GAC_OK;
    }
    return gac_refuse(GAC_UNSUPPORTED, "not written yet", message, size);
}
