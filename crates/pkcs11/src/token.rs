//! One token, logged in.

use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use secrecy::SecretBox;

use crate::pin::{self, Pin, PinSources};
use crate::sessions::{Sessions, close};
use crate::{Code, Config, Pkcs11Error, TokenChoice, module};

/// `CKU_VENDOR_DEFINED` + 1: the crypto user of AWS CloudHSM and others.
const VENDOR_CRYPTO_USER: u32 = 0x8000_0001;

/// What a token says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// Given by its owner.
    pub label: String,
    /// Given by its maker.
    pub serial: String,
    /// Its maker.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Number of its slot.
    pub slot: u64,
    /// The PIN is entered at the token itself.
    pub has_keypad: bool,
}

/// A token that is logged in until the last clone, and the last key found on it, is dropped.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    facts: TokenFacts,
    sessions: Sessions,
    /// Holds the login: a token forgets it with the last session.
    login: Mutex<Option<Session>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(session) = self.login.lock().unwrap_or_else(PoisonError::into_inner).take() {
            close(session);
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Token").field(&self.0.facts).finish()
    }
}

impl Token {
    /// Loads the module, finds the token, logs in.
    ///
    /// # Errors
    /// [`Pkcs11Error::Module`], [`Pkcs11Error::NoToken`], [`Pkcs11Error::Pin`], [`Pkcs11Error::Login`],
    /// [`Pkcs11Error::Call`].
    pub fn open(config: &Config, pins: PinSources<'_>) -> Result<Self, Pkcs11Error> {
        let module = module::load(&config.module)?;
        let (slot, facts) = find(&module, &config.token)?;
        let login = module.open_ro_session(slot).map_err(Pkcs11Error::call("opening a session"))?;
        if !config.without_login {
            let pin = pin::find(config, pins, &facts)?;
            let user = if config.normal_user { UserType::User } else { UserType::VendorExtension(VENDOR_CRYPTO_USER) };
            log_in(&login, user, pin).map_err(|error| refused(&module, slot, error))?;
        }
        // One session holds the login.
        let sessions = Sessions::new(module, slot, config.max_sessions.saturating_sub(1), config.wait);
        Ok(Self(Arc::new(Inner { facts, sessions, login: Mutex::new(Some(login)) })))
    }

    /// What the token says of itself.
    #[must_use]
    pub fn facts(&self) -> &TokenFacts {
        &self.0.facts
    }

    /// Sessions that are open, in use or not, beside the one that holds the login.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.0.sessions.open()
    }

    /// Runs one operation in a session of the pool.
    pub(crate) fn with<T>(&self, operation: impl FnOnce(&Session) -> Result<T, Pkcs11Error>) -> Result<T, Pkcs11Error> {
        self.0.sessions.with(operation)
    }

    /// Runs one operation in a session of its own that may change the token.
    pub(crate) fn with_writable<T>(
        &self,
        operation: impl FnOnce(&Session) -> Result<T, Pkcs11Error>,
    ) -> Result<T, Pkcs11Error> {
        self.0.sessions.with_writable(operation)
    }
}

fn find(module: &Pkcs11, choice: &TokenChoice) -> Result<(Slot, TokenFacts), Pkcs11Error> {
    let slots = module.get_slots_with_token().map_err(Pkcs11Error::call("listing the slots of the module"))?;
    let mut present = Vec::new();
    for slot in slots {
        // A slot that cannot be asked hides no other.
        let Ok(info) = module.get_token_info(slot) else { continue };
        let facts = facts(slot, &info);
        let found = match choice {
            TokenChoice::Label(label) => facts.label == *label,
            TokenChoice::Serial(serial) => facts.serial == *serial,
            TokenChoice::Slot(number) => facts.slot == *number,
        };
        if found {
            return Ok((slot, facts));
        }
        if info.token_initialized() {
            present.push(format!("label {:?}, serial number {:?}, slot {}", facts.label, facts.serial, facts.slot));
        }
    }
    let present = match present.as_slice() {
        [] => "The module has no initialised token".to_owned(),
        some => format!("The module has: {}", some.join("; ")),
    };
    Err(Pkcs11Error::NoToken { wanted: choice.to_string(), present })
}

fn facts(slot: Slot, info: &TokenInfo) -> TokenFacts {
    TokenFacts {
        label: info.label().to_owned(),
        serial: info.serial_number().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        slot: slot.id(),
        has_keypad: info.protected_authentication_path(),
    }
}

fn log_in(session: &Session, user: UserType, pin: Pin) -> Result<(), Error> {
    let outcome = match pin {
        Pin::Known(pin) => session.login_with_raw(user, &SecretBox::new(Box::new(pin.to_vec()))),
        Pin::AtTheToken => session.login(user, None),
    };
    match outcome {
        // By another user of the module in this process.
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        other => other,
    }
}

/// A refused login, with what the token says of the tries that are left.
fn refused(module: &Pkcs11, slot: Slot, error: Error) -> Pkcs11Error {
    let Error::Pkcs11(code, _) = error else {
        return Pkcs11Error::answer("logging into the token", error);
    };
    let info = module.get_token_info(slot);
    let says = |flag: fn(&TokenInfo) -> bool| info.as_ref().is_ok_and(flag);
    let advice = if code == RvError::PinLocked || says(TokenInfo::user_pin_locked) {
        ". The PIN is locked; the token's security officer can set a new one"
    } else if says(TokenInfo::user_pin_final_try) {
        ". One try is left before the token locks the PIN"
    } else if says(TokenInfo::user_pin_count_low) {
        ". A wrong PIN was entered before; the token locks it after few tries"
    } else if code == RvError::UserPinNotInitialized {
        ". The token has no user PIN yet"
    } else {
        ""
    };
    Pkcs11Error::Login { code: Code(code), advice }
}
