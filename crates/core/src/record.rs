//! What has been recorded: nodes, each thread's list of those that are pending, and a picture of them.

mod dot;
pub(crate) mod node;
pub(crate) mod pending;
