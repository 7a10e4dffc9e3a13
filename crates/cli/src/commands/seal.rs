//! `marblerun seal`: what opens a sealed state.

use anyhow::{Context as _, Result};
use comfy_table::Table;
use marblerun_api::v3::{SealSlot, SealSlots};

use crate::args::{Global, SealCommand, SlotCommand};
use crate::output::{Output, row, shown};
use crate::prompt;

/// Runs `seal ..`.
pub async fn run(global: &Global, output: &Output<'_>, command: SealCommand) -> Result<()> {
    match command {
        SealCommand::Slot(command) => slot(global, output, command).await,
        SealCommand::Rotate { at, client, force } => {
            let client = super::user_client(global, &at, &client).await?;
            let slots =
                client.v3().rotate_seal_slots(None, force).await.context("rotating the key of the sealed state")?;
            told(output, &slots, "the key of the sealed state and all key slots were replaced")
        }
    }
}

async fn slot(global: &Global, output: &Output<'_>, command: SlotCommand) -> Result<()> {
    match command {
        SlotCommand::List { at, client } => {
            let client = super::user_client(global, &at, &client).await?;
            let slots = client.v3().seal_slots().await.context("listing the key slots")?;
            output.result(&slots, || text(&slots))
        }
        SlotCommand::Add { backend, at, client } => {
            let client = super::user_client(global, &at, &client).await?;
            let slots = client.v3().add_seal_slot(&backend).await.context("adding a key slot")?;
            told(output, &slots, &format!("the key slot {backend} was added"))
        }
        SlotCommand::Test { at, slot, client } => {
            let client = super::user_client(global, &at, &client).await?;
            let slots = client.v3().test_seal_slots(slot.as_deref()).await.context("trying the key slots")?;
            let tried = |tried: &&SealSlot| slot.as_ref().is_none_or(|slot| *slot == tried.label);
            if slots.slots.iter().filter(tried).any(|slot| slot.opens != Some(true)) {
                output.set_code(1);
            }
            output.result(&slots, || text(&slots))
        }
        SlotCommand::Remove { slot, at, client, force } => {
            let client = super::user_client(global, &at, &client).await?;
            prompt::confirm(global, &format!("Remove the key slot {slot}? It will not open the state any more."))
                .await?;
            let slots = client.v3().remove_seal_slot(&slot, force).await.context("removing a key slot")?;
            let again = slots.backends.iter().any(|backend| backend.name == slot);
            let again = if again { "; leave it out of MARBLERUN_SEAL, or the next start makes it again" } else { "" };
            told(output, &slots, &format!("the key slot {slot} was removed, and the key replaced{again}"))
        }
        SlotCommand::Rotate { slot, at, client, force } => {
            let client = super::user_client(global, &at, &client).await?;
            let rotated = client.v3().rotate_seal_slots(Some(&slot), force).await.context("rotating a key slot")?;
            told(output, &rotated, &format!("the key slot {slot}, the others and the key were replaced"))
        }
    }
}

fn told(output: &Output<'_>, slots: &SealSlots, what: &str) -> Result<()> {
    let by = slots.by.as_deref().unwrap_or_default();
    output.result(slots, || format!("{}: {}\n{}", shown(by), shown(what), text(slots)))
}

fn text(slots: &SealSlots) -> String {
    let mut lines = vec![row("key", &slots.key), row("seal mode", &slots.mode)];
    lines.push(row("recovery keys", if slots.recoverable { "open it, too" } else { "none" }));
    let without = slots.backends.iter().filter(|backend| !backend.has_slot).map(|backend| backend.name.as_str());
    let without: Vec<_> = without.collect();
    if !without.is_empty() {
        lines.push(row("configured without slot", &without.join(", ")));
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let is_shared = slots.slots.iter().any(|slot| slot.shared);
    // Where a state is shared, no copy of its key stands in a backup of it.
    let place = if is_shared { "OF" } else { "IN BACKUPS" };
    table.set_header(["SLOT", "KIND", place, "OPENS"]);
    for slot in &slots.slots {
        let opens = match (slot.opens, &slot.problem) {
            (Some(true), _) => "yes".to_owned(),
            // One line, whatever a module said.
            (Some(false), why) => format!("no: {}", shown(why.as_deref().unwrap_or_default()).replace('\n', " ")),
            (None, _) => "not tried".to_owned(),
        };
        let kind = slot.kind.as_deref().unwrap_or("unknown");
        let place = match (is_shared, slot.shared, slot.in_backups) {
            (true, true, _) => "all hosts",
            (true, false, _) => "this host",
            (false, _, true) => "yes",
            (false, _, false) => "no",
        };
        table.add_row([shown(&slot.label), shown(kind), place.to_owned(), opens]);
    }
    if slots.slots.is_empty() {
        lines.push("no key slot: every start asks for the recovery keys".to_owned());
    } else {
        lines.extend(table.to_string().lines().map(|line| line.trim_end().to_owned()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use marblerun_api::v3::SealBackend;

    use super::*;

    #[test]
    fn slots_are_told_in_lines() {
        let slot = |label: &str, opens, problem: Option<&str>| SealSlot {
            label: label.to_owned(),
            kind: Some(label.to_owned()),
            backend: None,
            in_backups: label == "pkcs11",
            shared: false,
            opens,
            problem: problem.map(str::to_owned),
        };
        let slots = SealSlots {
            key: "aa".to_owned(),
            mode: "ProductKey".to_owned(),
            slots: vec![
                slot("platform", Some(true), None),
                slot("pkcs11", Some(false), Some("gone\nyes")),
                slot("tpm", None, None),
            ],
            backends: vec![SealBackend {
                name: "passphrase".to_owned(),
                kind: "passphrase".to_owned(),
                has_slot: false,
            }],
            recoverable: true,
            by: None,
        };
        let text = text(&slots);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        for line in [
            "key aa",
            "recovery keys open it, too",
            "configured without slot passphrase",
            "SLOT KIND IN BACKUPS OPENS",
            "platform platform no yes",
            "pkcs11 pkcs11 yes no: gone yes",
            "tpm tpm no not tried",
        ] {
            let line: Vec<&str> = line.split_whitespace().collect();
            assert!(words.contains(&line), "{line:?}:\n{text}");
        }
        let both =
            ["platform", "pkcs11"].map(|label| SealSlot { shared: label == "pkcs11", ..slot(label, None, None) });
        let shared = super::text(&SealSlots { slots: both.to_vec(), ..slots.clone() });
        let words: Vec<Vec<&str>> = shared.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(words.contains(&vec!["platform", "platform", "this", "host", "not", "tried"]), "{shared}");
        assert!(words.contains(&vec!["pkcs11", "pkcs11", "all", "hosts", "not", "tried"]), "{shared}");
        let none = super::text(&SealSlots { slots: Vec::new(), ..slots });
        assert!(none.contains("every start asks for the recovery keys"), "{none}");
    }
}
