//! Runs `configure` once and freezes the state after it into a new component, so that no instance ever reads its
//! configuration again.
//!
//! wasmtime-wizer adds exports to the component through which every memory and global can be read; an instance of
//! that runs `configure`; what it then holds becomes the data of a component that is otherwise the original. Where
//! that can't be done, each instance runs `configure` itself: slower, and just as right.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Instance, Lift, WasmList};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

use super::bindings::exports::gpanel::filter::lifecycle;
use super::component::Linked;
use super::engine::Engine;
use super::limits::{LIFECYCLE_TIME, PAGE};
use super::load::LoadError;
use super::store::{Facts, GuestState, begin_lifecycle, new_store};
use super::trap::CallError;

/// Where an instance stands when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configured {
    /// After `configure`.
    InSnapshot,
    /// Before it.
    EachInstance,
}

/// What comes out of configuring a component.
pub(super) struct Made {
    /// The component that instances are made from.
    pub(super) linked: Linked,
    pub(super) configured: Configured,
    /// Hooks that `configure` named.
    pub(super) declared: Vec<String>,
    pub(super) schema: String,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
enum NoSnapshot {
    #[error(transparent)]
    Wizer(wasmtime::Error),
    #[error("the component with its state made readable: {0}")]
    Instrumented(LoadError),
    #[error("`configure` used WASI, whose handles and random numbers must not be shared")]
    UsesWasi,
    #[error("its memory could not be read: {0}")]
    Unreadable(wasmtime::Error),
    #[error("the component with the state in it: {0}")]
    Frozen(LoadError),
}

/// Configures a component, with a snapshot if possible.
pub(super) async fn configure(engine: &Engine, bytes: &[u8], facts: &Arc<Facts>) -> Result<Made, LoadError> {
    match with_snapshot(engine, bytes, facts).await? {
        Ok(made) => Ok(made),
        Err(reason) => {
            tracing::debug!(component = "wasm", filter = %facts.name, "no snapshot: {reason}");
            without_snapshot(engine, bytes, facts).await
        }
    }
}

/// The outer error is the filter's and final; the inner one means that there is no snapshot.
async fn with_snapshot(
    engine: &Engine,
    bytes: &[u8],
    facts: &Arc<Facts>,
) -> Result<Result<Made, NoSnapshot>, LoadError> {
    let wizer = Wizer::new();
    let (context, instrumented) = match wizer.instrument_component(bytes) {
        Ok(instrumented) => instrumented,
        Err(error) => return Ok(Err(NoSnapshot::Wizer(error))),
    };
    let linked = match Linked::new(engine, &instrumented) {
        Ok(linked) => linked,
        Err(error) => return Ok(Err(NoSnapshot::Instrumented(error))),
    };
    let mut first = First::start(engine, &linked, facts).await?;
    let declared = first.configure().await?;
    if first.store.data().wasi.is_some() {
        return Ok(Err(NoSnapshot::UsesWasi));
    }
    let frozen = match first.freeze(&wizer, &context).await {
        Ok(frozen) => frozen,
        Err(error) => return Ok(Err(error)),
    };
    // After the snapshot, so that what it leaves behind is not in there.
    let schema = first.schema().await?;
    drop(first);
    Ok(match Linked::new(engine, &frozen) {
        Ok(linked) => Ok(Made { linked, configured: Configured::InSnapshot, declared, schema }),
        Err(error) => Err(NoSnapshot::Frozen(error)),
    })
}

async fn without_snapshot(engine: &Engine, bytes: &[u8], facts: &Arc<Facts>) -> Result<Made, LoadError> {
    let linked = Linked::new(engine, bytes)?;
    let mut first = First::start(engine, &linked, facts).await?;
    let declared = first.configure().await?;
    let schema = first.schema().await?;
    drop(first);
    Ok(Made { linked, configured: Configured::EachInstance, declared, schema })
}

/// The instance that is configured while a filter is loaded.
struct First {
    store: Store<GuestState>,
    instance: Instance,
    lifecycle: lifecycle::Guest,
}

impl First {
    async fn start(engine: &Engine, linked: &Linked, facts: &Arc<Facts>) -> Result<Self, LoadError> {
        let mut store = new_store(engine.wasmtime(), facts);
        begin_lifecycle(&mut store, LIFECYCLE_TIME);
        let instance = match linked.pre.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(_) if store.data().limiter.was_refused() => return Err(LoadError::Memory { limit: facts.memory }),
            Err(error) => return Err(failed("its start", &error, &store)),
        };
        let lifecycle =
            linked.lifecycle.load(&mut store, &instance).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        Ok(Self { store, instance, lifecycle })
    }

    async fn configure(&mut self) -> Result<Vec<String>, LoadError> {
        begin_lifecycle(&mut self.store, LIFECYCLE_TIME);
        let called = bounded(self.lifecycle.call_configure(&mut self.store)).await;
        match called {
            Ok(Ok(declared)) => Ok(declared),
            Ok(Err(error)) => Err(LoadError::Config { path: error.path, message: error.message }),
            Err(error) => Err(failed("`configure`", &error, &self.store)),
        }
    }

    async fn schema(&mut self) -> Result<String, LoadError> {
        begin_lifecycle(&mut self.store, LIFECYCLE_TIME);
        let called = bounded(self.lifecycle.call_schema(&mut self.store)).await;
        called.map_err(|error| failed("`schema`", &error, &self.store))
    }

    async fn freeze(
        &mut self,
        wizer: &Wizer,
        context: &wasmtime_wizer::ComponentContext<'_>,
    ) -> Result<Vec<u8>, NoSnapshot> {
        begin_lifecycle(&mut self.store, LIFECYCLE_TIME);
        // Reading a memory grows it by a page that the reader needs.
        self.store.data_mut().limiter.allow_more(4 * PAGE);
        let mut reader = Reader { store: &mut self.store, instance: self.instance, error: None };
        let frozen = wizer.snapshot_component(context, &mut reader).await;
        match reader.error {
            Some(error) => Err(NoSnapshot::Unreadable(error)),
            None => frozen.map_err(NoSnapshot::Wizer),
        }
    }
}

/// Bounds the time that a lifecycle function may wait; CPU time has its own bound.
async fn bounded<T>(call: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    match tokio::time::timeout(LIFECYCLE_TIME * 2, call).await {
        Ok(result) => result,
        Err(_) => Err(super::trap::Abort::CpuTime.into()),
    }
}

fn failed(function: &'static str, error: &wasmtime::Error, store: &Store<GuestState>) -> LoadError {
    LoadError::Failed { function, error: CallError::from_wasmtime(error, &store.data().limiter) }
}

/// Reads the state of an instance through the exports that wizer added.
///
/// wizer's trait has no way to fail, so the first error is kept here and nothing of what was read is used.
struct Reader<'a> {
    store: &'a mut Store<GuestState>,
    instance: Instance,
    error: Option<wasmtime::Error>,
}

impl Reader<'_> {
    async fn call<R>(&mut self, instance: &str, function: &str) -> wasmtime::Result<R>
    where
        R: Lift + Send + Sync + 'static,
        (R,): ComponentNamedList + Lift,
    {
        let missing = || wasmtime::format_err!("{instance} {function} is not exported");
        let (_, instance_index) = self.instance.get_export(&mut *self.store, None, instance).ok_or_else(missing)?;
        let (_, index) =
            self.instance.get_export(&mut *self.store, Some(&instance_index), function).ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut *self.store, index)?;
        let (value,) = function.call_async(&mut *self.store, ()).await?;
        Ok(value)
    }

    fn or_default<R: Default>(&mut self, read: wasmtime::Result<R>) -> R {
        read.unwrap_or_else(|error| {
            self.error.get_or_insert(error);
            R::default()
        })
    }
}

impl ComponentInstanceState for Reader<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.call::<WasmList<u8>>(instance, func).await {
            Ok(list) => contents(list.as_le_slice(&*self.store)),
            Err(error) => {
                self.error.get_or_insert(error);
                contents(&[]);
            }
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        let read = self.call(instance, func).await;
        self.or_default(read)
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        let read = self.call(instance, func).await;
        self.or_default(read)
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        let read = self.call::<f32>(instance, func).await.map(f32::to_bits);
        self.or_default(read)
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        let read = self.call::<f64>(instance, func).await.map(f64::to_bits);
        self.or_default(read)
    }
}
