// What CUDA C++ means to g++ -std=c++20: blocks run one after the other, the threads of a block as threads of the CPU.
// A kernel `name` becomes `launch_name(blocks, threads, arguments)`, with arguments as cuLaunchKernel takes them.

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <tuple>
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

static thread_local Index threadIdx;
static Index blockIdx, blockDim, gridDim;
float2 shared[1 << 16];
static std::barrier<> *everyone;
inline void __syncthreads() { everyone->arrive_and_wait(); }

inline float atomicAdd(float *sum, float value) { return std::atomic_ref<float>(*sum).fetch_add(value); }
template <class T> T __ldg(const T *place) { return *place; }
template <class T> T __ldcs(const T *place) { return *place; }
template <class T> void __stcs(T *place, T value) { *place = value; }
inline float __int_as_float(int bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline void sincospif(float x, float *s, float *c) { *s = std::sin(M_PI * x); *c = std::cos(M_PI * x); }

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
                std::barrier<> all(threads);
                everyone = &all;
                std::vector<std::thread> block;
                for (unsigned i = 0; i < threads; i++)
                    block.emplace_back([&, i] {
                        threadIdx = {i, 0, 0};
                        std::apply(kernel, values);
                    });
                for (auto &thread : block) thread.join();
            }
}
