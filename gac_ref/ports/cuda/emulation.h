/* Just enough of CUDA to run the kernels on a CPU, by any C++20 compiler on POSIX.
 *
 * The threads of a block are fibres of one thread of the system. Each runs until it has to wait,
 * at a shuffle or a barrier, or ends; then comes the next. A warp runs ahead of the others up to a
 * barrier. Warps, and lanes, get their turns in an order that changes from phase to phase
 * (`order`), so that what depends on it shows. Blocks run one after another; the shared memory of a
 * block is not cleared between them, as on a device. This shows semantics: not races between two
 * lanes that neither waits for, and not speed.
 *
 * A fibre is entered by setcontext, once; after that it is left and taken up by _setjmp and
 * _longjmp, because swapcontext asks the system for the signal mask, which takes a microsecond.
 * (Build without _FORTIFY_SOURCE, which takes a jump to another stack for an error.)
 */
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace gac::emulation {

constexpr int LANES = 32;
constexpr std::size_t STACK = std::size_t{1} << 17, OFFER = 256;

/* AddressSanitizer has to know on which stack it is. */
struct Stack {
    void *shadow = nullptr; /* what it keeps of this stack while on another */
    const void *bottom = nullptr;
    std::size_t size = 0;
};

inline Stack scheduler_stack;

inline void leaving([[maybe_unused]] Stack &from, [[maybe_unused]] const Stack &to) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from.shadow, to.bottom, to.size);
#endif
}

inline void arrived([[maybe_unused]] Stack &at, [[maybe_unused]] Stack *came_from) {
#ifdef __SANITIZE_ADDRESS__
    const void *bottom = nullptr;
    std::size_t size = 0;
    __sanitizer_finish_switch_fiber(at.shadow, &bottom, &size);
    if (came_from != nullptr) came_from->bottom = bottom, came_from->size = size;
#endif
}

enum class State { ready, at_barrier, at_shuffle, done };

struct Fibre {
    ucontext_t entry;
    jmp_buf jump;
    bool started = false;
    State state = State::done;
    dim3 thread;
    int parity = 0; /* of the shuffles: two buffers, so that one sync each is enough */
    alignas(16) std::byte offer[2][OFFER];
    std::unique_ptr<std::byte[]> memory{new std::byte[STACK]};
    Stack stack;
};

inline std::vector<std::unique_ptr<Fibre>> fibres;
inline std::function<void()> body;
inline Fibre *current = nullptr;
inline jmp_buf scheduler;
inline ucontext_t origin;
inline dim3 block_index, block_size, grid_size;
inline uint32_t order = 2;

[[noreturn]] inline void fail(const char *what) {
    std::fprintf(stderr, "emulation: %s (block %u)\n", what, block_index.x);
    std::abort();
}

/* Back to the scheduler; returns when it is this fibre's turn again. */
__attribute__((noinline)) inline void leave(State state) {
    current->state = state;
    leaving(current->stack, scheduler_stack);
    if (_setjmp(current->jump) == 0) _longjmp(scheduler, 1);
    arrived(current->stack, nullptr);
}

__attribute__((noinline)) inline void enter(Fibre &fibre) {
    current = &fibre;
    leaving(scheduler_stack, fibre.stack);
    if (_setjmp(scheduler) == 0) {
        if (fibre.started) _longjmp(fibre.jump, 1);
        fibre.started = true;
        setcontext(&fibre.entry);
    }
    arrived(scheduler_stack, nullptr);
}

inline void fibre_main() {
    arrived(current->stack, &scheduler_stack);
    body();
    leave(State::done);
}

inline void prepare(Fibre &fibre, unsigned index) {
    getcontext(&fibre.entry);
    fibre.stack = {nullptr, fibre.memory.get(), STACK};
    fibre.entry.uc_stack.ss_sp = fibre.memory.get();
    fibre.entry.uc_stack.ss_size = STACK;
    fibre.entry.uc_link = &origin;
    makecontext(&fibre.entry, fibre_main, 0);
    fibre.started = false;
    fibre.state = State::ready;
    fibre.thread = {index, 0, 0};
    fibre.parity = 0;
}

/* The numbers from `first` on, in the order in which they get their turn. */
inline std::vector<unsigned> turns(unsigned first, unsigned count, uint64_t &random) {
    std::vector<unsigned> turn(count);
    std::iota(turn.begin(), turn.end(), first);
    if (order == 1) std::reverse(turn.begin(), turn.end());
    for (unsigned i = count; order > 1 && i > 1; i--) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        std::swap(turn[i - 1], turn[(random >> 33) % i]);
    }
    return turn;
}

/* Run a warp as far as it can without the others: through its shuffles, up to a barrier. */
inline void run_warp(unsigned first, unsigned lanes, uint64_t &random) {
    for (;;) {
        unsigned shuffling = 0;
        for (const unsigned lane : turns(first, lanes, random)) {
            if (fibres[lane]->state == State::ready) enter(*fibres[lane]);
            shuffling += fibres[lane]->state == State::at_shuffle;
        }
        if (shuffling == 0) return;
        if (shuffling != LANES) fail("a shuffle that not every lane reaches");
        for (unsigned lane = first; lane < first + LANES; lane++)
            fibres[lane]->state = State::ready;
    }
}

inline void run_block(unsigned threads, uint64_t &random) {
    for (unsigned i = 0; i < threads; i++) prepare(*fibres[i], i);
    for (;;) {
        for (const unsigned warp : turns(0, (threads + LANES - 1) / LANES, random))
            run_warp(warp * LANES, std::min<unsigned>(LANES, threads - warp * LANES), random);
        unsigned done = 0;
        for (unsigned i = 0; i < threads; i++) done += fibres[i]->state == State::done;
        if (done == threads) return;
        if (done != 0) fail("a barrier that not every thread reaches");
        for (unsigned i = 0; i < threads; i++) fibres[i]->state = State::ready;
    }
}

template <typename Kernel>
void launch(int64_t grid, int block, const Kernel &kernel) {
    while (fibres.size() < static_cast<std::size_t>(block))
        fibres.push_back(std::make_unique<Fibre>());
    body = kernel;
    block_size = {static_cast<unsigned>(block), 1, 1};
    grid_size = {static_cast<unsigned>(grid), 1, 1};
    uint64_t random = order; /* anew for each launch, so that any run can be repeated */
    for (int64_t index = 0; index < grid; index++) {
        block_index = {static_cast<unsigned>(index), 0, 0};
        run_block(static_cast<unsigned>(block), random);
    }
}

/* The value that the lane `by` above offers; a lane without one above gets its own. */
template <typename Value>
Value exchanged(const Value &value, int by) {
    static_assert(std::is_trivially_copyable_v<Value> && sizeof(Value) <= OFFER);
    const int parity = current->parity ^= 1;
    std::memcpy(current->offer[parity], &value, sizeof value);
    leave(State::at_shuffle);
    const unsigned lane = current->thread.x % LANES, above = lane + static_cast<unsigned>(by);
    const unsigned from = current->thread.x - lane + (above < LANES ? above : lane);
    Value taken;
    std::memcpy(&taken, fibres[from]->offer[parity], sizeof taken);
    return taken;
}

}  // namespace gac::emulation

inline void __syncthreads() { gac::emulation::leave(gac::emulation::State::at_barrier); }

#define threadIdx (gac::emulation::current->thread)
#define blockIdx (gac::emulation::block_index)
#define blockDim (gac::emulation::block_size)
#define gridDim (gac::emulation::grid_size)
