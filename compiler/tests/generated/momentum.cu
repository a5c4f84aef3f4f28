// k0_momentum
extern "C" __global__ void __launch_bounds__(256) momentum_k0_momentum(int batch, unsigned char* storage, const float* in0) {
    const float* const g_0 = in0;
    float* const velocity_1 = (float*)(storage + 0);
    float* const w_2 = (float*)(storage + 16384);
    const int point = (int)blockIdx.x * 256 + (int)threadIdx.x;
    if (point >= 4096) return;
    const int i0 = point;
    const float v5 = velocity_1[i0] * 0.9f;
    const float v6 = g_0[i0] * 0.1f;
    const float s0 = v5 - v6;
    const float s1 = (w_2[i0] + v5) - v6;
    velocity_1[i0] = s0;
    w_2[i0] = s1;
}

// entry momentum: arena 0 bytes
//   launch                grid              block  shared  arguments
//   momentum_k0_momentum  ceil(4096 / 256)  256    0       batch, storage, in0
