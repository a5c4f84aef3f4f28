// k0_softmax
extern "C" __global__ void __launch_bounds__(128) softmax_k0_softmax(int batch, const float* in0, float* out0) {
    const float* const x_0 = in0;
    float* const y_1 = out0;
    const int point = (int)blockIdx.x;
    const int i0 = point;
    float acc0 = -BK_INF;
    for (int p = (int)threadIdx.x; p < 100; p += 128) {
        const int i1 = p;
        acc0 = bk_max(acc0, x_0[100 * i0 + i1]);
    }
    acc0 = bk_fold(acc0, [](float x, float y) { return bk_max(x, y); });
    float acc1 = 0.0f;
    for (int p = (int)threadIdx.x; p < 100; p += 128) {
        const int i2 = p;
        acc1 = acc1 + exp(x_0[100 * i0 + i2] - acc0);
    }
    acc1 = bk_fold(acc1, [](float x, float y) { return x + y; });
    for (int p = (int)threadIdx.x; p < 100; p += 128) {
        const int i3 = p;
        y_1[100 * i0 + i3] = bk_div(exp(x_0[100 * i0 + i3] - acc0), acc1);
    }
}

// entry softmax: arena 0 bytes
//   launch              grid   block  shared  arguments
//   softmax_k0_softmax  batch  128    512     batch, in0, out0
