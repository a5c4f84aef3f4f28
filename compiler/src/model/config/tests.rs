use serde_json::json;

use super::*;
use crate::model::{
    Activation, BatchNormalization, Dense, Dropout, Extents, Fan, Identity, Initializer, Padding, Regularizer,
};

fn messages<D: Default + Serialize + DeserializeOwned>(class: &str, config: Value) -> Vec<String> {
    let Value::Object(config) = config else { panic!("{config}") };
    read::<D>(class, &config).err().unwrap_or_default().into_iter().map(|p| p.message).collect()
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(x: T) {
    let value = serde_json::to_value(&x).unwrap();
    assert_eq!(serde_json::from_value::<T>(value.clone()).unwrap(), x, "{value}");
}

#[test]
fn arguments_take_their_defaults() {
    let config = json!({"units": 3, "name": "d", "dtype": {"class_name": "DTypePolicy"}, "lora_rank": null});
    let Value::Object(config) = config else { unreachable!() };
    let dense: Dense = read("Dense", &config).unwrap();
    let form = write(&dense);
    assert_eq!(form["units"], 3);
    assert_eq!(form["use_bias"], true);
    assert_eq!(form["activation"], "linear");
    assert_eq!(form["kernel_initializer"]["class_name"], "GlorotUniform");
    assert_eq!(form["kernel_regularizer"], Value::Null);
    assert_eq!(read::<Dense>("Dense", form.as_object().unwrap()).unwrap(), dense);
    assert_eq!(write(&Identity), json!({}));
    assert!(read::<Identity>("Identity", &Config::new()).is_ok());
}

#[test]
fn mistakes_are_named_and_come_together() {
    let config =
        json!({"units": -1, "activation": "relo", "unit": 3, "use_bias": true, "data_format": "channels_first"});
    let found = messages::<Dense>("Dense", config);
    assert_eq!(found.len(), 3, "{found:?}");
    for (message, part) in found.iter().zip(["data_format", "unit", "activation"]) {
        assert!(message.contains("Dense") && message.contains(part), "{message}");
    }
    let found =
        messages::<Dense>("Dense", json!({"kernel_initializer": {"class_name": "Constant", "config": {"v": 1}}}));
    assert!(found[0].contains("Constant has no argument `v`"), "{found:?}");
    assert_eq!(messages::<Dropout>("Dropout", json!({"rate": "half"})).len(), 1);
    assert_eq!(
        messages::<BatchNormalization>("BatchNormalization", json!({"synchronised": true, "axis": [3]})).len(),
        2
    );
}

#[test]
fn names_and_objects_mean_the_same() {
    let of = |v: Value| serde_json::from_value::<Initializer>(v);
    assert_eq!(of(json!("glorot_uniform")).unwrap(), Initializer::GlorotUniform);
    assert_eq!(of(json!("GlorotUniform")).unwrap(), Initializer::GlorotUniform);
    assert_eq!(of(json!("uniform")).unwrap(), Initializer::random_uniform());
    let object = json!({"class_name": "HeNormal", "config": {"seed": 3}, "module": "keras.initializers"});
    assert_eq!(of(object).unwrap(), Initializer::HeNormal);
    let of = |v: Value| serde_json::from_value::<Option<Regularizer>>(v).unwrap();
    assert_eq!(of(Value::Null), None);
    assert_eq!(of(json!("l2")), Some(Regularizer::L2(0.01)));
    assert_eq!(of(json!("l1_l2")), of(json!("L1L2")));
}

#[test]
fn every_form_comes_back() {
    Activation::ALL.into_iter().for_each(round_trip);
    round_trip(Activation::LogSoftmax);
    round_trip(Activation::LeakyRelu(0.3));
    round_trip(Activation::Elu(0.5));
    for (class, _) in <Initializer as Family>::CLASSES {
        round_trip(serde_json::from_value::<Initializer>(json!(class)).unwrap());
    }
    let scaled =
        |mode| Initializer::VarianceScaling { scale: 2.0, mode, distribution: crate::model::Distribution::Uniform };
    [Fan::In, Fan::Out, Fan::Avg].into_iter().map(scaled).for_each(round_trip);
    for (class, _) in <Regularizer as Family>::CLASSES {
        round_trip(serde_json::from_value::<Regularizer>(json!(class)).unwrap());
    }
    [Padding::Valid, Padding::Same].into_iter().for_each(round_trip);
    round_trip(Extents([3, 5]));
}

#[test]
fn extents_are_given_once_or_for_each_axis() {
    let of = |v: Value| serde_json::from_value::<Extents<2>>(v);
    assert_eq!(of(json!(3)).unwrap(), Extents([3, 3]));
    assert_eq!(of(json!([3, 5])).unwrap(), Extents([3, 5]));
    for bad in [json!([3]), json!([1, 2, 3]), json!(-1), json!("3"), json!(2.5), json!(null)] {
        assert!(of(bad.clone()).is_err(), "{bad}");
    }
    assert_eq!(serde_json::to_value(Extents([3, 5])).unwrap(), json!([3, 5]));
}

#[test]
fn activations_in_all_their_forms() {
    let of = |v: Value| serde_json::from_value::<Activation>(v).unwrap();
    assert_eq!(of(Value::Null), Activation::Linear);
    assert_eq!(of(json!("swish")), Activation::Silu);
    let layer = json!({"class_name": "LeakyReLU", "config": {"negative_slope": 0.1, "name": "a"}});
    assert_eq!(of(layer), Activation::LeakyRelu(0.1));
    let function =
        json!({"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"});
    assert_eq!(of(function), Activation::Relu);
}
