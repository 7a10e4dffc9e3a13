//! The configuration file: which module, which token, which PIN. Its fields are those of upstream's command, their
//! names match in any case, and unknown ones are ignored, as Go reads JSON. `PinSource` is ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::Pkcs11Error;

/// Sessions if the file does not say.
const DEFAULT_SESSIONS: usize = 1024;

/// How to reach a token.
pub struct Config {
    /// Shared object of the vendor.
    pub module: PathBuf,
    /// Which token.
    pub token: TokenChoice,
    /// Clear-text PIN.
    pub pin: Option<Zeroizing<String>>,
    /// File that holds the PIN.
    pub pin_source: Option<PathBuf>,
    /// Most sessions opened at once; one of them holds the login.
    pub max_sessions: usize,
    /// How long an operation waits for a session; `None` for ever.
    pub wait: Option<Duration>,
    /// Log in as the normal user; otherwise as the vendor's crypto user.
    pub normal_user: bool,
    /// Do not log in.
    pub without_login: bool,
}

/// How to tell a token from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChoice {
    /// By its label.
    Label(String),
    /// By its serial number.
    Serial(String),
    /// By the number of its slot.
    Slot(u64),
}

impl std::fmt::Display for TokenChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label {label:?}"),
            Self::Serial(serial) => write!(f, "serial number {serial:?}"),
            Self::Slot(slot) => write!(f, "slot number {slot}"),
        }
    }
}

impl Config {
    /// Reads the JSON file.
    ///
    /// # Errors
    /// [`Pkcs11Error::ConfigFile`], [`Pkcs11Error::ConfigFormat`], [`Pkcs11Error::TokenChoice`],
    /// [`Pkcs11Error::ConfigValue`].
    pub fn read(path: &Path) -> Result<Self, Pkcs11Error> {
        let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            Pkcs11Error::ConfigFile { path: path.to_path_buf(), reason }
        })?;
        let fields: Fields = serde_json::from_slice(&bytes)
            .map_err(|error| Pkcs11Error::ConfigFormat { path: path.to_path_buf(), reason: error.to_string() })?;
        fields.check()
    }
}

/// The file as it stands.
#[derive(Default)]
struct Fields {
    path: String,
    token_label: String,
    token_serial: String,
    slot_number: Option<i64>,
    pin: Zeroizing<String>,
    pin_source: String,
    max_sessions: i64,
    user_type: i64,
    pool_wait_timeout: i64,
    login_not_supported: bool,
}

impl Fields {
    fn check(self) -> Result<Config, Pkcs11Error> {
        let value = |text: String| Pkcs11Error::ConfigValue(text);
        let mut choices = Vec::new();
        if let Some(slot) = self.slot_number {
            let slot = u64::try_from(slot).map_err(|_| value(format!("SlotNumber {slot} is not a slot number")))?;
            choices.push(("slot number", TokenChoice::Slot(slot)));
        }
        if !self.token_label.is_empty() {
            choices.push(("token label", TokenChoice::Label(self.token_label)));
        }
        if !self.token_serial.is_empty() {
            choices.push(("token serial number", TokenChoice::Serial(self.token_serial)));
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let token = match (choices.pop(), choices.is_empty()) {
            (Some((_, token)), true) => token,
            (None, _) => {
                let advice = "none given. Set TokenLabel, TokenSerial or SlotNumber";
                return Err(Pkcs11Error::TokenChoice(advice.to_owned()));
            }
            _ => return Err(Pkcs11Error::TokenChoice(format!("{names} given"))),
        };
        if self.path.is_empty() {
            return Err(value("config must specify the PKCS#11 module: set Path to the vendor's .so file".to_owned()));
        }
        let max_sessions = match usize::try_from(self.max_sessions) {
            Ok(0) => DEFAULT_SESSIONS,
            Ok(1) | Err(_) => {
                return Err(value(
                    "MaxSessions must be larger than 1: one session holds the login (0: default)".to_owned(),
                ));
            }
            Ok(number) => number,
        };
        let wait = match u64::try_from(self.pool_wait_timeout) {
            Ok(0) => None,
            Ok(nanoseconds) => Some(Duration::from_nanos(nanoseconds)),
            Err(_) => return Err(value("PoolWaitTimeout (nanoseconds) must not be negative".to_owned())),
        };
        Ok(Config {
            module: self.path.into(),
            token,
            pin: (!self.pin.is_empty()).then_some(self.pin),
            pin_source: (!self.pin_source.is_empty()).then(|| self.pin_source.into()),
            max_sessions,
            wait,
            normal_user: matches!(self.user_type, 0 | 1),
            without_login: self.login_not_supported,
        })
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with Path, TokenLabel, Pin, ..")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            // A null leaves the field as it is.
            match name.to_ascii_lowercase().as_str() {
                "path" => set(&mut fields.path, map.next_value()?),
                "tokenlabel" => set(&mut fields.token_label, map.next_value()?),
                "tokenserial" => set(&mut fields.token_serial, map.next_value()?),
                "slotnumber" => fields.slot_number = map.next_value()?,
                "pin" => set(&mut fields.pin, map.next_value::<Option<String>>()?.map(Zeroizing::new)),
                "pinsource" => set(&mut fields.pin_source, map.next_value()?),
                "maxsessions" => set(&mut fields.max_sessions, map.next_value()?),
                "usertype" => set(&mut fields.user_type, map.next_value()?),
                "poolwaittimeout" => set(&mut fields.pool_wait_timeout, map.next_value()?),
                "loginnotsupported" => set(&mut fields.login_not_supported, map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(fields)
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        Config::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_field_is_read_in_any_case_and_unknown_ones_are_ignored() {
        let config = parse(
            r#"{"PATH":"m.so","tokenlabel":"t","Pin":"1234","pinSource":"/run/pin","MaxSessions":5,"UserType":2,
                "PoolWaitTimeout":1500000000,"LoginNotSupported":true,"UseGCMIVFromHSM":true,"GCMIVLength":16,
                "GCMIVFromHSMControl":{"SupplyIvForHSMGCMEncrypt":true},"Other":[1],"SlotNumber":null}"#,
        )
        .unwrap();
        assert_eq!(config.module, Path::new("m.so"));
        assert_eq!(config.token, TokenChoice::Label("t".to_owned()));
        assert_eq!(config.pin.unwrap().as_str(), "1234");
        assert_eq!(config.pin_source.unwrap(), Path::new("/run/pin"));
        assert_eq!((config.max_sessions, config.wait), (5, Some(Duration::from_millis(1500))));
        assert!(!config.normal_user && config.without_login);
    }

    #[test]
    fn what_is_left_out_has_upstreams_default() {
        for user in ["", r#","UserType":1"#] {
            let config = parse(&format!(r#"{{"Path":"m.so","SlotNumber":0{user}}}"#)).unwrap();
            assert_eq!(config.token, TokenChoice::Slot(0));
            assert!(config.pin.is_none() && config.pin_source.is_none());
            assert_eq!((config.max_sessions, config.wait), (1024, None));
            assert!(config.normal_user && !config.without_login);
        }
    }

    #[test]
    fn a_token_is_named_in_exactly_one_way() {
        let error = |json: &str| parse(json).err().unwrap();
        let start = "config must specify exactly one way to select a token: ";
        assert!(error(r#"{"Path":"m.so"}"#).starts_with(&format!("{start}none given")));
        assert_eq!(
            error(r#"{"Path":"m.so","TokenSerial":"1","TokenLabel":"t"}"#),
            format!("{start}token label, token serial number given")
        );
        assert_eq!(
            error(r#"{"Path":"m.so","SlotNumber":3,"TokenLabel":"t"}"#),
            format!("{start}slot number, token label given")
        );
    }

    #[test]
    fn values_that_cannot_be_are_refused_with_their_name() {
        for (field, name) in [
            (r#""MaxSessions":1"#, "MaxSessions"),
            (r#""MaxSessions":-2"#, "MaxSessions"),
            (r#""PoolWaitTimeout":-1"#, "PoolWaitTimeout"),
            (r#""SlotNumber":-1"#, "SlotNumber"),
            (r#""Path":"""#, "Path"),
            (r#""Path":5"#, "could not decode config file"),
        ] {
            let json = format!(r#"{{"Path":"m.so","TokenLabel":"t",{field}}}"#);
            assert!(parse(&json).err().unwrap().contains(name), "{field}");
        }
        assert!(parse("[]").err().unwrap().contains("could not decode config file"));
        let missing = Config::read(Path::new("/no/such/file")).err().unwrap().to_string();
        assert_eq!(missing, "could not open config file: /no/such/file: open /no/such/file: no such file or directory");
    }
}
