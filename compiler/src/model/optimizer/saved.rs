//! The state of an optimizer in the order in which Keras numbers it.

use super::step::AVERAGE;
use super::{Optimizer, Parameter, Slot};
use crate::ir::{DType, Shape, TensorType};
use crate::model::lower::OPTIMIZER;
use crate::model::saved::Variable;
use crate::model::schedule::LearningRate;

/// A variable of Keras's optimizer.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Kept {
    pub ty: TensorType,
    pub role: Role,
}

/// What a variable of an optimizer is here.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Role {
    /// The cell with this name; where the model has none, nothing was ever added to it and Keras has this value.
    Cell(String, f64),
    /// A scalar of the rule, which versions of Keras keep at different places.
    Scalar(String, f64),
    /// Keras has an integer that means nothing.
    Placeholder,
}

/// The variables of an optimizer over some parameters, in Keras's order.
pub(crate) fn state(optimizer: &dyn Optimizer, params: &[&Variable]) -> Vec<Kept> {
    let options = optimizer.options();
    let scalar = |dtype, name: &str, start| Kept {
        ty: TensorType::scalar(dtype),
        role: Role::Cell(format!("{OPTIMIZER}/{name}"), start),
    };
    let mut list = Vec::new();
    if optimizer.loss_scale().is_some() {
        // Keras has a number of steps and a learning rate for the outer optimizer too, which mean nothing.
        list.push(Kept { ty: TensorType::scalar(DType::I32), role: Role::Placeholder });
        list.push(scalar(DType::F32, "outer_learning_rate", 0.0));
        list.push(scalar(DType::U32, "step_counter", 0.0));
        let initial = optimizer.loss_scale().map_or(0.0, |scale| scale.initial);
        list.push(scalar(DType::F32, "dynamic_scale", initial));
    }
    list.push(scalar(DType::U32, "iterations", 0.0));
    if let LearningRate::Constant(rate) = optimizer.learning_rate() {
        list.push(scalar(DType::F32, "learning_rate", *rate));
    }
    let of = |param: &Variable, name: &str, shape: Option<Shape>, start| {
        let shape = shape.unwrap_or_else(|| param.ty.shape.clone());
        let role = Role::Cell(format!("{OPTIMIZER}/{}/{name}", param.cell), start);
        Kept { ty: TensorType::new(param.ty.dtype, shape), role }
    };
    if options.use_ema {
        list.extend(params.iter().map(|p| of(p, AVERAGE, None, 0.0)));
    }
    if options.gradient_accumulation_steps.is_some() {
        list.extend(params.iter().map(|p| of(p, "gradient_accumulator", None, 0.0)));
    }
    fn parameter(p: &Variable) -> Parameter<'_> {
        Parameter { name: &p.cell, ty: &p.ty }
    }
    let slots: Vec<Vec<Slot>> = params.iter().map(|p| optimizer.slots(&parameter(p))).collect();
    let groups = slots.iter().flatten().map(|slot| slot.group + 1).max().unwrap_or(0);
    for group in 0..groups {
        for (param, slots) in params.iter().zip(&slots) {
            if group == 0 {
                let placeholder = Kept { ty: TensorType::scalar(DType::I32), role: Role::Placeholder };
                list.extend(std::iter::repeat_n(placeholder, optimizer.placeholders(&parameter(param))));
            }
            let slots = slots.iter().filter(|slot| slot.group == group);
            list.extend(slots.map(|slot| of(param, slot.name, slot.shape.clone(), slot.start)));
        }
    }
    for (name, start) in optimizer.scalars() {
        let role = Role::Scalar(format!("{OPTIMIZER}/{name}"), start);
        list.push(Kept { ty: TensorType::scalar(DType::F32), role });
    }
    list
}

/// How a file orders the slots of an optimizer.
#[cfg(feature = "keras")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Slots {
    /// Parameter by parameter, as Keras does since 2.11.
    ByParameter,
    /// One slot of all parameters after the other, as the optimizers before did (`keras.optimizers.legacy`).
    BySlot,
}

/// The orders in which versions of Keras keep the same variables, the present one first.
#[cfg(feature = "keras")]
pub(crate) fn orders(state: &[Kept], slots: Slots) -> Vec<Vec<Kept>> {
    let mut orders = match slots {
        Slots::ByParameter => by_parameter(state),
        Slots::BySlot => vec![by_slot(state)],
    };
    // Keras 2 kept the learning rate elsewhere.
    let rate = |kept: &Kept| matches!(&kept.role, Role::Cell(name, _) if own(name) == "learning_rate");
    let without = |order: &Vec<Kept>| order.iter().filter(|kept| !rate(kept)).cloned().collect();
    let older: Vec<Vec<Kept>> = orders.iter().map(without).collect();
    orders.extend(older);
    orders
}

/// The name of a cell of the optimizer without the part that they share.
#[cfg(feature = "keras")]
fn own(cell: &str) -> &str {
    cell.get(OPTIMIZER.len() + 1..).unwrap_or_default()
}

#[cfg(feature = "keras")]
fn by_parameter(state: &[Kept]) -> Vec<Vec<Kept>> {
    let is_scalar = |kept: &&Kept| matches!(kept.role, Role::Scalar(..));
    let mut orders = vec![state.to_vec()];
    if state.iter().any(|kept| is_scalar(&kept)) {
        // Keras 3.0 to 3.4 made the rule's scalars before the slots.
        let slot = |kept: &Kept| matches!(&kept.role, Role::Cell(name, _) if own(name).contains('/'));
        let at = state.iter().position(slot).unwrap_or(state.len());
        let (head, tail) = state.split_at(at);
        let scalars = tail.iter().filter(is_scalar);
        let slots = tail.iter().filter(|kept| !is_scalar(kept));
        orders.push(head.iter().chain(scalars).chain(slots).cloned().collect());
    }
    if state.iter().any(|kept| kept.role == Role::Placeholder) {
        orders.push(state.iter().filter(|kept| kept.role != Role::Placeholder).cloned().collect());
    }
    orders
}

#[cfg(feature = "keras")]
fn by_slot(state: &[Kept]) -> Vec<Kept> {
    fn slot(kept: &Kept) -> &str {
        match &kept.role {
            Role::Cell(name, _) if own(name).contains('/') => name.rsplit('/').next().unwrap_or_default(),
            _ => "",
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for name in state.iter().map(slot) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.iter().flat_map(|name| state.iter().filter(move |kept| slot(kept) == *name)).cloned().collect()
}
