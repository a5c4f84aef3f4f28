use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("image", [9, 7, 4], F32);
    let bytes = m.input("bytes", [9, 7, 4], U8);
    let flags = m.input("flags", [9, 7, 1], Bool);
    Cropping2D::new(((4, 5), (1, 1))).apply(&x);
    Cropping1D::new(1).apply(&x);
    ZeroPadding2D::new(1 << 40).apply(&x);
    UpSampling2D::new((2, 0)).apply(&x);
    UpSampling2D::new(2).interpolation(Bilinear).apply(&bytes);
    Resizing::new(0, 4).apply(&x);
    Resizing::new(4, 4).crop_to_aspect_ratio(true).pad_to_aspect_ratio(true).apply(&x);
    Resizing::new(4, 4).pad_to_aspect_ratio(true).fill_value(f64::NAN).apply(&x);
    Resizing::new(4, 4).apply(&flags);
    m.output(&x);
    m.output_as("b", &bytes);
    m.output_as("f", &flags);
    m
}
