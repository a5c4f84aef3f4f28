//! Models that begin with text, and inputs that are indices: through the compiler and the runtime, in process.

use bakelite::text::Encoded;
use bakelite::{Error, Input, Output as Port};
use bakelite_compiler::import::KerasModel;
use bakelite_compiler::ir::parse::parse_module;
use bakelite_compiler::ir::{Module, ValueRange};
use bakelite_compiler::prelude::*;

fn open(model: &Model) -> bakelite::Model {
    let image = model.compile_jit().unwrap_or_else(|e| panic!("{e}"));
    let mut run = bakelite::Model::open(image).unwrap();
    run.init(7).unwrap();
    run
}

/// The ranges of the inputs of an entry point.
fn ranges(module: &Module, entry: &str) -> Vec<Option<(i64, i64)>> {
    let range = |range: ValueRange| (range.low, range.high);
    module.entry(entry).unwrap().inputs.iter().map(|input| input.range.map(range)).collect()
}

/// `predict` of a model with one input of 3 elements a row and one number a row as result.
fn predict(run: &mut bakelite::Model, input: Input<'_>) -> Result<Vec<f32>, Error> {
    let rows = input.len() / 3;
    let mut result = vec![0.0; rows];
    run.predict_into(rows, &[input], &mut [Port::new(&mut result)])?;
    Ok(result)
}

fn lookup(dtype: DType) -> Model {
    let m = Model::new("lookup");
    let x = m.input("word", 3, dtype);
    let x = Embedding::new(100, 4).apply(&x);
    m.output(&Dense::new(1).apply(&Flatten.apply(&x)));
    m
}

#[test]
fn an_index_of_no_row_is_an_error_that_names_it() {
    let mut run = open(&lookup(I32));
    assert!(predict(&mut run, Input::new(&[0, 99, 5])).unwrap()[0].is_finite());
    for (wrong, place) in [(100, 0), (-1, 7), (i32::MAX, 13), (i32::MIN, 20)] {
        let mut words = vec![5; 21];
        words[place] = wrong;
        let error = predict(&mut run, Input::new(&words)).unwrap_err();
        assert!(matches!(&error, Error::Index { row, value, range, .. }
            if *row == place / 3 && *value == f64::from(wrong) && *range == (0..100)));
        let text = format!("input `word` of `predict`: row {} has {wrong}, the values are 0 to 99", place / 3);
        assert_eq!(error.to_string(), text);
    }
    assert!(predict(&mut run, Input::new(&[1, 2, 3])).is_ok());
}

#[test]
fn every_type_of_index_is_checked() {
    let mut run = open(&lookup(U32));
    assert!(predict(&mut run, Input::new(&[0u32, 99, 5])).is_ok());
    assert!(predict(&mut run, Input::new(&[0u32, u32::MAX, 5])).is_err());
    let mut run = open(&lookup(U8));
    assert!(predict(&mut run, Input::new(&[0u8, 99, 100])).is_err());
    let mut run = open(&lookup(F32));
    assert!(predict(&mut run, Input::new(&[0.0f32, 99.5, -0.5])).is_ok());
    assert!(predict(&mut run, Input::new(&[0.0f32, 100.0, 5.0])).is_err());
    assert!(predict(&mut run, Input::new(&[0.0f32, f32::NAN, 5.0])).is_err());
}

#[test]
fn labels_of_no_class_change_nothing() {
    let m = Model::new("classes");
    let x = m.input("x", 4, F32);
    m.output(&Dense::new(3).name("kind").apply(&x));
    m.compile(SGD::new(0.1), SparseCategoricalCrossentropy::from_logits(), ());
    let module = m.lower().unwrap();
    assert_eq!(ranges(&module, "predict"), [None]);
    assert_eq!(ranges(&module, "train_step"), [None, Some((0, 3))]);
    assert_eq!(ranges(&module, "evaluate_step"), [None, Some((0, 3))]);
    let mut run = open(&m);
    let before: Vec<f32> = run.param("kind/kernel").unwrap().to_vec().unwrap();
    let step = run.entry("train_step").unwrap();
    let mut loss = [0.0f32];
    for wrong in [3, -1] {
        let labels = [0, 1, wrong];
        let inputs = [Input::new(&[1.0f32; 12]), Input::new(&labels)];
        let error = run.call(step, &inputs, &mut [Port::new(&mut loss)], 3).unwrap_err();
        assert!(error.to_string().contains("row 2 has"), "{error}");
    }
    assert_eq!(run.param("kind/kernel").unwrap().to_vec::<f32>().unwrap(), before);
}

#[test]
fn what_a_mask_or_an_ignored_class_decides_is_not_checked() {
    let range = |loss: SparseCategoricalCrossentropy, masked: bool| {
        let m = Model::new("steps");
        let words = m.input("words", 5, I32);
        let x = Embedding::new(9, 4).mask_zero(masked).apply(&words);
        m.output(&Dense::new(3).name("kind").apply(&x));
        m.compile(SGD::new(0.1), loss, ());
        ranges(&m.lower().unwrap(), "train_step")
    };
    let loss = SparseCategoricalCrossentropy::from_logits;
    let words = Some((0, 9));
    assert_eq!(range(loss(), false), [words, Some((0, 3))]);
    assert_eq!(range(loss(), true), [words, None]);
    assert_eq!(range(loss().ignore_class(-1), false), [words, Some((-1, 3))]);
    assert_eq!(range(loss().ignore_class(1), false), [words, Some((0, 3))]);
    assert_eq!(range(loss().ignore_class(3), false), [words, Some((0, 4))]);
    assert_eq!(range(loss().ignore_class(255), false), [words, None]);
}

#[test]
fn indices_are_followed_into_loops_and_models_but_not_through_arithmetic() {
    let m = Model::new("net");
    let x = m.input("x", [4, 3], I32);
    let shifted = m.input("shifted", 3, I32);
    let inner = Model::new("inner");
    let y = inner.input("y", 3, I32);
    inner.output(&Embedding::new(50, 2).apply(&y));
    m.output_as("steps", &TimeDistributed::new(Embedding::new(10, 2)).apply(&x));
    m.output_as("nested", &inner.apply(&shifted));
    m.output_as("sum", &Embedding::new(20, 2).apply(&(&shifted.cast(F32) + 1.0)));
    assert_eq!(ranges(&m.lower().unwrap(), "predict"), [Some((0, 10)), Some((0, 50))]);
}

#[test]
fn ranges_and_vocabularies_are_in_the_text_form() {
    let module = reviews(6).lower().unwrap();
    let text = module.to_string();
    assert!(text.contains("{low: 0, high: 40}"), "{text}");
    let again = parse_module(&text).unwrap();
    assert_eq!(again.to_string(), text);
    for (a, b) in module.entries.iter().zip(&again.entries) {
        assert_eq!(a.inputs, b.inputs);
    }
    for broken in ["{low: 4, high: 4}", "{low: 4}", "{low: 0, high: 1.5}", "{low: 0, high: 4, more: 1}"] {
        assert!(parse_module(&text.replace("{low: 0, high: 40}", broken)).is_err(), "{broken}");
    }
}

const TEXTS: [&str; 6] = ["a good film", "bad, BAD film!", "good good good", "what a bad day", "Good fun", "bad bad"];
const LIKED: [f32; 6] = [1.0, 0.0, 1.0, 0.0, 1.0, 0.0];

/// Whether a review is a good one, from its first words.
fn reviews(words: usize) -> Model {
    let m = Model::new("reviews");
    let review = m.input_text("review", ());
    let mut vectorize = TextVectorization::new().max_tokens(40).output_sequence_length(words);
    vectorize.adapt(&TEXTS);
    let x = vectorize.apply(&review);
    let x = Embedding::new(40, 8).apply(&x);
    let x = GlobalAveragePooling1D.apply(&x);
    m.output(&Dense::new(1).activation(Sigmoid).name("liked").apply(&x));
    m.compile(Adam::new(0.05), BinaryCrossentropy::new(), [Accuracy]);
    m
}

#[test]
fn text_is_the_same_as_what_its_layer_makes_of_it() {
    let mut run = open(&reviews(6));
    assert!(run.entries().iter().all(|entry| entry.inputs.iter().all(|p| p.is_text() == (p.name == "review"))));
    let words = run.encode("review", &["a good unknown", ""]).unwrap();
    let Encoded::Ints(words) = words else { panic!("indices") };
    let vocabulary = ["", "[UNK]", "good", "bad", "film", "a", "what", "fun", "day"];
    let place = |word: &str| vocabulary.iter().position(|w| *w == word).unwrap() as i32;
    assert_eq!(words, [place("a"), place("good"), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut liked = [0.0f32; 2];
    run.predict_into(2, &[Input::new(&words)], &mut [Port::new(&mut liked)]).unwrap();
    assert!(liked.iter().all(|x| x.is_finite()));
    assert!(run.encode("liked", &["x"]).unwrap_err().to_string().contains("`review`"));
}

#[cfg(feature = "cli")]
#[test]
fn a_model_learns_from_text_and_keeps_a_new_vocabulary() {
    use bakelite::{Data, Fit};
    let model = reviews(6);
    let mut run = open(&model);
    let train = Data::new().text("review", &TEXTS).target("liked", &LIKED);
    run.fit(&train, Fit::epochs(60).batch(3)).unwrap();
    assert!(run.evaluate(&train, None).unwrap().get("accuracy").unwrap() > 0.99);
    let score = |run: &mut bakelite::Model, texts: &[&str]| {
        let predictions = run.predict(&Data::new().text("review", texts), None).unwrap();
        predictions.first::<f32>().unwrap().to_vec()
    };
    let before = score(&mut run, &["good", "bad"]);
    assert!(before[0] > 0.8 && before[1] < 0.2, "{before:?}");
    assert_eq!(score(&mut run.fork().unwrap(), &["good", "bad"]), before);

    // Another vocabulary, in which the words have changed their places.
    run.adapt("review", &["bad bad good"]).unwrap();
    let after = score(&mut run, &["good", "bad"]);
    assert!(after[0] < after[1], "{after:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    run.save(&path).unwrap();
    let mut other = open(&model);
    other.load(&path).unwrap();
    assert_eq!(score(&mut other, &["good", "bad"]), after);
    let known: &bakelite::text::TextInput = other.text("review").unwrap();
    assert_eq!(known.to_json(), run.text("review").unwrap().to_json());

    // Words beyond the table are found before the call.
    let many: Vec<String> = (0..100).map(|i| format!("word{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(run.adapt("review", &many).is_ok(), "max_tokens keeps it small");
    assert!(run.fit(&Data::new().text("reviews", &TEXTS).target("liked", &LIKED), Fit::epochs(1)).is_err());
}

#[test]
fn encodings_of_text_are_inputs_of_numbers() {
    let m = Model::new("colors");
    let colors = m.input_text("colors", 2);
    let x = StringLookup::new().vocabulary(["red", "green"]).output_mode(OutputMode::MultiHot).apply(&colors);
    let name = m.input_text("name", ());
    let y = Hashing::new(5).salt(3).output_mode(OutputMode::OneHot).apply(&name);
    assert_eq!((x.item_shape(), y.item_shape()), (Some(vec![3]), Some(vec![5])));
    m.output_as("known", &(x * 1.0));
    m.output_as("bin", &(y * 1.0));
    let mut run = open(&m);
    let colors = run.encode("colors", &["red", "blue", "green", "red"]).unwrap();
    let names = run.encode("name", &["a", "b"]).unwrap();
    let (mut known, mut bin) = ([0.0f32; 6], [0.0f32; 10]);
    run.predict_into(2, &[colors.as_input(), names.as_input()], &mut [Port::new(&mut known), Port::new(&mut bin)])
        .unwrap();
    assert_eq!(known, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    assert_eq!(bin.iter().sum::<f32>(), 2.0);
    assert!(run.encode("colors", &["red"]).is_err(), "one text is no row of two");
    assert!(run.adapt("name", &["a"]).is_err(), "a hash has no vocabulary");
    let wider = run.adapt("colors", &["a", "b", "c", "d"]).unwrap_err();
    assert!(wider.to_string().contains("rows of 3 elements"), "{wider}");
}

#[test]
fn keras_descriptions_with_text_are_read() {
    let layers = r#"{"class_name": "TextVectorization", "config": {"name": "words", "max_tokens": 10, "standardize": "lower",
        "split": "whitespace", "ngrams": null, "output_mode": "int", "output_sequence_length": 4, "sparse": false,
        "ragged": false, "vocabulary": ["a", "b"], "idf_weights": null, "encoding": "utf-8", "vocabulary_size": 4,
        "pad_to_max_tokens": false, "dtype": "float32", "trainable": true}},
        {"class_name": "Embedding", "config": {"input_dim": 10, "output_dim": 2, "name": "table"}}"#;
    let input =
        r#"{"class_name": "InputLayer", "config": {"batch_shape": [null, 1], "dtype": "string", "name": "line"}},"#;
    for (input, name) in [(input, "line"), ("", "input")] {
        let json = format!(
            r#"{{"class_name": "Sequential", "config": {{"name": "m", "build_input_shape": [null, 1], "layers": [{input} {layers}]}}}}"#
        );
        let model = KerasModel::parse(&json).unwrap().build().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(model.layer_names(), ["words", "table"]);
        let module = model.lower().unwrap();
        let input = &module.entry("predict").unwrap().inputs[0];
        assert_eq!((input.name.as_str(), input.ty.to_string().as_str()), (name, "i32[batch, 4]"));
        assert!(input.text.is_some());
    }
}

/// A file that Keras wrote, with vocabularies beside the configuration, predicts from text what Keras does.
#[cfg(feature = "cli")]
#[test]
fn a_model_of_keras_reads_text_as_keras_does() {
    use bakelite::Data;
    use bakelite_compiler::import::KerasFile;
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/fixtures/");
    let all: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{fixtures}text.json")).unwrap()).unwrap();
    let (rows, expected) = (&all["whole"]["rows"], &all["whole"]["result"]["values"]);
    let file = KerasFile::open(format!("{fixtures}text.keras")).unwrap_or_else(|e| panic!("{e}"));
    let model = file.model().build().unwrap_or_else(|e| panic!("{e}"));
    let mut run = open(&model);
    file.restore(&model, &mut run).unwrap_or_else(|e| panic!("{e}"));
    let texts = |name: &str| rows[name].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect::<Vec<&str>>();
    let numbers: Vec<i32> = rows["numbers"].as_array().unwrap().iter().map(|n| n.as_i64().unwrap() as i32).collect();
    let (words, tags, parts) = (texts("words"), texts("tags"), texts("parts"));
    let data = Data::new().text("words", &words).text("tags", &tags).text("parts", &parts).input("numbers", &numbers);
    let predictions = run.predict(&data, 4).unwrap();
    let found = predictions.first::<f32>().unwrap();
    assert_eq!(found.len(), expected.as_array().unwrap().len());
    for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
        let expected = expected.as_f64().unwrap() as f32;
        assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{found}, Keras has {expected}");
    }
}

/// Written for Keras and read again, a model of text is the same.
#[cfg(feature = "cli")]
#[test]
fn models_of_text_are_written_for_keras() {
    use bakelite_compiler::export::save_keras;
    use bakelite_compiler::import::KerasFile;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reviews.keras");
    let model = reviews(6);
    let mut run = open(&model);
    save_keras(&path, &model, &run).unwrap_or_else(|e| panic!("{e}"));
    let file = KerasFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
    let again = file.model().build().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.input_names(), ["review"]);
    assert_eq!(again.layer_classes(), model.layer_classes());
    let mut other = open(&again);
    file.restore(&again, &mut other).unwrap_or_else(|e| panic!("{e}"));
    let score = |run: &mut bakelite::Model| {
        let words = run.encode("review", &TEXTS).unwrap();
        let mut liked = [0.0f32; 6];
        run.predict_into(6, &[words.as_input()], &mut [Port::new(&mut liked)]).unwrap();
        liked
    };
    assert_eq!(score(&mut run), score(&mut other));
}
