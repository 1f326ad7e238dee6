//! The inner loops of matrix products: text for registers and tiles.

use std::fmt::Write;

use crate::source::{Source, indent};

/// Threads of a workgroup of the tiled form.
const GROUP: usize = 256;

/// The direction in which an operand is read by vectors.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Walk {
    /// Along `k`.
    K,
    /// Along `m` (of A) or `n` (of B).
    Across,
    /// By single elements.
    Single,
}

/// `c + a b` for a register and one lane of another.
pub(crate) fn multiply_add(t: &str, c: &str, a: &str, b: &str) -> String {
    if t == "f32" {
        format!("{c} = fma(vec4<f32>({a}), {b}, {c});\n")
    } else {
        format!("{c} = {c} + {a} * {b};\n")
    }
}

/// Products up to this depth are one chain of additions. Longer ones are sums of sums of
/// [`BLOCK`] products: the error of a chain grows with its length.
///
/// On hardware the chains are longer, because registers for other sums cost speed: the 64 x 64 tile
/// takes 84 instead of 60, a 128 x 128 tile spills (RADV's compiler, gfx1100).
pub(crate) const fn deepest_chain(software: bool) -> usize {
    if software { 2048 } else { 16_384 }
}

const BLOCK: u32 = 256;

/// Declares the totals of registers `sums`, into which `put` empties them.
fn declare_totals(t: &str, sums: &[String], body: &mut String) -> String {
    let mut put = String::new();
    for c in sums {
        let _ = writeln!(body, "var total_{c} = vec4<{t}>(0);");
        let _ = write!(put, "total_{c} += {c};\n{c} = vec4<{t}>(0);\n");
    }
    put
}

/// Appends `walk`, which adds the products from `k_begin` to `k_end` to registers `sums`; where it
/// is deep, block by block.
pub(crate) fn in_blocks(t: &str, deep: bool, sums: &[String], walk: &str, body: &mut String) {
    if !deep {
        body.push_str(walk);
        return;
    }
    let put = declare_totals(t, sums, body);
    let walk = walk.replace("k_begin", "block").replace("k_end", "until");
    let _ = write!(
        body,
        "for (var block = k_begin; block < k_end; block += {BLOCK}u) {{\n    \
             let until = min(block + {BLOCK}u, k_end);\n{}{}}}\n",
        indent(&walk),
        indent(&put)
    );
    for c in sums {
        let _ = writeln!(body, "{c} = total_{c};");
    }
}

/// The registers that hold `rows` rows of `quads` quads, declared as 0.
pub(crate) fn declare_sums(t: &str, [rows, quads]: [usize; 2], body: &mut String) -> Vec<String> {
    let mut sums = Vec::new();
    for r in 0..rows {
        for q in 0..quads {
            let _ = writeln!(body, "var c{r}_{q} = vec4<{t}>(0);");
            sums.push(format!("c{r}_{q}"));
        }
    }
    sums
}

const LANES: [&str; 4] = ["x", "y", "z", "w"];

/// The barrier-free form: `rows` rows and `quads` times four columns per thread.
pub(crate) fn registers_body(
    t: &str,
    [rows, quads]: [usize; 2],
    [a, b]: [Walk; 2],
    deep: bool,
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
    let sums = declare_sums(t, [rows, quads], body);
    let mut walk = String::from("var k = k_begin;\n");
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
        walk,
        "for (; k + 4u <= k_end; k += 4u) {{\n{}}}\n",
        indent(&four)
    );
    let mut one = String::new();
    for r in 0..rows {
        let _ = writeln!(one, "let p{r} = vec4<{t}>(load_a(a{r} + k * params.a_k));");
    }
    let walks = [Walk::Single, if b == Walk::K { Walk::Single } else { b }];
    registers_step(t, [rows, quads], walks, 0, "x", &mut one);
    let _ = write!(walk, "for (; k < k_end; k++) {{\n{}}}\n", indent(&one));
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

/// How an operand's tile comes to workgroup memory: in quads that a thread holds in registers
/// while the tile before is being multiplied.
struct Loader {
    name: &'static str,
    /// The size across: `m` or `n`.
    edge: &'static str,
    walk: Walk,
    /// Quads that a thread holds.
    held: usize,
    /// The first thread that holds any, and how many do.
    threads: (usize, usize),
    /// What its registers are called.
    held_name: String,
    quads: usize,
}

impl Loader {
    fn new(name: &'static str, walk: Walk, quads: usize, depth: usize) -> Loader {
        let all = quads * depth;
        // Along `k`, four quads at a time are turned in registers.
        let items = if walk == Walk::K { all / 4 } else { all };
        let busy = items.min(GROUP);
        let a = name == "a";
        Loader {
            name,
            edge: if a { "m" } else { "n" },
            walk,
            held: all / busy,
            // B is brought by the last threads, so that A's are not burdened twice.
            threads: (if a { 0 } else { GROUP - busy }, busy),
            held_name: format!("{name}_held"),
            quads,
        }
    }

    fn guard(&self, work: String) -> String {
        match self.threads {
            (0, GROUP) => work,
            (0, busy) => format!("if lane < {busy}u {{\n{}}}\n", indent(&work)),
            (from, _) => format!("if lane >= {from}u {{\n{}}}\n", indent(&work)),
        }
    }

    /// Before the loop: where this thread's quads come from, but for `k`, and where they go.
    fn places(&self, depth: usize, tile: usize, out: &mut String) {
        let (name, edge, quads) = (self.name, self.edge, self.quads);
        let item = match self.threads.0 {
            0 => "lane".to_string(),
            from => format!("(lane - {from}u)"),
        };
        let first = format!("tile_{edge} * {tile}u");
        let edge = format!("params.{edge}");
        if self.walk == Walk::K {
            let _ = write!(
                out,
                "let {name}_d = ({item} % {0}u) * 4u;\n\
                 let {name}_quad = {item} / {0}u;\n",
                depth / 4
            );
            for j in 0..4 {
                let _ = writeln!(
                    out,
                    "let {name}_at{j} = {name}_base + \
                     min({first} + {name}_quad * 4u + {j}u, {edge} - 1u) * params.{name}_across;"
                );
            }
            let _ = writeln!(out, "let {name}_to = {name}_d * {quads}u + {name}_quad;");
        } else {
            let _ = write!(
                out,
                "let {name}_d = {item} / {quads}u;\n\
                 let {name}_near = {first} + {item} % {quads}u * 4u;\n"
            );
            if self.walk == Walk::Across {
                let _ = writeln!(
                    out,
                    "let {name}_at = {name}_base + min({name}_near, ({edge} - 1u) & ~3u);"
                );
            } else {
                let _ = writeln!(
                    out,
                    "let {name}_at = vec4<u32>({name}_base) + \
                     min(vec4<u32>({name}_near) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>({edge} - 1u)) \
                     * params.{name}_across;"
                );
            }
            let _ = writeln!(out, "let {name}_to = {item};");
        }
    }

    /// Reads the tile at depth `next`; depths beyond the end repeat the last.
    fn fetch(&self, t: &str) -> String {
        let (name, held) = (self.name, &self.held_name);
        let mut out = String::new();
        if self.walk == Walk::K {
            let _ = writeln!(
                out,
                "let {name}_deep = min(next + {name}_d, (params.k - 1u) & ~3u);"
            );
            for j in 0..4 {
                let _ = writeln!(
                    out,
                    "let {name}{j} = load4_{name}({name}_at{j} + {name}_deep);"
                );
            }
            for (h, lane) in LANES.iter().enumerate() {
                let _ = writeln!(
                    out,
                    "{held}{h} = vec4<{t}>({name}0.{lane}, {name}1.{lane}, {name}2.{lane}, {name}3.{lane});"
                );
            }
        } else {
            for h in 0..self.held {
                let deep = format!(
                    "min(next + {name}_d + {}u, params.k - 1u) * params.{name}_k",
                    h * GROUP / self.quads
                );
                if self.walk == Walk::Across {
                    let _ = writeln!(out, "{held}{h} = load4_{name}({name}_at + {deep});");
                    continue;
                }
                let each: Vec<String> = LANES
                    .iter()
                    .map(|lane| format!("load_{name}({name}{h}.{lane})"))
                    .collect();
                let _ = write!(
                    out,
                    "let {name}{h} = {name}_at + vec4<u32>({deep});\n\
                     {held}{h} = vec4<{t}>({});\n",
                    each.join(", ")
                );
            }
        }
        self.guard(out)
    }

    /// Puts what this thread holds into workgroup memory.
    fn put(&self) -> String {
        let name = self.name;
        let step = if self.walk == Walk::K {
            self.quads
        } else {
            GROUP
        };
        let mut out = String::new();
        for h in 0..self.held {
            let _ = writeln!(
                out,
                "{name}_tile[{name}_to + {}u] = {}{h};",
                h * step,
                self.held_name
            );
        }
        self.guard(out)
    }
}

/// The tiled form: `tile` x `tile` results per workgroup of 256 threads, `block` x `block` per
/// thread as quads that lie `tile / 2` apart where there are two (neighbouring threads then read
/// neighbouring words of workgroup memory). While a tile is multiplied the next is on its way
/// into registers.
pub(crate) fn tiled_body(
    source: &mut Source<'_>,
    t: &str,
    [tile, block, depth]: [usize; 3],
    walks: [Walk; 2],
    deep: bool,
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
    let mut loaders = [
        Loader::new("a", walks[0], quads, depth),
        Loader::new("b", walks[1], quads, depth),
    ];
    if walks == [Walk::K, Walk::K] {
        // No thread brings both: one set of registers does.
        for loader in &mut loaders {
            loader.held_name = "held".into();
        }
    }
    let _ = write!(
        body,
        "let thread_n = lane % {across}u;\nlet thread_m = lane / {across}u;\n"
    );
    let mut names = std::collections::BTreeSet::new();
    for loader in &loaders {
        loader.places(depth, tile, body);
        names.extend((0..loader.held).map(|h| format!("{}{h}", loader.held_name)));
    }
    for name in names {
        let _ = writeln!(body, "var {name} = vec4<{t}>(0);");
    }
    let fetch: String = loaders.iter().map(|l| l.fetch(t)).collect();
    let put: String = loaders.iter().map(Loader::put).collect();
    let sums = declare_sums(t, [block, halves], body);
    let mut put_aside = String::new();
    if deep {
        // Within the loop over tiles, so that the next tile is on its way here too.
        let put = declare_totals(t, &sums, body);
        put_aside = format!(
            "if ((next - k_begin) & {}u) == 0u {{\n{}}}\n",
            BLOCK - 1,
            indent(&put)
        );
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
    let multiply = |count: &str| {
        format!(
            "for (var d = 0u; d < {count}; d++) {{\n{}}}\n",
            indent(&inner)
        )
    };
    let _ = write!(
        body,
        "var next = k_begin;\n\
         if next < k_end {{\n{0}}}\n\
         var k = k_begin;\n\
         for (; k + {depth}u <= k_end; k += {depth}u) {{\n{1}    \
             workgroupBarrier();\n    \
             next = k + {depth}u;\n    \
             if next < k_end {{\n{2}    }}\n{3}{5}    \
             workgroupBarrier();\n}}\n\
         if k < k_end {{\n{1}    \
             workgroupBarrier();\n{4}}}\n",
        indent(&fetch),
        indent(&put),
        indent(&indent(&fetch)),
        indent(&multiply(&format!("{depth}u"))),
        indent(&multiply("k_end - k")),
        indent(&put_aside),
    );
    if deep {
        for c in &sums {
            let _ = writeln!(body, "{c} += total_{c};");
        }
    }
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
