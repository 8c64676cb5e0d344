use gristmill_grains::grain_interface;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    const LIMIT: u32;
    type State;
    async fn no_self(amount: u32);
    async fn by_value(self);
    async fn boxed(self: Box<Self>);
    async fn lifetime<'a>(&'a self);
    async fn generic<T: Send>(&mut self, value: T);
    async fn bounded(&self)
    where
        Self: Clone;
    async fn implied(&self, value: impl Send);
    fn not_async(&self) -> u32;
    async fn body(&self) -> u32 {
        1
    }
    #[cfg(test)]
    async fn conditional(&self);
    async fn pattern(&self, (a, b): (u32, u32));
    async fn wildcard(&self, _: u32);
    async fn borrowed(&self, name: &str, parts: Option<&[u8]>, other: &mut u64);
    async fn borrowing(&self, name: std::borrow::Cow<'_, str>);
    async fn grain(&self, other: Box<Self>) -> Box<Self>;
    async fn key(&self) -> u32;
}

#[derive(Clone)]
struct PlayerGrain;

// What is wrong in the interface causes no errors here.
impl Player for PlayerGrain {
    const LIMIT: u32 = 1;
    type State = ();
    async fn no_self(_: u32) {}
    async fn by_value(self) {}
    async fn boxed(self: Box<Self>) {}
    async fn lifetime<'a>(&'a self) {}
    async fn generic<T: Send>(&mut self, _: T) {}
    async fn bounded(&self)
    where
        Self: Clone,
    {
    }
    async fn implied(&self, _: impl Send) {}
    fn not_async(&self) -> u32 {
        1
    }
    async fn pattern(&self, (_, _): (u32, u32)) {}
    async fn wildcard(&self, _: u32) {}
    async fn borrowed(&self, _: &str, _: Option<&[u8]>, _: &mut u64) {}
    async fn borrowing(&self, _: std::borrow::Cow<'_, str>) {}
    async fn grain(&self, _: Box<Self>) -> Box<Self> {
        Box::new(PlayerGrain)
    }
    async fn key(&self) -> u32 {
        1
    }
}

fn main() {}
