// C = A B by tiles, for GPUs. A workgroup of 256 threads brings TILE x DEPTH elements of A and DEPTH x TILE
// of B into workgroup memory, k outermost; each thread keeps `block` x `block` results in registers, as
// quads that lie TILE / 2 apart where there are two, so that neighbours read neighbouring words. While a
// tile is multiplied the next is on its way into registers.
//
// Varies: t (type of the sums), tile, block, depth; a_walk and b_walk: the direction in which an operand is read
// by vectors ("k", "across": along m of A, n of B; "single": neither); deep (sums of sums of `block_length`
// products, because the error of a chain grows with its length); and what the files in matmul/ need.
#set lanes = ["x", "y", "z", "w"]
#set walks = {"a": a_walk, "b": b_walk}
#set edge = {"a": "m", "b": "n"}
#set halves = block // 4
## Quads that a workgroup brings; along k a thread brings four at a time and turns them in registers.
#set quads = tile // 4 * depth
#set items = {"a": quads // 4 if walks.a == "k" else quads, "b": quads // 4 if walks.b == "k" else quads}
## Where not all threads are needed the last bring B, so that those that bring A are not burdened twice.
#set busy = {"a": [items.a, 256]|min, "b": [items.b, 256]|min}
#set brings = {"a": "lane < " ~ busy.a ~ "u", "b": "lane >= " ~ (256 - busy.b) ~ "u"}
## Where no thread brings both, one set of registers does.
#set once = walks.a == "k" and walks.b == "k"
#set held = {"a": "held" if once else "a_held", "b": "held" if once else "b_held"}
#set count = {"a": quads // busy.a, "b": quads // busy.b}
const TILE = {{tile}}u;
const DEPTH = {{depth}}u;
const QUADS = TILE / 4u;
const ACROSS = TILE / {{block}}u; // threads along m, and along n

// Quad q of depth d is at d * QUADS + q.
var<workgroup> a_tile: array<vec4<{{t}}>, QUADS * DEPTH>;
var<workgroup> b_tile: array<vec4<{{t}}>, QUADS * DEPTH>;

## Reads this thread's part of the tile at depth `next`; depths beyond the end repeat the last.
#macro fetch(x)
    #if busy[x] < 256
    if {{brings[x]}} {
    #endif
    #if walks[x] == "k"
    #if counts[x] > 0
    let {{x}}_deep = select(0u, depth_{{x}}({{x}}_place0), next + {{x}}_d < params.k);
    {{x}}_place0 = advanced_{{x}}({{x}}_place0, {{x}}_step);
    #else
    let {{x}}_deep = min(next + {{x}}_d, (params.k - 1u) & ~3u);
    #endif
    #for j in range(4)
    let {{x}}{{j}} = load4_{{x}}({{x}}_at{{j}} + {{x}}_deep);
    #endfor
    #for i in lanes
    {{held[x]}}{{loop.index0}} = vec4<{{t}}>({{x}}0.{{i}}, {{x}}1.{{i}}, {{x}}2.{{i}}, {{x}}3.{{i}});
    #endfor
    #else
    #for h in range(count[x])
    #if counts[x] > 0
    let {{x}}_deep{{h}} = select(0u, depth_{{x}}({{x}}_place{{h}}), next + {{x}}_d + {{h * 256}}u / QUADS < params.k);
    {{x}}_place{{h}} = advanced_{{x}}({{x}}_place{{h}}, {{x}}_step);
    #else
    let {{x}}_deep{{h}} = min(next + {{x}}_d + {{h * 256}}u / QUADS, params.k - 1u) * params.{{x}}_k;
    #endif
    #if walks[x] == "across"
    {{held[x]}}{{h}} = load4_{{x}}({{x}}_at + {{x}}_deep{{h}});
    #else
    let {{x}}{{h}} = {{x}}_at + vec4<u32>({{x}}_deep{{h}});
    {{held[x]}}{{h}} = vec4<{{t}}>(load_{{x}}({{x}}{{h}}.x), load_{{x}}({{x}}{{h}}.y), load_{{x}}({{x}}{{h}}.z), load_{{x}}({{x}}{{h}}.w));
    #endif
    #endfor
    #endif
    #if busy[x] < 256
    }
    #endif
#endmacro
## Puts what this thread holds into workgroup memory.
#macro put(x)
    #if busy[x] < 256
    if {{brings[x]}} {
    #endif
    #for h in range(count[x])
    {{x}}_tile[{{x}}_to + {{h}}u * {{"QUADS" if walks[x] == "k" else "256u"}}] = {{held[x]}}{{h}};
    #endfor
    #if busy[x] < 256
    }
    #endif
#endmacro
## Multiplies the tiles in workgroup memory, so many depths of them.
#macro multiply(depths)
    for (var d = 0u; d < {{depths}}; d++) {
        #for h in range(halves)
        let l{{h}} = a_tile[d * QUADS + thread_m + {{h}}u * QUADS / 2u];
        #endfor
        #for h in range(halves)
        let r{{h}} = b_tile[d * QUADS + thread_n + {{h}}u * QUADS / 2u];
        #endfor
        #for r in range(block)
        #for q in range(halves)
        c{{r}}_{{q}} = mad_{{t}}(l{{r // 4}}.{{lanes[r % 4]}}, r{{q}}, c{{r}}_{{q}});
        #endfor
        #endfor
    }
#endmacro
#include "matmul/depth.wgsl"
#include "matmul/beside.wgsl"
#include "matmul/store.wgsl"
@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    #set unit = "group_index"
    #set threads = 256
    #include "matmul/place.wgsl"
    let thread_n = lane % ACROSS;
    let thread_m = lane / ACROSS;

    // Where this thread's quads come from, but for k, and where they go. Rows and columns beyond the edge
    // repeat the last; they are not stored.
    #for x in ["a", "b"]
    let {{x}}_item = lane{{" - " ~ (256 - busy.b) ~ "u" if x == "b" and busy.b < 256}};
    let {{x}}_last = params.{{edge[x]}} - 1u;
    #if walks[x] == "k"
    let {{x}}_d = {{x}}_item % (DEPTH / 4u) * 4u;
    let {{x}}_quad = {{x}}_item / (DEPTH / 4u);
    #for j in range(4)
    let {{x}}_at{{j}} = {{x}}_base + place_{{x}}_across(min(tile_{{edge[x]}} * TILE + {{x}}_quad * 4u + {{j}}u, {{x}}_last));
    #endfor
    let {{x}}_to = {{x}}_d * QUADS + {{x}}_quad;
    #else
    let {{x}}_d = {{x}}_item / QUADS;
    let {{x}}_near = tile_{{edge[x]}} * TILE + {{x}}_item % QUADS * 4u;
    #if walks[x] == "across"
    let {{x}}_at = {{x}}_base + place_{{x}}_across(min({{x}}_near, {{x}}_last & ~3u));
    #else
    let {{x}}_at = vec4<u32>({{x}}_base) + vec4<u32>(
        #for j in range(4)
        place_{{x}}_across(min({{x}}_near + {{j}}u, {{x}}_last)),
        #endfor
    );
    #endif
    let {{x}}_to = {{x}}_item;
    #endif
    #if counts[x] > 0
    #for h in range(count[x] if walks[x] != "k" else 1)
    var {{x}}_place{{h}} = coordinates_{{x}}(k_begin + {{x}}_d + {{h * 256}}u / QUADS);
    #endfor
    let {{x}}_step = coordinates_{{x}}(DEPTH);
    #endif
    #endfor
    #for x in (["a"] if once else ["a", "b"])
    #for h in range(count[x])
    var {{held[x]}}{{h}} = vec4<{{t}}>(0);
    #endfor
    #endfor
    #for r in range(block)
    #for q in range(halves)
    var c{{r}}_{{q}} = vec4<{{t}}>(0);
    #if deep
    var total{{r}}_{{q}} = vec4<{{t}}>(0);
    #endif
    #endfor
    #endfor

    var next = k_begin;
    if next < k_end {
        {{fetch("a")}}
        {{fetch("b")}}
    }
    var k = k_begin;
    for (; k + DEPTH <= k_end; k += DEPTH) {
        {{put("a")}}
        {{put("b")}}
        workgroupBarrier();
        next = k + DEPTH;
        if next < k_end {
            {{fetch("a")}}
            {{fetch("b")}}
        }
        {{multiply("DEPTH")}}
        #if deep
        // Within the loop over tiles, so that the next tile is on its way here too.
        if ((next - k_begin) & {{block_length - 1}}u) == 0u {
            #for r in range(block)
            #for q in range(halves)
            total{{r}}_{{q}} += c{{r}}_{{q}};
            c{{r}}_{{q}} = vec4<{{t}}>(0);
            #endfor
            #endfor
        }
        #endif
        workgroupBarrier();
    }
    // The last tile ends where k does, so that nothing is masked.
    if k < k_end {
        {{put("a")}}
        {{put("b")}}
        workgroupBarrier();
        {{multiply("k_end - k")}}
    }
    #for r in range(block)
    #for q in range(halves)
    #if deep
    c{{r}}_{{q}} += total{{r}}_{{q}};
    #endif
    store_block(
        batch,
        part,
        tile_m * TILE + {{r // 4}}u * TILE / 2u + thread_m * 4u + {{r % 4}}u,
        tile_n * TILE + {{q}}u * TILE / 2u + thread_n * 4u,
        c{{r}}_{{q}},
    );
    #endfor
    #endfor
}
