//! Where the elements of strided views lie.

use std::fmt::Write;

use wgrad_core::{Layout, collapse};

use super::Source;
use crate::operand::sum;

impl Source<'_> {
    /// Makes `place_<name>(i)` for views of one shape: the address, in its buffer, of a view's element at
    /// row-major position `i`. The views share their coordinates, so that a compiler finds what they have
    /// in common; `prefix` tells them from those of other shapes in one kernel.
    pub fn places(&mut self, prefix: &str, views: &[(&str, &Layout)]) {
        let layouts: Vec<&Layout> = views.iter().map(|(_, layout)| *layout).collect();
        for ((name, _), view) in views.iter().zip(collapse(&layouts)) {
            let mut body = String::new();
            let mut terms = Vec::new();
            if view.offset != 0 {
                terms.push(self.u32(&format!("{name}_start"), view.offset));
            }
            // Coordinates beyond the outermost dimension that it steps along are not needed.
            let first = view.strides.iter().position(|&s| s != 0);
            let mut rest = "i".to_string();
            for d in (first.unwrap_or(view.shape.rank())..view.shape.rank()).rev() {
                let mut coordinate = rest.clone();
                if d > 0 {
                    let size = self.u32(&format!("{prefix}_d{d}"), view.shape[d]);
                    coordinate = format!("c{d}");
                    let _ = writeln!(body, "    let c{d} = {rest} % {size};");
                    if first.is_some_and(|first| d > first) {
                        let _ = writeln!(body, "    let q{d} = {rest} / {size};");
                        rest = format!("q{d}");
                    }
                }
                match view.strides[d] {
                    0 => {}
                    1 => terms.push(coordinate),
                    stride => {
                        let stride = self.stride(&format!("{name}_s{d}"), stride);
                        terms.push(format!("{coordinate} * {stride}"));
                    }
                }
            }
            let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
            let at = sum(&terms);
            let declaration =
                format!("fn place_{name}(i: u32) -> u32 {{\n{body}    return {at};\n}}\n");
            self.declare(&declaration);
        }
    }
}
