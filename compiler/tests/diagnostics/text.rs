use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let text = m.input_text("text", ());
    Dense::new(3).name("of_text").apply(&text);
    HashedCrossing::new(3).name("of_texts").apply_many(&[&text, &text]);
    m.output_as("raw", &text);
    TextVectorization::new().name("no_length").apply(&text);
    TextVectorization::new().output_mode(OutputMode::Count).name("no_vocabulary").apply(&text);
    TextVectorization::new().output_sequence_length(4).vocabulary(["a", "a"]).name("twice").apply(&text);
    StringLookup::new().vocabulary(["a"]).output_mode(OutputMode::MultiHot).name("no_axis").apply(&text);
    StringLookup::new().vocabulary(["a"]).invert(true).name("inverted").apply(&text);
    Hashing::new(0).name("no_bins").apply(&text);
    let several = m.input_text("several", [2, 3]);
    TextVectorization::new().output_sequence_length(4).name("splits").apply(&several);
    let words = TextVectorization::new().output_sequence_length(4).apply(&text);
    Hashing::new(3).name("second").apply(&text);
    Hashing::new(3).name("of_numbers").apply(&words);
    let unread = m.input_text("unread", ());
    drop(unread);
    m.input_text("text", ());
    IntegerLookup::new().name("empty").apply(&words);
    IntegerLookup::new().vocabulary([1 << 40]).name("large").apply(&words);
    Discretization::bins(3).name("not_adapted").apply(&words.cast(F32));
    m.output(&words);
    let inner = Model::new("inner");
    let own = inner.input_text("own", ());
    inner.output(&Hashing::new(3).apply(&own));
    inner.apply(&words);
    m
}
