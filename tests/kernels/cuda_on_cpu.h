// What CUDA C++ means to g++ -std=c++20: blocks run one after the other, and the threads of a block take turns on one
// thread of the CPU. Each runs until a barrier; then the next one does, in rising and in falling order by turns, so that
// a missing barrier shows every time: whatever the order, some thread reads what another has not written yet.
// A kernel `name` becomes `launch_name(blocks, threads, arguments)`, with arguments as cuLaunchKernel takes them.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __constant__ static
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct float2 { float x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
struct Index { unsigned x, y, z; };

static Index threadIdx, blockIdx, blockDim, gridDim;
float2 shared[1 << 16];

// ---- threads that take turns

struct Turns { ucontext_t own; std::vector<char> stack; bool ended; };
static Turns turns[1024];
static ucontext_t scheduler;
static unsigned arrivals; // at barriers, and ends: without any in a whole round, all wait for ever

inline void next_one() { swapcontext(&turns[threadIdx.x].own, &scheduler); }

struct Barrier {
    unsigned members, waiting = 0, passed = 0;
    void wait() {
        arrivals++;
        const unsigned before = passed;
        if (++waiting == members) waiting = 0, passed++;
        else while (passed == before) next_one();
    }
};
static Barrier everyone;
inline void __syncthreads() { everyone.wait(); }

static std::function<void()> body;
inline void run_body() {
    body();
    arrivals++;
    turns[threadIdx.x].ended = true; // the context that follows is the scheduler's
}

inline void run_block(unsigned threads) {
    everyone = {threads};
    for (unsigned i = 0; i < threads; i++) {
        auto &[own, stack, ended] = turns[i];
        stack.resize(1 << 16);
        ended = false;
        getcontext(&own);
        own.uc_stack.ss_sp = stack.data();
        own.uc_stack.ss_size = stack.size();
        own.uc_link = &scheduler;
        makecontext(&own, run_body, 0);
    }
    unsigned left = threads;
    for (bool rising = true; left; rising = !rising) {
        const unsigned before = arrivals;
        left = 0;
        for (unsigned i = 0; i < threads; i++) {
            threadIdx = {rising ? i : threads - 1 - i, 0, 0};
            if (turns[threadIdx.x].ended) continue;
            swapcontext(&scheduler, &turns[threadIdx.x].own);
            left += !turns[threadIdx.x].ended;
        }
        if (left && arrivals == before) std::abort(); // threads wait at barriers that others do not reach
    }
}

inline float atomicAdd(float *sum, float value) { const float before = *sum; *sum += value; return before; }
template <class T> T __ldg(const T *place) { return *place; }
template <class T> T __ldcs(const T *place) { return *place; }
template <class T> void __stcs(T *place, T value) { *place = value; }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline void sincospif(float x, float *s, float *c) { *s = std::sin(M_PI * x); *c = std::cos(M_PI * x); }

// ---- warps: what a thread shows the others of its own, between two barriers

struct Shown { unsigned left[4], right[2], value; };
static Shown everyones[1024];
static Barrier warps[32];
inline void __syncwarp() { warps[threadIdx.x / 32].wait(); }
inline Shown *shown() { return everyones + threadIdx.x / 32 * 32; }

inline unsigned __reduce_max_sync(unsigned, unsigned value) {
    shown()[threadIdx.x % 32].value = value;
    __syncwarp();
    for (int lane = 0; lane < 32; lane++) value = std::max(value, shown()[lane].value);
    __syncwarp();
    return value;
}

struct Halves { _Float16 low, high; };
inline unsigned halves(float low, float high) {
    return std::bit_cast<unsigned>(Halves{static_cast<_Float16>(low), static_cast<_Float16>(high)});
}

// mma.m16n8k16: where its numbers are is transcribed from the manual of PTX ("Matrix Fragments for mma.m16n8k16"):
// with group = lane / 4 and thread = lane % 4, element i of a fragment is
//   left, i of 8:   row group + 8 if 2 <= i < 4 or 6 <= i; column 2 thread + i % 2 + 8 if i >= 4
//   right, i of 4:  row 2 thread + i % 2 + 8 if i >= 2; column group
//   sum, i of 4:    row group + 8 if i >= 2; column 2 thread + i % 2
inline void add_product(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    const int own = threadIdx.x % 32;
    std::copy_n(left, 4, shown()[own].left);
    std::copy_n(right, 2, shown()[own].right);
    __syncwarp();
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const int group = lane / 4, thread = lane % 4;
        for (int i = 0; i < 8; i++) {
            const Halves both = std::bit_cast<Halves>(shown()[lane].left[i / 2]);
            a[group + ((2 <= i && i < 4) || 6 <= i ? 8 : 0)][2 * thread + i % 2 + (i >= 4 ? 8 : 0)] =
                i % 2 ? both.high : both.low;
        }
        for (int i = 0; i < 4; i++) {
            const Halves both = std::bit_cast<Halves>(shown()[lane].right[i / 2]);
            b[2 * thread + i % 2 + (i >= 2 ? 8 : 0)][group] = i % 2 ? both.high : both.low;
        }
    }
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 16; k++) sum[i] += a[own / 4 + (i >= 2 ? 8 : 0)][k] * b[k][2 * (own % 4) + i % 2];
    __syncwarp();
}

template <class... A> void launch(void (*kernel)(A...), const unsigned *blocks, unsigned threads, void **arguments) {
    gridDim = {blocks[0], blocks[1], blocks[2]};
    blockDim = {threads, 1, 1};
    int number = 0;
    std::tuple<A...> values{*static_cast<A *>(arguments[number++])...};
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) {
                // garbage in what nothing has written yet
                for (auto &value : shared) value = {NAN, NAN};
                for (unsigned i = 0; i < threads; i += 32) warps[i / 32] = {std::min(32u, threads - i)};
                body = [&] { std::apply(kernel, values); };
                run_block(threads);
            }
}
