//! The training loop: its order of rows, its means, its errors.
#![cfg(feature = "fit")]

mod common;

use bakelite::{Callback, CallbackResult, Data, Error, Fit, History, Model, Moment, Rows};
use common::*;

const ROWS: usize = 50;

fn kernel(model: &Model) -> Vec<u32> {
    model.param(KERNEL).unwrap().to_vec::<f32>().unwrap().iter().map(|v| v.to_bits()).collect()
}

fn fit(threads: usize, fit: Fit<'_>) -> (History, Vec<u32>) {
    let (x, y) = samples(ROWS);
    let mut model = open_seeded(threads);
    let history = model.fit(&Data::pair(&x, &y), fit).unwrap();
    (history, kernel(&model))
}

fn refused(data: &Data<'_>, fit: Fit<'_>) -> String {
    let mut model = open_seeded(1);
    let before = kernel(&model);
    let error = model.fit(data, fit).unwrap_err();
    assert_eq!(kernel(&model), before);
    error.to_string()
}

#[test]
fn training_lowers_the_loss_and_remembers_it() {
    let (x, y) = samples(10);
    let test = Data::pair(&x, &y);
    let (history, _) = fit(2, Fit::epochs(30).batch(8).validation(&test));
    let keys: Vec<&str> = history.keys().collect();
    assert_eq!(keys, ["loss", "mean_absolute_error", "val_loss", "val_mean_absolute_error"]);
    assert!(history.epochs().iter().copied().eq(0..30));
    assert!(history["loss"][29] < 0.05 * history["loss"][0], "{history:?}");
    assert!(history.last("val_loss").unwrap() < 0.05);
    assert_eq!(history.get("accuracy"), None);
}

#[test]
fn the_same_seed_gives_the_same_bits_at_any_number_of_threads() {
    let run = |threads, seed| fit(threads, Fit::epochs(5).batch(7).shuffle(seed).validation_split(0.2));
    let one = run(1, 3);
    assert_eq!(run(2, 3), one);
    assert_eq!(run(3, 3), one);
    assert_ne!(run(1, 4).1, one.1);
}

#[test]
fn a_training_can_be_taken_up_at_any_epoch() {
    let (x, y) = samples(ROWS);
    let data = Data::pair(&x, &y);
    let mut halves = open_seeded(1);
    halves.fit(&data, Fit::epochs(3).shuffle(9)).unwrap();
    let second = halves.fit(&data, Fit::epochs(6).initial_epoch(3).shuffle(9)).unwrap();
    assert_eq!(second.epochs(), [3, 4, 5]);
    assert_eq!(kernel(&halves), fit(1, Fit::epochs(6).shuffle(9)).1);
    assert!(halves.fit(&data, Fit::epochs(3).initial_epoch(3)).unwrap().epochs().is_empty());
}

#[test]
fn unshuffled_epochs_are_the_steps_in_order() {
    let (x, y) = samples(ROWS);
    let mut by_hand = open_seeded(1);
    let step = by_hand.entry("train_step").unwrap();
    let mut sum = 0.0;
    for first in (0..ROWS).step_by(16) {
        let rows = 16.min(ROWS - first);
        let (mut loss, mut error) = ([0.0f32], [0.0f32]);
        let (x, y) = (&x[first * INPUTS..][..rows * INPUTS], &y[first * OUTPUTS..][..rows * OUTPUTS]);
        by_hand.call(step, &[x.into(), y.into()], &mut [(&mut loss).into(), (&mut error).into()], rows).unwrap();
        sum += f64::from(loss[0]) * rows as f64;
    }
    let (history, weights) = fit(1, Fit::epochs(1).batch(16).no_shuffle());
    assert_eq!(weights, kernel(&by_hand));
    assert_eq!(history["loss"], [sum / ROWS as f64]);
}

#[test]
fn the_default_batch_is_no_larger_than_the_model_takes() {
    assert_eq!(fit(1, Fit::epochs(2)), fit(1, Fit::epochs(2).batch(MAX_BATCH)));
}

#[test]
fn a_validation_split_holds_out_the_last_rows() {
    let (x, y) = samples(ROWS);
    // 50 * (1 - 0.25) = 37.5: Keras trains on 37.
    let (head, tail) =
        (Data::pair(&x[..37 * INPUTS], &y[..37 * OUTPUTS]), Data::pair(&x[37 * INPUTS..], &y[37 * OUTPUTS..]));
    let mut model = open_seeded(1);
    let history = model.fit(&head, Fit::epochs(3).shuffle(1).validation(&tail)).unwrap();
    assert_eq!((history, kernel(&model)), fit(1, Fit::epochs(3).shuffle(1).validation_split(0.25)));
}

#[test]
fn evaluation_weighs_by_samples_and_changes_nothing() {
    let (x, y) = samples(ROWS);
    let data = Data::pair(&x, &y);
    let mut model = open_seeded(2);
    let before = kernel(&model);
    let whole = model.evaluate(&data, None).unwrap();
    for batch in [1, 3, 7, 16] {
        let logs = model.evaluate(&data, batch).unwrap();
        assert!((logs["loss"] - whole["loss"]).abs() < 1e-6 * whole["loss"]);
    }
    assert_eq!(kernel(&model), before);
    assert_eq!(whole.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["loss", "mean_absolute_error"]);
}

#[test]
fn predictions_cover_all_rows() {
    let (x, y) = samples(ROWS);
    let mut model = open_seeded(2);
    let one_by_one = model.predict(&Data::inputs(&x), 1).unwrap();
    assert_eq!((one_by_one.rows, one_by_one.first::<f32>().unwrap().len()), (ROWS, ROWS * OUTPUTS));
    for batch in [7, 16] {
        let predictions = model.predict(&Data::pair(&x, &y), batch).unwrap();
        assert_eq!(predictions.get::<f32>("y"), one_by_one.first());
    }
    let by_name = model.predict(&Data::new().input("x", &x).target("y", &y), 16).unwrap();
    assert_eq!(by_name.get::<f32>("y"), one_by_one.first());
    assert_eq!(one_by_one.get::<i32>("y"), None);
    assert_eq!(one_by_one.get::<f32>("z"), None);
    assert_eq!(one_by_one.iter().count(), 1);
}

#[test]
fn columns_are_fed_by_name_or_by_place_owned_or_borrowed() {
    let (x, y) = samples(ROWS);
    let expected = fit(1, Fit::epochs(2));
    let rows: Vec<[f32; INPUTS]> = x.chunks(INPUTS).map(|r| [r[0], r[1], r[2]]).collect();
    for data in [
        Data::new().target("y", &y).input("x", &x),
        Data::new().target("y_target", y.clone()).input("x", x.clone()),
        Data::pair(&rows, &y[..]),
    ] {
        let mut model = open_seeded(1);
        let history = model.fit(&data, Fit::epochs(2)).unwrap();
        assert_eq!((history, kernel(&model)), expected);
    }
}

#[test]
fn no_rows_are_defined() {
    let none = [0.0f32; 0];
    let empty = Data::pair(&none, &none);
    let mut model = open_seeded(1);
    assert_eq!(model.predict(&empty, 16).unwrap().first::<f32>(), Some(&[][..]));
    assert_eq!(model.evaluate(&empty, 16).unwrap_err().to_string(), "the evaluation data has no rows");
    assert_eq!(refused(&empty, Fit::epochs(1)), "the training data has no rows");
    let (x, y) = samples(3);
    let data = Data::pair(&x, &y);
    assert_eq!(refused(&data, Fit::epochs(1).validation(&empty)), "the validation data has no rows");
    assert_eq!(refused(&data, Fit::epochs(1).validation_split(0.9)), "the training data has no rows");
}

#[test]
fn data_that_does_not_fit_is_named() {
    let (x, y) = samples(5);
    let labels = [0i32; 5];
    let fit = || Fit::epochs(1);
    for (data, message) in [
        (Data::pair(&x, &labels), "target `y` is f32, got i32"),
        (Data::pair(&x[1..], &y), "input `x` is [batch, 3] = 12 elements at a batch of 4, got 14"),
        (Data::pair(&x[3..], &y), "input `x` has 4 rows, target `y` has 5"),
        (Data::inputs(&x), "the data lacks target `y`, f32[batch, 4]"),
        (Data::new().target("y", &y), "the data lacks input `x`, f32[batch, 3]"),
        (Data::pair(&x, &y).target("y", &y), "the data has two columns for target `y`"),
        (Data::new().input("x", &x).input("x", &x), "the data has two columns for input `x`"),
        (Data::inputs(&x).input("z", &x), "the data has input `z`, the model takes `x`"),
        (Data::inputs(&x).target("x", &x), "the data has target `x`, the model takes `y`"),
    ] {
        assert_eq!(refused(&data, fit()), message);
    }
    let data = Data::pair(&x, &y);
    assert_eq!(refused(&data, fit().batch(0)), "`train_step`: a batch of 0 rows, it takes 1 to 16");
    assert_eq!(
        refused(&data, fit().batch(17)),
        "`train_step`: a batch of 17 rows, it takes 1 to 16: call it in parts, or compile the model with a larger `max_batch`"
    );
    for fraction in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(refused(&data, fit().validation_split(fraction)).contains("lies between 0 and 1"));
    }
    assert!(refused(&data, fit().validation(&Data::new())).contains("lacks input `x`"));
}

/// Rows that know their shape are taken in the input's own, and as flat rows, for whatever is done with them.
#[test]
fn rows_of_another_shape_are_refused() {
    let (x, y) = samples(6);
    let expected = open_seeded(1).predict(&Data::inputs(&x), None).unwrap();
    let expected = expected.first::<f32>().unwrap();
    let rows: Vec<[f32; INPUTS]> = x.chunks(INPUTS).map(|r| [r[0], r[1], r[2]]).collect();
    for same in [Rows::shaped(&[6, 3], &x), Rows::shaped(&[6, 3, 1], &x), Rows::flat(&x), (&rows).into()] {
        let predicted = open_seeded(1).predict(&Data::inputs(same), None).unwrap();
        assert_eq!(predicted.first::<f32>(), Some(expected));
    }
    let turned: Vec<[f32; 6]> = x.chunks(6).map(|r| r.try_into().unwrap()).collect();
    let whole = "give arrays of whole rows, or one flat slice of all elements if they are in this order";
    let reshape = "reshape it, if its elements are in this order";
    for (rows, message) in [
        (Rows::shaped(&[3, 6], &x), format!("the rows of the data are [6]: {whole}")),
        ((&turned).into(), format!("the rows of the data are [6]: {whole}")),
        (Rows::shaped(&[18], &x), format!("the rows of the data are []: {whole}")),
        (Rows::shaped(&[6, 1, 3], &x), format!("the rows of the data are [1, 3]: {reshape}")),
        (Rows::shaped(&[3, 2, 3], &x), format!("the rows of the data are [2, 3]: {whole}")),
    ] {
        let message = format!("input `x` is [batch, 3], {message}");
        assert_eq!(open_seeded(1).predict(&Data::inputs(rows.clone()), None).unwrap_err().to_string(), message);
        let data = Data::pair(rows, &y);
        assert_eq!(open_seeded(1).evaluate(&data, None).unwrap_err().to_string(), message);
        assert_eq!(refused(&data, Fit::epochs(1)), message);
    }
    for shape in [&[5, 3][..], &[usize::MAX, 2], &[]] {
        let error = open_seeded(1).predict(&Data::inputs(Rows::shaped(shape, &x)), None).unwrap_err().to_string();
        assert_eq!(error, format!("input `x` is given 18 elements as an array of shape {shape:?}"));
    }
    let target = Rows::shaped(&[4, 6], &y);
    let error = refused(&Data::pair(&x, target), Fit::epochs(1));
    assert_eq!(error, format!("target `y` is [batch, 4], the rows of the data are [6]: {whole}"));
}

#[test]
fn nan_is_reported_as_it_is() {
    let (mut x, y) = samples(5);
    x[4] = f32::NAN;
    let mut model = open_seeded(1);
    let history = model.fit(&Data::pair(&x, &y), Fit::epochs(2)).unwrap();
    assert!(history["loss"].iter().all(|loss| loss.is_nan()));
}

#[derive(Default)]
struct Recorder {
    seen: Vec<String>,
    stop_at: Option<(usize, usize)>,
    fail: bool,
}

impl Callback for Recorder {
    fn on_train_begin(&mut self, _: &mut Moment<'_>) -> CallbackResult {
        self.seen.push("begin".into());
        Ok(())
    }

    fn on_epoch_begin(&mut self, at: &mut Moment<'_>) -> CallbackResult {
        at.model.set_learning_rate(0.1 / (at.epoch + 1) as f32)?;
        if self.fail { Err("enough".into()) } else { Ok(()) }
    }

    fn on_train_batch_end(&mut self, at: &mut Moment<'_>) -> CallbackResult {
        assert!(at.logs["loss"] > 0.0 && at.batches == 4 && at.epochs == 3);
        self.seen.push(format!("{}.{}", at.epoch, at.batch));
        if self.stop_at == Some((at.epoch, at.batch)) {
            at.stop_training();
        }
        Ok(())
    }

    fn on_epoch_end(&mut self, at: &mut Moment<'_>) -> CallbackResult {
        assert!(at.logs.get("val_loss").is_some());
        self.seen.push(format!("end {}", at.epoch));
        Ok(())
    }

    fn on_train_end(&mut self, _: &mut Moment<'_>) -> CallbackResult {
        self.seen.push("end".into());
        Ok(())
    }
}

#[test]
fn callbacks_see_every_moment_and_may_stop() {
    let run = |recorder: &mut Recorder| {
        let (x, y) = samples(ROWS);
        let mut model = open_seeded(1);
        let fit = Fit::epochs(3).batch(10).validation_split(0.2).callback(recorder);
        (model.fit(&Data::pair(&x, &y), fit), model.learning_rate())
    };
    let mut all = Recorder::default();
    assert_eq!(run(&mut all).1, Some(0.1 / 3.0));
    assert_eq!(all.seen.len(), 2 + 3 * 5);

    let mut some = Recorder { stop_at: Some((1, 1)), ..Recorder::default() };
    let (history, _) = run(&mut some);
    assert_eq!(history.unwrap().epochs(), [0, 1]);
    assert_eq!(some.seen.join(" "), "begin 0.0 0.1 0.2 0.3 end 0 1.0 1.1 end 1 end");

    let mut failing = Recorder { fail: true, ..Recorder::default() };
    let error = run(&mut failing).0.unwrap_err();
    assert!(matches!(error, Error::Callback(_)));
    assert_eq!(error.to_string(), "a callback failed: enough");
}
