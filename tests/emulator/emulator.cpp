// Runs the threads of a block as fibers, in an order drawn anew after every barrier, so that a race shows.
//
// A barrier or exchange lets nobody pass before everybody has come; who can never come is an error, as is a write
// beyond the shared memory that was asked for.

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

struct Dimensions {
    unsigned x;
};

constexpr unsigned MAX_THREADS = 1024, WARP = 32, STACK = 1 << 17, SHARED = 1 << 16;
constexpr unsigned char SENTINEL = 0xa5;

enum State { READY, AT_BARRIER, AT_EXCHANGE, DONE };

struct Fiber {
    ucontext_t context;
    State state;
    const char* name;  // of the exchange it waits in
    unsigned mask, round;
    unsigned long long brought[2];  // by this lane, to exchanges in turn
};

Dimensions threadIdx, blockIdx, blockDim, gridDim;
alignas(16) unsigned char shared[SHARED];

static Fiber fibers[MAX_THREADS];
static unsigned char* stacks;
static ucontext_t scheduler;
static Fiber* current;
static unsigned random_state, shared_bytes;
static void (*body)(const void*);
static const void* arguments;
static char error[256];
constexpr int MIXED = 2;
static int rounding;  // of approximate functions: -1 down, 0 to the nearest, 1 up, as far as they may; MIXED

static void fail(const char* what) {
    if (!error[0]) std::snprintf(error, sizeof error, "%s in block %u", what, blockIdx.x);
}

extern "C" void __ubsan_on_report() { fail("undefined behaviour (see standard error)"); }

static unsigned draw(unsigned n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % n;
}

static void wait(State state) {
    Fiber* fiber = current;
    fiber->state = state;
    swapcontext(&fiber->context, &scheduler);
    threadIdx.x = static_cast<unsigned>(fiber - fibers);
}

void __syncthreads() { wait(AT_BARRIER); }

unsigned long long exchange(const char* name, unsigned mask, unsigned long long value, unsigned from) {
    Fiber* fiber = current;
    fiber->name = name;
    fiber->mask = mask;
    const unsigned turn = fiber->round++ % 2;  // a lane may bring to the next exchange before all have read this one
    fiber->brought[turn] = value;
    wait(AT_EXCHANGE);
    return fibers[threadIdx.x / WARP * WARP + from].brought[turn];
}

static void enter() {
    body(arguments);
    current->state = DONE;
    swapcontext(&current->context, &scheduler);
}

static void prepare(unsigned n) {
    for (unsigned k = 0; k < n; ++k) {
        Fiber& fiber = fibers[k];
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = stacks + static_cast<size_t>(k) * STACK;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
        fiber.state = READY;
        fiber.round = 0;
    }
}

static bool run_ready(unsigned n) {
    static unsigned order[MAX_THREADS];
    bool ran = false;
    for (unsigned k = 0; k < n; ++k) {
        const unsigned j = draw(k + 1);
        order[k] = order[j];
        order[j] = k;
    }
    for (unsigned k = 0; k < n; ++k) {
        if (fibers[order[k]].state != READY) continue;
        current = &fibers[order[k]];
        threadIdx.x = order[k];
        swapcontext(&scheduler, &current->context);
        ran = true;
    }
    return ran;
}

static bool release_warp(unsigned first, unsigned n) {
    const Fiber* one = nullptr;
    for (unsigned k = first; k < first + WARP && k < n; ++k)
        if (fibers[k].state == AT_EXCHANGE) one = &fibers[k];
    if (!one) return false;
    for (unsigned k = 0; k < WARP; ++k) {
        if (!(one->mask >> k & 1)) continue;
        if (first + k >= n) return fail("a lane of the mask does not exist"), false;
        const Fiber& other = fibers[first + k];
        if (other.state != AT_EXCHANGE || other.mask != one->mask || other.name != one->name) return false;
    }
    for (unsigned k = 0; k < WARP; ++k)
        if (one->mask >> k & 1) fibers[first + k].state = READY;
    return true;
}

static bool release(unsigned n) {
    bool released = false;
    for (unsigned first = 0; first < n; first += WARP) released |= release_warp(first, n);
    if (released) return true;
    for (unsigned k = 0; k < n; ++k)
        if (fibers[k].state != AT_BARRIER) return false;
    for (unsigned k = 0; k < n; ++k) fibers[k].state = READY;
    return true;
}

static void run_block(unsigned n) {
    std::memset(shared, SENTINEL, SHARED);
    prepare(n);
    do
        while (run_ready(n)) continue;
    while (!error[0] && release(n));
    for (unsigned k = 0; k < n; ++k)
        if (fibers[k].state != DONE) fail("threads wait for others that never come");
    for (unsigned k = shared_bytes; k < SHARED; ++k)
        if (shared[k] != SENTINEL) fail("a write beyond the shared memory");
}

void run_grid(void (*thread)(const void*), const void* operands, unsigned grid, unsigned block) {
    body = thread;
    arguments = operands;
    gridDim.x = grid;
    blockDim.x = block;
    if (!stacks) stacks = static_cast<unsigned char*>(std::malloc(static_cast<size_t>(MAX_THREADS) * STACK));
    for (blockIdx.x = 0; blockIdx.x < grid && !error[0]; ++blockIdx.x) run_block(block);
}

// The manual allows a relative error of 2^-23, which is an ulp or two.
float within_an_ulp(double value) {
    int direction = rounding;
    if (rounding == MIXED) direction = static_cast<int>(draw(3)) - 1;
    return static_cast<float>(value * (1 + direction * 0x1p-23));
}

extern "C" void set_up(unsigned seed, unsigned bytes, int direction) {
    random_state = seed;
    rounding = direction;
    shared_bytes = bytes;
    error[0] = 0;
}

extern "C" const char* last_error() { return error; }
