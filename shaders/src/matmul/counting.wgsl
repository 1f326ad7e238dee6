## How a thread that walks operands whose `k` is several dimensions counts along in their coordinates (see
## matmul/depth.wgsl), because a division costs as much as ten products.
##
## Varies: counts.a and counts.b (how many dimensions, the innermost first; 0 for an operand that one stride walks).
#for x in ["a", "b"]
#if counts[x] > 0
#set inner = counts[x] - 1
// The coordinates that lie `by` further.
fn advanced_{{x}}(place: vec4<u32>, by: vec4<u32>) -> vec4<u32> {
    var at = place + by;
    #for d in range(inner)
    if at.{{"xyzw"[d]}} >= params.{{x}}_size{{d}} {
        at.{{"xyzw"[d]}} -= params.{{x}}_size{{d}};
        at.{{"xyzw"[d + 1]}}++;
    }
    #endfor
    return at;
}

#endif
#endfor
