//! What upstream's command line was seen to make of YAML.

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn json(yaml: &str) -> String {
    let (json, _) = load(yaml.as_bytes()).unwrap_or_else(|error| panic!("{yaml:?}: {error}"));
    String::from_utf8(json).unwrap()
}

fn codes(yaml: &str) -> Vec<(&'static str, usize)> {
    load(yaml.as_bytes()).unwrap().1.into_iter().map(|warning| (warning.code, warning.line)).collect()
}

#[test]
fn yaml_becomes_the_json_that_upstream_hashes() {
    for (yaml, expected) in [
        ("", "null"),
        ("# only a comment\n", "null"),
        ("b: 1\na: 2", r#"{"a":2,"b":1}"#),
        (
            "a: yes\nb: on\nc: \"yes\"\nd: ~\ne:\ng: n\nh: True",
            r#"{"a":true,"b":true,"c":"yes","d":null,"e":null,"g":false,"h":true}"#,
        ),
        ("a: 010\nb: 0x1F\nc: 0o17\nd: 1_000\ne: 0b11\nf: 1:30", r#"{"a":8,"b":31,"c":15,"d":1000,"e":3,"f":"1:30"}"#),
        ("d: 1e21\nx: 1e-7\nz: 18446744073709551615", r#"{"d":1e+21,"x":1e-7,"z":18446744073709551615}"#),
        (
            "a: 0.1\nb: 100000000000000000000\nc: -0\nd: +1\ne: 1.",
            r#"{"a":0.1,"b":100000000000000000000,"c":0,"d":1,"e":1}"#,
        ),
        ("y: 123456789012345678901234567890", r#"{"true":1.2345678901234568e+29}"#),
        ("1: a\ntrue: b\n2.5: c", r#"{"1":"a","2.5":"c","true":"b"}"#),
        ("a: 2020-01-01\nb: 2020-01-01T00:00:00Z", r#"{"a":"2020-01-01","b":"2020-01-01T00:00:00Z"}"#),
        (r#"a: "<>&\u2028é\x07/""#, r#"{"a":"\u003c\u003e\u0026\u2028é\u0007/"}"#),
        ("a: |\n  l1\n  l2\nb: >\n  f1\n  f2\n", r#"{"a":"l1\nl2\n","b":"f1 f2\n"}"#),
        ("x: &a {k: 1}\nz:\n  <<: *a\n  q: 2", r#"{"x":{"k":1},"z":{"k":1,"q":2}}"#),
        ("a: 1\n---\nb: 2", r#"{"a":1}"#),
        ("{\"a\":1,}", r#"{"a":1}"#),
        ("{a: 1}", r#"{"a":1}"#),
        ("\u{feff}{\"a\":1}", r#"{"a":1}"#),
        ("{\"a\":1}\n{\"b\":2}", r#"{"a":1}"#),
        ("a: !!binary aGk=", r#"{"a":"hi"}"#),
        // Seen with the library itself.
        (
            "a: 08\nb: 12e03\nc: -0777\nd: 1__0\ne: 0b12\nf: _1",
            r#"{"a":8,"b":12000,"c":-511,"d":10,"e":"0b12","f":"_1"}"#,
        ),
        ("a: .5_0\nb: ._5\nc: 1e400\nd: -0.0\ne: 1e-400", r#"{"a":0.5,"b":"._5","c":"1e400","d":-0,"e":0}"#),
        ("1e6: a\n0.00001: b\n123456789.0: c\n.nan: d", r#"{".nan":"d","1.2345679e+08":"c","1e+06":"a","1e-05":"b"}"#),
        ("a: !!float 1\nb: !!int \"7\"\nc: !!str 7\nd: ! 12\ne: !foo 12", r#"{"a":1,"b":7,"c":"7","d":"12","e":"12"}"#),
        ("a: !!binary \"//8=\"\nb: \u{fffd}", "{\"a\":\"\\ufffd\\ufffd\",\"b\":\"\u{fffd}\"}"),
        ("z:\n  <<: [{k: 1}, {l: 2}]", r#"{"z":{"k":1,"l":2}}"#),
        ("\"<<\": 1", r#"{"\u003c\u003c":1}"#),
        ("a: &x b\n*x : d", r#"{"a":"b","b":"d"}"#),
        // Where newer readers of YAML see something else.
        ("a:\tb\nc: [\n]\nd: \"x\ny\"\n", r#"{"a":"b","c":[],"d":"x y"}"#),
        ("[a:, {b:}, ?c, -]", r#"["a:",{"b:":null},{"c":null},"-"]"#),
        ("a: x\u{2028} y", "{\"a\":\"x\\u2028y\"}"),
        ("{}# c", "{}"),
        ("\"a\"x", "\"a\""),
        (
            "%YAML 1.1\n%TAG !y! tag:yaml.org,2002:\n---\na: !y!str 1\nb: !<tag:yaml.org,2002:str> 2",
            r#"{"a":"1","b":"2"}"#,
        ),
        ("? a\n: b\n? c\n", r#"{"a":"b","c":null}"#),
        ("- - a\n  - b\n- ? x\n", r#"[["a","b"],{"x":null}]"#),
        ("a:\n- b\n-\n- c: d\n  e: f\n", r#"{"a":["b",null,{"c":"d","e":"f"}]}"#),
        (
            "a: |-\n  x\n\n   y\nb: >+\n  x\n  y\n\n    z\n\nc: |2\n    q",
            "{\"a\":\"x\\n\\n y\",\"b\":\"x y\\n\\n  z\\n\\n\",\"c\":\"  q\"}",
        ),
        ("a: 'it''s\n\n  two'\nb: \"x\\\n  y\"", r#"{"a":"it's\ntwo","b":"xy"}"#),
        ("a: -9223372036854775809\nb: 9223372036854775808", r#"{"a":-9223372036854776000,"b":9223372036854775808}"#),
    ] {
        assert_eq!(json(yaml), expected, "{yaml:?}");
    }
    let digest = Sha256::digest(json(""));
    assert_eq!(hex::encode(digest), "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b");
}

#[test]
fn json_passes_untouched() {
    for text in ["{ \"b\":1,\r\n \"a\" : 2 }\n", "[1.0]", " null ", "{\"a\":1,\"a\":2}"] {
        assert_eq!(load(text.as_bytes()).unwrap(), (text.as_bytes().to_vec(), vec![]));
    }
}

#[test]
fn utf16_with_a_mark_is_read() {
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| "\u{feff}a: é\n".encode_utf16().flat_map(to_bytes).collect::<Vec<u8>>();
    assert_eq!(load(&utf16(u16::to_le_bytes)).unwrap().0, "{\"a\":\"é\"}".as_bytes());
    assert_eq!(load(&utf16(u16::to_be_bytes)).unwrap().0, "{\"a\":\"é\"}".as_bytes());
}

#[test]
fn a_key_given_twice_is_refused_with_every_place() {
    let error = load(b"Packages: {}\nPackages: {}\nb:\n- {y: 1, on: 2}\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "yaml: unmarshal errors:\n  line 2: key \"Packages\" already set in map\n  line 4: key true already set in map"
    );
    // Merging counts as giving.
    assert!(
        load(b"x: &a {k: 1}\nz:\n  <<: *a\n  k: 2").unwrap_err().to_string().ends_with("key \"k\" already set in map")
    );
    // Upstream would keep one of these at random.
    assert!(matches!(load(b"1: a\n\"1\": b"), Err(YamlError::DuplicateKeys(places)) if places.len() == 1));
}

#[test]
fn what_has_no_meaning_as_json_is_refused() {
    for yaml in [
        "a: .inf",
        "null: x",
        "18446744073709551615: x",
        "? [a]\n: b",
        "a: !!int x",
        "a: !!bool 1",
        "a: !!null x",
        "a: !!timestamp x",
        "a: !!binary x",
        "a: *b",
        "a: &x [*x]",
        "<<: 1",
        "a: &x 1\nb: {<<: *x}",
        "a: \"\\ud800\"",
        "a: b: c",
        "\ta: 1",
        "a: \"\\/\"",
        "%YAML 1.2\n---\na: 1",
        "[a?]",
        "a: [b\nc: d",
        "a: %b",
        "a: [",
        "a: \"\\",
        "a: @b",
        "a: b\u{7}",
    ] {
        assert!(load(yaml.as_bytes()).is_err(), "{yaml:?}");
    }
    assert!(load(b"a: \xff").is_err());
    assert!(load(b"\xff\xfea").is_err());
}

#[test]
fn surprises_are_told_with_their_line() {
    assert_eq!(codes("a: 1\n---\nb: 2"), [("several-documents", 2)]);
    assert_eq!(codes("{\n\"a\": 1,\n}"), [("broken-json", 3)]);
    assert_eq!(codes(""), [("empty-document", 0)]);
    assert_eq!(codes("x: &a\n  y: yes\nz: *a"), [("boolean-key", 2), ("boolean-word", 2)]);
    assert_eq!(codes("a: 010\nb: 99999999999999999999\nc: 1.5"), [("octal-number", 1), ("inexact-number", 2)]);
    assert_eq!(codes("a: 1\n...\n# end\n"), []);
    assert_eq!(codes("a: true\nb: \"yes\"\nc: 0"), []);
}

#[test]
fn small_files_cannot_grow_without_end() {
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        laughs += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(","));
    }
    assert!(load(laughs.as_bytes()).unwrap_err().to_string().contains("excessive aliasing"));
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 18), "*a,".repeat(200));
    assert!(load(long.as_bytes()).unwrap_err().to_string().contains("MiB"));
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(4_999));
    assert!(load(deep.as_bytes()).is_err());
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..400 {
        chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(load(chain.as_bytes()).unwrap_err().to_string().contains("nested deeper"));
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[a-c{}\\[\\],:\"'&*!|>%@#~?\\- \\n\\t\\\\01<.]{0,60}") {
        let _ = load(text.as_bytes());
    }

    #[test]
    fn what_is_made_is_json_and_stays_as_it_is(keys in prop::collection::btree_map("[a-z]{1,4}", "[ -~é\\n]{0,12}", 0..5)) {
        let yaml: String = keys.iter().map(|(key, value)| format!("k{key}: {}\n", serde_json::to_string(value).unwrap())).collect();
        let (made, _) = load(yaml.as_bytes()).unwrap();
        prop_assert_eq!(load(&made).unwrap().0, made.clone());
        let back: serde_json::Value = serde_json::from_slice(&made).unwrap();
        for (key, value) in &keys {
            prop_assert_eq!(back[format!("k{key}")].as_str(), Some(value.as_str()));
        }
    }
}
