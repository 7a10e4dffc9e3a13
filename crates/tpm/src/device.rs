//! A connection to the TPM: its storage key, sessions that are salted with it, registers. Opened for one operation and
//! closed after it, so that nothing stays in the TPM's small memory and other programs get their turn.
//!
//! Everything secret crosses the wire encrypted, and commands and answers are authenticated: each session's key follows
//! from a salt that only the storage key decrypts.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use marblerun_sealing::{CounterError, SealError};
use subtle::ConstantTimeEq as _;
use tss_esapi::Context;
use tss_esapi::Error;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::SessionType;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Code;
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, Digest, EccPoint, Public, PublicBuilder, PublicEccParametersBuilder, SymmetricDefinition,
    SymmetricDefinitionObject,
};

use crate::Config;
use crate::pcrs::{BootState, PcrSet, PcrValue, sha256};

/// Name in logs, status and errors.
pub(crate) const BACKEND: &str = "tpm";

/// Which parameters of a command a session encrypts: those that the command has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encrypt {
    /// The command's and the answer's.
    Both,
    /// The command's.
    Command,
    /// The answer's.
    Answer,
    /// There are none.
    Nothing,
}

/// The one step whose odd answers have a known cause.
pub(crate) const READING_PCRS: &str = "reading the PCRs";

/// How long an operation waits for room in the TPM.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// A TPM without a resource manager has room for the objects of one operation at a time. A process that uses several,
/// as tests do, has one of these for each, or nearly.
static TURNS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

/// Waits for the turn at a TPM, within this process.
pub(crate) fn turn(tcti: &str) -> MutexGuard<'static, ()> {
    let mut hasher = DefaultHasher::new();
    tcti.hash(&mut hasher);
    let [first, ..] = hasher.finish().to_le_bytes();
    let [own, ..] = &TURNS;
    TURNS.get(usize::from(first) % TURNS.len()).unwrap_or(own).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no thread of this process is in a TPM any more, and lets none in. To be called at the end of a process: a
/// thread in the middle of an operation would leave its objects in the TPM.
pub fn leave() {
    for turn in &TURNS {
        std::mem::forget(turn.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// An open TPM.
pub(crate) struct Device {
    // Dropped in this order: the connection closes before the next may open.
    pub(crate) context: Context,
    _turn: MutexGuard<'static, ()>,
    /// The storage key of this TPM, without a policy: salts sessions, names the TPM.
    storage_key: KeyHandle,
    host_id: [u8; 16],
}

/// What went wrong, with what was tried.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) doing: &'static str,
    pub(crate) error: Error,
}

/// Says what was tried.
pub(crate) fn doing(doing: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure { doing, error }
}

impl Failure {
    pub(crate) fn code(&self) -> Option<Code> {
        match self.error {
            Error::Tss2Error(code) => code.kind(),
            Error::WrapperError(_) => None,
        }
    }

    /// Whether another program has what this operation needs, and may soon give it back.
    fn is_busy(&self) -> bool {
        matches!(
            self.code(),
            Some(
                Code::ObjectMemory
                    | Code::SessionMemory
                    | Code::Memory
                    | Code::SessionHandles
                    | Code::ObjectHandles
                    | Code::Retry
                    | Code::Yielded
                    | Code::Testing
                    | Code::NvRate
            )
        )
    }

    /// The TPM's answer and what to do about it.
    pub(crate) fn explain(&self) -> String {
        let advice = match self.code() {
            Some(Code::AuthFail | Code::BadAuth) => {
                ". Has the owner hierarchy of the TPM a password? Then configure it"
            }
            Some(Code::NvRate) => ". Its memory is written to too often; wait",
            Some(Code::Lockout) => {
                ". The TPM is locked against guessing; wait, or reset the lockout with tpm2_dictionarylockout"
            }
            Some(
                Code::ObjectMemory | Code::SessionMemory | Code::Memory | Code::SessionHandles | Code::ObjectHandles,
            ) => ". Its memory is full of objects of other programs; use the resource manager, device:/dev/tpmrm0",
            Some(Code::Hierarchy) => ". The owner hierarchy is switched off in the firmware",
            None if self.doing == READING_PCRS => ". Has the TPM no SHA-256 bank of PCRs? Switch it on in the firmware",
            Some(Code::Failure) => ". The TPM is in failure mode; restart the host",
            _ => "",
        };
        format!("{}: {}{advice}", self.doing, self.error)
    }
}

/// Why an operation stopped: at an answer of the TPM, or for good.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    /// The TPM did not do it.
    Failure(Failure),
    /// It makes no sense to try again.
    For(E),
}

impl<E> From<Failure> for Stop<E> {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Runs an operation, again and again while other programs leave no room for it.
pub(crate) fn patiently<T, E: From<Failure>>(mut operation: impl FnMut() -> Result<T, Stop<E>>) -> Result<T, E> {
    let started = Instant::now();
    loop {
        match operation() {
            Ok(done) => return Ok(done),
            Err(Stop::Failure(failure)) if failure.is_busy() && started.elapsed() < PATIENCE => {
                // Of different length in different programs, so that they do not get in each other's way again.
                let mut random = [0];
                let _ = aws_lc_rs::rand::fill(&mut random);
                std::thread::sleep(PAUSE * u32::from(random[0]) / 255);
            }
            Err(Stop::Failure(failure)) => return Err(failure.into()),
            Err(Stop::For(error)) => return Err(error),
        }
    }
}

impl From<Failure> for SealError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable { backend: BACKEND, reason: failure.explain() }
    }
}

impl From<Failure> for CounterError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable { backend: BACKEND, reason: failure.explain() }
    }
}

impl Device {
    /// Connects; checks the pinned name, if there is one. It waits for its turn within this process.
    pub(crate) fn open(config: &Config) -> Result<Self, OpenError> {
        let turn = turn(&config.tcti.to_string());
        let mut context = connect(config)?;
        let template = storage_key_template(None).map_err(doing("describing the storage key"))?;
        let created = context.execute_with_nullauth_session(|context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        });
        let storage_key = created.map_err(doing("deriving the storage key"))?.key_handle;
        let read = context.execute_without_session(|context| context.read_public(storage_key));
        let (_, name, _) = read.map_err(doing("reading the name of the storage key"))?;
        let hash = sha256(&[b"marblerun tpm host", name.value()]);
        let host_id: [u8; 16] = hash.first_chunk().copied().unwrap_or_default();
        match config.host {
            Some(pinned) if !bool::from(pinned.ct_eq(&host_id)) => Err(OpenError::Another(format!(
                "the TPM at {} is {}, and the one configured is {}: it was exchanged or cleared, or something stands in for it",
                config.tcti,
                hex::encode(host_id),
                hex::encode(pinned)
            ))),
            _ => Ok(Self { context, _turn: turn, storage_key, host_id }),
        }
    }

    /// Public name of the TPM. It changes when the TPM is cleared.
    pub(crate) fn host_id(&self) -> [u8; 16] {
        self.host_id
    }

    /// Starts a session whose key only this TPM can know.
    pub(crate) fn session(&mut self, kind: SessionType, encrypt: Encrypt) -> Result<AuthSession, Error> {
        let session = self.context.execute_without_session(|context| {
            context.start_auth_session(
                Some(self.storage_key),
                None,
                None,
                kind,
                SymmetricDefinition::AES_128_CFB,
                HashingAlgorithm::Sha256,
            )
        })?;
        let session = session.ok_or(Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm))?;
        let (attributes, mask) = SessionAttributesBuilder::new()
            .with_decrypt(matches!(encrypt, Encrypt::Both | Encrypt::Command))
            .with_encrypt(matches!(encrypt, Encrypt::Both | Encrypt::Answer))
            .build();
        self.context.tr_sess_set_attributes(session, attributes, mask)?;
        Ok(session)
    }

    /// Runs a command with such a session and ends it.
    pub(crate) fn authorised<T>(
        &mut self,
        encrypt: Encrypt,
        command: impl FnOnce(&mut Context) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = self.session(SessionType::Hmac, encrypt)?;
        self.run(session, command)
    }

    /// Runs a command that the policy "the registers have these values" authorises.
    pub(crate) fn in_boot_state<T>(
        &mut self,
        boot: &BootState,
        encrypt: Encrypt,
        command: impl FnOnce(&mut Context) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = self.session(SessionType::Policy, encrypt)?;
        let policy = PolicySession::try_from(session)?;
        let digest = Digest::try_from(boot.digest().as_slice())?;
        let selection = boot.set().selection()?;
        let satisfied = self.context.execute_without_session(|context| context.policy_pcr(policy, digest, selection));
        if let Err(error) = satisfied {
            self.end(session);
            return Err(error);
        }
        self.run(session, command)
    }

    fn run<T>(
        &mut self,
        session: AuthSession,
        command: impl FnOnce(&mut Context) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let result = self.context.execute_with_session(Some(session), command);
        self.end(session);
        result
    }

    /// A session that does not end now ends when the connection closes.
    fn end(&mut self, session: AuthSession) {
        let handle = tss_esapi::handles::SessionHandle::from(session);
        let _ = self.context.execute_without_session(|context| context.flush_context(handle.into()));
    }

    /// The storage key that can be used in one boot state alone: its policy takes the place of a password.
    pub(crate) fn bound_storage_key(&mut self, boot: &BootState) -> Result<KeyHandle, Error> {
        let template = storage_key_template(Some(&boot.policy()))?;
        let created = self.authorised(Encrypt::Both, |context| {
            context.create_primary(Hierarchy::Owner, template, None, None, None, None)
        })?;
        Ok(created.key_handle)
    }

    /// Reads registers.
    pub(crate) fn boot_state(&mut self, set: PcrSet) -> Result<BootState, Error> {
        BootState::new(set, registers(&mut self.context, set)?).ok_or(WRONG_VALUE)
    }
}

/// Connects, with what the owner's rights need. Whoever calls it has the turn.
pub(crate) fn connect(config: &Config) -> Result<Context, OpenError> {
    let connected = Context::new(config.tcti.name.clone()).map_err(doing("connecting to the TPM"));
    // The library's own error does not say where it looked.
    let mut context =
        connected.map_err(|failure| OpenError::Unreachable(format!("{}: {}", config.tcti, failure.explain())))?;
    let password = Auth::try_from(config.owner_password.as_slice()).map_err(doing("taking the password"))?;
    context.tr_set_auth(ObjectHandle::Owner, password).map_err(doing("taking the password"))?;
    Ok(context)
}

/// The TPM answered something else than was asked.
const WRONG_VALUE: Error = Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm);

/// The values of registers, in ascending order.
pub(crate) fn registers(context: &mut Context, set: PcrSet) -> Result<Vec<PcrValue>, Error> {
    let mut values: Vec<PcrValue> = Vec::with_capacity(set.len());
    // One at a time: a TPM gives at most eight at once, fewer if it likes, and nothing if it lacks the bank.
    for number in set.numbers() {
        let one = PcrSet::from_mask(1 << number).ok_or(WRONG_VALUE)?.selection()?;
        let (_, _, read) = context.execute_without_session(|context| context.pcr_read(one))?;
        let value = read.value().first().and_then(|digest| digest.value().try_into().ok());
        values.push(value.ok_or(WRONG_VALUE)?);
    }
    Ok(values)
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Nothing answers there.
    Unreachable(String),
    /// The TPM did not do what was asked.
    Failure(Failure),
    /// Another TPM than the pinned one.
    Another(String),
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<OpenError> for Stop<SealError> {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unreachable(reason) => Self::For(SealError::Unavailable { backend: BACKEND, reason }),
            OpenError::Failure(failure) => Self::Failure(failure),
            OpenError::Another(reason) => Self::For(SealError::NotMine(reason)),
        }
    }
}

impl From<OpenError> for Stop<CounterError> {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unreachable(reason) => Self::For(CounterError::Unavailable { backend: BACKEND, reason }),
            OpenError::Failure(failure) => Self::Failure(failure),
            OpenError::Another(reason) => Self::For(CounterError::Foreign(reason)),
        }
    }
}

/// ECC P-256 storage key, derived by the TPM from its owner seed: the same template always gives the same key.
fn storage_key_template(policy: Option<&[u8; 32]>) -> Result<Public, Error> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(policy.is_none())
        .with_admin_with_policy(policy.is_some())
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(Digest::try_from(policy.map(|policy| &policy[..]).unwrap_or_default())?)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}
