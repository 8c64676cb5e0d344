//! Durations in attributes: `"100ms"`, `"1s"`, `"5m"`, `"2h"`.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::LitStr;

/// Reads the duration; zero is refused.
pub(crate) fn parse(text: &LitStr) -> syn::Result<Duration> {
    read(&text.value()).ok_or_else(|| {
        syn::Error::new_spanned(
            text,
            "expected a duration above zero: a whole number and a unit, as in \"100ms\", \"1s\", \"5m\" or \"2h\"",
        )
    })
}

fn read(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|&number| number > 0)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60 * 1_000,
        "h" => 60 * 60 * 1_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// The duration as a constant expression.
pub(crate) fn expr(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        assert_eq!(read("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(read("1s"), Some(Duration::from_secs(1)));
        assert_eq!(read("15m"), Some(Duration::from_secs(900)));
        assert_eq!(read("2h"), Some(Duration::from_secs(7200)));
        for wrong in ["", "5", "s", "0s", "1.5s", "-1s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
