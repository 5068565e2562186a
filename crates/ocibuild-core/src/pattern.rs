//! Globs over paths.

/// A glob over paths.
#[derive(Clone, Debug)]
pub struct Pattern {}

/// x
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("x")]
pub struct PatternError {}

impl PatternError {
    /// x
    pub fn hint(&self) -> Option<&'static str> {
        None
    }
}
impl Pattern {
    /// x
    pub fn parse(_: &str) -> Result<Pattern, PatternError> {
        todo!()
    }
}
