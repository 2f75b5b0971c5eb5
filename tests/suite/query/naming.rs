//! What PostgreSQL calls a column without AS, and pinflow with it.

/// The name of the column that an expression of this grammar makes, if it has one that is sure.
pub fn name(sql: &str) -> Option<String> {
    if let Some(rest) = sql.strip_prefix("(SELECT ") {
        return name(rest.split(" FROM ").next()?);
    }
    if let Some(rest) = sql.strip_prefix("CASE ") {
        let alone = !rest.contains("CASE ") && rest.ends_with(" END");
        let otherwise = rest.strip_suffix(" END")?.rsplit_once(" ELSE ");
        let otherwise = otherwise.map(|(_, otherwise)| otherwise);
        let is_sure = alone && !otherwise.is_some_and(|otherwise| otherwise.starts_with("trim("));
        let named = otherwise.and_then(name);
        return is_sure.then(|| named.unwrap_or("case".to_owned()));
    }
    if sql.starts_with("EXISTS (") {
        return Some("exists".to_owned());
    }
    if let Some(rest) = sql.strip_prefix("CAST(") {
        let (inner, _) = whole(sql, "CAST").then(|| rest.rsplit_once(" AS "))??;
        return name(inner);
    }
    let end = sql.find(|c: char| !c.is_ascii_lowercase() && c != '_');
    let (function, rest) = sql.split_at(end.unwrap_or(0));
    // TRIM is a function of another name in PostgreSQL.
    if !function.is_empty() && function != "trim" && rest.starts_with('(') {
        return whole(sql, function).then(|| function.to_owned());
    }
    column(sql)
}

/// Whether the call that `sql` begins with is all of it, with FILTER and WITHIN GROUP.
fn whole(sql: &str, function: &str) -> bool {
    let mut rest = &sql[function.len()..];
    loop {
        let Some(end) = closing(rest) else {
            return false;
        };
        rest = &rest[end + 1..];
        let more = [" FILTER ", " WITHIN GROUP "].iter();
        match more.into_iter().find_map(|word| rest.strip_prefix(word)) {
            Some(behind) => rest = behind,
            None => return rest.is_empty(),
        }
    }
}

/// Where the bracket closes that `text` begins with; brackets in quotes are none.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, letter) in text.char_indices() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(letter),
            ('(', None) => depth += 1,
            (')', None) if depth == 1 => return Some(at),
            (')', None) => depth -= 1,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The name of a column under an alias.
fn column(sql: &str) -> Option<String> {
    // An alias, or the name of a relation, which may be in quotes.
    let (alias, name) = sql.rsplit_once('.')?;
    let alias = alias.trim_matches('"');
    let plain = |text: &str| {
        text.chars()
            .all(|c| c.is_alphanumeric() || "_-".contains(c))
    };
    let quoted = name
        .strip_prefix('"')
        .and_then(|name| name.strip_suffix('"'));
    let name = quoted.unwrap_or(name);
    let is_name = alias.starts_with(char::is_alphabetic);
    (is_name && plain(alias) && plain(name)).then(|| name.to_owned())
}
