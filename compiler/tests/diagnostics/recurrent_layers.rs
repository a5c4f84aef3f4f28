use bakelite_compiler::prelude::*;

pub fn model() -> Model {
    let m = Model::new("net");
    let flat = m.input("flat", [6], F32);
    let words = m.input("words", [6, 3], F32);
    let state = m.input("state", [5], F32);
    LSTM::new(4).apply(&flat);
    GRU::new(0).apply(&words);
    LSTM::new(4).dropout(1.5).apply(&words);
    LSTM::new(4).apply_many(&[&words, &state]);
    GRU::new(4).apply_many(&[&words, &state]);
    GRU::new(4).stateful(true).state_rows(0).apply(&words);
    RNN::new(StackedRNNCells::new()).apply(&words);
    Bidirectional::new(Dense::new(4)).apply(&words);
    Bidirectional::new(GRU::new(4)).backward_layer(GRU::new(4)).apply(&words);
    Bidirectional::new(GRU::new(5)).apply_many(&[&words, &state]);
    ConvLSTM2D::new(4, 3).apply(&words);
    ConvLSTM1D::new(4, 3).apply(&m.input("steps", [4, 2, 1], F32));
    TimeDistributed::new(Conv1D::new(4, 3)).apply(&words);
    TimeDistributed::new(LSTM::new(4).return_state(true)).apply(&words);
    m.output(&words);
    m
}
