//! Passwords that everybody tries first.

use std::{collections::HashSet, sync::LazyLock};

/// Made by `scripts/common-passwords`; sorted, in lower case.
static WORDS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common.txt").lines().collect());

/// What fingers do on a keyboard, repeated as often as it takes.
const RUNS: [&str; 5] = [
    "1234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "0987654321",
];

/// Whether the whole password is on the list: a common word, perhaps repeated, perhaps with a common ending, or a
/// keyboard run. Parts of a longer password do not count (NIST SP 800-63B-4 §3.1.1.2: the entire password is compared).
pub(super) fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    is_run(&password) || is_word_with_ending(&password, |word| WORDS.contains(word))
}

/// Whether the whole password is `word`, perhaps repeated, perhaps with a common ending.
pub(super) fn is_made_of(password: &str, word: &str) -> bool {
    let word = word.to_lowercase();
    !word.is_empty() && is_word_with_ending(&password.to_lowercase(), |candidate| candidate == word)
}

fn is_word_with_ending(password: &str, is_word: impl Fn(&str) -> bool) -> bool {
    let ends = password.char_indices().map(|(at, _)| at).skip(1).chain([password.len()]);
    ends.map(|at| password.split_at(at)).any(|(head, ending)| {
        is_common_ending(ending) && (is_word(head) || repeated_unit(head).is_some_and(&is_word))
    })
}

/// `word` if the text is `wordword`, `wordwordword`, …
fn repeated_unit(text: &str) -> Option<&str> {
    let lengths = (1..=text.len() / 2)
        .filter(|length| text.len().is_multiple_of(*length) && text.is_char_boundary(*length));
    lengths.map(|length| &text[..length]).find(|unit| unit.repeat(text.len() / unit.len()) == text)
}

/// What people append when a password is "too short": 1, 123…, a year, one digit again and again, and marks.
fn is_common_ending(ending: &str) -> bool {
    let digits = ending.trim_end_matches(['!', '.', '?', '*', '#', '@', '$', '_', '-']);
    let year = |digits: &str| digits.len() == 4 && (digits.starts_with("19") || digits.starts_with("20"));
    let same = |digits: &str| digits.bytes().all(|byte| Some(byte) == digits.bytes().next());
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    ending.len() - digits.len() <= 3
        && all_digits
        && (same(digits) || year(digits) || is_prefix_of_run(digits, RUNS[0]))
}

fn is_run(password: &str) -> bool {
    password.len() >= 8 && RUNS.iter().any(|run| is_prefix_of_run(password, run))
}

fn is_prefix_of_run(text: &str, run: &str) -> bool {
    text.bytes().zip(run.bytes().cycle()).all(|(ours, theirs)| ours == theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_and_its_obvious_extensions_are_common() {
        for password in [
            "password",
            "Password123456789",
            "password1234567890",
            "passwordpassword",
            "passwordpassword2024!",
            "iloveyouiloveyou",
            "qwertyuiopasdfgh",
            "123456789012345",
            "monkeymonkey1987",
            "DRAGONDRAGON!!!",
            "1qaz2wsx3edc4rfv",
            "abcdefghijklmno",
            "letmein11111111",
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for password in [
            "aaaaaaaaaaaaaaa",
            "correct horse battery staple",
            "fifteen letters",
            "my password is rather long",
            "🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀",
            "пароль на русском языке",
            "passwordmonkeydragon",
            "",
        ] {
            assert!(!is_common(password), "{password}");
        }
    }

    #[test]
    fn context_words_count_when_they_are_the_whole() {
        assert!(is_made_of("Ann.Example2024", "ann.example"));
        assert!(is_made_of("hallpasshallpass", "Hallpass"));
        assert!(!is_made_of("ann.example likes pears", "ann.example"));
        assert!(!is_made_of("anything at all", ""));
    }
}
