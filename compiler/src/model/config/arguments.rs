use serde::de::DeserializeOwned;

use super::{Config, passed_over, unusable};
use crate::diag::Problem;

/// The arguments of a class, taken one by one. Mistakes are kept until all have been looked at.
pub(crate) struct Arguments<'a> {
    class: &'a str,
    left: Config,
    problems: Vec<Problem>,
}

impl<'a> Arguments<'a> {
    pub fn new(class: &'a str, config: Config) -> Arguments<'a> {
        Arguments { class, left: config, problems: Vec::new() }
    }

    /// An argument, or its default.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        let Some(value) = self.left.remove(key) else { return default };
        serde_json::from_value(value.clone()).unwrap_or_else(|why| {
            self.problems.push(unusable(self.class, key, &value, &why));
            default
        })
    }

    /// Everything that is wrong: arguments of other types, and arguments that nobody took.
    pub fn finish(self) -> Result<(), Vec<Problem>> {
        let mut problems = self.problems;
        problems.extend(self.left.iter().filter_map(|(key, value)| passed_over(self.class, key, value).err()));
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}
