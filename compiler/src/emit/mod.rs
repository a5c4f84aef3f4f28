//! From programs to files: objects and archives.

pub mod archive;
pub mod image;
pub mod object;
