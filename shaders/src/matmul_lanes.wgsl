// C = A B by subgroups, without workgroup memory or barriers, for adapters that run on the CPU. There a load
// is a loop over the lanes, while passing a value from one lane to all is nearly free. So the `size` lanes of
// a subgroup own neighbouring columns, `quads` times four each, and share their `rows` rows: each reads other
// elements of A, at two depths, and all get them by shuffles.
//
// Varies: t (type of the sums), rows, quads, size; a_walk and b_walk: the direction in which an operand is read
// by vectors ("k", "across": along m of A, n of B; "single": neither); deep (sums of sums of `block_length`
// products, because the error of a chain grows with its length); and what the files in matmul/ need.
#set begin = "block" if deep else "k_begin"
#set end = "until" if deep else "k_end"

#include "matmul/depth.wgsl"
#include "matmul/counting.wgsl"
#include "matmul/beside.wgsl"
#include "matmul/store.wgsl"
@compute @workgroup_size({{size}})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    #set unit = "group_index"
    #set threads = size
    #include "matmul/place.wgsl"
    let row = tile_m * {{rows}}u;
    let col = tile_n * {{quads * 4 * size}}u + lane * {{quads * 4}}u;

    // Rows and columns beyond the edge repeat the last; they are not stored.
    #for r in range(rows)
    #if a_walk != "across"
    let a{{r}} = a_base + place_a_across(min(row + {{r}}u, params.m - 1u));
    #elif r % 2 == 0
    let a{{r}} = a_base + place_a_across(min(row + {{r}}u, (params.m - 1u) & ~1u));
    #endif
    #endfor
    #for c in range(quads * 4)
    #if b_walk != "across"
    let b{{c}} = b_base + place_b_across(min(col + {{c}}u, params.n - 1u));
    #elif c % 4 == 0
    let b{{c}} = b_base + place_b_across(min(col + {{c}}u, (params.n - 1u) & ~3u));
    #endif
    #endfor
    #for r in range(rows)
    #for q in range(quads)
    var c{{r}}_{{q}} = vec4<{{t}}>(0);
    #if deep
    var total{{r}}_{{q}} = vec4<{{t}}>(0);
    #endif
    #endfor
    #endfor

    #if counts.a > 0
    var a_place = coordinates_a(k_begin + lane * 2u);
    let a_step = coordinates_a({{size * 2}}u);
    #endif
    #if counts.b > 0
    var b_place = coordinates_b(k_begin);
    #endif
    #if deep
    for (var block = k_begin; block < k_end; block += {{block_length}}u) {
        let until = min(block + {{block_length}}u, k_end);
    #endif
    for (var first = {{begin}}; first < {{end}}; first += {{size * 2}}u) {
        // This lane's two elements of each row. What lies beyond the end is read from elsewhere and counts
        // as 0.
        #if counts.a > 0
        let near = select(0u, depth_a(a_place), first + lane * 2u < params.k);
        #if a_walk != "k"
        let a_next = advanced_a(a_place, vec4<u32>(1u, 0u, 0u, 0u));
        let next = select(0u, depth_a(a_next), first + lane * 2u + 1u < params.k);
        #endif
        a_place = advanced_a(a_place, a_step);
        #elif a_walk == "k"
        let near = min(first + lane * 2u, (params.k - 1u) & ~1u);
        #else
        let near = min(first + lane * 2u, params.k - 1u) * params.a_k;
        let next = min(first + lane * 2u + 1u, params.k - 1u) * params.a_k;
        #endif
        let live = vec2<u32>(first + lane * 2u) + vec2<u32>(0u, 1u) < vec2<u32>({{end}});
        #for r in range(rows)
        #if a_walk == "k"
        let p{{r}} = select(vec2<{{t}}>(0), load2_a(a{{r}} + near), live);
        #elif a_walk == "single"
        let p{{r}} = select(vec2<{{t}}>(0), vec2<{{t}}>(load_a(a{{r}} + near), load_a(a{{r}} + next)), live);
        #elif r % 2 == 0
        let u{{r}} = load2_a(a{{r}} + near);
        let w{{r}} = load2_a(a{{r}} + next);
        let p{{r}} = select(vec2<{{t}}>(0), vec2<{{t}}>(u{{r}}.x, w{{r}}.x), live);
        let p{{r + 1}} = select(vec2<{{t}}>(0), vec2<{{t}}>(u{{r}}.y, w{{r}}.y), live);
        #endif
        #endfor
        let pairs = min({{size}}u, ({{end}} - first + 1u) / 2u);
        for (var step = 0u; step < pairs; step++) {
            let k = first + step * 2u;
            // This lane's columns at k and k + 1, the latter as 0 beyond the end.
            let both = k + 1u < {{end}};
            #if counts.b > 0
            let b_deep0 = depth_b(b_place);
            b_place = advanced_b(b_place, vec4<u32>(1u, 0u, 0u, 0u));
            let b_deep1 = select(b_deep0, depth_b(b_place), both);
            b_place = advanced_b(b_place, vec4<u32>(1u, 0u, 0u, 0u));
            #else
            let b_deep0 = k * params.b_k;
            let b_deep1 = min(k + 1u, {{end}} - 1u) * params.b_k;
            #endif
            #for q in range(quads)
            #set c = q * 4
            #if b_walk == "k"
            #for j in range(4)
            let w{{c + j}} = load2_b(b{{c + j}} + b_deep0);
            #endfor
            #endif
            #for half in ["x", "y"]
            #set depth = loop.index0
            #set r = "r" ~ depth ~ "_" ~ q
            #if b_walk == "across"
            var {{r}} = load4_b(b{{c}} + b_deep{{depth}});
            #elif b_walk == "k"
            var {{r}} = vec4<{{t}}>(w{{c}}.{{half}}, w{{c + 1}}.{{half}}, w{{c + 2}}.{{half}}, w{{c + 3}}.{{half}});
            #else
            var {{r}} = vec4<{{t}}>(
                #for j in range(4)
                load_b(b{{c + j}} + b_deep{{depth}}),
                #endfor
            );
            #endif
            #endfor
            r1_{{q}} = select(vec4<{{t}}>(0), r1_{{q}}, both);
            #endfor
            #for half in ["x", "y"]
            #set s = loop.index0
            #for r in range(rows)
            let l{{s}}_{{r}} = subgroupShuffle(p{{r}}.{{half}}, step);
            #for q in range(quads)
            c{{r}}_{{q}} = mad_{{t}}(l{{s}}_{{r}}, r{{s}}_{{q}}, c{{r}}_{{q}});
            #endfor
            #endfor
            #endfor
        }
    }
    #if deep
        #for r in range(rows)
        #for q in range(quads)
        total{{r}}_{{q}} += c{{r}}_{{q}};
        c{{r}}_{{q}} = vec4<{{t}}>(0);
        #endfor
        #endfor
    }
    #endif
    #for r in range(rows)
    #for q in range(quads)
    store_block(batch, part, row + {{r}}u, col + {{q * 4}}u, {{"total" if deep else "c"}}{{r}}_{{q}});
    #endfor
    #endfor
}
