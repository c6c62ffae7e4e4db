//! What `wit/` looks like from the host: generated, with nothing of its own.
//!
//! Only the parts of one interface at a time are used (`GuestIndices`, `Guest`, `add_to_linker`): the struct for
//! the whole world would insist on every export, and a filter built for an older or newer version would not load.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "filter",
    imports: { default: trappable },
    exports: { default: async },
    with: {
        "gpanel:filter/http.request": super::host::http::RequestHandle,
        "gpanel:filter/http.response": super::host::http::ResponseHandle,
    },
});
