//! Writing and reading cache repositories.
