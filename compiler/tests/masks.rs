//! Masks travel through the layer graph as in Keras.

mod common;

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::model::config::Config;
use bakelite_compiler::model::registry::LAYERS;
use bakelite_compiler::prelude::*;
use common::Interpreted;

/// The mask that a chain of layers gives a tensor which starts with one, for a batch of one.
fn mask_after(item: &[usize], mask: &[f64], build: impl Fn(&Tensor) -> Tensor) -> Option<Vec<f64>> {
    let m = Model::new("masks");
    let x = m.input("x", item.to_vec(), F32);
    let given = m.input("given", item[..1].to_vec(), U8);
    let y = build(&x.with_mask(&given));
    m.output_as("y", &y);
    if !y.is_masked() {
        return None;
    }
    m.output_as("mask", &y.mask().cast(F32));
    let run = Interpreted::new(&m, 1);
    let x = Value::splat(F32, &[&[1], item].concat(), 0.5);
    let given = Value::from_numbers(U8, &[1, item[0]], mask);
    let result = run.peek("predict", 1, &[x, given]);
    Some(result.outputs[1].to_numbers())
}

#[test]
fn layers_pass_masks_or_end_them() {
    let mask = [1.0, 0.0, 1.0];
    let after = |build: &dyn Fn(&Tensor) -> Tensor| mask_after(&[3, 4], &mask, build);
    let passed = Some(mask.to_vec());
    assert_eq!(after(&|x| Dense::new(2).apply(x)), passed);
    assert_eq!(after(&|x| Dropout::new(0.5).apply(&Relu.apply(x))), passed);
    assert_eq!(after(&|x| BatchNormalization::new().apply(x)), passed);
    assert_eq!(after(&|x| Rescaling::new(2.0).apply(x)), passed);
    assert_eq!(after(&|x| Flatten.apply(x)), None);
    assert_eq!(after(&|x| Reshape::new([4, 3]).apply(x)), None);
    assert_eq!(after(&|x| x + 1.0), None);
}

/// Keras's layers with `supports_masking` and the `compute_mask` that hands the mask on. The others end masks or make
/// masks of their own, and so do layers of them here.
const PASSING: &[&str] = &[
    "Activation",
    "ActivityRegularization",
    "AlphaDropout",
    "BatchNormalization",
    "Dense",
    "Dropout",
    "ELU",
    "GaussianDropout",
    "GaussianNoise",
    "GroupNormalization",
    "Identity",
    "LayerNormalization",
    "LeakyReLU",
    "Normalization",
    "PReLU",
    "ReLU",
    "Rescaling",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "TimeDistributed",
    "UnitNormalization",
];

#[test]
fn the_layers_that_pass_masks_are_those_of_keras() {
    let passes = |class: &str| PASSING.contains(&class);
    let known = |name: &&&str| LAYERS.iter().any(|class| class.name == **name);
    assert_eq!(PASSING.iter().filter(known).count(), PASSING.len());
    for class in LAYERS {
        let layer = (class.read)(&Config::new()).unwrap_or_else(|e| panic!("{}: {e:?}", class.name));
        assert_eq!(layer.supports_masking(), passes(class.name), "{}", class.name);
    }
}

#[test]
fn a_model_as_layer_passes_masks_through_its_layers() {
    let passes = |x: &Tensor| Sequential::new("inner").add(Dense::new(2)).add(Relu).apply(x);
    assert_eq!(mask_after(&[3, 4], &[0.0, 0.0, 1.0], passes), Some(vec![0.0, 0.0, 1.0]));
    let ends = |x: &Tensor| Sequential::new("inner").add(Dense::new(2)).add(Reshape::new([6])).apply(x);
    assert_eq!(mask_after(&[3, 4], &[0.0, 0.0, 1.0], ends), None);
}

#[test]
fn what_comes_back_as_it_was_keeps_its_mask() {
    let after = |build: &dyn Fn(&Tensor) -> Tensor| mask_after(&[3, 4], &[1.0, 0.0, 1.0], build);
    assert_eq!(after(&|x| Reshape::new([3, -1]).apply(x)), Some(vec![1.0, 0.0, 1.0]));
    assert_eq!(after(&|x| Permute::new([1, 2]).apply(x)), Some(vec![1.0, 0.0, 1.0]));
    assert_eq!(after(&|x| Cropping1D::new(0).apply(x)), Some(vec![1.0, 0.0, 1.0]));
    assert_eq!(after(&|x| Permute::new([1, 2]).apply(&Conv1D::new(4, 1).apply(x))), None);
    assert_eq!(after(&|x| Reshape::new([3, 4]).apply(&Permute::new([2, 1]).apply(x))), None);
}

#[test]
fn joined_tensors_have_joined_masks() {
    let other = |x: &Tensor| Masking::new().mask_value(0.5).apply(x);
    let mask = [1.0, 0.0, 1.0];
    let after = |build: &dyn Fn(&Tensor) -> Tensor| mask_after(&[3, 4], &mask, build);
    assert_eq!(after(&|x| Add.apply_many(&[x, &other(x)])), Some(mask.to_vec()));
    let unmasked = |x: &Tensor| Reshape::new([3, 4]).apply(&Reshape::new([12]).apply(x));
    assert_eq!(after(&|x| Add.apply_many(&[x, &unmasked(x)])), None);
    assert_eq!(after(&|x| Concatenate::new().apply_many(&[x, &other(x)])), Some(mask.to_vec()));
    let joined = after(&|x| Concatenate::new().axis(1).apply_many(&[x, &other(x), &(x + 1.0)]));
    assert_eq!(joined, Some(vec![1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]));
}

#[test]
fn masking_and_embedding_make_masks() {
    let m = Model::new("masks");
    let x = m.input("x", [3, 2], F32);
    let index = m.input("index", 4, I32);
    let masked = Masking::new().mask_value(-1.0).apply(&x);
    let rows = Embedding::new(5, 2).mask_zero(true).apply(&index);
    m.output_as("x_out", &masked).output_as("x_mask", &masked.mask());
    m.output_as("rows", &rows).output_as("index_mask", &rows.mask());
    let mut run = Interpreted::new(&m, 1);
    run.set("embedding/embeddings", &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
    let x = Value::from_numbers(F32, &[1, 3, 2], &[-1.0, -1.0, -1.0, 3.0, 0.0, 0.0]);
    let index = Value::from_numbers(I32, &[1, 4], &[4.0, 0.0, 5.0, -1.0]);
    let out: Vec<Vec<f64>> = run.call("predict", 1, &[x, index]).iter().map(|t| t.to_numbers()).collect();
    assert_eq!(out[0], [0.0, 0.0, -1.0, 3.0, 0.0, 0.0]);
    assert_eq!(out[1], [0.0, 1.0, 1.0]);
    assert_eq!(out[2][..4], [4.0, 4.5, 0.0, 0.5]);
    assert!(out[2][4..].iter().all(|x| x.is_nan()), "an index out of range is no row: {:?}", out[2]);
    assert_eq!(out[3], [1.0, 0.0, 1.0, 1.0]);
}

#[test]
fn attention_with_heads_uses_masks_up() {
    let m = Model::new("masks");
    let index = m.input("index", 4, I32);
    let x = Embedding::new(5, 6).mask_zero(true).apply(&index);
    let before = Add.apply_many(&[&x, &x]);
    let grouped = GroupQueryAttention::new(3, 2, 1).apply_many(&[&x, &x]);
    assert!(x.is_masked() && before.is_masked() && grouped.is_masked());
    let y = MultiHeadAttention::new(2, 3).apply_many(&[&x, &x]);
    assert!(y.is_masked() && before.is_masked() && !x.is_masked());
    assert!(!Add.apply_many(&[&x, &y]).is_masked());
    m.output(&y);
    m.lower().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_mean_of_a_sequence_leaves_masked_steps_out() {
    let m = Model::new("mean");
    let x = m.input("x", [3, 2], F32);
    let y = GlobalAveragePooling1D.apply(&Masking::new().apply(&x));
    m.output_as("y", &y);
    assert!(!y.is_masked());
    let run = Interpreted::new(&m, 1);
    let x = Value::from_numbers(F32, &[1, 3, 2], &[1.0, 2.0, 0.0, 0.0, 4.0, 0.0]);
    assert_eq!(run.peek("predict", 1, &[x]).outputs[0].to_numbers(), [2.5, 1.0]);
}

#[test]
fn a_recurrent_layer_with_states_sees_only_a_mask_that_it_is_given() {
    let build = |given: bool| {
        let m = Model::new("states");
        let (x, state) = (m.input("x", [3, 2], F32), m.input("state", 2, F32));
        let mask = m.input("mask", 3, U8);
        let travels = Dense::new(2).name("dense").apply(&x.with_mask(&mask));
        let x = if given { travels.with_mask(&mask) } else { travels };
        let layer = SimpleRNN::new(2).return_sequences(true).name("rnn");
        let y = layer.apply_many(&[&x, &state]);
        assert!(y.is_masked());
        m.output_as("y", &y);
        let run = Interpreted::new(&m, 1);
        let number = |shape: &[usize], v: f64| Value::splat(F32, shape, v);
        let mask = Value::from_numbers(U8, &[1, 3], &[1.0, 0.0, 1.0]);
        let out = run.peek("predict", 1, &[number(&[1, 3, 2], 0.5), number(&[1, 2], 0.25), mask]);
        out.outputs[0].to_numbers()
    };
    let (travelling, given) = (build(false), build(true));
    assert_eq!(given[..2], given[2..4], "a masked step repeats the output before");
    assert_ne!(travelling[..2], travelling[2..4]);
}

#[test]
fn halves_and_what_wrappers_hold_can_be_frozen() {
    let trained = |freeze: &[&str]| {
        let m = Model::new("frozen");
        let x = m.input("x", [3, 2], F32);
        let y = Bidirectional::new(GRU::new(2).return_sequences(true)).name("both").apply(&x);
        let y = TimeDistributed::new(Dense::new(2).name("each")).name("steps").apply(&y);
        m.output(&Dense::new(1).name("last").apply(&Flatten.apply(&y)));
        freeze.iter().for_each(|path| drop(m.freeze(path).problems()));
        let module = m.lower().unwrap_or_else(|e| panic!("{e}"));
        let names = module.storage.iter().filter(|cell| cell.trainable).map(|cell| cell.name.clone());
        names.collect::<Vec<_>>()
    };
    let below = |names: &[String], path: &str| names.iter().filter(|name| name.starts_with(path)).count();
    let all = trained(&[]);
    assert!(below(&all, "both/forward_gru/") == 3 && below(&all, "both/backward_gru/") == 3, "{all:?}");
    let half = trained(&["both/forward_gru"]);
    assert!(below(&half, "both/forward_gru/") == 0 && below(&half, "both/backward_gru/") == 3, "{half:?}");
    assert_eq!(below(&trained(&["both"]), "both/"), 0);
    let inner = trained(&["steps/each"]);
    assert!(below(&inner, "steps/") == 0 && below(&inner, "last/") == 2, "{inner:?}");
    let layer = Bidirectional::new(LSTM::new(2).trainable(false));
    let m = Model::new("given");
    m.output(&Dense::new(1).apply(&layer.name("both").apply(&m.input("x", [3, 2], F32))));
    let module = m.lower().unwrap_or_else(|e| panic!("{e}"));
    assert!(module.storage.iter().all(|cell| !(cell.trainable && cell.name.starts_with("both/"))));
}
