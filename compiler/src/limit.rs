//! The entries of the [page of limits](crate::guide::limits): what is not supported, by name.
//!
//! A refusal names its entry with [`Problem::limit`](crate::diag::Problem::limit), and prints it as
//! `limits: circle-loss`. A new entry is a line here and one in the page; a test compares the two.

use std::fmt;

macro_rules! limits {
    ($($entry:ident $name:literal,)+) => {
        /// An entry of the [page of limits](crate::guide::limits).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Limit {
            $(#[doc = concat!("`", $name, "`")] $entry,)+
        }

        impl Limit {
            pub const ALL: &[Limit] = &[$(Limit::$entry),+];

            /// The name of the entry.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Limit::$entry => $name,)+
                }
            }
        }
    };
}

limits! {
    Augmentation "augmentation",
    BoundingBoxes "bounding-boxes",
    CircleLoss "circle-loss",
    ComplexNumbers "complex-numbers",
    DataDependentShapes "data-dependent-shapes",
    FiniteArguments "finite-arguments",
    ForeignLayers "foreign-layers",
    GreatestDivisors "greatest-divisors",
    HardSigmoidOfKeras2 "hard-sigmoid-of-keras-2",
    HashedCrossing "hashed-crossing",
    LinearAlgebra "linear-algebra",
    MetricsOfValues "metrics-of-values",
    NarrowTypes "narrow-types",
    Operations "operations",
    Pipelines "pipelines",
    PythonCode "python-code",
    QuantizedLayers "quantized-layers",
    SeveralOptimizers "several-optimizers",
    ReversibleEmbedding "reversible-embedding",
    Sorting "sorting",
    Sizes "sizes",
    SparseAndRagged "sparse-and-ragged",
    Spectra "spectra",
    Warps "warps",
    WholeNumbers "whole-numbers",
}

impl Limit {
    /// Why something is refused, with the name of the entry, where no [`Problem`](crate::diag::Problem) is at hand.
    pub(crate) fn says(self, why: impl fmt::Display) -> String {
        format!("{why} (limits: {self})")
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The classes of Keras that are not read, with the entry that says so.
const LEFT_OUT: &[(&str, Limit)] = &[
    ("AugMix", Limit::Augmentation),
    ("AutoContrast", Limit::Augmentation),
    ("Circle", Limit::CircleLoss),
    ("ContrastLimitedAdaptiveHistogramEqualization", Limit::Augmentation),
    ("CutMix", Limit::Augmentation),
    ("Equalization", Limit::Augmentation),
    ("FlaxLayer", Limit::ForeignLayers),
    ("JaxLayer", Limit::ForeignLayers),
    ("Lambda", Limit::PythonCode),
    ("MaxNumBoundingBoxes", Limit::BoundingBoxes),
    ("Mean", Limit::MetricsOfValues),
    ("MeanMetricWrapper", Limit::MetricsOfValues),
    ("MixUp", Limit::Augmentation),
    ("MultiOptimizer", Limit::SeveralOptimizers),
    ("OptimizerMap", Limit::SeveralOptimizers),
    ("Pipeline", Limit::Pipelines),
    ("RandAugment", Limit::Augmentation),
    ("RandomColorDegeneration", Limit::Augmentation),
    ("RandomColorJitter", Limit::Augmentation),
    ("RandomElasticTransform", Limit::Augmentation),
    ("RandomErasing", Limit::Augmentation),
    ("RandomGaussianBlur", Limit::Augmentation),
    ("RandomGrayscale", Limit::Augmentation),
    ("RandomHue", Limit::Augmentation),
    ("RandomInvert", Limit::Augmentation),
    ("RandomPerspective", Limit::Augmentation),
    ("RandomPosterization", Limit::Augmentation),
    ("RandomSaturation", Limit::Augmentation),
    ("RandomSharpness", Limit::Augmentation),
    ("RandomShear", Limit::Augmentation),
    ("ReversibleEmbedding", Limit::ReversibleEmbedding),
    ("Solarization", Limit::Augmentation),
    ("Sum", Limit::MetricsOfValues),
    ("TFSMLayer", Limit::ForeignLayers),
    ("TorchModuleWrapper", Limit::ForeignLayers),
];

/// The operations of Keras that are not read, with the entry that says so.
const OPERATIONS_LEFT_OUT: &[(&str, Limit)] = &[
    ("AffineTransform", Limit::Warps),
    ("Arange", Limit::DataDependentShapes),
    ("AssociativeScan", Limit::PythonCode),
    ("Bincount", Limit::DataDependentShapes),
    ("CTCDecode", Limit::Operations),
    ("CTCLoss", Limit::Operations),
    ("Cholesky", Limit::LinearAlgebra),
    ("CholeskyInverse", Limit::LinearAlgebra),
    ("Cond", Limit::PythonCode),
    ("Corrcoef", Limit::Operations),
    ("Correlate", Limit::Operations),
    ("Det", Limit::LinearAlgebra),
    ("Eig", Limit::LinearAlgebra),
    ("Eigh", Limit::LinearAlgebra),
    ("ElasticTransform", Limit::Warps),
    ("ForiLoop", Limit::PythonCode),
    ("Gcd", Limit::GreatestDivisors),
    ("I0", Limit::Operations),
    ("Inv", Limit::LinearAlgebra),
    ("JVP", Limit::PythonCode),
    ("Lcm", Limit::GreatestDivisors),
    ("Logdet", Limit::LinearAlgebra),
    ("Lstsq", Limit::LinearAlgebra),
    ("LuFactor", Limit::LinearAlgebra),
    ("Map", Limit::PythonCode),
    ("MapCoordinates", Limit::Warps),
    ("MatrixRank", Limit::LinearAlgebra),
    ("Nextafter", Limit::Operations),
    ("Nonzero", Limit::DataDependentShapes),
    ("PerspectiveTransform", Limit::Warps),
    ("Pinv", Limit::LinearAlgebra),
    ("Polar", Limit::ComplexNumbers),
    ("Qr", Limit::LinearAlgebra),
    ("SVD", Limit::LinearAlgebra),
    ("ScaleAndTranslate", Limit::Warps),
    ("Scan", Limit::PythonCode),
    ("SegmentProd", Limit::Operations),
    ("SegmentReduction", Limit::Operations),
    ("Slogdet", Limit::LinearAlgebra),
    ("Solve", Limit::LinearAlgebra),
    ("SolveTriangular", Limit::LinearAlgebra),
    ("Switch", Limit::PythonCode),
    ("Unique", Limit::DataDependentShapes),
    ("VectorizedMap", Limit::PythonCode),
    ("View", Limit::Operations),
    ("ViewAsComplex", Limit::ComplexNumbers),
    ("ViewAsReal", Limit::ComplexNumbers),
    ("WhileLoop", Limit::PythonCode),
];

/// The entry about an operation that is not read.
pub fn of_operation(class: &str) -> Limit {
    OPERATIONS_LEFT_OUT.iter().find(|(name, _)| *name == class).map_or(Limit::Operations, |(_, limit)| *limit)
}

/// Whether an operation is one of those that are left out by name.
pub fn names_operation(class: &str) -> bool {
    OPERATIONS_LEFT_OUT.iter().any(|(name, _)| *name == class)
}

/// The entry about a class of Keras, where it is left out.
pub fn of_class(class: &str) -> Option<Limit> {
    LEFT_OUT.iter().find(|(name, _)| *name == class).map(|(_, limit)| *limit)
}

/// The entry about texts as inputs of a class that is read for other inputs.
pub fn of_text(class: &str) -> Option<Limit> {
    (class == "HashedCrossing").then_some(Limit::HashedCrossing)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of the entries of the page: list items that begin with a name in bold.
    fn entries() -> Vec<&'static str> {
        let page = include_str!("guide/limits.md");
        page.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**").map(|(name, _)| name)).collect()
    }

    #[test]
    fn every_limit_has_its_entry_in_the_page() {
        let page = entries();
        let known: BTreeSet<&str> = page.iter().copied().collect();
        assert_eq!(known.len(), page.len(), "two entries have one name");
        let missing: Vec<&str> = Limit::ALL.iter().map(|l| l.name()).filter(|n| !known.contains(n)).collect();
        assert!(missing.is_empty(), "guide/limits.md lacks {missing:?}");
    }

    #[test]
    fn every_entry_has_a_name_that_can_be_searched_for() {
        for name in entries() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(plain), "{name}");
        }
        let page = include_str!("guide/limits.md");
        let unnamed: Vec<&str> = page.lines().filter(|l| l.starts_with("- ") && !l.starts_with("- **")).collect();
        assert!(unnamed.is_empty(), "entries without a name: {unnamed:?}");
    }
}
