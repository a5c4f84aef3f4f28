// k0_dense_relu
extern "C" __global__ void __launch_bounds__(256) dense_k0_dense_relu(int batch, unsigned char* storage, const float* in0, float* out0) {
    const float* const x_0 = in0;
    float* const h_1 = out0;
    const float* const dense_kernel_2 = (const float*)(storage + 0);
    const float* const dense_bias_3 = (const float*)(storage + 1605632);
    const int point = (int)blockIdx.x * 256 + (int)threadIdx.x;
    if (point >= 512 * batch) return;
    const int i0 = point / 512;
    const int i1 = point % 512;
    float acc0 = 0.0f;
    for (int i2 = 0; i2 < 784; ++i2) {
        acc0 = acc0 + (x_0[784 * i0 + i2] * dense_kernel_2[i1 + 512 * i2]);
    }
    h_1[512 * i0 + i1] = bk_relu(acc0 + dense_bias_3[i1]);
}

// entry dense: arena 0 bytes
//   launch               grid                     block  shared  arguments
//   dense_k0_dense_relu  ceil(batch * 512 / 256)  256    0       batch, storage, in0, out0
