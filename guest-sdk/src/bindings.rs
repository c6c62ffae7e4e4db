//! What `wit-bindgen` makes of `wit/`: the raw contract. Filters use the types around it; only [`export!`]
//! names this module.
//!
//! [`export!`]: crate::export

#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "filter",
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "gpanel_filter::bindings",
});
