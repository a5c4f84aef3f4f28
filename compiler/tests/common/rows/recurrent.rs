//! Rows of layers that loop.

use bakelite_compiler::prelude::*;

use super::Row;

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    Row("simple rnn", &[&[4, 3]], &[2], |x| SimpleRNN::new(2).apply(&x[0])),
    Row("simple rnn steps", &[&[4, 3]], &[4, 2], |x| {
        SimpleRNN::new(2).activation(Relu).return_sequences(true).go_backwards(true).use_bias(false).apply(&x[0])
    }),
    Row("simple rnn masked", &[&[4, 3]], &[4, 2], |x| {
        let x = Masking::new().mask_value(0.0).apply(&Relu.apply(&x[0]));
        SimpleRNN::new(2).return_sequences(true).dropout(0.3).recurrent_dropout(0.2).apply(&x)
    }),
    Row("lstm", &[&[4, 3]], &[2], |x| LSTM::new(2).apply(&x[0])),
    Row("lstm steps", &[&[5, 3]], &[5, 2], |x| {
        LSTM::new(2).return_sequences(true).unit_forget_bias(false).recurrent_activation(HardSigmoid).apply(&x[0])
    }),
    Row("lstm states", &[&[3, 2], &[2], &[2]], &[2], |x| {
        let y = LSTM::new(2).return_state(true).go_backwards(true).call(&[&x[0], &x[1], &x[2]]);
        &y[0] * &y[1] + &y[2]
    }),
    Row("lstm dropout", &[&[4, 3]], &[2], |x| LSTM::new(2).dropout(0.4).apply(&x[0])),
    Row("lstm recurrent dropout", &[&[4, 3]], &[2], |x| LSTM::new(2).dropout(0.4).recurrent_dropout(0.3).apply(&x[0])),
    Row("gru", &[&[4, 3]], &[2], |x| GRU::new(2).apply(&x[0])),
    Row("gru reset before", &[&[4, 3]], &[4, 2], |x| GRU::new(2).reset_after(false).return_sequences(true).apply(&x[0])),
    Row("gru without bias", &[&[4, 3]], &[2], |x| GRU::new(2).use_bias(false).go_backwards(true).apply(&x[0])),
    Row("gru recurrent dropout", &[&[4, 3]], &[2], |x| GRU::new(2).reset_after(false).recurrent_dropout(0.3).apply(&x[0])),
    Row("stateful gru", &[&[3, 3]], &[2], |x| GRU::new(2).stateful(true).state_rows(8).apply(&x[0])),
    Row("rnn of a cell", &[&[4, 3]], &[4, 2], |x| RNN::new(LSTMCell::new(2)).return_sequences(true).apply(&x[0])),
    Row("stacked cells", &[&[3, 2]], &[3], |x| {
        let cells = StackedRNNCells::new().add(LSTMCell::new(2)).add(GRUCell::new(4)).add(SimpleRNNCell::new(3).dropout(0.2));
        RNN::new(cells).apply(&x[0])
    }),
    Row("cell", &[&[3], &[2], &[2]], &[2], |x| LSTMCell::new(2).apply_many(&[&x[0], &x[1], &x[2]])),
    Row("bidirectional", &[&[4, 3]], &[4, 4], |x| Bidirectional::new(LSTM::new(2).return_sequences(true)).apply(&x[0])),
    Row("bidirectional sum", &[&[4, 3]], &[2], |x| Bidirectional::new(GRU::new(2)).merge_mode(MergeMode::Sum).apply(&x[0])),
    Row("bidirectional ave", &[&[4, 3]], &[4, 2], |x| {
        let rnn = SimpleRNN::new(2).return_sequences(true);
        Bidirectional::new(rnn).merge_mode(MergeMode::Ave).apply(&Masking::new().apply(&Relu.apply(&x[0])))
    }),
    Row("bidirectional both", &[&[4, 3]], &[2], |x| {
        let y = Bidirectional::new(LSTM::new(2).return_state(true)).merge_mode(None).call(&[&x[0]]);
        &y[0] * &y[1] + &y[2] * &y[5]
    }),
    Row("conv lstm 1d", &[&[3, 5, 2]], &[3, 2], |x| ConvLSTM1D::new(2, 3).apply(&x[0])),
    Row("conv lstm 2d", &[&[2, 3, 4, 2]], &[2, 3, 4, 2], |x| {
        ConvLSTM2D::new(2, 2).padding(Same).return_sequences(true).dropout(0.2).recurrent_dropout(0.3).apply(&x[0])
    }),
    Row("conv lstm 2d channels first", &[&[2, 2, 5, 4]], &[2, 2, 2], |x| {
        ConvLSTM2D::new(2, (3, 2)).strides(2).data_format(ChannelsFirst).apply(&x[0])
    }),
    Row("conv lstm 3d", &[&[2, 2, 3, 2, 1]], &[1, 2, 1, 2], |x| ConvLSTM3D::new(2, 2).apply(&x[0])),
    Row("time distributed", &[&[3, 4, 2]], &[3, 4, 5], |x| TimeDistributed::new(Dense::new(5)).apply(&x[0])),
    Row("time distributed with state", &[&[3, 4]], &[3, 4], |x| TimeDistributed::new(BatchNormalization::new()).apply(&x[0])),
    Row("time distributed dropout", &[&[3, 4]], &[3, 4], |x| TimeDistributed::new(Dropout::new(0.4)).apply(&x[0])),
];
