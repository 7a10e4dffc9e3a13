//! Questions before something is destroyed. Asked on a terminal only: a script is never kept waiting.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result, bail};

use crate::args::Global;
use crate::output;

/// What there is to do about something that destroys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Do it: `--yes`, or a person said so.
    Given,
    /// There is nobody to ask.
    NobodyToAsk,
}

/// Asks whether to go on. A person who says no ends the command.
pub async fn confirm(global: &Global, question: &str) -> Result<Consent> {
    if global.yes {
        return Ok(Consent::Given);
    }
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(Consent::NobodyToAsk);
    }
    // From the start of the line: a spinner may have been there.
    let question = format!("\r{question} [y/N] ");
    // Reading a terminal blocks; Ctrl-C must get through.
    let answer = tokio::task::spawn_blocking(move || ask(&question)).await.context("reading the answer")??;
    if is_yes(&answer) { Ok(Consent::Given) } else { bail!("not confirmed; nothing was done") }
}

/// Asks for a word. `None` if there is nobody to ask.
pub async fn ask_word(question: &str) -> Result<Option<String>> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Ok(None);
    }
    let question = format!("\r{question} ");
    let answer = tokio::task::spawn_blocking(move || ask(&question)).await.context("reading the answer")??;
    Ok(Some(answer.trim().to_owned()).filter(|word| !word.is_empty()))
}

fn ask(question: &str) -> Result<String> {
    let _terminal = output::hold_terminal();
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush()).context("asking on the terminal")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    Ok(answer)
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        assert!(["y\n", "YES\n", " yes "].iter().all(|answer| is_yes(answer)));
        assert!(!["", "\n", "n\n", "yep\n", "y y\n"].iter().any(|answer| is_yes(answer)));
    }
}
