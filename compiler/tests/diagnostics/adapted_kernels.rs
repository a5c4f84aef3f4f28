use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let v = m.input("v", 5, F32);
    let words = m.input("words", 3, I32);
    Dense::new(2).lora_rank(0).apply(&v);
    Dense::new(2).lora_alpha(2.0).apply(&v);
    Dense::new(2).lora_rank(1).lora_alpha(f64::NAN).apply(&v);
    Dense::new(2).lora_rank(1).kernel_constraint(Constraint::NonNeg).apply(&v);
    Dense::new(2).lora_rank(1).dtype(DTypePolicy::Int8FromFloat32).apply(&v);
    Embedding::new(4, 2).lora_rank(usize::MAX).apply(&words);
    m.output(&v);
    m.output_as("words", &words);
    m
}
