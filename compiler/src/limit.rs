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
    ForeignLayers "foreign-layers",
    HardSigmoidOfKeras2 "hard-sigmoid-of-keras-2",
    Lora "lora",
    Operations "operations",
    PythonCode "python-code",
    QuantizedLayers "quantized-layers",
    SeveralOptimizers "several-optimizers",
    SparseAndRagged "sparse-and-ragged",
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
    ("MixUp", Limit::Augmentation),
    ("MultiOptimizer", Limit::SeveralOptimizers),
    ("OptimizerMap", Limit::SeveralOptimizers),
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
    ("Solarization", Limit::Augmentation),
    ("TFSMLayer", Limit::ForeignLayers),
    ("TorchModuleWrapper", Limit::ForeignLayers),
];

/// The entry about a class of Keras, where it is left out.
pub(crate) fn of_class(class: &str) -> Option<Limit> {
    LEFT_OUT.iter().find(|(name, _)| *name == class).map(|(_, limit)| *limit)
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
