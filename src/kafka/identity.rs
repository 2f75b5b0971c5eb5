//! Which topic a topic is: the id that the cluster gave it when it was made (KIP-516).
//!
//! A topic that was deleted and made again has the same name and other records at the same offsets.
//! librdkafka asks for ids; its Rust binding has no call for that yet, so the C functions are
//! called here.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::Context;

/// The id of a topic of a broker that gives none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The ids of topics, as base64. Those that brokers do not tell are left out: they are too old, or
/// do not let us ask.
pub(crate) fn topic_ids<'a>(
    client: &BaseConsumer<Context>,
    topics: impl Iterator<Item = &'a str>,
    patience: Duration,
) -> BTreeMap<String, String> {
    let names: Vec<CString> = topics.filter_map(|name| CString::new(name).ok()).collect();
    if names.is_empty() {
        return BTreeMap::new();
    }
    let ids = ask(client, &names, patience).unwrap_or_default();
    ids.into_iter().filter(|(_, id)| id != NO_ID).collect()
}

/// Frees what was made when it is not needed any more.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(made: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Owned<T>> {
        NonNull::new(made).map(|made| Owned(made, free))
    }

    fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer is not null, was made by the function that belongs to this one, and
        // is not used after it.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// Asks with one request; `None` if there was no answer.
fn ask(
    client: &BaseConsumer<Context>,
    names: &[CString],
    patience: Duration,
) -> Option<BTreeMap<String, String>> {
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let wait = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let handle = client.client().native_ptr();
    // SAFETY: the client outlives this call, and each object is freed by its own function when it
    // goes out of scope, in the reverse order of being made. `pointers` and `names` live as long as
    // they are used: librdkafka copies the names. Pointers of the result are read while the event
    // is alive, within the counts that librdkafka gives; texts end with a zero, and each is copied
    // at once.
    unsafe {
        use c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS as DESCRIBE;
        let queue = Owned::new(c::rd_kafka_queue_new(handle), c::rd_kafka_queue_destroy)?;
        let options = c::rd_kafka_AdminOptions_new(handle, DESCRIBE);
        let options = Owned::new(options, c::rd_kafka_AdminOptions_destroy)?;
        let no_text = std::ptr::null_mut();
        // If the time is not taken, the default stays.
        let _ = c::rd_kafka_AdminOptions_set_request_timeout(options.as_ptr(), wait, no_text, 0);
        let asked =
            c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let asked = Owned::new(asked, c::rd_kafka_TopicCollection_destroy)?;
        c::rd_kafka_DescribeTopics(handle, asked.as_ptr(), options.as_ptr(), queue.as_ptr());
        let event = c::rd_kafka_queue_poll(queue.as_ptr(), wait);
        let event = Owned::new(event, c::rd_kafka_event_destroy)?;
        let result = c::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = BTreeMap::new();
        for number in 0..count {
            let topic = *topics.add(number);
            let name = c::rd_kafka_TopicDescription_name(topic);
            let id = c::rd_kafka_TopicDescription_topic_id(topic);
            if name.is_null() || id.is_null() {
                continue;
            }
            let id = c::rd_kafka_Uuid_base64str(id);
            if !id.is_null() {
                let text = |text| CStr::from_ptr(text).to_string_lossy().into_owned();
                ids.insert(text(name), text(id));
            }
        }
        Some(ids)
    }
}
