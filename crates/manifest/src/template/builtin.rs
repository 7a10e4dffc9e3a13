//! The functions templates can call: those of Go's `text/template`, and the encoders of secrets.

use super::buffer::Buffer;
use super::compare::{equal, equal_any, less};
use super::format::Printer;
use super::value::{Text, Value};
use super::{Kind, encode, escape, printf};

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Func {
    And,
    Call,
    Eq,
    Ge,
    Gt,
    Html,
    Index,
    Js,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    Print,
    Printf,
    Println,
    Slice,
    UrlQuery,
    Base64,
    Hex,
    Pem,
    Raw,
    String,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    /// Anything.
    Any,
    /// A string.
    Text,
}

const FUNCTIONS: &[(&str, Func)] = &[
    ("and", Func::And),
    ("call", Func::Call),
    ("eq", Func::Eq),
    ("ge", Func::Ge),
    ("gt", Func::Gt),
    ("html", Func::Html),
    ("index", Func::Index),
    ("js", Func::Js),
    ("le", Func::Le),
    ("len", Func::Len),
    ("lt", Func::Lt),
    ("ne", Func::Ne),
    ("not", Func::Not),
    ("or", Func::Or),
    ("print", Func::Print),
    ("printf", Func::Printf),
    ("println", Func::Println),
    ("slice", Func::Slice),
    ("urlquery", Func::UrlQuery),
    ("base64", Func::Base64),
    ("hex", Func::Hex),
    ("pem", Func::Pem),
    ("raw", Func::Raw),
    ("string", Func::String),
];

impl Func {
    /// The function of that name, if templates of that kind have it.
    pub(super) fn find(name: &[u8], kind: Kind) -> Option<Self> {
        let (_, function) = FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name)?;
        match (function, kind) {
            (Func::Raw, Kind::Env) | (Func::String, Kind::File) => None,
            _ => Some(*function),
        }
    }

    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, function)| *function == self).map_or("", |(name, _)| name)
    }

    /// Its parameters, and whether more arguments may follow.
    pub(super) fn parameters(self) -> (&'static [Param], bool) {
        match self {
            Func::Html | Func::Js | Func::UrlQuery | Func::Print | Func::Println => (&[], true),
            Func::And | Func::Or | Func::Call | Func::Eq | Func::Index | Func::Slice => (&[Param::Any], true),
            Func::Printf => (&[Param::Text], true),
            Func::Not | Func::Len | Func::Base64 | Func::Hex | Func::Pem | Func::Raw | Func::String => {
                (&[Param::Any], false)
            }
            Func::Ne | Func::Lt | Func::Le | Func::Gt | Func::Ge => (&[Param::Any, Param::Any], false),
        }
    }
}

/// Calls a function, its arguments being of the right number and types. `callee` is how the first
/// argument of `call` reads; `limit` bounds what is made.
///
/// # Errors
/// The message of the function.
pub(super) fn call<'a>(
    function: Func,
    arguments: &[Value<'a>],
    callee: &str,
    limit: usize,
) -> Result<Value<'a>, String> {
    let first = arguments.first().unwrap_or(&Value::Invalid);
    let second = arguments.get(1).unwrap_or(&Value::Invalid);
    let rest = arguments.get(1..).unwrap_or_default();
    let value = match function {
        // Both are evaluated by the caller, argument by argument.
        Func::And | Func::Or => first.clone(),
        Func::Call => return Err(not_a_function(first, callee)),
        Func::Eq => Value::Bool(equal_any(first, rest)?),
        Func::Ne => Value::Bool(!equal(first, second)?),
        Func::Lt => Value::Bool(less(first, second)?),
        Func::Le => Value::Bool(less(first, second)? || equal(first, second)?),
        Func::Gt => Value::Bool(!(less(first, second)? || equal(first, second)?)),
        Func::Ge => Value::Bool(!less(first, second)?),
        Func::Not => Value::Bool(!first.truth().ok_or(super::exec::NO_TRUTH)?),
        Func::Len => length(first)?,
        Func::Index => index(first, rest)?,
        Func::Slice => slice(first, rest)?,
        Func::Print => made(limit, |printer| printer.print(arguments))?,
        Func::Println => made(limit, |printer| printer.println(arguments))?,
        Func::Printf => match first {
            Value::Text(format) => made(limit, |printer| printf::print(printer, format.as_slice(), rest))?,
            _ => Value::Invalid,
        },
        Func::Html => escaped(limit, arguments, escape::html)?,
        Func::Js => escaped(limit, arguments, escape::js)?,
        Func::UrlQuery => escaped(limit, arguments, escape::url_query)?,
        Func::Base64 => encode::base64(first)?,
        Func::Hex => encode::hex(first)?,
        Func::Pem => encode::pem(first)?,
        Func::Raw => encode::raw(first)?,
        Func::String => encode::string(first)?,
    };
    Ok(value)
}

/// The message when a function would make more than is allowed.
pub(super) const TOO_LARGE: &str = "result is too large";

fn made<'a>(limit: usize, write: impl FnOnce(&mut Printer<'_>)) -> Result<Value<'a>, String> {
    let mut out = Buffer::new(64, limit);
    let mut printer = Printer::new(&mut out);
    write(&mut printer);
    printer.finish()?;
    if out.overflowed() {
        return Err(TOO_LARGE.to_owned());
    }
    Ok(Value::text(out.into_bytes()))
}

/// The arguments printed side by side, nothing as `<no value>`, then escaped.
fn escaped<'a>(limit: usize, arguments: &[Value<'a>], escape: fn(&[u8], &mut Buffer)) -> Result<Value<'a>, String> {
    let shown: Vec<Value<'_>> = arguments
        .iter()
        .map(|value| if value.is_valid() { value.clone() } else { Value::Text(Text::Literal(b"<no value>")) })
        .collect();
    let Value::Text(plain) = made(limit, |printer| printer.print(&shown))? else { return Ok(Value::Invalid) };
    let mut out = Buffer::new(plain.as_slice().len(), limit);
    escape(plain.as_slice(), &mut out);
    if out.overflowed() {
        return Err(TOO_LARGE.to_owned());
    }
    Ok(Value::text(out.into_bytes()))
}

fn not_a_function(value: &Value<'_>, callee: &str) -> String {
    match value {
        Value::Invalid => "call of nil".to_owned(),
        _ => format!("non-function {callee} of type {}", value.type_name()),
    }
}

fn length<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    let length = match value {
        Value::Text(text) => text.as_slice().len(),
        Value::Bytes(list) => list.as_slice().len(),
        Value::Strings(list) => list.as_slice().len(),
        Value::Secrets(source) => source.names().len(),
        Value::Invalid => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        _ => return Err(format!("len of type {}", value.type_name())),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn index<'a>(item: &Value<'a>, indexes: &[Value<'a>]) -> Result<Value<'a>, String> {
    if !item.is_valid() {
        return Err("index of untyped nil".to_owned());
    }
    let mut item = item.clone();
    for index in indexes {
        item = match &item {
            Value::Text(text) => {
                let byte = text.as_slice().get(position(index, text.as_slice().len())?).copied();
                Value::Byte(byte.ok_or("reflect: string index out of range")?)
            }
            Value::Bytes(list) => {
                let byte = list.as_slice().get(position(index, list.as_slice().len())?).copied();
                Value::Byte(byte.ok_or("reflect: slice index out of range")?)
            }
            Value::Strings(list) => {
                let text = list.as_slice().get(position(index, list.as_slice().len())?);
                Value::open_text(text.ok_or("reflect: slice index out of range")?)
            }
            Value::Secrets(source) => match index {
                Value::Text(name) => {
                    let secret = std::str::from_utf8(name.as_slice()).ok().and_then(|name| source.secret(name));
                    Value::Secret(secret.unwrap_or_default())
                }
                Value::Invalid => return Err("value is nil; should be of type string".to_owned()),
                _ => return Err(format!("value has type {}; should be string", index.type_name())),
            },
            _ => return Err(format!("can't index item of type {}", item.type_name())),
        };
    }
    Ok(item)
}

fn slice<'a>(item: &Value<'a>, indexes: &[Value<'a>]) -> Result<Value<'a>, String> {
    if !item.is_valid() {
        return Err("slice of untyped nil".to_owned());
    }
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    let (length, capacity) = match item {
        Value::Text(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => (text.as_slice().len(), text.as_slice().len()),
        Value::Bytes(list) => (list.as_slice().len(), list.capacity()),
        Value::Strings(list) => (list.as_slice().len(), list.capacity()),
        _ => return Err(format!("can't slice item of type {}", item.type_name())),
    };
    let mut positions = indexes.iter().map(|index| position(index, capacity));
    let start = positions.next().transpose()?.unwrap_or(0);
    let end = positions.next().transpose()?.unwrap_or(length);
    let most = positions.next().transpose()?;
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    if let Some(most) = most.filter(|most| end > *most) {
        return Err(format!("invalid slice index: {end} > {most}"));
    }
    Ok(match item {
        Value::Text(text) => Value::Text(text.slice(start..end)),
        Value::Bytes(list) => Value::Bytes(list.slice(start..end, most.unwrap_or(capacity))),
        Value::Strings(list) => Value::Strings(list.slice(start..end, most.unwrap_or(capacity))),
        _ => Value::Invalid,
    })
}

/// An index up to and including `capacity`.
fn position(index: &Value<'_>, capacity: usize) -> Result<usize, String> {
    let number = match index {
        Value::Int(number) => *number,
        Value::Uint(number) => number.cast_signed(),
        Value::Byte(number) => i64::from(*number),
        Value::Invalid => return Err("cannot index slice/array with nil".to_owned()),
        _ => return Err(format!("cannot index slice/array with type {}", index.type_name())),
    };
    usize::try_from(number)
        .ok()
        .filter(|position| *position <= capacity)
        .ok_or_else(|| format!("index out of range: {number}"))
}
