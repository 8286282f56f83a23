//! The faults. Each is a mistake that this kind of code invites, and that a test without a
//! simulated kernel would hardly meet.

use super::Mutant;

pub(super) const MUTANTS: &[Mutant] = &[];
