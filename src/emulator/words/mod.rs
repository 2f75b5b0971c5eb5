//! The words that everything is composed of. Lists only: what is done with them is elsewhere.

mod categories;
mod countries;
mod people;
mod phrases;
mod poster_names;

pub(super) use categories::{CATEGORIES, Category, TAG_PREFIXES, TAG_SUFFIXES};
pub(super) use countries::COUNTRIES;
pub(super) use people::{FIRST_NAMES, LAST_NAMES};
pub(super) use phrases::*;
pub(super) use poster_names::{NAME_ENDS, NAME_STARTS, NAME_STYLES};
