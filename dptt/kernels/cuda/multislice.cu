// Loss and gradients of diffraction patterns ([P] eq. 18-19): a block takes a position, and its waves stay in shared
// memory from the probe to the detector and back.
//
// Compiled with these names defined (`plan.py`):
//   HEIGHT = Y1 Y2, WIDTH = X1 X2   window [pixels], and the radices of its transforms (`fourier.cuh`)
//   MODES, GROUP                    modes of the probe, and how many of them are in shared memory at once
//   THREADS, RESIDENT               of a block, and blocks of a multiprocessor
//   COUNT, LOSS, POISSON_CODE       type of the detector's counts; which loss (kernels/losses.py), and the code of one
//   LARGEST_RATIO, FAR_SLOPE, FAR_VALUE  of the Poisson loss
//   DISPLACED                       whether patterns are displaced by `pattern_shifts`
//   SPREAD                          whether the detector spreads patterns by `weights`
//   TENSOR, PARTS_Y, PARTS_X        whether adjoint steps are on tensor cores, and parts of their lines (`tensor.cuh`)
// Blocks go on to further positions, so that what they keep in global memory is as large as the GPU, not as the batch:
// the waves in front of every slice, which the adjoint needs. They pass through the second-level cache once in each
// direction, 16 bytes a pixel, mode and slice. Keeping every other one and computing the rest again would save half of
// that traffic, which runs beside the arithmetic, for a quarter more arithmetic.
//
// Every function is a loop over its block's threads, correct for any number of them, 1 included; those of the tensor
// cores for any number of warps.

#include "detector.cuh"
#include "slices.cuh"
#if TENSOR
#include "tensor.cuh"
#endif

// Losses (pos,); if `backward`, also everything else. Gradients of the slices are added to `gradients` (slice, Y, X)
// and `illumination` (Y, X); if `alone`, to windows (pos, slice, y, x) and (pos, y, x) of every position's own. Those
// of the probe's spectrum are added to one of (mode, x, y) a block. `spectrum` and `propagator` are divided by the
// number of pixels; they, and the gradient of the spectrum, are (.., x, y) in the order of places. `kept` has
// (slices + 1) MODES waves a block, `intensities` one image, two if SPREAD. `kernels` are those of `separable.py`, read if TENSOR.
// Float arguments come as their bits.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) multislice(
    int num_positions, int num_slices, int image_height, int image_width, int backward, int alone, int epsilon_bits,
    int electrons_bits, const float2 *transmission, const float2 *spectrum, const float2 *propagator,
    const int *corners, const float2 *shifts, const COUNT *measured, const unsigned char *mask, float2 *kept,
    float *intensities, float *losses, float2 *gradients, float *illumination, float2 *spectrum_gradients,
    float2 *shift_gradients, const unsigned *kernels, const float2 *pattern_shifts, const float *weights,
    int num_weights) {
    const long long image_pixels = static_cast<long long>(image_height) * image_width;
    kept += static_cast<long long>(blockIdx.x) * (num_slices + 1) * MODES * PIXELS;
    float *intensity = intensities + static_cast<long long>(blockIdx.x) * (1 + SPREAD) * PIXELS;
    spectrum_gradients += static_cast<long long>(blockIdx.x) * MODES * PIXELS;
    constexpr int LAST = (MODES - 1) / GROUP * GROUP;  // first mode of the last group

    for (long long position = blockIdx.x; position < num_positions; position += gridDim.x) {
        const Window window = {corners[2 * position], corners[2 * position + 1], image_height, image_width};
        set_ramps(shifts[position]);
        const float2 displaced = DISPLACED ? pattern_shifts[position] : make_float2(0, 0);
        float *own_sum = alone ? illumination + position * PIXELS : illumination;

        for (int mode = 0; mode < MODES; mode += GROUP) {
            const int waves = MODES - mode < GROUP ? MODES - mode : GROUP;
            second_pass_x(waves, ShiftedProbe{spectrum + mode * PIXELS});
            back_from_spectrum(waves);
            for (int k = 0; k < num_slices; k++) {
                const float2 *image = transmission + k * image_pixels;
                float2 *fronts = kept + static_cast<long long>(k * MODES + mode) * PIXELS;
                const Turn turn = {displaced, k == num_slices - 1};
                float *sum = k == 0 ? own_sum : nullptr;
                if (backward) through_slice<true>(waves, image, window, fronts, sum, alone, turn);
                else through_slice<false>(waves, image, window, nullptr, nullptr, false, turn);
                if (k < num_slices - 1) {
                    to_spectrum_and(waves, Propagation<false>{propagator});
                    back_from_spectrum(waves);
                }
            }
            to_spectrum_and(waves, Detector<false>{});
            float2 *far = kept + static_cast<long long>(num_slices * MODES + mode) * PIXELS;
            add_intensity(waves, intensity, mode < LAST ? far : nullptr, mode == 0);
            if (mode < LAST) __syncthreads();
        }
#if SPREAD
        spread(intensity, weights, num_weights);
#endif
        const float electrons = __int_as_float(electrons_bits), epsilon = __int_as_float(epsilon_bits);
        const float total = block_sum(misfit(intensity, measured + position * PIXELS, mask, electrons, epsilon));
        if (threadIdx.x == 0) losses[position] = total;
        if (!backward) continue;
#if SPREAD
        spread(intensity, weights, num_weights);
#endif

        float force_y = 0, force_x = 0;
        for (int mode = LAST; mode >= 0; mode -= GROUP) {
            const int waves = MODES - mode < GROUP ? MODES - mode : GROUP;
            const float2 *far = kept + static_cast<long long>(num_slices * MODES + mode) * PIXELS;
            times_slope(waves, intensity, mode < LAST ? far : nullptr);
            second_pass_x(waves, Detector<true>{});
            back_from_spectrum(waves);
#if TENSOR
            set_kernels(kernels);
#endif
            for (int k = num_slices - 1; k >= 0; k--) {
                const float2 *fronts = kept + static_cast<long long>(k * MODES + mode) * PIXELS;
                float2 *gradient = gradients + (alone ? (position * num_slices + k) * PIXELS : k * image_pixels);
                const Ends transforms = {!TENSOR || k == num_slices - 1, !TENSOR || k == 0};
                back_through_slice(
                    waves, transmission + k * image_pixels, window, fronts, gradient, alone, transforms,
                    Turn{displaced, k == num_slices - 1});
                if (k > 0) {
#if TENSOR
                    propagate_back(waves);
#else
                    to_spectrum_and(waves, Propagation<true>{propagator});
                    back_from_spectrum(waves);
#endif
                }
            }
#if TENSOR
            set_ramps(shifts[position]);  // whose place the kernels took
#endif
            to_spectrum_and(waves, ProbeGradient{
                spectrum + mode * PIXELS, spectrum_gradients + mode * PIXELS, &force_y, &force_x});
        }
        force_y = block_sum(force_y);
        force_x = block_sum(force_x);
        constexpr float TURN = 2 * PI;
        if (threadIdx.x == 0) shift_gradients[position] = make_float2(TURN / HEIGHT * force_y, TURN / WIDTH * force_x);
    }
}
