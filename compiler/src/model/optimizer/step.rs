//! One step of an optimizer over some parameters, in Keras's order: gradients are accumulated and clipped, weights
//! decay, the rule changes them, averages follow, constraints are met.

use super::{LossScale, Optimizer, Options, Parameter, StepCx, Update};
use crate::grad;
use crate::ir::graph::Assign;
use crate::ir::{DType, Graph, NodeId, ReduceFn, Site, SourceLine, StorageId, TensorType};
use crate::model::schedule::LearningRate;
use crate::model::store::Store;

/// The name of the slot for moving averages of weights.
pub(super) const AVERAGE: &str = "average";

/// Whose step it is.
pub(crate) struct Step<'a> {
    pub optimizer: &'a dyn Optimizer,
    /// The path of its cells.
    pub prefix: &'a str,
    pub params: &'a [StorageId],
    pub source: &'a SourceLine,
}

/// A parameter in its step.
struct Stepped {
    id: StorageId,
    name: String,
    old: NodeId,
    new: NodeId,
    /// Nothing where the loss does not depend on it: such a parameter stays as it is.
    gradient: Option<NodeId>,
}

/// When gradients are accumulated: whether this step updates, and how many gradients an update is made of.
#[derive(Clone, Copy)]
struct Accumulation {
    due: NodeId,
    steps: u32,
}

impl Step<'_> {
    /// Adds the step down the gradients of a loss, which is scaled first where the optimizer says so.
    pub fn add(&self, g: &mut Graph, store: &mut Store, loss: NodeId) -> Result<(), grad::GradError> {
        let weights: Vec<NodeId> = self.params.iter().map(|&id| store.read(g, id)).collect();
        let Some(LossScale { initial, growth_steps }) = self.optimizer.loss_scale() else {
            let gradients = grad::gradients(g, loss, &weights)?;
            self.apply(g, store, &weights, &gradients);
            return Ok(());
        };
        let cell = |name: &str| format!("{}/{name}", self.prefix);
        let steps_cell = store.training(&cell("step_counter"), TensorType::scalar(DType::U32), 0.0);
        let scale_cell = store.training(&cell("dynamic_scale"), TensorType::scalar(DType::F32), initial);
        self.enter(g, None);
        let (steps, scale) = (store.read(g, steps_cell), store.read(g, scale_cell));
        let scaled = g.mul(loss, scale);
        let scaled = grad::gradients(g, scaled, &weights)?;
        self.enter(g, None);
        let finite = finite(g, &scaled);
        let unscaled = |g: &mut Graph, gradient: NodeId| match g.splat(gradient) {
            Some(0.0) => gradient,
            _ => {
                let scale = g.broadcast_like(scale, gradient);
                g.div(gradient, scale)
            }
        };
        let gradients: Vec<NodeId> = scaled.into_iter().map(|gradient| unscaled(g, gradient)).collect();
        let before = g.assigns.len();
        self.apply(g, store, &weights, &gradients);
        self.enter(g, None);
        // A step down gradients that are not finite is none.
        for at in before..g.assigns.len() {
            let Assign { target, node } = g.assigns[at];
            let old = store.read(g, target);
            g.assigns[at].node = choose(g, finite, node, old);
        }
        let last = g.lit_like(steps, f64::from(growth_steps - 1));
        let grows = g.eq(steps, last);
        let none = g.lit_like(steps, 0.0);
        let next = g.add_s(steps, 1.0);
        let counted = g.select(grows, none, next);
        let counted = g.select(finite, counted, none);
        let (doubled, halved) = (g.mul_s(scale, 2.0), g.mul_s(scale, 0.5));
        let grown = g.select(grows, doubled, scale);
        let changed = g.select(finite, grown, halved);
        g.assign(steps_cell, counted);
        g.assign(scale_cell, changed);
        Ok(())
    }

    /// Adds the step down some gradients.
    fn apply(&self, g: &mut Graph, store: &mut Store, weights: &[NodeId], gradients: &[NodeId]) {
        let Step { optimizer, params, .. } = self;
        let options = optimizer.options();
        let scalar = TensorType::scalar;
        let iterations = store.training(&format!("{}/iterations", self.prefix), scalar(DType::U32), 0.0);
        let rate = match optimizer.learning_rate() {
            LearningRate::Constant(rate) => {
                Some(store.training(&format!("{}/learning_rate", self.prefix), scalar(DType::F32), *rate))
            }
            LearningRate::Schedule(_) => None,
        };
        self.enter(g, None);
        let count = store.read(g, iterations);
        let next = g.add_s(count, 1.0);
        let rate = match (rate, optimizer.learning_rate()) {
            (None, LearningRate::Schedule(schedule)) => {
                let step = g.cast(count, DType::F32);
                schedule.at(g, step)
            }
            (Some(cell), _) => store.read(g, cell),
            (None, LearningRate::Constant(rate)) => g.scalar(DType::F32, *rate),
        };
        let accumulation = options.gradient_accumulation_steps.map(|steps| {
            let steps_node = g.lit_like(next, steps as f64);
            let left = g.rem(next, steps_node);
            let none = g.lit_like(left, 0.0);
            Accumulation { due: g.eq(left, none), steps }
        });
        let updates = match accumulation {
            None => count,
            Some(Accumulation { steps, .. }) => {
                let steps = g.lit_like(count, steps as f64);
                g.div(count, steps)
            }
        };
        let mut list: Vec<Stepped> = params
            .iter()
            .zip(weights.iter().zip(gradients))
            .map(|(&id, (&old, &gradient))| Stepped {
                id,
                name: store.cell(id).name.clone(),
                old,
                new: old,
                gradient: (g.splat(gradient) != Some(0.0)).then_some(gradient),
            })
            .collect();
        store.trained.extend(list.iter().filter(|p| p.gradient.is_some()).map(|p| p.id));
        if let Some(accumulation) = accumulation {
            self.accumulate(g, store, &mut list, accumulation);
        }
        clip(g, options, &mut list);
        self.update(g, store, &mut list, rate, updates, accumulation);
        if options.use_ema {
            self.average(g, store, &mut list, updates);
        }
        for p in &list {
            let constraint = store.declaration(p.id).and_then(|w| w.constraint.as_ref());
            let new = match constraint {
                Some(constraint) if p.gradient.is_some() => {
                    self.enter(g, Some(p));
                    constraint.apply(g, p.new)
                }
                _ => p.new,
            };
            if new != p.old {
                g.assign(p.id, new);
            }
        }
        g.assign(iterations, next);
    }

    /// New nodes belong to the optimizer's work on a parameter, or on all.
    fn enter(&self, g: &mut Graph, p: Option<&Stepped>) {
        let path = p.map_or(self.prefix.to_string(), |p| self.slot(p, "").trim_end_matches('/').to_string());
        let site = g.site_id(&Site { path, source: Some(self.source.clone()), derived: Vec::new() });
        g.set_site(site);
    }

    /// The name of a cell for a parameter.
    fn slot(&self, p: &Stepped, name: &str) -> String {
        format!("{}/{}/{name}", self.prefix, p.name)
    }

    /// Replaces gradients by their mean over the steps of an update.
    fn accumulate(&self, g: &mut Graph, store: &mut Store, list: &mut [Stepped], by: Accumulation) {
        for p in list {
            self.enter(g, Some(p));
            let Some(gradient) = p.gradient else { continue };
            let ty = g.ty(gradient).clone();
            let cell = store.training(&self.slot(p, "gradient_accumulator"), ty, 0.0);
            let old = store.read(g, cell);
            let sum = g.add(gradient, old);
            let zero = g.lit_like(sum, 0.0);
            let new = choose(g, by.due, zero, sum);
            g.assign(cell, new);
            p.gradient = Some(g.mul_s(sum, 1.0 / by.steps as f64));
        }
    }

    /// The rule itself, and weight decay before it.
    fn update(
        &self,
        g: &mut Graph,
        store: &mut Store,
        list: &mut [Stepped],
        rate: NodeId,
        updates: NodeId,
        accumulation: Option<Accumulation>,
    ) {
        let optimizer = self.optimizer;
        let cells: Vec<StorageId> = optimizer
            .scalars()
            .into_iter()
            .map(|(name, start)| {
                store.training(&format!("{}/{name}", self.prefix), TensorType::scalar(DType::F32), start)
            })
            .collect();
        let due = |g: &mut Graph, new: NodeId, old: NodeId| match accumulation {
            Some(by) => choose(g, by.due, new, old),
            None => new,
        };
        let old: Vec<NodeId> = cells.iter().map(|&cell| store.read(g, cell)).collect();
        self.enter(g, None);
        let scalars = optimizer.begin(&mut StepCx::new(g, rate, updates), &old);
        for ((&cell, &new), old) in cells.iter().zip(&scalars).zip(old) {
            let new = due(g, new, old);
            g.assign(cell, new);
        }
        for p in list {
            let ty = g.ty(p.old).clone();
            let parameter = Parameter { name: &p.name, ty: &ty };
            let slots: Vec<StorageId> = optimizer
                .slots(&parameter)
                .into_iter()
                .map(|slot| {
                    let ty = TensorType::new(ty.dtype, slot.shape.unwrap_or_else(|| ty.shape.clone()));
                    store.training(&self.slot(p, slot.name), ty, slot.start)
                })
                .collect();
            let Some(gradient) = p.gradient else { continue };
            self.enter(g, Some(p));
            let mut weight = p.old;
            if let Some(decay) = optimizer.decay(&parameter) {
                let share = g.mul_s(rate, decay);
                let share = g.broadcast_like(share, weight);
                let lost = g.mul(weight, share);
                weight = g.sub(weight, lost);
            }
            let old: Vec<NodeId> = slots.iter().map(|&slot| store.read(g, slot)).collect();
            let mut cx = StepCx::new(g, rate, updates);
            cx.scalars.clone_from(&scalars);
            cx.stored = Some(p.old);
            let Update { weight, slots: new } = optimizer.update(&mut cx, weight, gradient, &old);
            p.new = due(g, weight, p.old);
            for ((slot, new), old) in slots.into_iter().zip(new).zip(old) {
                let new = due(g, new, old);
                g.assign(slot, new);
            }
        }
    }

    /// Moving averages of the weights, which replace them now and then.
    fn average(&self, g: &mut Graph, store: &mut Store, list: &mut [Stepped], updates: NodeId) {
        let options = self.optimizer.options();
        self.enter(g, None);
        // The first average is the weight.
        let none = g.lit_like(updates, 0.0);
        let begun = g.ne(updates, none);
        let begun = g.cast(begun, DType::F32);
        let keep = g.mul_s(begun, options.ema_momentum);
        let overwrite = options.ema_overwrite_frequency.map(|frequency| {
            let next = g.add_s(updates, 1.0);
            let frequency = g.lit_like(next, frequency as f64);
            let left = g.rem(next, frequency);
            let none = g.lit_like(left, 0.0);
            g.eq(left, none)
        });
        for p in list {
            self.enter(g, Some(p));
            let cell = store.training(&self.slot(p, AVERAGE), g.ty(p.old).clone(), 0.0);
            let old = store.read(g, cell);
            let keep = g.broadcast_like(keep, old);
            let kept = g.mul(keep, old);
            let rest = g.s_sub(1.0, keep);
            let added = g.mul(rest, p.new);
            let average = g.add(kept, added);
            g.assign(cell, average);
            if let Some(overwrite) = overwrite {
                p.new = choose(g, overwrite, average, p.new);
            }
        }
    }
}

/// The entry point that replaces weights by their moving averages, if the optimizer keeps them.
pub(crate) fn finalize(name: &str, optimizer: &dyn Optimizer, prefix: &str, store: &Store) -> Option<Graph> {
    if !optimizer.options().use_ema {
        return None;
    }
    let mut g = Graph::new(name);
    for id in store.trainable() {
        let average = store.named(&format!("{prefix}/{}/{AVERAGE}", store.cell(id).name))?;
        let average = store.read(&mut g, average);
        g.assign(id, average);
    }
    Some(g)
}

/// Scales down gradients that are too large.
fn clip(g: &mut Graph, options: &Options, list: &mut [Stepped]) {
    let positive = |limit: Option<f64>| limit.filter(|limit| *limit > 0.0);
    let gradients = list.iter_mut().filter_map(|p| p.gradient.as_mut());
    if let Some(limit) = positive(options.clipnorm) {
        for gradient in gradients {
            let norm = norm(g, &[*gradient]);
            let divisor = g.max_s(norm, limit);
            let scaled = g.mul_s(*gradient, limit);
            let divisor = g.broadcast_like(divisor, scaled);
            *gradient = g.div(scaled, divisor);
        }
    } else if let Some(limit) = positive(options.global_clipnorm) {
        let gradients: Vec<&mut NodeId> = gradients.collect();
        let all: Vec<NodeId> = gradients.iter().map(|gradient| **gradient).collect();
        if all.is_empty() {
            return;
        }
        let norm = norm(g, &all);
        let own = g.recip(norm);
        let scale = g.min_s(own, 1.0 / limit);
        let scale = g.mul_s(scale, limit);
        // A norm that is no number makes every gradient none.
        let nothing = g.sub(norm, norm);
        let scale = g.add(scale, nothing);
        for gradient in gradients {
            let scale = g.broadcast_like(scale, *gradient);
            *gradient = g.mul(*gradient, scale);
        }
    } else if let Some(limit) = positive(options.clipvalue) {
        for gradient in gradients {
            let clipped = g.max_s(*gradient, -limit);
            *gradient = g.min_s(clipped, limit);
        }
    }
}

/// Whether all elements of some tensors are finite, a scalar.
fn finite(g: &mut Graph, list: &[NodeId]) -> NodeId {
    let each: Vec<NodeId> = list
        .iter()
        .map(|&x| {
            let size = g.abs(x);
            let largest = g.lit_like(size, f64::from(f32::MAX));
            let finite = g.le(size, largest);
            let finite = g.cast(finite, DType::F32);
            let axes: Vec<usize> = (0..g.ty(finite).shape.rank()).collect();
            g.reduce(ReduceFn::Min, finite, &axes)
        })
        .collect();
    let all = each.into_iter().reduce(|a, b| g.min(a, b)).unwrap_or_else(|| g.scalar(DType::F32, 1.0));
    let zero = g.lit_like(all, 0.0);
    g.gt(all, zero)
}

/// The norm of all elements of some tensors.
fn norm(g: &mut Graph, list: &[NodeId]) -> NodeId {
    let squares: Vec<NodeId> = list
        .iter()
        .map(|&x| {
            let square = g.square(x);
            let axes: Vec<usize> = (0..g.ty(square).shape.rank()).collect();
            g.reduce(ReduceFn::Sum, square, &axes)
        })
        .collect();
    let sum = squares.into_iter().reduce(|a, b| g.add(a, b)).unwrap_or_else(|| g.scalar(DType::F32, 0.0));
    g.sqrt(sum)
}

/// `condition ? a : b` for a scalar condition.
fn choose(g: &mut Graph, condition: NodeId, a: NodeId, b: NodeId) -> NodeId {
    let shape = g.ty(a).shape.clone();
    let condition = g.broadcast_to(condition, &shape);
    g.select(condition, a, b)
}
