//! JSON web tokens (RFC 7519), signed as RFC 7515 and RFC 7518 say, with the claims that etcd's have:
//! `username`, `revision` (the auth revision) and `exp`.
//!
//! All nodes have the same key, from a file that never enters the store. Which algorithm is used the
//! configuration says, never the token: one that names another is not believed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm,
    EcdsaVerificationAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
    RsaParameters, UnparsedPublicKey,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use wire::Principal;

/// The longest token that is looked at.
const LONGEST: usize = 8192;

/// How long a token lives, unless the configuration says otherwise: the same as etcd's.
const LIFETIME: Duration = Duration::from_mins(5);

/// How tokens are signed.
#[derive(Clone, Copy)]
enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding, &'static RsaParameters),
    Ecdsa(&'static EcdsaSigningAlgorithm, &'static EcdsaVerificationAlgorithm),
    Ed25519,
}

const METHODS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "EdDSA",
];

fn method(name: &str) -> Option<Method> {
    use signature::{
        RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512,
    };
    Some(match name {
        "HS256" => Method::Hmac(hmac::HMAC_SHA256),
        "HS384" => Method::Hmac(hmac::HMAC_SHA384),
        "HS512" => Method::Hmac(hmac::HMAC_SHA512),
        "RS256" => Method::Rsa(&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        "RS384" => Method::Rsa(&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
        "RS512" => Method::Rsa(&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
        "PS256" => Method::Rsa(&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
        "PS384" => Method::Rsa(&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
        "PS512" => Method::Rsa(&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
        "ES256" => Method::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED),
        "ES384" => Method::Ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED),
        "EdDSA" => Method::Ed25519,
        _ => return None,
    })
}

/// What the configuration says of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// Signed with a secret of the store itself.
    Simple,
    /// Web tokens.
    Jwt {
        /// The algorithm's name.
        method: String,
        /// The file of the key: PEM, or for HS256 and its like the very bytes.
        key: PathBuf,
        /// How long one lives.
        lifetime: Duration,
    },
}

impl Tokens {
    /// Reads `simple`, or `jwt,sign-method=RS256,priv-key=FILE,ttl=5m`: as etcd's `--auth-token` is
    /// written. Its `pub-key` is allowed and not used: a private key has its public one with it.
    pub(crate) fn parse(
        text: &str,
        duration: impl Fn(&str) -> Option<Duration>,
    ) -> Result<Self, String> {
        let mut parts = text.split(',');
        match parts.next() {
            Some("simple") if text == "simple" => return Ok(Self::Simple),
            Some("jwt") => {}
            _ => return Err("expected simple, or jwt,sign-method=METHOD,priv-key=FILE".into()),
        }
        let (mut signed, mut key, mut lifetime) = (None, None, LIFETIME);
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("expected name=value in place of {part:?}"));
            };
            match name {
                "sign-method" if method(value).is_some() => signed = Some(value.to_owned()),
                "sign-method" => {
                    return Err(format!("sign-method is one of {}", METHODS.join(", ")));
                }
                "priv-key" => key = Some(PathBuf::from(value)),
                "pub-key" => {}
                "ttl" => match duration(value).filter(|ttl| !ttl.is_zero()) {
                    Some(ttl) => lifetime = ttl,
                    None => return Err("expected a time such as 5m for ttl".into()),
                },
                _ => return Err("jwt takes sign-method, priv-key, pub-key and ttl".into()),
            }
        }
        match (signed, key) {
            (Some(method), Some(key)) => Ok(Self::Jwt { method, key, lifetime }),
            _ => Err("jwt needs sign-method and priv-key: nodes issue tokens, too".into()),
        }
    }
}

enum Key {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding, &'static RsaParameters),
    Ecdsa(EcdsaKeyPair, &'static EcdsaVerificationAlgorithm),
    Ed25519(Ed25519KeyPair),
}

/// Signs and verifies web tokens.
pub(crate) struct Jwt {
    name: String,
    key: Key,
    lifetime: Duration,
    random: SystemRandom,
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("method", &self.name).finish_non_exhaustive()
    }
}

#[derive(Deserialize, Serialize)]
struct Head {
    alg: String,
    #[serde(default)]
    typ: String,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    username: String,
    revision: u64,
    /// Seconds of Unix time; programs write it as a broken number, too.
    exp: f64,
}

impl Jwt {
    /// With this key; the error says what is wrong with it.
    pub(crate) fn new(name: &str, key: &[u8], lifetime: Duration) -> Result<Self, String> {
        let method = method(name).ok_or_else(|| format!("{name:?} is no method of signing"))?;
        let random = SystemRandom::new();
        let strange = |error: ring::error::KeyRejected| format!("is no key for {name}: {error}");
        let key = match method {
            Method::Hmac(algorithm) => {
                let least = algorithm.digest_algorithm().output_len();
                if key.len() < least {
                    return Err(format!("is too short for {name}: it takes {least} bytes or more"));
                }
                Key::Hmac(hmac::Key::new(algorithm, key))
            }
            Method::Rsa(encoding, parameters) => {
                let pair = match pem(key)? {
                    PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
                    other => RsaKeyPair::from_pkcs8(other.secret_der()),
                };
                Key::Rsa(Box::new(pair.map_err(strange)?), encoding, parameters)
            }
            Method::Ecdsa(signing, verification) => {
                let PrivateKeyDer::Pkcs8(der) = pem(key)? else {
                    return Err("must be in PKCS #8: `openssl pkcs8 -topk8 -nocrypt`".into());
                };
                let der = der.secret_pkcs8_der();
                let pair = EcdsaKeyPair::from_pkcs8(signing, der, &random).map_err(strange)?;
                Key::Ecdsa(pair, verification)
            }
            Method::Ed25519 => {
                let der = pem(key)?;
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_der());
                Key::Ed25519(pair.map_err(strange)?)
            }
        };
        Ok(Self { name: name.to_owned(), key, lifetime, random })
    }

    /// A token for `principal`.
    pub(crate) fn issue(&self, principal: &Principal, now_ms: u64) -> Result<String, String> {
        let exp = Duration::from_millis(now_ms).saturating_add(self.lifetime).as_secs_f64().floor();
        let head = Head { alg: self.name.clone(), typ: "JWT".into() };
        let (username, revision) = (principal.user.clone(), principal.revision);
        let claims = Claims { username, revision, exp };
        let encode = |json: Result<Vec<u8>, serde_json::Error>| {
            json.map(|json| URL_SAFE_NO_PAD.encode(json)).map_err(|error| error.to_string())
        };
        let head = encode(serde_json::to_vec(&head))?;
        let signed = format!("{head}.{}", encode(serde_json::to_vec(&claims))?);
        let signature = self.sign(signed.as_bytes()).map_err(|_| "it can't be signed")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whose token this is, if it is one, and its time is not over.
    pub(crate) fn verify(&self, token: &str, now_ms: u64) -> Option<Principal> {
        let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
        let (head, claims) = signed.split_once('.')?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let head: Head = serde_json::from_slice(&decode(head)?).ok()?;
        if head.alg != self.name || !self.is_signed(signed.as_bytes(), &decode(signature)?) {
            return None;
        }
        let Claims { username, revision, exp } = serde_json::from_slice(&decode(claims)?).ok()?;
        // This revision is the proof by a certificate, which no token is.
        let principal = Principal { user: username, revision: revision.min(u64::MAX - 1) };
        let holds = exp > Duration::from_millis(now_ms).as_secs_f64() && !principal.user.is_empty();
        holds.then_some(principal)
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        Ok(match &self.key {
            Key::Hmac(key) => hmac::sign(key, bytes).as_ref().to_vec(),
            Key::Rsa(pair, encoding, _) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &self.random, bytes, &mut signature)?;
                signature
            }
            Key::Ecdsa(pair, _) => pair.sign(&self.random, bytes)?.as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
        })
    }

    fn is_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Hmac(key) => hmac::verify(key, bytes, signature).is_ok(),
            Key::Rsa(pair, _, parameters) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                public.verify(parameters, bytes, signature).is_ok()
            }
            Key::Ecdsa(pair, algorithm) => {
                let public = UnparsedPublicKey::new(*algorithm, pair.public_key());
                public.verify(bytes, signature).is_ok()
            }
            Key::Ed25519(pair) => {
                let public = UnparsedPublicKey::new(&ED25519, pair.public_key());
                public.verify(bytes, signature).is_ok()
            }
        }
    }
}

fn pem(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| format!("holds no key in PEM: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn pem_of(pkcs8: &[u8]) -> Vec<u8> {
        let text = base64::engine::general_purpose::STANDARD.encode(pkcs8);
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n").into_bytes()
    }

    fn signers() -> Vec<Jwt> {
        let random = SystemRandom::new();
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let rsa = include_bytes!("jwt/rsa-for-tests.pem").to_vec();
        [
            ("HS256", vec![7; 32]),
            ("HS384", vec![7; 48]),
            ("HS512", vec![7; 64]),
            ("RS256", rsa.clone()),
            ("PS512", rsa),
            ("ES256", pem_of(p256.as_ref())),
            ("ES384", pem_of(p384.as_ref())),
            ("EdDSA", pem_of(ed.as_ref())),
        ]
        .into_iter()
        .map(|(name, key)| Jwt::new(name, &key, LIFETIME).unwrap())
        .collect()
    }

    #[test]
    fn each_method_believes_its_own_tokens_for_their_time() {
        let principal = Principal { user: "alice".into(), revision: 9 };
        let signers = signers();
        for signer in &signers {
            let token = signer.issue(&principal, NOW_MS).unwrap();
            assert_eq!(signer.verify(&token, NOW_MS), Some(principal.clone()), "{signer:?}");
            assert_eq!(signer.verify(&token, NOW_MS + 299_000), Some(principal.clone()));
            assert_eq!(signer.verify(&token, NOW_MS + 301_000), None, "{signer:?}: it is over");
            for other in signers.iter().filter(|other| other.name != signer.name) {
                assert_eq!(other.verify(&token, NOW_MS), None, "{other:?} of {signer:?}");
            }
        }
    }

    #[test]
    fn a_token_that_was_changed_is_not_believed() {
        let signer = Jwt::new("HS256", &[7; 32], LIFETIME).unwrap();
        let principal = Principal { user: "alice".into(), revision: 9 };
        let token = signer.issue(&principal, NOW_MS).unwrap();
        let root = URL_SAFE_NO_PAD.encode(r#"{"username":"root","revision":9,"exp":9e9}"#);
        let (head, signature) =
            (token.split('.').next().unwrap(), token.rsplit('.').next().unwrap());
        assert_eq!(signer.verify(&format!("{head}.{root}.{signature}"), NOW_MS), None);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(signer.verify(&format!("{none}.{root}."), NOW_MS), None);
        for junk in ["", ".", "..", "a.b.c", &token[..token.len() - 1]] {
            assert_eq!(signer.verify(junk, NOW_MS), None, "{junk:?}");
        }
    }

    #[test]
    fn a_token_that_another_program_signs_with_our_key_is_believed() {
        let signer = Jwt::new("HS256", &[7; 32], LIFETIME).unwrap();
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"username":"bob","revision":3,"exp":1700000100}"#);
        let text = format!("{head}.{claims}");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), text.as_bytes());
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
        let bob = Principal { user: "bob".into(), revision: 3 };
        assert_eq!(signer.verify(&token, NOW_MS), Some(bob));
    }

    #[test]
    fn the_setting_is_written_as_etcds() {
        let parse =
            |text: &str| Tokens::parse(text, |ttl| (ttl == "1m").then_some(Duration::from_mins(1)));
        assert_eq!(parse("simple"), Ok(Tokens::Simple));
        let jwt = Tokens::Jwt {
            method: "RS256".into(),
            key: "k.pem".into(),
            lifetime: Duration::from_mins(1),
        };
        assert_eq!(parse("jwt,pub-key=p.pem,priv-key=k.pem,sign-method=RS256,ttl=1m"), Ok(jwt));
        for wrong in [
            "",
            "none",
            "jwt",
            "jwt,sign-method=none,priv-key=k",
            "jwt,priv-key=k",
            "jwt,x=1",
            "simple,ttl=1m",
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused_with_a_reason() {
        assert!(Jwt::new("HS256", b"short", LIFETIME).unwrap_err().contains("32 bytes"));
        assert!(Jwt::new("ES256", b"no pem", LIFETIME).unwrap_err().contains("PEM"));
        let rsa = include_bytes!("jwt/rsa-for-tests.pem");
        assert!(Jwt::new("EdDSA", rsa, LIFETIME).is_err());
    }
}
