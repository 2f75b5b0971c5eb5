//! The name that was probably meant.

/// The candidate most like `name`, if one is alike enough to be worth a suggestion.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .map(|candidate| (distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let something_is_common = *distance < name.len().max(candidate.len());
            something_is_common && *distance <= candidate.len().max(3) / 3
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many characters must be added, removed or changed to make one name of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWS: [&str; 3] = ["posts_by_country_category", "top_category_by_year", "users"];

    #[test]
    fn a_slip_is_recognised() {
        let near = |name| nearest(name, VIEWS.into_iter());
        assert_eq!(
            near("post_by_country_category"),
            Some("posts_by_country_category")
        );
        assert_eq!(near("top_category_by_yaer"), Some("top_category_by_year"));
        assert_eq!(near("Users"), Some("users"));
    }

    #[test]
    fn another_name_is_not_a_slip() {
        assert_eq!(nearest("weather", VIEWS.into_iter()), None);
        assert_eq!(nearest("", VIEWS.into_iter()), None);
        assert_eq!(nearest("w", ["a"].into_iter()), None);
    }
}
