use bakelite_compiler::prelude::*;

fn main() -> Result<(), Diagnostics> {
    let m = Model::new("twin");
    let x = m.input("x", 2, F32);
    m.output_as("largest", &x.max_all()).output_as("mean", &x.mean(&[0])).output_as("negative", &(-&x));
    m.build()
}
