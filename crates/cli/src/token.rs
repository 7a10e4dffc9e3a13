//! PKCS#11 tokens of the user who runs the command.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::Result;
use marblerun_pkcs11::{Config, PIN_VARIABLE, PinSources, Selector, Token, TokenFacts};

use crate::output::ask_secret;

/// Logs into the token that the configuration file names.
pub fn open(config: &Path) -> Result<Token> {
    let config = Config::read(config)?;
    let prompt = |token: &TokenFacts| ask_secret(&format!("PIN of the token {:?}: ", token.label));
    let pins = PinSources { environment: std::env::var_os(PIN_VARIABLE), prompt: Some(&prompt) };
    Ok(Token::open(&config, pins)?)
}

/// What an id and a label on the command line mean.
pub fn selector(id: Option<&OsStr>, label: Option<&OsStr>) -> Result<Selector> {
    Ok(Selector::from_arguments(id.map(OsStr::as_bytes), label.map(OsStr::as_bytes))?)
}
