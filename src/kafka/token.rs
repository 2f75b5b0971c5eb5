//! Tokens for OAUTHBEARER: where they come from and how long they are good.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;

use super::msk_iam;
use super::options::Secret;

/// Where tokens come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Tokens {
    /// None are needed.
    #[default]
    None,
    /// Signed by us for Amazon MSK, with the credentials that AWS tools find: environment, profile,
    /// container, machine.
    MskIam(Arc<MskIam>),
    /// A file that someone keeps fresh.
    File(String),
    /// One that was given.
    Fixed(Secret),
}

/// What it takes to sign for Amazon MSK.
#[derive(Debug)]
pub(super) struct MskIam {
    region: String,
    profile: Option<String>,
    credentials: OnceLock<SharedCredentialsProvider>,
}

impl PartialEq for MskIam {
    fn eq(&self, other: &MskIam) -> bool {
        (&self.region, &self.profile) == (&other.region, &other.profile)
    }
}

impl Tokens {
    pub(super) fn msk_iam(region: String, profile: Option<String>) -> Tokens {
        Tokens::MskIam(Arc::new(MskIam {
            region,
            profile,
            credentials: OnceLock::new(),
        }))
    }

    /// A fresh token. May take a while: credentials may have to be fetched.
    pub(super) fn fresh(&self) -> Result<OAuthToken, Box<dyn Error>> {
        match self {
            Tokens::None => Err("no source of tokens is configured".into()),
            Tokens::Fixed(Secret(token)) => jwt(token),
            Tokens::File(file) => {
                let token = std::fs::read_to_string(file)
                    .map_err(|error| format!("the token file `{file}` cannot be read: {error}"))?;
                jwt(token.trim())
            }
            Tokens::MskIam(iam) => {
                let iam = Arc::clone(iam);
                // The caller may be a thread of a runtime, where another one cannot be waited for.
                std::thread::spawn(move || iam.fresh())
                    .join()
                    .map_err(|_| "signing the token panicked")?
                    .map_err(Into::into)
            }
        }
    }
}

impl MskIam {
    fn fresh(&self) -> Result<OAuthToken, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let credentials = runtime.block_on(async {
            let provider = match self.credentials.get() {
                Some(provider) => provider.clone(),
                None => {
                    let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
                        .region(aws_config::Region::new(self.region.clone()));
                    if let Some(profile) = &self.profile {
                        loader = loader.profile_name(profile);
                    }
                    let found = loader.load().await.credentials_provider().ok_or(
                        "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile",
                    )?;
                    self.credentials.get_or_init(|| found).clone()
                }
            };
            provider
                .provide_credentials()
                .await
                .map_err(|error| format!("AWS credentials cannot be had: {}", sentence(&error)))
        })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|error| error.to_string())?
            .as_secs();
        let login = msk_iam::Login {
            region: &self.region,
            access_key: credentials.access_key_id(),
            secret_key: credentials.secret_access_key(),
            session_token: credentials.session_token(),
        };
        Ok(OAuthToken {
            token: msk_iam::token(&login, now),
            principal_name: "pinflow".to_owned(),
            lifetime_ms: (now + msk_iam::LIFETIME_SECONDS) as i64 * 1000,
        })
    }
}

/// An error and what is behind it.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Reads when a token ends and whose it is.
fn jwt(token: &str) -> Result<OAuthToken, Box<dyn Error>> {
    let wrong = "the token is not a JSON web token with `exp`";
    let body = token.split('.').nth(1).ok_or(wrong)?;
    let body = URL_SAFE_NO_PAD
        .decode(body.trim_end_matches('='))
        .map_err(|_| wrong)?;
    let body: serde_json::Value = serde_json::from_slice(&body).map_err(|_| wrong)?;
    let end = body["exp"].as_f64().ok_or(wrong)?;
    Ok(OAuthToken {
        token: token.to_owned(),
        principal_name: body["sub"].as_str().unwrap_or("pinflow").to_owned(),
        lifetime_ms: (end * 1000.0) as i64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_end_and_its_owner() {
        let body = URL_SAFE_NO_PAD.encode(r#"{"sub":"someone","exp":1714564800}"#);
        let token = jwt(&format!("e30.{body}.sig")).unwrap();
        assert_eq!(
            (token.principal_name.as_str(), token.lifetime_ms),
            ("someone", 1_714_564_800_000)
        );
        for wrong in ["", "abc", "a.b.c", "e30.e30.x"] {
            assert!(jwt(wrong).is_err(), "{wrong}");
        }
    }
}
