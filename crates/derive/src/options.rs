//! The `#[module(..)]` attributes.

use syn::{Attribute, LitStr, Path, Result, Token};

/// What a field's attributes say.
#[derive(Default)]
pub struct FieldOptions {
    pub buffer: bool,
    pub skip: bool,
    pub name: Option<String>,
}

/// What `#[module(..)]` on a field says.
pub fn field(attributes: &[Attribute]) -> Result<FieldOptions> {
    let mut options = FieldOptions::default();
    for attribute in attributes.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("buffer") {
                options.buffer = true;
            } else if meta.path.is_ident("skip") {
                options.skip = true;
            } else if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() || name.value().contains('.') {
                    let problem = "a name must not be empty nor contain a dot";
                    return Err(syn::Error::new(name.span(), problem));
                }
                options.name = Some(name.value());
            } else {
                return Err(meta
                    .error("expected `buffer`, `skip` or `name = \"..\"` on a field of a module"));
            }
            if options.skip && (options.buffer || options.name.is_some()) {
                return Err(meta.error("a skipped field has no other option"));
            }
            Ok(())
        })?;
    }
    Ok(options)
}

/// What `#[module(..)]` on a type says.
pub struct TypeOptions {
    /// Where the items of `wgrad::nn` are.
    pub root: Path,
    /// Whether the description is what `Display` prints.
    pub display: bool,
}

/// What `#[module(..)]` on a type says.
pub fn of_type(attributes: &[Attribute]) -> Result<TypeOptions> {
    let mut options = TypeOptions {
        root: syn::parse_quote!(::wgrad::nn),
        display: false,
    };
    for attribute in attributes.iter().filter(|a| a.path().is_ident("module")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("display") {
                options.display = true;
                return Ok(());
            }
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path` or `display` on a module"));
            }
            let value = meta.value()?;
            // `crate` alone is no path that `Path::parse` takes.
            options.root = if value.peek(Token![crate]) {
                value.call(Path::parse_mod_style)?
            } else {
                value.parse()?
            };
            Ok(())
        })?;
    }
    Ok(options)
}
