//! The functions that kernels share, and the linker that gives a kernel those it reaches.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use crate::templates::source;

/// The files: comparisons, conversions and packing; elementary functions; their inverses; special functions; division
/// with a rest; random numbers.
const FILES: [(&str, &str); 6] = [
    ("prelude.wgsl", include_str!("prelude.wgsl")),
    ("math.wgsl", include_str!("math.wgsl")),
    ("inverse.wgsl", include_str!("inverse.wgsl")),
    ("special.wgsl", include_str!("special.wgsl")),
    ("division.wgsl", include_str!("division.wgsl")),
    ("random.wgsl", include_str!("random.wgsl")),
];

/// A top-level declaration of the library: its text with the comment above it.
struct Item {
    text: String,
    uses: Vec<String>,
}

/// The identifiers of a piece of WGSL, comments left out.
fn identifiers(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or("");
        for word in code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                found.insert(word);
            }
        }
    }
    found.into_iter().map(str::to_string).collect()
}

/// Splits a library text into its top-level functions and structs.
fn split(text: &str) -> Vec<(String, Item)> {
    let mut items = Vec::new();
    let mut comment = String::new();
    let mut body = String::new();
    let mut name = None;
    for line in text.lines() {
        if name.is_none() {
            let declared = line
                .strip_prefix("fn ")
                .or_else(|| line.strip_prefix("struct "));
            if let Some(rest) = declared {
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(rest.len());
                name = Some(rest[..end].to_string());
                body = std::mem::take(&mut comment);
            } else if line.starts_with("//") {
                comment.push_str(line);
                comment.push('\n');
                continue;
            } else {
                comment.clear();
                continue;
            }
        }
        body.push_str(line);
        body.push('\n');
        if line == "}"
            && let Some(name) = name.take()
        {
            let text = std::mem::take(&mut body);
            let uses = identifiers(&text);
            items.push((name, Item { text, uses }));
        }
    }
    items
}

fn library() -> &'static HashMap<String, Item> {
    static LIBRARY: OnceLock<HashMap<String, Item>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        FILES
            .iter()
            .flat_map(|(name, builtin)| split(&source(name, builtin)))
            .collect()
    })
}

/// The whole module for a kernel: `body` preceded by the functions and structs it reaches, of the
/// library and of `accessors` (text in the library's form, one declaration after the other).
pub fn link(body: &str, accessors: &str) -> String {
    let own: HashMap<String, Item> = split(accessors).into_iter().collect();
    let mut reached = BTreeSet::new();
    let mut pending = identifiers(body);
    while let Some(name) = pending.pop() {
        let Some(item) = own.get(&name).or_else(|| library().get(&name)) else {
            continue;
        };
        if reached.insert(name) {
            pending.extend(item.uses.iter().cloned());
        }
    }
    let mut text = String::with_capacity(body.len() * 2);
    for name in &reached {
        if let Some(item) = own.get(name).or_else(|| library().get(name)) {
            text.push_str(&item.text);
            text.push('\n');
        }
    }
    text.push_str(body);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_takes_what_is_reached() {
        let text = link("fn main() { let y = gelu_f32(x); }", "");
        assert!(text.contains("fn upper_f32"));
        assert!(text.contains("fn exp_f32"));
        assert!(!text.contains("fn pow_f32"));
    }
}
