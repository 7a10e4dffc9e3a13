//! `marblerun access explain`: who may do what, and why.

use std::path::Path;

use anyhow::{Context as _, Result};
use marblerun_manifest::Manifest;
use marblerun_manifest::access::{Access, Action, FullUpdate, Nobody, Query, Reason};
use serde_json::{Value, json};

use crate::args::{AccessCommand, ExplainArgs, Global};
use crate::failure::{Failure, Kind};
use crate::output::Output;
use crate::{manifest_file, trust};

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: AccessCommand) -> Result<()> {
    match command {
        AccessCommand::Explain(args) => explain(global, output, args).await,
    }
}

async fn explain(global: &Global, output: &Output<'_>, args: ExplainArgs) -> Result<()> {
    let query = query(&args)?;
    let raw = read(global, args.source.as_deref()).await?;
    let manifest = Manifest::decode(&raw).context("reading the manifest")?;
    let all = Access::of(&manifest);
    let select = |query: &Query| all.select(&manifest, query).map_err(|error| Failure::usage(error.to_string()));
    let part = select(&query)?;
    let of_anybody = select(&Query { user: None, ..query.clone() })?;
    // A single question can be answered with no.
    if part.grants.is_empty() && global.exit_code {
        output.set_code(Kind::Denied.exit_code());
    }
    let mut value = serde_json::to_value(&part)?;
    if let Value::Object(map) = &mut value {
        map.insert("manifestFingerprint".to_owned(), json!(manifest_file::fingerprint(&raw)));
    }
    output.result(&value, || text(&part, &of_anybody, &query))
}

fn query(args: &ExplainArgs) -> Result<Query> {
    let action = match &args.action {
        None => None,
        Some(name) => Some(Action::from_name(name).ok_or_else(|| {
            let names = Action::ALL.map(Action::as_str).join(", ");
            Failure::usage(format!("there is no action {name:?}; there are: {names}"))
        })?),
    };
    Ok(Query { user: args.user.clone(), action, resource: args.resource.clone() })
}

/// A manifest file, else the manifest that the Coordinator has in force.
async fn read(global: &Global, source: Option<&str>) -> Result<Vec<u8>> {
    if let Some(file) = source.filter(|source| *source == "-" || Path::new(source).is_file()) {
        return manifest_file::load(Path::new(file));
    }
    if let Some(name) = source.filter(|source| source.contains(['/', '\\']) && !source.starts_with("https://")) {
        return Err(Failure::usage(format!("{name} is neither a file nor the address of a Coordinator")));
    }
    let coordinator = global.coordinator_or(source)?;
    let client = trust::connect(global, &coordinator, None).await?;
    Ok(manifest_file::in_force(&client).await.context("getting manifest")?.manifest.0)
}

fn text(part: &Access, of_anybody: &Access, query: &Query) -> String {
    let mut lines = Vec::new();
    let mut user = "";
    for grant in &part.grants {
        if grant.user != user {
            user = &grant.user;
            lines.push(format!("{user} may"));
        }
        let roles = grant.roles.join(", ");
        lines.push(format!("  {}, by role {roles}", what(grant.action, grant.resource.as_deref())));
    }
    match &query.user {
        Some(user) if part.grants.is_empty() => {
            lines.push(format!("{user} {}", refusal(query)));
            lines.extend(others(of_anybody, query));
        }
        _ => {
            lines.extend(part.powerless.iter().map(|user| format!("{user} may do nothing")));
        }
    }
    // What others may is no answer to a question about one user.
    if query.user.is_none() && !part.nobody.is_empty() {
        lines.push("nobody may".to_owned());
        lines.extend(part.nobody.iter().map(nobody));
    }
    if query.resource.is_none() && query.action.is_none_or(|action| action == Action::UpdateManifest) {
        lines.push(full_update(&part.full_update));
    }
    lines.join("\n")
}

fn what(action: Action, resource: Option<&str>) -> String {
    match (action, resource) {
        (Action::UpdateSecurityVersion, Some(name)) => format!("{} of package {name}", action.as_str()),
        (_, Some(name)) => format!("{} {name}", action.as_str()),
        (_, None) => action.as_str().to_owned(),
    }
}

/// The answer no.
fn refusal(query: &Query) -> String {
    match (query.action, &query.resource) {
        (Some(action), resource) => format!("may not {}", what(action, resource.as_deref())),
        (None, Some(resource)) => format!("may do nothing with {resource}"),
        (None, None) => "may do nothing".to_owned(),
    }
}

/// Who may do what a user may not.
fn others(of_anybody: &Access, query: &Query) -> Vec<String> {
    if query.action.is_none() && query.resource.is_none() {
        return Vec::new();
    }
    let may = of_anybody.grants.iter().map(|grant| {
        let roles = grant.roles.join(", ");
        format!("  {} may {}, by role {roles}", grant.user, what(grant.action, grant.resource.as_deref()))
    });
    may.chain(of_anybody.nobody.iter().map(|it| format!("  nobody may {}", nobody(it).trim_start()))).collect()
}

fn nobody(nobody: &Nobody) -> String {
    let reason = match &nobody.reason {
        Reason::NoRole => "no role allows it".to_owned(),
        Reason::NoUser { roles } => format!("no user has role {}", roles.join(" or ")),
        Reason::Never { because } => (*because).to_owned(),
    };
    format!("  {}: {reason}", what(nobody.action, nobody.resource.as_deref()))
}

fn full_update(update: &FullUpdate) -> String {
    if update.owners.is_empty() {
        return "An update of the whole manifest is not possible: nobody may propose one.".to_owned();
    }
    let owners = update.owners.join(", ");
    match update.acknowledgements_needed() {
        0 => format!("An update of the whole manifest is in force as soon as one of {owners} proposes it."),
        1 => format!("An update of the whole manifest needs 1 acknowledgement after its proposal, among {owners}."),
        n => format!("An update of the whole manifest needs {n} acknowledgements after its proposal, among {owners}."),
    }
}
