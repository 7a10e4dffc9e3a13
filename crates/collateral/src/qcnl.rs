//! The configuration of Intel's quote provider library (`/etc/sgx_default_qcnl.conf`), which says where a machine gets
//! collateral. Both forms are read: JSON with comments, and lines of `NAME=value`.

use serde::Deserialize;

/// What of it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qcnl {
    /// Base address, up to and with the version.
    pub url: String,
    /// Whether the service's certificate must be one that the machine trusts.
    pub secure: bool,
}

/// A file that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QcnlError(String);

#[derive(Deserialize)]
struct Json {
    pccs_url: Option<String>,
    /// Collateral may come from elsewhere than certificates of platforms do.
    collateral_service: Option<String>,
    #[serde(default = "yes")]
    use_secure_cert: bool,
}

fn yes() -> bool {
    true
}

impl Qcnl {
    /// Where the library looks for it.
    pub const PATH: &str = "/etc/sgx_default_qcnl.conf";

    /// Reads it.
    ///
    /// # Errors
    /// If it names no address, or is neither form.
    pub fn parse(text: &str) -> Result<Self, QcnlError> {
        let plain = without_comments(text);
        let (url, secure) = if plain.trim_start().starts_with('{') {
            let json: Json =
                serde_json::from_str(&plain).map_err(|error| QcnlError(format!("it is no JSON: {error}")))?;
            (json.collateral_service.or(json.pccs_url), json.use_secure_cert)
        } else {
            lines(text)?
        };
        let url = url.map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| QcnlError("it names no pccs_url".to_owned()))?;
        Ok(Self { url, secure })
    }
}

fn lines(text: &str) -> Result<(Option<String>, bool), QcnlError> {
    let (mut url, mut secure) = (None, true);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) =
            line.split_once('=').ok_or_else(|| QcnlError(format!("{line:?} is neither JSON nor NAME=value")))?;
        match name.trim().to_ascii_uppercase().as_str() {
            "PCCS_URL" => url = Some(value.trim().to_owned()),
            "USE_SECURE_CERT" => secure = !value.trim().eq_ignore_ascii_case("false"),
            _ => {}
        }
    }
    Ok((url, secure))
}

/// Without `// ..` up to the end of a line, outside of texts.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let (mut in_text, mut escaped) = (false, false);
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if !in_text && character == '/' && rest.peek() == Some(&'/') {
            while rest.next_if(|next| *next != '\n').is_some() {}
            continue;
        }
        if character == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = in_text && character == '\\' && !escaped;
        plain.push(character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let json = r#"{
            // *** where ***
            "pccs_url": "https://localhost:8081/sgx/certification/v4/" // up to the version
            ,"use_secure_cert": false, "retry_times": 6 }"#;
        let expected = Qcnl { url: "https://localhost:8081/sgx/certification/v4/".to_owned(), secure: false };
        assert_eq!(Qcnl::parse(json).unwrap(), expected);
        let old = "# where\nPCCS_URL=https://localhost:8081/sgx/certification/v4/\nUSE_SECURE_CERT=FALSE\n";
        assert_eq!(Qcnl::parse(old).unwrap(), expected);
        assert!(Qcnl::parse("PCCS_URL=https://a/").unwrap().secure);
    }

    #[test]
    fn collateral_may_have_a_service_of_its_own() {
        let both = r#"{"pccs_url": "https://a/", "collateral_service": "https://b/"}"#;
        assert_eq!(Qcnl::parse(both).unwrap(), Qcnl { url: "https://b/".to_owned(), secure: true });
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for (text, part) in
            [("{}", "names no"), ("", "names no"), ("{\"pccs_url\": 1}", "no JSON"), ("hello", "NAME=value")]
        {
            let error = Qcnl::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
