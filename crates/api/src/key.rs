//! The key service (gRPC, package `keypb`, service `API`), generated from `proto/key.proto`.
#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]

tonic::include_proto!("keypb");

/// Its length alone: it opens the state.
impl std::fmt::Debug for GetKeyEncryptionKeyResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GetKeyEncryptionKeyResponse({} bytes)", self.key.len())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn the_first_fields_are_those_of_other_coordinators() {
        let request = GetKeyEncryptionKeyRequest { quote: b"q".to_vec(), wanted: Vec::new() };
        assert_eq!(request.encode_to_vec(), [10, 1, b'q']);
        let response = GetKeyEncryptionKeyResponse { key: b"planted".to_vec() };
        assert_eq!(response.encode_to_vec()[..2], [10, 7]);
        assert_eq!(format!("{response:?}"), "GetKeyEncryptionKeyResponse(7 bytes)");
    }
}
