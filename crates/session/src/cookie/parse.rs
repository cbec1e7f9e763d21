//! The `Cookie` header.

use std::{iter, str};

use memchr::memchr;

/// The name-value pairs of a `Cookie` header, in order, as they stand there: blanks around them and one pair of double
/// quotes removed, percent-encoding untouched. What is not a pair, or not UTF-8, is skipped. Allocates nothing.
///
/// More lenient than RFC 6265bis §4.2.1 and as lenient as the parsers of Node and of browsers' own tests, because a
/// neighbour's odd cookie must not hide ours.
pub fn pairs(header: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    pieces(header).filter_map(|pair| {
        let at = memchr(b'=', pair)?;
        let (name, value) = (str::from_utf8(&pair[..at]).ok()?, str::from_utf8(&pair[at + 1..]).ok()?);
        Some((trim(name), unquote(trim(value))))
    })
}

/// What stands between the semicolons. Every request with a cookie comes by here, so it is not done byte by byte.
fn pieces(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    iter::from_fn(move || {
        let all = rest?;
        let (piece, after) = match memchr(b';', all) {
            Some(at) => (&all[..at], Some(&all[at + 1..])),
            None => (all, None),
        };
        rest = after;
        Some(piece)
    })
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Vec<(&str, &str)> {
        pairs(header.as_bytes()).collect()
    }

    #[test]
    fn odd_neighbours_do_not_hide_a_cookie() {
        assert_eq!(read("a=1; b=\"2\" ;\tc = 3"), [("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(read("flag; =nameless; a==x; b=\"; ;;"), [("", "nameless"), ("a", "=x"), ("b", "\"")]);
        assert_eq!(pairs(b"x=\xff\xfe; a=1").collect::<Vec<_>>(), [("a", "1")]);
        assert_eq!(read(""), []);
    }

    proptest! {
        /// What the `cookie` crate finds in a header, we find too, in the same order.
        #[test]
        fn agrees_with_the_cookie_crate(header in "([a-zA-Z0-9_$!*.-]{1,8}=[a-zA-Z0-9%+/:.\"=-]{0,12}(; ?|;  )){0,6}") {
            let theirs: Vec<_> = cookie::Cookie::split_parse(header.as_str())
                .filter_map(Result::ok)
                .map(|cookie| (cookie.name().to_owned(), cookie.value_trimmed().to_owned()))
                .collect();
            let ours: Vec<_> = read(&header).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn any_bytes_are_read_without_panic_and_without_blanks(header: Vec<u8>) {
            for (name, value) in pairs(&header) {
                prop_assert_eq!((trim(name), trim(value)), (name, trim(value)));
                prop_assert!(!name.contains(';') && !value.contains(';'));
            }
        }
    }
}
