//! Passwords that everybody tries first.

use std::{collections::HashSet, sync::LazyLock};

/// Made by `scripts/common-passwords`; sorted, in lower case.
static WORDS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common.txt").lines().collect());

/// The shortest word that counts in a pair, in characters: shorter ones are parts of too many others.
const SHORTEST_WORD: usize = 4;

/// The longest text that may be a word or two, in bytes.
const LONGEST: usize = 80;

/// Digits in their order, as they are appended.
const DIGITS: &str = "1234567890";

/// Signs that stand for letters; 1 stands for two of them.
const SIGNS: [(char, char); 12] = [
    ('@', 'a'),
    ('4', 'a'),
    ('8', 'b'),
    ('3', 'e'),
    ('9', 'g'),
    ('!', 'i'),
    ('0', 'o'),
    ('$', 's'),
    ('5', 's'),
    ('7', 't'),
    ('+', 't'),
    ('2', 'z'),
];

/// Whether the whole password is on the list: a common word, perhaps backwards or with signs for letters, perhaps repeated, perhaps
/// with a common ending, or two such words: too few for a phrase. Parts of a longer password do not count (NIST SP 800-63B-4 §3.1.1.2: the entire password is compared).
pub(super) fn is_common(password: &str) -> bool {
    let password = password.to_lowercase();
    let backwards: String = password.chars().rev().collect();
    [password, backwards].iter().any(|text| is_word_with_ending(text, |text| is_word(text) || is_pair(text)))
}

/// Two words, perhaps with a sign between them.
fn is_pair(text: &str) -> bool {
    let long = |word: &str| word.chars().count() >= SHORTEST_WORD;
    let pair = |(at, _): (usize, char)| {
        let (one, rest) = text.split_at(at);
        let other = rest.strip_prefix([' ', '-', '_', '.', '+', '&', '/']).unwrap_or(rest);
        long(one) && long(other) && WORDS.contains(one) && WORDS.contains(other)
    };
    text.len() <= LONGEST && text.char_indices().skip(1).any(pair)
}

fn is_word(text: &str) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    WORDS.contains(text) || ['i', 'l'].iter().any(|one| WORDS.contains(&*in_letters(text, *one)))
}

fn in_letters(text: &str, one: char) -> String {
    let letter = |sign| match SIGNS.iter().find(|(known, _)| *known == sign) {
        Some((_, letter)) => *letter,
        None if sign == '1' => one,
        None => sign,
    };
    text.chars().map(letter).collect()
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
        && (same(digits) || year(digits) || is_prefix_of_run(digits, DIGITS))
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
            "drowssapdrowssap",
            "dragonpassword1",
            "princess-monkey2024",
            "sunshine football",
            "p@ssw0rdp@ssw0rd",
            "P4$$w0rd12345678",
            "dr4g0ndr4g0n1999",
            "monkeymonkey1987",
            "DRAGONDRAGON!!!",
            "letmein11111111",
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for password in [
            "correct horse battery staple",
            "fifteen letters",
            "my password is rather long",
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
