// Runs one call of an entry point: reads a job from standard input, runs its launches, writes the results to standard
// output. Numbers are 64-bit little-endian words.
//
//   job:    batch, order, storage bytes, arena bytes,
//           number of inputs, bytes of each, number of outputs, bytes of each,
//           number of loops, number of launches, for each: kernel, blocks, threads, shared bytes, has barriers,
//           the current step of each loop;
//           then the bytes of the storage block and of the inputs
//   result: the bytes of the storage block and of the outputs
//
// Every block of memory ends at a page that cannot be touched, inputs cannot be written, and the arena and the outputs
// start as NaN.
#pragma once

#include "blocks.hpp"

namespace host {

constexpr size_t alignment = 64;

class Memory {
   public:
    Memory(size_t bytes) : bytes_(bytes), padded_((bytes + alignment - 1) / alignment * alignment) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        body_ = (padded_ + page - 1) / page * page;
        void* map = mmap(nullptr, body_ + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED) fail("no memory for a buffer");
        pages_ = static_cast<unsigned char*>(map) + page;
        if (body_ > 0 && mprotect(pages_, body_, PROT_READ | PROT_WRITE) != 0) fail("no memory for a buffer");
        data_ = pages_ + body_ - padded_;
        memset(data_, poison, padded_);
    }
    unsigned char* data() { return data_; }
    size_t size() const { return bytes_; }
    void make_read_only() {
        if (body_ > 0 && mprotect(pages_, body_, PROT_READ) != 0) fail("no read-only memory");
    }
    // Fails if the bytes between the end and the alignment have changed.
    void check() const {
        for (size_t i = bytes_; i < padded_; i++) {
            if (data_[i] != poison) fail("a write behind the end of a buffer");
        }
    }

   private:
    size_t bytes_, padded_, body_;
    unsigned char *pages_, *data_;
};

struct Call {
    int batch;
    unsigned char *storage, *arena;
    std::vector<unsigned char*> inputs, outputs;
    std::vector<int> steps;
};

// A base address that becomes a pointer of the type that a kernel's parameter has.
struct Pointer {
    unsigned char* base;
    template <class T> operator T*() const { return reinterpret_cast<T*>(base); }
};

struct Kernel {
    const char* name;
    void (*run)(const Call&);
};

inline void read_exactly(void* to, size_t bytes) {
    if (bytes > 0 && fread(to, 1, bytes, stdin) != bytes) fail("a job that ends early");
}

inline uint64_t read_word() {
    uint64_t word;
    read_exactly(&word, sizeof word);
    return word;
}

inline void on_signal(int signal) {
    fail(signal == SIGILL    ? "undefined behaviour"
         : signal == SIGFPE  ? "an arithmetic exception"
         : signal == SIGABRT ? "an abort"
                             : "an access outside of every buffer");
}

inline void catch_signals() {
    static unsigned char stack[64 << 10];
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    sigaltstack(&alternate, nullptr);
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK;
    for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) sigaction(signal, &action, nullptr);
}

inline int serve(const Kernel* kernels, size_t count) {
    catch_signals();
    Call call = {};
    call.batch = (int)read_word();
    Order order(read_word());
    Memory storage(read_word()), arena(read_word());
    std::vector<Memory> inputs, outputs;
    for (uint64_t n = read_word(); n > 0; n--) inputs.emplace_back(read_word());
    for (uint64_t n = read_word(); n > 0; n--) outputs.emplace_back(read_word());
    struct Launch {
        uint64_t kernel, blocks, threads, shared, barriers;
        std::vector<int> steps;
    };
    const uint64_t loops = read_word();
    std::vector<Launch> launches(read_word());
    for (Launch& launch : launches) {
        for (uint64_t* word : {&launch.kernel, &launch.blocks, &launch.threads, &launch.shared, &launch.barriers}) {
            *word = read_word();
        }
        for (uint64_t l = 0; l < loops; l++) launch.steps.push_back((int)read_word());
    }

    read_exactly(storage.data(), storage.size());
    call.storage = storage.data();
    call.arena = arena.data();
    for (Memory& input : inputs) {
        read_exactly(input.data(), input.size());
        input.make_read_only();
        call.inputs.push_back(input.data());
    }
    for (Memory& output : outputs) call.outputs.push_back(output.data());

    for (const Launch& launch : launches) {
        if (launch.kernel >= count) fail("a launch of no kernel");
        const Kernel& kernel = kernels[launch.kernel];
        const Grid grid = {kernel.name, (unsigned)launch.blocks, (unsigned)launch.threads, (unsigned)launch.shared,
                           launch.barriers != 0};
        call.steps = launch.steps;
        run_grid(grid, order, [&] { kernel.run(call); });
        storage.check();
        arena.check();
        for (Memory& output : outputs) output.check();
    }

    fwrite(storage.data(), 1, storage.size(), stdout);
    for (Memory& output : outputs) fwrite(output.data(), 1, output.size(), stdout);
    return fflush(stdout) == 0 ? 0 : 5;
}

}  // namespace host
