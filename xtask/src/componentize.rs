//! Turns the core module that rustc links into a component: the form that the host loads.

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

/// Wraps a module by the WIT world that its bindings left in a custom section.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .context("the module carries no usable description of its WIT world")?
        .encode()
        .context("the module does not fit its WIT world")
}
