//! The language that models are described in.
//!
//! A [`Model`] is a graph of calls of layers. Layers ([`LayerDef`]), losses ([`Loss`]), metrics ([`Metric`]),
//! optimizers ([`Optimizer`]), initializers, regularizers and constraints are compositions of graph operations, one file each,
//! and nothing below this module knows them. [`Model::lower`] turns the description into an
//! [`ir::Module`](crate::ir::Module): storage cells, and one tensor graph for every entry point.
//!
//! # Adding a layer
//!
//! A file with a struct, its builder methods and its [`LayerDef`]; its line in the list below; its row in
//! `tests/common/rows.rs`. Arguments that several layers share are structs of their own, flattened into theirs, with the
//! builder methods of whatever has them: [`affine::KernelAndBias`] for example.

mod activation;
mod affine;
mod attention;
mod axes;
mod builder;
mod call;
mod check;
pub(crate) mod compile;
pub mod config;
mod constraint;
mod conv;
mod dense;
mod dot;
mod dropout;
mod einsum;
mod embedding;
mod entry;
pub(crate) mod functions;
pub(crate) mod graph;
mod initializer;
mod lambda;
pub(crate) mod layer;
mod lora;
mod loss;
mod lower;
mod margins;
mod mask;
pub(crate) mod merge;
mod metric;
mod narrow;
mod noise;
mod norm;
mod numbers;
mod objective;
pub(crate) mod ops;
pub(crate) mod optimizer;
mod orthogonal;
pub(crate) mod output;
mod pool;
pub mod prelude;
mod preprocessing;
pub(crate) mod quantization;
mod random;
mod recurrent;
pub mod registry;
mod regularizer;
mod reshape;
mod resize;
pub(crate) mod saved;
mod schedule;
mod sequential;
mod setters;
mod signal;
mod store;
pub(crate) mod tensor;
mod wide;
mod window;

pub use activation::{Activation, ELU, LeakyReLU, PReLU, ReLU, Swish};
pub use attention::{AdditiveAttention, Attention, GroupQueryAttention, MultiHeadAttention, ScoreMode, Sizes};
pub use axes::Axes;
pub use builder::{DEFAULT_MAX_BATCH, IntoShape, Model, SubModel};
pub use call::{CallCx, Masked};
pub use compile::{Losses, Metrics};
pub use constraint::Constraint;
pub use conv::{
    Conv1D, Conv1DTranspose, Conv2D, Conv2DTranspose, Conv3D, Conv3DTranspose, DepthwiseConv1D, DepthwiseConv2D,
    SeparableConv1D, SeparableConv2D,
};
pub use dense::Dense;
pub use dot::{Dot, DotAxes};
pub use dropout::{AlphaDropout, Dropout, SpatialDropout, SpatialDropout1D, SpatialDropout2D, SpatialDropout3D};
pub use einsum::{EinsumDense, OutputShape};
pub use embedding::Embedding;
pub use entry::Entry;
pub use initializer::{Distribution, Fan, Initializer};
pub use lambda::Lambda;
#[cfg(feature = "keras")]
pub(crate) use layer::snake_case;
pub use layer::{AnyLayer, Apply, BuildCx, CallForm, IntoLayer, Layer, LayerDef, Weight};
pub use lora::Lora;
pub(crate) use loss::binary_values;
pub use loss::{
    BinaryCrossentropy, BinaryFocalCrossentropy, CTC, CategoricalCrossentropy, CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy, CategoricalHinge, CosineSimilarity, Dice, Hinge, Huber, IntoLoss, KLDivergence,
    LogCosh, Loss, LossFn, MeanAbsoluteError, MeanAbsolutePercentageError, MeanSquaredError,
    MeanSquaredLogarithmicError, Poisson, Reduced, Reduction, SparseCategoricalCrossentropy, SquaredHinge, Tversky,
};
pub(crate) use lower::Lowered;
pub use margins::{Cropping1D, Cropping2D, Cropping3D, Margins, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D};
pub use mask::Masking;
pub use merge::{Add, Average, Concatenate, Maximum, Minimum, Multiply, Subtract};
pub use metric::{
    AUC, Accuracy, Averaging, Batch, BinaryAccuracy, BinaryIoU, CategoricalAccuracy, ClassAggregation,
    ConcordanceCorrelation, Curve, ExactAccuracy, F1Score, FBetaScore, FalseNegatives, FalsePositives, IntoMetric, IoU,
    LogCoshError, Mean, MeanAveragePrecision, MeanIoU, MeanMetric, Metric, Named, OneHotIoU, OneHotMeanIoU,
    PearsonCorrelation, Precision, PrecisionAtRecall, R2Score, Recall, RecallAtPrecision, RootMeanSquaredError,
    SensitivityAtSpecificity, SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy, SpecificityAtSensitivity, Sum,
    SummationMethod, TopKCategoricalAccuracy, TrueNegatives, TruePositives,
};
pub(crate) use narrow::Narrow;
pub use noise::{GaussianDropout, GaussianNoise};
pub(crate) use norm::unit;
pub use norm::{
    BatchNormalization, GroupNormalization, LayerNormalization, LayerScale, RMSNormalization, RenormClipping,
    SpectralNormalization, UnitNormalization,
};
pub use optimizer::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, IntoOptimizer, Lamb, Lion, LossScale, LossScaleOptimizer,
    Muon, Nadam, Optimizer, Options, Parameter, RMSprop, SGD, ScheduleFreeAdamW, Slot, StepCx, Update,
};
pub use pool::{
    AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D, AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D, AdaptiveMaxPooling3D, AveragePooling1D, AveragePooling2D, AveragePooling3D,
    GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D,
    GlobalMaxPooling3D, MaxPooling1D, MaxPooling2D, MaxPooling3D,
};
pub use preprocessing::{
    CategoryEncoding, CenterCrop, Discretization, Factor, FillMode, FlipMode, HashedCrossing, Hashing, IntegerLookup,
    Ngrams, Normalization, OovMethod, OutputMode, RandomBrightness, RandomContrast, RandomCrop, RandomFlip,
    RandomRotation, RandomTranslation, RandomZoom, Sampling, Split, Standardize, StringLookup, TextVectorization,
};
pub use quantization::{ActivationQuantizer, DTypePolicy, Quantization};
pub use random::Key;
pub use recurrent::{
    AnyCell, Bidirectional, CellDef, ConvLSTM1D, ConvLSTM2D, ConvLSTM3D, GRU, GRUCell, IntoCell, LSTM, LSTMCell,
    MergeMode, RNN, Recurrent, RecurrentDef, SequenceArguments, SimpleRNN, SimpleRNNCell, StackedRNNCells,
    TimeDistributed, call_once,
};
pub(crate) use recurrent::{BidirectionalArguments, RNNArguments};
pub use regularizer::{Regularizer, Vectors};
pub use reshape::{ActivityRegularization, Flatten, Identity, Permute, RepeatVector, Rescaling, Reshape};
pub use resize::{Interpolation, Resizing, UpSampling1D, UpSampling2D, UpSampling3D};
pub use saved::{Filed, Part};
pub use schedule::{
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, LearningRate, PiecewiseConstantDecay,
    PolynomialDecay, Schedule,
};
pub use sequential::Sequential;
pub use signal::{MelSpectrogram, STFTSpectrogram, Scaling, SpectrogramMode, Window};
pub use tensor::Tensor;
pub use window::{DataFormat, Extents, Padding};
