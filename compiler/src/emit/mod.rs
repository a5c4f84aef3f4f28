//! From programs to files: objects, archives, and the texts that go with them.

pub mod archive;
pub mod bindings;
mod hash;
pub mod image;
pub mod library;
pub(crate) mod names;
pub mod object;
#[cfg(test)]
mod object_tests;
pub mod select;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use hash::Hash;
