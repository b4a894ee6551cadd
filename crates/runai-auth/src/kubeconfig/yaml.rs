//! Reads YAML as JSON values, with limits that keep a hostile file from exhausting the memory or the stack.

use std::fmt;

use saphyr::{MarkedYaml, ScalarStyle, ScanError, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, Span, SpannedEventReceiver};
use serde_json::{Map, Value};

use crate::files::FileKind;

/// The largest file, in bytes.
const MAX_BYTES: usize = FileKind::Kubeconfig.cap();

/// The deepest nesting of lists and mappings. Values are cloned and dropped recursively.
const MAX_DEPTH: usize = 64;

/// The most that aliases may expand to, in bytes. Each expanded node is at most as large as the file.
const MAX_ALIASED_BYTES: usize = 16 * 1024 * 1024;

/// The most nodes that aliases may expand to, however small the file is.
const MAX_ALIASED_NODES: usize = 10_000;

/// Why a text cannot be read. It holds nothing of the text.
#[derive(Debug)]
pub(super) struct Problem {
    line: Option<usize>,
    what: &'static str,
}

impl Problem {
    fn new(what: &'static str) -> Self {
        Self { line: None, what }
    }

    fn at(span: Span, what: &'static str) -> Self {
        Self {
            line: Some(span.start.line()),
            what,
        }
    }
}

impl From<ScanError> for Problem {
    fn from(error: ScanError) -> Self {
        Self {
            line: Some(error.marker().line()),
            what: "not valid YAML",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} at line {line}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// Returns the first document of a text, with the places of its nodes. An empty text has none.
///
/// Scalars stay as they are written, so that a name like `007` does not become a number.
pub(super) fn parse(text: &str) -> Result<Option<MarkedYaml<'_>>, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem::new("larger than 1 MiB"));
    }
    let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
    loader.early_parse(false);
    // kubectl uses the last one.
    loader.allow_duplicate_keys(true);
    let nodes = MAX_ALIASED_BYTES / text.len().max(1);
    loader.alias_limit(nodes.min(MAX_ALIASED_NODES));

    let mut guard = Guard::default();
    // The parser's own `load` recurses before the guard sees anything.
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let (event, span) = next?;
        guard.check(&event, span)?;
        let ends = matches!(event, Event::DocumentEnd);
        loader.on_event(event, span);
        if let Some(error) = loader.error() {
            return Err(error.clone().into());
        }
        // kubectl reads no further.
        if ends {
            break;
        }
    }
    Ok(loader.into_documents().into_iter().next())
}

/// Checks each event before the loader gets it.
#[derive(Default)]
struct Guard {
    open: Vec<Place>,
}

/// The next event of an open collection.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Item,
    Key,
    Value,
}

impl Guard {
    fn check(&mut self, event: &Event<'_>, span: Span) -> Result<(), Problem> {
        let opens = match event {
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                return Ok(());
            }
            Event::Scalar(..) | Event::Alias(_) => None,
            Event::SequenceStart(..) => Some(Place::Item),
            Event::MappingStart(..) => Some(Place::Key),
            _ => return Ok(()),
        };
        if let Some(place) = self.open.last_mut() {
            // The loader counts a key as one node whatever it holds, so aliases in keys would expand
            // without a limit.
            if *place == Place::Key && !matches!(event, Event::Scalar(..)) {
                return Err(Problem::at(span, "a key that is not a text"));
            }
            *place = match *place {
                Place::Item => Place::Item,
                Place::Key => Place::Value,
                Place::Value => Place::Key,
            };
        }
        if let Some(place) = opens {
            if self.open.len() == MAX_DEPTH {
                return Err(Problem::at(span, "nested too deeply"));
            }
            self.open.push(place);
        }
        Ok(())
    }
}

/// Converts a node to a JSON value: null, true and false as such, all other scalars as text.
pub(super) fn to_json(node: &MarkedYaml<'_>) -> Result<Value, Problem> {
    // Aliases may nest collections in each other.
    convert(node, 2 * MAX_DEPTH)
}

fn convert(node: &MarkedYaml<'_>, depth: usize) -> Result<Value, Problem> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Problem::at(node.span, "nested too deeply"));
    };
    Ok(match &node.data {
        YamlData::Representation(text, ScalarStyle::Plain, None) => plain(text),
        YamlData::Representation(text, ..) => Value::String(text.to_string()),
        YamlData::Sequence(items) => {
            let items = items.iter().map(|item| convert(item, depth));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(members) => {
            let mut map = Map::new();
            for (key, value) in members {
                let YamlData::Representation(text, ..) = &key.data else {
                    return Err(Problem::at(key.span, "a key that is not a text"));
                };
                map.insert(text.to_string(), convert(value, depth)?);
            }
            Value::Object(map)
        }
        YamlData::Tagged(_, node) => convert(node, depth)?,
        // An empty document.
        YamlData::BadValue => Value::Null,
        YamlData::Value(_) | YamlData::Alias(_) => {
            return Err(Problem::at(node.span, "something unknown"));
        }
    })
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => Value::String(text.to_owned()),
    }
}

/// A scalar that is a value, and its place.
pub(super) struct Scalar<'a> {
    pub(super) text: &'a str,
    pub(super) style: ScalarStyle,
    pub(super) span: Span,
}

/// Collects all scalars below a node that are values, not keys.
pub(super) fn scalars<'a>(node: &'a MarkedYaml<'_>, found: &mut Vec<Scalar<'a>>) {
    match &node.data {
        YamlData::Representation(text, style, _) => found.push(Scalar {
            text,
            style: *style,
            span: node.span,
        }),
        YamlData::Sequence(items) => items.iter().for_each(|item| scalars(item, found)),
        YamlData::Mapping(members) => members.values().for_each(|value| scalars(value, found)),
        YamlData::Tagged(_, node) => scalars(node, found),
        YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => {}
    }
}
