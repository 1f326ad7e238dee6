//! `#[derive(Module)]`: the parameters, buffers and sub-modules of a struct or an enum.
//!
//! The derived implementation visits the fields in order, each under its name. What a field means
//! follows from its type (see `wgrad::nn::Part`) and from its attribute:
//!
//! | field | meaning |
//! |---|---|
//! | `weight: Tensor` | a parameter |
//! | `#[module(buffer)] mean: Tensor` | a buffer: saved and moved, but not trained |
//! | `#[module(skip)] width: usize` | not part of the module's state |
//! | `#[module(name = "gamma")] scale: Tensor` | visited under another name |
//! | any other type | must be a module (or an option, vector, map, box or tuple of such) |
//!
//! Structs with named fields, tuple structs (fields are named `0`, `1`, ..), unit structs, generic
//! types and enums (the active variant's fields) are supported.
//!
//! A module's description is its type's name, or with `#[module(display)]` on the type what its
//! `Display` prints.
//!
//! The generated code names everything through `::wgrad::nn`. A crate that uses `wgrad-nn` without
//! the facade, or the facade under another name, says where the items are:
//! `#[module(crate = wgrad_nn)]`.

mod expand;
mod options;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `wgrad::nn::Module`: see the [crate's page](crate).
///
/// ```ignore
/// use wgrad::prelude::*;
///
/// #[derive(Module)]
/// struct Block {
///     linear: nn::Linear,                 // linear.weight, linear.bias
///     scale: Tensor,                      // scale
///     shift: Option<Tensor>,              // shift, where it is Some
///     heads: Vec<nn::Linear>,             // heads.0.weight, ...
///     #[module(buffer)]
///     mean: Tensor,                       // mean, a buffer
///     #[module(skip)]
///     width: usize,
/// }
/// ```
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::module(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
