//! Names in the cluster's DNS.

/// Names under which other pods may reach the Marble: those of a Service that is called as the type is.
pub(super) fn dns_names(marble_type: &str, namespace: &str, cluster_domain: &str) -> [String; 3] {
    let in_namespace = format!("{marble_type}.{namespace}");
    let in_cluster = format!("{in_namespace}.svc.{cluster_domain}");
    [marble_type.to_owned(), in_namespace, in_cluster].map(|name| name.to_lowercase())
}

/// RFC 1123: labels of at most 63 letters, digits and hyphens, at most 253 characters in all.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
