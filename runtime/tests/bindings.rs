//! Generated bindings, compiled and called. Their texts are what the compiler's tests expect it to generate.

mod common;

use std::mem::MaybeUninit;
use std::sync::Once;

use bakelite::abi::Descriptor;
use bakelite::{Error, Options};
use common::*;

include!("bindings/linear.rs");
include!("bindings/odd.rs");
include!("bindings/large.rs");
include!("bindings/texts.rs");

/// The symbols of the objects: the first is filled before it is opened, the others stay zero.
#[unsafe(export_name = "bakelite_model_linear")]
static mut LINEAR: MaybeUninit<Descriptor> = MaybeUninit::zeroed();
#[unsafe(export_name = "bakelite_model_my_odd_model")]
static mut ODD: MaybeUninit<Descriptor> = MaybeUninit::zeroed();
#[unsafe(export_name = "bakelite_model_large")]
static mut LARGE: MaybeUninit<Descriptor> = MaybeUninit::zeroed();
#[unsafe(export_name = "bakelite_model_texts")]
static mut TEXTS: MaybeUninit<Descriptor> = MaybeUninit::zeroed();

fn linear_model(threads: usize) -> linear::Model {
    static FILL: Once = Once::new();
    FILL.call_once(|| {
        // SAFETY: every test comes through here before it reads the symbol.
        unsafe { (&raw mut LINEAR).write(MaybeUninit::new(descriptor())) }
    });
    linear::Model::init_with(42, Options::new().threads(threads)).unwrap()
}

#[test]
fn typed_methods_call_the_entry_points() {
    let (x, y) = samples(MAX_BATCH);
    let mut typed = linear_model(2);
    let mut untyped = open_seeded(1);
    let mut expected = vec![0.0f32; y.len()];
    untyped.predict_into(MAX_BATCH, &[(&x).into()], &mut [(&mut expected).into()]).unwrap();

    let mut predicted = vec![0.0; y.len()];
    typed.predict_batch(&x, &mut predicted).unwrap();
    assert_eq!(predicted, expected);
    let row: [f32; 4] = typed.predict_one(&[x[0], x[1], x[2]]).unwrap();
    assert_eq!(row, expected[..4]);

    let before = typed.evaluate_step(&x, &y).unwrap();
    let first: linear::TrainStep = typed.train_step(&x, &y).unwrap();
    assert_eq!((before.loss, before.mean_absolute_error), (first.loss, first.mean_absolute_error));
    assert!(typed.train_step(&x[..9], &y[..12]).unwrap().loss > 0.0);
    assert_eq!(typed.phases().unwrap().total, 120);
    typed.nothing().unwrap();
    typed.nothing_parallel().unwrap();
}

#[test]
fn typed_methods_check_their_slices() {
    let (x, y) = samples(MAX_BATCH + 1);
    let mut model = linear_model(1);
    let message = |result: Result<linear::TrainStep, Error>| result.unwrap_err().to_string();
    assert_eq!(
        message(model.train_step(&x[..10], &y[..12])),
        "input `x` of `train_step` is [batch, 3] = 9 elements at a batch of 3, got 10"
    );
    assert_eq!(
        message(model.train_step(&x[..9], &y[..8])),
        "input `y_target` of `train_step` is [batch, 4] = 12 elements at a batch of 3, got 8"
    );
    assert!(message(model.train_step(&x, &y)).starts_with("`train_step`: a batch of 17 rows, it takes 1 to 16: call"));
    assert_eq!(message(model.train_step(&[], &[])), "`train_step`: a batch of 0 rows, it takes 1 to 16");
}

#[test]
fn the_handle_is_also_a_model() {
    let mut model = linear_model(1);
    assert_eq!((linear::MAX_BATCH, linear::ARENA_BYTES, model.memory()), (MAX_BATCH, 256, (320, 256)));
    model.set_param(linear::params::DENSE_BIAS, &[1.0f32; 4]).unwrap();
    let fork = model.fork().unwrap();
    model.init(43).unwrap();
    assert_eq!(fork.param(linear::params::DENSE_BIAS).unwrap().to_vec::<f32>().unwrap(), [1.0; 4]);
    assert_eq!(model.entry("predict").unwrap(), linear::entries::PREDICT);
    let plain: bakelite::Model = model.into();
    assert_eq!(plain.name(), "linear");
}

#[test]
fn a_symbol_that_is_no_model_is_refused() {
    assert!(matches!(my_odd_model::Model::open(), Err(Error::Magic { found: 0 })));
    assert!(matches!(large::Model::open(), Err(Error::Magic { found: 0 })));
    assert_eq!(my_odd_model::params::A_B_2, "a b");
}

/// Texts of one row are parameters of `predict_one`, by themselves or in an array.
#[test]
fn text_is_a_parameter() {
    fn ask(mut model: texts::Model) -> Result<[f32; 1], Error> {
        model.predict_one("a slow film", &["drama", "long"], &[1.0])
    }
    assert!(matches!(texts::Model::open().and_then(ask), Err(Error::Magic { found: 0 })));
}
