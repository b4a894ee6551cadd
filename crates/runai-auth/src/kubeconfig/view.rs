//! A JSON value with its place in the file, for errors that name the place and not the value.

use serde_json::Value;

/// A value and its place in the file.
#[derive(Clone)]
pub(super) struct View<'a> {
    value: &'a Value,
    place: String,
}

/// An error about a value's shape, with its place.
pub(super) type Shape = String;

impl<'a> View<'a> {
    /// Views a mapping.
    pub(super) fn new(value: &'a Value, place: impl Into<String>) -> Self {
        Self {
            value,
            place: place.into(),
        }
    }

    /// Returns the value.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// Returns a member that is not null.
    fn member(&self, key: &str) -> Option<View<'a>> {
        let value = self.value.get(key)?;
        if value.is_null() {
            return None;
        }
        let place = match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        };
        Some(View { value, place })
    }

    /// Returns a text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Shape> {
        let Some(member) = self.member(key) else {
            return Ok(None);
        };
        match member.value {
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(format!("{} is not a text", member.place)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Shape> {
        match self.member(key) {
            None => Ok(false),
            Some(member) => match member.value {
                Value::Bool(flag) => Ok(*flag),
                _ => Err(format!("{} is not true or false", member.place)),
            },
        }
    }

    pub(super) fn map(&self, key: &str) -> Result<Option<View<'a>>, Shape> {
        match self.member(key) {
            Some(member) if !member.value.is_object() => {
                Err(format!("{} is not a mapping", member.place))
            }
            member => Ok(member),
        }
    }

    /// Returns the mappings in a list, or none without a list.
    pub(super) fn maps(&self, key: &str) -> Result<Vec<View<'a>>, Shape> {
        let mut maps = Vec::new();
        for item in self.list(key)? {
            if !item.value.is_object() {
                return Err(format!("{} is not a mapping", item.place));
            }
            maps.push(item);
        }
        Ok(maps)
    }

    /// Returns the texts in a list, or none without a list.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<&'a str>, Shape> {
        let mut texts = Vec::new();
        for item in self.list(key)? {
            match item.value {
                Value::String(text) => texts.push(text.as_str()),
                _ => return Err(format!("{} is not a text", item.place)),
            }
        }
        Ok(texts)
    }

    fn list(&self, key: &str) -> Result<Vec<View<'a>>, Shape> {
        let Some(member) = self.member(key) else {
            return Ok(Vec::new());
        };
        let Value::Array(items) = member.value else {
            return Err(format!("{} is not a list", member.place));
        };
        let views = items.iter().enumerate().map(|(index, value)| View {
            value,
            place: format!("{}[{index}]", member.place),
        });
        Ok(views.collect())
    }
}
