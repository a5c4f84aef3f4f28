//! Intersection over union, from a confusion matrix.

use serde::{Deserialize, Serialize};

use super::{Batch, Metric};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, Graph, NodeId, Op, Shape, TensorType};
use crate::model::layer::resolve_axis;
use crate::model::loss::align;
use crate::model::numbers::{at_most, fraction};
use crate::model::setters::{With, setters};

/// Keras's fuzz: keeps divisions by nothing finite.
const EPSILON: f64 = 1e-7;

/// The most classes: their confusion matrix has the square of it.
const MAX_CLASSES: usize = 1 << 13;

/// The mean over some classes of intersection over union. Targets and outputs are class numbers, or scores of classes
/// along an axis.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct IoU {
    num_classes: usize,
    target_class_ids: Vec<usize>,
    ignore_class: Option<i32>,
    sparse_y_true: bool,
    sparse_y_pred: bool,
    axis: isize,
}

impl IoU {
    pub fn new(num_classes: usize, target_class_ids: impl Into<Vec<usize>>) -> IoU {
        let target_class_ids = target_class_ids.into();
        let (sparse_y_true, sparse_y_pred) = (true, true);
        IoU { num_classes, target_class_ids, ignore_class: None, sparse_y_true, sparse_y_pred, axis: -1 }
    }

    setters! {
        /// A target that does not count.
        ignore_class: some i32;
        /// Whether targets are class numbers (as they are unless set) or scores of classes.
        sparse_y_true: bool;
        /// Whether outputs are class numbers (as they are unless set) or scores of classes.
        sparse_y_pred: bool;
        /// The axis of the classes of scores, the last one unless set.
        axis: isize;
    }

    /// The shape of class numbers for a tensor.
    fn positions(&self, ty: &TensorType, sparse: bool) -> Result<Shape, Problem> {
        let mut shape = ty.shape.clone();
        if !sparse {
            let axis = resolve_axis("IoU", self.axis, &shape)?;
            if axis == 0 || shape[axis] != Dim::fixed(self.num_classes) {
                let message =
                    format!("IoU of {} classes takes as many scores on axis {}, got {ty}", self.num_classes, self.axis);
                return Err(Problem::new(Code::Loss, message));
            }
            shape.0.remove(axis);
        }
        Ok(shape)
    }

    fn iou(&self) -> &IoU {
        self
    }

    fn fits(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        if self.num_classes == 0 {
            return Err(Problem::value("IoU with num_classes 0: must be at least 1"));
        }
        at_most("IoU", "num_classes", self.num_classes, MAX_CLASSES)?;
        if self.target_class_ids.is_empty() {
            return Err(Problem::value("IoU without target_class_ids"));
        }
        if let Some(id) = self.target_class_ids.iter().find(|id| **id >= self.num_classes) {
            return Err(Problem::value(format!("IoU of class {id}, there are {} classes", self.num_classes)));
        }
        let (t, y) = (self.positions(target, self.sparse_y_true)?, self.positions(output, self.sparse_y_pred)?);
        match t.elements() == y.elements() && y.elements().is_some() {
            true => Ok(()),
            false => Err(Problem::new(Code::Loss, format!("IoU cannot compare {target} with {output}"))),
        }
    }

    /// Class numbers along one axis.
    fn classes(&self, g: &mut Graph, x: NodeId, sparse: bool) -> NodeId {
        let classes = match sparse {
            true => g.cast(x, DType::I32),
            false => {
                let axis = resolve_axis("IoU", self.axis, &g.ty(x).shape).unwrap_or(0);
                g.argmax(x, axis)
            }
        };
        let flat = Shape(g.ty(classes).shape.elements().into_iter().collect());
        g.reshape(classes, flat)
    }

    fn matrix(&self, g: &mut Graph, batch: &Batch) -> NodeId {
        let positions = self.positions(g.ty(batch.output), self.sparse_y_pred).unwrap_or_default();
        let t = self.classes(g, batch.target, self.sparse_y_true);
        let y = self.classes(g, batch.output, self.sparse_y_pred);
        let n = self.num_classes;
        let inside = |g: &mut Graph, x| {
            let (low, high) = (g.lit_like(x, 0.0), g.lit_like(x, n as f64));
            let (above, below) = (g.ge(x, low), g.lt(x, high));
            g.and(above, below)
        };
        let (t_known, y_known) = (inside(g, t), inside(g, y));
        let mut known = g.and(t_known, y_known);
        if let Some(ignored) = self.ignore_class {
            let ignored = g.lit_like(t, ignored as f64);
            let other = g.ne(t, ignored);
            known = g.and(known, other);
        }
        let row = g.mul_s(t, n as f64);
        let cell = g.add(row, y);
        let outside = g.lit_like(cell, -1.0);
        let cell = g.select(known, cell, outside);
        let ty = TensorType::new(DType::F32, g.ty(cell).shape.clone());
        let count = match batch.by.weight {
            None => g.splat_of(1.0, ty),
            // Keras counts in integers.
            Some(weight) => {
                let weight = align(g, weight, &positions);
                let weight = g.reshape(weight, ty.shape);
                g.trunc(weight)
            }
        };
        let matrix = g.push(Op::ScatterAdd { axis: 0, batch: 0, shape: Shape::fixed(&[n * n]) }, &[cell, count]);
        g.reshape(matrix, Shape::fixed(&[n, n]))
    }

    fn mean(&self, g: &mut Graph, matrix: NodeId) -> NodeId {
        let shape = g.ty(matrix).shape.clone();
        let diagonal = crate::model::regularizer::diagonal(g, &shape);
        let zero = g.lit_like(matrix, 0.0);
        let hits = g.select(diagonal, matrix, zero);
        let hits = g.sum(hits, &[1]);
        let (rows, columns) = (g.sum(matrix, &[0]), g.sum(matrix, &[1]));
        let both = g.add(rows, columns);
        let union = g.sub(both, hits);
        let (hits, union) = (self.chosen(g, hits), self.chosen(g, union));
        let tiny = g.lit_like(union, 1e-9);
        let present = g.gt(union, tiny);
        let divisor = g.add_s(union, EPSILON);
        let share = g.div(hits, divisor);
        let zero = g.lit_like(share, 0.0);
        let share = g.select(present, share, zero);
        let present = g.cast(present, DType::F32);
        let (sum, classes) = (g.sum(share, &[0]), g.sum(present, &[0]));
        let classes = g.add_s(classes, EPSILON);
        g.div(sum, classes)
    }

    /// The elements of the classes that count.
    fn chosen(&self, g: &mut Graph, x: NodeId) -> NodeId {
        let ids = TensorType::new(DType::I32, Shape::fixed(&[self.target_class_ids.len()]));
        let ids = g.dense(ids, self.target_class_ids.iter().map(|&id| id as f64));
        g.push(Op::Gather { axis: 0, batch: 0 }, &[x, ids])
    }
}

impl Default for IoU {
    fn default() -> IoU {
        IoU::new(0, [])
    }
}

/// Metrics that are an [`IoU`] of some arguments.
macro_rules! metrics {
    ($($name:ident $snake:literal;)+) => { $(
        impl Metric for $name {
            fn name(&self) -> String {
                $snake.to_string()
            }

            fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
                self.iou().fits(target, output)
            }

            fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
                vec![("total_confusion_matrix", self.iou().matrix(g, batch))]
            }

            fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
                self.iou().mean(g, sums[0])
            }
        }
    )+ };
}

metrics! {
    IoU "io_u";
    MeanIoU "mean_io_u";
    OneHotIoU "one_hot_io_u";
    OneHotMeanIoU "one_hot_mean_io_u";
}

/// Structs with some of the arguments of [`IoU`].
macro_rules! variants {
    ($($(#[doc = $doc:literal])+ $name:ident ($($arg:ident: $ty:ty = $given:ty),+) {
        $($(#[doc = $about:literal])+ $field:ident: $field_ty:ty = $default:expr,)+
    } |$this:ident| $iou:expr;)+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($arg: $ty,)+
            ignore_class: Option<i32>,
            $($field: $field_ty,)+
        }

        impl $name {
            #[allow(clippy::useless_conversion, reason = "some arguments have the type of their field")]
            pub fn new($($arg: $given),+) -> $name {
                $name { $($arg: $arg.into(),)+ ignore_class: None, $($field: $default,)+ }
            }

            /// A target that does not count.
            pub fn ignore_class(mut self, class: i32) -> $name {
                self.ignore_class = Some(class);
                self
            }

            $(
                $(#[doc = $about])+
                pub fn $field(mut self, $field: $field_ty) -> $name {
                    self.$field = $field;
                    self
                }
            )+

            fn iou(&self) -> IoU {
                let $this = self;
                $iou
            }
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($arg: <$ty>::default(),)+ ignore_class: None, $($field: $default,)+ }
            }
        }
    )+ };
}

variants! {
    /// [`IoU`] of every class.
    MeanIoU(num_classes: usize = usize) {
        /// Whether targets are class numbers (as they are unless set) or scores of classes.
        sparse_y_true: bool = true,
        /// Whether outputs are class numbers (as they are unless set) or scores of classes.
        sparse_y_pred: bool = true,
        /// The axis of the classes of scores, the last one unless set.
        axis: isize = -1,
    } |this| IoU {
        // More than there may be are refused before anybody looks at them.
        target_class_ids: Vec::from_iter(0..this.num_classes.min(MAX_CLASSES)),
        num_classes: this.num_classes,
        ignore_class: this.ignore_class,
        sparse_y_true: this.sparse_y_true,
        sparse_y_pred: this.sparse_y_pred,
        axis: this.axis,
    };
    /// [`IoU`] of one-hot targets and scores of classes.
    OneHotIoU(num_classes: usize = usize, target_class_ids: Vec<usize> = impl Into<Vec<usize>>) {
        /// Whether outputs are class numbers or (as they are unless set) scores of classes.
        sparse_y_pred: bool = false,
        /// The axis of the classes of scores, the last one unless set.
        axis: isize = -1,
    } |this| IoU {
        target_class_ids: this.target_class_ids.clone(),
        num_classes: this.num_classes,
        ignore_class: this.ignore_class,
        sparse_y_true: false,
        sparse_y_pred: this.sparse_y_pred,
        axis: this.axis,
    };
    /// [`MeanIoU`] of one-hot targets and scores of classes.
    OneHotMeanIoU(num_classes: usize = usize) {
        /// Whether outputs are class numbers or (as they are unless set) scores of classes.
        sparse_y_pred: bool = false,
        /// The axis of the classes of scores, the last one unless set.
        axis: isize = -1,
    } |this| IoU {
        // More than there may be are refused before anybody looks at them.
        target_class_ids: Vec::from_iter(0..this.num_classes.min(MAX_CLASSES)),
        num_classes: this.num_classes,
        ignore_class: this.ignore_class,
        sparse_y_true: false,
        sparse_y_pred: this.sparse_y_pred,
        axis: this.axis,
    };
}

/// [`IoU`] of two classes, told apart by a threshold.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BinaryIoU {
    target_class_ids: Vec<usize>,
    threshold: f64,
}

impl BinaryIoU {
    pub fn new() -> BinaryIoU {
        BinaryIoU::default()
    }

    setters! {
        /// The classes that count, both unless set.
        target_class_ids: into Vec<usize>;
        /// Outputs of at least this are class 1; 0.5 unless set.
        threshold: f64;
    }

    fn iou(&self) -> IoU {
        IoU::new(2, self.target_class_ids.clone())
    }
}

impl Default for BinaryIoU {
    fn default() -> BinaryIoU {
        BinaryIoU { target_class_ids: vec![0, 1], threshold: 0.5 }
    }
}

impl Metric for BinaryIoU {
    fn name(&self) -> String {
        "binary_io_u".to_string()
    }

    fn check(&self, target: &TensorType, output: &TensorType) -> Result<(), Problem> {
        fraction("BinaryIoU", "threshold", self.threshold)?;
        self.iou().fits(target, output)
    }

    fn tally(&self, g: &mut Graph, batch: &Batch) -> Vec<(&'static str, NodeId)> {
        let threshold = g.lit_like(batch.output, self.threshold);
        let yes = g.ge(batch.output, threshold);
        let output = g.cast(yes, DType::I32);
        vec![("total_confusion_matrix", self.iou().matrix(g, &Batch { output, ..*batch }))]
    }

    fn result(&self, g: &mut Graph, sums: &[NodeId]) -> NodeId {
        self.iou().mean(g, sums[0])
    }
}
