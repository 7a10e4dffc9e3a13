//! What a request asks of the API server, read off its method and URI as the API server reads it.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// One object is read.
    Get,
    /// Objects are read.
    List,
    /// Changes of objects are followed.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, server-side apply too.
    Patch,
    /// DELETE.
    Delete,
    /// Something that is about no object, such as `/readyz`.
    Other,
}

/// One request to the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How many came before it.
    pub number: u64,
    /// What it does.
    pub verb: Verb,
    /// `secrets`; with its subresource, if any: `serviceaccounts/token`.
    pub resource: String,
    /// Empty for what is in no namespace.
    pub namespace: String,
    /// Name of the object, also where a list or watch selects it by `metadata.name`; else empty.
    pub name: String,
    /// As it was sent.
    pub uri: String,
}

impl Call {
    pub(super) fn new(number: u64, method: &Method, uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let mut call = Self {
            number,
            verb: Verb::Other,
            resource: String::new(),
            namespace: String::new(),
            name: String::new(),
            uri: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        };
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let object = match segments.as_slice() {
            ["api", _, object @ ..] | ["apis", _, _, object @ ..] if !object.is_empty() => object,
            _ => return call,
        };
        // `namespaces/n` is an object itself.
        let object = match object {
            ["namespaces", namespace, object @ ..] if !object.is_empty() => {
                (*namespace).clone_into(&mut call.namespace);
                object
            }
            _ => object,
        };
        let selected = parameter(query, "fieldSelector");
        let selected = selected.as_deref().and_then(|selector| selector.strip_prefix("metadata.name="));
        call.resource = object.first().copied().unwrap_or_default().to_owned();
        call.name = object.get(1).copied().or(selected).unwrap_or_default().to_owned();
        if let Some(subresource) = object.get(2) {
            call.resource = format!("{}/{subresource}", call.resource);
        }
        let watches = matches!(parameter(query, "watch").as_deref(), Some("1" | "true"));
        call.verb = match (method.as_str(), object.len() > 1) {
            ("GET", _) if watches => Verb::Watch,
            ("GET", true) => Verb::Get,
            ("GET", false) => Verb::List,
            ("POST", _) => Verb::Create,
            ("PUT", _) => Verb::Update,
            ("PATCH", _) => Verb::Patch,
            ("DELETE", _) => Verb::Delete,
            _ => Verb::Other,
        };
        call
    }

    /// Whether it changes something.
    #[must_use]
    pub const fn writes(&self) -> bool {
        matches!(self.verb, Verb::Create | Verb::Update | Verb::Patch | Verb::Delete)
    }

    /// Whether it is answered by one state of objects.
    #[must_use]
    pub const fn reads(&self) -> bool {
        matches!(self.verb, Verb::Get | Verb::List)
    }
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str) -> (Verb, String, String, String) {
        let call = Call::new(0, &method.parse().unwrap(), &uri.parse().unwrap());
        (call.verb, call.resource, call.namespace, call.name)
    }

    fn told(verb: Verb, resource: &str, namespace: &str, name: &str) -> (Verb, String, String, String) {
        (verb, resource.to_owned(), namespace.to_owned(), name.to_owned())
    }

    #[test]
    fn calls_are_named_as_the_api_server_names_them() {
        let secrets = "/api/v1/namespaces/n/secrets";
        assert_eq!(call("GET", &format!("{secrets}/s")), told(Verb::Get, "secrets", "n", "s"));
        assert_eq!(call("PUT", &format!("{secrets}/s?dryRun=All")), told(Verb::Update, "secrets", "n", "s"));
        assert_eq!(call("POST", secrets), told(Verb::Create, "secrets", "n", ""));
        assert_eq!(call("PATCH", &format!("{secrets}/s?force=true")), told(Verb::Patch, "secrets", "n", "s"));
        let selected = format!("{secrets}?fieldSelector=metadata.name%3Dmarblerun-state");
        assert_eq!(call("GET", &selected), told(Verb::List, "secrets", "n", "marblerun-state"));
        let watch = format!("{selected}&watch=true&resourceVersion=7");
        assert_eq!(call("GET", &watch), told(Verb::Watch, "secrets", "n", "marblerun-state"));
        let slices = "/apis/discovery.k8s.io/v1/namespaces/n/endpointslices?watch=1";
        assert_eq!(call("GET", slices), told(Verb::Watch, "endpointslices", "n", ""));
        let token = "/api/v1/namespaces/n/serviceaccounts/a/token";
        assert_eq!(call("POST", token), told(Verb::Create, "serviceaccounts/token", "n", "a"));
        assert_eq!(call("DELETE", "/api/v1/namespaces/n"), told(Verb::Delete, "namespaces", "", "n"));
        assert_eq!(call("GET", "/api/v1/nodes"), told(Verb::List, "nodes", "", ""));
        assert_eq!(call("GET", "/readyz"), told(Verb::Other, "", "", ""));
        assert_eq!(call("GET", "/api/v1"), told(Verb::Other, "", "", ""));
    }
}
