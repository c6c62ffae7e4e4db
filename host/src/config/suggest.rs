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

/// Edits between two words: insertions, deletions, replacements and swaps of neighbours (optimal string alignment),
/// `-` and `_` counted as equal.
fn distance(left: &str, right: &str) -> usize {
    let fold = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let left: Vec<char> = left.chars().map(fold).collect();
    let right: Vec<char> = right.chars().map(fold).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let above = &rows[i - 1];
            let replace = above[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn nearest_known_name() {
        for (word, expected) in [
            ("idle_timout", "; did you mean \"idle_timeout\"?"),
            ("idle-timeout", "; did you mean \"idle_timeout\"?"),
            ("qiuc_addr", "; did you mean \"quic_addr\"?"),
            ("quic_adr", "; did you mean \"quic_addr\"?"),
            ("something_else", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(word, ["quic_addr", "idle_timeout", "http_addr"]), expected, "{word}");
        }
    }
}
