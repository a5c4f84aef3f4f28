use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("image", [9, 7, 4], F32);
    let t = m.input("series", [5, 2], F32);
    Conv2D::new(0, 3).apply(&x);
    Conv2D::new(8, 3).padding(Causal).apply(&x);
    Conv3D::new(8, 3).apply(&x);
    Conv1D::new(8, 7).apply(&t);
    Conv1D::new(8, 3).data_format(ChannelsFirst).apply(&t);
    Conv1D::new(8, 1 << 40).padding(Same).apply(&t);
    Conv2DTranspose::new(8, 3).strides(2).output_padding((1, 2)).apply(&x);
    Conv2DTranspose::new(8, 3).strides(2).dilation_rate(2).apply(&x);
    let point = GlobalAveragePooling2D.keepdims(true).apply(&x);
    Conv2DTranspose::new(8, 2).padding(Same).output_padding(0).apply(&point);
    DepthwiseConv2D::new(3).depth_multiplier(0).apply(&x);
    DepthwiseConv1D::new(3).padding(Causal).apply(&t);
    SeparableConv2D::new(8, (10, 3)).apply(&x);
    AveragePooling1D::new(2).strides(0).apply(&t);
    Conv2D::new(3, 3).activation(Glu).apply(&x);
    MaxPooling3D::new(2).apply(&x);
    GlobalMaxPooling1D.apply(&x);
    m.output(&x);
    m.output_as("t", &t);
    m
}
