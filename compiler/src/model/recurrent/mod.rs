//! Recurrent layers: cells, and what runs them over sequences.
//!
//! A [`CellDef`] is one step. [`RNN`] runs any cell; `SimpleRNN`, `LSTM`, `GRU` and `ConvLSTM1D/2D/3D` are [`Recurrent`]: they
//! run one of their own, with the arguments of both. What a cell computes of its input alone is computed for all steps at once, before the loop; the
//! loop is one operation of the graph ([`Scan`](crate::ir::Scan)), so that neither code nor compile time grow with
//! the number of steps.

mod arguments;
mod bidirectional;
mod cell;
mod conv_lstm;
mod dense;
mod gru;
mod layer;
mod lstm;
mod rnn;
mod run;
mod simple;
mod stacked;
mod time_distributed;

pub use arguments::SequenceArguments;
pub(crate) use bidirectional::BidirectionalArguments;
pub use bidirectional::{Bidirectional, MergeMode};
pub use cell::{AnyCell, CellDef, IntoCell, call_once};
pub use conv_lstm::{ConvLSTM1D, ConvLSTM2D, ConvLSTM3D};
pub use gru::{GRU, GRUCell};
pub use layer::Recurrent;
pub use lstm::{LSTM, LSTMCell};
pub use rnn::RNN;
pub(crate) use rnn::RNNArguments;
pub use run::RecurrentDef;
pub use simple::{SimpleRNN, SimpleRNNCell};
pub use stacked::StackedRNNCells;
pub use time_distributed::TimeDistributed;
