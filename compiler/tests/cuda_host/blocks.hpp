// Runs the blocks of a grid one after another, and the threads of a block as fibers.
//
// A thread runs until it reaches a barrier or returns; then another one does. So between two barriers threads are as
// far apart as the program allows, and the order in which they go is a parameter: a result that depends on it means
// that a barrier is missing. A block ends in an error if some threads wait at a barrier that others never reach, or
// that is another line of the text. Shared memory starts as NaN, and what lies behind a kernel's share is checked.
#pragma once

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <functional>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace host {

constexpr unsigned max_threads = 1024;
constexpr size_t stack_bytes = 64 << 10;
constexpr unsigned char poison = 0xFF, canary = 0xA5;

// The kernel that runs, for messages.
inline const char* current_kernel = "(none)";

[[noreturn]] inline void fail(const char* what) {
    char text[512];
    int n = snprintf(text, sizeof text, "%s: kernel %s, block %u, thread %u\n", what, current_kernel, blockIdx.x,
                     threadIdx.x);
    if (write(2, text, n > 0 ? (size_t)n : 0) < 0) _exit(4);
    _exit(3);
}

// ---- fibers -----------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
// Saves what the calling convention asks a callee to keep, swaps stacks, and restores.
extern "C" void bk_host_switch(void** save, void* to);
asm(R"(.text
.globl bk_host_switch
.type bk_host_switch,@function
bk_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size bk_host_switch, .-bk_host_switch
)");

struct Context {
    void* stack_pointer = nullptr;
    void start(char* stack, void (*entry)()) {
        // The entry finds the stack as after a call: 16-byte aligned below a return address that it never uses.
        void** top = reinterpret_cast<void**>(stack + stack_bytes - 16);
        *--top = nullptr;
        *--top = reinterpret_cast<void*>(entry);
        for (int i = 0; i < 6; i++) *--top = nullptr;
        stack_pointer = top;
    }
    void switch_to(Context& other) { bk_host_switch(&stack_pointer, other.stack_pointer); }
};
#else
struct Context {
    ucontext_t context;
    void start(char* stack, void (*entry)()) {
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        context.uc_stack.ss_size = stack_bytes;
        context.uc_link = nullptr;
        makecontext(&context, entry, 0);
    }
    void switch_to(Context& other) { swapcontext(&context, &other.context); }
};
#endif

struct Fiber {
    Context context;
    bool finished;
    // The line of the barrier that it waits at.
    int line;
};

inline Context scheduler;
inline Fiber fibers[max_threads];
inline Fiber* running = nullptr;
inline const std::function<void()>* body;

inline void fiber_main() {
    (*body)();
    running->finished = true;
    running->context.switch_to(scheduler);
    abort();
}

inline void barrier(int line) {
    if (!running) fail("a barrier in a kernel that declares none");
    running->line = line;
    running->context.switch_to(scheduler);
}

// ---- blocks -----------------------------------------------------------------------------------------------------

// 0: forwards, 1: backwards, otherwise a pseudo-random permutation with this seed.
struct Order {
    uint64_t seed;
    uint64_t state;
    explicit Order(uint64_t seed) : seed(seed), state(seed * 0x9E3779B97F4A7C15ull + 1) {}
    void arrange(std::vector<unsigned>& items) {
        const unsigned n = (unsigned)items.size();
        for (unsigned i = 0; i < n; i++) items[i] = seed == 1 ? n - 1 - i : i;
        if (seed < 2) return;
        for (unsigned i = n; i > 1; i--) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            std::swap(items[i - 1], items[state % i]);
        }
    }
};

struct Grid {
    const char* kernel;
    unsigned blocks, threads, shared;
    // Whether the kernel has barriers; without them threads need no stacks of their own.
    bool barriers;
};

inline void run_threads_as_fibers(std::vector<unsigned>& threads, Order& order) {
    static char* stacks = nullptr;
    if (!stacks) {
        void* map = mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) fail("no memory for stacks");
        stacks = static_cast<char*>(map);
    }
    const size_t count = threads.size();
    for (size_t i = 0; i < count; i++) {
        fibers[i].finished = false;
        fibers[i].context.start(stacks + i * stack_bytes, fiber_main);
    }
    for (;;) {
        order.arrange(threads);
        for (unsigned t : threads) {
            threadIdx = {t, 0, 0};
            running = &fibers[t];
            scheduler.switch_to(running->context);
        }
        running = nullptr;
        size_t finished = 0;
        bool together = true;
        for (size_t i = 0; i < count; i++) {
            finished += fibers[i].finished;
            together &= fibers[i].finished == fibers[0].finished && fibers[i].line == fibers[0].line;
        }
        if (finished == count) return;
        if (!together) fail("threads of a block diverge at a barrier");
    }
}

inline void run_grid(const Grid& grid, Order& order, const std::function<void()>& kernel) {
    current_kernel = grid.kernel;
    gridDim = {grid.blocks, 1, 1};
    blockDim = {grid.threads, 1, 1};
    body = &kernel;
    if (grid.threads > max_threads || grid.shared > bk_shared_capacity) fail("a block that no device could run");
    std::vector<unsigned> blocks(grid.blocks), threads(grid.threads);
    order.arrange(blocks);
    for (unsigned block : blocks) {
        blockIdx = {block, 0, 0};
        if (!grid.barriers) {
            order.arrange(threads);
            for (unsigned t : threads) {
                threadIdx = {t, 0, 0};
                kernel();
            }
            continue;
        }
        memset(bk_shared, poison, grid.shared);
        memset(bk_shared + grid.shared, canary, bk_shared_capacity - grid.shared);
        run_threads_as_fibers(threads, order);
        for (size_t i = grid.shared; i < bk_shared_capacity; i++) {
            if (bk_shared[i] != canary) fail("a write behind the shared memory of a launch");
        }
    }
}

}  // namespace host
