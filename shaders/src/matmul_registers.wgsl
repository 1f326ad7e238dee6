// C = A B without workgroup memory or barriers: each thread computes `rows` rows and `quads` times four
// columns in registers and reads what it multiplies. For few rows, and for adapters that run on the CPU.
//
// Varies: t (type of the sums), rows, quads; a_walk and b_walk: the direction in which an operand is read by
// vectors ("k", "across": along m of A, n of B; "single": neither); deep (sums of sums of `block_length`
// products, because the error of a chain grows with its length); and what the files in matmul/ need.
#set lanes = ["x", "y", "z", "w"]
#set begin = "block" if deep else "k_begin"
#set end = "until" if deep else "k_end"
## Where the next `steps` depths of an operand lie; of one that is read by vectors along k, where the first does.
#macro depths(x, walk, steps)
    #if counts[x] > 0
    #for i in range(1 if walk == "k" else steps)
    let {{x}}_deep{{i}} = depth_{{x}}({{x}}_place);
    {{x}}_place = advanced_{{x}}({{x}}_place, {{"coordinates_" ~ x ~ "(4u)" if walk == "k" else "vec4<u32>(1u, 0u, 0u, 0u)"}});
    #endfor
    #else
    #for i in range(1 if walk == "k" else steps)
    let {{x}}_deep{{i}} = (k + {{i}}u) * params.{{x}}_k;
    #endfor
    #endif
#endmacro
## The products of one depth, `k + i`. Of an operand that is read along k, lane `lane` belongs to it.
#macro step(i, lane, a, b)
    #if a == "across"
    #for q in range((rows + 3) // 4)
    let l{{i}}_{{q}} = load4_a(a_quad{{q}} + a_deep{{i}});
    #endfor
    #endif
    #for q in range(quads)
    #set c = q * 4
    #if b == "across"
    let r{{i}}_{{q}} = load4_b(b_quad{{q}} + b_deep{{i}});
    #elif b == "k"
    let r{{i}}_{{q}} = vec4<{{t}}>(w{{c}}.{{lane}}, w{{c + 1}}.{{lane}}, w{{c + 2}}.{{lane}}, w{{c + 3}}.{{lane}});
    #else
    let r{{i}}_{{q}} = vec4<{{t}}>(
        #for j in range(4)
        load_b(b{{c + j}} + b_deep{{i}}),
        #endfor
    );
    #endif
    #endfor
    #for r in range(rows)
    #set left = "l" ~ i ~ "_" ~ r // 4 ~ "." ~ lanes[r % 4] if a == "across" else "p" ~ r ~ "." ~ lane
    #for q in range(quads)
    c{{r}}_{{q}} = mad_{{t}}({{left}}, r{{i}}_{{q}}, c{{r}}_{{q}});
    #endfor
    #endfor
#endmacro

#include "matmul/depth.wgsl"
#include "matmul/counting.wgsl"
#include "matmul/beside.wgsl"
#include "matmul/store.wgsl"
@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    #set unit = "(group_index * 64u + lane)"
    #set threads = 64
    #include "matmul/place.wgsl"
    let row = tile_m * {{rows}}u;
    let col = tile_n * {{quads * 4}}u;

    // Rows and columns beyond the edge repeat the last; they are not stored.
    #for r in range(rows)
    let a{{r}} = a_base + place_a_across(min(row + {{r}}u, params.m - 1u));
    #endfor
    #if a_walk == "across"
    #for q in range((rows + 3) // 4)
    let a_quad{{q}} = a_base + place_a_across(min(row + {{q * 4}}u, (params.m - 1u) & ~3u));
    #endfor
    #endif
    #if b_walk == "across"
    #for q in range(quads)
    let b_quad{{q}} = b_base + place_b_across(min(col + {{q * 4}}u, (params.n - 1u) & ~3u));
    #endfor
    #else
    #for c in range(quads * 4)
    let b{{c}} = b_base + place_b_across(min(col + {{c}}u, params.n - 1u));
    #endfor
    #endif
    #for r in range(rows)
    #for q in range(quads)
    var c{{r}}_{{q}} = vec4<{{t}}>(0);
    #if deep
    var total{{r}}_{{q}} = vec4<{{t}}>(0);
    #endif
    #endfor
    #endfor

    #for x in ["a", "b"]
    #if counts[x] > 0
    var {{x}}_place = coordinates_{{x}}(k_begin);
    #endif
    #endfor
    #if deep
    for (var block = k_begin; block < k_end; block += {{block_length}}u) {
        let until = min(block + {{block_length}}u, k_end);
    #endif
    var k = {{begin}};
    for (; k + 4u <= {{end}}; k += 4u) {
        {{depths("a", a_walk, 4)}}
        {{depths("b", b_walk, 4)}}
        #for r in range(rows)
        #if a_walk == "k"
        let p{{r}} = load4_a(a{{r}} + a_deep0);
        #elif a_walk == "single"
        let p{{r}} = vec4<{{t}}>(
            #for j in range(4)
            load_a(a{{r}} + a_deep{{j}}),
            #endfor
        );
        #endif
        #endfor
        #if b_walk == "k"
        #for c in range(quads * 4)
        let w{{c}} = load4_b(b{{c}} + b_deep0);
        #endfor
        #endif
        #for lane in lanes
        {{step(loop.index0, lane, a_walk, b_walk)}}
        #endfor
    }
    for (; k < {{end}}; k++) {
        {{depths("a", "single", 1)}}
        {{depths("b", "single", 1)}}
        #for r in range(rows)
        let p{{r}} = vec4<{{t}}>(load_a(a{{r}} + a_deep0));
        #endfor
        {{step(0, "x", "single", "across" if b_walk == "across" else "single")}}
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
