//! Instruction set levels: what this CPU executes, and which level a model runs at.

pub use bakelite_kernels::manifest::Level;
use bakelite_kernels::manifest::{KernelTable, table};

use crate::error::Error;

/// The environment variable that forces a level by name, as [`crate::Options::level`] does.
pub const LEVEL_VARIABLE: &str = "BAKELITE_LEVEL";

/// Whether this CPU, as the operating system set it up, executes code of a level.
pub fn supported(level: Level) -> bool {
    kernels(level).is_some()
}

/// The kernel table that generated code of a level calls through, `None` where this CPU lacks the level.
pub(crate) fn kernels(level: Level) -> Option<&'static KernelTable> {
    table(level)
}

/// The level by its name in reports and in `target_cpu`.
pub fn parse(name: &str) -> Result<Level, Error> {
    Level::ALL.into_iter().find(|level| level.name() == name).ok_or_else(|| Error::UnknownLevel {
        name: name.to_string(),
        known: Error::names(Level::ALL.iter().map(|level| level.name())),
    })
}

/// The level that the environment forces.
pub(crate) fn from_environment() -> Result<Option<Level>, Error> {
    match std::env::var(LEVEL_VARIABLE) {
        Ok(name) if !name.is_empty() => parse(&name).map(Some),
        _ => Ok(None),
    }
}

/// The level for a model that carries code for some levels: the forced one, else the strongest that the CPU executes.
pub(crate) fn choose(model: &str, carried: &[Level], forced: Option<Level>) -> Result<Level, Error> {
    let refuse = |wanted: String| Error::Level {
        model: model.to_string(),
        carried: Error::names(carried.iter().map(|level| level.name())),
        wanted,
    };
    match forced {
        Some(level) if !supported(level) => Err(Error::UnsupportedLevel { level }),
        Some(level) if !carried.contains(&level) => Err(refuse(format!("{level} was asked for"))),
        Some(level) => Ok(level),
        None => carried
            .iter()
            .copied()
            .filter(|level| supported(*level))
            .max()
            .ok_or_else(|| refuse("this CPU executes none of them".to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baseline_is_everywhere_and_names_parse() {
        assert!(supported(Level::Baseline));
        for level in Level::ALL {
            assert_eq!(parse(level.name()).unwrap(), level);
        }
        assert!(matches!(parse("pentium"), Err(Error::UnknownLevel { .. })));
    }

    #[test]
    fn the_strongest_supported_level_wins_unless_one_is_forced() {
        let strongest = Level::ALL.into_iter().filter(|l| supported(*l)).max().unwrap();
        assert_eq!(choose("m", &Level::ALL, None).unwrap(), strongest);
        assert_eq!(choose("m", &Level::ALL, Some(Level::Baseline)).unwrap(), Level::Baseline);
        assert!(matches!(choose("m", &[Level::Baseline], Some(strongest)), Err(_) | Ok(Level::Baseline)));
        assert!(matches!(choose("m", &[], None), Err(Error::Level { .. })));
        let foreign = if cfg!(target_arch = "aarch64") { Level::V3 } else { Level::Neon };
        assert!(matches!(choose("m", &Level::ALL, Some(foreign)), Err(Error::UnsupportedLevel { .. })));
    }
}
