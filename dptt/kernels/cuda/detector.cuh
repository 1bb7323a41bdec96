// Waves at the detector: the intensity of all modes, its loss, and the adjoint. A thread keeps to its pixels, which
// are in the order of the detector; the far field is in the order of places (`fourier.cuh`).

#pragma once
#include "passes.cuh"

__device__ __forceinline__ float2 *far_field(int wave, int pixel) {
    const int y = place_of<Y1, Y2>(pixel / WIDTH), x = place_of<X1, X2>(pixel % WIDTH);
    return shared + wave * WAVE + y * PITCH + x;
}

// Add the group's intensity to `intensity`; keep its far field in `kept` if not null.
__device__ void add_intensity(int waves, float *intensity, float2 *kept, bool first) {
    for (int pixel = threadIdx.x; pixel < PIXELS; pixel += THREADS) {
        float total = first ? 0 : intensity[pixel];
        for (int wave = 0; wave < waves; wave++) {
            const float2 far = *far_field(wave, pixel);
            if (kept != nullptr) kept[wave * PIXELS + pixel] = far;
            total += square(far);
        }
        intensity[pixel] = total;
    }
}

// Return this thread's share of the loss, and turn intensity into 2 scale dL/dI; by the threads that wrote it.
__device__ float misfit(
    float *intensity, const COUNT *measured, const unsigned char *mask, float electrons, float epsilon) {
    constexpr float SCALE = 1.0 / PIXELS;  // makes |far field|² an intensity
    float loss = 0;
    for (int pixel = threadIdx.x; pixel < PIXELS; pixel += THREADS) {
        float modelled = intensity[pixel] * SCALE + epsilon;
        const float observed = static_cast<float>(measured[pixel]) * electrons + epsilon;
#if LOSS == POISSON_CODE
        const float ratio = observed / modelled, root = sqrtf(ratio), difference = modelled - observed;
        const bool beyond = ratio > float(LARGEST_RATIO);
        const float linear = beyond ? observed * (float(FAR_VALUE) + 2 * float(FAR_SLOPE) / root) : difference;
        const float value = linear + observed * logf(fminf(ratio, float(LARGEST_RATIO)));
        const float slope = beyond ? float(FAR_SLOPE) * root : difference / modelled;
#else
        modelled = sqrtf(modelled);
        const float difference = modelled - sqrtf(observed), value = difference * difference;
        const float slope = difference / modelled;
#endif
        if (mask[pixel]) loss += value;
        intensity[pixel] = mask[pixel] ? 2 * SCALE * slope : 0;
    }
    __syncthreads();
    return loss;
}

#if SPREAD
// Spread a pattern over neighbouring pixels along y and x; behind it is memory for another one.
__device__ void spread(float *pattern, const float *weights, int num_weights) {
    float *other = pattern + PIXELS;
    __syncthreads();
    for (int pixel = threadIdx.x; pixel < PIXELS; pixel += THREADS) {
        const int y = pixel / WIDTH, x = pixel % WIDTH;
        float total = weights[0] * pattern[pixel];
        for (int n = 1; n < num_weights; n++) {
            const int before = (y + HEIGHT - n % HEIGHT) % HEIGHT, after = (y + n) % HEIGHT;
            total += weights[n] * (pattern[before * WIDTH + x] + pattern[after * WIDTH + x]);
        }
        other[pixel] = total;
    }
    __syncthreads();
    for (int pixel = threadIdx.x; pixel < PIXELS; pixel += THREADS) {
        const int x = pixel % WIDTH, row = pixel - x;
        float total = weights[0] * other[pixel];
        for (int n = 1; n < num_weights; n++) {
            const int before = (x + WIDTH - n % WIDTH) % WIDTH, after = (x + n) % WIDTH;
            total += weights[n] * (other[row + before] + other[row + after]);
        }
        pattern[pixel] = total;
    }
    __syncthreads();
}
#endif

// Turn the far field, in shared memory or `kept`, into dL/d(far field).
__device__ void times_slope(int waves, const float *slope, const float2 *kept) {
    for (int pixel = threadIdx.x; pixel < PIXELS; pixel += THREADS) {
        for (int wave = 0; wave < waves; wave++) {
            float2 *far = far_field(wave, pixel);
            const float2 value = kept != nullptr ? kept[wave * PIXELS + pixel] : *far;
            *far = make_float2(value.x * slope[pixel], value.y * slope[pixel]);
        }
    }
    __syncthreads();
}
