//! From a type's definition to its implementation of `Module`.

use std::collections::HashSet;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Fields, Ident, Path, Result, Type, WherePredicate, parse_quote};

use crate::options;

/// A field that is part of the module.
struct Part<'a> {
    /// The variable that a pattern binds the field to.
    binding: Ident,
    /// The name under which the field is visited.
    name: String,
    ty: &'a Type,
    buffer: bool,
}

/// A pattern and the parts it binds.
struct Arm<'a> {
    pattern: TokenStream,
    parts: Vec<Part<'a>>,
}

pub fn module(input: &DeriveInput) -> Result<TokenStream> {
    let options::TypeOptions { root, display } = options::of_type(&input.attrs)?;
    let arms = match &input.data {
        Data::Struct(data) => vec![arm(quote!(Self), &data.fields)?],
        Data::Enum(data) => {
            let arms = data.variants.iter().map(|variant| {
                let ident = &variant.ident;
                arm(quote!(Self::#ident), &variant.fields)
            });
            arms.collect::<Result<Vec<_>>>()?
        }
        Data::Union(data) => {
            let problem = "Module cannot be derived for a union, whose active field is unknown";
            return Err(syn::Error::new(data.union_token.span(), problem));
        }
    };

    let mut generics = input.generics.clone();
    let bounds = bounds(input, &arms, &root);
    if !bounds.is_empty() {
        generics.make_where_clause().predicates.extend(bounds);
    }
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let ident = &input.ident;
    let visit = visits(&arms, &root, &quote!(Visitor));
    let visit_mut = visits(&arms, &root, &quote!(VisitorMut));
    let description = display.then(|| {
        quote! {
            fn description(&self) -> ::std::string::String {
                ::std::string::ToString::to_string(self)
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        #[allow(clippy::all, unused_variables)]
        impl #impl_generics #root::Module for #ident #ty_generics #where_clause {
            fn visit(&self, visitor: &mut #root::Visitor<'_>) {
                match self { #visit }
            }
            fn visit_mut(&mut self, visitor: &mut #root::VisitorMut<'_>) {
                match self { #visit_mut }
            }
            #description
        }
    })
}

/// The pattern of a struct or variant, and its parts.
fn arm<'a>(path: TokenStream, fields: &'a Fields) -> Result<Arm<'a>> {
    let mut parts = Vec::new();
    let mut bindings = TokenStream::new();
    for (index, field) in fields.iter().enumerate() {
        let options = options::field(&field.attrs)?;
        if options.skip {
            continue;
        }
        // At the field's type, so that the compiler points there at what is not a part.
        let span = field.ty.span().resolved_at(Span::call_site());
        let binding = format_ident!("part_{index}", span = span);
        let member = match &field.ident {
            Some(ident) => ident.to_token_stream(),
            None => syn::Index::from(index).to_token_stream(),
        };
        bindings.extend(quote!(#member: #binding,));
        let name = match &field.ident {
            Some(ident) => ident.unraw().to_string(),
            None => index.to_string(),
        };
        parts.push(Part {
            binding,
            name: options.name.unwrap_or(name),
            ty: &field.ty,
            buffer: options.buffer,
        });
    }
    let mut seen = HashSet::new();
    if let Some(twice) = parts.iter().find(|p| !seen.insert(p.name.clone())) {
        let problem = format!("two fields are visited as `{}`", twice.name);
        return Err(syn::Error::new(twice.ty.span(), problem));
    }
    Ok(Arm {
        // The braced form fits named, tuple and unit fields alike.
        pattern: quote!(#path { #bindings .. }),
        parts,
    })
}

/// The arms of the match that visits every part.
fn visits(arms: &[Arm<'_>], root: &Path, visitor: &TokenStream) -> TokenStream {
    if arms.is_empty() {
        // An enum without variants has no value to visit.
        return quote!(_ => ::core::unreachable!());
    }
    let arms = arms.iter().map(|arm| {
        let pattern = &arm.pattern;
        let calls = arm.parts.iter().map(|part| {
            let (binding, name) = (&part.binding, &part.name);
            let method = if part.buffer {
                quote!(buffer)
            } else {
                quote!(part)
            };
            quote!(#root::#visitor::#method(visitor, #name, #binding);)
        });
        quote!(#pattern => { #(#calls)* })
    });
    quote!(#(#arms)*)
}

/// `FieldType: Part` for the fields whose type names a type parameter.
fn bounds(input: &DeriveInput, arms: &[Arm<'_>], root: &Path) -> Vec<WherePredicate> {
    let parameters: HashSet<String> = input
        .generics
        .type_params()
        .map(|p| p.ident.to_string())
        .collect();
    arms.iter()
        .flat_map(|arm| &arm.parts)
        .filter(|part| mentions(part.ty.to_token_stream(), &parameters))
        .map(|part| {
            let ty = part.ty;
            parse_quote!(#ty: #root::Part)
        })
        .collect()
}

fn mentions(tokens: TokenStream, names: &HashSet<String>) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => names.contains(&ident.to_string()),
        TokenTree::Group(group) => mentions(group.stream(), names),
        _ => false,
    })
}
