//! Passwords that follow a simple pattern: one group of characters again and again, or keys and letters in their order.
//!
//! Attackers try them in every length, so a list of words cannot hold them all: the list is extended by these rules when a password is
//! checked (NIST SP 800-63B-4 §3.1.1.2 asks for a blocklist; a rule that demands kinds of characters it forbids). The whole password is
//! compared; a pattern within a longer one is no reason.

/// Keys and letters in the order in which fingers find them, forwards and backwards, around the end.
const ROWS: [&str; 20] = [
    "1234567890",
    "0123456789",
    "!@#$%^&*()",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertyuiop[]",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "qwertzuiop",
    "yxcvbnm",
    "azertyuiop",
    "qsdfghjklm",
    "wxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "zaq1xsw2cde3vfr4bgt5nhy6mju7ki8lo9",
    "йцукенгшщзхъ",
    "фывапролджэ",
    "ячсмитьбю",
];

/// The shortest run that counts.
const SHORTEST_RUN: usize = 3;

/// How many characters beside runs make no difference.
const FEW: usize = 2;

/// The longest group whose repetition is a pattern. A longer one is a password by itself.
const LONGEST_GROUP: usize = 7;

/// Whether the whole password, in lower case, follows a pattern.
pub(super) fn is_pattern(password: &str) -> bool {
    let text: Vec<char> = password.chars().collect();
    text.len() >= SHORTEST_RUN && (is_repeated(&text) || is_runs(&text))
}

/// One group again and again, the last time perhaps cut off.
fn is_repeated(text: &[char]) -> bool {
    (1..=LONGEST_GROUP.min(text.len() / 2))
        .any(|group| text.iter().zip(&text[group..]).all(|(before, after)| before == after))
}

/// Runs one after the other, and few characters beside them.
fn is_runs(text: &[char]) -> bool {
    let (mut at, mut others) = (0, 0);
    while at < text.len() {
        match run(&text[at..]) {
            length if length >= SHORTEST_RUN => at += length,
            _ => {
                others += 1;
                at += 1;
            }
        }
    }
    others <= FEW.min(text.len() / 4)
}

/// The length of the longest run at the start.
fn run(text: &[char]) -> usize {
    let rows = ROWS.iter().map(|row| along(text, row));
    rows.chain([0, 1, -1].map(|step| steps(text, step))).max().unwrap_or(0)
}

/// Along a row of keys, in either direction.
fn along(text: &[char], row: &str) -> usize {
    let row: Vec<char> = row.chars().collect();
    let Some(start) = text.first().and_then(|first| row.iter().position(|key| key == first)) else {
        return 0;
    };
    let follows = |key: &dyn Fn(usize) -> usize| {
        text.iter().enumerate().take_while(|(at, c)| row[key(*at) % row.len()] == **c).count()
    };
    let forwards = follows(&|at| start + at);
    forwards.max(follows(&|at| start + row.len() * (at / row.len() + 1) - at))
}

/// Characters whose numbers go up or down by one, or stay.
fn steps(text: &[char], step: i64) -> usize {
    let number = |c: &char| i64::from(u32::from(*c));
    let fits = |pair: &&[char]| number(&pair[1]) - number(&pair[0]) == step;
    1 + text.windows(2).take_while(fits).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_any_length_are_found() {
        for password in [
            "aaaaaaaaaaaaaaa",
            "aaaaaaaaaaaaaa1",
            "1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
            "               ",
            "🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀",
            "xyxyxyxyxyxyxyxyxyxy",
            "abc1abc1abc1abc1",
            "k7%qzk7%qzk7%qz",
            "aaabbbcccdddeee",
            "qwertyuiopasdfg",
            "qwertyuiop12345",
            "poiuytrewqlkjhg",
            "asdfghjklqwertz",
            "azertyuiopqsdfg",
            "1qaz2wsx3edc4rfv",
            "1q2w3e4r5t6y7u8i",
            "zaq1xsw2cde3vfr4",
            "123456789012345",
            "098765432109876",
            "987654321098765",
            "!@#$%^&*()!@#$%",
            "abcdefghijklmno",
            "zyxwvutsrqponml",
            "абвгдежзийклмно",
            "йцукенгшщзхъфыва",
            "111222333444555",
            "abc123abc123abc123",
            "qwerty123456789",
        ] {
            assert!(is_pattern(password), "{password}");
        }
    }

    #[test]
    fn what_people_and_programs_choose_is_none() {
        for password in [
            "correct horse battery staple",
            "fifteen letters",
            "my password is rather long",
            "passwordmonkeydragon",
            "tr0ub4dor&3 and more",
            "kX9#vQ2!mZ7@wL4",
            "f81d4fae-7dec-11d0",
            "пароль на русском языке",
            "correcthorse correcthorse",
            "mississippi river boat",
            "d8f7a6s5d4f3g2h",
            "🦀🐫🦞🐝🦊🐙🦉🐢🦋🐞🦎🐌🦔🐍🦇",
            "abcdefgh my dear friend",
            "aa",
            "",
        ] {
            assert!(!is_pattern(password), "{password}");
        }
    }
}
