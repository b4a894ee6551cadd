//! A slow and obvious parser of challenges. A property test and a fuzz target compare the real one with it. It
//! copies everything and looks at one thing at a time.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Scheme(Vec<u8>),
    Parameter(Vec<u8>, Vec<u8>),
    Unknown,
}

/// A character, and whether it stands within quotes. Quotes themselves and the backslashes that escape
/// are within.
type Char = (u8, bool);

pub(crate) fn parse(line: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    for element in elements(&marked(line)) {
        parse_element(&element, &mut parts);
    }
    parts
}

/// Marks what is within quotes. Quotes that do not end reach to the end.
fn marked(line: &[u8]) -> Vec<Char> {
    let mut marked = Vec::new();
    let mut quoted = false;
    let mut escaped = false;
    for &byte in line {
        let quote = byte == b'"' && !(quoted && escaped);
        marked.push((byte, quoted || quote));
        escaped = quoted && byte == b'\\' && !escaped;
        if quote {
            quoted = !quoted;
        }
    }
    marked
}

/// The pieces between the commas that are not within quotes, without the blanks around them.
fn elements(line: &[Char]) -> Vec<Vec<Char>> {
    line.split(|&(byte, quoted)| byte == b',' && !quoted)
        .map(trim)
        .filter(|element| !element.is_empty())
        .collect()
}

fn parse_element(element: &[Char], parts: &mut Vec<Part>) {
    let mut rest = element.to_vec();
    if parameter(&rest).is_none() {
        // No parameter, so it begins a challenge: a scheme, and then blanks or the end.
        let scheme = leading(&rest, is_token);
        let after = rest.get(scheme.len()).copied();
        let ends = after.is_none_or(|(byte, _)| byte == b' ' || byte == b'\t');
        if scheme.is_empty() || !ends {
            parts.push(Part::Unknown);
            return;
        }
        rest = trim(&rest[scheme.len()..]);
        parts.push(Part::Scheme(scheme));
    }
    while let Some((name, value, after)) = parameter(&rest) {
        parts.push(Part::Parameter(name, value));
        rest = after;
    }
}

/// A parameter's name and value, and what follows.
fn parameter(text: &[Char]) -> Option<(Vec<u8>, Vec<u8>, Vec<Char>)> {
    let name = leading(text, is_token);
    let equals = trim(&text[name.len()..]);
    if name.is_empty() || equals.first().is_none_or(|&(byte, _)| byte != b'=') {
        return None;
    }
    let value = trim(&equals[1..]);
    match value.first()? {
        (b'=', _) => None,
        (b'"', _) => {
            let (inside, len) = unquote(&value)?;
            Some((name, inside, trim(&value[len..])))
        }
        _ => {
            let raw = leading(&value, |byte| byte != b' ' && byte != b'\t');
            let after = trim(&value[raw.len()..]);
            Some((name, raw, after))
        }
    }
}

/// What is between the quotes that a text begins with, and how many characters they and it are.
fn unquote(text: &[Char]) -> Option<(Vec<u8>, usize)> {
    let mut inside = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at)?.0 {
            b'"' => return Some((inside, at + 1)),
            b'\\' => {
                inside.push(text.get(at + 1)?.0);
                at += 2;
            }
            byte => {
                inside.push(byte);
                at += 1;
            }
        }
    }
}

fn leading(text: &[Char], belongs: impl Fn(u8) -> bool) -> Vec<u8> {
    let leading = text.iter().map(|&(byte, _)| byte);
    leading.take_while(|&byte| belongs(byte)).collect()
}

fn trim(text: &[Char]) -> Vec<Char> {
    let blank = |&(byte, _): &Char| byte == b' ' || byte == b'\t';
    let start = text.iter().position(|it| !blank(it));
    let end = text.iter().rposition(|it| !blank(it));
    match (start, end) {
        (Some(start), Some(end)) => text[start..=end].to_vec(),
        _ => Vec::new(),
    }
}

fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
        || "!#$%&'*+-.^_`|~".as_bytes().contains(&byte)
}
