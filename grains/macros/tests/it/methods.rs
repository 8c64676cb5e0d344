//! Argument structs: what they hold, how they travel, how they run.

use gristmill_grains::codec::{decode_wire, encode_wire};
use gristmill_grains::{Access, Exclusive, Interface, Method, Never, Shared, grain_interface};
use serde::{Deserialize, Serialize};

/// Why not.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused;

/// An alias of `Result`.
pub type ShopResult<T> = Result<T, Refused>;

/// A shop.
#[grain_interface(grain = "store", name = "counter", key = i64, crate = gristmill_grains)]
pub trait Shop {
    /// Sells `amount` of an item.
    async fn sell(&mut self, item: String, amount: u32) -> ShopResult<u32>;

    /// What is left, of several kinds.
    #[method(id = "stock-of")]
    #[deprecated = "count yourself"]
    async fn count_left(&self, r#type: Vec<String>, unit: Option<(u8, u8)>) -> std::result::Result<Vec<u32>, String>;

    /// Closes.
    async fn close(&mut self);

    /// Is it open?
    async fn is_open(&self) -> bool;
}

struct Till {
    open: bool,
    sold: u32,
}

impl Shop for Till {
    async fn sell(&mut self, item: String, amount: u32) -> ShopResult<u32> {
        if !self.open || item.is_empty() {
            return Err(Refused);
        }
        self.sold += amount;
        Ok(self.sold)
    }

    async fn count_left(&self, r#type: Vec<String>, unit: Option<(u8, u8)>) -> Result<Vec<u32>, String> {
        unit.map(|_| r#type.iter().map(|_| self.sold).collect()).ok_or_else(|| "no unit".to_owned())
    }

    async fn close(&mut self) {
        self.open = false;
    }

    async fn is_open(&self) -> bool {
        self.open
    }
}

#[tokio::test]
async fn a_method_runs_from_its_arguments() {
    let mut till = Till { open: true, sold: 0 };
    let sell = |amount| shop_methods::Sell { item: "apple".to_owned(), amount };
    assert_eq!(sell(2).run(&mut till).await, Ok(2));
    assert_eq!(sell(3).run(&mut till).await, Ok(5));
    let count = shop_methods::CountLeft { r#type: vec![String::new(); 2], unit: Some((1, 2)) };
    assert_eq!(count.run(&till).await, Ok(vec![5, 5]));
    assert_eq!(shop_methods::CountLeft { r#type: vec![], unit: None }.run(&till).await, Err("no unit".to_owned()));
    assert_eq!(shop_methods::Close.run(&mut till).await, Ok(()));
    assert_eq!(shop_methods::IsOpen.run(&till).await, Ok(false));
    assert_eq!(sell(1).run(&mut till).await, Err(Refused));
}

#[test]
fn arguments_travel() {
    let sell = shop_methods::Sell { item: "apple".to_owned(), amount: 2 };
    let bytes = encode_wire(&sell).unwrap();
    assert_eq!(bytes, b"\x05apple\x02");
    assert_eq!(decode_wire::<shop_methods::Sell>(&bytes).unwrap().amount, 2);
    assert_eq!(serde_json::to_string(&sell).unwrap(), r#"{"item":"apple","amount":2}"#);
    let count: shop_methods::CountLeft = serde_json::from_str(r#"{"unit":null,"type":["a"]}"#).unwrap();
    assert_eq!((count.r#type.len(), count.unit), (1, None));
    assert!(serde_json::from_str::<shop_methods::CountLeft>(r#"{"unit":null}"#).is_err());
    assert!(encode_wire(&shop_methods::Close).unwrap().is_empty());
    assert!(decode_wire::<shop_methods::Close>(&[]).is_ok());
}

/// These numbers are on the wire between silos of different builds: they may never change.
#[test]
fn wire_ids_are_stable() {
    assert_eq!(shop_methods::Sell::WIRE_ID, 0x5e5b_9905);
    assert_eq!(shop_methods::CountLeft::WIRE_ID, 0xf960_dc19);
    assert_eq!(shop_methods::Close::WIRE_ID, 0x27cb_3b23);
    assert_eq!(shop_methods::IsOpen::WIRE_ID, 0x808e_959e);
}

#[test]
fn a_given_id_survives_a_renaming() {
    /// The same method before somebody renamed it.
    #[grain_interface(local, crate = gristmill_grains)]
    trait Old {
        #[method(id = "stock-of")]
        async fn stock(&self) -> u32;
    }
    assert_eq!(<__Old_Stock as Method>::WIRE_ID, shop_methods::CountLeft::WIRE_ID);
}

#[test]
fn a_method_says_what_it_is() {
    type Facts<M> = (&'static str, usize, Access, std::marker::PhantomData<M>);
    fn facts<M: Method<Interface = shop_methods::Interface>>() -> Facts<(M::Ok, M::Err)> {
        (M::NAME, M::INDEX, M::ACCESS, std::marker::PhantomData)
    }
    let _: Facts<(u32, Refused)> = facts::<shop_methods::Sell>();
    let _: Facts<(Vec<u32>, String)> = facts::<shop_methods::CountLeft>();
    let _: Facts<((), Never)> = facts::<shop_methods::Close>();
    let _: Facts<(bool, Never)> = facts::<shop_methods::IsOpen>();
    let (name, index, access, _) = facts::<shop_methods::CountLeft>();
    assert_eq!((name, index, access), ("count_left", 1, Access::Shared));
    let (name, index, access, _) = facts::<shop_methods::Close>();
    assert_eq!((name, index, access), ("close", 2, Access::Exclusive));
    assert_eq!((shop_methods::Interface::NAME, shop_methods::Interface::GRAIN), ("counter", "store"));
}
