//! Hashes as names: of the content of an artifact ([`Digest`]), and of everything that determines the outputs of a task
//! ([`Key`]).

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;

use super::canon;

/// Why a text is not a [`Digest`] or a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a hash of 64 hexadecimal digits")]
pub struct NotAHash(pub String);

macro_rules! hash_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The first 12 hexadecimal digits: enough for a message or a table.
            pub fn short(&self) -> String {
                let mut text = self.to_string();
                text.truncate(12);
                text
            }

            /// The first two hexadecimal digits: the name of its folder.
            pub(super) fn shard(&self) -> String {
                format!("{:02x}", self.0[0])
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(*hash.as_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = NotAHash;

            fn from_str(text: &str) -> Result<Self, NotAHash> {
                let hash = blake3::Hash::from_hex(text).map_err(|_| NotAHash(text.to_owned()))?;
                Ok(hash.into())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

hash_name! {
    /// The blake3 hash of an artifact's bytes, or of a folder's content.
    Digest
}

hash_name! {
    /// The hash of everything that determines a task's outputs.
    Key
}

impl Digest {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Self {
        blake3::hash(bytes).into()
    }

    /// The hash as bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Key {
    /// Hashes the [canonical bytes](canon::encode) of the components of a key.
    ///
    /// The components must include [`canon::VERSION`].
    pub fn of(components: &Value) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("argd-pipe 2026-11 task key v1");
        hasher.update(&canon::encode(components));
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_plain_blake3_in_hexadecimal() {
        let digest = Digest::of(b"");
        let hex = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(digest.to_string(), hex);
        assert_eq!(digest.short(), "af1349b9f5f9");
        assert_eq!(hex.parse::<Digest>().unwrap(), digest);
        assert_eq!(serde_json::from_str::<Digest>(&format!("\"{hex}\"")).unwrap(), digest);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{hex}\""));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", "af13", &"g".repeat(64), &"0".repeat(65)] {
            assert_eq!(text.parse::<Key>(), Err(NotAHash(text.to_owned())));
        }
    }
}
