use bakelite_compiler::prelude::*;

fn main() -> Result<(), Diagnostics> {
    let m = Model::new("twin");
    let x = m.input("x", 2, F32);
    m.output_as("y", &x.sum(&[1]));
    m.build()
}
