//! Certificates from templates, held against those Go's `x509.CreateCertificate` made from the same JSON:
//! subject, extensions (order, criticality, bytes), end of validity, or the same refusal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod support;

use der::Encode;
use marblerun_manifest::model::{CertFields, CertTemplate, ExtraExtension, SecretDefinition, Subject};
use marblerun_pki::{check_definition, generate_shared};
use serde_json::Value;
use support::*;

#[test]
fn templates_give_the_certificates_go_makes() {
    let authority = authority();
    let mut compared = 0;
    for case in fixture("go-certificates.json").as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let definition = definition_of(&case["template"]);
        let result = generate_shared("s", &definition, &authority, now());
        assert_eq!(
            check_definition("s", &definition, now()).map_err(|error| error.to_string()),
            result.as_ref().map(|_| ()).map_err(ToString::to_string),
            "{name}: the check must say what the generation says"
        );
        // Go signs with SHA-1 where it is not restricted to FIPS; nobody should.
        if name == "SHA-1" {
            result.unwrap_err();
            continue;
        }
        if let Some(error) = case["error"].as_str() {
            let ours = result.unwrap_err().to_string();
            assert!(ours.starts_with(error), "{name}: {ours}");
            compared += 1;
            continue;
        }
        let certificate = result.unwrap_or_else(|error| panic!("{name}: {error}")).certificate.unwrap();
        let parsed = parse(&certificate);
        let tbs = parsed.tbs_certificate();
        assert_eq!(hex::encode(tbs.subject().to_der().unwrap()), case["subject"].as_str().unwrap(), "{name}");
        let theirs: Vec<Value> = case["extensions"].as_array().unwrap().clone();
        let ours: Vec<Value> = tbs
            .extensions()
            .unwrap()
            .iter()
            .map(|extension| {
                serde_json::json!({
                    "id": extension.extn_id.to_string(),
                    "critical": extension.critical,
                    "value": hex::encode(extension.extn_value.as_bytes()),
                })
            })
            .collect();
        assert_eq!(without_issuer(ours), without_issuer(theirs), "{name}");
        if case["template"].get("NotAfter").is_some() {
            assert_eq!(not_after(&certificate), seconds(case["not_after"].as_str().unwrap()), "{name}");
        }
        let algorithm = match case["signature_algorithm"].as_str().unwrap() {
            "ECDSA-SHA256" => const_oid::db::rfc5912::ECDSA_WITH_SHA_256,
            "ECDSA-SHA384" => const_oid::db::rfc5912::ECDSA_WITH_SHA_384,
            "ECDSA-SHA512" => const_oid::db::rfc5912::ECDSA_WITH_SHA_512,
            other => panic!("{other}"),
        };
        assert_eq!(parsed.signature_algorithm().oid, algorithm, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 22);
}

/// The authority key identifier differs with the issuer.
fn without_issuer(mut extensions: Vec<Value>) -> Vec<Value> {
    for extension in &mut extensions {
        if extension["id"] == "2.5.29.35" {
            assert_eq!(extension["value"].as_str().unwrap().len(), 48);
            extension["value"] = Value::Null;
        }
    }
    extensions
}

/// The last second of the year 9999 is beyond what `jiff` holds.
fn seconds(time: &str) -> i64 {
    match time {
        "9999-12-31T23:59:59Z" => 253_402_300_799,
        time => time.parse::<jiff::Timestamp>().unwrap().as_second(),
    }
}

fn definition_of(template: &Value) -> SecretDefinition {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let numbers =
        |value: &Value| -> Vec<u64> { value.as_array().unwrap().iter().map(|arc| arc.as_u64().unwrap()).collect() };
    let field = |name: &str| &template[name];
    let list = |name: &str| strings(&template[name]);
    let ranges = |name: &str| {
        template[name]
            .as_array()
            .into_iter()
            .flatten()
            .map(|range| (range["IP"].as_str().unwrap().parse().unwrap(), base64(&range["Mask"])))
            .collect()
    };
    let subject = &template["Subject"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let fields = CertFields {
        signature_algorithm: field("SignatureAlgorithm").as_i64().unwrap_or_default(),
        subject: Subject {
            country: strings(&subject["Country"]),
            organization: strings(&subject["Organization"]),
            organizational_unit: strings(&subject["OrganizationalUnit"]),
            locality: strings(&subject["Locality"]),
            province: strings(&subject["Province"]),
            street_address: strings(&subject["StreetAddress"]),
            postal_code: strings(&subject["PostalCode"]),
            serial_number: text(&subject["SerialNumber"]),
            common_name: text(&subject["CommonName"]),
            extra_names: subject["ExtraNames"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| (numbers(&name["Type"]), text(&name["Value"])))
                .collect(),
        },
        not_after: field("NotAfter").as_str().map(seconds),
        key_usage: field("KeyUsage").as_i64().unwrap_or_default(),
        ext_key_usage: field("ExtKeyUsage")
            .as_array()
            .map(|list| list.iter().map(|number| number.as_i64().unwrap()).collect()),
        unknown_ext_key_usage: field("UnknownExtKeyUsage").as_array().into_iter().flatten().map(numbers).collect(),
        is_ca: field("IsCA").as_bool().unwrap_or_default(),
        max_path_len: field("MaxPathLen").as_i64().unwrap_or_default(),
        max_path_len_zero: field("MaxPathLenZero").as_bool().unwrap_or_default(),
        subject_key_id: field("SubjectKeyId").as_str().map(|_| base64(field("SubjectKeyId"))).unwrap_or_default(),
        ocsp_server: list("OCSPServer"),
        issuing_certificate_url: list("IssuingCertificateURL"),
        dns_names: Some(list("DNSNames")),
        email_addresses: list("EmailAddresses"),
        ip_addresses: Some(list("IPAddresses").iter().map(|ip| ip.parse().unwrap()).collect()),
        uris: field("URIs")
            .as_array()
            .into_iter()
            .flatten()
            .map(|uri| format!("{}://{}{}", text(&uri["Scheme"]), text(&uri["Host"]), text(&uri["Path"])))
            .collect(),
        permitted_dns_domains_critical: field("PermittedDNSDomainsCritical").as_bool().unwrap_or_default(),
        permitted_dns_domains: list("PermittedDNSDomains"),
        excluded_dns_domains: list("ExcludedDNSDomains"),
        permitted_ip_ranges: ranges("PermittedIPRanges"),
        excluded_ip_ranges: ranges("ExcludedIPRanges"),
        permitted_email_addresses: list("PermittedEmailAddresses"),
        excluded_email_addresses: list("ExcludedEmailAddresses"),
        permitted_uri_domains: list("PermittedURIDomains"),
        excluded_uri_domains: list("ExcludedURIDomains"),
        crl_distribution_points: list("CRLDistributionPoints"),
        policies: list("Policies"),
        extra_extensions: field("ExtraExtensions")
            .as_array()
            .into_iter()
            .flatten()
            .map(|extension| ExtraExtension {
                id: numbers(&extension["Id"]),
                critical: extension["Critical"].as_bool().unwrap_or_default(),
                value: base64(&extension["Value"]),
            })
            .collect(),
    };
    SecretDefinition { cert: Some(CertTemplate::Fields(Box::new(fields))), ..definition("cert-ecdsa", 256) }
}
