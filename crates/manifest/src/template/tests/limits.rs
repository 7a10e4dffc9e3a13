//! No template can stall, exhaust or crash the Coordinator.

use proptest::prelude::*;

use super::*;
use crate::template::exec::{Exec, Limits};

/// Half of what a worker thread of the server has.
const STACK: usize = 1 << 20;

/// Runs on a small stack, so that running out of it is noticed here.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK).spawn(test).unwrap().join().unwrap();
}

#[test]
fn nesting_is_refused_long_before_the_stack_ends() {
    on_a_small_stack(|| {
        let count = 20_000;
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("(print ", "1", ")"),
            ("((1).X | print ", "1", ")"),
            ("}}{{if 1", "}}{{print 1", "}}{{end"),
            ("}}{{if 1}}{{else", "}}{{print 1", "}}{{end"),
            ("}}{{with (print 1)", "}}{{print 1", "}}{{end"),
            ("}}{{range (2)", "}}{{print 1", "}}{{end"),
            ("}}{{block \"b\" 1", "}}{{print 1", "}}{{end"),
        ] {
            let template = format!("{{{{print {}{middle}{}}}}}", open.repeat(count), close.repeat(count));
            let error = render(template.as_bytes(), Kind::File).unwrap_err();
            assert!(error.ends_with("max expression depth exceeded"), "{error}");
        }
    });
}

#[test]
fn the_deepest_allowed_nesting_fits_the_stack() {
    on_a_small_stack(|| {
        let depth = 100;
        let nested = |open: &str, close: &str, count| format!("{}x{}", open.repeat(count), close.repeat(count));
        let blocks = nested("{{if (print 1)}}", "{{end}}", depth - 1);
        assert_eq!(render(blocks.as_bytes(), Kind::File), Ok(b"x".to_vec()));
        let ranges = nested("{{range $x := print 1 | len}}", "{{end}}", depth);
        assert_eq!(render(ranges.as_bytes(), Kind::File), Ok(b"x".to_vec()));
        let parens = format!("{{{{print {}1{}}}}}", "(print ".repeat(depth), ")".repeat(depth));
        assert_eq!(render(parens.as_bytes(), Kind::File), Ok(b"1".to_vec()));
        let chains = (0..depth / 2).fold("1".to_owned(), |inner, _| format!("(index $.Secrets (print {inner})).Size"));
        let chains = format!("{{{{print {chains}}}}}");
        assert_eq!(render(chains.as_bytes(), Kind::File), Ok(b"0".to_vec()));
    });
}

#[test]
fn a_long_chain_of_alternatives_is_no_nesting() {
    let template = format!("{{{{if 0}}}}a{}{{{{else}}}}b{{{{end}}}}", "{{else if 0}}x".repeat(5000));
    assert_eq!(render(template.as_bytes(), Kind::File), Ok(b"b".to_vec()));
}

#[test]
fn a_template_that_calls_itself_for_ever_fails() {
    on_a_small_stack(|| {
        for template in [
            "{{template \"data\"}}",
            "{{define \"T\"}}{{template \"T\" .}}{{end}}{{template \"T\" .}}",
            "{{define \"A\"}}{{template \"B\"}}{{end}}{{define \"B\"}}{{template \"A\"}}{{end}}{{template \"A\"}}",
            "{{define \"T\"}}{{if print (print (print 1))}}{{range 1}}{{with 1}}{{template \"T\" (print .)}}{{end}}{{end}}{{end}}{{end}}{{template \"T\"}}",
        ] {
            let error = render(template.as_bytes(), Kind::File).unwrap_err();
            assert!(error.contains("exceeded maximum template depth"), "{error}");
        }
    });
}

#[test]
fn recursion_that_ends_is_allowed() {
    let template =
        "{{define \"T\"}}{{len .}}{{if .}} {{template \"T\" slice . 1}}{{end}}{{end}}{{template \"T\" \"abcdefghij\"}}";
    assert_eq!(render(template.as_bytes(), Kind::File), Ok(b"10 9 8 7 6 5 4 3 2 1 0".to_vec()));
}

/// Executes with limits a test can reach.
fn fails_with(template: &str, limits: Limits) -> String {
    let (reserved, secrets) = (Reserved::dummy(), secrets());
    let context = Context { reserved: &reserved, secrets: &secrets, previous_secrets: &secrets };
    let template = Template::parse(template.as_bytes(), Kind::File).unwrap();
    Exec::run(&template, &context, limits).0.unwrap_err().to_string()
}

/// How many steps a template takes.
fn steps_of(template: &str, secrets: &dyn SecretSource) -> u64 {
    let reserved = Reserved::dummy();
    let context = Context { reserved: &reserved, secrets, previous_secrets: secrets };
    let template = Template::parse(template.as_bytes(), Kind::File).unwrap();
    let (result, left) = Exec::run(&template, &context, Limits::DEFAULT);
    result.unwrap();
    Limits::DEFAULT.steps - left
}

#[test]
fn what_takes_long_takes_many_steps() {
    let certificate = include_str!("../../../tests/fixtures/manifests/keys/alice.crt.pem");
    let certificate = crate::pem::first_block(certificate).unwrap().contents;
    let mut secrets = secrets();
    secrets.insert("large".to_owned(), key(SecretKind::Plain, &[b'x'; 64_000]));
    secrets.insert("cert".to_owned(), SecretValue { cert: Some(certificate.into()), ..SecretValue::default() });
    for number in 0..1_000 {
        secrets.insert(format!("n{number}"), key(SecretKind::Plain, b"x"));
    }
    let long = "{{$x := printf \"%64000d\" 1}}";
    let made = steps_of(long, &secrets);
    assert!(made >= 1_000, "{made}");
    for (template, least) in [
        ("{{if eq $x $x}}{{end}}", 8_000),
        ("{{if lt $x $x}}{{end}}", 8_000),
        ("{{$y := printf \"%.0s\" $x}}", 4_000),
        ("{{$y := printf $x}}", 5_000),
        ("{{$y := html $x}}", 5_000),
        ("{{$x}}", 1_000),
        ("{{len $.Secrets}}", 1_000),
        ("{{if $.Secrets}}{{end}}", 1_000),
        ("{{if not $.Secrets}}{{end}}", 1_000),
        ("{{range $.Secrets}}{{end}}", 3_000),
        ("{{$y := $.Secrets.large}}", 2_000),
        ("{{$y := index $.Secrets \"large\"}}", 2_000),
        ("{{$y := raw $.Secrets.large}}", 7_000),
        ("{{$y := raw $.Secrets.large.Private}}", 7_000),
        ("{{$.Secrets.large.Private}}", 2_000),
        ("{{$.Secrets.cert.Cert.IsCA}}", 30),
        ("{{$y := $.Secrets.cert.Cert.Subject.CommonName}}", 30),
    ] {
        let steps = steps_of(&format!("{long}{template}"), &secrets) - made;
        assert!(steps >= least, "{template}: {steps}");
    }
    let text = "x".repeat(64_000);
    assert!(steps_of(&text, &secrets) >= 1_000);
    let variables = "{{$x := 1}}".repeat(999);
    let use_of_the_first = steps_of(&format!("{variables}{{{{$}}}}").replace("{{$}}", "{{if $}}{{end}}"), &secrets);
    assert!(use_of_the_first >= 999 + 30, "{use_of_the_first}");
}

#[test]
fn a_template_has_a_limit_of_variables_and_parts() {
    let with = |count: usize| render("{{$x := 1}}".repeat(count).as_bytes(), Kind::File);
    assert_eq!(with(1_000), Ok(Vec::new()));
    assert_eq!(with(1_001).unwrap_err(), "template: data:1: too many variables");
    let scopes = "{{if 1}}{{$x := 1}}{{end}}".repeat(1_500);
    assert_eq!(render(scopes.as_bytes(), Kind::File), Ok(Vec::new()));
    let error = render("{{1}}".repeat(200_000).as_bytes(), Kind::File).unwrap_err();
    assert!(error.contains("template has too many parts"), "{error}");
    let error = render(format!("{{{{{}}}}}", ".a".repeat(600_000)).as_bytes(), Kind::File).unwrap_err();
    assert!(error.contains("template has too many parts"), "{error}");
}

/// One template that is just allowed takes a fifth of what all of a manifest may take.
#[test]
fn the_templates_of_a_manifest_have_a_limit_together() {
    let long = r#"{{$x := printf \"%1000000d\" 1}}{{range 30}}{{if eq $x $x}}{{end}}{{end}}"#;
    let manifest = |count: usize| {
        let env: Vec<_> = (0..count).map(|number| format!(r#""{number}":"{long}""#)).collect();
        let json = format!(r#"{{"Marbles":{{"m":{{"Parameters":{{"Env":{{{}}}}}}}}}}}"#, env.join(","));
        crate::Manifest::decode(json.as_bytes()).unwrap()
    };
    assert_eq!(crate::template::dry_run(&manifest(5), &secrets()), []);
    let failures = crate::template::dry_run(&manifest(10), &secrets());
    assert!(!failures.is_empty() && failures.len() <= 5, "{failures:?}");
    assert!(failures[0].reason.ends_with("template takes too many steps"), "{failures:?}");
}

#[test]
fn failures_are_told_up_to_a_number() {
    let env: Vec<_> = (0..1_500).map(|number| format!(r#""{number}":"{{{{ nope }}}}""#)).collect();
    let json = format!(r#"{{"Marbles":{{"m":{{"Parameters":{{"Env":{{{}}}}}}}}}}}"#, env.join(","));
    let manifest = crate::Manifest::decode(json.as_bytes()).unwrap();
    assert_eq!(crate::template::dry_run(&manifest, &secrets()).len(), 1_000);
}

#[test]
fn endless_loops_end() {
    let limits = Limits { steps: 10_000, ..Limits::DEFAULT };
    for template in [
        "{{range 9223372036854775807}}{{end}}",
        "{{range 99999999}}{{range 99999999}}{{end}}{{end}}",
        "{{range 200}}{{range .}}{{range 99}}{{continue}}{{end}}{{end}}{{end}}",
        "{{define \"T\"}}{{range 9}}{{template \"T\"}}{{end}}{{end}}{{range 9999999}}{{if 0}}{{template \"T\"}}{{end}}{{end}}",
    ] {
        let error = fails_with(template, limits);
        assert!(error.ends_with("template takes too many steps"), "{error}");
    }
}

#[test]
fn output_and_what_is_made_on_the_way_are_bounded() {
    let limits = Limits { output: 1 << 20, made: 1 << 20, ..Limits::DEFAULT };
    for template in [
        "{{range 100000}}{{printf \"%10000d\" 1}}{{end}}",
        "{{range 9999999}}0123456789abcdef{{end}}",
        "{{$x := \"0123456789abcdef\"}}{{range 64}}{{$x = print $x $x}}{{end}}",
        "{{$x := printf \"%10000d\" 1}}{{range 1000}}{{$x}}{{end}}",
        "{{printf \"%*d%[1]*d%[1]*d%[1]*d\" 1000000 1}}",
        "{{$x := printf \"%100000d\" 1}}{{printf \"%q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q%[1]q\" $x}}",
        "{{$x := printf \"%100000q\" 1}}{{range 100}}{{$x = html $x}}{{end}}",
        "{{range 100000}}{{pem $.Secrets.c.Cert | print}}{{end}}",
    ] {
        let error = fails_with(template, limits);
        assert!(error.ends_with("result is too large"), "{error}");
    }
}

/// Pieces from which templates are made that get past the lexer.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "{{",
            "}}",
            "{{- ",
            " -}}",
            "{{if ",
            "{{else}}",
            "{{else if ",
            "{{end}}",
            "{{range ",
            "{{range $i, $x := ",
            "{{with ",
            "{{define \"T\"}}",
            "{{template \"T\" ",
            "{{block \"B\" ",
            "{{break}}",
            "{{continue}}",
            "$x := ",
            "$x = ",
            "$x",
            "$",
            ".",
            ".Secrets",
            ".Secrets.s",
            ".Private",
            ".Cert",
            ".Previous",
            ".MarbleRun.RootCA",
            "index ",
            "slice ",
            "len ",
            "printf \"%*.*[3]d%#+0 -5.3x\" ",
            "print ",
            "hex ",
            "pem ",
            "base64 ",
            "raw ",
            "eq ",
            "lt ",
            "and ",
            "or ",
            "not ",
            "html ",
            "js ",
            "urlquery ",
            "call ",
            "(",
            ")",
            " | ",
            "1",
            "0x1F",
            "1.5",
            "-1e9",
            "'a'",
            "\"s\"",
            "`r`",
            "true",
            "nil",
            " ",
            "\n",
            ",",
            "/* c */",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_parsed_and_executed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in [Kind::File, Kind::Env] {
            let _ = render(&bytes, kind);
            let _ = render(&[b"{{", &bytes[..], b"}}"].concat(), kind);
        }
    }

    #[test]
    fn any_pieces_are_parsed_and_executed_without_a_panic(pieces in proptest::collection::vec(piece(), 0..30)) {
        let template = pieces.concat();
        let _ = render(template.as_bytes(), Kind::File);
        let _ = render(format!("{{{{{template}}}}}").as_bytes(), Kind::Env);
    }

    #[test]
    fn text_without_actions_is_rendered_as_it_is(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if !Template::has_actions(&bytes) {
            prop_assert_eq!(render(&bytes, Kind::File), Ok(bytes.clone()));
            prop_assert_eq!(render(&bytes, Kind::Env), Ok(bytes));
        }
    }

    #[test]
    fn a_quoted_string_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
        let quoted = crate::template::quote::to_string(&bytes);
        prop_assert_eq!(crate::template::quote::unquote(quoted.as_bytes()), Some(bytes.clone()));
        prop_assert_eq!(render(format!("{{{{{quoted}}}}}").as_bytes(), Kind::File), Ok(bytes));
    }
}
