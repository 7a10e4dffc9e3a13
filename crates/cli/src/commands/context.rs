//! `marblerun context add|use|list|show|rm`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use comfy_table::Table;
use marblerun_client::Endpoint;
use serde_json::{Value, json};

use crate::args::{AddContext, ContextCommand, Global};
use crate::context::{self, Context, Contexts, Pin};
use crate::failure::Failure;
use crate::output::{Output, note};
use crate::{files, incarnation, prompt, trust};

/// Runs one of them.
pub async fn run(global: &Global, output: &Output<'_>, command: ContextCommand) -> Result<()> {
    match command {
        ContextCommand::Add(args) => add(global, output, args),
        ContextCommand::Use { name, none: _ } => choose(output, name),
        ContextCommand::List => list(output),
        ContextCommand::Show { name } => show(global, output, name),
        ContextCommand::Rm { name } => remove(global, output, &name).await,
    }
}

fn add(global: &Global, output: &Output<'_>, args: AddContext) -> Result<()> {
    context::check_name(&args.name)?;
    Endpoint::parse(&args.address)?;
    if args.cert.is_some() != args.key.is_some() {
        return Err(Failure::usage("a certificate is of no use without its key: give both --cert and --key, or none"));
    }
    let mut contexts = Contexts::load()?;
    let old = contexts.contexts.get(&args.name);
    if old.is_some() && !args.replace {
        return Err(Failure::usage(format!("there is a context {:?} already; --replace replaces it", args.name)));
    }
    let root = args.root.as_deref().map(read_root).transpose()?;
    let context = Context {
        address: args.address,
        namespace: global.namespace.clone(),
        root,
        cert: args.cert.as_deref().map(absolute).transpose()?,
        key: args.key.as_deref().map(absolute).transpose()?,
        policy: global.era_config.as_deref().map(absolute).transpose()?,
        insecure: global.insecure,
        other: old.map(|old| old.other.clone()).unwrap_or_default(),
    };
    if old.is_some_and(|old| old.address != context.address || old.root != context.root) {
        // What was cached of another Coordinator must not be believed of this one.
        forget(&args.name)?;
    }
    let value = json!({"name": args.name, "context": to_json(&context)?});
    contexts.contexts.insert(args.name.clone(), context);
    if args.choose {
        contexts.current = Some(args.name.clone());
    }
    contexts.save()?;
    let is_current = contexts.current.as_ref() == Some(&args.name);
    output.result(&value, || {
        if is_current {
            format!("Context {:?} added and in use", args.name)
        } else {
            format!("Context {:?} added; 'marblerun context use {}' makes it the one in use", args.name, args.name)
        }
    })
}

/// A fingerprint as it is, a file as its content.
fn read_root(text: &str) -> Result<String> {
    if text.starts_with("sha256:") {
        return Ok(Pin::parse(text)?.shown());
    }
    let pem = String::from_utf8(files::read(Path::new(text))?).ok().with_context(|| format!("{text} is not PEM"))?;
    match Pin::parse(&pem).with_context(|| format!("reading {text}"))? {
        Pin::Certificate(der) => {
            der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &der).context("encoding the certificate")
        }
        pin @ Pin::Fingerprint(_) => Ok(pin.shown()),
    }
}

/// Contexts are used from other folders than the one they are made in.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("finding {}", path.display()))
}

fn choose(output: &Output<'_>, name: Option<String>) -> Result<()> {
    let mut contexts = Contexts::load()?;
    if let Some(name) = &name {
        contexts.named(name)?;
    }
    contexts.current.clone_from(&name);
    contexts.save()?;
    output.result(&json!({"current": name}), || match &name {
        Some(name) => format!("Context {name:?} is in use"),
        None => "No context is in use".to_owned(),
    })
}

fn list(output: &Output<'_>) -> Result<()> {
    let contexts = Contexts::load()?;
    let mut entries = Vec::new();
    for (name, context) in &contexts.contexts {
        let is_current = contexts.current.as_ref() == Some(name);
        entries.push(json!({"name": name, "current": is_current, "context": to_json(context)?}));
    }
    if output.is_structured() {
        return output.result(&json!({"current": contexts.current, "contexts": entries}), String::new);
    }
    if contexts.contexts.is_empty() {
        note("there are no contexts; 'marblerun context add' makes one");
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["", "NAME", "ADDRESS", "ROOT", "USER CERTIFICATE", "NOTES"]);
    for (name, context) in &contexts.contexts {
        let pin = context.pin()?.map(|pin| pin.shown());
        table.add_row([
            if contexts.current.as_ref() == Some(name) { "*" } else { "" }.to_owned(),
            name.clone(),
            context.address.clone(),
            pin.and_then(|pin| pin.get(..23).map(str::to_owned)).unwrap_or_default(),
            context.cert.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            if context.insecure { "insecure" } else { "" }.to_owned(),
        ]);
    }
    output.result(&entries, || table.trim_fmt())
}

fn show(global: &Global, output: &Output<'_>, name: Option<String>) -> Result<()> {
    let contexts = Contexts::load()?;
    let name = match name {
        Some(name) => name,
        None => match global.chosen()? {
            Some(chosen) => chosen.name.clone(),
            None => return Err(Failure::usage("no context is in use; name one")),
        },
    };
    let context = contexts.named(&name)?;
    let cache = context::cache_path(&name)?;
    let cached = trust::read_cache(&cache)?;
    let seen = incarnation::read(&cache)?;
    let fingerprint = cached.as_ref().map(|cached| Pin::Certificate(cached.root.clone()).shown());
    let pinned = context.pin()?.map(|pin| pin.shown());
    let value = json!({
        "name": name,
        "current": contexts.current.as_ref() == Some(&name),
        "context": to_json(context)?,
        "pinnedRoot": pinned,
        "cache": {
            "path": cache,
            "root": fingerprint,
            "attested": cached.as_ref().map(|cached| !cached.insecure),
        },
        "incarnation": seen.as_ref().map(|seen| json!({
            "number": seen.incarnation,
            "id": seen.id,
            "attested": seen.attested,
        })),
    });
    output.result(&value, || {
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let rows = [
            ("name", Some(name.clone())),
            ("address", Some(context.address.clone())),
            ("namespace", context.namespace.clone()),
            ("policy", file(&context.policy)),
            ("certificate", file(&context.cert)),
            ("key", file(&context.key)),
            ("pinned root", pinned.clone()),
            ("evidence", context.insecure.then(|| "not verified (insecure)".to_owned())),
            (
                "cached root",
                fingerprint.clone().or_else(|| Some("none; 'marblerun manifest verify' caches it".to_owned())),
            ),
            ("attested", cached.as_ref().map(|cached| if cached.insecure { "no" } else { "yes" }.to_owned())),
            (
                "incarnation",
                seen.as_ref().map(|seen| {
                    let unproved = if seen.attested { "" } else { " (not attested)" };
                    format!("{}, {}{unproved}", seen.incarnation, seen.id)
                }),
            ),
        ];
        let rows = rows.into_iter().filter_map(|(label, value)| Some(format!("{label:<12} {}", value?)));
        rows.collect::<Vec<_>>().join("\n")
    })
}

async fn remove(global: &Global, output: &Output<'_>, name: &str) -> Result<()> {
    Contexts::load()?.named(name)?;
    prompt::confirm(global, &format!("Remove context {name:?} and its cached certificates?")).await?;
    let mut contexts = Contexts::load()?;
    contexts.contexts.remove(name);
    if contexts.current.as_deref() == Some(name) {
        contexts.current = None;
    }
    contexts.save()?;
    forget(name)?;
    output.result(&json!({"removed": name}), || format!("Context {name:?} removed"))
}

/// Removes what a context cached.
fn forget(name: &str) -> Result<()> {
    context::check_name(name)?;
    let dir = context::folder(name)?;
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn to_json(context: &Context) -> Result<Value> {
    Ok(serde_json::to_value(context)?)
}
