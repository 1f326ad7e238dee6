// C = A B by tiles, for GPUs. A workgroup of 256 threads brings TILE x DEPTH elements of A and DEPTH x TILE
// of B into workgroup memory; each thread keeps `block` x `block` results in registers, as quads that lie
// TILE / 2 apart where there are two, so that neighbours read neighbouring words. While a tile is multiplied
// the next is on its way into registers.
//
// Varies: t (type of the sums), tile, block, depth; a_walk and b_walk: the direction in which an operand is read
// by vectors ("k", "across": along m of A, n of B; "single": neither); deep (sums of sums of `block_length`
// products, because the error of a chain grows with its length); and what the files in matmul/ need.
#set lanes = ["x", "y", "z", "w"]
#set walks = {"a": a_walk, "b": b_walk}
#set edge = {"a": "m", "b": "n"}
#set halves = block // 4
## Quads that a workgroup brings. What is read along k lies along k in workgroup memory too, where a thread has
## the registers for four depths at once; else a thread brings four quads and turns them.
#set quads = tile // 4 * depth
#set along = {"a": walks.a == "k" and halves == 1, "b": walks.b == "k" and halves == 1}
#set turned = {"a": walks.a == "k" and halves > 1, "b": walks.b == "k" and halves > 1}
#set items = {"a": quads // 4 if turned.a else quads, "b": quads // 4 if turned.b else quads}
## Where not all threads are needed the last bring B, so that those that bring A are not burdened twice.
#set busy = {"a": [items.a, 256]|min, "b": [items.b, 256]|min}
#set brings = {"a": "lane < " ~ busy.a ~ "u", "b": "lane >= " ~ (256 - busy.b) ~ "u"}
## Where no thread brings both, one set of registers does.
#set once = turned.a and turned.b
#set held = {"a": "held" if once else "a_held", "b": "held" if once else "b_held"}
#set count = {"a": quads // busy.a, "b": quads // busy.b}
const TILE = {{tile}}u;
const DEPTH = {{depth}}u;
const QUADS = TILE / 4u;
const ACROSS = TILE / {{block}}u; // threads along m, and along n
#if along.a or along.b
// Quads from one line (a row of A, a column of B) to the fourth next, and from a line to the next: so that neither
// neighbours who read nor neighbours who write meet in a bank.
const PITCH = DEPTH / 4u + 1u;
const LINES = QUADS * PITCH + 4u;
#endif

#for x in ["a", "b"]
#if along[x]
// Four depths of line 4 i + j from depth d on are at j * LINES + i * PITCH + d / 4.
var<workgroup> {{x}}_tile: array<vec4<{{t}}>, LINES * 4u>;
#else
// Quad q of depth d is at d * QUADS + q.
var<workgroup> {{x}}_tile: array<vec4<{{t}}>, QUADS * DEPTH>;
#endif
#endfor
#set listed = counts.a > 0 or counts.b > 0
#set blocks = deep or listed
#if blocks
const BLOCK = {{block_length}}u; // depths
#endif
#if listed
// Where the depths of a block and of the next lie, found once for all threads: divisions cost as much as ten
// products.
#for x in ["a", "b"]
#if counts[x] > 0
var<workgroup> {{x}}_depths: array<u32, BLOCK * 2u>;
#endif
#endfor

#include "matmul/depth.wgsl"
// Lists where depth k lies, that many behind the first; depths beyond the end repeat the first of all.
fn list(behind: u32, k: u32) {
    #for x in ["a", "b"]
    #if counts[x] > 0
    {{x}}_depths[behind % (BLOCK * 2u)] = select(0u, depth_{{x}}(coordinates_{{x}}(k)), k < params.k);
    #endif
    #endfor
}

#endif
## Reads this thread's part of the tile at depth `next`; depths beyond the end repeat another.
#macro fetch(x)
    #if busy[x] < 256
    if {{brings[x]}} {
    #endif
    #for h in range(1 if turned[x] else count[x])
    #if along[x] or turned[x]
    #set d = x ~ "_d"
    #else
    #set d = x ~ "_d + " ~ h * 256 ~ "u / QUADS"
    #endif
    #if counts[x] > 0
    let {{x}}_deep{{h}} = {{x}}_depths[(next - k_begin) % (BLOCK * 2u) + {{d}}];
    #elif walks[x] == "k"
    let {{x}}_deep{{h}} = min(next + {{d}}, (params.k - 1u) & ~3u);
    #else
    let {{x}}_deep{{h}} = min(next + {{d}}, params.k - 1u) * params.{{x}}_k;
    #endif
    #endfor
    #if turned[x]
    #for j in range(4)
    let {{x}}{{j}} = load4_{{x}}({{x}}_at{{j}} + {{x}}_deep0);
    #endfor
    #for i in lanes
    {{held[x]}}{{loop.index0}} = vec4<{{t}}>({{x}}0.{{i}}, {{x}}1.{{i}}, {{x}}2.{{i}}, {{x}}3.{{i}});
    #endfor
    #else
    #for h in range(count[x])
    #if walks[x] == "single"
    let {{x}}{{h}} = {{x}}_at + vec4<u32>({{x}}_deep{{h}});
    {{held[x]}}{{h}} = vec4<{{t}}>(load_{{x}}({{x}}{{h}}.x), load_{{x}}({{x}}{{h}}.y), load_{{x}}({{x}}{{h}}.z), load_{{x}}({{x}}{{h}}.w));
    #else
    {{held[x]}}{{h}} = load4_{{x}}({{x}}_at + {{x}}_deep{{h}});
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
    {{x}}_tile[{{x}}_to + {{h}}u * {{"QUADS" if turned[x] else "256u"}}] = {{held[x]}}{{h}};
    #endfor
    #if busy[x] < 256
    }
    #endif
#endmacro
## The quads of an operand at depth d + i. Those of a tile that lies along k are in what was read for four depths,
## unless the tile may end within them.
#macro depth(x, i, four)
    #for h in range(halves)
    #if not along[x]
    let {{x}}{{i}}_{{h}} = {{x}}_tile[(d + {{i}}u) * QUADS + thread_{{edge[x]}} + {{h}}u * QUADS / 2u];
    #elif four
    let {{x}}{{i}}_{{h}} = vec4<{{t}}>({% for j in range(4) %}{{", " if j}}{{x}}_four{{j}}.{{lanes[i]}}{% endfor %});
    #else
    let {{x}}{{i}}_{{h}} = vec4<{{t}}>(
        #for j in range(4)
        {{x}}_tile[{{j}}u * LINES + thread_{{edge[x]}} * PITCH + d / 4u][d % 4u],
        #endfor
    );
    #endif
    #endfor
#endmacro
#macro multiply(i)
    #for r in range(block)
    #for q in range(halves)
    c{{r}}_{{q}} = mad_{{t}}(a{{i}}_{{r // 4}}.{{lanes[r % 4]}}, b{{i}}_{{q}}, c{{r}}_{{q}});
    #endfor
    #endfor
#endmacro
#set step = 4 if along.a or along.b else 1
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
    #if along[x]
    let {{x}}_d = {{x}}_item % (DEPTH / 4u) * 4u;
    let {{x}}_line = {{x}}_item / (DEPTH / 4u);
    let {{x}}_at = {{x}}_base + place_{{x}}_across(min(tile_{{edge[x]}} * TILE + {{x}}_line, {{x}}_last));
    let {{x}}_to = {{x}}_line % 4u * LINES + {{x}}_line / 4u * PITCH + {{x}}_d / 4u;
    #elif turned[x]
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

    #if listed
    list(lane, k_begin + lane);
    workgroupBarrier();
    #endif
    var next = k_begin;
    if next < k_end {
        {{fetch("a")}}
        {{fetch("b")}}
    }
    var k = k_begin;
    #if blocks
    while k + DEPTH <= k_end {
    #if listed
    if k + BLOCK < k_end {
        list(k - k_begin + BLOCK + lane, k + BLOCK + lane);
    }
    #endif
    let whole_end = min(k + BLOCK, k_end);
    #endif
    for (; k + DEPTH <= {{"whole_end" if blocks else "k_end"}}; k += DEPTH) {
        {{put("a")}}
        {{put("b")}}
        workgroupBarrier();
        next = k + DEPTH;
        if next < k_end {
            {{fetch("a")}}
            {{fetch("b")}}
        }
        for (var d = 0u; d < DEPTH; d += {{step}}u) {
            #for x in ["a", "b"]
            #if along[x]
            #for j in range(4)
            let {{x}}_four{{j}} = {{x}}_tile[{{j}}u * LINES + thread_{{edge[x]}} * PITCH + d / 4u];
            #endfor
            #endif
            #endfor
            #for i in range(step)
            {{depth("a", i, true)}}
            {{depth("b", i, true)}}
            {{multiply(i)}}
            #endfor
        }
        workgroupBarrier();
    }
    #if deep
    #for r in range(block)
    #for q in range(halves)
    total{{r}}_{{q}} += c{{r}}_{{q}};
    c{{r}}_{{q}} = vec4<{{t}}>(0);
    #endfor
    #endfor
    #endif
    #if blocks
    }
    #endif
    // The last tile ends where k does, so that nothing is masked.
    if k < k_end {
        {{put("a")}}
        {{put("b")}}
        workgroupBarrier();
        for (var d = 0u; d < k_end - k; d++) {
            {{depth("a", 0, false)}}
            {{depth("b", 0, false)}}
            {{multiply(0)}}
        }
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
