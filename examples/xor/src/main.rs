bakelite::include_model!("xor");

fn main() -> Result<(), bakelite::Error> {
    let bits = [0., 0., 0., 1., 1., 0., 1., 1.];
    let mut model = xor::Model::init(7)?;
    for step in 1..=400 {
        let loss = model.train_step(&bits, &[0., 1., 1., 0.])?.loss;
        if step % 100 == 0 {
            println!("step {step}: loss {loss:.4}");
        }
    }
    for row in bits.chunks(2) {
        let [p] = model.predict_one(&[row[0], row[1]])?;
        println!("{} xor {} = {p:.3}", row[0], row[1]);
    }
    Ok(())
}
