//! From a tree to the `…Spec` structs of the crates that own them, with all faults at once.
//!
//! Specs are plain serde structs, so a new key of a route or cluster is declared where it belongs
//! and this crate learns of it by nothing more than a build. Serde stops at its first fault; this
//! module goes on by *healing*: it notes the fault, takes the faulty entry out of a copy of the
//! tree (or puts a neutral value where a required one is missing) and decodes again, until
//! nothing is left to note. A healed value is good for finding further faults and for nothing
//! else; it is marked as such where it is kept.
//!
//! Scalars are strict: `true` and `false` alone are booleans, quoted text is never a number.
//!
//! Cost: one pass for each fault; the copies share their branches.

use std::fmt::{self, Display};
use std::rc::Rc;

use serde::de::{self, DeserializeOwned, IntoDeserializer, Unexpected, Visitor};

use crate::error::{did_you_mean, near};
use crate::tree::{Key, Node, Place, Value, shorten};

/// Faults noted for one item before the rest is left for the next run.
const FAULTS_MAX: usize = 32;

/// One fault, with its place and perhaps a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The line, where the file is not kept.
    pub(crate) snippet: Option<String>,
}

impl Fault {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Fault {
        Fault { place, message: message.into(), hint: None, snippet: None }
    }
}

/// Keys of the documented format that other builds have. They are refused by name, so that nobody
/// believes in a protection that is not there.
const LATER: &[&str] = &[
    "access",
    "auth",
    "breaker",
    "cors",
    "discovery",
    "fault",
    "health",
    "include",
    "limit",
    "limits",
    "mirror",
    "plugins",
    "policies",
    "quota",
    "redirect",
    "rewrite",
    "schema",
    "secrets",
    "split",
    "sticky",
    "telemetry",
    "transcode",
    "websocket",
];

/// The fault of a key that does not belong where it stands.
pub(crate) fn unknown_key(place: Place, key: &str, known: &[&str]) -> Fault {
    if LATER.contains(&key) {
        return Fault::new(place, format!("`{key}` is not supported by this build"));
    }
    let hint = did_you_mean(key, known.iter().copied())
        .unwrap_or_else(|| format!("possible here: {}", known.join(", ")));
    let message = format!("unknown key `{}`", shorten(key));
    Fault { hint: Some(hint), ..Fault::new(place, message) }
}

/// Decodes `node`; faults are added in the order they were found. With new faults the value is
/// a healed one, or `None` where that was not possible.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, faults: &mut Vec<Fault>) -> Option<T> {
    let mut tree = node.clone();
    let mut removed: Vec<(Place, String)> = Vec::new();
    for _ in 0..FAULTS_MAX {
        let error = match T::deserialize(&tree) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let place = error.place.unwrap_or(tree.place);
        match error.kind {
            Kind::Missing(key) => {
                let known = removed.iter().any(|(map, gone)| *map == place && gone == key);
                if !known {
                    faults.push(Fault::new(place, format!("`{key}` is missing")));
                }
                tree.supply(place, key);
            }
            Kind::UnknownKey(key, known) => {
                faults.push(unknown_key(place, &key, known));
                tree.remove(place, &mut removed);
                // A misspelt key is one fault: what it was meant to be is not missing as well.
                let meant = near(&key, known.iter().copied()).zip(removed.last().cloned());
                removed.extend(meant.map(|(meant, (map, _))| (map, meant.to_owned())));
            }
            Kind::Poisoned => return None,
            Kind::Wrong(message) => {
                faults.push(Fault::new(place, message));
                if !tree.remove(place, &mut removed) {
                    return None;
                }
            }
        }
    }
    None
}

impl Node {
    /// Takes out the entry or item that begins at `place`, by its key or by its value.
    fn remove(&mut self, place: Place, removed: &mut Vec<(Place, String)>) -> bool {
        let here = self.place;
        match &mut self.value {
            Value::Map(entries) => {
                let at = |(key, node): &(Key, Node)| key.place == place || node.place == place;
                if let Some(index) = entries.iter().position(at) {
                    let (key, _) = Rc::make_mut(entries).remove(index);
                    removed.push((here, key.text.to_string()));
                    return true;
                }
                Rc::make_mut(entries).iter_mut().any(|(_, node)| node.remove(place, removed))
            }
            Value::List(items) => {
                if let Some(index) = items.iter().position(|node| node.place == place) {
                    Rc::make_mut(items).remove(index);
                    return true;
                }
                Rc::make_mut(items).iter_mut().any(|node| node.remove(place, removed))
            }
            _ => false,
        }
    }

    /// Puts a neutral value under `key` of the mapping that begins at `place`.
    fn supply(&mut self, place: Place, key: &str) -> bool {
        let poison = Node { place, value: Value::Poison };
        match &mut self.value {
            Value::Map(entries) if self.place == place => {
                Rc::make_mut(entries).push((Key { place, text: Rc::from(key) }, poison));
                true
            }
            Value::Map(entries) => {
                Rc::make_mut(entries).iter_mut().any(|(_, node)| node.supply(place, key))
            }
            Value::List(items) => {
                Rc::make_mut(items).iter_mut().any(|node| node.supply(place, key))
            }
            _ => false,
        }
    }
}

/// Why decoding stopped.
#[derive(Debug)]
pub(crate) struct Error {
    place: Option<Place>,
    kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Wrong(String),
    UnknownKey(String, &'static [&'static str]),
    Missing(&'static str),
    /// A consequence of a fault already noted.
    Poisoned,
}

impl Error {
    fn wrong(node: &Node, expected: &str) -> Error {
        let kind = match node.value {
            Value::Poison => Kind::Poisoned,
            _ => Kind::Wrong(format!("expected {expected}, found {}", node.describe())),
        };
        Error { place: Some(node.place), kind }
    }

    /// The innermost place wins.
    fn at(mut self, node: &Node) -> Error {
        self.place = self.place.or(Some(node.place));
        if matches!(node.value, Value::Poison) {
            self.kind = Kind::Poisoned;
        }
        self
    }
}

impl std::error::Error for Error {}

impl Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.kind)
    }
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Error {
        Error { place: None, kind: Kind::Wrong(message.to_string()) }
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Error {
        Error { place: None, kind: Kind::UnknownKey(key.to_owned(), known) }
    }

    fn missing_field(key: &'static str) -> Error {
        Error { place: None, kind: Kind::Missing(key) }
    }

    fn unknown_variant(text: &str, known: &'static [&'static str]) -> Error {
        let hint = did_you_mean(text, known.iter().copied());
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let text = shorten(text);
        de::Error::custom(format!("`{text}` is not one of {}{hint}", known.join(", ")))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Error {
        de::Error::custom(format!("expected {expected}, found {found}"))
    }
}

impl Node {
    fn scalar(&self, expected: &str) -> Result<&str, Error> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Ok(text),
            Value::Poison => Ok(""),
            _ => Err(Error::wrong(self, expected)),
        }
    }

    /// Text that was not quoted: only that can be a number or a boolean.
    fn plain(&self, expected: &str) -> Result<&str, Error> {
        match &self.value {
            Value::Scalar { text, plain: true } if !self.is_null() => Ok(text),
            _ => Err(Error::wrong(self, expected)),
        }
    }

    fn whole(&self) -> Result<u64, Error> {
        const EXPECTED: &str = "a whole number";
        let text = self.plain(EXPECTED)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().ok_or_else(|| Error::wrong(self, EXPECTED))
    }

    fn items_or_fault(&self) -> Result<&[Node], Error> {
        match &self.value {
            Value::List(items) => Ok(items),
            Value::Poison => Ok(&[]),
            _ => Err(Error::wrong(self, "a list")),
        }
    }

    fn entries_or_fault(&self) -> Result<&[(Key, Node)], Error> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(Error::wrong(self, "a mapping")),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $number:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.whole()?;
            let number = $number::try_from(number)
                .map_err(|_| Error::wrong(self, &format!("at most {}", $number::MAX)))?;
            visitor.$visit(number).map_err(|error: Error| error.at(self))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &Node {
    type Error = Error;

    whole_numbers! {
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.plain("a whole number")?;
        let number = text.parse().map_err(|_| Error::wrong(self, "a whole number"))?;
        visitor.visit_i32(number).map_err(|error: Error| error.at(self))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.deserialize_map(visitor),
            _ if self.is_null() => visitor.visit_unit().map_err(|error: Error| error.at(self)),
            _ => self.deserialize_str(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.plain("true or false")? {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Error::wrong(self, "true or false")),
        }
        .map_err(|error: Error| error.at(self))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.scalar("text")?).map_err(|error: Error| error.at(self))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.is_null() || matches!(self.value, Value::Poison) {
            true => visitor.visit_none(),
            false => visitor.visit_some(self).map_err(|error: Error| error.at(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items = Items(self.items_or_fault()?.iter());
        visitor.visit_seq(items).map_err(|error: Error| error.at(self))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = Entries { rest: self.entries_or_fault()?.iter(), value: None };
        visitor.visit_map(entries).map_err(|error: Error| error.at(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.scalar("text")?;
        visitor.visit_enum(text.into_deserializer()).map_err(|error: Error| error.at(self))
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let decode = |node: &Node| seed.deserialize(node).map_err(|error| error.at(node));
        self.0.next().map(decode).transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let text: de::value::StrDeserializer<'_, Error> = (*key.text).into_deserializer();
        let place = |error: Error| Error { place: error.place.or(Some(key.place)), ..error };
        seed.deserialize(text).map(Some).map_err(place)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        // INVARIANT: serde asks for a value only after a key.
        let node = self.value.take().expect("a key came first");
        seed.deserialize(node).map_err(|error| error.at(node))
    }
}
