//! Regexes as Go reads them: gitleaks' configurations are written for Go, which takes a few characters literally that
//! Rust's `regex` does not.

/// The same regex for Rust's syntax: what stands between `\Q` and `\E` is escaped, and so are `{` where no repetition
/// follows and `[` in a class.
pub(crate) fn from_go(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len() + 8);
    let mut rest = regex;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        let mut taken = c.len_utf8();
        match c {
            '\\' if !in_class && after.starts_with('Q') => {
                let quoted = after[1..].split("\\E").next().unwrap_or_default();
                out.push_str(&regex_syntax::escape(quoted));
                rest = after[1 + quoted.len()..].trim_start_matches("\\E");
                continue;
            }
            '\\' => {
                taken += after.chars().next().map_or(0, char::len_utf8);
                // Braces of `\x{7F}` and `\p{Greek}` start no repetition.
                if after.starts_with(['x', 'p', 'P']) && after[1..].starts_with('{') {
                    taken = rest.find('}').map_or(rest.len(), |end| end + 1);
                }
                out.push_str(&rest[..taken]);
            }
            '[' if in_class && is_named_class(after) => {
                taken += after.find(":]").map_or(0, |end| end + 2);
                out.push_str(&rest[..taken]);
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                // A bracket that comes first is a member.
                let negation = usize::from(after.starts_with('^'));
                out.push_str(&rest[..=negation]);
                taken += negation;
                if after[negation..].starts_with(']') {
                    out.push_str("\\]");
                    taken += 1;
                }
            }
            ']' => {
                in_class = false;
                out.push(c);
            }
            '{' if !in_class && !is_repetition(after) => out.push_str("\\{"),
            _ => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

/// Whether a class such as `[:alpha:]` goes on here.
fn is_named_class(text: &str) -> bool {
    text.strip_prefix(':')
        .and_then(|text| text.split_once(":]"))
        .is_some_and(|(name, _)| name.trim_start_matches('^').bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// Whether `n}`, `n,}` or `n,m}` follows.
fn is_repetition(text: &str) -> bool {
    text.split_once('}').is_some_and(|(count, _)| {
        let (min, max) = count.split_once(',').unwrap_or((count, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !min.is_empty() && is_number(min) && is_number(max)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_takes_literally_is_escaped() {
        for (go, rust) in [
            (r"\$\{{x}", r"\$\{\{x}"),
            (r"a{,5}b{2}c{2,}d{2,3}", r"a\{,5}b{2}c{2,}d{2,3}"),
            (r"[a[]b[^[]", r"[a\[]b[^\[]"),
            (r"[[:alpha:][]", r"[[:alpha:]\[]"),
            (r"[]a]{3}[^]{]", r"[\]a]{3}[^\]{]"),
            (r"x\Qa.b{1}\E{2}\Q[", r"xa\.b\{1\}{2}\["),
            (r"\x{7F}\p{Greek}\\{\{[\]{[]", r"\x{7F}\p{Greek}\\\{\{[\]{\[]"),
            (r"é[é{]é\é", r"é[é{]é\é"),
        ] {
            assert_eq!(from_go(go), rust, "{go}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in r"[a\\QE\[\]{}^:x0-9,é]{0,20}") {
            from_go(&text);
        }
    }
}
