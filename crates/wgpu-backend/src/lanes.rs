//! The matrix product of one subgroup, without barriers.
//!
//! For drivers that run on the CPU a load is a loop over the lanes, while passing a value from one
//! lane to all is nearly free. So the lanes of a subgroup own neighbouring columns and share the
//! rows: each reads other elements of A, two steps in `k`, and all get them by shuffles.

use std::fmt::Write;

use crate::source::indent;
use crate::tiles::{Walk, declare_sums, in_blocks, multiply_add};

/// `rows` rows and, per lane, `quads` times four columns; a workgroup is a subgroup of `size`.
pub(crate) fn lanes_body(
    t: &str,
    [rows, quads]: [usize; 2],
    size: usize,
    [a, b]: [Walk; 2],
    deep: bool,
    body: &mut String,
) {
    let columns = quads * 4;
    let _ = write!(
        body,
        "let row = tile_m * {rows}u;\n\
         let col = tile_n * {}u + lane * {columns}u;\n",
        columns * size
    );
    // Rows and columns beyond the edge repeat the last one; they are not stored.
    for r in 0..rows {
        let _ = match a {
            Walk::Across if r % 2 == 1 => continue,
            Walk::Across => writeln!(
                body,
                "let a{r} = a_base + min(row + {r}u, (params.m - 1u) & ~1u);"
            ),
            _ => writeln!(
                body,
                "let a{r} = a_base + min(row + {r}u, params.m - 1u) * params.a_across;"
            ),
        };
    }
    for c in 0..columns {
        let _ = match b {
            Walk::Across if c % 4 != 0 => continue,
            Walk::Across => writeln!(
                body,
                "let b{c} = b_base + min(col + {c}u, (params.n - 1u) & ~3u);"
            ),
            _ => writeln!(
                body,
                "let b{c} = b_base + min(col + {c}u, params.n - 1u) * params.b_across;"
            ),
        };
    }
    let sums = declare_sums(t, [rows, quads], body);
    let mut two = String::new();
    step_operands(t, quads, b, &mut two);
    step_products(t, [rows, quads], 0, "x", &mut two);
    step_products(t, [rows, quads], 1, "y", &mut two);
    let walk = format!(
        "for (var first = k_begin; first < k_end; first += {}u) {{\n{}    \
             let pairs = min({size}u, (k_end - first + 1u) / 2u);\n    \
             for (var step = 0u; step < pairs; step++) {{\n        \
                 let k = first + step * 2u;\n{}    }}\n}}\n",
        size * 2,
        indent(&own_elements(t, rows, a)),
        indent(&indent(&two)),
    );
    in_blocks(t, deep, &sums, &walk, body);
    for r in 0..rows {
        for q in 0..quads {
            let _ = writeln!(
                body,
                "store_block(batch, part, row + {r}u, col + {}u, c{r}_{q});",
                q * 4
            );
        }
    }
}

/// Reads this lane's two elements of each row into `p<row>`.
fn own_elements(t: &str, rows: usize, a: Walk) -> String {
    // What lies beyond the end is read from elsewhere and counts as 0.
    let mut out = match a {
        Walk::K => "let near = min(first + lane * 2u, (params.k - 1u) & ~1u);\n".to_string(),
        _ => "let near = min(first + lane * 2u, params.k - 1u) * params.a_k;\n\
              let next = min(first + lane * 2u + 1u, params.k - 1u) * params.a_k;\n"
            .to_string(),
    };
    out.push_str(
        "let live = vec2<u32>(first + lane * 2u) + vec2<u32>(0u, 1u) < vec2<u32>(k_end);\n",
    );
    for r in 0..rows {
        let _ = match a {
            Walk::K => writeln!(
                out,
                "let p{r} = select(vec2<{t}>(0), load2_a(a{r} + near), live);"
            ),
            Walk::Single => writeln!(
                out,
                "let p{r} = select(vec2<{t}>(0), vec2<{t}>(load_a(a{r} + near), load_a(a{r} + next)), live);"
            ),
            Walk::Across if r % 2 == 1 => continue,
            Walk::Across => write!(
                out,
                "let u{r} = load2_a(a{r} + near);\n\
                 let w{r} = load2_a(a{r} + next);\n\
                 let p{r} = select(vec2<{t}>(0), vec2<{t}>(u{r}.x, w{r}.x), live);\n\
                 let p{} = select(vec2<{t}>(0), vec2<{t}>(u{r}.y, w{r}.y), live);\n",
                r + 1
            ),
        };
    }
    out
}

/// Reads this lane's columns of B at `k` and `k + 1`, the latter as 0 beyond the end.
fn step_operands(t: &str, quads: usize, b: Walk, out: &mut String) {
    out.push_str("let both = k + 1u < k_end;\nlet k1 = min(k + 1u, k_end - 1u);\n");
    for q in 0..quads {
        let columns: Vec<usize> = (q * 4..q * 4 + 4).collect();
        if b == Walk::K {
            for c in &columns {
                let _ = writeln!(out, "let w{c} = load2_b(b{c} + k);");
            }
        }
        for (s, part, k) in [(0, "x", "k"), (1, "y", "k1")] {
            let each = |f: &dyn Fn(usize) -> String| {
                let values: Vec<String> = columns.iter().map(|&c| f(c)).collect();
                format!("vec4<{t}>({})", values.join(", "))
            };
            let value = match b {
                Walk::Across => format!("load4_b(b{} + {k} * params.b_k)", q * 4),
                Walk::K => each(&|c| format!("w{c}.{part}")),
                Walk::Single => each(&|c| format!("load_b(b{c} + {k} * params.b_k)")),
            };
            let value = match s {
                0 => value,
                _ => format!("select(vec4<{t}>(0), {value}, both)"),
            };
            let _ = writeln!(out, "let r{s}_{q} = {value};");
        }
    }
}

/// The products at `k + s`; this lane's elements of A for it are in part `part` of `p<row>`.
fn step_products(t: &str, [rows, quads]: [usize; 2], s: usize, part: &str, out: &mut String) {
    for r in 0..rows {
        let _ = writeln!(out, "let l{s}_{r} = subgroupShuffle(p{r}.{part}, step);");
        for q in 0..quads {
            out.push_str(&multiply_add(
                t,
                &format!("c{r}_{q}"),
                &format!("l{s}_{r}"),
                &format!("r{s}_{q}"),
            ));
        }
    }
}
