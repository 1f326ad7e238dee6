//! The inner loops of matrix products: text for registers and tiles.

use std::fmt::Write;

use crate::source::{Source, indent};

/// The direction in which an operand is read by vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Walk {
    /// Along `k`.
    K,
    /// Along `m` (of A) or `n` (of B).
    Across,
    /// By single elements.
    Single,
}

/// `c + a b` for a register and one lane of another.
fn multiply_add(t: &str, c: &str, a: &str, b: &str) -> String {
    if t == "f32" {
        format!("{c} = fma(vec4<f32>({a}), {b}, {c});\n")
    } else {
        format!("{c} = {c} + {a} * {b};\n")
    }
}

const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// The barrier-free form: `rows` rows and `quads` times four columns per thread.
pub(crate) fn registers_body(
    t: &str,
    rows: usize,
    quads: usize,
    a: Walk,
    b: Walk,
    body: &mut String,
) {
    let columns = quads * 4;
    let _ = write!(
        body,
        "let row = tile_m * {rows}u;\nlet col = tile_n * {columns}u;\n"
    );
    // Rows and columns beyond the edge repeat the last one; they are not stored.
    for r in 0..rows {
        let _ = writeln!(
            body,
            "let a{r} = a_base + min(row + {r}u, params.m - 1u) * params.a_across;"
        );
    }
    let a_quads = rows.div_ceil(4);
    for (name, edge, walk, at, count) in
        [("a", "m", a, "row", a_quads), ("b", "n", b, "col", quads)]
    {
        if walk == Walk::Across {
            for q in 0..count {
                let _ = writeln!(
                    body,
                    "let {name}_quad{q} = {name}_base + min({at} + {}u, (params.{edge} - 1u) & ~3u);",
                    q * 4
                );
            }
        }
    }
    if b != Walk::Across {
        for c in 0..columns {
            let _ = writeln!(
                body,
                "let b{c} = b_base + min(col + {c}u, params.n - 1u) * params.b_across;"
            );
        }
    }
    for r in 0..rows {
        for q in 0..quads {
            let _ = writeln!(body, "var c{r}_{q} = vec4<{t}>(0);");
        }
    }
    body.push_str("var k = k_begin;\n");
    let mut four = String::new();
    for r in 0..rows {
        if a != Walk::Across {
            let _ = match a {
                Walk::K => writeln!(four, "let p{r} = load4_a(a{r} + k);"),
                _ => writeln!(
                    four,
                    "let p{r} = vec4<{t}>(load_a(a{r} + k * params.a_k), load_a(a{r} + (k + 1u) * params.a_k), \
                     load_a(a{r} + (k + 2u) * params.a_k), load_a(a{r} + (k + 3u) * params.a_k));"
                ),
            };
        }
    }
    if b == Walk::K {
        for c in 0..columns {
            let _ = writeln!(four, "let w{c} = load4_b(b{c} + k);");
        }
    }
    for (kk, lane) in LANES.iter().enumerate() {
        registers_step(t, [rows, quads], [a, b], kk, lane, &mut four);
    }
    let _ = write!(
        body,
        "for (; k + 4u <= k_end; k += 4u) {{\n{}}}\n",
        indent(&four)
    );
    let mut one = String::new();
    for r in 0..rows {
        let _ = writeln!(one, "let p{r} = vec4<{t}>(load_a(a{r} + k * params.a_k));");
    }
    let walks = [Walk::Single, if b == Walk::K { Walk::Single } else { b }];
    registers_step(t, [rows, quads], walks, 0, "x", &mut one);
    let _ = write!(body, "for (; k < k_end; k++) {{\n{}}}\n", indent(&one));
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

/// One step in `k` of the barrier-free form: `k + kk`, lane `lane` of what was loaded along `k`.
fn registers_step(
    t: &str,
    [rows, quads]: [usize; 2],
    [a, b]: [Walk; 2],
    kk: usize,
    lane: &str,
    out: &mut String,
) {
    if a == Walk::Across {
        for q in 0..rows.div_ceil(4) {
            let _ = writeln!(
                out,
                "let l{kk}_{q} = load4_a(a_quad{q} + (k + {kk}u) * params.a_k);"
            );
        }
    }
    for q in 0..quads {
        let value = match b {
            Walk::Across => format!("load4_b(b_quad{q} + (k + {kk}u) * params.b_k)"),
            Walk::K => {
                let parts: Vec<String> = (0..4).map(|j| format!("w{}.{lane}", q * 4 + j)).collect();
                format!("vec4<{t}>({})", parts.join(", "))
            }
            Walk::Single => {
                let parts: Vec<String> = (0..4)
                    .map(|j| format!("load_b(b{} + (k + {kk}u) * params.b_k)", q * 4 + j))
                    .collect();
                format!("vec4<{t}>({})", parts.join(", "))
            }
        };
        let _ = writeln!(out, "let r{kk}_{q} = {value};");
    }
    for r in 0..rows {
        let left = match a {
            Walk::Across => format!("l{kk}_{}.{}", r / 4, LANES[r % 4]),
            _ => format!("p{r}.{lane}"),
        };
        for q in 0..quads {
            out.push_str(&multiply_add(
                t,
                &format!("c{r}_{q}"),
                &left,
                &format!("r{kk}_{q}"),
            ));
        }
    }
}

/// The tiled form: `tile` x `tile` results per workgroup of 256 threads, `block` x `block` per
/// thread as quads that lie `tile / 2` apart where there are two (neighbouring threads then read
/// neighbouring words of workgroup memory).
pub(crate) fn tiled_body(
    source: &mut Source<'_>,
    t: &str,
    tile: usize,
    block: usize,
    depth: usize,
    walks: [Walk; 2],
    body: &mut String,
) {
    let halves = block / 4;
    let quads = tile / 4;
    let across = tile / block;
    source.declare(&format!(
        "// Tiles with k as the outer dimension: quad q of depth d at d * {quads} + q.\n\
         var<workgroup> a_tile: array<vec4<{t}>, {size}>;\n\
         var<workgroup> b_tile: array<vec4<{t}>, {size}>;\n",
        size = quads * depth
    ));
    for (name, edge, walk) in [("a", "m", walks[0]), ("b", "n", walks[1])] {
        declare_loader(source, t, name, edge, walk, quads, depth);
    }
    let _ = write!(
        body,
        "let thread_n = lane % {across}u;\nlet thread_m = lane / {across}u;\n"
    );
    for r in 0..block {
        for q in 0..halves {
            let _ = writeln!(body, "var c{r}_{q} = vec4<{t}>(0);");
        }
    }
    let mut inner = String::new();
    for (name, at) in [("l", "a_tile"), ("r", "b_tile")] {
        let thread = if name == "l" { "thread_m" } else { "thread_n" };
        for h in 0..halves {
            let _ = writeln!(
                inner,
                "let {name}{h} = {at}[d * {quads}u + {thread} + {}u];",
                h * quads / 2
            );
        }
    }
    for r in 0..block {
        for q in 0..halves {
            let left = format!("l{}.{}", r / 4, LANES[r % 4]);
            inner.push_str(&multiply_add(
                t,
                &format!("c{r}_{q}"),
                &left,
                &format!("r{q}"),
            ));
        }
    }
    let _ = write!(
        body,
        "for (var k = k_begin; k < k_end; k += {depth}u) {{\n    \
             bring_a(a_base, tile_m * {tile}u, k, k_end, lane);\n    \
             bring_b(b_base, tile_n * {tile}u, k, k_end, lane);\n    \
             workgroupBarrier();\n    \
             for (var d = 0u; d < {depth}u; d++) {{\n{}    }}\n    \
             workgroupBarrier();\n}}\n",
        indent(&indent(&inner))
    );
    for r in 0..block {
        for q in 0..halves {
            let _ = writeln!(
                body,
                "store_block(batch, part, tile_m * {tile}u + {}u + thread_m * 4u + {}u, \
                 tile_n * {tile}u + {}u + thread_n * 4u, c{r}_{q});",
                (r / 4) * tile / 2,
                r % 4,
                q * tile / 2
            );
        }
    }
}

/// Declares `bring_<name>(base, first, k, k_end, lane)`, which fills a tile: positions from
/// `first` on across, depths from `k` on. What lies beyond `k_end` is 0; what lies beyond the
/// edge across repeats the last position and is not stored in the end.
fn declare_loader(
    source: &mut Source<'_>,
    t: &str,
    name: &str,
    edge: &str,
    walk: Walk,
    quads: usize,
    depth: usize,
) {
    let mut inner = String::new();
    let items = match walk {
        Walk::Across => {
            let _ = write!(
                inner,
                "let quad = item % {quads}u;\n\
                 let d = item / {quads}u;\n\
                 let near = min(first + quad * 4u, (params.{edge} - 1u) & ~3u);\n\
                 let deep = min(k + d, params.k - 1u);\n\
                 let value = load4_{name}(base + near + deep * params.{name}_k);\n\
                 {name}_tile[item] = select(vec4<{t}>(0), value, k + d < k_end);\n"
            );
            quads * depth
        }
        Walk::K => {
            // Four positions by four depths, turned in registers.
            let _ = write!(
                inner,
                "let deep = (item % {0}u) * 4u;\n\
                 let quad = item / {0}u;\n\
                 let near = min(k + deep, (params.k - 1u) & ~3u);\n\
                 let live = vec4<u32>(k + deep) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(k_end);\n",
                depth / 4
            );
            for j in 0..4 {
                let _ = writeln!(
                    inner,
                    "let v{j} = select(vec4<{t}>(0), load4_{name}(base + min(first + quad * 4u + {j}u, \
                     params.{edge} - 1u) * params.{name}_across + near), live);"
                );
            }
            for (d, lane) in LANES.iter().enumerate() {
                let _ = writeln!(
                    inner,
                    "{name}_tile[(deep + {d}u) * {quads}u + quad] = \
                     vec4<{t}>(v0.{lane}, v1.{lane}, v2.{lane}, v3.{lane});"
                );
            }
            quads * depth / 4
        }
        Walk::Single => {
            let _ = write!(
                inner,
                "let quad = item % {quads}u;\n\
                 let d = item / {quads}u;\n\
                 let deep = base + min(k + d, params.k - 1u) * params.{name}_k;\n\
                 let last = params.{edge} - 1u;\n\
                 let at = min(vec4<u32>(first + quad * 4u) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last)) \
                 * params.{name}_across + deep;\n\
                 let value = vec4<{t}>(load_{name}(at.x), load_{name}(at.y), load_{name}(at.z), load_{name}(at.w));\n\
                 {name}_tile[item] = select(vec4<{t}>(0), value, k + d < k_end);\n"
            );
            quads * depth
        }
    };
    let mut body = String::new();
    if items >= 256 {
        let _ = write!(
            body,
            "for (var i = 0u; i < {}u; i++) {{\n    let item = lane + i * 256u;\n{}}}\n",
            items / 256,
            indent(&inner)
        );
    } else {
        // B is brought by the last threads, so that A's are not burdened twice.
        let from = if name == "b" { 256 - items } else { 0 };
        let _ = write!(
            body,
            "let item = lane - {from}u;\nif item < {items}u {{\n{}}}\n",
            indent(&inner)
        );
    }
    source.declare(&format!(
        "fn bring_{name}(base: u32, first: u32, k: u32, k_end: u32, lane: u32) {{\n{}}}\n",
        indent(&body)
    ));
}
