//! Parts of a benchmark that an environment variable takes, for a quick look.

use std::env;

/// Those of `all` whose numbers, from 0, the variable lists with commas between; all of them where it is not set.
#[must_use]
pub fn chosen<T>(variable: &str, all: impl IntoIterator<Item = T>) -> Vec<T> {
    let text = env::var(variable).ok();
    let is_named = |index: usize| {
        text.as_ref().is_none_or(|text| text.split(',').any(|number| number == index.to_string()))
    };
    all.into_iter().enumerate().filter(|(index, _)| is_named(*index)).map(|(_, one)| one).collect()
}
