//! Names that the macros derive from the user's.

use proc_macro2::Span;
use quote::ToTokens;
use syn::{Path, Type};

/// `TakeDamage` to `take_damage`.
pub(crate) fn snake_case(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (at, &c) in chars.iter().enumerate() {
        let after_lower = at > 0 && (chars[at - 1].is_lowercase() || chars[at - 1].is_ascii_digit());
        let ends_acronym =
            at > 0 && chars[at - 1].is_uppercase() && chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        if c.is_uppercase() && (after_lower || ends_acronym) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// `take_damage` to `TakeDamage`.
pub(crate) fn pascal_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut chars = word.chars();
        out.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        out.push_str(chars.as_str());
    }
    out
}

/// FNV-1a, 32 bits: the wire id of a method. Part of the protocol.
pub(crate) fn fnv1a(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The path, as if written at `span`: an error in what begins with it points there.
pub(crate) fn located(path: &Path, span: Span) -> Path {
    let mut path = path.clone();
    for segment in &mut path.segments {
        segment.ident.set_span(span);
    }
    if let Some(colons) = &mut path.leading_colon {
        colons.spans = [span; 2];
    }
    path
}

/// Tokens as a person would write them, for documentation.
pub(crate) fn readable(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" :: ", "::"),
        (":: ", "::"),
        (" ::", "::"),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        (" ;", ";"),
    ] {
        text = text.replace(from, to);
    }
    text
}

/// The type without the invisible group that a `macro_rules!` argument comes in.
pub(crate) fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        _ => ty,
    }
}

/// Can it be the wire name of a grain type, an interface, a method or a record?
pub(crate) fn is_wire_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_case_as_rust_items_do() {
        for (pascal, snake) in [
            ("Player", "player"),
            ("GameLobby", "game_lobby"),
            ("HTTPServer", "http_server"),
            ("Vec3Field", "vec3_field"),
        ] {
            assert_eq!(snake_case(pascal), snake);
        }
        for (snake, pascal) in [("take_damage", "TakeDamage"), ("get", "Get"), ("on_tick_2", "OnTick2")] {
            assert_eq!(pascal_case(snake), pascal);
        }
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(""), 0x811c_9dc5);
        assert_eq!(fnv1a("a"), 0xe40c_292c);
        assert_eq!(fnv1a("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn types_read_as_written() {
        let ty: syn::Type = syn::parse_quote!(::std::result::Result<Vec<(u8, [u8; 3])>, Error>);
        assert_eq!(readable(&ty), "::std::result::Result<Vec<(u8, [u8; 3])>, Error>");
    }
}
