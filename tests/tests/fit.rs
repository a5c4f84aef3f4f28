//! The training loop over compiled steps: metrics of whole epochs, weights of samples and classes, averaged weights.

use bakelite::{Data, Fit, Model, Options};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::ir::random::Rng;
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::model;
use bakelite_compiler::prelude::{
    AUC, Adam, BinaryCrossentropy, Dense, F32, MeanSquaredError, Precision, SGD, Sequential, Sigmoid,
};

const ROWS: usize = 23;

fn open(described: &model::Model) -> Model {
    let compiled = compile(described.lower().unwrap(), &compile::Options::default()).unwrap_or_else(|e| panic!("{e}"));
    let code = JitModel::new(&compiled, TargetCpu::Portable).unwrap();
    let mut model = Model::open_with(code, Options::new().threads(1)).unwrap();
    model.init(3).unwrap();
    model
}

fn classifier(weighted: bool) -> Model {
    let m = Sequential::new("classifier").input("x", 4, F32).add(Dense::new(1).activation(Sigmoid).name("y"));
    if weighted {
        m.sample_weight("y", ());
    }
    m.compile(Adam::new(0.05), BinaryCrossentropy::new(), (AUC::new(), Precision::new().thresholds([0.3, 0.6])));
    open(&m)
}

/// Inputs, and labels that depend on them.
fn rows() -> (Vec<f32>, Vec<f32>) {
    let mut rng = Rng::new(5);
    let x: Vec<f32> = rng.floats(ROWS * 4, (-1.0, 1.0)).into_iter().map(|x| x as f32).collect();
    let y = x.chunks(4).map(|row| (row[0] + 0.5 * row[1] > 0.1) as u8 as f32).collect();
    (x, y)
}

#[test]
fn metrics_are_those_of_all_rows_whatever_the_batches() {
    let (x, y) = rows();
    let data = Data::pair(&x, &y);
    let mut model = classifier(false);
    let history = model.fit(&data, Fit::epochs(4).batch(5).validation(&data)).unwrap();
    let keys: Vec<&str> = history.keys().collect();
    let metrics = ["auc", "precision_0", "precision_1"];
    assert_eq!(keys[..4], [&["loss"][..], &metrics[..]].concat());
    // The last validation saw the model as it is now.
    let (whole, pieces) = (model.evaluate(&data, ROWS).unwrap(), model.evaluate(&data, 2).unwrap());
    for name in ["loss", "auc", "precision_0", "precision_1"] {
        assert!((whole[name] - pieces[name]).abs() < 1e-6, "{name}: {whole} and {pieces}");
        assert!((whole[name] - history.last(&format!("val_{name}")).unwrap()).abs() < 1e-6, "{name}");
    }
    assert!(whole["auc"] > 0.5, "{whole}");
}

#[test]
fn class_weights_are_sample_weights() {
    let (x, y) = rows();
    let weights: Vec<f32> = y.iter().map(|y| if *y == 1.0 { 3.0 } else { 0.5 }).collect();
    let fit = || Fit::epochs(3).batch(7);
    let run = |data: &Data<'_>, fit: Fit<'_>| {
        let mut model = classifier(true);
        let history = model.fit(data, fit).unwrap();
        (history, model.param("y/kernel").unwrap().to_vec::<f32>().unwrap())
    };
    let (plain, once) = run(&Data::pair(&x, &y), fit());
    let (by_class, class) = run(&Data::pair(&x, &y), fit().class_weight([(1, 3.0), (0, 0.5)]));
    let (by_sample, sample) = run(&Data::weighted(&x, &y, &weights), fit());
    let (named, again) = run(&Data::pair(&x, &y).weight("y", &weights), fit());
    assert_eq!((&by_class, &class), (&by_sample, &sample));
    assert_eq!((&named, &again), (&by_sample, &sample));
    assert_ne!((&plain, &once), (&by_sample, &sample));
    let (none, ones) = run(&Data::weighted(&x, &y, vec![1.0f32; ROWS]), fit());
    assert_eq!((plain, once), (none, ones));
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let (x, y) = rows();
    let refused = |weighted: bool, data: &Data<'_>, fit: Fit<'_>| {
        let error = classifier(weighted).fit(data, fit).unwrap_err();
        error.to_string()
    };
    let data = Data::pair(&x, &y);
    let both = Data::weighted(&x, &y, vec![1.0f32; ROWS]);
    let cases = [
        (refused(false, &both, Fit::epochs(1)), "the data has sample weights, `train_step` takes none"),
        (refused(false, &data, Fit::epochs(1).class_weight([(0, 1.0)])), "class weights need sample weights"),
        (refused(true, &both, Fit::epochs(1).class_weight([(0, 1.0)])), "class weights and sample weights"),
        (refused(true, &data.clone().weight("z", &y), Fit::epochs(1)), "the data has sample weights `z`"),
        (refused(true, &data.clone().weight("y", &y[1..]), Fit::epochs(1)), "`y` has 22"),
    ];
    for (error, part) in cases {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn averages_replace_weights_at_the_end() {
    let (x, y) = rows();
    let m = Sequential::new("averaged").input("x", 4, F32).add(Dense::new(1).name("y"));
    m.compile(SGD::new(0.1).use_ema(true).ema_momentum(0.9), MeanSquaredError, ());
    let mut model = open(&m);
    model.fit(&Data::pair(&x, &y), Fit::epochs(2).batch(8)).unwrap();
    let values = |name: &str| model.param(name).unwrap().to_vec::<f32>().unwrap();
    assert_eq!(values("y/kernel"), values("optimizer/y/kernel/average"));
}
