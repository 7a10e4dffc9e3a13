//! Finding keys and certificates on a token.

use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::encoding::{Curve, PublicKind, ec_spki, public_kind, rsa_spki};
use crate::private_key::Kind;
use crate::{Pkcs11Error, PrivateKey, SecretKey, Selector, Token};

const SEARCHING: &str = "searching the token";
const READING: &str = "reading an object of the token";

/// Largest number of objects that an error names.
const NAMED: usize = 10;

impl Token {
    /// The first private key that fits, RSA or on a curve of TLS.
    ///
    /// # Errors
    /// [`Pkcs11Error::NoKey`], [`Pkcs11Error::KeyKind`], [`Pkcs11Error::Call`].
    pub fn private_key(&self, selector: &Selector) -> Result<PrivateKey, Pkcs11Error> {
        selector.check_token(self.facts())?;
        self.with(|session| {
            let handle = key(session, selector, ObjectClass::PRIVATE_KEY, "private keys", None)?;
            let object = Object::read(session, handle)?;
            let public = public_half(session, &object)?;
            let kind = kind(&object, public.as_deref())?;
            Ok(PrivateKey { token: self.clone(), handle, kind, public })
        })
    }

    /// DER of the first X.509 certificate that fits.
    ///
    /// # Errors
    /// [`Pkcs11Error::NoCertificate`], [`Pkcs11Error::Answer`], [`Pkcs11Error::Call`].
    pub fn certificate(&self, selector: &Selector) -> Result<Vec<u8>, Pkcs11Error> {
        selector.check_token(self.facts())?;
        let text = |bytes: &Option<Vec<u8>>| String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        self.with(|session| {
            let found = first(session, ObjectClass::CERTIFICATE, selector.template())?;
            match found.map(|handle| value(session, handle)).transpose()?.flatten() {
                Some(der) => Ok(der),
                None => Err(Pkcs11Error::NoCertificate {
                    id: text(&selector.id),
                    label: text(&selector.label),
                    present: present(session, ObjectClass::CERTIFICATE, "certificates")?,
                }),
            }
        })
    }

    /// The first AES key that fits.
    ///
    /// # Errors
    /// [`Pkcs11Error::NoKey`], [`Pkcs11Error::Call`].
    pub fn secret_key(&self, selector: &Selector) -> Result<SecretKey, Pkcs11Error> {
        selector.check_token(self.facts())?;
        self.with(|session| {
            let aes = Some(Attribute::KeyType(KeyType::AES));
            let handle = key(session, selector, ObjectClass::SECRET_KEY, "secret keys", aes)?;
            Ok(SecretKey { token: self.clone(), handle })
        })
    }
}

fn key(
    session: &Session,
    selector: &Selector,
    class: ObjectClass,
    what: &str,
    kind: Option<Attribute>,
) -> Result<ObjectHandle, Pkcs11Error> {
    let mut template = selector.template();
    template.extend(kind);
    match first(session, class, template)? {
        Some(handle) => Ok(handle),
        None => Err(Pkcs11Error::NoKey {
            id: hex::encode(selector.id.as_deref().unwrap_or_default()),
            label: hex::encode(selector.label.as_deref().unwrap_or_default()),
            present: present(session, class, what)?,
        }),
    }
}

/// What is asked of an object. Absent attributes are empty.
#[derive(Default)]
struct Object {
    id: Vec<u8>,
    label: Vec<u8>,
    key_type: Option<KeyType>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    ec_parameters: Vec<u8>,
    ec_point: Vec<u8>,
    public_key_info: Vec<u8>,
}

impl Object {
    fn read(session: &Session, handle: ObjectHandle) -> Result<Self, Pkcs11Error> {
        let mut object = Self::default();
        // One by one: some modules fail the whole call because of one attribute that they do not know.
        for attribute in [
            AttributeType::Id,
            AttributeType::Label,
            AttributeType::KeyType,
            AttributeType::Modulus,
            AttributeType::PublicExponent,
            AttributeType::EcParams,
            AttributeType::EcPoint,
            AttributeType::PublicKeyInfo,
        ] {
            for attribute in session.get_attributes(handle, &[attribute]).unwrap_or_default() {
                match attribute {
                    Attribute::Id(value) => object.id = value,
                    Attribute::Label(value) => object.label = value,
                    Attribute::KeyType(value) => object.key_type = Some(value),
                    Attribute::Modulus(value) => object.modulus = value,
                    Attribute::PublicExponent(value) => object.exponent = value,
                    Attribute::EcParams(value) => object.ec_parameters = value,
                    Attribute::EcPoint(value) => object.ec_point = value,
                    Attribute::PublicKeyInfo(value) => object.public_key_info = value,
                    _ => {}
                }
            }
        }
        match object.key_type {
            Some(_) => Ok(object),
            None => Err(Pkcs11Error::answer(READING, "it has no CKA_KEY_TYPE")),
        }
    }

    /// SubjectPublicKeyInfo, as far as the object has its parts.
    fn spki(&self) -> Option<Vec<u8>> {
        if public_kind(&self.public_key_info).is_some() {
            return Some(self.public_key_info.clone());
        }
        match self.key_type {
            Some(KeyType::RSA) if !self.modulus.is_empty() && !self.exponent.is_empty() => {
                rsa_spki(&self.modulus, &self.exponent).ok()
            }
            Some(KeyType::EC) if !self.ec_point.is_empty() => {
                ec_spki(Curve::from_parameters(&self.ec_parameters)?, &self.ec_point).ok()
            }
            _ => None,
        }
    }
}

/// The public half of a private key: what the key says itself (RSA keys do); else a public key of the same id, label
/// and type; of the same id; else from a certificate of the same id.
fn public_half(session: &Session, private: &Object) -> Result<Option<Vec<u8>>, Pkcs11Error> {
    if let Some(own) = private.spki() {
        return Ok(Some(own));
    }
    let key_type = private.key_type.map(Attribute::KeyType);
    let mut by_id_and_label = vec![Attribute::Id(private.id.clone()), Attribute::Label(private.label.clone())];
    by_id_and_label.extend(key_type);
    let mut searches = vec![(ObjectClass::PUBLIC_KEY, by_id_and_label)];
    if !private.id.is_empty() {
        let by_id = || vec![Attribute::Id(private.id.clone())];
        searches.push((ObjectClass::PUBLIC_KEY, by_id()));
        searches.push((ObjectClass::CERTIFICATE, by_id()));
    }
    for (class, template) in searches {
        let Some(handle) = first(session, class, template)? else { continue };
        let spki = if class == ObjectClass::CERTIFICATE {
            value(session, handle)?.and_then(|der| {
                let certificate = Certificate::from_der(&der).ok()?;
                certificate.tbs_certificate().subject_public_key_info().to_der().ok()
            })
        } else {
            Object::read(session, handle)?.spki()
        };
        if spki.is_some() {
            return Ok(spki);
        }
    }
    Ok(None)
}

fn kind(private: &Object, public: Option<&[u8]>) -> Result<Kind, Pkcs11Error> {
    let refuse = |text: &str| Err(Pkcs11Error::KeyKind(text.to_owned()));
    let public = public.and_then(public_kind);
    match private.key_type {
        Some(KeyType::RSA) => {
            let stripped = private.modulus.iter().skip_while(|byte| **byte == 0).count();
            match (stripped, public) {
                (0, Some(PublicKind::Rsa(modulus_len))) | (modulus_len @ 1.., _) => Ok(Kind::Rsa { modulus_len }),
                _ => {
                    refuse("the token tells no modulus of the RSA key; put its public key beside it, with the same id")
                }
            }
        }
        Some(KeyType::EC) => match (Curve::from_parameters(&private.ec_parameters), public) {
            (Some(curve), _) | (None, Some(PublicKind::Ec(curve))) => Ok(Kind::Ec(curve)),
            _ => refuse("the key on the token is on a curve that TLS does not use; it must be P-256, P-384 or P-521"),
        },
        _ => refuse("the key on the token is neither an RSA nor an EC key"),
    }
}

fn first(
    session: &Session,
    class: ObjectClass,
    mut template: Vec<Attribute>,
) -> Result<Option<ObjectHandle>, Pkcs11Error> {
    template.insert(0, Attribute::Class(class));
    Ok(session.find_objects(&template).map_err(Pkcs11Error::call(SEARCHING))?.first().copied())
}

fn value(session: &Session, handle: ObjectHandle) -> Result<Option<Vec<u8>>, Pkcs11Error> {
    let attributes = session.get_attributes(handle, &[AttributeType::Value]).map_err(Pkcs11Error::call(READING))?;
    Ok(attributes.into_iter().find_map(|attribute| match attribute {
        Attribute::Value(value) if !value.is_empty() => Some(value),
        _ => None,
    }))
}

/// What a user who named the wrong one can choose from.
fn present(session: &Session, class: ObjectClass, what: &str) -> Result<String, Pkcs11Error> {
    let objects = session.find_objects(&[Attribute::Class(class)]).map_err(Pkcs11Error::call(SEARCHING))?;
    if objects.is_empty() {
        return Ok(format!("The token has no {what} that this login may see"));
    }
    let mut names = Vec::new();
    for handle in objects.iter().take(NAMED) {
        let attributes = session.get_attributes(*handle, &[AttributeType::Id, AttributeType::Label]);
        let (mut id, mut label) = (String::new(), String::new());
        for attribute in attributes.unwrap_or_default() {
            match attribute {
                Attribute::Id(value) => id = hex::encode(value),
                Attribute::Label(value) => label = String::from_utf8_lossy(&value).into_owned(),
                _ => {}
            }
        }
        names.push(format!("id hex:{id} label {label:?}"));
    }
    let more = if objects.len() > NAMED { ", and more" } else { "" };
    Ok(format!("The token has these {what}: {}{more}", names.join(", ")))
}
