//! Keys that are understood but do not act: they are read and checked like any other, and where they would
//! change something, a warning at their place says that they do not, and why.

use super::parse;
use super::reader::Section;
use super::value::Value;

/// What an inactive key must look like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// `true` or `false`; only `true` would act.
    Flag,
    /// A whole number.
    Number,
    /// A string.
    Text,
    /// An array of strings.
    Texts,
    /// An array of addresses and networks.
    Networks,
}

/// Whether the switch that an inactive key belongs to is on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// The key would act.
    On,
    /// It would not, so there is nothing to warn of.
    Off,
}

impl From<bool> for Gate {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl Section<'_> {
    /// Reads a key that does not act; warns with `why` where it would. Says whether it would.
    pub(super) fn inactive(&self, key: &'static str, shape: Shape, gate: Gate, why: &str) -> Gate {
        let Some(value) = self.take(key) else { return Gate::Off };
        let would_act = match shape {
            Shape::Flag => value.boolean().is_some_and(|flag| flag.value),
            Shape::Number => value.integer(&(0..=u64::MAX)).is_some(),
            Shape::Text => value.string().is_some(),
            Shape::Texts => value.list().is_some_and(|items| items.iter().filter_map(Value::string).count() > 0),
            Shape::Networks => value
                .list()
                .is_some_and(|items| items.iter().filter_map(|item| item.parsed(parse::network)).count() > 0),
        };
        if would_act && gate == Gate::On {
            value.warning(why);
        }
        Gate::from(would_act)
    }

    /// Several keys that do not act for the same reason.
    pub(super) fn inactive_all(&self, keys: &[(&'static str, Shape)], gate: Gate, why: &str) {
        for (key, shape) in keys {
            self.inactive(key, *shape, gate, why);
        }
    }
}
