fn merged(a: {{t}}, b: {{t}}) -> {{t}} {
    #if merge == "sum"
    return a + b;
    #elif merge == "product"
    return a * b;
    #else
    return {{merge}}_{{t}}(vec4<{{t}}>(a), vec4<{{t}}>(b)).x;
    #endif
}
