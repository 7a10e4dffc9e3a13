//! The forms manifests use, with what they give.

use super::*;

/// Template, output; for files.
const RENDERS: &[(&str, &str)] = &[
    ("{{hex .Secrets.s}}", "000102ff"),
    ("{{ hex .Secrets.s }}", "000102ff"),
    ("{{hex\n.Secrets.s}}", "000102ff"),
    ("{{ .Secrets.s | hex }}", "000102ff"),
    ("{{ hex .Secrets.s.Private }} {{ hex .Secrets.s.Public }}", "000102ff 000102ff"),
    ("{{ (index .Secrets \"a-b\") | raw }}", "dash"),
    ("{{ base64 (.Secrets.s.Private) }}", "AAEC/w=="),
    ("{{ hex .Previous.Secrets.s }}", "000102ff"),
    ("{{ hex .SecretsWrapper.Secrets.s }}", "000102ff"),
    (
        "text: {{ raw .Secrets.plain }} {{ pem .Secrets.c.Private }}",
        "text: hello -----BEGIN PRIVATE KEY-----\ncHJpdmF0ZQ==\n-----END PRIVATE KEY-----\n",
    ),
    ("{{ pem .Secrets.c.Cert }}", "-----BEGIN CERTIFICATE-----\nY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"),
    ("{{ pem .Secrets.c.Public }}", "-----BEGIN PUBLIC KEY-----\ncHVibGlj\n-----END PUBLIC KEY-----\n"),
    ("{{ pem .Secrets.plain.Private }}", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n"),
    ("{{ raw .Secrets.plain }}{{ raw .Secrets.plain }}", "hellohello"),
    ("{{ hex .MarbleRun.RootCA.Cert }}", "41"),
    ("{{ hex .MarbleRun.MarbleCert }}", "41"),
    ("{{ .Secrets.nope }}", "<no value>"),
    ("{{ .Secrets.s.Private }}", "[0 1 2 255]"),
    ("{{ printf \"%s %x\" .Secrets.plain.Private .Secrets.s.Private }}", "hello 000102ff"),
    ("a \n {{- hex .Secrets.s -}} \t\n b", "a000102ffb"),
    ("a{{/* c */}}b {{- /* c */ -}} c", "abc"),
    ("{{\"{{\"}} {{`{{`}} }}", "{{ {{ }}"),
    ("{{ range $name, $_ := .Secrets }}{{ $name }} {{ end }}", "a-b c nul plain s unset "),
    ("{{ if .Secrets.unset.Private }}set{{ else }}unset{{ end }}", "unset"),
    ("{{ with .Secrets.s }}{{ .Type }} {{ .Size }} {{ .Shared }}{{ end }}", "symmetric-key 32 false"),
    ("{{ define \"T\" }}[{{ hex . }}]{{ end }}{{ template \"T\" .Secrets.s }}", "[000102ff]"),
];

/// Template, error; for files.
const FAILS: &[(&str, &str)] = &[
    ("{{ hex .Secrets.a-b }}", "template: data:1: bad character U+002D '-'"),
    ("{{ hex .Secrets.1num }}", "template: data:1: bad number syntax: \".1n\""),
    (
        "{{ hex .Secrets.dot.ted }}",
        "template: data:1:3: executing \"data\" at <hex .Secrets.dot.ted>: error calling hex: secret does not exist",
    ),
    (
        "{{ hex (index .Secrets \"nope\") }}",
        "template: data:1:3: executing \"data\" at <hex (index .Secrets \"nope\")>: error calling hex: tried to parse secret with empty value",
    ),
    (
        "{{ pem .Secrets.missing }}",
        "template: data:1:3: executing \"data\" at <pem .Secrets.missing>: error calling pem: secret does not exist",
    ),
    (
        "{{ pem .Secrets.s }}",
        "template: data:1:3: executing \"data\" at <pem .Secrets.s>: error calling pem: invalid secret type for pem encoding",
    ),
    (
        "{{ raw \"lit\" }}",
        "template: data:1:3: executing \"data\" at <raw \"lit\">: error calling raw: invalid secret type",
    ),
    (
        "{{ hex (raw .Secrets.s) }}",
        "template: data:1:3: executing \"data\" at <hex (raw .Secrets.s)>: error calling hex: invalid secret type",
    ),
    (
        "{{ pem .Marblerun.RootCA.Cert }}",
        "template: data:1:17: executing \"data\" at <.Marblerun.RootCA.Cert>: can't evaluate field Marblerun in type manifest.TemplateData",
    ),
    (
        "{{ hex .Previous.MarbleRun.RootCA }}",
        "template: data:1:16: executing \"data\" at <.Previous.MarbleRun.RootCA>: can't evaluate field MarbleRun in type manifest.Previous",
    ),
    ("{{ string .Secrets.plain }}", "template: data:1: function \"string\" not defined"),
    ("{{ /* c */ }}", "template: data:1: unexpected \"/\" in command"),
    ("{{", "template: data:1: unclosed action"),
    ("{{ }}", "template: data:1: missing value for command"),
];

#[test]
fn the_forms_manifests_use_render_as_users_know_them() {
    for (template, output) in RENDERS {
        assert_eq!(render(template.as_bytes(), Kind::File), Ok(output.as_bytes().to_vec()), "{template}");
    }
}

#[test]
fn mistakes_are_told_in_the_words_users_know() {
    for (template, error) in FAILS {
        assert_eq!(render(template.as_bytes(), Kind::File), Err((*error).to_owned()), "{template}");
    }
}

#[test]
fn binary_content_passes_through_around_and_out_of_actions() {
    let template = b"\xff\x00{{ raw .Secrets.s }}\xfe{{ raw .Secrets.nul }}\x80";
    assert_eq!(render(template, Kind::File).unwrap(), b"\xff\x00\x00\x01\x02\xff\xfea\0b\x80");
}

#[test]
fn a_variable_holds_plain_text_only() {
    assert_eq!(render(b"{{ string .Secrets.plain }}", Kind::Env), Ok(b"hello".to_vec()));
    assert!(render(b"{{ raw .Secrets.plain }}", Kind::Env).unwrap_err().ends_with("function \"raw\" not defined"));
    let nul = render(b"{{ string .Secrets.nul }}", Kind::Env).unwrap_err();
    assert!(nul.ends_with("error calling string: secret contains null bytes"), "{nul}");
}

#[test]
fn no_error_shows_the_value_of_a_secret() {
    for template in [
        "{{ range string .Secrets.plain }}{{ end }}",
        "{{ string .Secrets.plain | call }}",
        "{{ eq .Secrets.plain.Private .Secrets.plain.Private }}",
        "{{ string .Secrets.plain | printf \"%d\" | hex }}",
        "{{ index .Secrets (string .Secrets.plain) 1 }}",
        "{{ template \"T\" (string .Secrets.plain) }}{{ define \"T\" }}{{ .X }}{{ end }}",
    ] {
        let error = render(template.as_bytes(), Kind::Env).unwrap_err();
        assert!(!error.contains("hello") && !error.contains("104 101"), "{error}");
    }
}

#[test]
fn a_secret_has_no_debug_output() {
    assert!(!format!("{:?}", key(SecretKind::Plain, b"hello")).contains("104"));
}
