//! Mistakes and what users read about them.
//!
//! Each case is a file under `diagnostics/` that describes a wrong model, as a build script would, and beside it the
//! text that it gives. `BAKELITE_BLESS=1 cargo test` writes the texts anew; the diff is the review.

use std::path::Path;

use bakelite_compiler::diag::Diagnostics;
use bakelite_compiler::model::Model;

macro_rules! cases {
    ($($name:ident)+) => {
        $(
            #[path = "."]
            mod $name {
                mod case {
                    include!(concat!("diagnostics/", stringify!($name), ".rs"));
                }

                #[test]
                fn is_explained() {
                    super::check(stringify!($name), case::model());
                }
            }
        )+

        const NAMES: &[&str] = &[$(stringify!($name)),+];
    };
}

cases! {
    adapted_kernels
    arguments_of_convolutions
    arguments_of_layers
    arguments_of_more_layers
    arguments_of_newer_layers
    arguments_of_training
    arguments_of_resizing
    axis_is_the_batch
    axis_out_of_range
    batch_of_zero
    concatenation
    constraints
    empty_dimension
    entry_points
    float_labels
    freezing_an_unknown_layer
    gradient_of_a_batch
    gradient_of_integers
    gradient_without_dependence
    image_into_global_pooling_twice
    import_of_quantized_kernels
    import_of_unknown_classes
    import_of_wrong_graphs
    import_of_wrong_shapes
    initializers_and_regularizers
    input_after_layers
    kernel_larger_than_image
    label_shape_against_loss
    labels_for_a_regression
    layer_that_contradicts_itself
    loss_weight_is_no_number
    losses_for_unknown_outputs
    metric_cannot_compare
    missing_output
    masks_that_cannot_be_used
    mistakes_of_a_nested_model
    model_inside_itself
    model_name_is_no_identifier
    model_takes_another_shape
    model_without_output_as_layer
    models_inside_each_other
    more_losses_than_outputs
    name_of_an_input
    name_used_twice
    non_scalar_loss
    nothing_to_train
    one_class
    operands_of_arithmetic
    optimizer_arguments
    output_declared_twice
    recurrent_layers
    reserved_and_empty_names
    reshape_does_not_come_out
    sequential_without_input
    several_mistakes_at_once
    shared_layer_of_two_sizes
    tensors_of_two_models
    text
    too_few_inputs
    too_large
    unused_input
    wrong_dtype
    wrong_rank
    wrong_size
}

/// What a case gives: a model whose layers do not fit, or the description of a model that cannot be read.
trait Mistaken {
    fn mistakes(self) -> Diagnostics;
}

impl Mistaken for Model {
    fn mistakes(self) -> Diagnostics {
        self.lower().expect_err("the model is wrong")
    }
}

impl Mistaken for Result<Model, Diagnostics> {
    fn mistakes(self) -> Diagnostics {
        self.err().expect("the description is wrong")
    }
}

/// Compares the text of the mistakes of a model with the file beside it. Lines are those of the case's own file,
/// which users know as `build.rs`.
fn check(name: &str, model: impl Mistaken) {
    let problems = model.mistakes();
    assert!(format!("{problems:?}").ends_with(&problems.to_string()), "what `main` prints is the same text");
    let file = format!("{name}.rs");
    let text: String = problems.to_string().lines().map(|line| format!("{}\n", as_build_script(line, &file))).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let expected = folder.join(format!("{name}.txt"));
    if std::env::var_os("BAKELITE_BLESS").is_some() {
        std::fs::write(&expected, &text).expect("the text can be written");
    }
    let before = std::fs::read_to_string(&expected).unwrap_or_default();
    assert!(text == before, "{}:\n{text}\nBAKELITE_BLESS=1 accepts it; it was:\n{before}", expected.display());
}

/// Replaces the path of a case by `build.rs`.
fn as_build_script(line: &str, file: &str) -> String {
    let Some(end) = line.find(file) else { return line.to_string() };
    let start = line[..end].rfind(' ').map_or(0, |i| i + 1);
    format!("{}build.rs{}", &line[..start], as_build_script(&line[end + file.len()..], file))
}

#[test]
fn every_case_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    for entry in std::fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("it can be read").path();
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("names are text").to_string();
        assert!(NAMES.contains(&stem.as_str()), "{} belongs to no case", path.display());
    }
}
