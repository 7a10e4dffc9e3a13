//! The Marble API (gRPC, package `rpc`, service `Marble`), generated from `proto/marble.proto`.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]

tonic::include_proto!("rpc");

/// Names and sizes alone: files and variables carry secrets.
impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn sizes(map: &std::collections::HashMap<String, Vec<u8>>) -> std::collections::BTreeMap<&str, usize> {
            map.iter().map(|(name, value)| (name.as_str(), value.len())).collect()
        }
        f.debug_struct("Parameters")
            .field("file_sizes", &sizes(&self.files))
            .field("env_sizes", &sizes(&self.env))
            .field("argv", &self.argv)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_marble_is_given_does_not_show_in_debug_output() {
        let env = [("KEY".to_owned(), b"planted".to_vec())].into();
        let answer = ActivationResp { parameters: Some(Parameters { env, ..Parameters::default() }) };
        let text = format!("{answer:?}");
        assert!(text.contains("\"KEY\": 7"), "{text}");
        assert!(!text.contains("planted") && !text.contains(&format!("{:?}", b"planted")), "{text}");
    }
}
