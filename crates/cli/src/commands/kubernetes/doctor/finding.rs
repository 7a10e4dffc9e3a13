//! What an examination has found.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but may not for ever, or could not be looked at.
    Warn,
    /// It does not work.
    Fail,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; stable, for programs.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, text: text.into(), advice: None }
    }

    /// It works, but.
    pub fn warn(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, text: text.into(), advice: Some(advice.into()) }
    }

    /// It does not work.
    pub fn fail(check: &'static str, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, text: text.into(), advice: Some(advice.into()) }
    }

    /// It could not be looked at.
    pub fn unseen(check: &'static str, why: &str) -> Self {
        Self { check, level: Level::Warn, text: format!("could not be looked at: {why}"), advice: None }
    }

    /// One or two lines.
    pub fn in_words(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let advice = self.advice.as_ref().map(|advice| format!("\n{:20}-> {advice}", "")).unwrap_or_default();
        format!("{level:<5} {:<13} {}{advice}", self.check, self.text)
    }
}
