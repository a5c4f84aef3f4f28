//! Keras's classes by name: a row a class.
//!
//! A class is read from the arguments that Keras writes for it, and a definition is written as them; see
//! [`config`]. Initializers, regularizers and constraints are in the tables of their enums.

use std::any::Any;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::activation::Softmax;
use super::config::{self, Config, Family};
use super::layer::snake_case;
use super::*;
use crate::diag::{Code, Problem};
use crate::limit::{self, Limit};

/// A class of layers, losses, metrics or optimizers.
pub struct Class<T: ?Sized> {
    pub name: &'static str,
    /// A definition from its arguments, or everything that is wrong with them.
    pub read: fn(&Config) -> Result<Rc<T>, Vec<Problem>>,
    /// The arguments of a definition of this class.
    pub write: fn(&T) -> Option<Value>,
}

/// `Name` is a class whose serde form is its arguments; `Name with Form` one that is converted from and to that form;
/// `Name called "Class"` one that Keras has under another name.
macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $table:ident: $kind:ident = {
        $($class:ident $(with $form:ident)? $(called $name:literal)?),+ $(,)?
    })+) => { $(
        $(#[doc = $doc])+
        pub const $table: &[Class<dyn $kind>] = &[$(class!($kind, $class $(, $form)? $(, $name)?)),+];
    )+ };
}

macro_rules! class {
    ($kind:ident, $class:ident) => {
        class!($kind, $class, { stringify!($class) })
    };
    ($kind:ident, $class:ident, $name:literal) => {
        class!($kind, $class, { $name })
    };
    ($kind:ident, $class:ident, { $name:expr }) => {
        Class {
            name: $name,
            read: |arguments| Ok(Rc::new(config::read::<$class>($name, arguments)?)),
            write: |def| (def as &dyn Any).downcast_ref::<$class>().map(config::write),
        }
    };
    ($kind:ident, $class:ident, $form:ident) => {
        Class {
            name: stringify!($class),
            read: |arguments| Ok(Rc::new($class::from(config::read::<$form>(stringify!($class), arguments)?))),
            write: |def| (def as &dyn Any).downcast_ref::<$class>().map(|def| config::write(&$form::from(def.clone()))),
        }
    };
}

classes! {
    /// Layers. Models are not among them: they are made of layers.
    LAYERS: LayerDef = {
        Activation with ActivationArguments,
        ActivityRegularization,
        AdaptiveAveragePooling1D,
        AdaptiveAveragePooling2D,
        AdaptiveAveragePooling3D,
        AdaptiveMaxPooling1D,
        AdaptiveMaxPooling2D,
        AdaptiveMaxPooling3D,
        Add,
        AdditiveAttention,
        AlphaDropout,
        Attention,
        Average,
        AveragePooling1D,
        AveragePooling2D,
        AveragePooling3D,
        BatchNormalization,
        Bidirectional with BidirectionalArguments,
        CategoryEncoding,
        CenterCrop,
        Concatenate,
        Conv1D,
        Conv1DTranspose,
        Conv2D,
        Conv2DTranspose,
        Conv3D,
        Conv3DTranspose,
        ConvLSTM1D,
        ConvLSTM2D,
        ConvLSTM3D,
        Cropping1D,
        Cropping2D,
        Cropping3D,
        Dense,
        DepthwiseConv1D,
        DepthwiseConv2D,
        Discretization,
        Dot,
        Dropout,
        ELU,
        EinsumDense,
        Embedding,
        Flatten,
        GRU,
        GRUCell,
        GaussianDropout,
        GaussianNoise,
        GlobalAveragePooling1D,
        GlobalAveragePooling2D,
        GlobalAveragePooling3D,
        GlobalMaxPooling1D,
        GlobalMaxPooling2D,
        GlobalMaxPooling3D,
        GroupNormalization,
        GroupQueryAttention,
        HashedCrossing,
        Hashing,
        Identity,
        IntegerLookup,
        LSTM,
        LSTMCell,
        LayerNormalization,
        LayerScale,
        LeakyReLU,
        Masking,
        MaxPooling1D,
        MaxPooling2D,
        MaxPooling3D,
        Maximum,
        MelSpectrogram,
        Minimum,
        MultiHeadAttention,
        Multiply,
        Normalization,
        PReLU,
        Permute,
        RMSNormalization,
        RNN with RNNArguments,
        RandomBrightness,
        RandomContrast,
        RandomCrop,
        RandomFlip,
        RandomRotation,
        RandomTranslation,
        RandomZoom,
        ReLU,
        RepeatVector,
        Rescaling,
        Reshape,
        Resizing,
        STFTSpectrogram,
        SeparableConv1D,
        SeparableConv2D,
        SimpleRNN,
        SimpleRNNCell,
        Softmax,
        SpatialDropout1D,
        SpatialDropout2D,
        SpatialDropout3D,
        SpectralNormalization,
        StackedRNNCells,
        StringLookup,
        Subtract,
        TextVectorization,
        TimeDistributed,
        UnitNormalization,
        UpSampling1D,
        UpSampling2D,
        UpSampling3D,
        ZeroPadding1D,
        ZeroPadding2D,
        ZeroPadding3D,
    }
    /// Losses.
    LOSSES: Loss = {
        BinaryCrossentropy,
        BinaryFocalCrossentropy,
        CTC,
        CategoricalCrossentropy,
        CategoricalFocalCrossentropy,
        CategoricalGeneralizedCrossEntropy,
        CategoricalHinge,
        CosineSimilarity,
        Dice,
        Hinge,
        Huber,
        KLDivergence,
        LogCosh,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredError,
        MeanSquaredLogarithmicError,
        Poisson,
        SparseCategoricalCrossentropy,
        SquaredHinge,
        Tversky,
    }
    /// Metrics.
    METRICS: Metric = {
        AUC,
        ExactAccuracy called "Accuracy",
        BinaryAccuracy,
        BinaryCrossentropy,
        BinaryIoU,
        CategoricalAccuracy,
        CategoricalCrossentropy,
        CategoricalHinge,
        ConcordanceCorrelation,
        CosineSimilarity,
        F1Score,
        FBetaScore,
        FalseNegatives,
        FalsePositives,
        Hinge,
        IoU,
        KLDivergence,
        LogCoshError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanIoU,
        MeanSquaredError,
        MeanSquaredLogarithmicError,
        OneHotIoU,
        OneHotMeanIoU,
        PearsonCorrelation,
        Poisson,
        Precision,
        PrecisionAtRecall,
        R2Score,
        Recall,
        RecallAtPrecision,
        RootMeanSquaredError,
        SensitivityAtSpecificity,
        SparseCategoricalAccuracy,
        SparseCategoricalCrossentropy,
        SparseTopKCategoricalAccuracy,
        SpecificityAtSensitivity,
        SquaredHinge,
        TopKCategoricalAccuracy,
        TrueNegatives,
        TruePositives,
    }
    /// Optimizers.
    OPTIMIZERS: Optimizer = {
        Adadelta,
        Adafactor,
        Adagrad,
        Adam,
        AdamW,
        Adamax,
        Ftrl,
        Lamb,
        Lion,
        LossScaleOptimizer,
        Muon,
        Nadam,
        RMSprop,
        SGD,
        ScheduleFreeAdamW,
    }
}

/// The arguments of Keras's layer `Activation`.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct ActivationArguments {
    activation: Activation,
}

impl From<ActivationArguments> for Activation {
    fn from(arguments: ActivationArguments) -> Activation {
        arguments.activation
    }
}

impl From<Activation> for ActivationArguments {
    fn from(activation: Activation) -> ActivationArguments {
        ActivationArguments { activation }
    }
}

/// Other names of classes.
const ALIASES: &[(&str, &str)] = &[
    ("bce", "BinaryCrossentropy"),
    // The name of the class in Keras's source, which it exports under another.
    ("groupedqueryattention", "GroupQueryAttention"),
    ("kld", "KLDivergence"),
    ("mae", "MeanAbsoluteError"),
    ("mape", "MeanAbsolutePercentageError"),
    ("mse", "MeanSquaredError"),
    ("msle", "MeanSquaredLogarithmicError"),
];

/// The class of a name: that of the class, of the function like it, or a short one. `MeanSquaredError`,
/// `mean_squared_error` and `mse` are the same.
pub fn find<'t, T: ?Sized>(table: &'t [Class<T>], name: &str) -> Option<&'t Class<T>> {
    let short = name.to_lowercase();
    let name = ALIASES.iter().find(|(alias, _)| *alias == short).map_or(name, |(_, class)| class);
    table.iter().find(|c| c.name == name || snake_case(c.name) == name)
}

/// The names of the classes that arguments of layers and optimizers can be, by Keras's module.
pub fn arguments() -> [(&'static str, Vec<&'static str>); 5] {
    fn names<T: Family>() -> Vec<&'static str> {
        T::CLASSES.iter().map(|row| row.0).collect()
    }
    [
        ("activations", config::activation_names()),
        (Initializer::MODULE, names::<Initializer>()),
        (Regularizer::MODULE, names::<Regularizer>()),
        (Constraint::MODULE, names::<Constraint>()),
        ("schedules", Schedule::CLASSES.to_vec()),
    ]
}

/// Reads an object of one of the classes of a table, by a name that [`find`] knows. `what` is the word for the classes
/// in messages.
pub fn read<T: ?Sized>(table: &[Class<T>], what: &str, class: &str, arguments: &Config) -> Result<Rc<T>, Vec<Problem>> {
    match find(table, class) {
        Some(class) => (class.read)(arguments),
        None => Err(vec![unknown(table, what, class)]),
    }
}

/// The refusal of a class: one of Keras's that is left out, a word that is written wrongly, or Python code.
fn unknown<T: ?Sized>(table: &[Class<T>], what: &str, class: &str) -> Problem {
    const LONGEST: usize = 60;
    let shown: String = class.chars().take(LONGEST).collect();
    let known = limit::of_class(class);
    let message = match known {
        Some(Limit::PythonCode) | None => format!("no {what} class is called `{}`", shown.escape_debug()),
        Some(_) => format!("the {what} class `{class}` of Keras is not supported"),
    };
    let near = table.iter().map(|row| (distance(row.name, &shown), row.name)).min();
    let problem = Problem::new(Code::Unknown, message);
    match (class, near) {
        ("Lambda", _) => {
            problem.help("a Lambda is Python code, which is never run: use operations such as `x * 2` between layers")
        }
        _ if known.is_some() => problem,
        (_, Some((1..=2, near))) => return problem.help(format!("did you mean `{near}`?")),
        _ => problem.help("Keras's own classes are read; one of your own is Python code, which is never run"),
    }
    .limit(known.unwrap_or(Limit::PythonCode))
}

/// How many letters have to be added, removed or replaced to make one word of another (Levenshtein, 1966).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The class and arguments of a definition, if it is of one of the classes of a table.
pub fn write<T: ?Sized>(table: &[Class<T>], def: &T) -> Option<(&'static str, Value)> {
    table.iter().find_map(|class| Some((class.name, (class.write)(def)?)))
}

/// The class and the arguments of a layer, with those that all layers have but for the name.
pub fn write_layer(layer: &AnyLayer) -> Option<(&'static str, Value)> {
    let (class, mut arguments) = write(LAYERS, layer.definition())?;
    arguments["trainable"] = layer.is_trainable().into();
    if let Some(penalty) = layer.activity_regularizer() {
        arguments["activity_regularizer"] = serde_json::to_value(penalty).ok()?;
    }
    Some((class, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every class reads its own defaults, and writes what it read.
    fn round_trips<T: ?Sized>(table: &[Class<T>]) {
        for class in table {
            let def = (class.read)(&Config::new()).unwrap_or_else(|e| panic!("{}: {e:?}", class.name));
            let Some(Value::Object(form)) = (class.write)(&def) else { panic!("{} is not written", class.name) };
            let again = (class.read)(&form).unwrap_or_else(|e| panic!("{}: {e:?}", class.name));
            assert_eq!((class.write)(&again), Some(Value::Object(form)), "{}", class.name);
            assert_eq!(write(table, &*def).unwrap().0, class.name);
        }
        assert!(table.is_sorted_by_key(|c| c.name));
    }

    #[test]
    fn every_class_is_read_and_written() {
        round_trips(LAYERS);
        round_trips(LOSSES);
        round_trips(METRICS);
        round_trips(OPTIMIZERS);
    }

    #[test]
    fn layers_are_called_as_their_classes() {
        for class in LAYERS {
            // Keras exports one class under another name than the one that it names layers after.
            let kind = if class.name == "GroupQueryAttention" { "GroupedQueryAttention" } else { class.name };
            assert_eq!((class.read)(&Config::new()).unwrap().kind(), kind);
        }
    }

    #[test]
    fn unknown_classes_are_refused() {
        let problems = read(LAYERS, "layer", "Dens", &Config::new()).unwrap_err();
        assert_eq!(problems[0].message, "no layer class is called `Dens`");
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `Dense`?"));
        let problems = read(LAYERS, "layer", "Bottleneck", &Config::new()).unwrap_err();
        assert!(problems[0].help.as_deref().is_some_and(|help| help.contains("Python")));
    }

    #[test]
    fn distances_of_words() {
        for (a, b, apart) in [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (apart, apart), "{a} {b}");
        }
    }
}
