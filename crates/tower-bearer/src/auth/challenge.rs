//! `WWW-Authenticate`, as far as a client of bearer tokens must understand it (RFC 9110, section 11.6.1;
//! RFC 6750, section 3).
//!
//! Servers write it in many ways, so what is odd is read as far as it goes and never refused: several
//! fields or one, any case, values with and without quotes, commas within quotes, blanks around `=`, a
//! comma that is missing between two parameters, quotes that do not end.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// What a server finds wrong with a request, as far as its challenges tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The token, or nothing that is known here: another token may help.
    Token,
    /// Something else: the request, or what the token's owner may do. Another token will not help.
    Other,
}

/// What the challenges of a response complain of.
///
/// A Bearer challenge whose error is `invalid_token`, or that tells none, or no Bearer challenge at all:
/// the token. Only errors of another name: something else.
pub(crate) fn complaint(headers: &HeaderMap) -> Complaint {
    let mut bearer = false;
    let mut complaint = Complaint::Token;
    for line in headers.get_all(WWW_AUTHENTICATE) {
        for part in Parts::new(line.as_bytes()) {
            match part {
                Part::Scheme(name) => bearer = name.eq_ignore_ascii_case(b"Bearer"),
                Part::Parameter { name, value } => {
                    if bearer && name.eq_ignore_ascii_case(b"error") {
                        if value.is("invalid_token") {
                            return Complaint::Token;
                        }
                        complaint = Complaint::Other;
                    }
                }
                Part::Unknown => bearer = false,
            }
        }
    }
    complaint
}

/// A part of a list of challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A challenge begins; its token68, if it has one, is left out.
    Scheme(&'a [u8]),
    /// A parameter of the challenge that began last, on this line or on one before it.
    Parameter { name: &'a [u8], value: Value<'a> },
    /// Something that is neither, so whose parameters follow is unknown.
    Unknown,
}

/// A parameter's value as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// Without the quotes around it.
    pub(crate) raw: &'a [u8],
    pub(crate) quoted: bool,
}

impl Value<'_> {
    /// Whether it says this, in any case.
    fn is(self, text: &str) -> bool {
        self.bytes()
            .map(|byte| byte.to_ascii_lowercase())
            .eq(text.bytes())
    }

    /// The value's bytes, without the backslashes that escape others.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> {
        let mut escaped = false;
        self.raw.iter().copied().filter(move |&byte| {
            escaped = self.quoted && byte == b'\\' && !escaped;
            !escaped
        })
    }
}

/// Reads one field's value, front to back and without a copy.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    rest: &'a [u8],
    /// What is left of the list's element that is being read: after a scheme or a quoted value.
    element: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self {
            rest: line,
            element: b"",
        }
    }

    /// The first part of an element.
    fn begin(&mut self, element: &'a [u8]) -> Part<'a> {
        if let Some(parameter) = self.parameter(element) {
            return parameter;
        }
        let (scheme, after) = split_while(element, is_token);
        if scheme.is_empty() || !after.first().is_none_or(|byte| is_blank(*byte)) {
            return Part::Unknown;
        }
        // A token68 is no parameter, so it is passed over where those are looked for.
        self.element = trim_start(after);
        Part::Scheme(scheme)
    }

    /// A parameter at the beginning of `text`; what follows a quoted value is left in `element`.
    fn parameter(&mut self, text: &'a [u8]) -> Option<Part<'a>> {
        let (name, after) = split_while(text, is_token);
        let after = trim_start(after).strip_prefix(b"=")?;
        let after = trim_start(after);
        // `=` alone, or several, is the end of a token68.
        if name.is_empty() || after.first().is_none_or(|&byte| byte == b'=') {
            return None;
        }
        let (value, after) = match after.strip_prefix(b"\"") {
            None => {
                let (raw, after) = split_while(after, |byte| !is_blank(byte));
                (Value { raw, quoted: false }, after)
            }
            Some(inside) => {
                let end = quoted_end(inside)?;
                let raw = &inside[..end];
                (Value { raw, quoted: true }, &inside[end + 1..])
            }
        };
        self.element = trim_start(after);
        Some(Part::Parameter { name, value })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let element = std::mem::take(&mut self.element);
        if let Some(parameter) = self.parameter(element) {
            return Some(parameter);
        }
        while !self.rest.is_empty() {
            let (element, rest) = split_element(self.rest);
            self.rest = rest;
            let element = trim_start(element);
            if !element.is_empty() {
                return Some(self.begin(element));
            }
        }
        None
    }
}

/// The text before the first comma that is not within quotes, and the text after it.
fn split_element(text: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b',' => return (&text[..at], &text[at + 1..]),
            b'"' => match quoted_end(&text[at + 1..]) {
                Some(end) => at += 1 + end,
                // Quotes that do not end reach to the end.
                None => return (text, b""),
            },
            _ => {}
        }
        at += 1;
    }
    (text, b"")
}

/// Where the quotes end that `inside` is in.
fn quoted_end(inside: &[u8]) -> Option<usize> {
    let mut escaped = false;
    inside.iter().position(|&byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })
}

fn split_while(text: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !belongs(byte));
    text.split_at(end.unwrap_or(text.len()))
}

fn trim_start(text: &[u8]) -> &[u8] {
    split_while(text, is_blank).1
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod slow;
#[cfg(test)]
mod tests;
