//! Tests of the gate: the cells of its table one by one, and all of it against an oracle that was written apart.

mod articles;
mod cells;
pub(crate) mod observed;
mod oracle;
mod property;
mod said;
pub(crate) mod world;
