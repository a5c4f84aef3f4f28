//! Opening a model and calling it: checks, levels, threads, parameters.

mod common;

use bakelite::{DType, EntryId, Error, Input, Level, Model, Options, Output};
use common::*;

fn predict(model: &mut Model, x: &[f32], batch: usize) -> Vec<f32> {
    let mut y = vec![0.0f32; batch * OUTPUTS];
    let entry = model.entry("predict").unwrap();
    model.call(entry, &[x.into()], &mut [Output::from(&mut y)], batch).unwrap();
    y
}

fn train(model: &mut Model, x: &[f32], y: &[f32], batch: usize) -> (f32, f32) {
    let (mut loss, mut error) = ([0.0f32], [0.0f32]);
    let entry = model.entry("train_step").unwrap();
    model.call(entry, &[x.into(), y.into()], &mut [(&mut loss).into(), (&mut error).into()], batch).unwrap();
    (loss[0], error[0])
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn a_model_describes_itself() {
    let model = open(2);
    assert_eq!((model.name(), model.max_batch(), model.threads()), ("linear", MAX_BATCH, 2));
    let names: Vec<&str> = model.params().map(|p| p.name()).collect();
    assert_eq!(names, [KERNEL, BIAS, ROWS_SEEN, FLAGS, "optimizer/learning_rate"]);
    let predict = &model.entries()[1];
    assert_eq!(predict.inputs[0].shape_text(), "[batch, 3]");
    assert_eq!((predict.inputs[0].len(5), predict.inputs[0].row_len()), (15, Some(3)));
    assert!(format!("{model:?}").contains("linear"));
}

#[test]
fn models_are_send() {
    fn send<T: Send + Sync>(_: &T) {}
    let mut model = open_seeded(2);
    send(&model);
    let (x, _) = samples(4);
    let here = predict(&mut model, &x, 4);
    let there = std::thread::spawn(move || predict(&mut model, &samples(4).0, 4)).join().unwrap();
    assert_eq!(here, there);
}

#[test]
fn the_batch_runs_from_one_to_the_maximum() {
    let mut model = open_seeded(2);
    let (x, _) = samples(MAX_BATCH);
    let all = predict(&mut model, &x, MAX_BATCH);
    for batch in 1..=MAX_BATCH {
        assert_eq!(predict(&mut model, &x[..batch * INPUTS], batch), all[..batch * OUTPUTS]);
    }
    let entry = model.entry("predict").unwrap();
    for batch in [0, MAX_BATCH + 1, usize::MAX] {
        let error = model.call(entry, &[(&x).into()], &mut [], batch).unwrap_err();
        assert!(matches!(error, Error::Batch { found, max: MAX_BATCH, .. } if found == batch), "{error}");
    }
}

#[test]
fn training_is_the_same_at_any_number_of_threads() {
    let (x, y) = samples(MAX_BATCH);
    let run = |threads: usize| {
        let mut model = open_seeded(threads);
        let losses: Vec<f32> = (0..300)
            .map(|i| 1 + i % MAX_BATCH)
            .map(|batch| train(&mut model, &x[..batch * INPUTS], &y[..batch * OUTPUTS], batch).0)
            .collect();
        (bits(&losses), bits(&model.param(KERNEL).unwrap().to_vec::<f32>().unwrap()))
    };
    let one = run(1);
    assert!(f32::from_bits(one.0[299]) < 0.2 * f32::from_bits(one.0[0]));
    for threads in [2, 3, 7] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
fn every_barrier_holds_every_thread() {
    for threads in [1, 2, 3, 5] {
        let mut model = open(threads);
        let entry = model.entry("phases").unwrap();
        let calls = if cfg!(miri) { 20 } else { 2000 };
        for _ in 0..calls {
            let mut total = [0u32];
            model.call(entry, &[], &mut [(&mut total).into()], 1).unwrap();
            assert_eq!(total, [120]);
        }
    }
}

#[test]
fn sleeping_workers_wake_up() {
    let mut model = open(3);
    let entry = model.entry("phases").unwrap();
    for pause in [0, 1, 5, 20] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        let mut total = [0u32];
        model.call(entry, &[], &mut [(&mut total).into()], 1).unwrap();
        assert_eq!(total, [120]);
    }
}

#[test]
fn threads_change_while_the_model_lives() {
    let mut model = open_seeded(1);
    let (x, _) = samples(MAX_BATCH);
    let expected = predict(&mut model, &x, MAX_BATCH);
    for threads in [2, 2, 3, 4] {
        model.set_threads(threads).unwrap();
        assert_eq!(model.threads(), threads);
        assert_eq!(predict(&mut model, &x, MAX_BATCH), expected);
    }
    for threads in [0, 1025, usize::MAX] {
        let error = model.set_threads(threads).unwrap_err();
        assert_eq!(error.to_string(), format!("{threads} threads: a model runs on 1 to 1024"));
        assert!(matches!(
            Model::open_with(image(), Options::new().threads(threads)),
            Err(Error::ThreadCount { max: 1024, .. })
        ));
    }
    assert_eq!(model.threads(), 4);
}

#[test]
fn nothing_is_computed_from_weights_without_a_value() {
    let mut model = open(2);
    let (x, y) = samples(4);
    let refused = |result: Result<(), Error>, params: &str| {
        let text = result.unwrap_err().to_string();
        let (has, it) = if params.contains(", ") { ("have no values", "them") } else { ("has no value", "it") };
        let wanted = format!("needs {params}, which {has} yet: call `init(seed)`, load weights, or set {it}");
        assert!(text.ends_with(&wanted), "{text}");
    };
    let mut out = [0.0f32; 16];
    let mut all = |model: &mut Model| model.predict_into(4, &[(&x).into()], &mut [(&mut out).into()]);
    refused(all(&mut model), "`dense/kernel`, `dense/bias`");
    refused(model.param(KERNEL).unwrap().to_vec::<f32>().map(drop), "`dense/kernel`");
    // What needs no weights runs, and the rest of the state has its first values.
    let phases = model.entry("phases").unwrap();
    model.call(phases, &[], &mut [(&mut [0u32]).into()], 1).unwrap();
    assert_eq!(model.learning_rate(), Some(0.1));
    assert!(model.param(ROWS_SEEN).unwrap().has_value() && !model.param(BIAS).unwrap().has_value());
    // Some are not all, and forks lack what the original lacks.
    model.set_param(KERNEL, &[0.5f32; 12]).unwrap();
    refused(all(&mut model), "`dense/bias`");
    refused(all(&mut model.fork().unwrap()), "`dense/bias`");
    assert!(model.set_param(BIAS, &[0.5f32; 3]).is_err());
    refused(all(&mut model), "`dense/bias`");
    model.set_param(BIAS, &[0.5f32; 4]).unwrap();
    all(&mut model).unwrap();
    assert!(train(&mut model, &x, &y, 4).0 > 0.0);
    // So is what `init` sets.
    let mut model = open(1);
    model.init(3).unwrap();
    all(&mut model).unwrap();
    all(&mut model.fork().unwrap()).unwrap();
}

#[test]
fn learning_rates_are_numbers_that_training_can_go_by() {
    let mut model = open(1);
    for rate in [f32::NAN, -0.1, f32::INFINITY, f32::NEG_INFINITY] {
        let error = model.set_learning_rate(rate).unwrap_err();
        assert_eq!(error.to_string(), format!("a learning rate of {rate}: it has to be a finite number of at least 0"));
    }
    assert_eq!(model.learning_rate(), Some(0.1));
    model.set_learning_rate(0.0).unwrap();
    assert_eq!(model.learning_rate(), Some(0.0));
}

#[test]
fn errors_say_how_to_mend_also_from_main() {
    let mut model = open_seeded(1);
    let text = |error: Error| format!("{error:?}");
    let x = vec![0.0f32; 3 * 500];
    let error = model.predict_into(500, &[(&x).into()], &mut []).unwrap_err();
    assert_eq!(
        text(error),
        "`predict`: a batch of 500 rows, it takes 1 to 16: call it in parts, or compile the model with a larger \
         `max_batch`"
    );
    assert!(text(model.entry("trainstep").unwrap_err()).ends_with("did you mean `train_step`?"));
    assert!(
        text(model.param("dense/kernal").unwrap_err())
            .ends_with("no parameter `dense/kernal`: did you mean `dense/kernel`?")
    );
    let mut without = descriptor();
    without.entries.len = 2;
    let error = Model::open(linked(without)).unwrap().entry("train_step").unwrap_err();
    assert!(text(error).ends_with("describe it with `m.compile(optimizer, loss, metrics)`"));
    assert_eq!(
        text(model.set_param_shaped(KERNEL, &[4, 3], &[0.0f32; 12]).unwrap_err()),
        "parameter `dense/kernel` has shape [3, 4], got [4, 3]: reshape it, if its elements are in this order"
    );
    #[cfg(feature = "safetensors")]
    {
        let error = text(model.load("no/such/file").unwrap_err());
        assert!(error.starts_with("cannot read no/such/file\n  caused by: No such file"), "{error}");
    }
}

/// Names in errors cannot turn the direction of writing, whoever prints them and how.
#[test]
fn names_in_errors_have_escapes() {
    const TURN: &str = "a\u{202e}b\u{2067}";
    let mut turned = descriptor();
    turned.name = common::text(TURN);
    let mut model = Model::open(linked(turned)).unwrap();
    let mut errors = vec![
        model.entry(TURN).unwrap_err(),
        model.param(TURN).map(drop).unwrap_err(),
        model.set_param(TURN, &[0.0f32]).unwrap_err(),
        Error::DType { what: TURN.into(), expected: DType::F32, found: DType::I32 },
        Error::Shape { what: TURN.into(), expected: vec![1], found: vec![2] },
        Error::EntryForm { model: TURN.into(), entry: TURN.into(), what: TURN.into() },
        Error::NoValue { what: TURN.into(), params: TURN.into(), count: 2 },
    ];
    #[cfg(feature = "safetensors")]
    {
        let file = tempfile::NamedTempFile::with_prefix(TURN).unwrap();
        errors.extend([model.load(TURN).unwrap_err(), model.load(file.path()).unwrap_err()]);
    }
    #[cfg(feature = "fit")]
    errors.push(Error::Data { what: TURN.into() });
    for error in errors {
        for text in [error.to_string(), format!("{error:?}")] {
            let deceives = text.contains(['\u{202e}', '\u{2067}']);
            assert!(!deceives && text.contains("a\\u{202e}b\\u{2067}"), "{text:?}");
        }
    }
}

#[test]
fn wrong_arguments_are_named_and_change_nothing() {
    let mut model = open_seeded(1);
    let before = model.param(KERNEL).unwrap().to_vec::<f32>().unwrap();
    let (x, y) = samples(4);
    let (mut loss, mut error) = ([f32::NAN], [f32::NAN]);
    let step = model.entry("train_step").unwrap();
    let labels = [0i32; 16];
    let mut call = |inputs: &[Input<'_>], batch: usize| {
        let result = model.call(step, inputs, &mut [(&mut loss).into(), (&mut error).into()], batch);
        result.unwrap_err().to_string()
    };
    assert_eq!(
        call(&[(&x).into(), (&y).into()], 3),
        "input `x` of `train_step` is [batch, 3] = 9 elements at a batch of 3, got 12"
    );
    assert_eq!(call(&[(&x).into(), (&labels).into()], 4), "input `y_target` of `train_step` is f32, got i32");
    assert_eq!(call(&[(&x).into()], 4), "`train_step` has 2 inputs, the call has 1");
    assert!(
        call(&[(&x).into(), (&y).into()], 17).starts_with("`train_step`: a batch of 17 rows, it takes 1 to 16: call")
    );
    assert!(loss[0].is_nan() && error[0].is_nan());
    assert_eq!(model.param(KERNEL).unwrap().to_vec::<f32>().unwrap(), before);

    let unknown = model.entry("train").unwrap_err().to_string();
    assert!(unknown.starts_with("model `linear` has no entry point `train`, it has `init`, `predict`"), "{unknown}");
    assert!(matches!(model.call(EntryId::new(99), &[], &mut [], 1), Err(Error::UnknownEntry { .. })));
    let predict = model.entry("predict").unwrap();
    let mut short = [0.0f32; 3];
    let error = model.call(predict, &[(&x[..3]).into()], &mut [(&mut short).into()], 1).unwrap_err();
    assert_eq!(error.to_string(), "output `y` of `predict` is [batch, 4] = 4 elements at a batch of 1, got 3");
}

#[test]
fn nan_passes_through() {
    let mut model = open_seeded(1);
    let y = predict(&mut model, &[f32::NAN, 0.0, f32::INFINITY], 1);
    assert!(y.iter().all(|v| v.is_nan()));
}

#[test]
fn parameters_are_row_major_by_name() {
    let mut model = open_seeded(1);
    let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
    model.set_param_shaped(KERNEL, &[3, 4], &values).unwrap();
    assert_eq!(model.param(KERNEL).unwrap().to_vec::<f32>().unwrap(), values);
    // Row 1 of the kernel, whatever panels it is kept in.
    assert_eq!(predict(&mut model, &[0.0, 1.0, 0.0], 1), [4.0, 5.0, 6.0, 7.0]);

    model.set_param(BIAS, &[0.5f32; 4]).unwrap();
    assert_eq!(predict(&mut model, &[0.0; 3], 1), [0.5; 4]);
    model.set_param(FLAGS, &[false, true]).unwrap();
    assert_eq!(model.param(FLAGS).unwrap().to_vec::<bool>().unwrap(), [false, true]);
    model.set_learning_rate(0.25).unwrap();
    assert_eq!(model.learning_rate(), Some(0.25));

    let text = |error: Error| error.to_string();
    assert_eq!(
        text(model.set_param(KERNEL, &values[..11]).unwrap_err()),
        "parameter `dense/kernel` is [3, 4] = 12 elements, got 11"
    );
    assert_eq!(
        text(model.set_param_shaped(KERNEL, &[4, 3], &values).unwrap_err()),
        "parameter `dense/kernel` has shape [3, 4], got [4, 3]: reshape it, if its elements are in this order"
    );
    assert_eq!(text(model.set_param(KERNEL, &[0i32; 12]).unwrap_err()), "parameter `dense/kernel` is f32, got i32");
    assert_eq!(
        text(model.param("dense/weight").unwrap_err()),
        "model `linear` has no parameter `dense/weight`, it has `dense/kernel`, `dense/bias`"
    );
    let mut short = [0.0f32; 5];
    assert!(matches!(model.param(KERNEL).unwrap().read(&mut short), Err(Error::Length { .. })));
    assert_eq!(model.param(KERNEL).unwrap().to_vec::<f32>().unwrap(), values);
    assert_eq!(model.param(KERNEL).unwrap().dtype(), DType::F32);
}

#[test]
fn init_depends_on_all_bits_of_the_seed() {
    let kernel = |seed: u64| {
        let mut model = open(1);
        model.init(seed).unwrap();
        model.param(KERNEL).unwrap().to_vec::<f32>().unwrap()
    };
    assert_eq!(kernel(7), kernel(7));
    assert_ne!(kernel(7), kernel(8));
    assert_ne!(kernel(7), kernel(7 | 1 << 40));
}

#[test]
fn forks_are_independent() {
    let mut model = open_seeded(2);
    let mut fork = model.fork().unwrap();
    let (x, y) = samples(MAX_BATCH);
    let before = predict(&mut model, &x, MAX_BATCH);
    train(&mut fork, &x, &y, MAX_BATCH);
    assert_eq!(predict(&mut model, &x, MAX_BATCH), before);
    train(&mut model, &x, &y, MAX_BATCH);
    drop(model.fork().unwrap());
    assert_eq!(predict(&mut model, &x, MAX_BATCH), predict(&mut fork, &x, MAX_BATCH));
}

#[test]
fn many_models_run_at_once() {
    let (x, y) = samples(MAX_BATCH);
    let expected = {
        let mut model = open_seeded(1);
        (0..50).map(|_| train(&mut model, &x, &y, MAX_BATCH).0).last()
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut model = open_seeded(2);
                let last = (0..50).map(|_| train(&mut model, &x, &y, MAX_BATCH).0).last();
                assert_eq!(last, expected);
            });
        }
    });
}

#[test]
fn descriptors_of_other_versions_and_damaged_ones_are_refused() {
    let refused = |change: &dyn Fn(&mut bakelite::abi::Descriptor)| {
        let mut descriptor = descriptor();
        change(&mut descriptor);
        Model::open(linked(descriptor)).unwrap_err()
    };
    assert!(matches!(refused(&|d| d.magic = 0), Error::Magic { found: 0 }));
    assert!(matches!(refused(&|d| d.abi_version += 1), Error::AbiVersion { .. }));
    let damaged = |change: &dyn Fn(&mut bakelite::abi::Descriptor)| match refused(change) {
        Error::Descriptor { model, what } if model == "linear" => what,
        other => panic!("{other}"),
    };
    assert_eq!(damaged(&|d| d.storage_bytes = 64), "`dense/bias` is misplaced at byte 64 of 64");
    assert_eq!(damaged(&|d| d.max_batch = 0), "its largest batch is 0");
    assert_eq!(damaged(&|d| d.scratch_bytes = 4), "scratch of 4 bytes is not aligned");
    let kind = bakelite::CellKind::Param;
    let with = |cells: Vec<bakelite::abi::Cell>| {
        let cells = table(cells);
        damaged(&move |d| d.cells = cells)
    };
    assert_eq!(with(vec![cell("a", 0, kind, &[3], 0, 2)]), "`a` of shape [3] cannot have panels of 2 columns");
    assert_eq!(with(vec![cell("a", 9, kind, &[3], 0, 0)]), "`a` has element type 9");
    assert_eq!(with(vec![cell("a", 0, kind, &[3], 4, 0)]), "`a` is misplaced at byte 4 of 320");
    assert_eq!(
        with(vec![cell("a", 0, kind, &[17], 0, 0), cell("b", 0, kind, &[1], 64, 0)]),
        "`b` is misplaced at byte 64 of 320"
    );
    assert_eq!(with(vec![cell("a", 0, kind, &[1], 0, 0), cell("a", 0, kind, &[1], 64, 0)]), "two cells are named `a`");
}

#[test]
fn levels_are_chosen_once_and_never_silently() {
    let model = Model::open_with(image(), Options::new().level(Level::Baseline)).unwrap();
    assert_eq!(model.level(), Level::Baseline);
    assert!(bakelite::level::supported(open(1).level()));

    let only = |level: Level| {
        let mut descriptor = descriptor();
        // SAFETY: the table was made by `descriptor`.
        let entries = unsafe { descriptor.entries.as_slice() };
        let entries = entries.iter().map(|e| {
            let mut code = [None; 4];
            code[level as usize] = e.code[level as usize];
            bakelite::abi::Entry { code, ..*e }
        });
        descriptor.entries = table(entries.collect());
        linked(descriptor)
    };
    assert_eq!(Model::open(only(Level::Baseline)).unwrap().level(), Level::Baseline);
    let foreign = if cfg!(target_arch = "aarch64") { Level::V4 } else { Level::Neon };
    assert!(matches!(Model::open(only(foreign)), Err(Error::Level { .. })));
    let forced = Model::open_with(only(Level::Baseline), Options::new().level(foreign)).unwrap_err();
    assert!(matches!(forced, Error::UnsupportedLevel { .. }));
}

#[test]
#[cfg_attr(miri, ignore = "slow")]
fn a_hundred_thousand_calls() {
    let mut model = open_seeded(2);
    let (x, y) = samples(MAX_BATCH);
    let mut last = 0.0;
    for _ in 0..100_000 {
        last = train(&mut model, &x, &y, MAX_BATCH).0;
    }
    assert!(last < 1e-6, "{last}");
    assert_eq!(model.param(ROWS_SEEN).unwrap().to_vec::<u32>().unwrap(), [1_600_000]);
}
