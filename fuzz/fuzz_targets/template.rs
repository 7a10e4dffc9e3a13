//! A template as a manifest may hold it: parsed and run, within bounds.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use marblerun_manifest::template::{Context, Kind, Reserved, SecretValue, Template};

fuzz_target!(|bytes: &[u8]| {
    let reserved = Reserved::dummy();
    let secrets: BTreeMap<String, SecretValue> = BTreeMap::from([("s".to_owned(), reserved.marble_cert.clone())]);
    let context = Context { reserved: &reserved, secrets: &secrets, previous_secrets: &secrets };
    for kind in [Kind::File, Kind::Env] {
        if let Ok(template) = Template::parse(bytes, kind) {
            let _ = template.references();
            let _ = template.execute(&context);
        }
    }
});
