use gristmill_grains::grain_interface;

#[grain_interface(crate = gristmill_grains)]
pub trait Player {
    #[method(id = "hurt")]
    async fn take_damage(&mut self, amount: u32);
    async fn hurt(&mut self, amount: u32);
    async fn get_1(&self) -> u32;
    async fn get1(&self) -> u32;
    async fn interface(&self) -> u32;
}

fn main() {}
