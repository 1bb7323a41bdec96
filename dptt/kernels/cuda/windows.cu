// Adds windows into a periodic image in the order of the positions, so that every run gives the same bits.
//
// A thread owns a number of the image and reads, of every window that meets it, one number; whether a window meets the
// row is the same question for the whole block. A complex image is a real one of twice the width.

// Add windows (pos, slice, y, x) into images (slice, Y, X); blocks are (columns, rows, slices).
extern "C" __global__ void accumulate(
    int num_positions, int height, int width, int image_height, int image_width, int columns_per_pixel,
    const int *corners, const float *windows, float *image) {
    const int row = blockIdx.y, column = blockIdx.x * blockDim.x + threadIdx.x;
    const long long num_slices = gridDim.z, slice = blockIdx.z;
    if (column >= image_width) return;
    float *here = image + (slice * image_height + row) * image_width + column;
    float total = *here;
    for (long long position = 0; position < num_positions; position++) {
        int y = row - corners[2 * position];
        if (y < 0) y += image_height;
        if (y >= height) continue;
        int x = column - columns_per_pixel * corners[2 * position + 1];
        if (x < 0) x += image_width;
        if (x < width) total += windows[((position * num_slices + slice) * height + y) * width + x];
    }
    *here = total;
}
