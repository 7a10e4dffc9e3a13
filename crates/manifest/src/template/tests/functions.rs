//! Every encoder on every kind of value.

use super::*;

const MISSING: &str = "secret does not exist";
const EMPTY: &str = "tried to parse secret with empty value";
const TYPE: &str = "invalid secret type";
const PEM_TYPE: &str = "invalid secret type for pem encoding";
const PLAIN: &str = "only secrets of type plain are allowed to use string encoding for environment variables";

/// Value; result of `hex`, `base64` and `raw`; of `pem`; of `string`.
type Row = (
    &'static str,
    Result<&'static [u8], &'static str>,
    Result<&'static str, &'static str>,
    Result<&'static str, &'static str>,
);

const MATRIX: &[Row] = &[
    (".Secrets.s", Ok(b"\x00\x01\x02\xff"), Err(PEM_TYPE), Err(PLAIN)),
    (".Secrets.s.Private", Ok(b"\x00\x01\x02\xff"), Ok("PRIVATE KEY"), Err(PLAIN)),
    (".Secrets.s.Public", Ok(b"\x00\x01\x02\xff"), Ok("PUBLIC KEY"), Err(PLAIN)),
    (".Secrets.s.Cert", Err(EMPTY), Err(EMPTY), Err(PLAIN)),
    (".Secrets.c", Ok(b"public"), Err(PEM_TYPE), Err(PLAIN)),
    (".Secrets.c.Cert", Ok(b"certificate"), Ok("CERTIFICATE"), Err(PLAIN)),
    (".Secrets.c.Cert.Raw", Ok(b"certificate"), Err(PEM_TYPE), Err(PLAIN)),
    (".Secrets.c.Private", Ok(b"private"), Ok("PRIVATE KEY"), Err(PLAIN)),
    (".Secrets.plain", Ok(b"hello"), Err(PEM_TYPE), Ok("hello")),
    (".Secrets.plain.Public", Ok(b"hello"), Ok("PUBLIC KEY"), Err(PLAIN)),
    (".Secrets.nul", Ok(b"a\0b"), Err(PEM_TYPE), Err("secret contains null bytes")),
    (".Secrets.unset", Err(EMPTY), Err(PEM_TYPE), Err(EMPTY)),
    (".Secrets.unset.Public", Err(EMPTY), Err(EMPTY), Err(PLAIN)),
    (".Secrets.nope", Err(MISSING), Err(MISSING), Err(MISSING)),
    (".Secrets.nope.Private", Err(MISSING), Err(MISSING), Err(MISSING)),
    ("nil", Err(MISSING), Err(MISSING), Err(MISSING)),
    (".MarbleRun.RootCA", Err(EMPTY), Err(PEM_TYPE), Err(PLAIN)),
    (".MarbleRun.RootCA.Cert", Ok(b"A"), Ok("CERTIFICATE"), Err(PLAIN)),
    (".MarbleRun.RootCA.Private", Err(EMPTY), Err(EMPTY), Err(PLAIN)),
    (".MarbleRun.MarbleCert", Ok(b"A"), Err(PEM_TYPE), Err(PLAIN)),
    (".MarbleRun.MarbleCert.Private", Ok(b"A"), Ok("PRIVATE KEY"), Err(PLAIN)),
    ("\"text\"", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    ("5", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    ("1.5", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    ("true", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    (".Secrets.s.Size", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    (".Secrets.s.Type", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    (".Secrets", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    (".MarbleRun", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    (".", Err(TYPE), Err(PEM_TYPE), Err(PLAIN)),
    (
        ".Secrets.c.Cert.DNSNames",
        Err("certificate cannot be read"),
        Err("certificate cannot be read"),
        Err("certificate cannot be read"),
    ),
];

fn check(function: &str, value: &str, kind: Kind, expected: Result<Vec<u8>, &str>) {
    let template = format!("{{{{ {function} {value} }}}}");
    match (render(template.as_bytes(), kind), expected) {
        (Ok(output), Ok(expected)) => assert_eq!(output, expected, "{template}"),
        (Err(error), Err(expected)) => assert!(error.ends_with(&format!(": {expected}")), "{template}: {error}"),
        (got, expected) => panic!("{template}: {got:?} instead of {expected:?}"),
    }
}

#[test]
fn each_function_takes_what_it_can_encode_and_nothing_else() {
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    for (value, bytes, pem, string) in MATRIX {
        for kind in [Kind::File, Kind::Env] {
            check("hex", value, kind, bytes.map(|bytes| hex::encode(bytes).into_bytes()));
            check("base64", value, kind, bytes.map(|bytes| base64(bytes).into_bytes()));
            let block = |label: &str, bytes: &[u8]| {
                format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(bytes)).into_bytes()
            };
            check("pem", value, kind, pem.map(|label| block(label, bytes.unwrap_or_default())));
        }
        check("raw", value, Kind::File, bytes.map(<[u8]>::to_vec));
        check("string", value, Kind::Env, string.map(|text| text.as_bytes().to_vec()));
    }
}

#[test]
fn each_function_exists_in_its_context_only() {
    for (function, kind) in [("raw", Kind::Env), ("string", Kind::File), ("sha256", Kind::File), ("sha256", Kind::Env)]
    {
        let error = render(format!("{{{{ {function} .Secrets.s }}}}").as_bytes(), kind).unwrap_err();
        assert_eq!(error, format!("template: data:1: function \"{function}\" not defined"));
    }
}

#[test]
fn pem_lines_are_64_columns_wide() {
    for (length, lines) in [(1, 1), (48, 1), (49, 2), (96, 2), (97, 3)] {
        let secrets = BTreeMap::from([("k".to_owned(), key(SecretKind::Plain, &vec![7; length]))]);
        let pem = render_with(b"{{ pem .Secrets.k.Private }}", Kind::File, &secrets).unwrap();
        let pem = String::from_utf8(pem).unwrap();
        assert_eq!(pem.lines().count(), lines + 2, "{pem}");
        assert!(pem.lines().all(|line| line.len() <= 64) && pem.ends_with("-----END PRIVATE KEY-----\n"), "{pem}");
    }
}
