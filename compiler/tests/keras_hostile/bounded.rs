//! Small descriptions that ask for much: refused at once, or done in time that grows with what they ask for.

use std::sync::PoisonError;

use bakelite_compiler::import::KerasModel;

use super::*;

fn keras(class: &str, config: Value) -> Value {
    json!({ "module": "keras", "class_name": class, "config": config, "registered_name": null })
}

/// A chain of layers over vectors or sequences, trained with a metric.
fn chain(item: &[usize], layers: &[Value], metric: Value) -> String {
    let shape: Vec<Value> = [Value::Null].into_iter().chain(item.iter().map(|n| json!(n))).collect();
    let input = keras("InputLayer", json!({ "batch_shape": shape, "dtype": "float32", "name": "x" }));
    let layers: Vec<Value> = [input].into_iter().chain(layers.iter().cloned()).collect();
    let mut model = keras("Sequential", json!({ "name": "m", "layers": layers }));
    model["compile_config"] = json!({
        "optimizer": keras("SGD", json!({ "learning_rate": 0.01 })),
        "loss": "mse", "loss_weights": null, "metrics": [metric], "weighted_metrics": null,
    });
    model.to_string()
}

fn dense(units: u64) -> Value {
    keras("Dense", json!({ "name": "d", "units": units }))
}

/// Models that call models twice, this deep.
fn doubling(depth: usize) -> String {
    let tensor = |name: &str| {
        let config = json!({ "shape": [null, 4], "dtype": "float32", "keras_history": [name, 0, 0] });
        json!({ "args": [{ "class_name": "__keras_tensor__", "config": config }], "kwargs": {} })
    };
    let mut inner = keras("Activation", json!({ "activation": "tanh", "name": "f0" }));
    for level in 1..=depth {
        let (x, called) = (format!("x{level}"), format!("f{}", level - 1));
        let mut input = keras("InputLayer", json!({ "batch_shape": [null, 4], "dtype": "float32", "name": x }));
        (input["name"], input["inbound_nodes"]) = (json!(x), json!([]));
        inner["name"] = json!(called);
        inner["inbound_nodes"] = json!([tensor(&x), tensor(&called)]);
        let second = if level == 1 { 1 } else { 2 };
        let config = json!({
            "name": format!("f{level}"), "layers": [input, inner],
            "input_layers": [[x, 0, 0]], "output_layers": [[called, second, 0]],
        });
        inner = keras("Functional", config);
    }
    inner.to_string()
}

/// What a description asks for too much of, in the words of its refusal, which is the same where it shall only run.
fn refusal(text: &str) -> String {
    let mut told = String::new();
    let done = endure("too much", || {
        let lowered = KerasModel::parse(text).and_then(|model| model.build()).and_then(|model| model.lower());
        told = lowered.as_ref().err().map(|d| d.to_string()).unwrap_or_default();
        lowered
    });
    assert!(!done, "accepted: {text:.200}");
    let run = || KerasModel::parse(text)?.build_to_run()?.lower();
    assert!(!endure("too much to run", run), "accepted to run: {text:.200}");
    told
}

#[test]
fn what_asks_for_too_much_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let accuracy = || json!("mae");
    let metric = |class: &str, config: Value| chain(&[3], &[dense(1)], keras(class, config));
    let spectral = json!({ "name": "s", "layer": dense(2), "power_iterations": 1_000_000 });
    for (text, told) in [
        (metric("AUC", json!({ "num_thresholds": 1_100_000 })), "error[value]: AUC with num_thresholds"),
        (metric("AUC", json!({ "num_thresholds": 1u64 << 62 })), "error[value]: AUC with num_thresholds"),
        (metric("RecallAtPrecision", json!({ "precision": 0.5, "num_thresholds": 1u64 << 50 })), "num_thresholds"),
        (metric("MeanIoU", json!({ "num_classes": 10_000_000 })), "error[value]: IoU with num_classes"),
        (metric("MeanIoU", json!({ "num_classes": 1u64 << 62 })), "error[value]: IoU with num_classes"),
        (metric("IoU", json!({ "num_classes": 1u64 << 40, "target_class_ids": [0] })), "num_classes"),
        (chain(&[3], &[keras("SpectralNormalization", spectral)], accuracy()), "power_iterations"),
        (doubling(20), "too many operations"),
    ] {
        let refused = refusal(&text);
        assert!(refused.contains(told), "{told}: {refused}");
    }
    assert!(KerasModel::parse(&doubling(6)).unwrap().build().unwrap().lower().is_ok());
}

/// A text that is large only when it is parsed.
#[test]
fn parsed_values_are_bounded_by_their_text() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (item, is_dense) in [("12,", false), ("[],", false), ("{},", false), ("[[0]],", true), ("{\"a\":1},", true)] {
        let items = item.repeat((16 << 20) / item.len());
        let text = format!("{{\"class_name\":\"Sequential\",\"config\":{{\"x\":[{items}0]}}}}");
        drop(items);
        let before = NOW.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let parsed = KerasModel::parse(&text);
        let (held, peak) = (NOW.load(Ordering::Relaxed) - before, PEAK.load(Ordering::Relaxed) - before);
        match parsed {
            Ok(_) => {
                assert!(!is_dense && held <= 15 * text.len() + (16 << 20) && peak < MEMORY, "{item}: {held}, {peak}")
            }
            Err(error) => {
                assert!(is_dense && error.to_string().contains("too many values"), "{item}: {error}");
                assert!(peak < text.len(), "{item}: {peak}");
            }
        }
    }
    // A vocabulary that is merely long.
    let words: Vec<String> = (0..800_000).map(|i| format!("word{i}")).collect();
    let config = json!({ "name": "t", "vocabulary": words, "output_mode": "int", "output_sequence_length": 4 });
    let input = keras("InputLayer", json!({ "batch_shape": [null, 1], "dtype": "string", "name": "x" }));
    let layers = json!([
        input,
        keras("TextVectorization", config),
        keras(
            "Embedding",
            json!({
                "name": "e", "input_dim": 800_002, "output_dim": 2,
            })
        )
    ]);
    let text = keras("Sequential", json!({ "name": "m", "layers": layers })).to_string();
    drop((words, layers));
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    KerasModel::parse(&text).unwrap().build().unwrap_or_else(|d| panic!("{d}"));
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(peak < 16 * text.len(), "{peak} bytes for a text of {}", text.len());
}

#[test]
fn windows_cost_what_they_cover() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = json!({ "name": "z", "pool_size": [1 << 20], "strides": [1], "padding": "same" });
    let text = chain(&[1 << 20, 1], &[keras("AveragePooling1D", pool), dense(1)], json!("mae"));
    assert!(endure("a window", || KerasModel::parse(&text)?.build()?.lower()));
}

#[test]
fn many_mistakes_are_cut_short() {
    let layers: Vec<Value> = (0..352).map(|i| keras("Nobody", json!({ "name": format!("n{i}") }))).collect();
    let told = refusal(&chain(&[3], &layers, json!("mae")));
    assert!(told.contains("and 312 more") && told.contains("352 mistakes"), "{told}");
    assert!(told.matches("error[").count() == 40);
}
