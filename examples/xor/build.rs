use bakelite_compiler::prelude::*;

fn main() -> Result<(), Diagnostics> {
    let m = Model::new("xor");
    let bits = m.input("bits", [2], F32);
    let hidden = Dense::new(8).activation(Tanh).apply(&bits);
    m.output(&Dense::new(1).activation(Sigmoid).name("xor").apply(&hidden));
    m.compile(Adam::new(0.05), BinaryCrossentropy::new(), ());
    m.build()
}
