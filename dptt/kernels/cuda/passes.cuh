// Waves in shared memory: the passes of a transform, and what is done to a spectrum between two of them, in registers.
//
// Passes along y come first on the way to the spectrum, those along x first on the way back. In a pass along y,
// neighbouring threads have neighbouring x, and the other way round: with rows of odd length no two threads of a warp
// meet in a bank.

#pragma once
#include "fourier.cuh"

constexpr int PIXELS = HEIGHT * WIDTH, PITCH = WIDTH | 1, WAVE = HEIGHT * PITCH;
__constant__ Roots<HEIGHT> ROOTS_Y = Roots<HEIGHT>();
__constant__ Roots<WIDTH> ROOTS_X = Roots<WIDTH>();

extern __shared__ float2 shared[];  // waves (GROUP, HEIGHT, PITCH), ramps of a shift (HEIGHT + WIDTH), sums (THREADS)
__device__ __forceinline__ float2 *ramp_y() { return shared + GROUP * WAVE; }
__device__ __forceinline__ float2 *ramp_x() { return ramp_y() + HEIGHT; }
__device__ __forceinline__ float *partial_sums() { return reinterpret_cast<float *>(ramp_x() + WIDTH); }

__device__ float block_sum(float value) {
    float *sums = partial_sums();
    sums[threadIdx.x] = value;
    __syncthreads();
    for (int n = THREADS; n > 1; n = (n + 1) / 2) {
        if (threadIdx.x < n / 2) sums[threadIdx.x] += sums[threadIdx.x + (n + 1) / 2];
        __syncthreads();
    }
    const float total = sums[0];
    __syncthreads();
    return total;
}

__device__ void set_ramps(float2 shift) {
    for (int place = threadIdx.x; place < HEIGHT + WIDTH; place += THREADS) {
        const bool along_y = place < HEIGHT;
        const int k = along_y ? frequency_at<Y1, Y2>(place) : frequency_at<X1, X2>(place - HEIGHT);
        float sine, cosine;
        sincospif(-2.0f * k * (along_y ? shift.x / HEIGHT : shift.y / WIDTH), &sine, &cosine);
        ramp_y()[place] = make_float2(cosine, sine);  // ramp_x follows
    }
    __syncthreads();
}

// ---- passes of the transforms; `waves` are those of the group that exist

template <bool BACK> __device__ void second_pass_y(int waves) {
    for (int item = threadIdx.x; item < waves * Y1 * WIDTH; item += THREADS) {
        const int x = item % WIDTH, k = item / WIDTH % Y1, wave = item / (WIDTH * Y1);
        float2 *line = shared + wave * WAVE + k * Y2 * PITCH + x, v[Y2];
#pragma unroll
        for (int j = 0; j < Y2; j++) v[j] = line[j * PITCH];
        BACK ? transform_back<Y2>(v) : transform<Y2>(v);
#pragma unroll
        for (int j = 0; j < Y2; j++) line[j * PITCH] = v[j];
    }
    __syncthreads();
}

template <bool BACK> __device__ void first_pass_x(int waves) {
    for (int item = threadIdx.x; item < waves * X2 * HEIGHT; item += THREADS) {
        const int y = item % HEIGHT, j = item / HEIGHT % X2, wave = item / (HEIGHT * X2);
        float2 *line = shared + wave * WAVE + y * PITCH + j, v[X1];
#pragma unroll
        for (int i = 0; i < X1; i++) v[i] = line[i * X2];
        BACK ? first_pass_back<X1, X2>(v, j, ROOTS_X) : first_pass<X1, X2>(v, j, ROOTS_X);
#pragma unroll
        for (int i = 0; i < X1; i++) line[i * X2] = v[i];
    }
    __syncthreads();
}

// What is done in registers at the far end of a transform, to X2 numbers of one wave at (y, X2 k + ...): see below.
template <class Middle> __device__ void second_pass_x(int waves, Middle middle) {
    for (int item = threadIdx.x; item < waves * X1 * HEIGHT; item += THREADS) {
        const int y = item % HEIGHT, k = item / HEIGHT % X1, wave = item / (HEIGHT * X1);
        float2 *line = shared + wave * WAVE + y * PITCH + k * X2, v[X2];
        if constexpr (Middle::READS) {
#pragma unroll
            for (int j = 0; j < X2; j++) v[j] = line[j];
        }
        middle(v, wave, k * X2 * HEIGHT + y);  // spectra are stored with y running fastest
        if constexpr (Middle::WRITES) {
#pragma unroll
            for (int j = 0; j < X2; j++) line[j] = v[j];
        }
    }
    __syncthreads();
}

struct ShiftedProbe {  // the spectrum of the probe, shifted
    static constexpr bool READS = false, WRITES = true;
    const float2 *spectrum;
    __device__ __forceinline__ void operator()(float2 (&v)[X2], int wave, int place) const {
        const float2 along_y = ramp_y()[place % HEIGHT];
#pragma unroll
        for (int j = 0; j < X2; j++) {
            const float2 ramp = times(along_y, ramp_x()[place / HEIGHT + j]);
            v[j] = times(__ldg(spectrum + wave * PIXELS + place + j * HEIGHT), ramp);
        }
        transform_back<X2>(v);
    }
};

template <bool ADJOINT> struct Propagation {  // to the next slice, or its adjoint
    static constexpr bool READS = true, WRITES = true;
    const float2 *propagator;
    __device__ __forceinline__ void operator()(float2 (&v)[X2], int, int place) const {
        transform<X2>(v);
#pragma unroll
        for (int j = 0; j < X2; j++) {
            const float2 factor = __ldg(propagator + place + j * HEIGHT);
            v[j] = ADJOINT ? times_conjugate(v[j], factor) : times(v[j], factor);
        }
        transform_back<X2>(v);
    }
};

template <bool BACK> struct Detector {  // the far field, or the way back from it
    static constexpr bool READS = true, WRITES = true;
    __device__ __forceinline__ void operator()(float2 (&v)[X2], int, int) const {
        BACK ? transform_back<X2>(v) : transform<X2>(v);
    }
};

struct ProbeGradient {  // adds dL/d(probe spectrum) to the block's own; sums dL/d(shift)
    static constexpr bool READS = true, WRITES = false;
    const float2 *spectrum;
    float2 *gradient;
    float *force_y, *force_x;
    __device__ __forceinline__ void operator()(float2 (&v)[X2], int wave, int place) const {
        const float2 along_y = ramp_y()[place % HEIGHT];
        const float frequency_y = frequency_at<Y1, Y2>(place % HEIGHT);
        transform<X2>(v);
#pragma unroll
        for (int j = 0; j < X2; j++) {
            const int here = wave * PIXELS + place + j * HEIGHT, x = place / HEIGHT + j;
            const float2 moved = times_conjugate(v[j], times(along_y, ramp_x()[x]));
            const float2 before = __ldg(spectrum + here);
            gradient[here] = sum(gradient[here], moved);
            const float work = moved.x * before.y - moved.y * before.x;
            *force_y += work * frequency_y;
            *force_x += work * frequency_at<X1, X2>(x);
        }
    }
};

template <class Middle> __device__ void to_spectrum_and(int waves, Middle middle) {
    second_pass_y<false>(waves);
    first_pass_x<false>(waves);
    second_pass_x(waves, middle);
}

__device__ void back_from_spectrum(int waves) {
    first_pass_x<true>(waves);
    second_pass_y<true>(waves);
}
