//! Where an interface can stand, and what may surround it.

use gristmill_grains::state::Persistent;
use gristmill_grains::{CallError, Grain, GrainContext, GrainRef, InterfaceRef, Method, Shared, grain_interface};

use crate::support::{bound, build};

mod interfaces {
    pub(super) mod types {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub(crate) struct Name(pub(crate) String);
    }

    pub(super) mod visible {
        use gristmill_grains::grain_interface;

        use super::types::Name;

        #[grain_interface(crate = gristmill_grains)]
        pub(crate) trait Lobby {
            async fn enter(&mut self, name: Name) -> usize;
            async fn names(&self) -> Vec<String>;
        }

        #[grain_interface(grain = "lobby", crate = gristmill_grains)]
        pub(in crate::places) trait Doors {
            async fn count(&self) -> u8;
        }

        #[grain_interface(crate = gristmill_grains)]
        pub(super) trait Parent {
            async fn get(&self) -> u8;
        }

        #[grain_interface(crate = gristmill_grains)]
        trait Own {
            async fn get(&self) -> u8;
        }

        #[test]
        fn the_module_is_visible_as_the_trait_is() {
            let _ = (own_methods::Get, super::visible::parent_methods::Get);
        }
    }
}

mod implementation {
    use gristmill_grains::Grain;

    // Only the traits.
    use super::interfaces::visible::{Doors, Lobby};

    #[derive(Grain)]
    #[grain(implements(Lobby, Doors), crate = gristmill_grains)]
    pub(super) struct LobbyGrain {
        names: Vec<String>,
    }

    impl Lobby for LobbyGrain {
        async fn enter(&mut self, name: super::interfaces::types::Name) -> usize {
            self.names.push(name.0);
            self.names.len()
        }

        async fn names(&self) -> Vec<String> {
            self.names.clone()
        }
    }

    impl Doors for LobbyGrain {
        async fn count(&self) -> u8 {
            2
        }
    }
}

#[tokio::test]
async fn an_implementation_needs_only_the_trait() {
    use interfaces::visible::{Lobby, doors_methods, lobby_methods};
    let mut lobby: implementation::LobbyGrain = build(None).unwrap();
    assert_eq!(lobby.enter(interfaces::types::Name("alice".to_owned())).await, 1);
    assert_eq!(lobby_methods::Names.run(&lobby).await, Ok(vec!["alice".to_owned()]));
    assert_eq!(doors_methods::Count.run(&lobby).await, Ok(2));
    assert_eq!(bound::<implementation::LobbyGrain>().len(), 5);
}

/// Methods named like the types in their signatures, and like what the expansion might use.
mod same_names {
    use gristmill_grains::grain_interface;

    #[grain_interface(crate = gristmill_grains)]
    pub(crate) trait Names {
        async fn option(&self) -> Option<String>;
        async fn string(&self, string: String) -> String;
        async fn vec(&self, binder: u8, grain: u8, serializer: u8) -> Vec<u8>;
        async fn result(&self, fields: u8) -> Result<u8, ()>;
        async fn send(&self, g: u8);
        async fn clone(&self) -> u8;
        async fn call(&self, t0: u8) -> u8;
        async fn r#match(&self) -> bool;
    }
}

#[test]
fn a_method_may_be_named_like_anything() {
    use same_names::{NamesRef, names_methods};
    let names = NamesRef::from_ref(GrainRef::unbound("a".into()));
    let calls = (names.option(), names.result(1), names.r#match(), names.string(String::new()), names.vec(1, 2, 3));
    drop((calls, names.send(1), names.call(1), names.clone()));
    assert_eq!(<names_methods::Match as Method>::NAME, "match");
    let vec = serde_json::to_string(&names_methods::Vec { binder: 1, grain: 2, serializer: 3 }).unwrap();
    assert_eq!(vec, r#"{"binder":1,"grain":2,"serializer":3}"#);
}

#[tokio::test]
async fn an_interface_may_stand_in_a_function() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Here(u8);

    #[grain_interface(local, crate = gristmill_grains)]
    trait Local {
        async fn get(&self, here: Here) -> Here;
    }

    #[derive(Grain)]
    #[grain(implements(Local), crate = gristmill_grains)]
    struct LocalGrain;

    impl Local for LocalGrain {
        async fn get(&self, here: Here) -> Here {
            here
        }
    }

    let grain: LocalGrain = build(None).unwrap();
    assert_eq!(Local::get(&grain, Here(1)).await, Here(1));
    assert_eq!(LocalRef::from_ref(GrainRef::unbound("a".into())).id().to_string(), "local/a");
}

macro_rules! interface {
    ($name:ident, $ty:ty, $ret:ty, $result:ty, $context:ty) => {
        #[grain_interface(local, crate = gristmill_grains)]
        trait $name {
            async fn read(&self, value: $ty) -> $ret;
            async fn write(&mut self, value: $ty) -> $result;
        }

        #[derive(Grain)]
        #[grain(implements($name), crate = gristmill_grains)]
        struct Made {
            context: $context,
            value: Option<$ty>,
            #[state(name = "record")]
            state: Persistent<$ty>,
        }

        impl $name for Made {
            async fn read(&self, value: $ty) -> $ret {
                value.into()
            }
            async fn write(&mut self, value: $ty) -> $result {
                self.value.replace(value).ok_or_else(String::new)
            }
        }
    };
}

#[tokio::test]
async fn a_macro_may_write_an_interface() {
    interface!(Ranked, u32, u64, Result<u32, String>, GrainContext<Self>);
    let made: Made = build(None).unwrap();
    assert_eq!(Ranked::read(&made, 3).await, 3);
    assert_eq!((made.context.key(), *made.state), ("alice", 0));
    let call = async |made: &RankedRef| -> Result<u32, CallError<String>> { made.write(1).await };
    let _ = call;
}

/// A supertrait is passed through.
trait Named {
    fn name(&self) -> String;
}

#[grain_interface(crate = gristmill_grains)]
trait Greeter: Named {
    async fn greet(&self) -> String;
}

struct Plain;

impl Named for Plain {
    fn name(&self) -> String {
        "plain".to_owned()
    }
}

impl Greeter for Plain {
    async fn greet(&self) -> String {
        self.name()
    }
}

#[tokio::test]
async fn a_supertrait_is_plain_rust() {
    assert_eq!(greeter_methods::Greet.run(&Plain).await, Ok("plain".to_owned()));
}
