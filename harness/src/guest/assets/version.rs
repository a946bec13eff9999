//! Debian's version numbers (deb-version(7)), and which kernel a person means.

use std::cmp::Ordering;

/// Compares two versions: epoch, then upstream version, then Debian revision.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let ((epoch_a, upstream_a, revision_a), (epoch_b, upstream_b, revision_b)) = (parts(a), parts(b));
    let by_part = || part(upstream_a, upstream_b).then_with(|| part(revision_a, revision_b));
    part(epoch_a, epoch_b).then_with(by_part)
}

/// Epoch, upstream version, Debian revision.
fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

/// Compares runs of other characters and runs of digits in turn.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = split(a, |letter| !letter.is_ascii_digit());
        let (text_b, rest_b) = split(b, |letter| !letter.is_ascii_digit());
        let (digits_a, rest_a) = split(rest_a, |letter| letter.is_ascii_digit());
        let (digits_b, rest_b) = split(rest_b, |letter| letter.is_ascii_digit());
        let order = text(text_a, text_b).then_with(|| number(digits_a, digits_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn split(text: &str, inside: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !inside(letter)).unwrap_or(text.len()))
}

/// A tilde is before the end, the end is before letters, letters are before the rest.
fn text(a: &str, b: &str) -> Ordering {
    let weight = |letter: Option<char>| match letter {
        Some('~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => u32::from(letter),
        Some(letter) => 0x100 + u32::from(letter),
    };
    let weights =
        |text: &str| text.chars().map(|letter| weight(Some(letter))).chain([weight(None)]).collect::<Vec<_>>();
    weights(a).cmp(&weights(b))
}

/// Compares numbers of any length.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// True if `asked` names `version`, or its first numbers: 6.12 names 6.12.117+deb13, but not 6.120.
pub(super) fn begins(version: &str, asked: &str) -> bool {
    !asked.is_empty()
        && version.strip_prefix(asked).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each is newer than the one before.
    const ASCENDING: &[&str] = &[
        "5.10.223-1",
        "6.1.176-1",
        "6.1.192-1",
        "6.1.192-2",
        "6.12.95-1~bpo12+1",
        "6.12.95-1",
        "6.12.117-1~deb12u1",
        "6.12.117-1",
        "7.2.9-1~bpo13+1",
        "7.2.12-1",
        "7.3~rc7-1~exp1",
        "7.3.4-1~bpo13+1",
        "7.3.4-1",
        "7.10-1",
        "1:1.0",
    ];

    #[test]
    fn versions_are_in_debians_order() {
        for (i, a) in ASCENDING.iter().enumerate() {
            for (j, b) in ASCENDING.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
            }
        }
        assert_eq!(compare("1.01-0", "1.1-"), Ordering::Equal);
        assert_eq!(compare("1.0+x", "1.0a"), Ordering::Greater);
    }

    #[test]
    fn first_numbers_name_a_version() {
        assert!(begins("6.12.117+deb13", "6.12") && begins("6.12.117+deb13", "6.12.117") && begins("6.1.0-56", "6.1"));
        assert!(!begins("6.120.1", "6.12") && !begins("6.12", "6.12.1") && !begins("6.12", ""));
    }
}
