//! Arguments that are addresses.
//!
//! clap repeats a wrong argument in its error, and a wrong address may hold a password: here the
//! error is that of the address alone, which leaves secrets out.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

/// Parses an argument as an address of this kind.
pub(crate) struct Address<T>(PhantomData<fn() -> T>);

impl<T> Address<T> {
    /// The parser.
    pub(crate) fn new() -> Self {
        Address(PhantomData)
    }
}

impl<T> Clone for Address<T> {
    fn clone(&self) -> Self {
        Address::new()
    }
}

impl<T> TypedValueParser for Address<T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let parsed = match value.to_str() {
            Some(text) => text.parse().map_err(|why: T::Err| why.to_string()),
            None => Err("the address is not UTF-8".to_owned()),
        };
        parsed.map_err(|why| {
            let argument = argument.map_or_else(String::new, |argument| format!("{argument}: "));
            clap::Error::raw(ErrorKind::ValueValidation, format!("{argument}{why}\n"))
                .with_cmd(command)
        })
    }
}
