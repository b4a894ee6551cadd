//! Parses `WWW-Authenticate`, as far as a client of bearer tokens must understand it (RFC 9110, section
//! 11.6.1; RFC 6750, section 3).
//!
//! Servers write it in many ways, so odd input is read as far as possible and never refused: several
//! fields or one, any case, values with and without quotes, commas within quotes, blanks around `=`, a
//! missing comma between two parameters, quotes that do not end.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// What a server objects to, according to its challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// The token, or something unknown: another token may help.
    Token,
    /// Something else: the request, or what the token's owner may do. Another token will not help.
    Other,
}

/// Returns what the challenges of a response object to.
///
/// It is the token if a Bearer challenge has the error `invalid_token` or no error, or if there is no Bearer
/// challenge at all. It is something else if there are only other errors.
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
    /// The start of a challenge. Its token68, if it has one, is left out.
    Scheme(&'a [u8]),
    /// A parameter of the challenge that began last, on this line or on one before it.
    Parameter { name: &'a [u8], value: Value<'a> },
    /// Neither. The parameters that follow belong to an unknown challenge.
    Unknown,
}

/// A parameter's value as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// Without the quotes around it.
    pub(crate) raw: &'a [u8],
    pub(crate) quoted: bool,
}

impl Value<'_> {
    /// Compares the value with a text in lower case, ignoring case.
    fn is(self, text: &str) -> bool {
        self.bytes()
            .map(|byte| byte.to_ascii_lowercase())
            .eq(text.bytes())
    }

    /// Returns the value's bytes, without the backslashes that escape others.
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
    /// The rest of the current list element, after a scheme or a quoted value.
    element: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self {
            rest: line,
            element: b"",
        }
    }

    /// Parses the first part of an element.
    fn begin(&mut self, element: &'a [u8]) -> Part<'a> {
        if let Some(parameter) = self.parameter(element) {
            return parameter;
        }
        let (scheme, after) = split_while(element, is_token);
        if scheme.is_empty() || !after.first().is_none_or(|byte| is_blank(*byte)) {
            return Part::Unknown;
        }
        // A token68 is not a parameter, so the search for parameters skips it.
        self.element = trim_start(after);
        Part::Scheme(scheme)
    }

    /// Parses a parameter at the start of `text`, and leaves the rest of the element in `element`.
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

/// Splits a text at the first comma that is not within quotes.
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

/// Returns the index of the quote that ends the quoted text at the start of `inside`.
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
