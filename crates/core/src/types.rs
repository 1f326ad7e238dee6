//! What everything is made of: shapes, layouts, element types, errors.

pub(crate) mod dtype;
pub(crate) mod element;
pub(crate) mod error;
pub(crate) mod hash;
pub(crate) mod layout;
pub(crate) mod shape;
