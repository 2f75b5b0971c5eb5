//! A consumer's client, which nobody has to wait for when it goes.
//!
//! Dropping a client waits for brokers, for ever if they are away; so that is done on a thread of
//! its own.

use std::sync::Arc;

use rdkafka::consumer::StreamConsumer;
use tokio::sync::oneshot;

use crate::kafka::Context;

/// The client.
pub(super) struct Client(Option<Arc<StreamConsumer<Context>>>);

impl Client {
    pub fn new(client: StreamConsumer<Context>) -> Client {
        Client(Some(Arc::new(client)))
    }

    pub fn get(&self) -> &Arc<StreamConsumer<Context>> {
        self.0
            .as_ref()
            .expect("the client is there until it is dropped")
    }

    /// Leaves the group, and tells when that is done.
    pub fn leave(&mut self) -> oneshot::Receiver<()> {
        let (tell, left) = oneshot::channel();
        if let Some(client) = self.0.take() {
            let leaving = std::thread::Builder::new().name("kafka consumer leaves".to_owned());
            let started = leaving.spawn(move || {
                drop(client);
                // Nobody waits if the consumer was just dropped.
                let _ = tell.send(());
            });
            if let Err(error) = started {
                tracing::warn!("a consumer could not leave its group in peace: {error}");
            }
        }
        left
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.leave();
    }
}
