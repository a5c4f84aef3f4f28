//! The layers of a model as a table: Keras's summary, with the work of each layer.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::diagram::{Diagram, flops, shape_text};
use super::mistake::at;
use super::progress::Progress;
use super::source::{Described, Purpose, Shapes, Source};
use crate::diag::Diagnostics;
use crate::ir::{Module, Storage, StorageKind};
use crate::model::Lowered;

/// One layer.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub name: String,
    pub class: String,
    /// The shapes of its results, as Keras writes them.
    pub shapes: String,
    pub parameters: usize,
    /// Floating-point operations for one sample, as the layer is described.
    pub flops: f64,
    /// The results of others that it takes: `name[application][result]`.
    pub connected: Vec<String>,
}

/// A number of elements and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Size {
    pub count: usize,
    pub bytes: usize,
}

impl std::iter::Sum for Size {
    fn sum<I: Iterator<Item = Size>>(sizes: I) -> Size {
        sizes.fold(Size::default(), |a, b| Size { count: a.count + b.count, bytes: a.bytes + b.bytes })
    }
}

/// What is known of a model without compiling it.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    pub model: String,
    pub rows: Vec<Row>,
    /// Whether every layer takes what the one before it gives.
    pub chain: bool,
    pub trainable: Size,
    pub frozen: Size,
    /// What the optimizer keeps; none for a model that is not compiled.
    pub optimizer: Option<Size>,
    /// Floating-point operations of the prediction for one sample, and of its part of a training step, before the
    /// compiler has left out or repeated any.
    pub predict_flops: Option<f64>,
    pub train_flops: Option<f64>,
    /// Bytes of the results of all layers for one sample.
    pub activation_bytes: usize,
    /// Why it cannot be trained, where its file asks for it.
    pub untrained: Vec<String>,
}

/// Reads a model and sums it up.
pub fn summary(model: &Path, shapes: &Shapes, progress: Progress) -> Result<Summary, Diagnostics> {
    let source = Source::open(model)?;
    let described = source.describe(shapes, None, Purpose::Run)?;
    let Lowered { module, warnings } = described.lowered().map_err(|d| at(model, d))?;
    progress.warn(model, warnings);
    Ok(Summary::new(&source, &described, &module))
}

impl Summary {
    /// Sums up a model that has been lowered.
    pub fn new(source: &Source, described: &Described, module: &Module) -> Summary {
        let diagram = source.diagram(described);
        let work = module.entry("predict").map(|graph| per_sample(&flops(graph, 1), &flops(graph, 2)));
        let train = module.entry("train_step").map(|graph| per_sample(&flops(graph, 1), &flops(graph, 2)));
        let total = |work: &BTreeMap<String, f64>| work.values().sum();
        let cells = |pick: &dyn Fn(&Storage) -> bool| module.storage.iter().filter(|c| pick(c)).map(size).sum();
        let weight = |cell: &Storage| cell.kind != StorageKind::Training;
        let optimizer: Size = cells(&|cell| !weight(cell) && cell.name.starts_with("optimizer/"));
        let rows = rows(&diagram, module, work.as_ref().unwrap_or(&BTreeMap::new()), source.is_sequential());
        let results = diagram.blocks.iter().filter(|block| !block.is_input()).flat_map(|block| &block.results);
        Summary {
            model: module.name.clone(),
            chain: diagram.is_chain(),
            trainable: cells(&|cell| weight(cell) && cell.trainable),
            frozen: cells(&|cell| weight(cell) && !cell.trainable),
            optimizer: module.entry("train_step").map(|_| optimizer),
            predict_flops: work.as_ref().map(total),
            train_flops: train.as_ref().map(total),
            activation_bytes: results.map(|ty| ty.shape.count(1) * ty.dtype.size()).sum(),
            untrained: described.untrained(),
            rows,
        }
    }
}

fn size(cell: &Storage) -> Size {
    Size { count: cell.ty.shape.count(1), bytes: cell.ty.bytes(1) }
}

/// The work that grows with the batch, of one sample. All work is affine in the batch, as extents are and no shape has two
/// that depend on it, so that two batches tell it exactly.
fn per_sample(one: &BTreeMap<String, f64>, two: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    two.iter().map(|(layer, two)| (layer.clone(), two - one.get(layer).copied().unwrap_or_default())).collect()
}

/// One row for each layer, however often it is applied.
fn rows(diagram: &Diagram, module: &Module, work: &BTreeMap<String, f64>, sequential: bool) -> Vec<Row> {
    let mut rows: Vec<(u64, Row)> = Vec::new();
    // The number of each application of its layer.
    let application: Vec<usize> = diagram
        .blocks
        .iter()
        .enumerate()
        .map(|(i, block)| diagram.blocks[..i].iter().filter(|b| b.layer == block.layer).count())
        .collect();
    for (i, block) in diagram.blocks.iter().enumerate() {
        if block.is_input() && sequential {
            continue;
        }
        let taken = diagram.wires.iter().filter(|wire| wire.to == i);
        let connected = taken.map(|wire| {
            let from = &diagram.blocks[wire.from];
            format!("{}[{}][{}]", from.name, application[wire.from], wire.result)
        });
        if let Some((_, row)) = rows.iter_mut().find(|(layer, _)| *layer == block.layer) {
            row.connected.extend(connected);
            continue;
        }
        let shapes: Vec<String> = block.results.iter().map(shape_text).collect();
        let prefix = format!("{}/", block.name);
        // Saved graphs have no sites of cells.
        let place = |cell: &Storage| match cell.site.path.as_str() {
            "" => cell.name.clone(),
            path => format!("{path}/"),
        };
        let owned = |cell: &&Storage| cell.kind != StorageKind::Training && place(cell).starts_with(&prefix);
        let row = Row {
            name: block.name.clone(),
            class: block.class.clone(),
            shapes: if shapes.len() == 1 { shapes.concat() } else { format!("[{}]", shapes.join(", ")) },
            parameters: module.storage.iter().filter(owned).map(|cell| size(cell).count).sum(),
            flops: work.get(&block.name).copied().unwrap_or_default(),
            connected: connected.collect(),
        };
        rows.push((block.layer, row));
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Digits in groups of three: `1,234,567`.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let groups: Vec<String> =
        Some(digits[..first].to_string()).filter(|g| !g.is_empty()).into_iter().chain(groups).collect();
    groups.join(",")
}

/// Bytes as Keras writes them: `1.50 KB`.
pub fn readable(bytes: usize) -> String {
    let units = ["B", "KB", "MB", "GB", "TB", "PB"];
    let power = (0..units.len() - 1).find(|power| bytes < 1024usize.pow(*power as u32 + 1)).unwrap_or(units.len() - 1);
    format!("{:.2} {}", bytes as f64 / 1024f64.powi(power as i32), units[power])
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Model: \"{}\"", self.model)?;
        let mut header = vec!["Layer (type)", "Output Shape", "Param #", "Flops"];
        if !self.chain {
            header.push("Connected to");
        }
        let row = |row: &Row| {
            let mut cells = vec![
                format!("{} ({})", row.name, row.class),
                row.shapes.clone(),
                grouped(row.parameters),
                grouped(row.flops.round() as usize),
            ];
            if !self.chain {
                cells.push(if row.connected.is_empty() { "-".to_string() } else { row.connected.join(", ") });
            }
            cells
        };
        let rows: Vec<Vec<String>> = self.rows.iter().map(row).collect();
        table(f, &header, &rows, &[2, 3])?;
        let total: Size = [self.trainable, self.frozen].into_iter().chain(self.optimizer).sum();
        let size = |size: Size| format!("{} ({})", grouped(size.count), readable(size.bytes));
        writeln!(f, " Total params: {}", size(total))?;
        writeln!(f, " Trainable params: {}", size(self.trainable))?;
        writeln!(f, " Non-trainable params: {}", size(self.frozen))?;
        if let Some(optimizer) = self.optimizer {
            writeln!(f, " Optimizer params: {}", size(optimizer))?;
        }
        if let Some(flops) = self.predict_flops {
            write!(f, " Flops a sample: {} to predict", grouped(flops.round() as usize))?;
            match self.train_flops {
                Some(flops) => writeln!(f, ", {} to train", grouped(flops.round() as usize))?,
                None => writeln!(f)?,
            }
        }
        writeln!(f, " Layer outputs a sample: {}", readable(self.activation_bytes))?;
        self.untrained.iter().try_for_each(|why| writeln!(f, " It cannot be trained: {why}"))
    }
}

/// The widest that the last column gets before it is broken into lines.
const LAST_COLUMN: usize = 48;

/// A table with Keras's box drawing. Some columns are aligned to the right.
fn table(f: &mut fmt::Formatter<'_>, header: &[&str], rows: &[Vec<String>], right: &[usize]) -> fmt::Result {
    let rows: Vec<Vec<Vec<String>>> =
        rows.iter().map(|row| row.iter().map(|cell| broken(cell, LAST_COLUMN)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().flat_map(|row| &row[column]).map(|line| line.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let rule = |fill: &str, [left, middle, end]: [&str; 3]| {
        let parts: Vec<String> = widths.iter().map(|width| fill.repeat(width + 2)).collect();
        format!("{left}{}{end}", parts.join(middle))
    };
    let line = |cells: &[&str], bar: &str| {
        let aligned = cells.iter().enumerate().map(|(i, cell)| {
            let space = " ".repeat(widths[i] - cell.chars().count());
            if right.contains(&i) { format!(" {space}{cell} ") } else { format!(" {cell}{space} ") }
        });
        format!("{bar}{}{bar}", aligned.collect::<Vec<_>>().join(bar))
    };
    writeln!(f, "{}", rule("━", ["┏", "┳", "┓"]))?;
    writeln!(f, "{}", line(header, "┃"))?;
    writeln!(f, "{}", rule("━", ["┡", "╇", "┩"]))?;
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            writeln!(f, "{}", rule("─", ["├", "┼", "┤"]))?;
        }
        let height = row.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..height {
            let cells: Vec<&str> = row.iter().map(|cell| cell.get(at).map_or("", String::as_str)).collect();
            writeln!(f, "{}", line(&cells, "│"))?;
        }
    }
    writeln!(f, "{}", rule("─", ["└", "┴", "┘"]))
}

/// A text in lines, broken after commas where it is long.
fn broken(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for part in text.split_inclusive(", ") {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if last == 0 || last + part.trim_end().chars().count() <= most => line.push_str(part),
            _ => lines.push(part.to_string()),
        }
    }
    lines.iter().map(|line| line.trim_end().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_keras_does() {
        let groups: Vec<String> = [0, 7, 999, 1000, 12_345, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(groups, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        let sizes: Vec<String> = [0, 120, 1023, 1024, 1536, 5 << 20].into_iter().map(readable).collect();
        assert_eq!(sizes, ["0.00 B", "120.00 B", "1023.00 B", "1.00 KB", "1.50 KB", "5.00 MB"]);
    }

    #[test]
    fn long_cells_are_broken_after_commas() {
        assert_eq!(broken("aaa, bbb, ccc", 9), ["aaa, bbb,", "ccc"].map(String::from));
        assert_eq!(broken("aaaaaaaaaaaa", 8), ["aaaaaaaaaaaa"].map(String::from));
        assert_eq!(broken("", 8), [""].map(String::from));
    }
}
