//! The functions through which a kernel reads and writes its buffers.

use std::fmt::Write;

use wgrad_core::DType;

use super::{Access, Element, Source, Word, register, storage};

impl Source<'_> {
    pub(super) fn write_accessors(&self, access: &Access, out: &mut String) {
        let binding = &self.bindings[access.binding];
        let element = binding.element;
        let array = format!("b{}", access.binding);
        let (word, _) = storage(access.dtype);
        let held = match element {
            Element::One(w) | Element::Four(w) => w,
            Element::Two | Element::Wide(_) | Element::Atomic(_) => Word::U32,
        };
        let name = &access.name;
        let t = register(access.dtype);
        let at = |i: &str| match element {
            Element::One(_) | Element::Atomic(_) => format!("{array}[{i}]"),
            Element::Two => format!("{array}[({i}) >> 1u][({i}) & 1u]"),
            Element::Four(_) => format!("{array}[({i}) >> 2u][({i}) & 3u]"),
            Element::Wide(_) => {
                format!("unpack_64({array}[({i}) >> 2u][(({i}) >> 1u) & 1u])[({i}) & 1u]")
            }
        };
        let cast = |to: Word, from: Word, value: String, lanes: &str| {
            if to == from {
                value
            } else if lanes.is_empty() {
                format!("bitcast<{}>({value})", to.name())
            } else {
                format!("bitcast<{lanes}<{}>>({value})", to.name())
            }
        };
        let one = |i: &str| cast(word, held, at(i), "");
        let quad = match element {
            Element::Four(_) => cast(word, held, format!("{array}[i >> 2u]"), "vec4"),
            Element::Wide(_) => cast(word, held, format!("unpack_64x2({array}[i >> 2u])"), "vec4"),
            _ => format!(
                "vec4<{}>({}, {}, {}, {})",
                word.name(),
                one("i"),
                one("i + 1u"),
                one("i + 2u"),
                one("i + 3u")
            ),
        };
        let pair = match element {
            Element::Two => format!("{array}[i >> 2u]"),
            _ => format!("vec2<u32>({}, {})", one("i >> 1u"), one("(i >> 1u) + 1u")),
        };
        let half = format!("({} >> ((i & 1u) * 16u))", one("i >> 1u"));
        let (scalar, four) = match access.dtype {
            DType::F16 => (format!("f16_scalar({half})"), format!("unpack_f16({pair})")),
            DType::BF16 => (
                format!("bf16_scalar({half})"),
                format!("unpack_bf16({pair})"),
            ),
            DType::I16 => (
                format!("bitcast<i32>({half} << 16u) >> 16u"),
                format!("unpack_i16({pair})"),
            ),
            DType::I8 => (
                format!(
                    "bitcast<i32>({} << (24u - (i & 3u) * 8u)) >> 24u",
                    one("i >> 2u")
                ),
                format!("unpack_i8({})", one("i >> 2u")),
            ),
            DType::U8 => (
                format!("({} >> ((i & 3u) * 8u)) & 255u", one("i >> 2u")),
                format!("unpack_u8({})", one("i >> 2u")),
            ),
            DType::Bool => (
                format!("{} != 0u", one("i")),
                format!("{quad} != vec4<u32>(0u)"),
            ),
            _ => (one("i"), quad),
        };
        let _ = write!(
            out,
            "fn load_{name}(i: u32) -> {t} {{\n    return {scalar};\n}}\n\n\
             fn load4_{name}(i: u32) -> vec4<{t}> {{\n    return {four};\n}}\n\n"
        );
        let two = match element {
            Element::Wide(_) => cast(
                word,
                held,
                format!("unpack_64({array}[i >> 2u][(i >> 1u) & 1u])"),
                "vec2",
            ),
            _ => format!("vec2<{t}>(load_{name}(i), load_{name}(i + 1u))"),
        };
        let _ = write!(
            out,
            "fn load2_{name}(i: u32) -> vec2<{t}> {{\n    return {two};\n}}\n\n"
        );
        if !binding.writable {
            return;
        }
        let put =
            |i: &str, value: String| format!("    {} = {};\n", at(i), cast(held, word, value, ""));
        let put_quad = |value: &str| match element {
            Element::Four(_) => format!(
                "    {array}[i >> 2u] = {};\n",
                cast(held, word, value.to_string(), "vec4")
            ),
            Element::Wide(_) => format!(
                "    {array}[i >> 2u] = pack_64x2({});\n",
                cast(held, word, value.to_string(), "vec4")
            ),
            _ => ["x", "y", "z", "w"]
                .iter()
                .zip(["i", "i + 1u", "i + 2u", "i + 3u"])
                .map(|(lane, i)| put(i, format!("({value}).{lane}")))
                .collect(),
        };
        let put_pair = |bits: &str| match element {
            Element::Two => format!("    {array}[i >> 2u] = pack_16({bits}(value));\n"),
            _ => format!(
                "    let words = pack_16({bits}(value));\n{}{}",
                put("i >> 1u", "words.x".into()),
                put("(i >> 1u) + 1u", "words.y".into())
            ),
        };
        let four = match access.dtype {
            DType::F16 => put_pair("f16_bits"),
            DType::BF16 => put_pair("bf16_bits"),
            DType::I16 => put_pair("i16_bits"),
            DType::I8 => put("i >> 2u", "pack_u8(bitcast<vec4<u32>>(value))".into()),
            DType::U8 => put("i >> 2u", "pack_u8(value)".into()),
            DType::Bool => put_quad("select(vec4<u32>(0u), vec4<u32>(1u), value)"),
            _ => put_quad("value"),
        };
        let _ = write!(
            out,
            "fn store4_{name}(i: u32, value: vec4<{t}>) {{\n{four}}}\n\n"
        );
        let scalar = match access.dtype {
            // Packed elements are only written four at a time.
            DType::F16 | DType::BF16 | DType::I16 | DType::I8 | DType::U8 => return,
            // As are those that are bound as 64-bit words.
            _ if matches!(element, Element::Wide(_)) => return,
            DType::Bool => put("i", "select(0u, 1u, value)".into()),
            _ => put("i", "value".into()),
        };
        let _ = write!(
            out,
            "fn store_{name}(i: u32, value: {t}) {{\n{scalar}}}\n\n"
        );
    }
}
