//! How models are put together: names, outputs of one layer, unused inputs, training that cannot be honoured, and files
//! that are folders or lists of files.
#![cfg(feature = "keras")]

use std::fs;
use std::path::Path;

use bakelite::{Input, Model as Opened, Output};
use bakelite_compiler::backend::cranelift::TargetCpu;
use bakelite_compiler::compile::{self, compile};
use bakelite_compiler::export::{save_keras, save_weights};
use bakelite_compiler::import::{KerasFile, KerasModel, load_weights};
use bakelite_compiler::jit::JitModel;
use bakelite_compiler::prelude::*;
use serde_json::{Value, json};

fn open(model: &Model) -> Opened {
    let compiled = compile(model.lower().unwrap_or_else(|e| panic!("{e}")), &compile::Options::default()).unwrap();
    let mut opened = Opened::open(JitModel::new(&compiled, TargetCpu::Portable).unwrap()).unwrap();
    opened.init(1).unwrap();
    opened
}

/// The predictions of a model with one input for some rows.
fn predict(model: &mut Opened, x: &[f32], rows: usize) -> Vec<Vec<f32>> {
    let ports = model.entries().iter().find(|e| e.name == "predict").unwrap().clone();
    let mut results: Vec<Vec<f32>> = ports.outputs.iter().map(|port| vec![0.0; port.len(rows)]).collect();
    let mut outputs: Vec<Output<'_>> = results.iter_mut().map(|r| Output::new(r)).collect();
    model.call(model.entry("predict").unwrap(), &[Input::new(x)], &mut outputs, rows).unwrap();
    results
}

fn object(class: &str, config: Value) -> Value {
    json!({"module": "keras.layers", "class_name": class, "config": config})
}

/// A chain of one layer with a compile configuration.
fn chain(compile: Value) -> KerasModel {
    let layers = [
        object("InputLayer", json!({"batch_shape": [null, 3], "dtype": "float32", "name": "x"})),
        object("Dense", json!({"units": 2, "name": "d"})),
    ];
    let mut model = object("Sequential", json!({"name": "m", "layers": layers}));
    model["compile_config"] = compile;
    KerasModel::parse(&model.to_string()).unwrap()
}

#[test]
fn a_model_runs_whatever_it_was_compiled_with() {
    let sgd = json!({"class_name": "SGD", "config": {"learning_rate": 0.1}});
    let own = json!({"class_name": "MyLoss", "config": {}, "registered_name": "p>MyLoss"});
    for (compile, why) in [
        (json!({"optimizer": sgd, "loss": own}), "no loss class is called `MyLoss`"),
        (
            json!({"optimizer": {"class_name": "Mine", "config": {}}, "loss": "mse"}),
            "no optimizer class is called `Mine`",
        ),
        (json!({"optimizer": sgd, "loss": "mse", "metrics": [own]}), "no metric class is called `MyLoss`"),
        (json!({"loss": "mse"}), "the compile configuration names no optimizer"),
        (json!({"optimizer": sgd, "loss": ["mse", "mse"]}), "`loss` is a list of 2"),
    ] {
        let described = chain(compile);
        assert!(described.build().err().unwrap().to_string().contains(why), "{why}");
        let model = described.build_to_run().unwrap();
        assert!(model.untrained()[0].message.contains(why), "{:?}", model.untrained());
        let module = model.lower().unwrap();
        assert!(module.entry("predict").is_some() && module.entry("train_step").is_none());
        assert!(described.without_training().build().unwrap().untrained().is_empty());
    }
    // Arguments that nobody can honour are mistakes whatever the model is read for.
    let known = |class: &str, config: Value| json!({"class_name": class, "config": config});
    for (compile, told) in [
        (
            json!({"optimizer": sgd, "loss": "mse", "metrics": [known("AUC", json!({"num_thresholds": 1_100_000}))]}),
            "error[value]: AUC with num_thresholds 1100000",
        ),
        (
            json!({"optimizer": sgd, "loss": "mse", "metrics": [known("MeanIoU", json!({"num_classes": 10_000_000}))]}),
            "error[value]: IoU with num_classes 10000000",
        ),
        (json!({"optimizer": known("SGD", json!({"learning_rate": -1.0})), "loss": "mse"}), "error[value]"),
    ] {
        let refused = chain(compile.clone()).build_to_run().err().unwrap_or_else(|| panic!("accepted: {compile}"));
        assert!(refused.to_string().contains(told), "{refused}");
        assert!(chain(compile).without_training().build().is_ok());
    }
    let sound = chain(json!({"optimizer": sgd, "loss": "mse"})).build_to_run().unwrap();
    assert!(sound.untrained().is_empty() && sound.lower().unwrap().entry("train_step").is_some());
}

#[test]
fn results_of_one_layer_have_names_of_their_own() {
    let m = Model::new("states");
    let x = m.input("x", [4, 3], F32);
    let states = LSTM::new(2).return_state(true).name("lstm").call(&[&x]);
    for state in &states {
        m.output(state);
    }
    m.output(&Dense::new(1).name("lstm_3").apply(&states[0]));
    m.compile(SGD::new(0.1), MeanSquaredError, [MeanAbsoluteError]);
    assert_eq!(m.output_names(), ["lstm", "lstm_1", "lstm_2", "lstm_3"]);
    let opened = open(&m);
    let train = opened.entries().iter().find(|e| e.name == "train_step").unwrap();
    let names: Vec<&str> = train.inputs.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["x", "lstm_target", "lstm_1_target", "lstm_2_target", "lstm_3_target"]);
}

#[test]
fn no_name_is_taken_by_the_compiler() {
    let m = Model::new("names");
    let (x, target) = (m.input("x", 3, F32), m.input("metrics_target", 3, F32));
    let y = Dense::new(3).name("optimizer").apply(&Add.apply_many(&[&x, &target]));
    let y = Dense::new(3).name("optimizer_").apply(&y);
    let y = BatchNormalization::new().name("random").apply(&y);
    m.output(&Dense::new(1).name("metrics").apply(&y));
    m.compile(Adam::new(0.1), MeanSquaredError, [MeanAbsoluteError]);
    let mut opened = open(&m);
    for name in ["optimizer_/kernel", "optimizer__/kernel", "random_/gamma", "metrics_/bias", "optimizer/learning_rate"]
    {
        assert!(opened.param(name).is_ok(), "{name}");
    }
    let rows = 4;
    let (x, y): (Vec<f32>, Vec<f32>) = ((0..3 * rows).map(|i| i as f32 / 7.0).collect(), vec![1.0; rows]);
    let data = bakelite::Data::new().input("x", &x).input("metrics_target", &x).target("metrics", &y);
    let history = opened.fit(&data, bakelite::Fit::epochs(3).batch(rows)).unwrap();
    assert!(history["loss"][2] < history["loss"][0], "{:?}", &history["loss"]);
    // A file has them under Keras's names.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.keras");
    save_keras(&path, &m, &opened).unwrap();
    let again = KerasFile::open(&path).unwrap();
    let model = again.model().build().unwrap();
    assert_eq!(model.layer_names(), m.layer_names());
    let mut restored = open(&model);
    assert!(again.restore(&model, &mut restored).unwrap().optimizer);
    let kernel = |opened: &Opened| opened.param("optimizer_/kernel").unwrap().to_vec::<f32>().unwrap();
    assert_eq!(kernel(&restored), kernel(&opened));
}

/// A scale that is too large changes nothing but itself, until the gradients are finite.
#[test]
fn steps_down_gradients_that_are_not_finite_are_none() {
    let m = Model::new("scaled");
    let x = m.input("x", 2, F32);
    m.output(&Dense::new(1).name("y").apply(&x));
    let scaled = LossScaleOptimizer::new(Adam::new(0.1)).initial_scale(3e38).dynamic_growth_steps(2);
    m.compile(scaled, MeanSquaredError, ());
    let mut opened = open(&m);
    let (x, y) = (vec![3.0f32, -5.0, 4.0, 6.0], vec![40.0f32, -20.0]);
    let scalar = |opened: &Opened, name: &str| opened.param(name).unwrap().to_vec::<f32>().unwrap()[0];
    let count = |opened: &Opened, name: &str| opened.param(name).unwrap().to_vec::<u32>().unwrap()[0];
    let kernel = |opened: &Opened| opened.param("y/kernel").unwrap().to_vec::<f32>().unwrap();
    let mut skipped = 0;
    for _ in 0..40 {
        let before = (kernel(&opened), scalar(&opened, "optimizer/dynamic_scale"));
        let steps = (count(&opened, "optimizer/iterations"), count(&opened, "optimizer/step_counter"));
        let mut loss = [0.0f32];
        let step = opened.entry("train_step").unwrap();
        opened.call(step, &[Input::new(&x), Input::new(&y)], &mut [Output::new(&mut loss)], 2).unwrap();
        let after = (kernel(&opened), scalar(&opened, "optimizer/dynamic_scale"));
        assert!(loss[0].is_finite() && after.0.iter().all(|w| w.is_finite()));
        if after.1 < before.1 {
            skipped += 1;
            assert_eq!((after.0, after.1), (before.0, before.1 / 2.0));
            assert_eq!(count(&opened, "optimizer/step_counter"), 0);
            assert_eq!(count(&opened, "optimizer/iterations"), steps.0);
        } else {
            assert_ne!(after.0, before.0);
            assert_eq!(after.1, if steps.1 == 1 { before.1 * 2.0 } else { before.1 });
            assert_eq!(count(&opened, "optimizer/iterations"), steps.0 + 1);
        }
    }
    assert!((2..30).contains(&skipped), "{skipped}");
}

/// A model with a dict of outputs, saved.
fn saved(folder: &Path) -> (KerasFile, Vec<Vec<f32>>) {
    let tensor = |layer: &str| json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 3], "dtype": "float32", "keras_history": [layer, 0, 0]}});
    let call = |layer: &str| json!([{"args": [tensor(layer)], "kwargs": {}}]);
    let mut layers = vec![object("InputLayer", json!({"batch_shape": [null, 3], "dtype": "float32", "name": "x"}))];
    layers.push(object("Dense", json!({"units": 3, "name": "a"})));
    layers.push(object("Dense", json!({"units": 2, "name": "b"})));
    for (layer, nodes) in layers.iter_mut().zip([json!([]), call("x"), call("a")]) {
        layer["name"] = layer["config"]["name"].clone();
        layer["inbound_nodes"] = nodes;
    }
    let outputs = json!({"score": ["b", 0, 0], "kind": [["a", 0, 0], ["b", 0, 0]]});
    let config = json!({"name": "dict", "layers": layers, "input_layers": ["x", 0, 0], "output_layers": outputs});
    let model = KerasModel::parse(&object("Functional", config).to_string()).unwrap().build().unwrap();
    let mut opened = open(&model);
    save_keras(folder.join("dict.keras"), &model, &opened).unwrap();
    save_weights(folder.join("part.weights.h5"), &model, &opened).unwrap();
    let answers = predict(&mut opened, &[0.5, -1.0, 2.0], 1);
    (KerasFile::open(folder.join("dict.keras")).unwrap(), answers)
}

#[test]
fn outputs_that_are_a_dict_stay_one() {
    let folder = tempfile::tempdir().unwrap();
    let (file, answers) = saved(folder.path());
    let model = file.model().build().unwrap();
    // In the order in which Keras flattens them.
    assert_eq!(model.output_names(), ["a", "b", "score"]);
    let mut opened = open(&model);
    file.restore(&model, &mut opened).unwrap();
    assert_eq!(predict(&mut opened, &[0.5, -1.0, 2.0], 1), answers);
}

#[test]
fn a_folder_is_read_as_the_file_that_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (_, answers) = saved(folder.path());
    let unpacked = folder.path().join("unpacked");
    let archive = fs::File::open(folder.path().join("dict.keras")).unwrap();
    zip::ZipArchive::new(archive).unwrap().extract(&unpacked).unwrap();
    let file = KerasFile::open(&unpacked).unwrap();
    let model = file.model().build().unwrap();
    let mut opened = open(&model);
    file.restore(&model, &mut opened).unwrap();
    assert_eq!(predict(&mut opened, &[0.5, -1.0, 2.0], 1), answers);
    opened.init(7).unwrap();
    load_weights(&unpacked, &model, &mut opened).unwrap();
    assert_eq!(predict(&mut opened, &[0.5, -1.0, 2.0], 1), answers);
    fs::remove_file(unpacked.join("model.weights.h5")).unwrap();
    let error = KerasFile::open(&unpacked).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("no `model.weights.h5`"), "{error}");
}

#[test]
fn weights_in_several_files_are_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let (file, answers) = saved(folder.path());
    let model = file.model().build().unwrap();
    let mut opened = open(&model);
    opened.init(7).unwrap();
    let list = folder.path().join("all.weights.json");
    let write = |names: &[&str]| {
        let map = json!({"weight_map": {"/layers/dense/vars": names, "/layers/dense_1/vars": names}});
        fs::write(&list, map.to_string()).unwrap();
    };
    write(&["part.weights.h5"]);
    load_weights(&list, &model, &mut opened).unwrap();
    assert_eq!(predict(&mut opened, &[0.5, -1.0, 2.0], 1), answers);
    for outside in ["../part.weights.h5", "/etc/passwd", ".."] {
        write(&["part.weights.h5", outside]);
        let error = load_weights(&list, &model, &mut opened).unwrap_err().to_string();
        assert!(error.contains("is no file beside the list"), "{error}");
    }
    write(&["missing.weights.h5"]);
    assert!(load_weights(&list, &model, &mut opened).is_err());
}
