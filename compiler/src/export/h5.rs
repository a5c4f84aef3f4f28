//! HDF5 files to be written: groups of tensors.

use std::collections::BTreeMap;

use hdf5_pure::{AttrValue, FileBuilder, FinishedGroup, GroupBuilder};

/// How many times the bytes of its tensors are needed while a file is made.
const COPIES: usize = 3;

/// A group with its tensors.
#[derive(Default)]
pub(super) struct Node {
    groups: BTreeMap<String, Node>,
    tensors: Vec<(String, Vec<u64>, Values)>,
    attributes: Vec<(&'static str, String)>,
}

/// The numbers of a tensor.
pub(super) enum Values {
    Float(Vec<f32>),
    Int(Vec<i32>),
    Int8(Vec<i8>),
}

impl Node {
    /// The group at a path, which is made where it is new.
    pub fn at(&mut self, path: &str) -> &mut Node {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(self, |node, part| node.groups.entry(part.to_string()).or_default())
    }

    pub fn tensor(&mut self, name: String, shape: &[usize], values: Values) {
        self.tensors.push((name, shape.iter().map(|&n| n as u64).collect(), values));
    }

    pub fn attribute(&mut self, name: &'static str, value: &str) {
        self.attributes.push((name, value.to_string()));
    }

    fn fill(self, group: &mut GroupBuilder) {
        for (name, value) in self.attributes {
            group.set_attr(name, AttrValue::VarLenString(value));
        }
        for (name, shape, values) in self.tensors {
            let dataset = group.create_dataset(&name);
            match values {
                Values::Float(values) => dataset.with_f32_data(&values),
                Values::Int(values) => dataset.with_i32_data(&values),
                Values::Int8(values) => dataset.with_i8_data(&values),
            }
            .with_shape(&shape);
        }
        for (name, node) in self.groups {
            let inner = node.finish(group.create_group(&name));
            group.add_group(inner);
        }
    }

    fn finish(self, mut group: GroupBuilder) -> FinishedGroup {
        self.fill(&mut group);
        group.finish()
    }

    /// The bytes of all its tensors.
    fn size(&self) -> usize {
        let values = |values: &Values| match values {
            Values::Float(values) => size_of_val(&values[..]),
            Values::Int(values) => size_of_val(&values[..]),
            Values::Int8(values) => size_of_val(&values[..]),
        };
        let own: usize = self.tensors.iter().map(|(_, _, tensor)| values(tensor)).sum();
        own + self.groups.values().map(Node::size).sum::<usize>()
    }

    /// The bytes of a file with this group as its root, which holds groups only.
    pub fn bytes(self) -> Result<Vec<u8>, String> {
        // The library that writes the file ends the process where it gets no memory. It copies the tensors, and puts the
        // copies together in a block that it has to move while it grows.
        let bytes = self.size().saturating_mul(COPIES);
        Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| format!("out of memory: {bytes} bytes for the file"))?;
        let mut file = FileBuilder::new();
        for (name, node) in self.groups {
            let group = node.finish(file.create_group(&name));
            file.add_group(group);
        }
        file.finish().map_err(|e| e.to_string())
    }
}
