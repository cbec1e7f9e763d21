use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Result<String, InvalidEmail> {
    Email::parse(text).map(|email| email.to_string())
}

#[test]
fn spellings_of_one_address_are_equal() {
    for (spelling, address) in [
        ("ann@example.com", "ann@example.com"),
        (" Ann@Example.COM ", "ann@example.com"),
        ("ann@BÜCHER.example", "ann@bücher.example"),
        ("ann@bu\u{308}cher.example", "ann@bücher.example"),
        ("ann@xn--bcher-kva.example", "ann@bücher.example"),
        ("ann@XN--BCHER-KVA.example", "ann@bücher.example"),
        ("ann@ｅxample.com", "ann@example.com"),
        ("ann@example\u{3002}com", "ann@example.com"),
        ("bob@straße.example", "bob@straße.example"),
        ("bob@xn--strae-oqa.example", "bob@straße.example"),
        ("JOSE\u{301}@example.com", "josé@example.com"),
        ("ΑΣ@example.com", "ας@example.com"),
        ("ann+tag%x@example.com", "ann+tag%x@example.com"),
        ("ann@x", "ann@x"),
    ] {
        assert_eq!(parsed(spelling).as_deref(), Ok(address), "{spelling}");
    }
    assert_ne!(parsed("bob@strasse.example"), parsed("bob@straße.example"));
}

#[test]
fn what_cannot_be_an_address_is_refused_with_the_reason() {
    use InvalidEmail::{Domain, Form, Invisible, LookAlike, TooLong};
    let label = |length: usize| format!("ann@{}.com", "a".repeat(length));
    assert!(parsed(&label(63)).is_ok());
    for (text, reason) in [
        ("", Form),
        ("ann", Form),
        ("@example.com", Form),
        ("a@b@c", Domain),
        ("a b@c.d", Form),
        ("<a@b.c>", Form),
        ("a%00b@example.com", Form),
        ("a%7F@example.com", Form),
        ("ann@", Domain),
        ("a@b..c", Domain),
        ("a@b.c.", Domain),
        ("a@-b.c", Domain),
        ("a@b-.c", Domain),
        ("ann@exa%00mple.com", Domain),
        ("ann@example.com?x", Domain),
        ("ann@example.com#", Domain),
        ("ann@example.com/x", Domain),
        ("ann@exa_mple.com", Domain),
        ("ann@exa mple.com", Domain),
        ("ann@xn--a.example", Domain),
        ("ann@xn--ann-", Domain),
        (&label(64), Domain),
        (&format!("ann@{}.example", "ü".repeat(60)), Domain),
        ("a@b\n.c", Invisible),
        ("\u{200b}ann@example.com", Invisible),
        ("ann@example.com\u{200b}", Invisible),
        ("\u{feff}ann@example.com", Invisible),
        ("ann@exam\u{ad}ple.com", Invisible),
        ("ann\u{2060}@example.com", Invisible),
        ("ann@ex\u{200d}ample.com", Invisible),
        ("a\u{34f}nn@example.com", Invisible),
        ("\u{202a}ann@example.com\u{202c}", Invisible),
        ("\u{2068}ann@example.com\u{2069}", Invisible),
        ("ann\u{fe0f}@example.com", Invisible),
        ("a\0nn@example.com", Invisible),
        ("quac\u{212a}@example.com", LookAlike),
        ("\u{ff51}uack@example.com", LookAlike),
        ("qu\u{aa}ck@example.com", LookAlike),
        ("\u{fb01}nn@example.com", LookAlike),
        ("\u{17f}ue@example.com", LookAlike),
        ("\u{130}da@example.com", LookAlike),
        ("\u{1f71}@example.com", LookAlike),
        ("\u{f900}@example.com", LookAlike),
        ("a\u{b2}@example.com", LookAlike),
        (&format!("{}@example.com", "x".repeat(250)), TooLong),
    ] {
        assert_eq!(parsed(text), Err(reason), "{text:?}");
    }
}

#[test]
fn a_look_alike_is_nobody_elses_spelling() {
    let is = |one: &str, other: &str| Email::verbatim(one).is_spelling_of(&Email::verbatim(other));
    for (one, other) in [
        ("Ann@Example.com", "ann@example.COM"),
        ("ann@bücher.example", "Ann@xn--bcher-kva.example"),
        ("josé@example.com", "JOSE\u{301}@example.com"),
        ("Ann", "ANN"),
        ("Ann Lee", "ann lee"),
    ] {
        assert!(is(one, other) && is(other, one), "{one} {other}");
    }
    for (one, other) in [
        ("quac\u{212a}@example.com", "quack@example.com"),
        ("QUAC\u{212a}@example.com", "quac\u{212a}@example.com"),
        ("\u{ff41}nn@example.com", "ann@example.com"),
        ("an\u{ad}n@example.com", "ann@example.com"),
        ("ann\u{200b}@example.com", "ann@example.com"),
        ("ann@exam\u{ad}ple.com", "ann@example.com"),
        ("\u{212a}", "k"),
        ("admin\u{200b}", "admin"),
        ("ann@example.com", "ann"),
    ] {
        assert!(!is(one, other) && !is(other, one), "{one:?} {other:?}");
        assert!(is(one, one), "what is stored opens its account: {one:?}");
    }
}

/// Each spelling that opens an account is counted with the others: else each would have guesses of its own.
#[test]
fn spellings_that_lead_to_one_account_are_counted_together() {
    let form = login_form("ann@bücher.example");
    for spelling in [
        " ANN@bücher.example",
        "\u{feff}ann@xn--bcher-kva.example\u{200b}",
        "\u{202a}ann@bu\u{308}cher.example\u{202c}",
    ] {
        assert_eq!(login_form(spelling), form, "{spelling:?}");
    }
    assert_eq!(login_form("\u{200b} Admin"), "admin");
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(text in ".{0,20}@.{0,20}") {
        if let Ok(email) = Email::parse(&text) {
            prop_assert_eq!(Email::parse(email.as_str()), Ok(email.clone()));
            if let Some(ascii) = email.in_ascii() {
                prop_assert_eq!(Email::parse(ascii.as_str()), Ok(email.clone()));
                prop_assert_eq!(ascii.in_letters(), Some(email));
            }
        }
    }
}

#[test]
fn no_character_at_all_folds_to_ascii() {
    for c in (0x80..=0x0010_ffff_u32).filter_map(char::from_u32) {
        if let Ok(email) = Email::parse(&format!("a{c}b@example.com")) {
            assert!(!email.local_part().is_ascii(), "{c:?} {email}");
        }
    }
}
