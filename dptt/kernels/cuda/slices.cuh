// Waves at a slice: the last pass of the transform back, what happens in real space, the first pass forward.
//
// A thread takes the same pixels of all modes in turn, and sums over modes in registers.

#pragma once
#include "passes.cuh"

struct Window {  // where a block's position lies
    int top, left, height, width;
    __device__ __forceinline__ int row(int y) const { return top + y < height ? top + y : top + y - height; }
    __device__ __forceinline__ int column(int x) const { return left + x < width ? left + x : left + x - width; }
};

__device__ __forceinline__ void add(float2 *sum, float2 value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    atomicAdd(sum, value);
#else
    atomicAdd(&sum->x, value.x);
    atomicAdd(&sum->y, value.y);
#endif
}

struct Turn {  // the factor of an exit wave by which its pattern moves by `shift` (y, x) [detector pixels]
    float2 shift;
    bool last;  // whether this is the last slice
    __device__ __forceinline__ float2 at(int y, int x) const {
        float sine, cosine;
        const float along_y = (y - HEIGHT / 2) * (shift.x / HEIGHT), along_x = (x - WIDTH / 2) * (shift.y / WIDTH);
        sincospif(2.0f * (along_y + along_x), &sine, &cosine);
        return make_float2(cosine, sine);
    }
};

// Multiply with a slice. `fronts` get the waves in front of it if KEEP; `illumination` the sum of |wave|² if not null.
template <bool KEEP>
__device__ void through_slice(
    int waves, const float2 *image, Window window, float2 *fronts, float *illumination, bool alone,
    Turn turn) {
    for (int item = threadIdx.x; item < Y2 * WIDTH; item += THREADS) {
        const int x = item % WIDTH, j = item / WIDTH, column = window.column(x);
        float2 transmission[Y1];
        float electrons[Y1];
#pragma unroll
        for (int i = 0; i < Y1; i++) {
            transmission[i] = __ldg(image + window.row(i * Y2 + j) * window.width + column);
            if (DISPLACED && turn.last) transmission[i] = times(transmission[i], turn.at(i * Y2 + j, x));
            electrons[i] = 0;
        }
        for (int wave = 0; wave < waves; wave++) {
            float2 *line = shared + wave * WAVE + j * PITCH + x, v[Y1];
#pragma unroll
            for (int i = 0; i < Y1; i++) v[i] = line[i * Y2 * PITCH];
            first_pass_back<Y1, Y2>(v, j, ROOTS_Y);
#pragma unroll
            for (int i = 0; i < Y1; i++) {
                if (KEEP) __stcs(fronts + wave * PIXELS + (i * Y2 + j) * WIDTH + x, v[i]);
                electrons[i] += square(v[i]);
                v[i] = times(v[i], transmission[i]);
            }
            first_pass<Y1, Y2>(v, j, ROOTS_Y);
#pragma unroll
            for (int i = 0; i < Y1; i++) line[i * Y2 * PITCH] = v[i];
        }
        if (KEEP && illumination != nullptr) {
#pragma unroll
            for (int i = 0; i < Y1; i++) {
                const int y = i * Y2 + j;
                if (alone) illumination[y * WIDTH + x] += electrons[i];
                else atomicAdd(illumination + window.row(y) * window.width + column, electrons[i]);
            }
        }
    }
    __syncthreads();
}

struct Ends {  // whether a wave comes to a slice from a transform, and whether it goes on to one: not on tensor cores
    bool before, after;
};

// Turn dL/d(wave behind a slice) into that in front of it, and add dL/dT, summed over the modes of the group, to the
// image, or, if `alone`, to the position's own window.
__device__ void back_through_slice(
    int waves, const float2 *image, Window window, const float2 *fronts, float2 *gradient, bool alone,
    Ends transforms, Turn turn) {
    for (int item = threadIdx.x; item < Y2 * WIDTH; item += THREADS) {
        const int x = item % WIDTH, j = item / WIDTH, column = window.column(x);
        float2 transmission[Y1], slope[Y1];
#pragma unroll
        for (int i = 0; i < Y1; i++) {
            transmission[i] = __ldg(image + window.row(i * Y2 + j) * window.width + column);
            if (DISPLACED && turn.last) transmission[i] = times(transmission[i], turn.at(i * Y2 + j, x));
            slope[i] = make_float2(0, 0);
        }
        for (int wave = 0; wave < waves; wave++) {
            float2 *line = shared + wave * WAVE + j * PITCH + x, v[Y1], front[Y1];
#pragma unroll
            for (int i = 0; i < Y1; i++) {
                front[i] = __ldcs(fronts + wave * PIXELS + (i * Y2 + j) * WIDTH + x);
                v[i] = line[i * Y2 * PITCH];
            }
            if (transforms.before) first_pass_back<Y1, Y2>(v, j, ROOTS_Y);
#pragma unroll
            for (int i = 0; i < Y1; i++) {
                slope[i] = sum(slope[i], times_conjugate(v[i], front[i]));
                v[i] = times_conjugate(v[i], transmission[i]);
            }
            if (transforms.after) first_pass<Y1, Y2>(v, j, ROOTS_Y);
#pragma unroll
            for (int i = 0; i < Y1; i++) line[i * Y2 * PITCH] = v[i];
        }
#pragma unroll
        for (int i = 0; i < Y1; i++) {
            const int y = i * Y2 + j;
            if (DISPLACED && turn.last) slope[i] = times_conjugate(slope[i], turn.at(y, x));
            if (alone) gradient[y * WIDTH + x] = sum(gradient[y * WIDTH + x], slope[i]);
            else add(gradient + window.row(y) * window.width + column, slope[i]);
        }
    }
    __syncthreads();
}
