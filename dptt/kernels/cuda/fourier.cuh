// Fourier transforms of length A·B in two passes, each of which a thread computes in registers.
//
// Index j = B j1 + j2 of a line goes to frequency k = k1 + A k2. The first pass takes, for one j2, the A numbers B j1 +
// j2 and leaves k1 of them at B k1 + j2; the second takes, for one k1, the B numbers B k1 + j2 and leaves k2 of them at
// B k1 + k2. Both work in place, and nothing is ever brought into order: the place p = B k1 + k2 holds the frequency
// p / B + A (p % B), and what is multiplied with a spectrum is stored in the order of places. The transform back runs
// the passes in the other order. Nothing is scaled.

__device__ constexpr double PI = 3.14159265358979323846;

// cos or sin of an angle in [0, pi/2), by its series; evaluated by the compiler
__device__ constexpr double series(double angle, int first) {
    double term = first ? angle : 1.0, sum = term;
    for (int n = first + 1; n < 26; n += 2) {
        term *= -angle * angle / (n * (n + 1));
        sum += term;
    }
    return sum;
}

// cos(2 pi k/n), 0 <= k < n; multiples of a quarter turn are exact
__device__ constexpr double cosine(int k, int n) {
    const int quarter = 4 * k / n, rest = 4 * k - quarter * n;
    const double angle = PI * rest / (2.0 * n), c = series(angle, 0), s = series(angle, 1);
    return quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
}

__device__ constexpr double sine(int k, int n) {
    const int quarter = 4 * k / n, rest = 4 * k - quarter * n;
    const double angle = PI * rest / (2.0 * n), c = series(angle, 0), s = series(angle, 1);
    return quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
}

// exp(-2 pi i k/N) = (real, imaginary)
template <int N> struct Roots {
    float real[N], imaginary[N];
    __device__ constexpr Roots() : real(), imaginary() {
        for (int k = 0; k < N; k++) {
            real[k] = static_cast<float>(cosine(k, N));
            imaginary[k] = static_cast<float>(-sine(k, N));
        }
    }
};

__device__ __forceinline__ float2 sum(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
__device__ __forceinline__ float2 difference(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }
__device__ __forceinline__ float2 times(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
__device__ __forceinline__ float2 times_conjugate(float2 a, float2 b) {
    return make_float2(a.x * b.x + a.y * b.y, a.y * b.x - a.x * b.y);
}
__device__ __forceinline__ float2 swapped(float2 a) { return make_float2(a.y, a.x); }
__device__ __forceinline__ float square(float2 a) { return a.x * a.x + a.y * a.y; }

__device__ constexpr int smallest_factor(int n) {
    for (int factor = 2; factor < n; factor++)
        if (n % factor == 0) return factor;
    return n;
}

// Transform of an odd prime length: cosines of the sums and sines of the differences of mirrored numbers.
template <int R> __device__ __forceinline__ void transform_prime(float2 (&v)[R]) {
    constexpr Roots<R> roots{};
    constexpr int HALF = R / 2;
    float2 even[HALF], odd[HALF], total = v[0];
    const float2 first = v[0];
#pragma unroll
    for (int p = 0; p < HALF; p++) {
        even[p] = sum(v[p + 1], v[R - 1 - p]);
        odd[p] = difference(v[p + 1], v[R - 1 - p]);
        total = sum(total, even[p]);
    }
    v[0] = total;
#pragma unroll
    for (int k = 1; k <= HALF; k++) {
        float2 a = first, b = make_float2(0, 0);
#pragma unroll
        for (int p = 1; p <= HALF; p++) {
            const float c = roots.real[k * p % R], s = roots.imaginary[k * p % R];
            a = make_float2(a.x + c * even[p - 1].x, a.y + c * even[p - 1].y);
            b = make_float2(b.x + s * odd[p - 1].x, b.y + s * odd[p - 1].y);
        }
        v[k] = make_float2(a.x - b.y, a.y + b.x);
        v[R - k] = make_float2(a.x + b.y, a.y - b.x);
    }
}

// Transform of R numbers in registers.
template <int R> __device__ __forceinline__ void transform(float2 (&v)[R]) {
    constexpr int A = smallest_factor(R), B = R / A;
    if constexpr (R == 2) {
        const float2 first = v[0];
        v[0] = sum(first, v[1]);
        v[1] = difference(first, v[1]);
    } else if constexpr (R > 1 && B == 1) {
        transform_prime<R>(v);
    } else if constexpr (R > 1) {
        constexpr Roots<R> roots{};
        float2 between[R];
#pragma unroll
        for (int j = 0; j < B; j++) {
            float2 part[A];
#pragma unroll
            for (int i = 0; i < A; i++) part[i] = v[B * i + j];
            transform<A>(part);
#pragma unroll
            for (int k = 0; k < A; k++) {
                // a product with 0 or 1 is not dropped by a compiler that respects NaN
                if (j * k == 0) between[B * k + j] = part[k];
                else if (4 * j * k == R) between[B * k + j] = make_float2(part[k].y, -part[k].x);
                else between[B * k + j] = times(part[k], make_float2(roots.real[j * k], roots.imaginary[j * k]));
            }
        }
#pragma unroll
        for (int k = 0; k < A; k++) {
            float2 part[B];
#pragma unroll
            for (int j = 0; j < B; j++) part[j] = between[B * k + j];
            transform<B>(part);
#pragma unroll
            for (int i = 0; i < B; i++) v[k + A * i] = part[i];
        }
    }
}

// Transform back: that of numbers whose real and imaginary parts are swapped, which costs nothing.
template <int R> __device__ __forceinline__ void transform_back(float2 (&v)[R]) {
#pragma unroll
    for (int i = 0; i < R; i++) v[i] = swapped(v[i]);
    transform<R>(v);
#pragma unroll
    for (int i = 0; i < R; i++) v[i] = swapped(v[i]);
}

// First pass of a line of A·B numbers, for one j2; `roots` are those of the line.
template <int A, int B> __device__ __forceinline__ void first_pass(float2 (&v)[A], int j, const Roots<A * B> &roots) {
    transform<A>(v);
#pragma unroll
    for (int k = 1; k < A; k++) v[k] = times(v[k], make_float2(roots.real[j * k], roots.imaginary[j * k]));
}

template <int A, int B>
__device__ __forceinline__ void first_pass_back(float2 (&v)[A], int j, const Roots<A * B> &roots) {
#pragma unroll
    for (int k = 1; k < A; k++) v[k] = times_conjugate(v[k], make_float2(roots.real[j * k], roots.imaginary[j * k]));
    transform_back<A>(v);
}

// Where frequency k of a line of A·B numbers is found.
template <int A, int B> __device__ __forceinline__ int place_of(int k) { return k % A * B + k / A; }
// The signed frequency that a place holds.
template <int A, int B> __device__ __forceinline__ int frequency_at(int place) {
    const int k = place / B + A * (place % B);
    return k < (A * B + 1) / 2 ? k : k - A * B;
}
