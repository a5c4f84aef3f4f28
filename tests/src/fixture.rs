//! What Keras answered: the cases of `fixtures/keras.json`, and the generator that both sides draw from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The file that `fixtures/make_keras_fixtures.py` writes.
#[derive(Deserialize, Debug)]
pub struct Fixtures {
    pub made_with: String,
    pub seed: u64,
    /// A draw and its elements, which prove that the generators agree.
    pub draw: Draw,
    pub drawn: Vec<f32>,
    pub cases: Vec<Case>,
}

/// One model and what became of it.
#[derive(Deserialize, Debug)]
pub struct Case {
    pub name: String,
    /// The model as Keras describes it.
    pub model: Value,
    /// Keras's compile configuration; nothing where the case only predicts.
    pub compile: Option<Value>,
    pub batch: usize,
    /// How far numbers may be from Keras's, where it is more than usual. The file says why.
    pub tolerance: Option<f64>,
    /// The weights and state before training, by path, in Keras's order.
    #[serde(deserialize_with = "in_order")]
    pub weights: Vec<(String, Draw)>,
    /// All rows of each input; batches are taken in order, the last one may be smaller.
    pub inputs: Vec<Draw>,
    /// All rows of each output's target.
    #[serde(default)]
    pub targets: Vec<Draw>,
    /// The weights of the rows for each output.
    #[serde(default)]
    pub sample_weights: Vec<Option<Draw>>,
    /// The weights of rows by their label.
    #[serde(default)]
    pub class_weight: BTreeMap<i32, f32>,
    /// Predictions of each output for the first rows, before and after training.
    pub before: Vec<Vec<f64>>,
    #[serde(default)]
    pub after: Vec<Vec<f64>>,
    /// The loss of each batch, unless the case ran `fit`.
    #[serde(default)]
    pub losses: Vec<f64>,
    /// Arguments of `fit`. It trained on the first half of the rows and validated on the second.
    pub fit: Option<FitArguments>,
    /// Values by key; none where they are not to be compared.
    #[serde(default)]
    pub history: BTreeMap<String, Vec<f64>>,
    /// The weights and state after training.
    #[serde(default)]
    pub trained: BTreeMap<String, Sample>,
}

/// The members of an object in the order of the file.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Draw)>, D::Error> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, Draw)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of draws")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    deserializer.deserialize_map(Members)
}

#[derive(Deserialize, Debug)]
pub struct FitArguments {
    pub epochs: usize,
}

impl Case {
    /// How many rows of data there are.
    pub fn rows(&self) -> usize {
        self.inputs[0].shape[0]
    }

    /// The weight with a path.
    pub fn weight(&self, path: &str) -> &Draw {
        let found = self.weights.iter().find(|(name, _)| name == path);
        found.map(|(_, draw)| draw).unwrap_or_else(|| panic!("no weight `{path}`"))
    }
}

/// A tensor that nobody stored: its elements are drawn by position.
#[derive(Deserialize, Clone, Debug)]
pub struct Draw {
    stream: u32,
    pub shape: Vec<usize>,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(untagged)]
enum Kind {
    /// Uniform in `center - limit .. center + limit`.
    Uniform { limit: f32, center: f32 },
    /// Whole numbers.
    Below { below: u32, dtype: String },
    /// One 1 in each row of that many, zeros elsewhere.
    OneHot { one_hot: usize },
}

impl Draw {
    /// The elements in row-major order; whole numbers as floats.
    pub fn values(&self) -> Vec<f32> {
        let count: usize = self.shape.iter().product();
        let bits = |i: usize| hash(self.stream, i as u32) >> 8;
        let element = |i: usize| match self.kind {
            Kind::Uniform { limit, center } => (bits(i) as f32 * 2f32.powi(-23) - 1.0) * limit + center,
            Kind::Below { below, .. } => (bits(i) % below) as f32,
            Kind::OneHot { one_hot: classes } => {
                let class = i % classes;
                (bits(i - class) as usize % classes == class) as u8 as f32
            }
        };
        (0..count).map(element).collect()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> &str {
        match &self.kind {
            Kind::Below { dtype, .. } => dtype,
            Kind::Uniform { .. } | Kind::OneHot { .. } => "float32",
        }
    }

    /// Whether the elements are integers by type.
    pub fn is_int(&self) -> bool {
        self.dtype() == "int32"
    }
}

/// A bijection of 32-bit integers that scatters neighbours.
fn mix(x: u32) -> u32 {
    let x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    let x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

fn hash(stream: u32, index: u32) -> u32 {
    mix(mix(index.wrapping_add(mix(stream))) ^ stream)
}

/// A weight after training: all of its elements, or every so many with the sums of all.
#[derive(Deserialize, Clone, Debug)]
pub struct Sample {
    #[serde(default = "one")]
    pub step: usize,
    pub values: Vec<f64>,
    pub sum: Option<f64>,
    pub squares: Option<f64>,
}

fn one() -> usize {
    1
}

impl Sample {
    /// Compares a weight with the sample.
    pub fn check(&self, weight: &[f32], tolerance: f64) -> Result<(), String> {
        let sampled: Vec<f64> = weight.iter().step_by(self.step).map(|&x| x as f64).collect();
        close(&sampled, &self.values, tolerance)?;
        let sum: f64 = weight.iter().map(|&x| x as f64).sum();
        let squares: f64 = weight.iter().map(|&x| (x as f64).powi(2)).sum();
        // Rounding errors of the elements have no common sign.
        let slack = tolerance * (weight.len() as f64).sqrt();
        close(&[sum], &[self.sum.unwrap_or(sum)], slack).map_err(|e| format!("sum: {e}"))?;
        close(&[squares], &[self.squares.unwrap_or(squares)], slack).map_err(|e| format!("sum of squares: {e}"))
    }
}

/// Whether two lists agree: absolutely for numbers below 1, relatively above.
pub fn close(got: &[f64], want: &[f64], tolerance: f64) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{} numbers, Keras has {}", got.len(), want.len()));
    }
    let near = |g: f64, w: f64| (g - w).abs() <= tolerance * w.abs().max(1.0);
    match got.iter().zip(want).position(|(&g, &w)| !near(g, w)) {
        Some(i) => Err(format!("element {i} is {}, Keras has {}", got[i], want[i])),
        None => Ok(()),
    }
}

impl Fixtures {
    /// The committed cases, or those of the file named by `BAKELITE_KERAS_FIXTURES`.
    pub fn load() -> Fixtures {
        match std::env::var_os("BAKELITE_KERAS_FIXTURES") {
            Some(path) => Fixtures::read(Path::new(&path)),
            None => Fixtures::committed(),
        }
    }

    /// The committed cases: those of every table.
    pub fn committed() -> Fixtures {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"));
        let mut all = Fixtures::read(&folder.join("keras.json"));
        for table in ["keras_structures.json", "keras_operations.json", "keras_masks.json"] {
            all.cases.extend(Fixtures::read(&folder.join(table)).cases);
        }
        all
    }

    fn read(path: &Path) -> Fixtures {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// The case with a name.
    pub fn case(&self, name: &str) -> &Case {
        self.cases.iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no case `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_draw_the_same_bits() {
        let fixtures = Fixtures::load();
        assert_eq!(fixtures.draw.values(), fixtures.drawn);
        assert!(fixtures.cases.len() >= 150);
    }

    #[test]
    fn draws_of_every_kind() {
        let draw = |text: &str| serde_json::from_str::<Draw>(text).unwrap();
        let below = draw(r#"{"stream": 3, "shape": [400], "below": 10, "dtype": "int32"}"#);
        assert!(below.is_int());
        assert!((0..10).all(|n| below.values().contains(&(n as f32))));
        let one_hot = draw(r#"{"stream": 3, "shape": [40, 5], "one_hot": 5}"#).values();
        assert!(one_hot.chunks(5).all(|row| row.iter().sum::<f32>() == 1.0));
        let uniform = draw(r#"{"stream": 3, "shape": [1000], "limit": 2.0, "center": 1.0}"#).values();
        assert!(uniform.iter().all(|x| (-1.0..3.0).contains(x)));
        assert!((uniform.iter().sum::<f32>() / 1000.0 - 1.0).abs() < 0.1);
    }
}
