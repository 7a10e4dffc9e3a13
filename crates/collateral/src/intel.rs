//! Intel's Provisioning Certification Service, and the services that speak like it (PCCS).

use marblerun_attestation::{IntelCollateral, IntelParts, IntelPlatform, Tee};
use percent_encoding::percent_decode_str;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Answer, Http};

/// Where Intel publishes the list that PCCSs have under `rootcacrl`.
const ROOT_LIST: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// Addresses of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intel {
    base: String,
}

impl Intel {
    /// The address may end before, with or after `/sgx/certification/v4`.
    pub(crate) fn new(url: &str) -> Self {
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/sgx/certification/v4").or_else(|| base.strip_suffix("/tdx/certification/v4"));
        Self { base: base.unwrap_or_else(|| url.trim_end_matches('/')).to_owned() }
    }

    fn url(&self, tee: &str, rest: &str) -> String {
        format!("{}/{tee}/certification/v4/{rest}", self.base)
    }

    fn root_list(&self) -> String {
        if self.base == "https://api.trustedservices.intel.com" {
            ROOT_LIST.to_owned()
        } else {
            self.url("sgx", "rootcacrl")
        }
    }

    /// Asks for all parts.
    pub(crate) async fn fetch(&self, http: &Http, platform: &IntelPlatform) -> Result<IntelCollateral, String> {
        let tee = if platform.tee == Tee::Tdx { "tdx" } else { "sgx" };
        let fmspc = hex::encode_upper(platform.fmspc);
        let urls = [
            self.url("sgx", &format!("pckcrl?ca={}&encoding=der", platform.ca.as_str())),
            self.root_list(),
            self.url(tee, &format!("tcb?fmspc={fmspc}")),
            self.url(tee, "qe/identity"),
        ];
        let [platforms, root, tcb, qe] = urls.each_ref().map(|url| http.get(url));
        let (platforms, root, tcb, qe) = tokio::try_join!(platforms, root, tcb, qe)?;
        assemble(&platforms, &root, &tcb, &qe)
    }
}

#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow, alias = "tcbInfo", alias = "enclaveIdentity")]
    content: &'a RawValue,
    signature: String,
}

fn assemble(platforms: &Answer, root: &Answer, tcb: &Answer, qe: &Answer) -> Result<IntelCollateral, String> {
    let chain = |answer: &Answer, names: &[&str]| header(&answer.headers, names);
    let tcb_info = signed("TCB info", &tcb.body)?;
    let identity = signed("identity of the quoting enclave", &qe.body)?;
    Ok(IntelCollateral::new(IntelParts {
        pck_crl_issuer_chain: chain(platforms, &["SGX-PCK-CRL-Issuer-Chain"])?,
        root_ca_crl: list(&root.body),
        pck_crl: list(&platforms.body),
        tcb_info_issuer_chain: chain(tcb, &["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"])?,
        tcb_info: tcb_info.0,
        tcb_info_signature: tcb_info.1,
        qe_identity_issuer_chain: chain(qe, &["SGX-Enclave-Identity-Issuer-Chain", "Enclave-Identity-Issuer-Chain"])?,
        qe_identity: identity.0,
        qe_identity_signature: identity.1,
    }))
}

/// A chain of certificates: PEM, encoded for a header.
fn header(headers: &HeaderMap, names: &[&str]) -> Result<String, String> {
    let value = names.iter().find_map(|name| headers.get(*name));
    let value = value.ok_or_else(|| format!("the answer has no header {}", names.join(" or ")))?;
    let text = value.to_str().map_err(|_| "a header is no text".to_owned())?;
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "a header is no text".to_owned())?;
    Ok(decoded.into_owned())
}

/// JSON and its signature, to the byte.
fn signed(what: &str, body: &[u8]) -> Result<(String, Vec<u8>), String> {
    let fail = |reason: String| format!("the {what} cannot be read: {reason}");
    let signed: Signed<'_> = serde_json::from_slice(body).map_err(|error| fail(error.to_string()))?;
    let signature = hex::decode(&signed.signature).map_err(|error| fail(error.to_string()))?;
    Ok((signed.content.get().to_owned(), signature))
}

/// A list of revoked certificates: DER, or DER in hex as PCCSs give it.
fn list(body: &[u8]) -> Vec<u8> {
    hex::decode(body.trim_ascii()).unwrap_or_else(|_| body.to_vec())
}

#[cfg(test)]
mod tests {
    use marblerun_attestation::PckCa;

    use super::*;

    #[test]
    fn an_address_may_be_given_with_or_without_its_version() {
        for url in
            ["https://p:1", "https://p:1/", "https://p:1/sgx/certification/v4/", "https://p:1/tdx/certification/v4"]
        {
            assert_eq!(
                Intel::new(url).url("tdx", "qe/identity"),
                "https://p:1/tdx/certification/v4/qe/identity",
                "{url}"
            );
        }
        assert_eq!(Intel::new("https://p").root_list(), "https://p/sgx/certification/v4/rootcacrl");
        assert_eq!(Intel::new("https://api.trustedservices.intel.com/sgx/certification/v4/").root_list(), ROOT_LIST);
        assert_eq!(PckCa::Platform.as_str(), "platform");
    }

    #[test]
    fn what_is_signed_is_kept_to_the_byte_and_lists_may_be_hex() {
        let body = br#"{ "tcbInfo" : { "a" :1.50,  "b": [ ] }, "signature":"00ff" }"#;
        let (text, signature) = signed("TCB info", body).unwrap();
        assert_eq!((text.as_str(), signature), (r#"{ "a" :1.50,  "b": [ ] }"#, vec![0, 0xff]));
        assert!(signed("TCB info", b"{}").unwrap_err().starts_with("the TCB info cannot be read"));
        assert_eq!(list(b"3082ff\n"), [0x30, 0x82, 0xff]);
        assert_eq!(list(&[0x30, 0x82, 0xff]), [0x30, 0x82, 0xff]);
    }

    #[test]
    fn chains_stand_encoded_in_one_of_two_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("sgx-tcb-info-issuer-chain", "-----BEGIN%20A-----%0A".parse().unwrap());
        let names = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
        assert_eq!(header(&headers, &names).unwrap(), "-----BEGIN A-----\n");
        assert!(header(&HeaderMap::new(), &names).unwrap_err().contains("TCB-Info-Issuer-Chain or SGX-"));
    }
}
