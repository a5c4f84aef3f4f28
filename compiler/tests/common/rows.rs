//! One row a layer: what the tests of layers run through every runtime.

use bakelite_compiler::ir::StorageKind;
use bakelite_compiler::prelude::*;

// Found from wherever this file is included.
#[path = "rows/recurrent.rs"]
mod recurrent;

pub type Build = fn(&[Tensor]) -> Tensor;

/// Name, shapes of the inputs' items, shape of the result's items, and the layer.
pub struct Row(pub &'static str, pub &'static [&'static [usize]], pub &'static [usize], pub Build);

/// The same tensor with a mask that leaves some steps out: those whose first feature is below -1/2.
fn some_mask(x: &Tensor) -> Tensor {
    x.with_mask(&(x.slice(-1, 0, 1).max(&[-1]) + 1.5).cast(I32).cast(Bool))
}

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    Row("adaptive average pooling", &[&[7, 2]], &[3, 2], |x| AdaptiveAveragePooling1D::new(3).apply(&x[0])),
    Row("adaptive average pooling even", &[&[2, 6, 4]], &[2, 3, 2], |x| {
        AdaptiveAveragePooling2D::new((3, 2)).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("adaptive max pooling", &[&[5, 7, 2]], &[2, 3, 2], |x| AdaptiveMaxPooling2D::new((2, 3)).apply(&x[0])),
    Row("adaptive max pooling of volumes", &[&[3, 4, 2, 2]], &[2, 2, 1, 2], |x| AdaptiveMaxPooling3D::new((2, 2, 1)).apply(&x[0])),
    Row("stft spectrogram", &[&[11, 2]], &[4, 10], |x| STFTSpectrogram::new(5).frame_step(2).apply(&x[0])),
    Row("stft spectrogram power", &[&[2, 11]], &[2, 6, 5], |x| {
        STFTSpectrogram::new(5).mode(SpectrogramMode::Psd).padding(Same).expand_dims(true).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("mel spectrogram", &[&[40]], &[5, 6], |x| {
        MelSpectrogram::new(12).sequence_stride(8).num_mel_bins(5).sampling_rate(100.0).apply(&x[0])
    }),
    Row("sort", &[&[3, 5]], &[3, 5], |x| x[0].sort(-1)),
    Row("top k", &[&[3, 5]], &[3, 2], |x| x[0].top_k(2)[0].clone()),
    Row("running sum and product", &[&[3, 5]], &[3, 5], |x| x[0].cumsum(1) * (&x[0] + 2.0).cumprod(-1)),
    Row("product along axes", &[&[3, 5]], &[3], |x| (&x[0] + 1.5).prod(&[-1])),
    Row("median", &[&[3, 4]], &[3], |x| x[0].median(&[-1])),
    Row("take along axis", &[&[3, 5]], &[3, 5], |x| x[0].take_along_axis(&x[0].argsort(1), 1)),
    Row("roll, repeat, flip", &[&[3, 4]], &[6, 4], |x| x[0].roll(1, 1).repeat(2, 1).flip(&[-1])),
    Row("pad", &[&[3, 4]], &[4, 6], |x| x[0].pad(&[(0, 0), (1, 0), (0, 2)], 0.5)),
    Row("einsum of tensors", &[&[3, 4], &[4, 2]], &[2, 3], |x| x[0].einsum("bij,bjk->bki", &[&x[1]])),
    Row("matmul and softmax along axes", &[&[3, 4], &[4, 2]], &[3, 2], |x| x[0].matmul(&x[1]).softmax(&[1, 2])),
    Row("dense", &[&[5]], &[3], |x| Dense::new(3).apply(&x[0])),
    Row("dense on sequences", &[&[3, 5]], &[3, 2], |x| Dense::new(2).activation(Tanh).apply(&x[0])),
    Row("dense without bias", &[&[5]], &[3], |x| Dense::new(3).use_bias(false).apply(&x[0])),
    Row("dense lora", &[&[5]], &[3], |x| Dense::new(3).lora_rank(2).lora_alpha(3.0).apply(&x[0])),
    Row("einsum dense lora", &[&[3, 5]], &[3, 4], |x| EinsumDense::new("...x,xy->...y", 4).lora_rank(2).apply(&x[0])),
    Row("conv1d lora", &[&[6, 3]], &[5, 4], |x| Conv1D::new(4, 2).lora_rank(1).apply(&x[0])),
    Row("embedding lora", &[&[3]], &[3, 2], |x| Embedding::new(5, 2).lora_rank(2).apply(&(&x[0] * 1.5 + 2.5).cast(I32))),
    Row("einsum dense", &[&[3, 5]], &[3, 2, 4], |x| {
        EinsumDense::new("abc,cde->abde", [None, Some(2), Some(4)]).bias_axes("e").activation(Tanh).apply(&x[0])
    }),
    Row("einsum dense ellipsis", &[&[2, 3, 5]], &[2, 3, 4], |x| EinsumDense::new("...x,xy->...y", 4).bias_axes("y").apply(&x[0])),
    Row("einsum dense right", &[&[5, 2, 3]], &[4, 2, 3], |x| EinsumDense::new("ab...,bc->ac...", 4).bias_axes("c").apply(&x[0])),
    Row("einsum dense shared axis", &[&[2, 3, 5]], &[4, 2], |x| EinsumDense::new("abcd,bde->aeb", [4, 2]).apply(&x[0])),
    Row("dense with a penalty on its result", &[&[5]], &[3], |x| Dense::new(3).activity_regularizer(L1L2 { l1: 0.1, l2: 0.2 }).apply(&x[0])),
    Row("shared dense", &[&[5], &[5]], &[3], |x| {
        let d = Dense::new(3).activation(Sigmoid);
        d.apply(&x[0]) * d.apply(&x[1])
    }),
    Row("relu", &[&[7]], &[7], |x| ReLU::new().max_value(0.9).negative_slope(0.2).threshold(0.1).apply(&x[0])),
    Row("relu slope", &[&[7]], &[7], |x| ReLU::new().negative_slope(0.2).apply(&x[0])),
    Row("threshold", &[&[7]], &[7], |x| Threshold { threshold: 0.1, default_value: -0.3 }.apply(&x[0])),
    Row("leaky relu", &[&[5]], &[5], |x| LeakyReLU::new().apply(&x[0])),
    Row("elu", &[&[5]], &[5], |x| ELU::new().alpha(0.7).apply(&x[0])),
    Row("prelu", &[&[3, 5]], &[3, 5], |x| PReLU::new().alpha_initializer(Constant(0.3)).apply(&x[0])),
    Row("prelu shared axes", &[&[3, 5, 2]], &[3, 5, 2], |x| PReLU::new().shared_axes(vec![1, 2]).apply(&x[0])),
    Row("softmax", &[&[3, 5]], &[3, 5], |x| Softmax::new().axis(1).apply(&x[0])),
    Row("softmax axes", &[&[3, 5]], &[3, 5], |x| Softmax::new().axis([1, 2]).apply(&x[0])),
    Row("softmax mask", &[&[5], &[5]], &[5], |x| {
        let mask = (&x[1] + 1.5).cast(I32).cast(Bool);
        Softmax::new().apply_many(&[&x[0], &mask])
    }),
    Row("conv2d", &[&[5, 7, 3]], &[3, 5, 4], |x| Conv2D::new(4, 3).apply(&x[0])),
    Row("conv2d same", &[&[5, 7, 3]], &[5, 7, 2], |x| Conv2D::new(2, (2, 3)).padding(Same).apply(&x[0])),
    Row("conv2d strides", &[&[7, 6, 2]], &[3, 2, 3], |x| Conv2D::new(3, 3).strides((2, 3)).apply(&x[0])),
    Row("conv2d same strides", &[&[7, 5, 2]], &[4, 3, 3], |x| Conv2D::new(3, 3).strides(2).padding(Same).apply(&x[0])),
    Row("conv2d dilation", &[&[7, 7, 2]], &[3, 3, 2], |x| Conv2D::new(2, 3).dilation_rate(2).apply(&x[0])),
    Row("conv2d groups", &[&[4, 5, 6]], &[3, 4, 4], |x| Conv2D::new(4, 2).groups(2).apply(&x[0])),
    Row("conv2d depthwise groups", &[&[4, 5, 3]], &[4, 5, 6], |x| Conv2D::new(6, 3).groups(3).padding(Same).apply(&x[0])),
    Row("conv2d channels first", &[&[3, 5, 7]], &[4, 3, 5], |x| Conv2D::new(4, 3).data_format(ChannelsFirst).activation(Softmax).apply(&x[0])),
    Row("conv1d", &[&[7, 3]], &[3, 4], |x| Conv1D::new(4, 3).strides(2).apply(&x[0])),
    Row("conv1d same", &[&[8, 2]], &[4, 3], |x| Conv1D::new(3, 5).strides(2).padding(Same).apply(&x[0])),
    Row("conv1d causal", &[&[7, 3]], &[7, 2], |x| Conv1D::new(2, 3).padding(Causal).dilation_rate(2).apply(&x[0])),
    Row("conv1d causal strides", &[&[7, 3]], &[3, 2], |x| Conv1D::new(2, 2).padding(Causal).strides(3).apply(&x[0])),
    Row("conv1d groups", &[&[6, 4]], &[5, 6], |x| Conv1D::new(6, 2).groups(2).use_bias(false).apply(&x[0])),
    Row("conv3d", &[&[4, 5, 3, 2]], &[3, 3, 2, 3], |x| Conv3D::new(3, (2, 3, 2)).activation(Tanh).apply(&x[0])),
    Row("conv3d same strides", &[&[4, 5, 3, 2]], &[2, 5, 1, 2], |x| Conv3D::new(2, 3).strides((2, 1, 3)).padding(Same).apply(&x[0])),
    Row("conv3d dilation", &[&[5, 4, 3, 2]], &[1, 2, 3, 2], |x| Conv3D::new(2, (3, 2, 1)).dilation_rate(2).apply(&x[0])),
    Row("conv1d transpose", &[&[5, 3]], &[12, 2], |x| Conv1DTranspose::new(2, 4).strides(2).apply(&x[0])),
    Row("conv1d transpose gaps", &[&[4, 3]], &[12, 2], |x| Conv1DTranspose::new(2, 2).strides(3).apply(&x[0])),
    Row("conv1d transpose same gaps", &[&[4, 3]], &[12, 2], |x| Conv1DTranspose::new(2, 1).strides(3).padding(Same).apply(&x[0])),
    Row("conv2d transpose", &[&[3, 5, 4]], &[5, 7, 3], |x| Conv2DTranspose::new(3, 3).apply(&x[0])),
    Row("conv2d transpose same", &[&[3, 5, 4]], &[3, 5, 3], |x| Conv2DTranspose::new(3, (2, 3)).padding(Same).apply(&x[0])),
    Row("conv2d transpose strides", &[&[3, 4, 2]], &[7, 9, 3], |x| Conv2DTranspose::new(3, 3).strides(2).apply(&x[0])),
    Row("conv2d transpose same strides", &[&[3, 4, 2]], &[6, 12, 3], |x| Conv2DTranspose::new(3, 3).strides((2, 3)).padding(Same).apply(&x[0])),
    Row("conv2d transpose output padding", &[&[3, 4, 2]], &[8, 10, 3], |x| {
        Conv2DTranspose::new(3, 3).strides(2).output_padding(1).apply(&x[0])
    }),
    Row("conv2d transpose same output padding", &[&[3, 4, 2]], &[5, 11, 3], |x| {
        Conv2DTranspose::new(3, (4, 3)).strides((2, 3)).output_padding((1, 1)).padding(Same).apply(&x[0])
    }),
    Row("conv2d transpose dilation", &[&[3, 4, 2]], &[7, 8, 3], |x| Conv2DTranspose::new(3, 3).dilation_rate(2).activation(Relu).apply(&x[0])),
    Row("conv2d transpose channels first", &[&[2, 3, 4]], &[3, 6, 8], |x| {
        Conv2DTranspose::new(3, 2).strides(2).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("conv3d transpose", &[&[2, 3, 2, 2]], &[5, 4, 4, 2], |x| Conv3DTranspose::new(2, (3, 2, 3)).strides((2, 1, 1)).apply(&x[0])),
    Row("depthwise conv1d", &[&[7, 3]], &[4, 6], |x| DepthwiseConv1D::new(3).strides(2).depth_multiplier(2).padding(Same).apply(&x[0])),
    Row("depthwise conv2d", &[&[5, 6, 4]], &[3, 4, 4], |x| DepthwiseConv2D::new(3).activation(Relu).apply(&x[0])),
    Row("depthwise conv2d multiplier", &[&[5, 6, 3]], &[5, 6, 6], |x| DepthwiseConv2D::new(3).depth_multiplier(2).padding(Same).apply(&x[0])),
    Row("depthwise conv2d strides", &[&[5, 6, 4]], &[3, 3, 4], |x| DepthwiseConv2D::new(3).strides(2).padding(Same).apply(&x[0])),
    Row("depthwise conv2d dilation", &[&[5, 7, 2]], &[1, 5, 2], |x| DepthwiseConv2D::new((3, 2)).dilation_rate(2).apply(&x[0])),
    Row("separable conv1d", &[&[7, 3]], &[5, 4], |x| SeparableConv1D::new(4, 3).apply(&x[0])),
    Row("separable conv2d", &[&[5, 6, 3]], &[3, 3, 5], |x| {
        SeparableConv2D::new(5, 3).strides(2).padding(Same).depth_multiplier(2).activation(Relu).apply(&x[0])
    }),
    Row("max pooling", &[&[6, 7, 3]], &[3, 3, 3], |x| MaxPooling2D::new(2).apply(&x[0])),
    Row("max pooling same", &[&[5, 7, 2]], &[3, 4, 2], |x| MaxPooling2D::new(2).padding(Same).apply(&x[0])),
    Row("max pooling overlapping", &[&[7, 7, 2]], &[3, 3, 2], |x| MaxPooling2D::new(3).strides(2).apply(&x[0])),
    Row("max pooling gaps", &[&[7, 5, 2]], &[2, 2, 2], |x| MaxPooling2D::new((2, 1)).strides((3, 3)).apply(&x[0])),
    Row("max pooling 1d", &[&[7, 3]], &[3, 3], |x| MaxPooling1D::new(3).strides(2).apply(&x[0])),
    Row("max pooling 3d", &[&[4, 5, 3, 2]], &[2, 2, 2, 2], |x| MaxPooling3D::new((2, 2, 1)).strides(2).apply(&x[0])),
    Row("max pooling channels first", &[&[3, 6, 7]], &[3, 3, 3], |x| MaxPooling2D::new(2).data_format(ChannelsFirst).apply(&x[0])),
    Row("average pooling", &[&[6, 7, 3]], &[3, 3, 3], |x| AveragePooling2D::new(2).apply(&x[0])),
    Row("average pooling same", &[&[5, 7, 2]], &[3, 4, 2], |x| AveragePooling2D::new(2).padding(Same).apply(&x[0])),
    Row("average pooling 1d", &[&[7, 3]], &[4, 3], |x| AveragePooling1D::new(3).strides(2).padding(Same).apply(&x[0])),
    Row("average pooling 3d", &[&[4, 5, 3, 2]], &[2, 2, 1, 2], |x| AveragePooling3D::new(2).apply(&x[0])),
    Row("global average pooling", &[&[3, 5, 4]], &[4], |x| GlobalAveragePooling2D.apply(&x[0])),
    Row("global average pooling 1d", &[&[5, 4]], &[1, 4], |x| GlobalAveragePooling1D.keepdims(true).apply(&x[0])),
    Row("global average pooling 3d", &[&[2, 3, 5, 4]], &[4], |x| GlobalAveragePooling3D.apply(&x[0])),
    Row("global max pooling", &[&[3, 5, 4]], &[4], |x| GlobalMaxPooling2D.apply(&x[0])),
    Row("global max pooling 1d", &[&[5, 4]], &[4], |x| GlobalMaxPooling1D.apply(&x[0])),
    Row("global max pooling 3d", &[&[4, 2, 3, 5]], &[4, 1, 1, 1], |x| {
        GlobalMaxPooling3D.keepdims(true).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("zero padding 1d", &[&[5, 3]], &[8, 3], |x| ZeroPadding1D::new((1, 2)).apply(&x[0])),
    Row("zero padding 2d", &[&[3, 5, 2]], &[5, 9, 2], |x| ZeroPadding2D::new((1, 2)).apply(&x[0])),
    Row("zero padding 2d ends", &[&[3, 5, 2]], &[4, 8, 2], |x| ZeroPadding2D::new(((1, 0), (0, 3))).apply(&x[0])),
    Row("zero padding 3d", &[&[3, 2, 2, 2]], &[5, 4, 4, 2], |x| ZeroPadding3D::new(1).apply(&x[0])),
    Row("cropping 1d", &[&[6, 3]], &[3, 3], |x| Cropping1D::new((1, 2)).apply(&x[0])),
    Row("cropping 2d", &[&[5, 6, 2]], &[4, 3, 2], |x| Cropping2D::new(((1, 0), (1, 2))).apply(&x[0])),
    Row("cropping 3d", &[&[5, 6, 3, 2]], &[3, 2, 1, 2], |x| Cropping3D::new((1, 2, 1)).apply(&x[0])),
    Row("up sampling 1d", &[&[4, 3]], &[12, 3], |x| UpSampling1D::new(3).apply(&x[0])),
    Row("up sampling 2d", &[&[3, 4, 2]], &[6, 12, 2], |x| UpSampling2D::new((2, 3)).apply(&x[0])),
    Row("up sampling bilinear", &[&[3, 4, 2]], &[6, 12, 2], |x| UpSampling2D::new((2, 3)).interpolation(Bilinear).apply(&x[0])),
    Row("up sampling bicubic", &[&[3, 5, 2]], &[6, 10, 2], |x| UpSampling2D::new(2).interpolation(Bicubic).apply(&x[0])),
    Row("up sampling of up sampling", &[&[3, 4, 2]], &[12, 16, 2], |x| {
        let near = UpSampling2D::new(2).apply(&x[0]);
        UpSampling2D::new(2).interpolation(Bilinear).apply(&near)
    }),
    Row("up sampling of flattened rows", &[&[3, 2, 4]], &[16, 6, 1], |x| {
        let turned = Reshape::new([8, 3, 1]).apply(&Permute::new([3, 2, 1]).apply(&x[0]));
        UpSampling2D::new(2).interpolation(Bilinear).apply(&turned)
    }),
    Row("up sampling channels first", &[&[2, 3, 4]], &[2, 6, 8], |x| UpSampling2D::new(2).data_format(ChannelsFirst).apply(&x[0])),
    Row("up sampling 3d", &[&[2, 3, 2, 2]], &[4, 3, 6, 2], |x| UpSampling3D::new((2, 1, 3)).apply(&x[0])),
    Row("resizing", &[&[5, 7, 2]], &[8, 4, 2], |x| Resizing::new(8, 4).apply(&x[0])),
    Row("resizing nearest", &[&[5, 7, 2]], &[8, 4, 2], |x| Resizing::new(8, 4).interpolation(Nearest).apply(&x[0])),
    Row("resizing antialias", &[&[7, 9, 2]], &[3, 4, 2], |x| Resizing::new(3, 4).antialias(true).interpolation(Lanczos3).apply(&x[0])),
    Row("resizing cropped", &[&[5, 9, 2]], &[4, 4, 2], |x| Resizing::new(4, 4).crop_to_aspect_ratio(true).apply(&x[0])),
    Row("resizing padded", &[&[5, 9, 2]], &[4, 4, 2], |x| Resizing::new(4, 4).pad_to_aspect_ratio(true).fill_value(0.5).apply(&x[0])),
    Row("batch normalization", &[&[3, 5, 2]], &[3, 5, 2], |x| BatchNormalization::new().apply(&x[0])),
    Row("batch normalization axis", &[&[3, 5]], &[3, 5], |x| BatchNormalization::new().axis(1).scale(false).apply(&x[0])),
    Row("batch normalization mask", &[&[5, 3]], &[5, 3], |x| BatchNormalization::new().apply(&some_mask(&x[0]))),
    Row("layer normalization", &[&[3, 5]], &[3, 5], |x| LayerNormalization::new().apply(&x[0])),
    Row("layer normalization axes", &[&[3, 5, 2]], &[3, 5, 2], |x| {
        LayerNormalization::new().axis([1, 3]).center(false).epsilon(1e-2).apply(&x[0])
    }),
    Row("layer normalization rms_scaling", &[&[5]], &[5], |x| LayerNormalization::new().rms_scaling(true).apply(&x[0])),
    Row("rms normalization", &[&[3, 5]], &[3, 5], |x| RMSNormalization::new().apply(&x[0])),
    Row("group normalization", &[&[3, 6]], &[3, 6], |x| GroupNormalization::new().groups(3).apply(&x[0])),
    Row("instance normalization", &[&[2, 5, 3]], &[2, 5, 3], |x| {
        GroupNormalization::new().groups(-1).axis(1).scale(false).apply(&x[0])
    }),
    // The estimate passes no gradient on; with one filter there is nothing to estimate.
    Row("spectral normalization", &[&[5]], &[1], |x| SpectralNormalization::new(Dense::new(1)).apply(&x[0])),
    Row("spectral normalization of a convolution", &[&[4, 5, 2]], &[3, 3, 1], |x| {
        SpectralNormalization::new(Conv2D::new(1, (2, 3))).power_iterations(3).apply(&x[0])
    }),
    Row("scales of channels", &[&[3, 5]], &[3, 5], |x| LayerScale::new(0.7, 5).apply(&x[0])),
    Row("unit normalization", &[&[3, 5]], &[3, 5], |x| UnitNormalization::new().apply(&x[0])),
    Row("dropout", &[&[9]], &[9], |x| Dropout::new(0.4).apply(&x[0])),
    Row("dropout on images", &[&[3, 2, 5]], &[3, 2, 5], |x| Dropout::new(0.5).apply(&x[0])),
    Row("integer lookup", &[&[3]], &[3, 5], |x| {
        let layer = IntegerLookup::new().vocabulary([-1, 0, 1]).num_oov_indices(2).output_mode(OutputMode::OneHot);
        layer.apply(&(&x[0] * 2.0).cast(I32))
    }),
    Row("embedding", &[&[3]], &[3, 2], |x| Embedding::new(5, 2).apply(&(&x[0] * 1.5 + 2.5).cast(I32))),
    Row("masking", &[&[3, 2]], &[3, 2], |x| Masking::new().apply(&x[0])),
    Row("dropout noise_shape", &[&[3, 2, 5]], &[3, 2, 5], |x| {
        Dropout::new(0.4).noise_shape(vec![None, Some(1), None, Some(5)]).seed(3u64).apply(&x[0])
    }),
    Row("spatial dropout 1d", &[&[3, 5]], &[3, 5], |x| SpatialDropout1D::new(0.4).apply(&x[0])),
    Row("spatial dropout 2d", &[&[2, 3, 5]], &[2, 3, 5], |x| {
        SpatialDropout2D::new(0.4).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("spatial dropout 3d", &[&[2, 3, 1, 5]], &[2, 3, 1, 5], |x| SpatialDropout3D::new(0.4).apply(&x[0])),
    Row("alpha dropout", &[&[5]], &[5], |x| AlphaDropout::new(0.3).apply(&x[0])),
    Row("gaussian noise", &[&[5]], &[5], |x| GaussianNoise::new(0.3).apply(&x[0])),
    Row("gaussian dropout", &[&[5]], &[5], |x| GaussianDropout::new(0.3).apply(&x[0])),
    Row("multi head attention", &[&[3, 5], &[4, 2]], &[3, 5], |x| {
        MultiHeadAttention::new(2, 3).apply_many(&[&x[0], &x[1]])
    }),
    Row("multi head attention masks", &[&[3, 5], &[4, 2], &[4, 3], &[3, 4]], &[3, 4], |x| {
        let attention = MultiHeadAttention::new(2, 3).value_dim(2usize).output_shape(4).use_gate(true).dropout(0.3);
        let pairs = (&x[3] + 1.5).cast(I32).cast(Bool);
        attention.apply_many(&[&x[0], &some_mask(&x[1]), &x[2], &pairs])
    }),
    Row("multi head attention causal", &[&[4, 3]], &[4, 3], |x| {
        MultiHeadAttention::new(2, 2).use_causal_mask(true).sliding_window(3usize).apply_many(&[&x[0], &x[0]])
    }),
    Row("multi head attention axes", &[&[2, 3, 4], &[2, 5, 4]], &[2, 3, 4], |x| {
        MultiHeadAttention::new(2, 3).attention_axes(2).apply_many(&[&x[0], &x[1]])
    }),
    Row("group query attention", &[&[3, 5], &[4, 5]], &[3, 5], |x| {
        GroupQueryAttention::new(3, 4, 2).apply_many(&[&x[0], &some_mask(&x[1])])
    }),
    Row("attention", &[&[3, 5], &[4, 2], &[4, 5]], &[3, 2], |x| {
        Attention::new().use_scale(true).apply_many(&[&some_mask(&x[0]), &x[1], &x[2]])
    }),
    Row("attention by concatenation", &[&[3, 5], &[3, 5]], &[3, 5], |x| {
        Attention::new().score_mode(ScoreMode::Concat).use_causal_mask(true).dropout(0.2).apply_many(&[&x[0], &x[1]])
    }),
    Row("additive attention", &[&[3, 5], &[4, 5]], &[3, 5], |x| AdditiveAttention::new().apply_many(&[&x[0], &x[1]])),
    Row("flatten", &[&[2, 3, 2]], &[12], |x| Flatten.apply(&x[0])),
    Row("flatten channels first", &[&[2, 3, 2]], &[12], |x| Flatten.data_format(ChannelsFirst).apply(&x[0])),
    Row("flatten scalars", &[&[]], &[1], |x| Flatten.apply(&x[0])),
    Row("reshape", &[&[2, 6]], &[3, 4], |x| Reshape::new([3, -1]).apply(&x[0])),
    Row("permute", &[&[2, 3, 5]], &[5, 2, 3], |x| Permute::new([3, 1, 2]).apply(&x[0])),
    Row("repeat vector", &[&[5]], &[3, 5], |x| RepeatVector::new(3).apply(&x[0])),
    Row("identity", &[&[5]], &[5], |x| Identity.apply(&x[0])),
    Row("activity regularization", &[&[5]], &[5], |x| ActivityRegularization::new(0.1, 0.2).apply(&x[0])),
    Row("lambda", &[&[5, 3]], &[5], |x| Lambda::new(|x| (x * x).sum(&[-1]).sqrt() + 1.0).apply(&x[0])),
    Row("lambda of many", &[&[5], &[5]], &[5], |x| {
        Lambda::of_many(|x| &x[0] * &Relu.apply(&x[1])).apply_many(&[&x[0], &x[1]])
    }),
    Row("normalization", &[&[2, 3]], &[2, 3], |x| Normalization::of(&[1.0, 2.0, 3.0], &[0.5, 2.0, 1.0]).apply(&x[0])),
    Row("normalization inverted", &[&[5]], &[5], |x| Normalization::new().invert(true).apply(&x[0])),
    Row("category encoding", &[&[3], &[3]], &[4], |x| {
        let index = (&x[0] * 1.5 + 2.5).cast(I32);
        CategoryEncoding::new(4).output_mode(OutputMode::Count).apply_many(&[&index, &x[1]])
    }),
    Row("discretization", &[&[3]], &[4], |x| {
        Discretization::new([-0.5, 0.2, 1.0]).output_mode(OutputMode::MultiHot).apply(&x[0])
    }),
    Row("hashed crossing", &[&[1], &[1], &[4]], &[4], |x| {
        let [a, b] = [&x[0], &x[1]].map(|x| (x * 2.5).cast(I32));
        HashedCrossing::new(4).output_mode(OutputMode::OneHot).apply_many(&[&a, &b]) * &x[2]
    }),
    Row("random flip", &[&[3, 5, 2]], &[3, 5, 2], |x| RandomFlip::new(FlipMode::HorizontalAndVertical).apply(&x[0])),
    Row("random brightness", &[&[3, 5, 2]], &[3, 5, 2], |x| {
        RandomBrightness::new(0.3).value_range([-1.2, 1.2]).apply(&x[0])
    }),
    Row("random contrast", &[&[3, 5, 2]], &[3, 5, 2], |x| {
        RandomContrast::new((0.5, 0.3)).value_range([-1.2, 1.2]).apply(&x[0])
    }),
    Row("random translation", &[&[3, 5, 2]], &[3, 5, 2], |x| {
        RandomTranslation::new(0.4, (-0.2, 0.6)).fill_mode(FillMode::Constant).fill_value(0.5).apply(&x[0])
    }),
    Row("random rotation", &[&[3, 5, 2]], &[3, 5, 2], |x| RandomRotation::new((-0.4, 0.2)).apply(&x[0])),
    Row("random rotation constant", &[&[2, 3, 5]], &[2, 3, 5], |x| {
        RandomRotation::new(0.5).fill_mode(FillMode::Constant).fill_value(0.5).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("random rotation nearest", &[&[4, 3, 1]], &[4, 3, 1], |x| {
        RandomRotation::new(0.3).fill_mode(FillMode::Wrap).interpolation(Sampling::Nearest).apply(&x[0])
    }),
    Row("center crop", &[&[5, 6, 2]], &[2, 5, 2], |x| CenterCrop::new(2, 5).apply(&x[0])),
    Row("center crop larger", &[&[5, 6, 2]], &[4, 7, 2], |x| CenterCrop::new(4, 7).apply(&x[0])),
    Row("random crop", &[&[5, 6, 2]], &[3, 4, 2], |x| RandomCrop::new(3, 4).apply(&x[0])),
    Row("random crop larger", &[&[3, 6, 2]], &[5, 4, 2], |x| RandomCrop::new(5, 4).apply(&x[0])),
    Row("random zoom", &[&[3, 5, 2]], &[3, 5, 2], |x| RandomZoom::new((-0.4, 0.8)).width_factor(0.3).apply(&x[0])),
    Row("rescaling", &[&[4]], &[4], |x| Rescaling::new(0.5).offset(-1.0).apply(&x[0])),
    Row("add", &[&[3, 4], &[3, 4], &[1, 4]], &[3, 4], |x| Add.apply_many(&[&x[0], &x[1], &x[2]])),
    Row("multiply", &[&[3], &[3]], &[3], |x| Multiply.apply_many(&[&x[0], &x[1]])),
    Row("average", &[&[3], &[3]], &[3], |x| Average.apply_many(&[&x[0], &x[1]])),
    Row("maximum", &[&[3], &[3]], &[3], |x| Maximum.apply_many(&[&x[0], &x[1]])),
    Row("minimum", &[&[3], &[3]], &[3], |x| Minimum.apply_many(&[&x[0], &x[1]])),
    Row("add of ranks", &[&[3, 4], &[4]], &[3, 4], |x| Add.apply_many(&[&x[0], &x[1]])),
    Row("subtract", &[&[3], &[3]], &[3], |x| Subtract.apply_many(&[&x[0], &x[1]])),
    Row("multiply masks", &[&[5, 2], &[5, 2]], &[5, 2], |x| Multiply.apply_many(&[&some_mask(&x[0]), &x[1]])),
    Row("maximum masks", &[&[5, 2], &[5, 2]], &[5, 2], |x| Maximum.apply_many(&[&x[0], &some_mask(&x[1])])),
    Row("dot", &[&[5], &[5]], &[1], |x| Dot::new(-1).normalize(true).apply_many(&[&x[0], &x[1]])),
    Row("dot axes", &[&[3, 5, 2], &[4, 3]], &[5, 2, 4], |x| Dot::new((1, 2)).apply_many(&[&x[0], &x[1]])),
    Row("concatenate", &[&[2, 3], &[2, 1]], &[2, 4], |x| Concatenate::new().apply_many(&[&x[0], &x[1]])),
    Row("concatenate axis", &[&[2, 3], &[1, 3]], &[3, 3], |x| Concatenate::new().axis(1).apply_many(&[&x[0], &x[1]])),
    Row("expressions", &[&[4], &[4]], &[], |x| {
        let a = (&x[0] - &x[1]).square() / 2.0 + x[0].exp() * 0.1;
        let b = 1.0 / (&x[1] * &x[1] + 2.0).sqrt() - (&x[0] + 3.0).log();
        (a * b.sin()).sum(&[-1]) + x[0].slice(1, 1, 3).max(&[1]) + (-&x[0]).tanh().mean(&[1])
    }),
    Row("a model", &[&[4]], &[2], |x| {
        let inner = Sequential::new("inner").add(Dense::new(3).activation(Tanh)).add(Dense::new(2));
        inner.apply(&x[0]) + inner.apply(&(&x[0] * 0.5))
    }),
];

/// A model of one layer, with an entry point that has a scalar, its gradients with respect to the inputs, and one
/// plain step of gradient descent with rate 1, which shows the gradients with respect to the weights.
pub fn model_of(
    inputs: &[&[usize]],
    training: bool,
    build: impl Fn(&[Tensor]) -> Tensor,
) -> (Model, Option<Vec<usize>>) {
    let m = Model::new("row");
    let x: Vec<Tensor> = inputs.iter().enumerate().map(|(i, s)| m.input(format!("x{i}"), s.to_vec(), F32)).collect();
    let y = build(&x);
    m.output_as("y", &y);
    let loss = (&y * &y).mean_all() + (y.sin() * 0.3).mean_all();
    let wrt: Vec<&Tensor> = x.iter().collect();
    let mut entry = m.entry("probe").output("loss", &loss).training(training);
    for (i, g) in loss.gradients(&wrt).iter().enumerate() {
        entry = entry.output(format!("dx{i}"), g);
    }
    let names: Vec<String> = m.layer_names();
    let weighted = m.lower().map(|l| l.storage.iter().any(|c| c.kind == StorageKind::Param)).unwrap_or(false);
    if weighted {
        let names: Vec<&str> = names.iter().map(|n| n.as_str()).collect();
        entry.minimize(&loss, &names, SGD::new(1.0));
    }
    (m, y.item_shape())
}

/// Calls a function with the model of every row and of every activation, in training and in prediction, and with the
/// shapes of its inputs and of its result.
pub fn for_each(mut f: impl FnMut(&str, &Model, &[&[usize]], Option<Vec<usize>>, &[usize])) {
    for training in [true, false] {
        for Row(name, inputs, result, build) in ROWS.iter().chain(recurrent::ROWS) {
            let (model, shape) = model_of(inputs, training, build);
            f(name, &model, inputs, shape, result);
        }
        for activation in Activation::ALL {
            let (model, shape) = model_of(&[&[6]], training, |x| activation.apply(&x[0]));
            let features = if activation == Activation::Glu { 3 } else { 6 };
            f(&format!("{activation:?}"), &model, &[&[6]], shape, &[features]);
        }
    }
}
