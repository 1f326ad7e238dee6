## Where the depths of operands lie whose `k` is several dimensions.
##
## Varies: counts.a and counts.b (how many dimensions, the innermost first; 0 for an operand that one stride walks).
#for x in ["a", "b"]
#if counts[x] > 0
#set inner = counts[x] - 1
// The coordinates of depth k of {{x}}, the innermost first.
fn coordinates_{{x}}(k: u32) -> vec4<u32> {
    var rest = k;
    var at = vec4<u32>(0u);
    #for d in range(inner)
    at.{{"xyzw"[d]}} = rest % params.{{x}}_size{{d}};
    rest /= params.{{x}}_size{{d}};
    #endfor
    at.{{"xyzw"[inner]}} = rest;
    return at;
}

// Where they lie, from depth 0 on.
fn depth_{{x}}(at: vec4<u32>) -> u32 {
    return {% for d in range(counts[x]) %}{{" + " if d > 0}}at.{{"xyzw"[d]}} * params.{{x}}_stride{{d}}{% endfor %};
}

#endif
#endfor
