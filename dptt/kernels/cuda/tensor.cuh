// Adjoint steps from slice to slice on tensor cores: products of half precision, summed in single (from sm_80 on).
//
// A propagator p(ky) q(kx) turns a wave X into A X Bᵀ: A = F⁻¹ diag(p) F is the convolution of every column with
// a = F⁻¹ p, and B that of every row with F⁻¹ q. The n numbers of a line are first transformed over its PARTS parts of
// m numbers each, which cuts A into as many matrices of m × m, A_k[i, j] = a_k(i - j): `separable.py` gives the a_k.
//
// A product takes 8 lines of a wave, and 8 numbers of each to 8 others. It is one of reals: a complex number is two of
// them on the right, (re, im), and 2 × 2 on the left, (re, -im) above (im, re). In the order that the manual of PTX has
// for m16n8k16, thread 4 i + j of a warp gives the numbers j and j + 4 of line i on the right, and gets number i of
// lines 2 j and 2 j + 1. As a_k(i - j) is the same all along a diagonal of A_k, so are the 8 × 8 of a product: a warp
// loads them once a diagonal, and 2 m - 1 numbers in shared memory are a matrix of m × m.

#pragma once
#include "passes.cuh"

static_assert(THREADS % 32 == 0, "products are of whole warps");

// Eights of numbers, the last of them with zeros behind.
__device__ constexpr int tiles(int length) { return (length + 7) / 8; }

// In the place of the ramps, and of sums behind them if need be: the a_k of y, then those of x, each from
// a_k(-8 tiles) on, a number as two halves (re, im); at the first, which no product reads, what to multiply a_k with.
constexpr int KERNELS_Y = PARTS_Y * 16 * tiles(HEIGHT / PARTS_Y), KERNELS_X = PARTS_X * 16 * tiles(WIDTH / PARTS_X);
__device__ __forceinline__ unsigned *kernels_y() { return reinterpret_cast<unsigned *>(ramp_y()); }
__device__ __forceinline__ unsigned *kernels_x() { return kernels_y() + KERNELS_Y; }

__device__ void set_kernels(const unsigned *kernels) {
    for (int i = threadIdx.x; i < KERNELS_Y + KERNELS_X; i += THREADS) kernels_y()[i] = __ldg(kernels + i);
    __syncthreads();
}

#ifdef __CUDACC__
__device__ __forceinline__ unsigned halves(float low, float high) {
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

__device__ __forceinline__ void add_product(float (&sum)[4], const unsigned (&left)[4], const unsigned (&right)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
}
#endif

// Line i of a group of 8. Of 32 lines a group takes every fourth, in an order in which, with rows of odd length, no two
// threads meet in a bank, neither where they read nor where they write; lines that are left over go as they come.
template <int LINES> __device__ __forceinline__ int line_of(int group, int i) {
    if (group >= LINES / 32 * 4) return 8 * group + i;
    return group / 4 * 32 + group % 4 + 4 * (i < 4 ? i : 4 + (i + 1) % 4);
}

// The power of two that makes the largest number of a warp at most 2^15, within a half's range, and its inverse.
__device__ __forceinline__ float2 scale_of(float largest) {
    const int exponent = __reduce_max_sync(~0u, __float_as_uint(largest)) >> 23, kept = exponent < 16 ? 16 : exponent;
    return make_float2(__int_as_float((268 - kept) << 23), __int_as_float((kept - 14) << 23));
}

// Read a thread's numbers of a line, transform them over the parts of the line, and return the largest.
template <int PARTS, int PART, int STEP>
__device__ __forceinline__ float read_line(float2 (&numbers)[2 * tiles(PART)][PARTS], const float2 *line, bool exists) {
    const int j = threadIdx.x % 4;
    float largest = 0;
#pragma unroll
    for (int n = 0; n < 2 * tiles(PART); n++) {
        const bool within = exists && 4 * n + j < PART;
#pragma unroll
        for (int part = 0; part < PARTS; part++)
            numbers[n][part] = within ? line[(part * PART + 4 * n + j) * STEP] : make_float2(0, 0);
        transform<PARTS>(numbers[n]);
#pragma unroll
        for (int k = 0; k < PARTS; k++)
            largest = fmaxf(largest, fmaxf(fabsf(numbers[n][k].x), fabsf(numbers[n][k].y)));
    }
    return largest;
}

// Multiply with every A_k.
template <int PARTS, int TILES>
__device__ __forceinline__ void multiply(
    float (&sums)[TILES][PARTS][4], const float2 (&numbers)[2 * TILES][PARTS], float scale, const unsigned *kernels) {
    const int i = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < PARTS; k++) {
        unsigned right[TILES][2];
#pragma unroll
        for (int n = 0; n < 2 * TILES; n++)
            right[n / 2][n % 2] = halves(numbers[n][k].x * scale, numbers[n][k].y * scale);
        const unsigned *kernel = kernels + (2 * k + 1) * 8 * TILES + i - j;
#pragma unroll
        for (int diagonal = 1 - TILES; diagonal < TILES; diagonal++) {
            const unsigned near = kernel[8 * diagonal], far = kernel[8 * diagonal - 4], minus = 0x80000000;
            const unsigned left[4] = {near ^ minus, near << 16 | near >> 16, far ^ minus, far << 16 | far >> 16};
#pragma unroll
            for (int m = 0; m < TILES; m++)
                if (m >= diagonal && m - diagonal < TILES) add_product(sums[m][k], left, right[m - diagonal]);
        }
    }
}

// Transform a thread's results of a line back over the parts of the line, and write them.
template <int PARTS, int PART, int STEP>
__device__ __forceinline__ void write_line(
    float2 *line, bool exists, const float (&sums)[tiles(PART)][PARTS][4], int which, const float (&scales)[PARTS]) {
    const int i = threadIdx.x % 32 / 4;
#pragma unroll
    for (int m = 0; m < tiles(PART); m++) {
        float2 numbers[PARTS];
#pragma unroll
        for (int k = 0; k < PARTS; k++)
            numbers[k] = make_float2(sums[m][k][which] * scales[k], sums[m][k][2 + which] * scales[k]);
        transform_back<PARTS>(numbers);
        if (exists && 8 * m + i < PART) {
#pragma unroll
            for (int part = 0; part < PARTS; part++) line[(part * PART + 8 * m + i) * STEP] = numbers[part];
        }
    }
}

// Convolve LINES lines of LENGTH numbers of every wave, in place: a warp takes 8 of them at a time.
template <int PARTS, int LENGTH, int STEP, int LINES, int ACROSS>
__device__ void convolve(int waves, const unsigned *kernels) {
    constexpr int PART = LENGTH / PARTS, GROUPS = tiles(LINES);
    const int i = threadIdx.x % 32 / 4, j = threadIdx.x % 4;
    for (int item = threadIdx.x / 32; item < waves * GROUPS; item += THREADS / 32) {
        float2 *wave = shared + item / GROUPS * WAVE, numbers[2 * tiles(PART)][PARTS];
        const int group = item % GROUPS, line = line_of<LINES>(group, i);
        const float2 scale = scale_of(read_line<PARTS, PART, STEP>(numbers, wave + line * ACROSS, line < LINES));
        __syncwarp();  // all have read what they will overwrite
        float sums[tiles(PART)][PARTS][4] = {};
        multiply(sums, numbers, scale.x, kernels);

        float scales[PARTS];
#pragma unroll
        for (int k = 0; k < PARTS; k++) scales[k] = scale.y * __int_as_float(kernels[k * 16 * tiles(PART)]);
#pragma unroll
        for (int which = 0; which < 2; which++) {
            const int result = line_of<LINES>(group, 2 * j + which);
            write_line<PARTS, PART, STEP>(wave + result * ACROSS, result < LINES, sums, which, scales);
        }
    }
    __syncthreads();
}

// From behind the next slice's free space to in front of it: the adjoint of the propagation.
__device__ void propagate_back(int waves) {
    convolve<PARTS_Y, HEIGHT, PITCH, WIDTH, 1>(waves, kernels_y());
    convolve<PARTS_X, WIDTH, 1, HEIGHT, PITCH>(waves, kernels_x());
}
