//! A client for an address: the default chain of AWS, and what the address says otherwise.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{Credentials, StalledStreamProtectionConfig};
use futures::future::BoxFuture;

use super::KinesisAddress;
use crate::source::SourceError;

impl KinesisAddress {
    /// A client; nothing is asked of Kinesis yet.
    ///
    /// A server on this machine (a loopback endpoint) gets placeholders as credentials when the
    /// environment names none.
    pub async fn client(&self) -> Result<Client, SourceError> {
        let endpoint = self.endpoint.clone().or_else(|| {
            ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"]
                .iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        });
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        } else if endpoint.is_some()
            && !names_any(&["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"])
        {
            // Another server does not care; looking a region up would ask the instance we are not
            // on.
            loader = loader.region(Region::new("us-east-1"));
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        let local = endpoint.as_deref().is_some_and(is_loopback);
        if local && self.profile.is_none() && !names_any(&["AWS_ACCESS_KEY_ID", "AWS_PROFILE"]) {
            loader = loader.credentials_provider(Credentials::new(
                "local",
                "local",
                None,
                None,
                "placeholder",
            ));
        }
        // Boxed: its type is too deep for the compiler to see that it may move between threads.
        let load: BoxFuture<'_, SdkConfig> = Box::pin(loader.load());
        let shared = load.await;
        if shared.region().is_none() {
            return Err(SourceError::Failed {
                source_name: self.describe(),
                place: "its configuration".to_owned(),
                why: "no AWS region is set; add `region=..` to the address, or set AWS_REGION"
                    .to_owned(),
            });
        }
        let mut config = aws_sdk_kinesis::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .operation_attempt_timeout(Duration::from_secs(30))
                    .build(),
            )
            // An idle shard's subscription is silent for good reasons.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Client::from_conf(config.build()))
    }
}

fn names_any(variables: &[&str]) -> bool {
    variables
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn is_loopback(endpoint: &str) -> bool {
    let Ok(url) = url::Url::parse(endpoint) else {
        return false;
    };
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_this_machine_is_trusted_with_placeholders() {
        for (endpoint, local) in [
            ("http://127.0.0.1:4567", true),
            ("http://[::1]:4567", true),
            ("https://localhost", true),
            ("https://kinesis.eu-west-1.amazonaws.com", false),
            ("http://localhost.example.com", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(endpoint), local, "{endpoint}");
        }
    }
}
