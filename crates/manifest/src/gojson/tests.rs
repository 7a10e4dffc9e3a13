//! Each promise was observed with Go's decoder.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decode_object;

#[derive(Debug, Default, PartialEq)]
struct Inner {
    mode: String,
    on: bool,
}

decode_object!(Inner as "inner" { "SealMode" => mode, "On" => on });

#[derive(Debug, Default, PartialEq)]
struct Outer {
    number: u64,
    small: Option<u16>,
    signed: i64,
    text: String,
    bytes: Vec<u8>,
    list: Vec<String>,
    map: BTreeMap<String, Inner>,
    inner: Inner,
}

decode_object!(Outer as "outer" {
    "Number" => number, "Small" => small, "Signed" => signed, "Text" => text, "Bytes" => bytes, "Slist" => list,
    "Map" => map, "Inner" => inner,
});

fn outer(json: &str) -> Outer {
    from_slice::<Outer>(json.as_bytes()).unwrap().value
}

fn refusal(json: &str) -> String {
    from_slice::<Outer>(json.as_bytes()).unwrap_err().to_string()
}

#[test]
fn syntax_errors_have_the_texts_clients_know() {
    for (json, text) in [
        ("", "unexpected end of JSON input"),
        (" \n", "unexpected end of JSON input"),
        ("{\"a\":", "unexpected end of JSON input"),
        ("[\"ab", "unexpected end of JSON input"),
        // Inside a literal Go blames the virtual space it ends documents with.
        ("\"\\u12", r"invalid character ' ' in \u hexadecimal character escape"),
        ("-", "invalid character ' ' in numeric literal"),
        ("tru", "invalid character ' ' in literal true (expecting 'e')"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("\u{feff}{}", "invalid character 'ï' looking for beginning of value"),
        ("'a'", r"invalid character '\'' looking for beginning of value"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
        ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\" 1}", "invalid character '1' after object key"),
        ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{} {}", "invalid character '{' after top-level value"),
        ("tru\n", r"invalid character '\n' in literal true (expecting 'e')"),
        ("nul1", "invalid character '1' in literal null (expecting 'l')"),
        ("\"\u{1}\"", r"invalid character '\x01' in string literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        ("\"\\u00g0\"", r"invalid character 'g' in \u hexadecimal character escape"),
        ("01", "invalid character '1' after top-level value"),
        ("-a", "invalid character 'a' in numeric literal"),
        ("1.e", "invalid character 'e' after decimal point in numeric literal"),
        ("1e+x", "invalid character 'x' in exponent of numeric literal"),
    ] {
        assert_eq!(whole(json.as_bytes()).unwrap_err().to_string(), text, "{json:?}");
    }
}

#[test]
fn a_stream_yields_its_first_value_whatever_follows() {
    assert_eq!(first(b" {\"a\": [1]} garbage").unwrap().text(), b"{\"a\": [1]}");
    assert_eq!(first(b"12ab").unwrap().text(), b"12");
    assert_eq!(first(b"").unwrap_err().to_string(), "EOF");
    assert_eq!(first(b" \r\n").unwrap_err().to_string(), "EOF");
    assert_eq!(first(b"{\"a\":").unwrap_err().to_string(), "unexpected EOF");
    assert_eq!(first(b"}").unwrap_err().to_string(), "invalid character '}' looking for beginning of value");
}

#[test]
fn depth_ten_thousand_is_read_and_one_more_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deep = nested(MAX_DEPTH);
    let value = whole(deep.as_bytes()).unwrap();
    assert_eq!(value.elements().count(), 1);
    let error = whole(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::TooDeep, MAX_DEPTH));
    assert_eq!(error.to_string(), "invalid character '[' exceeded max depth");
    // Objects count as arrays do, and nothing here recurses however long the input is.
    let objects = "{\"\":".repeat(2_000_000);
    assert_eq!(whole(objects.as_bytes()).unwrap_err().kind(), ErrorKind::TooDeep);
}

#[test]
fn names_match_in_any_case_with_two_foreign_letters() {
    assert_eq!(outer(r#"{"NUMBER":1,"text":"x"}"#), Outer { number: 1, text: "x".into(), ..Outer::default() });
    // U+017F folds to s; U+0130 does not fold to i.
    assert_eq!(outer("{\"\u{17f}li\u{17f}t\":[\"a\"]}").list, ["a"]);
    assert_eq!(outer("{\"Sl\u{130}st\":[\"a\"]}"), Outer::default());
    // U+212A folds to k.
    let object = first("{\"\u{212a}ey\": \"v\"}".as_bytes()).unwrap().object("r").unwrap();
    assert_eq!(object.field("key").string().unwrap(), "v");
    // Names of entries are data.
    assert_eq!(outer(r#"{"Map":{"a":{},"A":{}}}"#).map.len(), 2);
}

#[test]
fn what_is_given_twice_merges_or_the_last_wins() {
    let merged = outer(r#"{"Map":{"a":{"On":true,"SealMode":"x"},"b":{}},"map":{"a":{"SealMode":"y"}}}"#).map;
    assert_eq!(merged.len(), 2);
    assert_eq!(merged["a"], Inner { mode: "y".into(), on: false });
    assert_eq!(outer(r#"{"Inner":{"On":true},"Inner":{"SealMode":"y"}}"#).inner, Inner { mode: "y".into(), on: true });
    assert_eq!(outer(r#"{"Slist":["a","b","c"],"Slist":["x","y"]}"#).list, ["x", "y"]);
    assert_eq!(outer(r#"{"Slist":["a","b"],"Slist":[null]}"#).list, ["a"]);
    assert_eq!(outer(r#"{"Number":1,"Number":2}"#).number, 2);
}

#[test]
fn null_keeps_scalars_and_empties_containers() {
    let json = r#"{"Number":1,"Number":null,"Text":"a","Text":null,"Inner":{"On":true},"Inner":null,
        "Small":1,"Small":null,"Slist":["a"],"Slist":null,"Bytes":"YQ==","Bytes":null,"Map":{"a":{}},"Map":null}"#;
    let expected =
        Outer { number: 1, text: "a".into(), inner: Inner { on: true, mode: String::new() }, ..Outer::default() };
    assert_eq!(outer(json), expected);
    assert_eq!(outer("null"), Outer::default());
    assert_eq!(outer(r#"{"Map":{"a":null},"Slist":[null]}"#).map["a"], Inner::default());
}

#[test]
fn numbers_are_plain_integers_in_range() {
    assert_eq!(outer(r#"{"Number":18446744073709551615}"#).number, u64::MAX);
    assert_eq!(outer(r#"{"Signed":-0}"#).signed, 0);
    for literal in ["7.0", "1e2", "-0", "-1", "18446744073709551616"] {
        let text = format!("json: cannot unmarshal number {literal} into Go struct field outer.Number of type uint64");
        assert_eq!(refusal(&format!(r#"{{"Number":{literal}}}"#)), text);
    }
    assert!(refusal(r#"{"Small":65536}"#).ends_with("outer.Small of type uint16"));
    assert!(refusal(r#"{"Number":"7"}"#).starts_with("json: cannot unmarshal string into"));
}

#[test]
fn bytes_are_base64_or_numbers() {
    for (json, bytes) in [
        (r#""aGk=""#, &b"hi"[..]),
        (r#""aG\nk\r\n=""#, b"hi"),
        (r#""aGl=""#, b"hi"),
        ("[104,105]", b"hi"),
        ("[]", b""),
        (r#""""#, b""),
        ("null", b""),
        ("[null,1]", b"\0\x01"),
    ] {
        assert_eq!(outer(&format!(r#"{{"Bytes":{json}}}"#)).bytes, bytes, "{json}");
    }
    for (json, text) in [
        (r#""aGk""#, "illegal base64 data at input byte 0"),
        (r#""a-k=""#, "illegal base64 data at input byte 1"),
        ("7", "json: cannot unmarshal number into Go struct field outer.Bytes of type []uint8"),
        ("[256]", "json: cannot unmarshal number 256 into Go struct field outer.Bytes of type uint8"),
        (r#"["a"]"#, "json: cannot unmarshal string into Go struct field outer.Bytes of type uint8"),
    ] {
        assert_eq!(refusal(&format!(r#"{{"Bytes":{json}}}"#)), text);
    }
}

#[test]
fn broken_text_becomes_the_replacement_character_byte_by_byte() {
    let text = |json: &[u8]| whole(json).unwrap().string().unwrap().into_owned();
    assert_eq!(text(b"\"a\xff\xfeb\""), "a\u{fffd}\u{fffd}b");
    assert_eq!(text(b"\"\xe2\x82\""), "\u{fffd}\u{fffd}");
    assert_eq!(text(br#""\ud800""#), "\u{fffd}");
    assert_eq!(text(br#""\ud800A\udc00""#), "\u{fffd}A\u{fffd}");
    assert_eq!(text(br#""\ud83d\ude00\/\"\\\b""#), "\u{1f600}/\"\\\u{8}");
}

#[test]
fn every_type_error_is_found_with_its_path_and_the_first_is_reported() {
    let errors = from_slice::<Outer>(br#"{"Text":1,"Map":{"a.b":{"On":"x"}},"Slist":["",2]}"#).unwrap_err();
    let paths: Vec<&str> = errors.all().iter().map(Error::path).collect();
    assert_eq!(paths, ["Text", "Map.\"a.b\".On", "Slist[1]"]);
    assert_eq!(errors.first(), &errors.all()[0]);
    assert_eq!(
        errors.all()[1].to_string(),
        "json: cannot unmarshal string into Go struct field inner.Map.On of type bool"
    );
    assert_eq!(refusal("[]"), "json: cannot unmarshal array into Go value of type outer");
}

#[test]
fn a_mistake_that_stops_go_is_reported_before_earlier_ones() {
    let mut context = Context::default();
    let value = whole(b"1").unwrap();
    context.wrong(value, ErrorKind::WrongType, "first");
    context.separately(|context| context.wrong(value, ErrorKind::WrongType, "stops"));
    context.refuse(value, ErrorKind::Content, "later");
    let errors = context.finish().unwrap_err();
    assert_eq!(errors.to_string(), "stops");
    assert_eq!(errors.all().len(), 3);
}

#[test]
fn unknown_and_repeated_names_are_noted() {
    let json = r#"{"Nmuber":1,"Map":{"a":{},"a":{}},"Comment":{"deep":[]},"Number":1,"number":2}"#;
    let notes = from_slice::<Outer>(json.as_bytes()).unwrap().notes;
    let noted: Vec<(&str, NoteKind)> = notes.iter().map(|note| (note.path.as_str(), note.kind.clone())).collect();
    assert_eq!(
        noted,
        [
            ("Nmuber", NoteKind::UnknownField(Some("Number"))),
            ("Map.a", NoteKind::Duplicate),
            ("Comment", NoteKind::UnknownField(None)),
            ("Number", NoteKind::Duplicate),
        ]
    );
}

#[test]
fn a_request_body_is_read_field_by_field() {
    let body = first(br#"{"Secrets":{"a":{"on":true}},"name":"n","value":-1,"name":"m","flag":null} x"#).unwrap();
    let body = body.object("Request").unwrap();
    assert_eq!(body.field("name").string().unwrap(), "m");
    assert!(body.field("secrets").map::<Inner>().unwrap()["a"].on);
    let text = "json: cannot unmarshal number -1 into Go struct field Request.value of type uint64";
    assert_eq!(body.field("value").u64().unwrap_err().to_string(), text);
    assert!(body.field("flag").is_given() && !body.field("flag").is_set());
    assert!(!body.field("absent").is_given());
    assert_eq!(body.field("absent").bytes().unwrap(), b"");
    assert!(first(b"null").unwrap().object("Request").unwrap().field("name").string().unwrap().is_empty());
    let text = "json: cannot unmarshal string into Go value of type Request";
    assert_eq!(first(b"\"a\"").unwrap().object("Request").unwrap_err().to_string(), text);
}

#[test]
fn an_error_knows_its_line_and_column() {
    let input = b"{\n  \"a\": x\n}";
    assert_eq!(whole(input).unwrap_err().line_and_column(input), (2, 8));
}

/// JSON-like text: mostly tokens, so that much of it is valid or nearly so.
fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        8 => prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"Map\"", "\"a\"", "1", "-0", "1e5", "null", "true",
            "\"Number\"", "\"\\ud800\"", " ", "\n", "\"Bytes\"", "\"Inner\"", "\"YQ==\""])
            .prop_map(|t| t.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn no_input_is_too_strange(input in json_like()) {
        let _ = from_slice::<Outer>(&input);
        if let Ok(value) = first(&input) {
            let _ = from_value::<Outer>(value);
            prop_assert!(whole(value.text()).is_ok());
        }
    }

    #[test]
    fn a_strict_reader_agrees_on_what_is_json(input in json_like()) {
        // serde_json also refuses deep nesting, lone surrogates, invalid UTF-8 and numbers beyond f64; none but the
        // surrogates arise here.
        let strict: Result<serde_json::Value, _> = serde_json::from_slice(&input);
        if strict.is_ok() {
            prop_assert!(whole(&input).is_ok());
        } else if whole(&input).is_ok() {
            prop_assert!(std::str::from_utf8(&input).is_err() || input.windows(2).any(|w| w == b"\\u"));
        }
    }

    #[test]
    fn walking_a_value_finds_what_a_strict_reader_finds(keys in prop::collection::vec("[a-z\"\\\\é]{0,4}", 0..6)) {
        let json = serde_json::json!({ "list": keys, "map": keys.iter().map(|k| (k.clone(), 1)).collect::<BTreeMap<_, _>>() });
        let text = json.to_string();
        let object = whole(text.as_bytes()).unwrap().object("x").unwrap();
        prop_assert_eq!(object.field("list").decode::<Vec<String>>().unwrap(), keys.clone());
        let map: BTreeMap<String, u64> = object.field("map").map().unwrap();
        prop_assert_eq!(map, keys.into_iter().map(|k| (k, 1)).collect::<BTreeMap<_, _>>());
    }
}
