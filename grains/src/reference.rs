//! References to grains: a key and an interface, never a channel, so they cannot go stale.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::call::Call;
use crate::port::{Binding, Runtime};
use crate::{GrainId, GrainKey, GrainType, Interface, KeyOf, Method, turn};

/// A reference to a grain through interface `I`. The macro wraps it in a type of its own, such as `PlayerRef`.
///
/// Making one does no I/O and activates nothing. Equal when the interface and the key are. Serialized as `"type/key"`.
pub struct GrainRef<I: Interface> {
    key: I::Key,
    binding: Option<Arc<Binding>>,
}

impl<I: Interface> GrainRef<I> {
    /// A reference bound to a silo or client.
    pub fn bound(key: I::Key, runtime: &dyn Runtime) -> Self {
        Self { key, binding: Some(runtime.binding(I::NAME)) }
    }

    /// A reference that finds its silo when it is called: that of the turn that calls it.
    pub fn unbound(key: I::Key) -> Self {
        Self { key, binding: ambient(I::NAME) }
    }

    /// The grain's key.
    pub fn key(&self) -> &I::Key {
        &self.key
    }

    /// The grain.
    pub fn id(&self) -> GrainId {
        GrainId::new(GrainType::new(I::GRAIN), self.key.to_text())
    }

    /// A call of a method with these arguments. Nothing happens until it is awaited or sent.
    pub fn call<M>(&self, arguments: M) -> Call<'_, M>
    where
        M: Method<Interface = I>,
    {
        Call::new(self, arguments)
    }

    pub(crate) fn binding(&self) -> Option<Arc<Binding>> {
        self.binding.clone().or_else(|| ambient(I::NAME))
    }

    pub(crate) fn bound_to(&self) -> Option<&Arc<Binding>> {
        self.binding.as_ref()
    }
}

impl<I: Interface> Clone for GrainRef<I> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), binding: self.binding.clone() }
    }
}

impl<I: Interface> PartialEq for GrainRef<I> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<I: Interface> Eq for GrainRef<I> {}

impl<I: Interface> Hash for GrainRef<I> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl<I: Interface> fmt::Debug for GrainRef<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", I::GRAIN, self.key)
    }
}

impl<I: Interface> Serialize for GrainRef<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", I::GRAIN, self.key.to_text()))
    }
}

impl<'de, I: Interface> Deserialize<'de> for GrainRef<I> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom(format!("{text:?} is not a reference to a {:?} grain", I::GRAIN));
        let key = text.strip_prefix(I::GRAIN).and_then(|rest| rest.strip_prefix('/')).ok_or_else(wrong)?;
        I::Key::from_text(key).map(Self::unbound).map_err(serde::de::Error::custom)
    }
}

/// The reference type that `#[grain_interface]` makes for an interface.
pub trait InterfaceRef: Sized {
    /// Its interface.
    type Interface: Interface;
    /// Wraps a reference.
    fn from_ref(grain: GrainRef<Self::Interface>) -> Self;
    /// The reference inside.
    fn as_ref(&self) -> &GrainRef<Self::Interface>;
}

/// The key of the grains that a reference type names.
pub type RefKey<R> = <<R as InterfaceRef>::Interface as Interface>::Key;

/// The key of a method's grain, in error messages.
pub(crate) fn id_of<M: Method>(key: &KeyOf<M>) -> GrainId {
    GrainId::new(GrainType::new(M::Interface::GRAIN), key.to_text())
}

thread_local! {
    static DECODING: RefCell<Option<Arc<dyn Runtime>>> = const { RefCell::new(None) };
}

/// Decodes something; references in it are bound to `runtime`.
pub fn decoding<R>(runtime: &Arc<dyn Runtime>, decode: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<dyn Runtime>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take();
            DECODING.with_borrow_mut(|scope| *scope = outer);
        }
    }
    let _restore = Restore(DECODING.with_borrow_mut(|scope| scope.replace(runtime.clone())));
    decode()
}

fn ambient(interface: &str) -> Option<Arc<Binding>> {
    let decoding = DECODING.with_borrow(|scope| scope.clone());
    let runtime =
        decoding.or_else(|| turn::with_current(|frame| frame.map(|frame| frame.activation.runtime().clone())));
    runtime.map(|runtime| runtime.binding(interface))
}
