use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(3).name("a").apply(&x));
    m.output(&Dense::new(3).name("b").apply(&x));
    m.output(&Dense::new(3).name("c").apply(&x));
    m.sample_weight("a", 5);
    m.sample_weight("d", ());
    m.weighted_metrics(Metrics::new().output("b", AUC::new().num_thresholds(1)));
    m.track(&x, Mean::new("loss"));
    m.compile(
        Adam::new(CosineDecay::new(0.1, 0.0)).clipnorm(1.0).clipvalue(0.5),
        Losses::from((
            Huber::new().delta(-1.0),
            LossFn::new("apart", |t, y| t - y.slice(1, 0, 2)),
            BinaryFocalCrossentropy::new().gamma(f64::NAN),
        ))
        .loss_weights([1.0, 2.0]),
        (),
    );
    let entry = m.entry("step");
    entry.minimize(&x.sum_all(), &["a"], AdamW::new(0.1).gradient_accumulation_steps(1));
    m
}
