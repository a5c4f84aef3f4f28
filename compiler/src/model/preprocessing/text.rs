//! Layers over text: they run before a call, in the runtime, and here only say what the model gets from them.

use bakelite::text::{TextInput, TextLayer};

use super::{Hashing, OutputMode, StringLookup, TextVectorization};
use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, LayerDef};

/// A layer over text.
pub trait TextDef {
    /// What it makes of an item of texts of this shape, or why it cannot be part of a model.
    fn made(&self, item: &[usize]) -> Result<Made, Problem>;
}

/// An input that is made of text.
pub struct Made {
    /// The extents of an item.
    pub item: Vec<usize>,
    pub dtype: DType,
    /// The layer as the runtime reads it.
    pub form: String,
}

impl Made {
    fn new(layer: TextLayer, texts: usize, item: Vec<usize>, mode: OutputMode) -> Made {
        let dtype = if mode == OutputMode::Int { DType::I32 } else { DType::F32 };
        Made { item, dtype, form: TextInput::new(layer, texts).to_json() }
    }
}

impl TextDef for TextVectorization {
    fn made(&self, item: &[usize]) -> Result<Made, Problem> {
        self.check().map_err(Problem::value)?;
        let texts = match item {
            [] | [1] => 1,
            [texts] if !self.splits() => *texts,
            _ if self.splits() => {
                return Err(Problem::shape(format!("TextVectorization splits one text, an item has {item:?}"))
                    .help("declare the text with the shape `()`, or set `.split(None)`"));
            }
            _ => return Err(Problem::shape(format!("TextVectorization of items {item:?}, which have several axes"))),
        };
        let Some(width) = self.width() else {
            let (what, help) = match self.gives_indices() {
                true => ("output_sequence_length", "say how many tokens a text has: `.output_sequence_length(80)`"),
                false => (
                    "a vocabulary",
                    "give one, let it `adapt` to texts before it is applied, or set `max_tokens` and `pad_to_max_tokens`",
                ),
            };
            let message = format!("TextVectorization without {what} gives rows of no fixed length");
            return Err(Problem::new(Code::Missing, message).help(help));
        };
        let mode = if self.gives_indices() { OutputMode::Int } else { OutputMode::Count };
        Ok(Made::new(TextLayer::TextVectorization(self.clone()), texts, vec![width], mode))
    }
}

impl TextDef for StringLookup {
    fn made(&self, item: &[usize]) -> Result<Made, Problem> {
        self.check().map_err(Problem::value)?;
        let arguments = self.arguments();
        if arguments.invert {
            return Err(Problem::value("StringLookup with invert gives text, which no model computes")
                .help("outside of the model, `bakelite::text::StringLookup::token` gives the way back"));
        }
        let depth = arguments.depth;
        let mode = arguments.output_mode;
        if mode != OutputMode::Int && depth.is_none() {
            return Err(Problem::new(Code::Missing, "StringLookup without a vocabulary gives rows of no fixed length")
                .help("give one, let it `adapt` to data before it is applied, or set `max_tokens` and `pad_to_max_tokens`"));
        }
        let made = encoded("StringLookup", mode, item, depth.unwrap_or(0))?;
        Ok(Made::new(TextLayer::StringLookup(self.clone()), item.iter().product(), made, mode))
    }
}

impl TextDef for Hashing {
    fn made(&self, item: &[usize]) -> Result<Made, Problem> {
        self.check().map_err(Problem::value)?;
        let made = encoded("Hashing", self.mode(), item, self.bins())?;
        Ok(Made::new(TextLayer::Hashing(self.clone()), item.iter().product(), made, self.mode()))
    }
}

/// The extents of an item once its texts are indices, or encodings of so many columns.
fn encoded(kind: &str, mode: OutputMode, item: &[usize], depth: usize) -> Result<Vec<usize>, Problem> {
    match (mode, item) {
        (OutputMode::Int, _) => Ok(item.to_vec()),
        (OutputMode::OneHot, [rest @ .., 1]) => Ok([rest, &[depth]].concat()),
        (OutputMode::OneHot, _) => Ok([item, &[depth]].concat()),
        (_, [_]) => Ok(vec![depth]),
        (_, []) => Err(Problem::shape(format!("{kind} with {mode:?} of items that are one text"))
            .help("one row for several texts needs items with an axis, such as `[4]`; or use OutputMode::OneHot")),
        _ => Err(Problem::shape(format!("{kind} with {mode:?} of items {item:?}, which have several axes"))),
    }
}

macro_rules! layers {
    ($($class:ident)+) => { $(
        impl LayerDef for $class {
            fn kind(&self) -> &'static str {
                stringify!($class)
            }

            fn text(&self) -> Option<&dyn TextDef> {
                Some(self)
            }

            fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
                let message = format!("{} takes text, its input is {}", self.kind(), cx.input());
                Err(Problem::new(Code::DType, message).help("declare the input as text: `m.input_text(\"x\", ())`"))
            }

            fn call(&self, cx: &mut CallCx<'_>, _: &[NodeId]) -> Vec<NodeId> {
                cx.fault("text is no tensor".to_string())
            }
        }
    )+ };
}

layers! { TextVectorization StringLookup Hashing }
