//! "Did you mean": the known name nearest to one that nobody knows.

/// `; did you mean "NAME"?` for the candidate nearest to `word`, or nothing where none is near.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean \"{candidate}\"?"))
}

/// Edits between two words: insertions, deletions, replacements (Levenshtein), `-` and `_` counted as equal.
fn distance(left: &str, right: &str) -> usize {
    let fold = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let right: Vec<char> = right.chars().map(fold).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, left_char) in left.chars().map(fold).enumerate() {
        let mut diagonal = index;
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
        for (column, right_char) in right.iter().enumerate() {
            let replace = diagonal + usize::from(left_char != *right_char);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn nearest_known_name() {
        for (word, expected) in [
            ("idle_timout", "; did you mean \"idle_timeout\"?"),
            ("idle-timeout", "; did you mean \"idle_timeout\"?"),
            ("quic_adr", "; did you mean \"quic_addr\"?"),
            ("something_else", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(word, ["quic_addr", "idle_timeout", "http_addr"]), expected, "{word}");
        }
    }
}
